//! Rules of the design that no other contract tests.

use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, TransactionId};
use domain::job::{AttemptOutcome, Job, JobState, QueueName};
use domain::order::{GatewayIdentity, Order, OrderStatus};
use sqlx::Executor;
use store::jobs::{self, Finish};
use store::kinds;
use store::orders::{self, Transition};
use store::settlement::{self, CONFIRMING_GRACE_MS, MAX_LINKS, Settlement};
use store::sweeping::{self, DEAD_AND_CALLBACKS_MS, FINISHED_JOBS_MS, Swept, UNPROVEN_MS};
use store::transactions;

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, gateway, new_link, new_order, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    staging_does_what_the_open_row_needs
    crashes_are_counted_apart_from_attempts_and_end_with_a_good_run
    a_snooze_gives_the_attempt_back
    an_order_has_one_open_inquiry_from_its_link_on
    the_time_to_pay_begins_with_the_first_link_and_stays
    an_order_gets_three_links_at_most
    a_link_for_an_order_that_cannot_be_paid_any_more_is_recorded_alone
    an_order_that_never_got_its_link_expires_and_is_asked_about_once_more
    a_confirming_order_expires_only_ten_minutes_after_its_time_and_its_last_callback
    the_same_bytes_are_answered_by_how_the_order_stands_now
    the_return_page_hints_ever_less_often_and_thirty_times_at_most
    orders_of_a_gateway_that_is_gone_go_before_a_person_three_days_after_their_time
    late_inquiries_about_orders_that_ended_in_one_moment_are_all_restored
    sweep_restores_no_inquiry_after_the_last_late_one
    further_hints_of_the_return_page_bring_one_inquiry_each_and_come_less_often
    what_its_time_has_run_out_for_is_deleted_and_nothing_else
}

const HOUR_MS: i64 = 3_600_000;

async fn open_inquiries(f: &Fixture, order: &Order) -> usize {
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    let is_open = |state| matches!(state, JobState::Available | JobState::Enqueued | JobState::Running);
    jobs.iter().filter(|job| job.kind == "settle_order" && is_open(job.state)).count()
}

/// Shows: JOB-1
async fn staging_does_what_the_open_row_needs(f: Fixture) {
    let order = f.order_with_link(7).await;
    let stage = async || jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    let inquiry = async || kinds::jobs_of_order(&f.store, order.id).await.unwrap().remove(0);

    // Available: no later than it was, and no later than asked for.
    stage().await;
    let available = inquiry().await;
    assert!(available.due_at_ms <= f.store.now_ms());
    stage().await;
    assert_eq!(inquiry().await.due_at_ms, available.due_at_ms, "the earlier time stays");
    // Enqueued: nothing.
    let ids = jobs::enqueue(&f.store, QueueName::Settle, 10).await.unwrap();
    let enqueued = inquiry().await;
    stage().await;
    let staged = inquiry().await;
    assert_eq!((staged.state, staged.due_at_ms), (JobState::Enqueued, enqueued.due_at_ms));
    // Running: told to run again, with its lease unchanged.
    let claimed = jobs::claim(&f.store, &ids).await.unwrap().remove(0);
    let running = inquiry().await;
    stage().await;
    assert_eq!((inquiry().await.state, inquiry().await.due_at_ms), (JobState::Running, running.due_at_ms));
    jobs::finish_alone(&f.store, &claimed.lease, &Finish::Complete).await.unwrap();
    assert_eq!(inquiry().await.state, JobState::Available, "woken");
    // Finished: a new row.
    let again = f.claim_one(QueueName::Settle).await;
    jobs::finish_alone(&f.store, &again.lease, &Finish::Complete).await.unwrap();
    stage().await;
    assert_ne!(inquiry().await.id, again.lease.job_id);
    assert_eq!(open_inquiries(&f, &order).await, 1);
}

/// Shows: JOB-19
async fn crashes_are_counted_apart_from_attempts_and_end_with_a_good_run(f: Fixture) {
    let order = f.order_with_link(7).await;
    let failed = f.settle_job(&order).await;
    let retry =
        Finish::Retry { not_before_ms: 0, error: "the gateway is away".into(), outcome: AttemptOutcome::Failed };
    jobs::finish_alone(&f.store, &failed.lease, &retry).await.unwrap();
    f.claim_one(QueueName::Settle).await;
    jobs::end_all_leases(&f.store).await.unwrap();

    assert_eq!(kinds::recover_crashed(&f.store, QueueName::Settle).await.unwrap()[0].crashes, 1);

    let again = f.claim_one(QueueName::Settle).await;
    assert_eq!((again.crashes, again.attempt), (1, 3), "its second attempt crashed");
    jobs::finish_alone(&f.store, &again.lease, &retry).await.unwrap();
    assert_eq!(f.state_of(again.lease.job_id).await.1, 0, "a run that came to its end is no crash in a row");
}

