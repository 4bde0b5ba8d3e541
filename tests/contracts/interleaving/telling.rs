//! A gateway that tells of its debits (Payme).

use std::collections::HashMap;
use std::time::Duration;

use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::order::{GatewayIdentity, Order, OrderStatus};
use domain::transaction::{StoredState, StoredTransaction, TransactionState};
use futures_util::future::join_all;
use store::calls::{BeginCall, CallAnswer, CalledAccount};
use store::settlement::Settlement;
use store::transactions;

use super::{ACTS, Dice, Processes, audit_finds_nothing, call_from, inquire, linked_order, many_orders};
use crate::support::fixture::Fixture;
use crate::support::fixture::calling::{HOUR_MS, asked, telling, told};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Begin,
    /// The Begins of all its transactions at the same time.
    BeginAll,
    Debited,
    Canceled,
    /// Other accounts call about the order and its transactions while its own Begins one.
    Others,
    Settle,
    /// Twelve hours pass for this transaction.
    Age,
}

pub(super) async fn no_order_of_calls_debits_twice_or_answers_a_repeat_differently(f: Fixture) {
    let processes = Processes::over(f).await;
    many_orders(&processes, walk).await;
    let state = |row: &StoredTransaction| match row.state {
        StoredState::Open => TransactionState::Open,
        StoredState::Closed => TransactionState::Closed,
        StoredState::Debited => TransactionState::Debited { success_transaction_id: row.transaction_id },
        StoredState::Reversed => TransactionState::Reversed { success_transaction_id: row.success_transaction_id },
    };
    audit_finds_nothing(processes.first(), &telling().gateway, state).await;
}

async fn walk(processes: &Processes, seed: u64) -> Order {
    let (f, account, mut dice) = (processes.first(), telling(), Dice(seed));
    let other_cashbox = CalledAccount { gateway: GatewayIdentity("sandbox-payme:other".into()), ..telling() };
    let order = linked_order(f, &account).await;
    let ids = ["a", "b", "c"].map(|name| format!("{name} {}", order.id));
    let calls: Vec<BeginCall> = ids.iter().map(|id| f.begin_call(&order, id)).collect();
    let mut known: HashMap<TransactionId, StoredTransaction> = HashMap::new();
    let mut told_so_far = Vec::new();
    for _ in 0..ACTS {
        let which = dice.roll(3) as usize;
        let act = match dice.roll(22) {
            0..6 => Act::Begin,
            6 => Act::BeginAll,
            7..12 => Act::Debited,
            12..15 => Act::Canceled,
            15 => Act::Others,
            16..20 => Act::Settle,
            _ => Act::Age,
        };
        let at_once = 1 + dice.roll(3);
        told_so_far.push((act, which, at_once));
        let story = || format!("seed {seed}, order {}: {told_so_far:?}", order.id);
        let begin = async |f: &Fixture| f.begin(&account, &calls[which]).await;
        match act {
            Act::Settle => settle(f, &order).await,
            Act::Age => {
                let ms = 12 * HOUR_MS + 1_000;
                f.execute(&[format!(
                    "update transactions set gateway_at_ms = gateway_at_ms - {ms} where external_id = '{}'",
                    ids[which]
                )])
                .await;
                // Its age is all that is another now: a time that was told before is compared with what is told after.
                let aged = known.values_mut().filter(|row| row.external_id.as_deref() == Some(ids[which].as_str()));
                aged.for_each(|row| row.gateway_at_ms = row.gateway_at_ms.map(|at_ms| at_ms - ms));
            }
            Act::Begin => same_answers(act, processes, at_once, begin, &story()).await,
            Act::Debited => {
                let debited = async |f: &Fixture| f.debited(&account, &told(&ids[which])).await;
                same_answers(act, processes, at_once, debited, &story()).await;
            }
            Act::Canceled => {
                let canceled = async |f: &Fixture| f.canceled(&account, &ids[which], 3).await;
                same_answers(act, processes, at_once, canceled, &story()).await;
            }
            Act::BeginAll => {
                let begun = join_all(processes.0.iter().cycle().zip(&calls).map(|(f, call)| f.begin(&account, call)));
                let begun = begun.await;
                let allowed = begun.iter().filter(|answer| answer.verdict == CallbackVerdict::Allowed).count();
                assert!(allowed <= 1, "{begun:?}, {}", story());
            }
            Act::Others => {
                let (story, click) = (story(), asked());
                tokio::join!(
                    same_answers(Act::Begin, processes, at_once, begin, &story),
                    call_from(f, &click, &order, &ids[which], &story),
                    call_from(&processes.0[1], &other_cashbox, &order, &ids[which], &story),
                );
            }
        }
        check_rows(f, &order, &mut known, &story()).await;
    }
    // What the last calls told is settled, as if all workers had come.
    for _ in 0..2 {
        settle(f, &order).await;
    }
    check_rows(f, &order, &mut known, &format!("seed {seed}, at its end, after {told_so_far:?}")).await;
    order
}

