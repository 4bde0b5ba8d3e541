//! Calls of gateways that begin their transactions by a call to us, in random order: repeated, at the same time, through two
//! processes, with calls of other accounts and the inquiries between them.

use std::collections::HashMap;
use std::sync::Arc;

use audit::{Against, Severity, Word};
use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, OrderToken, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::{GatewayIdentity, NewOrder, Order, OrderAccount};
use domain::transaction::{StoredTransaction, TransactionReport, TransactionState};
use futures_util::StreamExt;
use futures_util::future::join_all;
use store::auditing::{self, BATCH, OrderRecord};
use store::calls::{CallAnswer, CalledAccount};
use store::jobs::{self, Finish};
use store::kinds;
use store::orders::{self, Created, LocalLink, Transition};
use store::settlement::{self, Settlement};
use store::transactions::SeenTransaction;

use crate::support::fixture::calling::{payment_type, told};
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_order, on_every_database};

mod asked;
mod telling;

use asked::no_order_of_calls_pays_what_the_gateway_did_not_take;
use telling::no_order_of_calls_debits_twice_or_answers_a_repeat_differently;

on_every_database! {
    no_order_of_calls_debits_twice_or_answers_a_repeat_differently
    no_order_of_calls_pays_what_the_gateway_did_not_take
}

/// How many orders get a random sequence of calls; `TASDIQ_TEST_INTERLEAVINGS` sets another number.
const ORDERS: u64 = 200;

/// Orders that are called about at the same time, so that their calls share transactions of the database.
const AT_ONCE: usize = 16;

/// The acts of one order.
const ACTS: usize = 12;

/// Random numbers that depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Two processes over one database.
struct Processes([Fixture; 2]);

impl Processes {
    async fn over(f: Fixture) -> Self {
        let beside = f.beside().await;
        // So that an inquiry can be claimed by its number, and no order's inquiry is met by another order.
        for process in [&f, &beside] {
            process.store.enqueue_when_staged(vec![QueueName::Settle]);
        }
        Processes([f, beside])
    }

    fn first(&self) -> &Fixture {
        &self.0[0]
    }

    /// The same call, so often and at the same time, through one process and the other.
    async fn at_once(&self, times: u64, ask: impl AsyncFn(&Fixture) -> CallAnswer) -> Vec<CallAnswer> {
        join_all(self.0.iter().cycle().take(usize::try_from(times).unwrap()).map(|f| ask(f))).await
    }
}

/// Lets this walk go over many orders, some at a time. It is given two processes and the seed of its order, and returns
/// the order.
async fn many_orders(processes: &Processes, walk: impl AsyncFn(&Processes, u64) -> Order) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let orders = number("TASDIQ_TEST_INTERLEAVINGS").unwrap_or(ORDERS);
    let seed = number("TASDIQ_TEST_INTERLEAVINGS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{orders} orders, TASDIQ_TEST_INTERLEAVINGS_SEED={seed}");
    let walks = futures_util::stream::iter((0..orders).map(|number| walk(processes, seed * 1_000_003 + number)));
    let walked = walks.buffer_unordered(AT_ONCE).map(|order| order.id).collect::<Vec<OrderId>>().await;
    assert_eq!(walked.len() as u64, orders);

    let f = processes.first();
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
    let strange = f.number(
        "select count(*) from transactions join orders on orders.id = transactions.order_id
            where orders.gateway <> transactions.gateway",
    );
    assert_eq!(strange.await, 0, "an account got a transaction on an order of another account");
}

/// An audit of all orders finds nothing. `state` is what the gateway shows of a transaction.
pub(super) async fn audit_finds_nothing(
    f: &Fixture,
    gateway: &GatewayIdentity,
    state: impl Fn(&StoredTransaction) -> TransactionState,
) {
    let word = |row: &StoredTransaction| -> (TransactionId, Word) {
        let report = TransactionReport {
            transaction_id: row.transaction_id,
            account: row.order_id.to_string(),
            store_id: None,
            amount: row.amount,
            unpaid_payment_id: None,
            state: state(row),
        };
        (row.transaction_id, report.into())
    };
    let (mut after, mut audited) = (OrderId(0), 0);
    loop {
        let batch = auditing::next(&f.store, after, BATCH, None).await.unwrap();
        assert!(batch.unreadable.is_empty(), "{:?}", batch.unreadable);
        assert!(batch.jobs_without_order.is_empty(), "{:?}", batch.jobs_without_order);
        assert!(batch.callbacks_without_order.is_empty(), "{:?}", batch.callbacks_without_order);
        for record in &batch.orders {
            let OrderRecord { order, transactions, .. } = record;
            let words: HashMap<TransactionId, Word> = transactions.iter().map(word).collect();
            let against = Against { gateway, store_id: "", words: &words, now_ms: f.store.now_ms() };
            let mut differences = audit::examine(record, &against);
            differences.retain(|difference| difference.kind.severity() == Severity::Difference);
            assert!(differences.is_empty(), "order {}: {differences:?}, {record:#?}", order.id);
            audited += 1;
        }
        let Some(last) = batch.last else { break };
        after = last;
    }
    assert_eq!(audited, f.number("select count(*) from orders").await);
}

/// An order of this account, with its link, by the door that makes such orders.
async fn linked_order(f: &Fixture, account: &CalledAccount) -> Order {
    let write = |id: OrderId, _: &OrderToken| format!("http://gateway/{id}");
    let link = LocalLink { write: Arc::new(write), payment_ttl_ms: PAYMENT_TTL_MS };
    let account = OrderAccount { payment_type: payment_type(account), gateway: account.gateway.clone() };
    let new = NewOrder { account: Some(account), ..new_order() };
    match orders::create_linked(&f.store, &new, None, &link).await {
        Ok(Created::New(order)) => order,
        other => panic!("{other:?}"),
    }
}

/// Calls of an account that the order does not belong to, about the ids of its transactions: each is refused, has no row,
/// and leaves the order's own call alone.
async fn call_from(f: &Fixture, other: &CalledAccount, order: &Order, external_id: &str, story: &str) {
    let (begins, tells) = (f.begin_call(order, external_id), told(external_id));
    let (begun, debited, canceled) =
        tokio::join!(f.begin(other, &begins), f.debited(other, &tells), f.failed(other, &tells, -5_017));
    for answer in [begun, debited, canceled] {
        let is_unknown = matches!(answer.verdict, CallbackVerdict::UnknownOrder | CallbackVerdict::UnknownTransaction);
        assert!(is_unknown && answer.transaction.is_none(), "{}: {answer:?}, {story}", other.gateway);
    }
}

/// Runs the order's inquiry with what it saw and decided, as a worker does. Returns whether it was written.
pub(super) async fn inquire(
    f: &Fixture,
    order: &Order,
    seen: &[SeenTransaction],
    settlement: &Settlement,
) -> Transition {
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    let open = jobs.iter().find(|job| job.kind == "settle_order" && job.state.is_open()).expect("it is staged");
    let claimed = jobs::claim(&f.store, &[open.id]).await.unwrap();
    let [job] = claimed.as_slice() else { panic!("{open:?} is not claimed") };
    let now_ms = f.store.now_ms();
    let finish = Finish::Snooze { until_ms: now_ms + 86_400_000, queue: QueueName::Background };
    let settled = settlement::settle(&f.store, &job.lease, order, now_ms, seen, settlement, &finish).await.unwrap();
    if settled == Transition::Refused {
        jobs::finish_alone(&f.store, &job.lease, &finish).await.unwrap();
    }
    settled
}