/// Shows: JOB-16
async fn a_snooze_gives_the_attempt_back(f: Fixture) {
    let order = f.order_with_link(7).await;
    let inquiry = f.settle_job(&order).await;
    let snooze = Finish::Snooze { until_ms: 0, queue: QueueName::Settle };

    jobs::finish_alone(&f.store, &inquiry.lease, &snooze).await.unwrap();

    assert_eq!(f.claim_one(QueueName::Settle).await.attempt, 1);
}

/// Shows: JOB-4
async fn an_order_has_one_open_inquiry_from_its_link_on(f: Fixture) {
    let order = f.order().await;
    assert_eq!(open_inquiries(&f, &order).await, 0);
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    assert_eq!(open_inquiries(&f, &order).await, 1, "staged with the link");
    f.ask(&order, 7).await;
    orders::hint_from_return_page(&f.store, order.id).await.unwrap();
    assert_eq!(open_inquiries(&f, &order).await, 1, "woken and hinted at");
    let inquiry = f.claim_one(QueueName::Settle).await;
    jobs::finish_alone(&f.store, &inquiry.lease, &Finish::Release { not_before_ms: 0, reason: None }).await.unwrap();
    f.pay(&order, 7).await;
    assert_eq!(open_inquiries(&f, &order).await, 1, "the late inquiries");
    let last = f.settle_job(&order).await;
    jobs::finish_alone(&f.store, &last.lease, &Finish::Complete).await.unwrap();
    assert_eq!(open_inquiries(&f, &order).await, 0);
}

/// Shows: MONEY-7, MONEY-11
async fn the_time_to_pay_begins_with_the_first_link_and_stays(f: Fixture) {
    let order = f.order().await;
    assert_eq!(f.find(&order).await.expires_at_ms, None, "no link, no end");
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    let linked = f.find(&order).await;
    assert_eq!(linked.expires_at_ms, linked.link_at_ms.map(|at_ms| at_ms + PAYMENT_TTL_MS));

    f.settle(&linked, &Settlement::LinkClosed { transaction_id: TransactionId(7) }).await.unwrap();
    f.link(&order, 8, PAYMENT_TTL_MS + HOUR_MS).await;

    let again = f.find(&order).await;
    assert_eq!(again.transaction_id, Some(TransactionId(8)));
    assert_eq!(again.expires_at_ms, linked.expires_at_ms);
}

/// Shows: MONEY-7
async fn an_order_gets_three_links_at_most(f: Fixture) {
    let order = f.order().await;
    for link in 1..=MAX_LINKS {
        f.link(&order, link, PAYMENT_TTL_MS).await;
        let closed = Settlement::LinkClosed { transaction_id: TransactionId(link) };
        let expected = if link < 3 { Transition::Made } else { Transition::Refused };
        let linked = f.find(&order).await;
        assert_eq!(f.settle(&linked, &closed).await.unwrap(), expected, "link {link}");
    }

    assert_eq!(f.claim(QueueName::Links).await.len(), 0);
    assert_eq!(f.find(&order).await.transaction_id, Some(TransactionId(3)), "it just runs to its end");
}

/// Shows: MONEY-10
async fn a_link_for_an_order_that_cannot_be_paid_any_more_is_recorded_alone(f: Fixture) {
    let order = f.order().await;
    let running = f.claim_one(QueueName::Links).await;
    f.execute(&["update orders set status = 'canceled'".to_owned()]).await;

    let late = orders::store_link(&f.store, &running.lease, &order, &new_link(7), PAYMENT_TTL_MS, 0).await.unwrap();

    assert_eq!(late, Transition::Refused);
    let order = f.find(&order).await;
    assert_eq!((order.status, order.payment_url.clone()), (OrderStatus::Canceled, None));
    assert_eq!(transactions::of_order(&f.store, order.id).await.unwrap().len(), 1, "a customer might pay it");
    assert_eq!(f.state_of(running.lease.job_id).await.0, "running", "the run ends by itself");
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::NotPayable);
}

