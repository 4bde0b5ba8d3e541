//! Group commit: writes that come at the same time share a transaction, and each is answered as if it were alone.

use domain::callback_verdict::CallbackVerdict;
use domain::transaction::StoredState;
use std::collections::HashSet;
use std::time::Duration;

use domain::id::TransactionId;
use domain::job::{AttemptOutcome, ClaimedJob, QueueName};
use domain::order::{NewOrder, Order, OrderStatus};
use futures_util::future::join_all;
use sqlx::{Executor, PgConnection};
use store::callbacks::{self, Sender};
use store::idempotency::IdempotencyKey;
use store::jobs::Finish;
use store::kinds;
use store::orders::{self, Canceled, Created, Transition};
use store::settlement::{self, Settlement};
use store::transactions::{self, SeenTransaction};
use store::{StoreError, jobs};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, callback, new_link, new_order, on_every_database};

on_every_database! {
    callbacks_that_come_together_are_each_answered_by_their_own_rows
    both_drafts_of_an_order_asked_about_among_others_get_one_yes
    orders_that_are_asked_for_together_are_each_made_once
    links_that_are_stored_together_fail_one_by_one
    orders_that_are_settled_together_are_refused_one_by_one
    runs_that_end_together_lose_their_leases_one_by_one
}

/// More than one batch takes.
const MANY: i64 = 150;

async fn many_orders(f: &Fixture) -> Vec<Order> {
    let made = join_all((0..MANY).map(|_| async { f.order().await })).await;
    let numbers: HashSet<_> = made.iter().map(|order| order.id).collect();
    assert_eq!(numbers.len(), made.len(), "each has a number of its own");
    made
}

/// The orders' jobs on a queue, all due and claimed, in the order of `orders`.
async fn claimed(f: &Fixture, orders: &[Order], queue: QueueName) -> Vec<ClaimedJob> {
    let mut claimed = Vec::new();
    while claimed.len() < orders.len() {
        claimed.extend(f.claim(queue).await);
    }
    orders.iter().map(|order| claimed.iter().find(|job| subject_of(job) == order.id.0).unwrap().clone()).collect()
}

fn subject_of(job: &ClaimedJob) -> i64 {
    job.job.as_ref().unwrap().subject_id()
}

fn transaction_of(order: &Order) -> i64 {
    1_000 + order.id.0
}

async fn orders_with_links(f: &Fixture) -> Vec<Order> {
    let orders = many_orders(f).await;
    let jobs = claimed(f, &orders, QueueName::Links).await;
    let stored = join_all(orders.iter().zip(&jobs).map(|(order, job)| store_link(f, order, job))).await;
    assert!(stored.iter().all(|stored| matches!(stored, Ok(Transition::Made))), "{stored:?}");
    join_all(orders.iter().map(|order| f.find(order))).await
}

async fn store_link(f: &Fixture, order: &Order, job: &ClaimedJob) -> Result<Transition, StoreError> {
    let link = new_link(transaction_of(order));
    orders::store_link(&f.store, &job.lease, order, &link, PAYMENT_TTL_MS, f.store.now_ms()).await
}

/// Shows: INVARIANT-23
async fn callbacks_that_come_together_are_each_answered_by_their_own_rows(f: Fixture) {
    let orders = orders_with_links(&f).await;
    let asked = orders.iter().enumerate().map(|(place, order)| {
        let mut callback = callback(order, transaction_of(order));
        let mut sender = Sender::Heard;
        let verdict = match place % 7 {
            1 => {
                callback.amount = Some(5_001);
                CallbackVerdict::WrongAmount
            }
            2 => {
                callback.account = Some("0".into());
                CallbackVerdict::OtherAccount
            }
            3 => {
                callback.store_id = "99".into();
                CallbackVerdict::OtherStore
            }
            4 => {
                callback.transaction_id = Some(TransactionId(1_000_000 + order.id.0));
                CallbackVerdict::UnknownTransaction
            }
            5 => {
                sender = Sender::TurnedAway;
                CallbackVerdict::OtherAddress
            }
            _ => CallbackVerdict::Allowed,
        };
        (callback, sender, verdict)
    });
    let asked: Vec<_> = asked.collect();

    let answers = join_all(asked.iter().map(|(callback, sender, _)| f.ask_as(callback, *sender))).await;

    assert_eq!(answers, asked.iter().map(|(_, _, verdict)| *verdict).collect::<Vec<_>>());
    let jobs = jobs::list(&f.store, None, None, 1_000).await.unwrap();
    let is_woken = |callback: i64| jobs.iter().any(|job| job.woken_by == [callback]);
    for (order, verdict) in orders.iter().zip(answers) {
        let now = f.find(order).await;
        let (expected, allowed) = match verdict {
            CallbackVerdict::Allowed => (OrderStatus::Confirming, now.transaction_id),
            _ => (OrderStatus::Pending, None),
        };
        assert_eq!((now.status, now.allowed_transaction_id), (expected, allowed), "{verdict}");
        let is_known = verdict != CallbackVerdict::UnknownTransaction;
        assert_eq!(now.last_hint_at_ms.is_some(), is_known, "{verdict}");
        let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
        let verdicts: Vec<_> = kept.iter().map(|kept| kept.verdict.clone()).collect();
        assert_eq!(verdicts, [verdict][..usize::from(is_known)]);
        let stages = kept.first().is_some_and(|kept| is_woken(kept.id.0));
        assert_eq!(stages, is_known, "{verdict}");
        let entered = f.history(order).await.iter().filter(|(_, to)| *to == "confirming").count();
        assert_eq!(entered, usize::from(verdict == CallbackVerdict::Allowed));
    }
}