/// Asks at the same time and once more: each answer is the same, but for those to a transaction that counted as canceled
/// just then.
async fn same_answers(
    act: Act,
    processes: &Processes,
    at_once: u64,
    ask: impl AsyncFn(&Fixture) -> CallAnswer,
    story: &str,
) {
    let answers = processes.at_once(at_once, &ask).await;
    let again = ask(processes.first()).await;
    for answer in answers.iter().filter(|answer| answer.verdict != CallbackVerdict::TimedOut) {
        assert_eq!(*answer, again, "{story}");
    }
    check_answer(act, &again, story);
}

/// A yes stands on a row that lets it be said.
fn check_answer(act: Act, answer: &CallAnswer, story: &str) {
    let state = answer.transaction.as_ref().map(|row| row.state);
    match (act, answer.verdict) {
        (Act::Begin, CallbackVerdict::Allowed) => assert_eq!(state, Some(StoredState::Open), "{story}"),
        (_, CallbackVerdict::DebitTold) => assert_eq!(state, Some(StoredState::Debited), "{story}"),
        (_, CallbackVerdict::FailureTold) => assert_eq!(state, Some(StoredState::Closed), "{story}"),
        (_, CallbackVerdict::ReversalTold) => assert_eq!(state, Some(StoredState::Reversed), "{story}"),
        _ => (),
    }
}

/// No time changes once it is told, and the order fits its transactions.
async fn check_rows(f: &Fixture, order: &Order, known: &mut HashMap<TransactionId, StoredTransaction>, story: &str) {
    let rows = transactions::of_order(&f.store, order.id).await.unwrap();
    let order = f.find(order).await;
    let debited = rows.iter().filter(|row| row.state == StoredState::Debited);
    assert!(debited.count() <= 1, "{story}: {rows:#?}");
    let live = rows.iter().filter(|row| row.state == StoredState::Open);
    assert!(live.count() <= 1, "{story}: {rows:#?}");
    for row in &rows {
        assert_eq!(
            row.closed_at_ms.is_some(),
            matches!(row.state, StoredState::Closed | StoredState::Reversed),
            "{story}"
        );
        assert_eq!(row.closed_at_ms.is_some(), row.close_code.is_some(), "{story}");
        let was_debited = matches!(row.state, StoredState::Debited | StoredState::Reversed);
        assert_eq!(row.debited_at_ms.is_some(), was_debited, "{story}");
        if let Some(before) = known.insert(row.transaction_id, row.clone()) {
            let times =
                |row: &StoredTransaction| (row.created_at_ms, row.gateway_at_ms, row.amount, row.account.clone());
            assert_eq!(times(row), times(&before), "{story}");
            assert!(before.debited_at_ms.is_none() || row.debited_at_ms == before.debited_at_ms, "{story}");
            assert!(before.closed_at_ms.is_none() || row.closed_at_ms == before.closed_at_ms, "{story}");
        }
    }
    let allowed = rows.iter().find(|row| Some(row.transaction_id) == order.allowed_transaction_id);
    match order.status {
        OrderStatus::Confirming => assert!(allowed.is_some_and(|row| row.state != StoredState::Closed), "{story}"),
        OrderStatus::Pending => assert!(order.allowed_transaction_id.is_none(), "{story}"),
        OrderStatus::Paid => {
            let payer = rows.iter().find(|row| Some(row.transaction_id) == order.transaction_id).map(|row| row.state);
            assert!(matches!(payer, Some(StoredState::Debited | StoredState::Reversed)), "{story}");
        }
        OrderStatus::Refunded => assert!(rows.iter().any(|row| row.state == StoredState::Reversed), "{story}"),
        status => panic!("{status}: {story}"),
    }
}

/// What `settle_order` does with the rows of a telling gateway.
async fn settle(f: &Fixture, order: &Order) {
    let (order, rows) = (f.find(order).await, transactions::of_order(&f.store, order.id).await.unwrap());
    let of = |state| rows.iter().find(|row| row.state == state).map(|row| row.transaction_id);
    let is_reversed = |id: Option<TransactionId>| {
        id.filter(|id| rows.iter().any(|row| row.transaction_id == *id && row.state == StoredState::Reversed))
    };
    let settlement = match order.status {
        OrderStatus::Pending | OrderStatus::Confirming => match of(StoredState::Debited) {
            Some(transaction_id) => Settlement::Paid { transaction_id },
            None => match is_reversed(order.allowed_transaction_id) {
                Some(transaction_id) => {
                    Settlement::Reopened { transaction_id, link_is_closed: false, believed_after: Duration::ZERO }
                }
                None => Settlement::Unchanged,
            },
        },
        OrderStatus::Paid => match is_reversed(order.transaction_id) {
            Some(transaction_id) => Settlement::Refunded { transaction_id },
            None => Settlement::Unchanged,
        },
        _ => Settlement::Unchanged,
    };
    inquire(f, &order, &[], &settlement).await;
}