/// Shows: MONEY-11
async fn an_order_that_never_got_its_link_expires_and_is_asked_about_once_more(f: Fixture) {
    let order = f.order().await;
    let running = f.claim_one(QueueName::Links).await;
    let expire = async |before_ms| orders::expire_without_link(&f.store, &running.lease, order.id, before_ms).await;
    let since_ms = order.pending_since_ms;

    assert_eq!(expire(since_ms - 1).await.unwrap(), Transition::Refused, "its time is not over");
    assert_eq!(expire(since_ms).await.unwrap(), Transition::Made);

    let expired = f.find(&order).await;
    assert_eq!((expired.status, expired.final_at_ms.is_some()), (OrderStatus::Expired, true));
    assert_eq!(open_inquiries(&f, &order).await, 1, "a draft may exist whose answer was lost");
}

/// Shows: MONEY-12
async fn a_confirming_order_expires_only_ten_minutes_after_its_time_and_its_last_callback(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    let order = f.find(&order).await;
    let job = f.settle_job(&order).await;
    let expire = async |asked_at_ms| {
        let expired = Settlement::Expired;
        let finish = Finish::Snooze { until_ms: i64::MAX / 2, queue: QueueName::Background };
        settlement::settle(&f.store, &job.lease, &order, asked_at_ms, &[], &expired, &finish).await.unwrap()
    };
    let over_ms = order.expires_at_ms.unwrap() + CONFIRMING_GRACE_MS;
    // Allowed at the last moment, and by a wrong clock even after its time.
    let allowed_ms = over_ms + 5;
    f.execute(&[format!("update orders set last_allowed_at_ms = {allowed_ms}")]).await;

    for early_ms in [order.expires_at_ms.unwrap(), over_ms - 1, over_ms, allowed_ms + CONFIRMING_GRACE_MS - 1] {
        assert_eq!(expire(early_ms).await, Transition::Refused, "{early_ms}");
    }
    assert_eq!(expire(allowed_ms + CONFIRMING_GRACE_MS).await, Transition::Made);
    assert_eq!(CONFIRMING_GRACE_MS, 600_000);
}

/// Shows: MONEY-2
async fn the_same_bytes_are_answered_by_how_the_order_stands_now(f: Fixture) {
    let order = f.order_with_link(7).await;
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);
    f.execute(&["update orders set expires_at_ms = created_at_ms - 1".to_owned()]).await;

    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Late, "not by the verdict that is stored");
    f.execute(&["update orders set status = 'canceled'".to_owned()]).await;
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::NotPayable);
}

/// Shows: JOB-6
async fn the_return_page_hints_ever_less_often_and_thirty_times_at_most(f: Fixture) {
    let order = f.order_with_link(7).await;
    let hint = async || orders::hint_from_return_page(&f.store, order.id).await.unwrap();

    assert!(hint().await);
    assert!(!hint().await, "at once again");
    for hints in 2..=31 {
        let gap_ms = 10_000 * (1 + (hints - 1) / 6);
        let passes = |ms: i64| format!("update orders set last_return_hint_at_ms = last_return_hint_at_ms - {ms}");
        if hints <= 30 {
            f.execute(&[passes(gap_ms - 5_000)]).await;
            assert!(!hint().await, "hint {hints}, too soon");
            f.execute(&[passes(5_000)]).await;
        } else {
            f.execute(&[passes(1_000_000)]).await;
        }
        assert_eq!(hint().await, hints <= 30, "hint {hints}");
    }
}

/// Shows: INVARIANT-17, MONEY-15
async fn orders_of_a_gateway_that_is_gone_go_before_a_person_three_days_after_their_time(f: Fixture) {
    let order = f.order_with_link(7).await;
    let now_ms = f.store.now_ms();
    let elsewhere = GatewayIdentity("atmos:9".into());
    let listed = async || orders::open_elsewhere(&f.store, std::slice::from_ref(&elsewhere)).await.unwrap();
    assert_eq!(listed().await, [(order.id, gateway())]);
    let expires = async |at_ms: i64| f.execute(&[format!("update orders set expires_at_ms = {at_ms}")]).await;

    expires(now_ms - 72 * HOUR_MS + 60_000).await;
    assert_eq!(sweeping::restore(&f.store, std::slice::from_ref(&elsewhere)).await.unwrap().orphans, 0);
    expires(now_ms - 72 * HOUR_MS).await;
    assert_eq!(sweeping::restore(&f.store, std::slice::from_ref(&elsewhere)).await.unwrap().orphans, 1);

    let order = f.find(&order).await;
    assert_eq!(order.status, OrderStatus::Review);
    assert!(order.reason.unwrap().contains("no longer configured"));
}

