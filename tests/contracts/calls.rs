//! Calls of gateways whose transaction is born in a call to us: what is decided, written and answered.

use std::any::Any;
use std::pin::Pin;

use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::{Order, OrderStatus, PaymentType};
use domain::transaction::StoredState;
use futures_util::FutureExt;
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Executor};
use store::callbacks::Sender;
use store::calls::{self, BeginCall, CabinetRefunds, CallAnswer, CalledAccount, ToldCall};
use store::settlement::Settlement;
use store::{StoreError, callbacks, kinds, transactions};

use crate::support::fixture::calling::{HOUR_MS, asked, payment_type, received, telling, told};
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_begin_makes_the_transaction_and_the_order_confirming
    a_begin_that_is_refused_leaves_no_transaction
    a_repeated_begin_gets_the_same_row
    a_begin_with_the_same_id_and_other_claims_is_refused
    a_begin_whose_caller_has_left_holds_no_order
    a_begin_that_a_repeat_has_heard_of_stands_although_its_first_caller_left
    a_begin_whose_caller_left_before_its_turn_begins_nothing
    of_fifty_begins_at_once_on_one_order_one_is_allowed
    one_id_on_two_orders_at_once_begins_once
    may_pay_answers_as_begin_and_writes_nothing
    a_told_debit_moves_the_row_once_and_is_never_refused_for_the_orders_sake
    a_told_failure_frees_the_order_at_once
    a_cancel_of_a_debited_transaction_reverses_it_or_is_refused
    a_transaction_that_is_too_old_is_closed_by_the_call_that_meets_it
    a_hinted_debit_leaves_the_state_to_the_inquiry
    a_hinted_failure_leaves_the_order_to_the_inquiry
    the_inquiry_that_a_signed_call_wakes_checks_it_again
    a_call_that_does_not_fit_its_row_changes_nothing
    a_call_about_no_transaction_of_ours_is_kept
    a_sender_who_is_turned_away_changes_nothing
    a_statement_has_every_transaction_of_its_time_in_pages
}

fn verdicts(answers: &[CallAnswer]) -> Vec<CallbackVerdict> {
    answers.iter().map(|answer| answer.verdict).collect()
}

fn number(answer: &CallAnswer) -> TransactionId {
    answer.transaction.as_ref().expect("it has a row").transaction_id
}

async fn a_begin_makes_the_transaction_and_the_order_confirming(f: Fixture) {
    for account in [telling(), asked()] {
        let order = f.local_order(&account).await;
        let call = f.begin_call(&order, "5305e3bab097f420a62ced0b");

        let begun = f.begin(&account, &call).await;

        assert_eq!(begun.verdict, CallbackVerdict::Allowed);
        let row = begun.transaction.unwrap();
        assert_eq!(transactions::of_order(&f.store, order.id).await.unwrap(), std::slice::from_ref(&row));
        assert_eq!((row.order_id, row.amount, row.state), (order.id, 5_000, StoredState::Open));
        assert_eq!(
            (row.external_id.as_deref(), row.account),
            (Some("5305e3bab097f420a62ced0b"), Some(order.id.to_string()))
        );
        assert_eq!((row.gateway_at_ms, &row.gateway), (Some(call.gateway_at_ms), &account.gateway));
        let order = f.find(&order).await;
        assert_eq!((order.status, order.allowed_transaction_id), (OrderStatus::Confirming, Some(row.transaction_id)));
        assert_eq!(f.history(&order).await.last(), Some(&(Some("pending"), "confirming")));
        let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
        assert_eq!((kept.len(), kept[0].transaction_id), (1, Some(row.transaction_id)));
    }
    let minutes =
        f.number("select cast(sum(allowed_until_ms - last_allowed_at_ms) / 60000 as bigint) from orders").await;
    assert!((779..=780).contains(&minutes), "12 h by the gateway's time, and 1 h by ours: {minutes}");
    assert_eq!(f.number("select count(*) from callbacks where gateway like 'sandbox-%'").await, 2);
}

