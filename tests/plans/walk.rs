//! A walk through the product's statements, each run several times.

use domain::callback_verdict::CallbackVerdict;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::id::{CallbackId, JobId, OrderId, TransactionId};
use domain::job::{Job, Lease, QueueName};
use domain::order::{GatewayIdentity, Order, OrderStatus, PaymentType};
use domain::transaction::{Callback, StoredState};
use store::auditing;
use store::callbacks::{self, ReceivedBody, Sender, Wanted};
use store::idempotency::IdempotencyKey;
use store::jobs::{self, DeadLetteredBy, Finish, SuspectGroup};
use store::kinds;
use store::orders::{self, Created, Transition};
use store::refunds::{self, NewRefund, Requested};
use store::reviewing::{self, Decision, Resolved};
use store::settlement::{self, Settlement};
use store::transactions::{self, SeenTransaction};
use store::{Store, sweeping};

use super::{calls, lists};
use crate::support::filling::{FillSize, TOKEN, UNDER_WAY};
use crate::support::fixture::{DEBIT_WITHIN, gateway, new_link, new_order};

/// PostgreSQL decides about the plan of a prepared statement at its sixth execution.
const TIMES: i64 = 8;

/// The shortest time that each step took.
#[derive(Debug, Default)]
pub(super) struct Times(pub(super) BTreeMap<&'static str, Duration>);

impl Times {
    pub(super) async fn of<T>(&mut self, step: &'static str, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        let took = began.elapsed();
        self.0.entry(step).and_modify(|shortest| *shortest = took.min(*shortest)).or_insert(took);
        done
    }
}

/// Walks through an installation of this extent, as relays, workers, APIs and operators do.
pub(super) async fn walk(store: &Store, extent: FillSize) -> Times {
    let mut times = Times::default();
    for round in 0..TIMES {
        relay(store, extent, round, &mut times).await;
        work(store, &mut times).await;
        one_order(store, extent, round, &mut times).await;
        operate(store, extent, round, &mut times).await;
        audit(store, extent, round, &mut times).await;
        calls::walk(store, extent, round, &mut times).await;
        lists::walk(store, extent, round, &mut times).await;
    }
    times
}

async fn relay(store: &Store, extent: FillSize, round: i64, times: &mut Times) {
    let due = times.of("earliest_due", jobs::earliest_due(store, true)).await.unwrap();
    assert!(due.iter().any(|due| due.available_ms.is_some_and(|at_ms| at_ms < store.now_ms())), "{due:?}");
    times.of("oldest_due", jobs::oldest_due_age_ms(store, QueueName::ALL)).await.unwrap();
    // Fewer than are overdue, so that each round finds some.
    let again = times.of("enqueue_again", jobs::enqueue_again(store, QueueName::Settle, 20)).await.unwrap();
    assert_eq!(again.len(), 20);
    times.of("count_enqueued", jobs::count_enqueued(store, QueueName::Settle)).await.unwrap();
    times.of("count_enqueued", jobs::count_enqueued(store, QueueName::Background)).await.unwrap();
    let crashed = times.of("recover_crashed", kinds::recover_crashed(store, QueueName::Settle)).await.unwrap();
    assert_eq!(crashed.len(), if round == 0 { 100 } else { 0 });
    for queue in [QueueName::Links, QueueName::Background] {
        times.of("nothing is due", jobs::enqueue(store, queue, 500)).await.unwrap();
    }
    // None of these is a suspect, and none runs under this token.
    let ids = vec![JobId(extent.jobs + 1), JobId(extent.jobs + 2)];
    assert_eq!(times.of("group_suspects", jobs::group_suspects(store, &ids)).await.unwrap(), []);
    let group = SuspectGroup { jobs: ids, crashes: 2, token: TOKEN + 1 };
    assert_eq!(times.of("end leases of suspects", jobs::end_leases_of_suspects(store, &group)).await.unwrap(), 0);
    // An expired lease of a job that has crashed often enough. The store's function is called directly, without the
    // search for such jobs.
    let lost = JobId(extent.jobs + 2 * UNDER_WAY + 2 * (round + 1));
    let dead_lettered =
        kinds::dead_letter(store, DeadLetteredBy::Relay { id: lost, crashes: 0 }, "it crashed", false).await;
    assert!(dead_lettered.is_err(), "its lease lasts");
}

async fn work(store: &Store, times: &mut Times) {
    let ids = times.of("enqueue", jobs::enqueue(store, QueueName::Settle, 32)).await.unwrap();
    assert_eq!(ids.len(), 32, "there is a backlog");
    let claimed = times.of("claim", jobs::claim(store, &ids)).await.unwrap();
    assert_eq!(claimed.len(), 32);
    let leases: Vec<Lease> = claimed.iter().map(|job| job.lease).collect();
    let renewed = times.of("renew", jobs::renew(store, &leases)).await.unwrap();
    assert_eq!(renewed.len(), 32);
    for lease in &leases[..4] {
        times.of("finish", jobs::finish_alone(store, lease, &Finish::Complete)).await.unwrap();
    }
    let snooze = Finish::Snooze { until_ms: store.now_ms() + 86_400_000, queue: QueueName::Background };
    times.of("finish", jobs::finish_alone(store, &leases[4], &snooze)).await.unwrap();
    let (dead, reason) = (DeadLetteredBy::Worker(&leases[5]), "no");
    times.of("dead_letter", kinds::dead_letter(store, dead, reason, false)).await.unwrap();
    // The others are treated as finished: a lease that is not ours ends nothing.
    let foreign = Lease { token: TOKEN, ..leases[6] };
    assert!(times.of("finish", jobs::finish_alone(store, &foreign, &Finish::Complete)).await.is_err());
    for lease in &leases[6..] {
        jobs::finish_alone(store, lease, &Finish::Complete).await.unwrap();
    }
}

async fn one_order(store: &Store, extent: FillSize, round: i64, times: &mut Times) {
    let key = IdempotencyKey { key: format!("fresh {round}"), body_digest: "digest".into() };
    times.of("create", orders::create(store, &new_order(), Some(&key))).await.unwrap();
    times.of("create again", orders::create(store, &new_order(), Some(&key))).await.unwrap();
    make_link(store, round, times).await;
    // An open order with its link: these have even numbers.
    let order_id = OrderId((extent.orders + 2 * (round + 1)) / 2 * 2);
    let order = times.of("find", orders::find(store, order_id)).await.unwrap().unwrap();
    times.of("find_by_token", orders::find_by_token(store, &order.token)).await.unwrap().unwrap();
    times.of("history", orders::history(store, order_id)).await.unwrap();
    assert!(times.of("hint", orders::hint_from_return_page(store, order_id)).await.unwrap());
    let transaction_id = TransactionId(1_000_000 + order_id.0);
    let callback = Callback {
        store_id: "1234".into(),
        transaction_id: Some(transaction_id),
        account: Some(order_id.to_string()),
        amount: Some(order.amount.get()),
        signature: "signature".into(),
    };
    let digest = format!("fresh {order_id}");
    let body = ReceivedBody { bytes: digest.as_bytes(), digest: &digest, address: None };
    for _ in 0..2 {
        let gateway = gateway();
        let answer = callbacks::answer(store, &gateway, "1234", DEBIT_WITHIN, &callback, body, Sender::Heard);
        let answer = times.of("answer", answer).await.unwrap();
        assert_eq!(answer, CallbackVerdict::Allowed);
    }
    let unproven = format!("unproven {order_id}");
    let unproven = ReceivedBody { bytes: unproven.as_bytes(), digest: &unproven, address: None };
    for _ in 0..2 {
        assert!(
            times
                .of(
                    "unproven",
                    callbacks::keep_unproven(store, PaymentType::Atmos, unproven, CallbackVerdict::BadlySigned)
                )
                .await
                .unwrap()
        );
    }
    let kept = times.of("callbacks of order", callbacks::of_order(store, order_id)).await.unwrap().remove(0);
    times.of("find callback", callbacks::find(store, kept.id)).await.unwrap().unwrap();
    times.of("find callback", callbacks::find(store, CallbackId(1))).await.unwrap().unwrap();
    let since_ms = store.now_ms() - 1_800_000;
    let newest = Wanted { verdict: None, order_id: None, since_ms, limit: 20 };
    assert!(!times.of("list callbacks", callbacks::list(store, newest)).await.unwrap().is_empty());
    let wanted = Wanted { order_id: Some(order_id), ..newest };
    assert_eq!(times.of("list callbacks of order", callbacks::list(store, wanted)).await.unwrap().len(), 1);
    assert!(!times.of("proofs", callbacks::proofs(store)).await.unwrap().is_empty());
    times.of("transactions of order", transactions::of_order(store, order_id)).await.unwrap();
    // Its `settle_order` is enqueued already: claimed, woken while it runs, and ended with the payment.
    let inquiry = kinds::jobs_of_order(store, order_id).await.unwrap().remove(0);
    let claimed = times.of("claim one", jobs::claim(store, &[inquiry.id])).await.unwrap().remove(0);
    times.of("stage", jobs::stage_now(store, Job::SettleOrder { order_id })).await.unwrap();
    let paid = Settlement::Paid { transaction_id };
    let later = Finish::Snooze { until_ms: store.now_ms() + 86_400_000, queue: QueueName::Background };
    let now_ms = store.now_ms();
    let seen = [SeenTransaction {
        transaction_id,
        state: StoredState::Debited,
        success_transaction_id: Some(TransactionId(transaction_id.0 + 1_000_000_000)),
        amount: None,
    }];
    let made =
        times.of("settle", settlement::settle(store, &claimed.lease, &order, now_ms, &seen, &paid, &later)).await;
    assert_eq!(made.unwrap(), Transition::Made);
    give_back(store, &order, &claimed.lease, times).await;
}

/// A new order gets its link, which converts its job into the first inquiry.
async fn make_link(store: &Store, round: i64, times: &mut Times) {
    store.enqueue_when_staged(vec![QueueName::Links]);
    let Created::New(order) = orders::create(store, &new_order(), None).await.unwrap() else { panic!("it is new") };
    store.enqueue_when_staged(Vec::new());
    let ids = store.take_recent().enqueued.remove(&QueueName::Links).expect("it is enqueued");
    let link = jobs::claim(store, &ids).await.unwrap().remove(0);
    let (draft, inquiry_ms) = (new_link(500_000_000 + round), store.now_ms() + 3_600_000);
    let stored = times.of("link", orders::store_link(store, &link.lease, &order, &draft, 1_800_000, inquiry_ms)).await;
    assert_eq!(stored.unwrap(), Transition::Made);
}

/// The order is refunded. The refund's job waits behind the backlog, so the writes of its run are tried without its
/// lease.
async fn give_back(store: &Store, order: &Order, lease: &Lease, times: &mut Times) {
    let new = NewRefund { order_id: order.id, amount: order.amount, reason: None, requested_by: "shop".into() };
    let asked = times.of("refund", refunds::request(store, &new, None)).await.unwrap();
    let Requested::New(refund) = asked else { panic!("{asked:?}") };
    let again = times.of("refund again", refunds::request(store, &new, None)).await.unwrap();
    assert!(matches!(again, Requested::InProgress(_)), "{again:?}");
    times.of("find refund", refunds::find(store, refund.id)).await.unwrap().unwrap();
    times.of("jobs of order", kinds::jobs_of_order(store, order.id)).await.unwrap();
    assert!(times.of("begin sending", refunds::begin_sending(store, lease, refund.id)).await.is_err());
}

async fn operate(store: &Store, extent: FillSize, round: i64, times: &mut Times) {
    times.of("seed", jobs::seed(store, Job::Sweep)).await.unwrap();
    times.of("restore", sweeping::restore(store, &[gateway()])).await.unwrap();
    times.of("prune", sweeping::prune(store, Duration::from_secs(1))).await.unwrap();
    let elsewhere = GatewayIdentity("atmos:1".into());
    times.of("open elsewhere", orders::open_elsewhere(store, &[elsewhere])).await.unwrap();
    times.of("open by account", orders::open_by_account(store)).await.unwrap();
    times.of("count_open", orders::count_open(store)).await.unwrap();
    let waiting = times.of("waiting", reviewing::waiting(store, 50)).await.unwrap().orders;
    let first = &waiting.first().expect("jobs died, and their orders wait for a person").order;
    let status = if first.status == OrderStatus::Review { OrderStatus::Canceled } else { first.status };
    let decision = Decision { status, by: "Olim".into(), reason: "seen".into(), transaction_id: None, findings: None };
    let resolved = times.of("resolve", reviewing::resolve(store, first.id, &decision)).await.unwrap();
    assert_eq!(resolved, Resolved::Settled(status));
    times.of("newest callbacks", callbacks::newest(store, 20)).await.unwrap();
    times.of("newest jobs", jobs::list(store, None, None, 50)).await.unwrap();
    times.of("count_dead", jobs::count_dead(store)).await.unwrap();
    times.of("failed attempts", jobs::failed_attempts(store, JobId(1))).await.unwrap();
    times.of("jobs of order", kinds::jobs_of_order(store, OrderId(extent.orders / 2 + round))).await.unwrap();
}

/// Orders in the middle: in a row, then each by its number.
async fn audit(store: &Store, extent: FillSize, round: i64, times: &mut Times) {
    const ORDERS: usize = 20;
    let after = OrderId(extent.orders / 3 + 20 * round);
    let batch = times.of("audit next", auditing::next(store, after, ORDERS, None)).await.unwrap();
    let ids: Vec<OrderId> = batch.orders.iter().map(|record| record.order.id).collect();
    assert_eq!(ids.len(), ORDERS);
    let again = times.of("audit these", auditing::these(store, &ids)).await.unwrap();
    for record in batch.orders.iter().chain(&again.orders) {
        let found = (record.history.len(), record.transactions.len(), record.refunds.len(), record.callbacks.len());
        assert_eq!(found, (1, 1, 1, 1), "{record:?}");
        assert!(!record.jobs.is_empty(), "{record:?}");
    }
    let asked: Vec<TransactionId> = ids.iter().map(|id| TransactionId(1_000_000 + id.0)).collect();
    let ours = GatewayIdentity("sandbox:1234".into());
    let known = times.of("known transactions", auditing::known_transactions(store, &ours, &asked)).await.unwrap();
    assert_eq!(known.len(), ORDERS);
}

/// The further statements of an embedded start. Afterwards every lease and every grace has ended.
pub(super) async fn start_embedded(store: &Store) -> Times {
    let mut times = Times::default();
    for _ in 0..TIMES {
        times.of("end_all_leases", jobs::end_all_leases(store)).await.unwrap();
        times.of("enqueue_all_again", jobs::enqueue_all_again(store)).await.unwrap();
    }
    times
}