/// Between sweep's read and its write, a process that has the order's gateway records the payment.
/// Shows: JOB-27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_paid_while_sweep_hands_it_over_is_not_marked() {
    let f = Fixture::postgres().await;
    let order = f.order_with_link(7).await;
    let long_ago_ms = f.store.now_ms() - 73 * HOUR_MS;
    f.execute(&[format!("update orders set expires_at_ms = {long_ago_ms}")]).await;
    let mut paying = f.connection().await;
    paying.execute("begin").await.unwrap();
    paying.execute("update orders set status = 'paid', final_at_ms = 1").await.unwrap();

    let elsewhere = GatewayIdentity("atmos:9".into());
    let sweep = sweeping::restore(&f.store, std::slice::from_ref(&elsewhere));
    let pay = async {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let mut observer = f.connection().await;
        wait_until("sweep to wait for the payment", PATIENCE, async || {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut observer).await.unwrap();
            (waiting > 0).then_some(())
        })
        .await;
        paying.execute("commit").await.unwrap();
    };
    let (swept, ()) = tokio::join!(sweep, pay);

    assert_eq!(swept.unwrap().orphans, 0);
    let order = f.find(&order).await;
    assert_eq!((order.status, order.needs_review, order.reason), (OrderStatus::Paid, false, None));
}

/// One statement may end very many orders.
/// Shows: JOB-27
async fn late_inquiries_about_orders_that_ended_in_one_moment_are_all_restored(f: Fixture) {
    const ORDERS: i64 = 2_300;
    let (now_ms, ended_ms) = (f.store.now_ms(), f.store.now_ms() - HOUR_MS);
    f.execute(&[format!(
        "insert into orders (id, token, api_key_name, product_name, amount, payment_type, language, status, gateway,
            final_at_ms, created_at_ms, pending_since_ms)
        with recursive counted(n) as (select cast(1 as bigint) union all select n + 1 from counted where n < {ORDERS})
        select n, 'token ' || n, 'shop', 'Tea', 5000, 'atmos', 'uz', 'expired', '{}', {ended_ms}, {now_ms}, {now_ms}
        from counted",
        gateway().0
    )])
    .await;

    let mut restored = 0;
    for _ in 0..6 {
        restored += sweeping::restore(&f.store, &[gateway()]).await.unwrap().settlements_restored;
    }

    assert_eq!(restored, ORDERS.unsigned_abs());
}

/// Shows: JOB-4
async fn sweep_restores_no_inquiry_after_the_last_late_one(f: Fixture) {
    for transaction_id in 1..=4 {
        let order = f.order_with_link(transaction_id).await;
        f.pay(&order, transaction_id).await;
    }
    let hours_ago = |hours: i64| f.store.now_ms() - hours * HOUR_MS;
    let mut statements = vec!["delete from jobs where kind = 'settle_order'".to_owned()];
    for (order, hours) in [(1, 0), (2, 48), (3, 71), (4, 80)] {
        statements.push(format!("update orders set final_at_ms = {} where id = {order}", hours_ago(hours)));
    }
    statements.push("update orders set needs_review = 1 where id = 2".to_owned());
    f.execute(&statements).await;

    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();

    assert_eq!(swept, Swept { settlements_restored: 1, ..Swept::default() }, "of the first, and of no other");
    assert_eq!(f.claim_one(QueueName::Background).await.job, Ok(Job::SettleOrder { order_id: OrderId(1) }));
}