async fn a_begin_that_is_refused_leaves_no_transaction(f: Fixture) {
    let (account, other) = (telling(), asked());
    let order = f.local_order(&account).await;
    let elsewhere = f.local_order(&other).await;
    let good = f.begin_call(&order, "refused");
    let old = f.store.now_ms() - 12 * HOUR_MS - 1_000;

    for (call, verdict) in [
        (BeginCall { order_id: None, ..good.clone() }, CallbackVerdict::UnknownOrder),
        (BeginCall { order_id: Some(OrderId(99)), ..good.clone() }, CallbackVerdict::UnknownOrder),
        (f.begin_call(&elsewhere, "refused"), CallbackVerdict::UnknownOrder),
        (BeginCall { amount: Some(4_999), ..good.clone() }, CallbackVerdict::WrongAmount),
        (BeginCall { amount: None, ..good.clone() }, CallbackVerdict::WrongAmount),
        (BeginCall { gateway_at_ms: old, ..good.clone() }, CallbackVerdict::TimedOut),
    ] {
        let answer = f.begin(&account, &call).await;
        assert_eq!((answer.verdict, answer.transaction), (verdict, None), "{call:?}");
    }
    assert_eq!(format!("{:?}", f.find(&order).await), format!("{order:?}"));
    for (status, verdict) in [
        ("paid", CallbackVerdict::NotPayable),
        ("refunded", CallbackVerdict::NotPayable),
        ("canceled", CallbackVerdict::NotPayable),
        ("failed", CallbackVerdict::NotPayable),
        ("review", CallbackVerdict::NotPayable),
        ("expired", CallbackVerdict::Late),
    ] {
        f.execute(&[format!("update orders set status = '{status}' where id = {}", order.id)]).await;
        let answer = f.begin(&account, &good).await;
        assert_eq!((answer.verdict, answer.transaction), (verdict, None), "{status}");
        assert_eq!(calls::may_pay(&f.store, &account, good.order_id, good.amount).await.unwrap(), verdict, "{status}");
    }
    let ended = f.store.now_ms() - 1;
    f.execute(&[format!("update orders set status = 'pending', expires_at_ms = {ended} where id = {}", order.id)])
        .await;
    assert_eq!(f.begin(&account, &good).await.verdict, CallbackVerdict::Late);
    assert_eq!(f.number("select count(*) from transactions").await, 0);
}

/// The gateway repeats a call until it hears an answer, and compares the answers.
async fn a_repeated_begin_gets_the_same_row(f: Fixture) {
    for account in [telling(), asked()] {
        let order = f.local_order(&account).await;
        let call = f.begin_call(&order, "again");
        let first = f.begin(&account, &call).await;

        for _ in 0..3 {
            assert_eq!(f.begin(&account, &call).await, first);
        }

        assert_eq!(f.begin_on(&account, &order, "another").await.verdict, CallbackVerdict::SecondTransaction);
        let history = f.history(&order).await;
        assert_eq!(history.iter().filter(|(_, to)| *to == "confirming").count(), 1, "{history:?}");
    }
    // A telling gateway was promised that the order waits for it, also past the order's time to pay.
    let [told, hinted] = [telling(), asked()];
    let ended = f.store.now_ms() - 1;
    f.execute(&[format!("update orders set expires_at_ms = {ended}")]).await;
    for (account, verdict) in [(told, CallbackVerdict::Allowed), (hinted, CallbackVerdict::Late)] {
        let order = f.number(match account.timeout_code {
            Some(_) => "select min(id) from orders",
            None => "select max(id) from orders",
        });
        let order = store::orders::find(&f.store, OrderId(order.await)).await.unwrap().unwrap();
        assert_eq!(f.begin_on(&account, &order, "again").await.verdict, verdict);
    }
}

/// Starts a Begin and returns once it is committed, while its caller still waits and has heard nothing.
async fn begun_unheard<'a>(
    f: &'a Fixture,
    account: &'a CalledAccount,
    call: &'a BeginCall,
) -> Pin<Box<dyn Future<Output = Result<CallAnswer, StoreError>> + 'a>> {
    let mut caller: Pin<Box<dyn Future<Output = _>>> = Box::pin(f.try_begin(account, call));
    assert!(caller.as_mut().now_or_never().is_none(), "it waits for its batch");
    wait_until("the transaction to begin", PATIENCE, async || {
        calls::inspect(&f.store, &account.gateway, &call.external_id).await.unwrap()
    })
    .await;
    caller
}

/// Click was told that we could not write, and will not debit; Payme repeats its call, whose first answer must stand.
async fn a_begin_whose_caller_has_left_holds_no_order(f: Fixture) {
    let account = asked();
    let order = f.local_order(&account).await;
    let (call, next) = (f.begin_call(&order, "unheard"), f.begin_call(&order, "next"));

    drop(begun_unheard(&f, &account, &call).await);

    let free = wait_until("the order to be free", PATIENCE, async || {
        Some(f.find(&order).await).filter(|order| order.status == OrderStatus::Pending)
    })
    .await;
    assert_eq!((free.allowed_transaction_id, free.transaction_id), (None, None));
    let statuses = [(None, "pending"), (Some("pending"), "confirming"), (Some("confirming"), "pending")];
    assert_eq!(f.history(&order).await, statuses);
    let again = f.begin(&account, &call).await;
    assert_eq!(again.verdict, CallbackVerdict::TransactionClosed);
    let row = again.transaction.clone().unwrap();
    assert_eq!((row.state, row.close_code, row.debited_at_ms), (StoredState::Closed, Some(-7), None));
    assert_eq!(f.begin(&account, &next).await.verdict, CallbackVerdict::Allowed);
    // It should never come. If it does, money was taken, and it must be asked about.
    let told = ToldCall { external_id: "unheard".into(), claims: Some(f.claims(&order, &again)) };
    let debited = f.debited(&account, &told).await;
    assert_eq!(
        (debited.verdict, debited.transaction.unwrap().state),
        (CallbackVerdict::DebitTold, StoredState::Closed)
    );

    let account = telling();
    let order = f.local_order(&account).await;
    let call = f.begin_call(&order, "unheard");
    drop(begun_unheard(&f, &account, &call).await);
    let again = f.begin(&account, &call).await;
    assert_eq!((again.verdict, again.transaction.unwrap().state), (CallbackVerdict::Allowed, StoredState::Open));
}