async fn both_drafts_of_an_order_asked_about_among_others_get_one_yes(f: Fixture) {
    let orders = orders_with_links(&f).await;
    for order in &orders {
        f.stray_draft(order, 5_000 + order.id.0).await;
    }
    let asked: Vec<(&Order, i64)> = orders
        .iter()
        .flat_map(|order| [transaction_of(order), 5_000 + order.id.0].map(|draft| (order, draft)))
        .collect();

    let answers = join_all(asked.iter().map(|(order, draft)| f.ask(order, *draft))).await;
    let repeated = join_all(asked.iter().map(|(order, draft)| f.ask(order, *draft))).await;

    for pair in answers.chunks(2) {
        let mut verdicts = [pair[0].as_str(), pair[1].as_str()];
        verdicts.sort_unstable();
        assert_eq!(verdicts, ["allowed", "second_transaction"]);
    }
    assert_eq!(repeated, answers, "an allowed draft stays allowed");
}

async fn orders_that_are_asked_for_together_are_each_made_once(f: Fixture) {
    let key = |key: &str| IdempotencyKey { key: key.into(), body_digest: "digest".into() };
    let mut referenced = new_order();
    referenced.reference = Some("R-1".into());
    let asked: Vec<_> = (0..MANY)
        .map(|place| match place % 5 {
            0 => (referenced.clone(), Some(key(&format!("key {place}")))),
            1 => (referenced.clone(), None),
            2 => (new_order(), Some(key("one key"))),
            3 => (new_order(), Some(key(&format!("key {place}")))),
            _ => (new_order(), None),
        })
        .collect();

    let made = join_all(asked.iter().map(|(new, key)| orders::create(&f.store, new, key.as_ref()))).await;

    let (mut new_orders, mut with_reference, mut with_one_key) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut freed = None;
    for ((new, key), made) in asked.iter().zip(made) {
        match made.unwrap() {
            Created::New(order) => {
                assert!(new_orders.insert(order.id), "no order is made for two");
                if new.reference.is_some() {
                    with_reference.insert(order.id);
                }
                if key.as_ref().is_some_and(|key| key.key == "one key") {
                    with_one_key.insert(order.id);
                }
            }
            Created::Repeated(order) => drop(with_one_key.insert(order.id)),
            Created::ReferenceTaken(order_id) => {
                with_reference.insert(order_id);
                freed = freed.or(key.clone());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((with_reference.len(), with_one_key.len()), (1, 1));
    assert_eq!(new_orders.len(), usize::try_from(MANY / 5 * 2 + 2).unwrap());
    let jobs = jobs::list(&f.store, None, None, 1_000).await.unwrap();
    assert_eq!(jobs.len(), new_orders.len(), "each has its job, and no other order has one");
    // The key of an order that was not made is free.
    assert!(matches!(orders::create(&f.store, &new_order(), freed.as_ref()).await, Ok(Created::New(_))));
}

/// Shows: INVARIANT-23
async fn links_that_are_stored_together_fail_one_by_one(f: Fixture) {
    let orders = many_orders(&f).await;
    let jobs = claimed(&f, &orders, QueueName::Links).await;
    let (canceled, stolen) = (&orders[3], &jobs[5]);
    assert!(matches!(orders::call_off(&f.store, canceled.id, "no more").await, Ok(Canceled::Done(_))));
    f.execute(&[format!("update jobs set lease_token = 1 where id = {}", stolen.lease.job_id)]).await;

    let stored = join_all(orders.iter().zip(&jobs).map(|(order, job)| store_link(&f, order, job))).await;

    for (place, (order, stored)) in orders.iter().zip(stored).enumerate() {
        let has_link = match place {
            3 => !matches!(stored, Ok(Transition::Refused)),
            5 => !matches!(stored, Err(StoreError::LeaseLost)),
            _ => matches!(stored, Ok(Transition::Made)),
        };
        assert_eq!(has_link, ![3, 5].contains(&place), "{place}: {stored:?}");
        let now = f.find(order).await;
        assert_eq!(now.payment_url.is_some(), has_link, "{place}");
        // Every draft is known, because a customer might pay it.
        let drafts = transactions::of_order(&f.store, order.id).await.unwrap();
        assert_eq!(drafts.len(), 1, "{place}");
        let inquiries = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
        let inquiries = inquiries.iter().filter(|job| job.kind == "settle_order").count();
        assert_eq!(inquiries, usize::from(place != 5), "{place}: the cancel staged one, too");
    }
}

/// Shows: INVARIANT-23
async fn orders_that_are_settled_together_are_refused_one_by_one(f: Fixture) {
    let orders = orders_with_links(&f).await;
    let jobs = claimed(&f, &orders, QueueName::Settle).await;
    let (canceled, stolen) = (&orders[3], &jobs[5]);
    f.execute(&[
        format!("update orders set status = 'canceled', final_at_ms = 1 where id = {}", canceled.id),
        format!("update jobs set lease_token = 1 where id = {}", stolen.lease.job_id),
    ])
    .await;

    let settled = join_all(orders.iter().zip(&jobs).enumerate().map(|(place, (order, job))| {
        let transaction_id = TransactionId(transaction_of(order));
        let (settlement, state) = match place % 2 {
            0 => (Settlement::Unchanged, StoredState::Open),
            _ => (Settlement::Paid { transaction_id }, StoredState::Debited),
        };
        let seen = [SeenTransaction { transaction_id, state, success_transaction_id: None, amount: None }];
        let finish = Finish::Snooze { until_ms: f.store.now_ms() + 60_000, queue: QueueName::Background };
        let store = &f.store;
        async move {
            let now_ms = store.now_ms();
            settlement::settle(store, &job.lease, order, now_ms, &seen, &settlement, &finish).await
        }
    }))
    .await;

    for (place, (order, settled)) in orders.iter().zip(settled).enumerate() {
        let expected = match (place, place % 2, settled) {
            (3, _, Ok(Transition::Refused)) => OrderStatus::Canceled,
            (5, _, Err(StoreError::LeaseLost)) => OrderStatus::Pending,
            (_, 0, Ok(Transition::Made)) => OrderStatus::Pending,
            (_, _, Ok(Transition::Made)) => OrderStatus::Paid,
            (_, _, other) => panic!("{place}: {other:?}"),
        };
        assert_eq!(f.find(order).await.status, expected, "{place}");
        let seen = &transactions::of_order(&f.store, order.id).await.unwrap()[0];
        assert_eq!(seen.state == StoredState::Debited, expected == OrderStatus::Paid, "{place}");
        let told = f.history(order).await.iter().filter(|(_, to)| *to == "paid").count();
        assert_eq!(told, usize::from(expected == OrderStatus::Paid), "{place}");
        let (state, _, queue) = f.state_of(jobs[place].lease.job_id).await;
        let expected = if [3, 5].contains(&place) { ("running", "settle") } else { ("available", "background") };
        assert_eq!((state.as_str(), queue.as_str()), expected, "{place}");
    }
}

async fn runs_that_end_together_lose_their_leases_one_by_one(f: Fixture) {
    let orders = many_orders(&f).await;
    let jobs = claimed(&f, &orders, QueueName::Links).await;
    f.execute(&[format!("update jobs set lease_token = 1 where id = {}", jobs[5].lease.job_id)]).await;
    let now_ms = f.store.now_ms();

    let ended = join_all(jobs.iter().enumerate().map(|(place, job)| {
        let finish = match place % 4 {
            0 => Finish::Complete,
            1 => Finish::Snooze { until_ms: now_ms + 60_000, queue: QueueName::Background },
            2 => Finish::Retry {
                not_before_ms: now_ms + 60_000,
                error: format!("trouble {place}"),
                outcome: AttemptOutcome::Failed,
            },
            _ => Finish::Release { not_before_ms: now_ms + 60_000, reason: None },
        };
        let store = &f.store;
        async move { jobs::finish_alone(store, &job.lease, &finish).await }
    }))
    .await;

    for (place, (job, ended)) in jobs.iter().zip(ended).enumerate() {
        assert_eq!(matches!(ended, Err(StoreError::LeaseLost)), place == 5, "{place}: {ended:?}");
        if place % 4 == 0 {
            assert!(f.is_complete(job.lease.job_id).await, "{place}");
            continue;
        }
        let row = jobs::show(&f.store, job.lease.job_id).await.unwrap().unwrap();
        let found = (row.state.as_str(), row.queue.as_str(), row.attempt, row.last_error);
        let expected = match (place, place % 4) {
            (5, _) => ("running", "links", 1, None),
            (_, 1) => ("available", "background", 0, None),
            (_, 2) => ("available", "links", 1, Some(format!("trouble {place}"))),
            (_, _) => ("available", "links", 0, None),
        };
        assert_eq!(found, expected, "{place}");
    }
}

/// Another transaction that is slow or hangs: writes to its orders wait, and no others do.
struct Held {
    connection: PgConnection,
}

impl Held {
    async fn orders(f: &Fixture, orders: &[&Order]) -> Self {
        let mut connection = f.connection().await;
        connection.execute("begin").await.unwrap();
        for order in orders {
            let lock = sqlx::query("select id from orders where id = $1 for update").bind(order.id.0);
            connection.execute(lock).await.unwrap();
        }
        Held { connection }
    }

    async fn let_go(mut self) {
        self.connection.execute("commit").await.unwrap();
    }
}

/// Well below the lock timeout.
const SOON: Duration = Duration::from_millis(1_500);

/// The writes of the other orders end soon; those of the locked orders end only after the lock is released.
async fn expect_others_first<T: std::fmt::Debug>(
    held: Held,
    of_held: Vec<impl Future<Output = T>>,
    of_others: Vec<impl Future<Output = T>>,
) -> (Vec<T>, Vec<T>) {
    let of_held = join_all(of_held);
    tokio::pin!(of_held);
    let others = tokio::time::timeout(SOON, join_all(of_others));
    let others = tokio::select! {
        biased; // the held ones come first, and are first in line
        early = &mut of_held => panic!("their orders are held, and they ended with {early:?}"),
        others = others => others.expect("no order waits for the lock of another"),
    };
    held.let_go().await;
    (of_held.await, others)
}

/// Shows: INVARIANT-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_a_locked_order_holds_up_no_other_order() {
    let f = Fixture::postgres().await;
    let orders = orders_with_links(&f).await;
    let (held, others) = orders.split_at(1);
    let lock = Held::orders(&f, &[&held[0]]).await;

    let ask = |order| f.ask(order, transaction_of(order));
    let (held, others) = expect_others_first(lock, vec![ask(&held[0])], others.iter().map(ask).collect()).await;

    assert!(others.iter().chain(&held).all(|verdict| *verdict == CallbackVerdict::Allowed), "{others:?}");
}

/// More than the writers of a queue.
/// Shows: INVARIANT-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_waits_for_locked_orders_hold_up_no_other_order() {
    let f = Fixture::postgres().await;
    let orders = orders_with_links(&f).await;
    let (held, others) = orders.split_at(8);
    let lock = Held::orders(&f, &held.iter().collect::<Vec<_>>()).await;

    let ask = |order| f.ask(order, transaction_of(order));
    let one_after_the_other = held.iter().zip(0..).map(|(order, place)| async move {
        tokio::time::sleep(Duration::from_millis(20 * place)).await;
        ask(order).await
    });
    let later = others.iter().map(|order| async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        ask(order).await
    });
    let (held, others) = expect_others_first(lock, one_after_the_other.collect(), later.collect()).await;

    assert!(others.iter().chain(&held).all(|verdict| *verdict == CallbackVerdict::Allowed), "{others:?}");
}