/// A page that is reloaded for ever must not use up the gateway's rate limit.
/// Shows: JOB-6
async fn further_hints_of_the_return_page_bring_one_inquiry_each_and_come_less_often(f: Fixture) {
    let order = f.order_with_link(7).await;
    assert!(orders::hint_from_return_page(&f.store, order.id).await.unwrap());
    let first = f.find(&order).await.last_hint_at_ms.unwrap();
    assert!(f.store.now_ms() - first < 5_000);

    // The number of the hint, the seconds since the one before and since the last reason to ask, and the place in the
    // schedule.
    for (hints, ago_s, hint_ago_s, expected_s) in [
        (1, 9, 9, None),
        (1, 11, 11, Some(11)),
        (1, 60, 60, Some(20)),
        (2, 60, 60, Some(40)),
        (3, 100, 100, Some(60)),
        (6, 19, 100, None),
        (6, 21, 100, Some(60)),
        (29, 49, 100, None),
        (29, 51, 100, Some(60)),
        (30, 1_000, 1_000, None),
        // A callback came meanwhile: its inquiries continue.
        (5, 30, 2, Some(2)),
    ] {
        let now_ms = f.store.now_ms();
        f.execute(&[format!(
            "update orders set return_hints = {hints}, last_return_hint_at_ms = {}, last_hint_at_ms = {}",
            now_ms - 1_000 * ago_s,
            now_ms - 1_000 * hint_ago_s
        )])
        .await;

        let is_hint = orders::hint_from_return_page(&f.store, order.id).await.unwrap();

        assert_eq!(is_hint, expected_s.is_some(), "hint {hints}, after {ago_s} s");
        let as_of_s = (now_ms - f.find(&order).await.last_hint_at_ms.unwrap() + 999) / 1_000;
        assert_eq!(as_of_s, expected_s.unwrap_or(hint_ago_s), "hint {hints}, after {ago_s} s");
    }
}

/// Shows: PROMISE-7
async fn what_its_time_has_run_out_for_is_deleted_and_nothing_else(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    f.pay(&order, 7).await;
    let now_ms = f.store.now_ms();
    let job = |id: i64, state: &str, age_ms: i64| {
        format!(
            "insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms, finished_at_ms)
            values ({id}, 'settle', 'process_callback', {id}, '{{}}', '{state}', 0, 0, {})",
            now_ms - age_ms
        )
    };
    let callback = |id: i64, age_ms: i64| {
        format!(
            "insert into callbacks (id, digest, body, verdict, received_at_ms, last_seen_at_ms)
            values ({id}, 'd{id}', '', 'late', {at}, {at})",
            at = now_ms - age_ms
        )
    };
    let key = |key: &str, age_ms: i64| {
        format!(
            "insert into idempotency_keys (api_key_name, key, body_digest, order_id, created_at_ms)
            values ('shop', '{key}', '', 1, {})",
            now_ms - age_ms
        )
    };
    let minute_ms = 60_000;
    f.execute(&[
        "update orders set created_at_ms = 0, final_at_ms = 1".to_owned(),
        job(9_001, "completed", FINISHED_JOBS_MS + minute_ms),
        job(9_002, "canceled", FINISHED_JOBS_MS + minute_ms),
        job(9_003, "completed", FINISHED_JOBS_MS - minute_ms),
        job(9_004, "dead", DEAD_AND_CALLBACKS_MS + minute_ms),
        job(9_005, "dead", DEAD_AND_CALLBACKS_MS - minute_ms),
        callback(9_001, DEAD_AND_CALLBACKS_MS + minute_ms),
        callback(9_002, DEAD_AND_CALLBACKS_MS - minute_ms),
        callback(9_003, UNPROVEN_MS + minute_ms).replace("'late'", "'unreadable'"),
        callback(9_004, UNPROVEN_MS - minute_ms).replace("'late'", "'badly_signed'"),
        key("old", 24 * HOUR_MS + minute_ms),
        key("young", 24 * HOUR_MS - minute_ms),
    ])
    .await;

    let pruned = sweeping::prune(&f.store, std::time::Duration::from_secs(10)).await.unwrap();

    assert_eq!(pruned, 6, "two finished jobs, a dead letter, two callbacks and a key");
    for (id, is_kept) in [(9_001, false), (9_002, false), (9_003, true), (9_004, false), (9_005, true)] {
        assert_eq!(jobs::show(&f.store, domain::id::JobId(id)).await.unwrap().is_some(), is_kept, "job {id}");
    }
    let repeated = store::idempotency::IdempotencyKey { key: "young".into(), body_digest: String::new() };
    let repeated = orders::create(&f.store, &new_order(), Some(&repeated)).await.unwrap();
    assert!(matches!(repeated, orders::Created::Repeated(_)), "{repeated:?}");
    // Orders, their history and their transactions stay for ever.
    assert_eq!(f.find(&order).await.status, OrderStatus::Paid);
    assert_eq!(f.history(&order).await.len(), 4);
    assert_eq!(transactions::of_order(&f.store, order.id).await.unwrap().len(), 1);
    assert_eq!((FINISHED_JOBS_MS, DEAD_AND_CALLBACKS_MS), (7 * 24 * HOUR_MS, 90 * 24 * HOUR_MS));
}