/// Two copies of one Prepare: the first was answered that we could not write, the second that the debit is allowed.
async fn a_begin_that_a_repeat_has_heard_of_stands_although_its_first_caller_left(f: Fixture) {
    let account = asked();
    let (order, other) = (f.local_order(&account).await, f.local_order(&account).await);
    let (call, of_other) = (f.begin_call(&order, "heard"), f.begin_call(&other, "unheard"));
    let caller = begun_unheard(&f, &account, &call).await;
    assert_eq!(f.begin(&account, &call).await.verdict, CallbackVerdict::Allowed);

    drop(caller);
    drop(begun_unheard(&f, &account, &of_other).await);

    // Those of one account are looked at one after another.
    wait_until("the other order to be free", PATIENCE, async || {
        Some(f.find(&other).await).filter(|order| order.status == OrderStatus::Pending)
    })
    .await;
    let row = calls::inspect(&f.store, &account.gateway, "heard").await.unwrap().unwrap();
    let order = f.find(&order).await;
    assert_eq!((row.state, row.closed_at_ms), (StoredState::Open, None));
    assert_eq!((order.status, order.allowed_transaction_id), (OrderStatus::Confirming, Some(row.transaction_id)));
}

/// Locks the order's row, until this is dropped; on SQLite everything.
async fn hold_order(f: &Fixture, order: &Order) -> Box<dyn Any> {
    if f.file().is_some() {
        return f.hold_writes().await;
    }
    let mut connection = f.connection().await;
    connection.execute("begin").await.unwrap();
    let lock = format!("select id from orders where id = {} for update", order.id);
    connection.execute(AssertSqlSafe(lock)).await.unwrap();
    Box::new(connection)
}

/// It waited for the database longer than its caller for it.
async fn a_begin_whose_caller_left_before_its_turn_begins_nothing(f: Fixture) {
    let account = asked();
    let order = f.local_order(&account).await;
    let call = f.begin_call(&order, "too late");

    let held = hold_order(&f, &order).await;
    let mut caller = Box::pin(f.try_begin(&account, &call));
    assert!(caller.as_mut().now_or_never().is_none(), "it waits for the order");
    if f.file().is_none() {
        wait_until("it to wait for the order's lock", PATIENCE, async || {
            let waiting = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
            (f.number(waiting).await > 0).then_some(())
        })
        .await;
    }
    drop(caller);
    drop(held);

    let next = wait_until("another transaction to begin", PATIENCE, async || {
        let next = f.try_begin(&account, &f.begin_call(&order, "next")).await.ok()?;
        (next.verdict == CallbackVerdict::Allowed).then_some(next)
    })
    .await;
    assert_eq!(transactions::of_order(&f.store, order.id).await.unwrap(), [next.transaction.unwrap()]);
    assert_eq!(f.history(&order).await.len(), 2, "the other one never held it");
}

async fn a_begin_with_the_same_id_and_other_claims_is_refused(f: Fixture) {
    let account = telling();
    let (order, second) = (f.local_order(&account).await, f.local_order(&account).await);
    let good = f.begin_call(&order, "same");
    let begun = f.begin(&account, &good).await;

    for call in [
        BeginCall { amount: Some(4_999), ..good.clone() },
        BeginCall { amount: None, ..good.clone() },
        BeginCall { account: format!("0{}", order.id), ..good.clone() },
        BeginCall { order_id: None, ..good.clone() },
        BeginCall { order_id: Some(OrderId(99)), account: "99".into(), ..good.clone() },
        f.begin_call(&second, "same"),
    ] {
        let answer = f.begin(&account, &call).await;
        assert_eq!(answer.verdict, CallbackVerdict::Conflicting, "{call:?}");
        assert_eq!(answer.transaction, begun.transaction, "{call:?}");
    }
    assert_eq!(f.find(&second).await.status, OrderStatus::Pending);
    // Another account of ours may have an id of the same text.
    let (other, elsewhere) = (asked(), f.local_order(&asked()).await);
    assert_eq!(f.begin_on(&other, &elsewhere, "same").await.verdict, CallbackVerdict::Allowed);
}