/// Shows: INVARIANT-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_order_holds_up_neither_links_nor_settlements_of_others() {
    let f = Fixture::postgres().await;
    let orders = many_orders(&f).await;
    let links = claimed(&f, &orders, QueueName::Links).await;
    let lock = Held::orders(&f, &[&orders[0]]).await;
    let store_link = |(order, job)| store_link(&f, order, job);
    let mut storing: Vec<_> = orders.iter().zip(&links).map(store_link).collect();
    let others = storing.split_off(1);

    let (held, others) = expect_others_first(lock, storing, others).await;
    assert!(others.iter().chain(&held).all(|stored| matches!(stored, Ok(Transition::Made))), "{others:?}");

    let inquiries = claimed(&f, &orders, QueueName::Settle).await;
    let lock = Held::orders(&f, &[&orders[0]]).await;
    let settle = |(order, job): (&Order, &ClaimedJob)| {
        let (store, lease, order) = (f.store.clone(), job.lease, order.clone());
        let paid = Settlement::Paid { transaction_id: TransactionId(transaction_of(&order)) };
        async move {
            let now_ms = store.now_ms();
            settlement::settle(&store, &lease, &order, now_ms, &[], &paid, &Finish::Complete).await
        }
    };
    let mut settling: Vec<_> = orders.iter().zip(&inquiries).map(settle).collect();
    let others = settling.split_off(1);

    let (held, others) = expect_others_first(lock, settling, others).await;
    assert!(others.iter().chain(&held).all(|settled| matches!(settled, Ok(Transition::Made))), "{others:?}");
}

