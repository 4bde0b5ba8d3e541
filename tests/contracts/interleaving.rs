//! Calls of a telling gateway in random order, repeated and at the same time, with the inquiries between them.

use std::collections::HashMap;
use std::time::Duration;

use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::order::{Order, OrderStatus};
use domain::transaction::{StoredState, StoredTransaction};
use futures_util::future::join_all;
use store::calls::{BeginCall, CallAnswer};
use store::settlement::Settlement;
use store::transactions;

use crate::support::fixture::calling::{HOUR_MS, telling, told};
use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    no_order_of_calls_debits_twice_or_answers_a_repeat_differently
}

/// How many orders get a random sequence of calls; `TASDIQ_TEST_INTERLEAVINGS` sets another number.
const ORDERS: u64 = 200;

/// Random numbers that depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Begin,
    Debited,
    Canceled,
    Settle,
    /// Twelve hours pass for this transaction.
    Age,
}

async fn no_order_of_calls_debits_twice_or_answers_a_repeat_differently(f: Fixture) {
    let orders =
        std::env::var("TASDIQ_TEST_INTERLEAVINGS").ok().and_then(|orders| orders.parse().ok()).unwrap_or(ORDERS);
    let seed = u64::from(std::process::id());
    for number in 0..orders {
        walk(&f, seed * 1_000_003 + number).await;
        // Its jobs are in no other order's way.
        f.put_off_inquiries().await;
    }

    let twice = f.number(
        "select count(*) from (select order_id from transactions where state = 'debited' group by order_id
            having count(*) > 1) as twice",
    );
    assert_eq!(twice.await, 0);
    let paid_twice = f.number(
        "select count(*) from (select order_id from order_history where to_status = 'paid' and from_status <> 'paid'
            group by order_id having count(*) > 1) as paid",
    );
    assert_eq!(paid_twice.await, 0);
    let lost = f.number("select count(*) from orders where status = 'confirming' and allowed_transaction_id is null");
    assert_eq!(lost.await, 0);
}

async fn walk(f: &Fixture, seed: u64) {
    let (account, mut dice) = (telling(), Dice(seed));
    let order = f.local_order(&account).await;
    let ids = ["a", "b", "c"].map(|name| format!("{name} {}", order.id));
    let calls: Vec<BeginCall> = ids.iter().map(|id| f.begin_call(&order, id)).collect();
    let mut known: HashMap<TransactionId, StoredTransaction> = HashMap::new();
    let mut told_so_far = Vec::new();
    for _ in 0..12 {
        let which = dice.roll(3) as usize;
        let act = match dice.roll(20) {
            0..7 => Act::Begin,
            7..12 => Act::Debited,
            12..15 => Act::Canceled,
            15..19 => Act::Settle,
            _ => Act::Age,
        };
        let at_once = 1 + dice.roll(3);
        told_so_far.push((act, which, at_once));
        let story = || format!("seed {seed}, order {}: {told_so_far:?}", order.id);
        let ask = || async {
            match act {
                Act::Begin => Some(f.begin(&account, &calls[which]).await),
                Act::Debited => Some(f.debited(&account, &told(&ids[which])).await),
                Act::Canceled => Some(f.canceled(&account, &ids[which], 3).await),
                Act::Settle | Act::Age => None,
            }
        };
        match act {
            Act::Settle => settle(f, &order).await,
            Act::Age => {
                let ms = 12 * HOUR_MS + 1_000;
                f.execute(&[format!(
                    "update transactions set gateway_at_ms = gateway_at_ms - {ms} where external_id = '{}'",
                    ids[which]
                )])
                .await;
                known.clear();
            }
            Act::Begin | Act::Debited | Act::Canceled => {
                let answers = join_all((0..at_once).map(|_| ask())).await;
                let answers: Vec<CallAnswer> = answers.into_iter().flatten().collect();
                let again = ask().await.unwrap();
                for answer in answers.iter().filter(|answer| answer.verdict != CallbackVerdict::TimedOut) {
                    assert_eq!(*answer, again, "{}", story());
                }
                check_answer(act, &again, &story());
            }
        }
        check_rows(f, &order, &mut known, &story()).await;
    }
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
    f.settle(&order, &settlement).await.unwrap();
}