/// Shows: MONEY-1
async fn of_fifty_begins_at_once_on_one_order_one_is_allowed(f: Fixture) {
    for account in [telling(), asked()] {
        let order = f.local_order(&account).await;
        let ids: Vec<String> = (0..50).map(|number| format!("{number}")).collect();

        let answers = join_all(ids.iter().map(|id| f.begin_on(&account, &order, id))).await;

        let allowed: Vec<&CallAnswer> =
            answers.iter().filter(|answer| answer.verdict == CallbackVerdict::Allowed).collect();
        assert_eq!(allowed.len(), 1, "{:?}", verdicts(&answers));
        let refused = answers.iter().filter(|answer| answer.verdict == CallbackVerdict::SecondTransaction);
        assert_eq!(refused.filter(|answer| answer.transaction.is_none()).count(), 49);
        let rows = transactions::of_order(&f.store, order.id).await.unwrap();
        assert_eq!(rows, [allowed[0].transaction.clone().unwrap()]);
        // The same call at once from several connections of the gateway.
        let again = rows[0].external_id.as_deref().unwrap();
        let call = BeginCall { gateway_at_ms: rows[0].gateway_at_ms.unwrap(), ..f.begin_call(&order, again) };
        let answers = join_all((0..20).map(|_| f.begin(&account, &call))).await;
        assert!(answers.iter().all(|answer| answer == allowed[0]), "{answers:?}");
    }
}

async fn one_id_on_two_orders_at_once_begins_once(f: Fixture) {
    let account = telling();
    for round in 0..10 {
        let (one, two) = (f.local_order(&account).await, f.local_order(&account).await);
        let id = format!("round {round}");

        let other = f.another_process().await;
        let elsewhere = async {
            let (call, digest) = (f.begin_call(&two, &id), format!("elsewhere {id}"));
            calls::begin(&other, &account, &call, received(&digest), Sender::Heard).await.unwrap()
        };
        let (one, two) = tokio::join!(f.begin_on(&account, &one, &id), elsewhere);

        let mut both = [one.verdict.as_str(), two.verdict.as_str()];
        both.sort_unstable();
        assert_eq!(both, ["allowed", "conflicting"]);
        assert_eq!(one.transaction, two.transaction);
    }
}

async fn may_pay_answers_as_begin_and_writes_nothing(f: Fixture) {
    let account = telling();
    let order = f.local_order(&account).await;
    let may_pay = async |order_id, amount| calls::may_pay(&f.store, &account, order_id, amount).await.unwrap();

    assert_eq!(may_pay(Some(order.id), Some(5_000)).await, CallbackVerdict::Allowed);
    assert_eq!(may_pay(Some(order.id), Some(5_001)).await, CallbackVerdict::WrongAmount);
    assert_eq!(may_pay(Some(order.id), None).await, CallbackVerdict::WrongAmount);
    assert_eq!(may_pay(Some(OrderId(99)), Some(5_000)).await, CallbackVerdict::UnknownOrder);
    assert_eq!(may_pay(None, Some(5_000)).await, CallbackVerdict::UnknownOrder);
    assert_eq!(format!("{:?}", f.find(&order).await), format!("{order:?}"));
    assert_eq!(f.number("select count(*) from callbacks").await, 0);
    f.begin_on(&account, &order, "holds").await;
    assert_eq!(may_pay(Some(order.id), Some(5_000)).await, CallbackVerdict::SecondTransaction);
    // It is so old that it holds the order no more.
    f.execute(&["update transactions set gateway_at_ms = gateway_at_ms - 43300000".to_owned()]).await;
    assert_eq!(may_pay(Some(order.id), Some(5_000)).await, CallbackVerdict::Allowed);
    assert_eq!(f.find(&order).await.status, OrderStatus::Confirming);
}