/// A settlement has locked its job and takes its order next, while a callback about that order is in a batch with
/// others.
/// Shows: INVARIANT-23
#[tokio::test]
async fn an_order_whose_inquiry_is_locked_stays_free_for_the_holder_of_the_inquiry() {
    let f = Fixture::postgres().await;
    let (order, other) = (f.order_with_link(7).await, f.order_with_link(8).await);
    assert_eq!(f.ask(&other, 8).await, CallbackVerdict::Allowed);
    let mut holder = f.connection().await;
    holder.execute("begin").await.unwrap();
    let inquiry = sqlx::query("select id from jobs where kind = 'settle_order' and subject_id = $1 for update");
    assert_eq!(holder.execute(inquiry.bind(order.id.0)).await.unwrap().rows_affected(), 1);
    // This transaction is slow once it has locked its orders.
    let mut hanging = f.connection().await;
    hanging.execute("begin").await.unwrap();
    assert_eq!(hanging.execute("select id from callbacks for update").await.unwrap().rows_affected(), 1);

    let settling = async {
        let waiting = "select count(*) from pg_stat_activity where datname = current_database()
            and wait_event_type = 'Lock' and query like '-- keep_callbacks%'";
        while f.number(waiting).await == 0 {
            tokio::task::yield_now().await;
        }
        let its_order = sqlx::query("select id from orders where id = $1 for update nowait").bind(order.id.0);
        let locked = holder.execute(its_order).await.map(|done| done.rows_affected());
        holder.execute("rollback").await.unwrap();
        hanging.execute("rollback").await.unwrap();
        locked
    };
    let (first, second, locked) = tokio::join!(f.ask(&order, 7), f.ask(&other, 8), settling);

    assert_eq!(locked.unwrap(), 1);
    assert_eq!([first, second], [CallbackVerdict::Allowed; 2]);
}

/// Two processes that get the same requests in opposite order.
/// Shows: INVARIANT-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_requests_at_two_processes_do_not_wait_in_a_circle() {
    let f = Fixture::postgres().await;
    let other = f.another_process().await;
    for round in 0..20 {
        // As many as one batch takes.
        let asked: Vec<NewOrder> =
            (0..60).map(|place| NewOrder { reference: Some(format!("R-{round}-{place}")), ..new_order() }).collect();
        let here = join_all(asked.iter().map(|new| orders::create(&f.store, new, None)));
        let there = join_all(asked.iter().rev().map(|new| orders::create(&other, new, None)));

        let (here, there) = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(here, there) })
            .await
            .expect("no request waits for ever");

        let made =
            |all: &[Result<Created, StoreError>]| all.iter().filter(|made| matches!(made, Ok(Created::New(_)))).count();
        assert_eq!(made(&here) + made(&there), asked.len(), "each reference has one order");
    }
    let deadlocks = "select deadlocks::bigint from pg_stat_database where datname = current_database()";
    let deadlocks: i64 = sqlx::query_scalar(deadlocks).fetch_one(&mut f.connection().await).await.unwrap();
    assert_eq!(deadlocks, 0);
}
