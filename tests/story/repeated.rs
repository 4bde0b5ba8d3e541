//! The gateway sends the same callback a hundred times, over sixteen connections: one effect, a hundred true answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use domain::id::OrderId;
use domain::job::JobKind;
use domain::order::OrderStatus;
use store::callbacks::{self, StoredVerdict};
use store::{Store, jobs, orders};

use crate::support::app::{Kind, TestApp};
use crate::support::doors::{Doors, Linked};
use crate::support::program::Program;
use crate::support::wait::{PATIENCE, wait_until};

/// The processes that answer the gateway.
#[derive(Clone, Copy)]
enum Answering {
    One(Kind),
    TwoApis,
}

macro_rules! however_it_is_answered {
    ($($(#[$attribute:meta])* $name:ident)+) => {
        however_it_is_answered! { @ embedded, Answering::One(Kind::Embedded), $($(#[$attribute])* $name)+ }
        however_it_is_answered! { @ servers, Answering::One(Kind::Servers), $($(#[$attribute])* $name)+ }
        however_it_is_answered! { @ two_apis, Answering::TwoApis, $($(#[$attribute])* $name)+ }
    };
    (@ $where:ident, $answering:expr, $($(#[$attribute:meta])* $name:ident)+) => {
        mod $where {
            use super::*;
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(Shop::start($answering).await).await; })+
        }
    };
}

however_it_is_answered! {
    an_allowed_callback_sent_a_hundred_times_has_one_effect
    a_callback_for_a_paid_order_sent_a_hundred_times_has_no_further_effect
    a_wrong_amount_sent_a_hundred_times_has_no_effect
    a_badly_signed_callback_sent_a_hundred_times_has_no_effect
    a_late_callback_sent_a_hundred_times_has_no_effect
    callbacks_that_race_the_payment_are_answered_rightly_at_every_moment
    two_drafts_asked_about_a_hundred_times_each_are_never_both_allowed
}

/// How many connections are open at once.
const CONNECTIONS: usize = 16;

const TIMES: usize = 100;

/// Records each callback that is added to an inquiry's row.
const WRITE_WAKINGS_DOWN_IN_SQLITE: &[&str] = &[
    "create trigger wakings_of_new after insert on jobs when new.woken_by is not null
        begin insert into wakings values (new.id); end",
    "create trigger wakings_of_open after update of woken_by on jobs
        when length(new.woken_by) > coalesce(length(old.woken_by), 0) begin insert into wakings values (new.id); end",
];
const WRITE_WAKINGS_DOWN_IN_POSTGRES: &[&str] = &[
    "create function write_waking_down() returns trigger language plpgsql as $$
        begin insert into wakings values (new.id); return null; end $$",
    "create trigger wakings_of_new after insert on jobs for each row when (new.woken_by is not null)
        execute function write_waking_down()",
    "create trigger wakings_of_open after update of woken_by on jobs for each row
        when (length(new.woken_by) > coalesce(length(old.woken_by), 0)) execute function write_waking_down()",
];

struct Shop {
    app: TestApp,
    doors: Vec<Doors>,
    store: Store,
    _another: Option<Program>,
}

impl Shop {
    async fn start(answering: Answering) -> Shop {
        let app = match answering {
            Answering::One(kind) => TestApp::start(kind).await,
            Answering::TwoApis => TestApp::start(Kind::Servers).await,
        };
        let mut doors = vec![Doors::clone(&app)];
        let mut another = None;
        if matches!(answering, Answering::TwoApis) {
            let (program, further) = app.another_api().await;
            doors.push(further);
            another = Some(program);
        }
        let store = app.store().await;
        app.execute("create table wakings (job_id bigint not null)").await;
        for statement in match answering {
            Answering::One(Kind::Embedded) => WRITE_WAKINGS_DOWN_IN_SQLITE,
            Answering::One(Kind::Servers) | Answering::TwoApis => WRITE_WAKINGS_DOWN_IN_POSTGRES,
        } {
            app.execute(statement).await;
        }
        Shop { app, doors, store, _another: another }
    }

    /// Delivers the body a hundred times. Returns the answered statuses, each with its count.
    async fn deliver(&self, body: &str) -> BTreeMap<i64, usize> {
        let never = Arc::new(AtomicBool::new(true));
        self.deliver_until(body, &never).await
    }

    /// Delivers the body over every connection until it was delivered a hundred times, and then until `is_over`.
    async fn deliver_until(&self, body: &str, is_over: &Arc<AtomicBool>) -> BTreeMap<i64, usize> {
        let begun = Arc::new(AtomicUsize::new(0));
        let connections = (0..CONNECTIONS).map(|number| {
            // Each client has a connection of its own.
            let at = &self.doors[number % self.doors.len()];
            let doors = Doors::new(at.url.clone(), at.sandbox_url.clone());
            let (begun, is_over, body) = (Arc::clone(&begun), Arc::clone(is_over), body.to_owned());
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while begun.fetch_add(1, Ordering::Relaxed) < TIMES || !is_over.load(Ordering::Relaxed) {
                    answers.push(doors.deliver(body.clone()).await.callback_status());
                }
                answers
            })
        });
        let mut statuses = BTreeMap::new();
        for connection in connections.collect::<Vec<_>>() {
            for status in connection.await.unwrap() {
                *statuses.entry(status).or_default() += 1;
            }
        }
        statuses
    }

    /// The stored verdicts about an order, each with its count.
    async fn verdicts(&self, order: &Linked) -> BTreeMap<&'static str, i64> {
        let kept = callbacks::of_order(&self.store, OrderId(order.id)).await.unwrap();
        let mut verdicts = BTreeMap::new();
        for callback in kept {
            let StoredVerdict::Known(verdict) = callback.verdict else { panic!("{callback:?}") };
            *verdicts.entry(verdict.as_str()).or_default() += callback.seen_count;
        }
        verdicts
    }

    /// How many times an inquiry was woken by a callback.
    async fn woken(&self) -> usize {
        // A run takes up each of them.
        wait_until("the inquiries that were woken", PATIENCE, async || {
            let inquiries = jobs::list(&self.store, None, Some(JobKind::SettleOrder), 1_000).await.unwrap();
            inquiries.iter().all(|inquiry| inquiry.woken_by.is_empty()).then_some(())
        })
        .await;
        usize::try_from(self.app.number("select count(*) from wakings").await).unwrap()
    }

    async fn statuses(&self, order: &Linked) -> Vec<String> {
        self.app.history(order.id).await.statuses().into_iter().map(str::to_owned).collect()
    }

    async fn sign(&self, order: &Linked, amount: &str) -> String {
        self.app.sign(order.transaction_id, order.id, amount).await
    }
}

/// The most jobs that may be staged: a repeated body that changes nothing stages none until ten seconds after the
/// first.
fn allowed_to_be_staged(since: Instant) -> usize {
    1 + usize::try_from(since.elapsed().as_secs() / 10).unwrap() * TIMES
}

/// Shows: MONEY-4, JOB-7
async fn an_allowed_callback_sent_a_hundred_times_has_one_effect(shop: Shop) {
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.00").await;
    let began = Instant::now();

    let answers = shop.deliver(&body).await;

    let limit = allowed_to_be_staged(began);
    assert_eq!(answers, BTreeMap::from([(1, TIMES)]));
    assert_eq!(shop.verdicts(&order).await, BTreeMap::from([("allowed", 100)]));
    assert_eq!(shop.statuses(&order).await, ["pending", "pending", "confirming"]);
    let row = orders::find(&shop.store, OrderId(order.id)).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.allowed_transaction_id.map(|id| id.0)),
        (OrderStatus::Confirming, Some(order.transaction_id))
    );
    let runs = shop.woken().await;
    assert!((1..=limit).contains(&runs), "{runs} runs");
    // The order can still be paid, once.
    assert_eq!(shop.app.pay(order.transaction_id).await, "debited");
    shop.app.wait_for(order.id, "paid").await;
    shop.app.audit(&[order.id]).await;
}

/// Shows: MONEY-3
async fn a_callback_for_a_paid_order_sent_a_hundred_times_has_no_further_effect(shop: Shop) {
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.00").await;
    assert_eq!(shop.app.pay(order.transaction_id).await, "debited");
    let paid = shop.app.wait_for(order.id, "paid").await;
    let before = shop.woken().await;
    let began = Instant::now();

    let answers = shop.deliver(&body).await;

    let limit = allowed_to_be_staged(began);
    assert_eq!(answers, BTreeMap::from([(1, TIMES)]), "the money was rightly taken");
    assert_eq!(shop.verdicts(&order).await.get("already_paid"), Some(&100));
    assert_eq!(shop.statuses(&order).await, ["pending", "pending", "confirming", "paid"]);
    assert_eq!(shop.app.order(order.id).await, paid);
    let runs = shop.woken().await - before;
    assert!((1..=limit).contains(&runs), "{runs} runs");
    shop.app.audit(&[order.id]).await;
}

/// Shows: MONEY-4
async fn a_wrong_amount_sent_a_hundred_times_has_no_effect(shop: Shop) {
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.01").await;
    let began = Instant::now();

    let answers = shop.deliver(&body).await;

    let limit = allowed_to_be_staged(began);
    assert_eq!(answers, BTreeMap::from([(0, TIMES)]));
    assert_eq!(shop.verdicts(&order).await, BTreeMap::from([("wrong_amount", 100)]));
    assert_eq!(shop.statuses(&order).await, ["pending", "pending"]);
    let runs = shop.woken().await;
    assert!((1..=limit).contains(&runs), "rightly signed, so an inquiry is due: {runs} runs");
    let row = orders::find(&shop.store, OrderId(order.id)).await.unwrap().unwrap();
    assert_eq!((row.status, row.allowed_transaction_id), (OrderStatus::Pending, None));
}

/// Shows: MONEY-4, JOB-6
async fn a_badly_signed_callback_sent_a_hundred_times_has_no_effect(shop: Shop) {
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.00").await.replace("\"sign\":\"", "\"sign\":\"f");

    let answers = shop.deliver(&body).await;

    assert_eq!(answers, BTreeMap::from([(0, TIMES)]));
    assert_eq!(shop.verdicts(&order).await, BTreeMap::new(), "it is about no order");
    let kept = callbacks::newest(&shop.store, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].verdict.as_str(), kept[0].seen_count), ("badly_signed", 100));
    assert_eq!(shop.statuses(&order).await, ["pending", "pending"]);
    assert_eq!(shop.woken().await, 0);
    let row = orders::find(&shop.store, OrderId(order.id)).await.unwrap().unwrap();
    assert_eq!(row.last_hint_at_ms, None, "and is no hint");
}

/// Shows: MONEY-4
async fn a_late_callback_sent_a_hundred_times_has_no_effect(shop: Shop) {
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.00").await;
    shop.app.execute(&format!("update orders set expires_at_ms = created_at_ms - 1 where id = {}", order.id)).await;

    let answers = shop.deliver(&body).await;

    assert_eq!(answers, BTreeMap::from([(0, TIMES)]));
    assert_eq!(shop.verdicts(&order).await, BTreeMap::from([("late", 100)]));
    // The callback was a hint, so an inquiry comes, and finds no money.
    shop.app.wait_for(order.id, "expired").await;
    assert_eq!(shop.statuses(&order).await, ["pending", "pending", "expired"]);
}

/// Shows: MONEY-2
async fn callbacks_that_race_the_payment_are_answered_rightly_at_every_moment(shop: Shop) {
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.00").await;
    let is_paid = Arc::new(AtomicBool::new(false));

    let paying = async {
        assert_eq!(shop.app.pay(order.transaction_id).await, "debited");
        shop.app.wait_for(order.id, "paid").await;
        is_paid.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(shop.deliver_until(&body, &is_paid), paying);
    // At least one more delivery after the payment.
    let afterwards = shop.deliver(&body).await;

    // This draft may debit before, during and after its debit: yes is true at every moment.
    let sent = answers.get(&1).copied().unwrap_or_default();
    assert_eq!((answers.len(), afterwards), (1, BTreeMap::from([(1, TIMES)])), "{answers:?}");
    let verdicts = shop.verdicts(&order).await;
    let asked_by_the_payment = 1;
    let seen: i64 = verdicts.values().sum();
    assert_eq!(usize::try_from(seen).unwrap(), sent + TIMES + asked_by_the_payment, "{verdicts:?}");
    assert!(verdicts.keys().all(|verdict| ["allowed", "already_paid"].contains(verdict)), "{verdicts:?}");
    assert!(verdicts["already_paid"] >= 100, "{verdicts:?}");
    assert_eq!(shop.statuses(&order).await, ["pending", "pending", "confirming", "paid"]);
    shop.app.audit(&[order.id]).await;
}

/// Shows: MONEY-1
async fn two_drafts_asked_about_a_hundred_times_each_are_never_both_allowed(shop: Shop) {
    let first = shop.app.order_with_link().await;
    let stray = Linked { transaction_id: first.transaction_id + 1_000_000, ..first.clone() };
    shop.app
        .execute(&format!(
            "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
            select gateway, {}, order_id, amount, state, created_at_ms from transactions where order_id = {}",
            stray.transaction_id, first.id
        ))
        .await;
    let (of_first, of_stray) = (shop.sign(&first, "50.00").await, shop.sign(&stray, "50.00").await);

    let (one, two) = tokio::join!(shop.deliver(&of_first), shop.deliver(&of_stray));

    let mut answers = [one, two];
    answers.sort();
    assert_eq!(answers, [BTreeMap::from([(0, TIMES)]), BTreeMap::from([(1, TIMES)])]);
    assert_eq!(shop.verdicts(&first).await, BTreeMap::from([("allowed", 100), ("second_transaction", 100)]));
    assert_eq!(shop.statuses(&first).await, ["pending", "pending", "confirming"]);
}

/// A repetition long after the last one brings another inquiry. It wakes the inquiry's row and locks the order, and at
/// that moment the inquiry is about to lock both, too.
/// Shows: MONEY-4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_that_is_repeated_for_long_gets_its_answers_without_a_deadlock() {
    let shop = Shop::start(Answering::TwoApis).await;
    let order = shop.app.order_with_link().await;
    let body = shop.sign(&order, "50.00").await;
    assert_eq!(shop.app.deliver(body.clone()).await.callback_status(), 1);
    let is_over = Arc::new(AtomicBool::new(false));
    let passing_time = async {
        for _ in 0..20 {
            shop.app.execute("update callbacks set hinted_at_ms = hinted_at_ms - 3600000").await;
        }
        is_over.store(true, Ordering::Relaxed);
    };

    let (answers, ()) = tokio::join!(shop.deliver_until(&body, &is_over), passing_time);

    assert!(answers.len() == 1 && answers[&1] >= TIMES, "{answers:?}");
    assert!(shop.woken().await > 1, "they were staged again");
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(shop.app.number(deadlocks).await, 0);
}