async fn a_told_debit_moves_the_row_once_and_is_never_refused_for_the_orders_sake(f: Fixture) {
    let account = telling();
    for status in ["confirming", "pending", "expired", "canceled", "review", "paid", "refunded", "failed"] {
        let order = f.local_order(&account).await;
        f.begin_on(&account, &order, status).await;
        f.execute(&[format!("update orders set status = '{status}' where id = {}", order.id)]).await;
        f.put_off_inquiries().await;

        let first = f.debited(&account, &told(status)).await;

        assert_eq!(first.verdict, CallbackVerdict::DebitTold, "{status}");
        let row = first.transaction.clone().unwrap();
        assert_eq!((row.state, row.closed_at_ms), (StoredState::Debited, None));
        assert!(row.debited_at_ms.is_some());
        for _ in 0..3 {
            assert_eq!(f.debited(&account, &told(status)).await, first, "{status}");
        }
        // The row tells the inquiry; no call writes *paid*.
        assert_eq!(f.find(&order).await.status.as_str(), status);
        let woken = f.claim(QueueName::Settle).await;
        assert_eq!(woken.len(), 1, "{status}");
        assert_eq!(woken[0].job, Ok(Job::SettleOrder { order_id: order.id }));
        // A failure after the debit is no failure.
        assert_eq!(f.failed(&account, &told(status), 3).await, first, "{status}");
        let begin_again = BeginCall { gateway_at_ms: row.gateway_at_ms.unwrap(), ..f.begin_call(&order, status) };
        assert_eq!(f.begin(&account, &begin_again).await.transaction, Some(row));
    }
}

async fn a_told_failure_frees_the_order_at_once(f: Fixture) {
    let account = telling();
    let order = f.local_order(&account).await;
    let begun = f.begin_on(&account, &order, "one").await;

    let first = f.canceled(&account, "one", 3).await;

    assert_eq!(first.verdict, CallbackVerdict::FailureTold);
    let row = first.transaction.clone().unwrap();
    assert_eq!((row.state, row.close_code, row.debited_at_ms), (StoredState::Closed, Some(3), None));
    let freed = f.find(&order).await;
    assert_eq!((freed.status, freed.allowed_transaction_id), (OrderStatus::Pending, None));
    assert!(freed.can_be_paid_at(f.store.now_ms()));
    assert_eq!(freed.payment_url, order.payment_url, "the same link leads to the next try");
    let history = store::orders::history(&f.store, order.id).await.unwrap();
    let cause = &history.last().unwrap().cause;
    assert!(cause.contains(&format!("transaction {}", number(&begun))) && cause.contains("code 3"), "{cause}");
    // The payer tries again at once.
    assert_eq!(f.begin_on(&account, &order, "two").await.verdict, CallbackVerdict::Allowed);
    // A repeat is answered by its row, whatever its code, and frees no other transaction's order.
    for code in [3, 5] {
        assert_eq!(f.canceled(&account, "one", code).await, first);
    }
    assert_eq!(f.find(&order).await.status, OrderStatus::Confirming);
    assert_eq!(f.debited(&account, &told("one")).await.verdict, CallbackVerdict::TransactionClosed);
    assert_eq!(f.begin_on(&account, &order, "one").await.verdict, CallbackVerdict::TransactionClosed);
}

async fn a_cancel_of_a_debited_transaction_reverses_it_or_is_refused(f: Fixture) {
    let account = telling();
    let order = f.local_order(&account).await;
    let begun = f.begin_on(&account, &order, "one").await;
    let debited = f.debited(&account, &told("one")).await;
    f.pay(&order, number(&begun).0).await;

    let refused = f.canceled_with(&account, "one", 5, CabinetRefunds::Refused).await;
    assert_eq!((refused.verdict, &refused.transaction), (CallbackVerdict::ReversalRefused, &debited.transaction));

    let first = f.canceled(&account, "one", 5).await;
    assert_eq!(first.verdict, CallbackVerdict::ReversalTold);
    let row = first.transaction.clone().unwrap();
    assert_eq!((row.state, row.close_code), (StoredState::Reversed, Some(5)));
    assert_eq!(row.debited_at_ms, debited.transaction.unwrap().debited_at_ms);
    assert_eq!(f.canceled(&account, "one", 4).await, first);
    assert_eq!(f.canceled_with(&account, "one", 5, CabinetRefunds::Refused).await, first);
    assert_eq!(f.debited(&account, &told("one")).await.verdict, CallbackVerdict::TransactionClosed);
    assert_eq!(f.find(&order).await.status, OrderStatus::Paid, "the inquiry writes it");
    let refunded = Settlement::Refunded { transaction_id: row.transaction_id };
    f.settle(&order, &refunded).await.unwrap();
    assert_eq!(f.find(&order).await.status, OrderStatus::Refunded);
}

/// Payme documents 12 hours, by its own time.
async fn a_transaction_that_is_too_old_is_closed_by_the_call_that_meets_it(f: Fixture) {
    let account = telling();
    let begun_ago = async |id: &str, ago_ms: i64| {
        let order = f.local_order(&account).await;
        let call = f.begin_call(&order, id);
        f.begin(&account, &call).await;
        let aged =
            format!("update transactions set gateway_at_ms = {} where external_id = '{id}'", f.store.now_ms() - ago_ms);
        f.execute(&[aged]).await;
        (order, call)
    };
    let is_closed = async |id: &str| {
        let row = calls::inspect(&f.store, &account.gateway, id).await.unwrap().unwrap();
        (row.state, row.close_code) == (StoredState::Closed, Some(4)) && row.closed_at_ms.is_some()
    };

    let (young, call) = begun_ago("young", 12 * HOUR_MS - 20_000).await;
    assert_eq!(f.begin(&account, &call).await.verdict, CallbackVerdict::Allowed);
    assert_eq!(f.debited(&account, &told("young")).await.verdict, CallbackVerdict::DebitTold);
    assert_eq!(f.find(&young).await.status, OrderStatus::Confirming);

    let (repeated, call) = begun_ago("repeated", 12 * HOUR_MS + 1).await;
    let first = f.begin(&account, &call).await;
    assert_eq!(first.verdict, CallbackVerdict::TimedOut);
    assert!(is_closed("repeated").await);
    assert_eq!(f.begin(&account, &call).await, CallAnswer { verdict: CallbackVerdict::TransactionClosed, ..first });
    assert_eq!(f.find(&repeated).await.status, OrderStatus::Pending);

    let (performed, _) = begun_ago("performed", 12 * HOUR_MS + 1).await;
    assert_eq!(f.debited(&account, &told("performed")).await.verdict, CallbackVerdict::TimedOut);
    assert!(is_closed("performed").await);
    assert_eq!(f.debited(&account, &told("performed")).await.verdict, CallbackVerdict::TransactionClosed);
    assert_eq!(f.find(&performed).await.status, OrderStatus::Pending);

    let (wanted, _) = begun_ago("first", 12 * HOUR_MS + 1).await;
    let next = f.begin_on(&account, &wanted, "next").await;
    assert_eq!(next.verdict, CallbackVerdict::Allowed);
    assert!(is_closed("first").await);
    let now = f.find(&wanted).await;
    assert_eq!((now.status, now.allowed_transaction_id), (OrderStatus::Confirming, Some(number(&next))));
    let history = f.history(&wanted).await;
    let last: Vec<&str> = history.iter().map(|(_, to)| *to).collect();
    assert!(last.ends_with(&["confirming", "pending", "confirming"]), "{last:?}");

    let (canceled, _) = begun_ago("canceled", 12 * HOUR_MS + 1).await;
    let answer = f.canceled(&account, "canceled", 3).await;
    assert_eq!((answer.verdict, answer.transaction.unwrap().close_code), (CallbackVerdict::FailureTold, Some(3)));
    assert_eq!(f.find(&canceled).await.status, OrderStatus::Pending);

    // Where transactions do not end by themselves, age closes none.
    let (clicked, account) = (f.local_order(&asked()).await, asked());
    let call = f.begin_call(&clicked, "old");
    f.begin(&account, &call).await;
    f.execute(&["update transactions set gateway_at_ms = 1 where external_id = 'old'".to_owned()]).await;
    assert_eq!(f.begin(&account, &call).await.verdict, CallbackVerdict::Allowed);
}

/// Its key may have been rotated away since, or its row changed. Payme signs nothing in its bodies.
async fn the_inquiry_that_a_signed_call_wakes_checks_it_again(f: Fixture) {
    for account in [asked(), telling()] {
        let order = f.local_order(&account).await;
        let begun = f.begin_on(&account, &order, "woken").await;
        let claims = payment_type(&account) == PaymentType::Click;
        let call = ToldCall { external_id: "woken".into(), claims: claims.then(|| f.claims(&order, &begun)) };
        f.debited(&account, &call).await;

        let woken_by = f.settle_job(&order).await.woken_by;

        let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
        let kept: Vec<i64> = kept.iter().map(|callback| callback.id.0).filter(|_| claims).collect();
        assert_eq!(woken_by, kept, "{}", account.gateway);
        assert_eq!(kept.len(), if claims { 2 } else { 0 });
    }
}

async fn a_hinted_debit_leaves_the_state_to_the_inquiry(f: Fixture) {
    let account = asked();
    for status in ["confirming", "expired", "canceled", "paid", "review"] {
        let order = f.local_order(&account).await;
        let begun = f.begin_on(&account, &order, status).await;
        let call = ToldCall { external_id: status.into(), claims: Some(f.claims(&order, &begun)) };
        f.execute(&[format!("update orders set status = '{status}', last_hint_at_ms = 1 where id = {}", order.id)])
            .await;
        f.put_off_inquiries().await;

        let first = f.debited(&account, &call).await;

        assert_eq!(first.verdict, CallbackVerdict::DebitTold, "{status}");
        let row = first.transaction.clone().unwrap();
        assert_eq!(row.state, StoredState::Open);
        assert!(row.debited_at_ms.is_some());
        let hinted = f.find(&order).await;
        assert_eq!(hinted.status.as_str(), status);
        assert!(hinted.last_hint_at_ms > Some(1));
        assert_eq!(f.claim(QueueName::Settle).await.len(), 1, "{status}");
        assert_eq!(f.debited(&account, &call).await, first);
        // The attempt is confirmed: the gateway must not debit again.
        assert_eq!(f.begin_on(&account, &order, status).await.verdict, CallbackVerdict::DebitTold);
        // The inquiry has shown it.
        f.execute(&[
            format!("update transactions set state = 'debited' where external_id = '{status}'"),
            format!(
                "update orders set status = 'paid', transaction_id = {} where id = {}",
                row.transaction_id, order.id
            ),
        ])
        .await;
        assert_eq!(f.debited(&account, &call).await.verdict, CallbackVerdict::AlreadyPaid);
        assert_eq!(f.begin_on(&account, &order, status).await.verdict, CallbackVerdict::AlreadyPaid);
        assert_eq!(f.failed(&account, &call, -5017).await.verdict, CallbackVerdict::AlreadyPaid);
    }
}

/// The code of a failure is not signed: who altered it must not free an order that is being debited.
async fn a_hinted_failure_leaves_the_order_to_the_inquiry(f: Fixture) {
    let account = asked();
    let order = f.local_order(&account).await;
    let begun = f.begin_on(&account, &order, "one").await;
    let call = ToldCall { external_id: "one".into(), claims: Some(f.claims(&order, &begun)) };
    f.put_off_inquiries().await;

    let first = f.failed(&account, &call, -5017).await;

    assert_eq!(first.verdict, CallbackVerdict::FailureTold);
    let row = first.transaction.clone().unwrap();
    assert_eq!((row.state, row.close_code), (StoredState::Open, Some(-5017)));
    assert_eq!(f.failed(&account, &call, -1).await, first);
    let order = f.find(&order).await;
    assert_eq!((order.status, order.allowed_transaction_id), (OrderStatus::Confirming, Some(number(&begun))));
    assert_eq!(f.claim(QueueName::Settle).await.len(), 1);
    assert_eq!(f.begin_on(&account, &order, "one").await.verdict, CallbackVerdict::TransactionClosed);
    assert_eq!(f.begin_on(&account, &order, "two").await.verdict, CallbackVerdict::SecondTransaction);
    // A debit that is told after all is a reason to ask, also about a row that an inquiry has closed.
    f.execute(&["update transactions set state = 'closed'".to_owned()]).await;
    let told = f.debited(&account, &call).await;
    assert_eq!(told.verdict, CallbackVerdict::DebitTold);
    assert!(told.transaction.unwrap().debited_at_ms.is_some());
}

/// Shows: MONEY-16
async fn a_call_that_does_not_fit_its_row_changes_nothing(f: Fixture) {
    let account = asked();
    let (order, second) = (f.local_order(&account).await, f.local_order(&account).await);
    let (begun, other) = (f.begin_on(&account, &order, "one").await, f.begin_on(&account, &second, "two").await);
    let good = f.claims(&order, &begun);
    let mut wrong = vec![
        (good.clone(), CallbackVerdict::WrongAmount),
        (good.clone(), CallbackVerdict::WrongAmount),
        (good.clone(), CallbackVerdict::OtherAccount),
        (good.clone(), CallbackVerdict::Conflicting),
        (good.clone(), CallbackVerdict::Conflicting),
        (f.claims(&second, &other), CallbackVerdict::OtherAccount),
    ];
    wrong[0].0.amount = Some(50_000);
    wrong[1].0.amount = None;
    wrong[2].0.account = format!("{}0", order.id);
    wrong[3].0.transaction_id = Some(number(&other));
    wrong[4].0.transaction_id = None;

    for (claims, verdict) in wrong {
        let has_number = claims.transaction_id.is_some();
        let call = ToldCall { external_id: "one".into(), claims: Some(claims) };
        let mut answers = vec![f.debited(&account, &call).await];
        // A failure needs no number of ours.
        if has_number {
            answers.push(f.failed(&account, &call, -1).await);
        }
        for answer in answers {
            assert_eq!((answer.verdict, answer.transaction), (verdict, begun.transaction.clone()), "{call:?}");
        }
    }
    let without_number = calls::CallClaims { transaction_id: None, ..good };
    let call = ToldCall { external_id: "one".into(), claims: Some(without_number) };
    assert_eq!(f.failed(&account, &call, -1).await.verdict, CallbackVerdict::FailureTold);
}

async fn a_call_about_no_transaction_of_ours_is_kept(f: Fixture) {
    let (account, other) = (telling(), asked());
    let order = f.local_order(&account).await;
    f.begin_on(&account, &order, "one").await;

    let unknown = f.debited(&account, &told("two")).await;
    assert_eq!((unknown.verdict, unknown.transaction), (CallbackVerdict::UnknownTransaction, None));
    assert_eq!(f.canceled(&account, "two", 5).await.verdict, CallbackVerdict::UnknownTransaction);
    // The account decides, too.
    assert_eq!(f.debited(&other, &told("one")).await.verdict, CallbackVerdict::UnknownTransaction);
    assert_eq!(calls::inspect(&f.store, &other.gateway, "one").await.unwrap(), None);
    let clicked = f.local_order(&other).await;
    let begun = f.begin_on(&other, &clicked, "click").await;
    let mut claims = f.claims(&clicked, &begun);
    let call = ToldCall { external_id: "three".into(), claims: Some(claims.clone()) };
    assert_eq!(f.debited(&other, &call).await.verdict, CallbackVerdict::UnknownTransaction);
    claims.order_id = Some(OrderId(99));
    let call = ToldCall { external_id: "three".into(), claims: Some(claims) };
    assert_eq!(f.debited(&other, &call).await.verdict, CallbackVerdict::UnknownOrder);
    let kept = callbacks::newest(&f.store, 20).await.unwrap();
    assert_eq!(kept.iter().filter(|kept| kept.order_id.is_none()).count(), 5, "{kept:?}");
}

/// Shows: MONEY-17
async fn a_sender_who_is_turned_away_changes_nothing(f: Fixture) {
    let account = asked();
    let order = f.local_order(&account).await;
    let turned_away = async |id: &str| {
        let (call, digest) = (f.begin_call(&order, id), format!("away {id}"));
        calls::begin(&f.store, &account, &call, received(&digest), Sender::TurnedAway).await.unwrap()
    };
    let begun = turned_away("one").await;
    assert_eq!((begun.verdict, begun.transaction), (CallbackVerdict::OtherAddress, None));
    let begun = f.begin_on(&account, &order, "one").await;
    assert_eq!(turned_away("one").await.transaction, begun.transaction);
    f.execute(&["update orders set last_hint_at_ms = 1".to_owned()]).await;
    f.put_off_inquiries().await;

    let call = told("one");
    let answer = calls::debited(&f.store, &account, &call, received("away"), Sender::TurnedAway).await.unwrap();

    assert_eq!((answer.verdict, answer.transaction), (CallbackVerdict::OtherAddress, begun.transaction));
    // Money may move although we refused.
    assert!(f.find(&order).await.last_hint_at_ms > Some(1));
    assert_eq!(f.claim(QueueName::Settle).await.len(), 1);
}

async fn a_statement_has_every_transaction_of_its_time_in_pages(f: Fixture) {
    let (account, other) = (telling(), asked());
    let start = f.store.now_ms() - HOUR_MS;
    let mut expected = Vec::new();
    for number in 0..25 {
        let account = if number == 13 { &other } else { &account };
        let order = f.local_order(account).await;
        let id = format!("{number:02}");
        // Five at a time in the same millisecond, and not in the order of our numbers.
        let gateway_at_ms = start + (number * 7 % 25) / 5;
        let begun = f.begin(account, &BeginCall { gateway_at_ms, ..f.begin_call(&order, &id) }).await;
        if number != 13 {
            expected.push((gateway_at_ms, super::calls::number(&begun).0));
        }
        if number % 3 == 0 {
            f.canceled(account, &id, 3).await;
        }
    }
    expected.sort_unstable();
    let places = async |from_ms, to_ms, limit| {
        let (mut after, mut places) = (None, Vec::new());
        loop {
            let page = calls::statement(&f.store, &account.gateway, from_ms, to_ms, after, limit).await.unwrap();
            assert!(page.transactions.len() <= limit as usize);
            places.extend(page.transactions.iter().map(|row| (row.gateway_at_ms.unwrap(), row.transaction_id.0)));
            after = page.next;
            if after.is_none() {
                return places;
            }
        }
    };

    for limit in [1, 2, 7, 24, 25, 1_000] {
        assert_eq!(places(start, start + 4, limit).await, expected, "{limit}");
        assert_eq!(places(0, i64::MAX, limit).await, expected, "{limit}");
    }
    let within: Vec<_> = expected.iter().copied().filter(|(at, _)| (start + 1..=start + 3).contains(at)).collect();
    assert_eq!(places(start + 1, start + 3, 4).await, within);
    assert_eq!(places(start + 5, i64::MAX, 4).await, []);
    assert_eq!(places(start + 3, start + 1, 4).await, []);
    assert!(kinds::jobs_of_order(&f.store, OrderId(1)).await.unwrap().iter().any(|job| job.kind == "settle_order"));
}
