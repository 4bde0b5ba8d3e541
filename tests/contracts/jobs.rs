use std::collections::HashSet;
use std::time::{Duration, Instant};

use domain::id::{JobId, OrderId, TransactionId};
use domain::job::{AttemptOutcome, Job, JobState, QueueName};
use domain::order::OrderStatus;
use store::jobs::{self, DeadLetteredBy, Finish, LEASE_MS};
use store::kinds::{self, JobCommandOutcome};
use store::orders::{self, Transition};
use store::settlement::Settlement;
use store::{StoreError, transactions};

use sqlx::{AssertSqlSafe, Executor};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    an_order_stages_its_payment_link_in_its_own_transaction
    staging_again_leaves_one_open_job_due_no_later
    a_job_that_was_woken_while_it_ran_runs_again_at_once
    an_id_enqueued_twice_is_claimed_once
    many_workers_claim_every_job_exactly_once
    a_zombie_changes_nothing_but_its_draft_is_known
    a_renewal_returns_only_leases_that_are_still_ours
    a_job_handed_back_burns_no_attempt
    a_job_that_keeps_crashing_runs_alone_and_then_dies_before_a_person
    a_late_renewal_wins_over_the_crash
    sweep_is_never_dead
    a_final_no_fails_the_order_and_a_retry_gives_it_a_new_life
    a_retry_of_a_later_link_begins_a_whole_new_time
    a_failed_inquiry_stays_on_its_queue
    what_waits_is_measured_from_when_it_was_due
    suspects_run_in_groups_that_each_crash_makes_smaller
    a_suspect_that_crashed_again_is_no_longer_of_its_group
    a_suspect_whose_id_waits_in_an_ordinary_list_is_claimed_by_its_own_process_alone
    suspects_that_never_ran_are_handed_back_and_those_whose_process_died_are_counted
    an_operator_cannot_cancel_what_money_depends_on
    canceling_the_payment_link_cancels_its_order
    ids_that_were_lost_on_the_way_are_enqueued_again
}

/// Shows: INVARIANT-1, MONEY-13
async fn an_order_stages_its_payment_link_in_its_own_transaction(f: Fixture) {
    let order = f.order().await;

    let job = f.claim_one(QueueName::Links).await;

    assert_eq!(job.job, Ok(Job::CreatePaymentLink { order_id: order.id }));
    assert_eq!((order.id, job.attempt), (OrderId(1), 1));
}

/// Shows: INVARIANT-10, JOB-1
async fn staging_again_leaves_one_open_job_due_no_later(f: Fixture) {
    let order = f.order_with_link(7).await;
    let before = kinds::jobs_of_order(&f.store, order.id).await.unwrap();

    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();

    let after = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    assert_eq!(before.len(), after.len());
    assert!(after[0].due_at_ms < before[0].due_at_ms, "the inquiry that was a minute away is due now");
}

/// Shows: JOB-3
async fn a_job_that_was_woken_while_it_ran_runs_again_at_once(f: Fixture) {
    let order = f.order_with_link(7).await;
    let far_ms = f.store.now_ms() + 3_600_000;
    for finish in [
        Finish::Complete,
        Finish::Snooze { until_ms: far_ms, queue: QueueName::Background },
        Finish::Retry { not_before_ms: far_ms, error: "no".into(), outcome: AttemptOutcome::Failed },
    ] {
        let running = f.settle_job(&order).await;
        jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();

        jobs::finish_alone(&f.store, &running.lease, &finish).await.unwrap();

        let again = jobs::show(&f.store, running.lease.job_id).await.unwrap().unwrap();
        assert_eq!(again.state, JobState::Available, "{finish:?}");
        assert!(again.due_at_ms <= f.store.now_ms(), "{finish:?}");
        assert_eq!(again.queue, "settle", "{finish:?}");
    }
}

async fn an_id_enqueued_twice_is_claimed_once(f: Fixture) {
    f.order().await;
    let ids = jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap();

    assert_eq!(jobs::claim(&f.store, &[ids[0], ids[0], ids[0]]).await.unwrap().len(), 1);
    assert_eq!(jobs::claim(&f.store, &ids).await.unwrap().len(), 0, "a stale copy of the id finds nothing");
    assert_eq!(jobs::claim(&f.store, &[JobId(999_999)]).await.unwrap().len(), 0);
}

async fn many_workers_claim_every_job_exactly_once(f: Fixture) {
    for _ in 0..40 {
        f.order().await;
    }
    let ids = jobs::enqueue(&f.store, QueueName::Links, 100).await.unwrap();

    let claims = (0..8).map(|_| {
        let (store, ids) = (f.store.clone(), ids.clone());
        tokio::spawn(async move { jobs::claim(&store, &ids).await.unwrap() })
    });
    let mut claimed = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        claimed.extend(claim.await.unwrap().into_iter().map(|job| job.lease.job_id));
    }

    // Rows that another claim has locked are skipped, and come back when their grace ends.
    let distinct: HashSet<_> = claimed.iter().collect();
    assert_eq!(distinct.len(), claimed.len(), "no job has two leases");
    assert!(!claimed.is_empty());
}

/// Shows: INVARIANT-4, INVARIANT-8, PROMISE-3, MONEY-10
async fn a_zombie_changes_nothing_but_its_draft_is_known(f: Fixture) {
    let order = f.order().await;
    let zombie = f.claim_one(QueueName::Links).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    kinds::recover_crashed(&f.store, QueueName::Links).await.unwrap();
    f.link(&order, 8, PAYMENT_TTL_MS).await;

    let late = orders::store_link(&f.store, &zombie.lease, &order, &new_link(7), PAYMENT_TTL_MS, 0).await;

    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    assert_eq!(f.find(&order).await.transaction_id.unwrap().0, 8);
    let known = transactions::of_order(&f.store, order.id).await.unwrap();
    let known: HashSet<i64> = known.iter().map(|known| known.transaction_id.0).collect();
    assert_eq!(known, HashSet::from([7, 8]), "a customer might pay either");
}

/// Shows: JOB-9
async fn a_renewal_returns_only_leases_that_are_still_ours(f: Fixture) {
    for _ in 0..3 {
        f.order().await;
    }
    let running = f.claim(QueueName::Links).await;
    let mut leases: Vec<_> = running.iter().map(|job| job.lease).collect();
    jobs::finish_alone(&f.store, &leases[0], &Finish::Complete).await.unwrap();
    leases[1].token ^= 1;

    let renewed = jobs::renew(&f.store, &leases).await.unwrap();

    assert_eq!(renewed, [leases[2].job_id]);
    let row = jobs::show(&f.store, leases[2].job_id).await.unwrap().unwrap();
    assert!(row.due_at_ms > f.store.now_ms() + LEASE_MS - 2_000);
}

/// Six jobs run, and another transaction has locked the rows of three.
/// Shows: JOB-24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_waits_for_no_row_that_another_transaction_has_locked() {
    let f = Fixture::postgres().await;
    for _ in 0..6 {
        f.order().await;
    }
    let leases: Vec<_> = f.claim(QueueName::Links).await.iter().map(|job| job.lease).collect();
    f.execute(&["update jobs set due_at_ms = 0".to_owned()]).await;
    let mut other = f.connection().await;
    other.execute("begin").await.unwrap();
    for locked in &leases[..3] {
        let wake = format!("update jobs set wakes = wakes + 1 where id = {}", locked.job_id);
        other.execute(AssertSqlSafe(wake)).await.unwrap();
    }

    let began = Instant::now();
    let ours: HashSet<JobId> = jobs::renew(&f.store, &leases).await.unwrap().into_iter().collect();

    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert_eq!(ours, leases.iter().map(|lease| lease.job_id).collect(), "those that are locked are still ours");
    for (place, lease) in leases.iter().enumerate() {
        let row = jobs::show(&f.store, lease.job_id).await.unwrap().unwrap();
        assert_eq!(row.due_at_ms > f.store.now_ms(), place >= 3, "only a locked row waits: {row:?}");
    }

    other.execute("commit").await.unwrap();
    jobs::renew(&f.store, &leases).await.unwrap();
    for lease in &leases {
        let row = jobs::show(&f.store, lease.job_id).await.unwrap().unwrap();
        assert!(row.due_at_ms > f.store.now_ms(), "the next round renews all: {row:?}");
    }
}

/// Shows: JOB-16
async fn a_job_handed_back_burns_no_attempt(f: Fixture) {
    f.order().await;
    let claimed = f.claim_one(QueueName::Links).await;

    let not_before_ms = f.store.now_ms();
    jobs::finish_alone(&f.store, &claimed.lease, &Finish::Release { not_before_ms, reason: None }).await.unwrap();

    assert_eq!(f.claim_one(QueueName::Links).await.attempt, 1);
}

/// Lets the job's lease run out, and makes the job due at once afterwards.
async fn crash(f: &Fixture, from: QueueName) -> jobs::Crashed {
    let claimed = f.claim_one(from).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    let mut crashed = kinds::recover_crashed(&f.store, from).await.unwrap();
    assert_eq!(crashed.len(), 1);
    let crashed = crashed.remove(0);
    assert_eq!(crashed.job_id, claimed.lease.job_id);
    crashed
}

/// Shows: INVARIANT-14, JOB-20
async fn a_job_that_keeps_crashing_runs_alone_and_then_dies_before_a_person(f: Fixture) {
    let order = f.order().await;
    let mut waits = Vec::new();
    let mut queue = QueueName::Links;
    let mut last = None;
    for _ in 0..7 {
        let crashed = crash(&f, queue).await;
        let row = jobs::show(&f.store, crashed.job_id).await.unwrap().unwrap();
        queue = QueueName::parse(&row.queue).unwrap();
        waits.push((row.queue, (row.due_at_ms - f.store.now_ms() + 500).div_euclid(1_000)));
        kinds::retry(&f.store, crashed.job_id).await.unwrap(); // an operator's "now"
        last = Some(crashed);
        if last.as_ref().is_some_and(|crashed| crashed.is_dead) {
            break;
        }
    }

    let named = |queue: &str, seconds| (queue.to_owned(), seconds);
    let suspect = |seconds| named("suspect", seconds);
    assert_eq!(waits[..6], [named("links", 0), suspect(0), suspect(0), suspect(0), suspect(10), suspect(60)]);
    assert!(last.unwrap().is_dead, "the third crash alone ends it");
    let order = f.find(&order).await;
    assert_eq!(order.status, OrderStatus::Review);
    assert!(order.reason.unwrap().contains("dead letter"));
}

/// Shows: JOB-28
async fn a_late_renewal_wins_over_the_crash(f: Fixture) {
    f.order().await;
    let claimed = f.claim_one(QueueName::Links).await;
    jobs::end_all_leases(&f.store).await.unwrap();

    jobs::renew(&f.store, &[claimed.lease]).await.unwrap();

    assert_eq!(kinds::recover_crashed(&f.store, QueueName::Links).await.unwrap(), []);
    jobs::finish_alone(&f.store, &claimed.lease, &Finish::Complete).await.unwrap();
}

/// Shows: INVARIANT-14, JOB-29
async fn sweep_is_never_dead(f: Fixture) {
    jobs::seed(&f.store, Job::Sweep).await.unwrap();
    jobs::seed(&f.store, Job::Sweep).await.unwrap();
    for crashes in 1..=8 {
        let crashed = crash(&f, QueueName::Background).await;
        assert_eq!((crashed.crashes, crashed.is_dead), (crashes, false));
        let (state, _, queue) = f.state_of(crashed.job_id).await;
        assert_eq!((state.as_str(), queue.as_str()), ("available", "background"));
        let due_at_ms = jobs::show(&f.store, crashed.job_id).await.unwrap().unwrap().due_at_ms;
        assert!((due_at_ms - f.store.now_ms() - 900_000).abs() < 10_000, "fifteen minutes later");
        kinds::retry(&f.store, crashed.job_id).await.unwrap();
    }
}

/// Shows: JOB-18
async fn a_final_no_fails_the_order_and_a_retry_gives_it_a_new_life(f: Fixture) {
    let order = f.order().await;
    let claimed = f.claim_one(QueueName::Links).await;

    kinds::dead_letter(
        &f.store,
        DeadLetteredBy::Worker(&claimed.lease),
        "the gateway refused with code STPIMS-ERR-009",
        true,
    )
    .await
    .unwrap();

    let failed = f.find(&order).await;
    assert_eq!(failed.status, OrderStatus::Failed);
    assert_eq!(failed.reason.as_deref(), Some("the gateway refused with code STPIMS-ERR-009"));

    assert_eq!(kinds::retry(&f.store, claimed.lease.job_id).await.unwrap(), JobCommandOutcome::Done);

    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    let pending = Some("pending");
    assert_eq!(
        f.history(&order).await,
        [(None, "pending"), (pending, "failed"), (Some("failed"), "pending"), (pending, "pending")]
    );
}

async fn a_retry_of_a_later_link_begins_a_whole_new_time(f: Fixture) {
    let order = f.order_with_link(7).await;
    let closed = Settlement::LinkClosed { transaction_id: TransactionId(7) };
    assert_eq!(f.settle(&order, &closed).await.unwrap(), Transition::Made);
    let second = f.claim_one(QueueName::Links).await;
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&second.lease), "refused", true).await.unwrap();
    assert_eq!(f.find(&order).await.status, OrderStatus::Failed);

    assert_eq!(kinds::retry(&f.store, second.lease.job_id).await.unwrap(), JobCommandOutcome::Done);

    let order = f.find(&order).await;
    assert_eq!((order.status, order.expires_at_ms, order.links_made), (OrderStatus::Pending, None, 0));
}

/// Shows: JOB-14
async fn a_failed_inquiry_stays_on_its_queue(f: Fixture) {
    let order = f.order_with_link(7).await;
    let inquiry = f.settle_job(&order).await;
    let snooze = Finish::Snooze { until_ms: f.store.now_ms(), queue: QueueName::Background };
    jobs::finish_alone(&f.store, &inquiry.lease, &snooze).await.unwrap();
    let inquiry = f.claim_one(QueueName::Background).await;

    let retry =
        Finish::Retry { not_before_ms: 0, error: "the gateway is away".into(), outcome: AttemptOutcome::Failed };
    jobs::finish_alone(&f.store, &inquiry.lease, &retry).await.unwrap();

    assert_eq!(
        f.state_of(inquiry.lease.job_id).await.2,
        "background",
        "an old inquiry does not push before fresh ones"
    );
}

async fn what_waits_is_measured_from_when_it_was_due(f: Fixture) {
    f.order().await;
    let waited = async |queues: &[QueueName]| jobs::oldest_due_age_ms(&f.store, queues).await.unwrap();
    wait_until("some waiting", PATIENCE, async || (waited(QueueName::ALL).await > 50).then_some(())).await;

    jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap();
    jobs::enqueue_all_again(&f.store).await.unwrap();
    jobs::enqueue_again(&f.store, QueueName::Links, 10).await.unwrap();

    assert!(waited(QueueName::ALL).await > 50, "an enqueued job still waits");
    assert_eq!(waited(&[QueueName::Settle]).await, 0);
}

/// Puts this many jobs on the queue of suspects, after this many crashes.
async fn suspects(f: &Fixture, jobs: usize, crashes: i64) -> Vec<JobId> {
    for _ in 0..jobs {
        f.order().await;
    }
    let suspects = format!("update jobs set crashes = {crashes}, queue = 'suspect', due_at_ms = 0 where crashes = 0");
    f.execute(&[suspects]).await;
    jobs::enqueue(&f.store, QueueName::Suspect, 100).await.unwrap()
}

/// Shows: JOB-21
async fn suspects_run_in_groups_that_each_crash_makes_smaller(f: Fixture) {
    let mut sizes = Vec::new();
    for crashes in [2, 3, 4, 6] {
        let ids = suspects(&f, 10, crashes).await;
        let groups = jobs::group_suspects(&f.store, &ids).await.unwrap();
        assert!(groups.iter().all(|group| group.crashes == crashes));
        sizes.push(groups.iter().map(|group| group.jobs.len()).collect::<Vec<_>>());
    }

    assert_eq!(sizes, [vec![10], vec![8, 2], vec![1; 10], vec![1; 10]]);
}

/// Shows: JOB-21
async fn a_suspect_that_crashed_again_is_no_longer_of_its_group(f: Fixture) {
    let ids = suspects(&f, 3, 2).await;
    let group = jobs::group_suspects(&f.store, &ids).await.unwrap().remove(0);
    f.execute(&[format!("update jobs set crashes = 4 where id = {}", ids[0])]).await;

    let claimed = jobs::claim_suspects(&f.store, &group).await.unwrap();

    let mut claimed: Vec<JobId> = claimed.iter().map(|job| job.lease.job_id).collect();
    claimed.sort_unstable();
    assert_eq!(claimed, ids[1..], "it would not be alone there");
    assert_eq!(jobs::claim_suspects(&f.store, &group).await.unwrap().len(), 0, "each is claimed once");
}

/// Shows: JOB-21
async fn a_suspect_whose_id_waits_in_an_ordinary_list_is_claimed_by_its_own_process_alone(f: Fixture) {
    let ids = suspects(&f, 1, 2).await;

    assert_eq!(jobs::claim(&f.store, &ids).await.unwrap().len(), 0);

    let group = jobs::group_suspects(&f.store, &ids).await.unwrap().remove(0);
    assert_eq!(jobs::claim_suspects(&f.store, &group).await.unwrap().len(), 1);
}

/// Shows: JOB-21
async fn suspects_that_never_ran_are_handed_back_and_those_whose_process_died_are_counted(f: Fixture) {
    let ids = suspects(&f, 2, 2).await;
    let group = jobs::group_suspects(&f.store, &ids).await.unwrap().remove(0);
    jobs::claim_suspects(&f.store, &group).await.unwrap();
    jobs::hand_back_suspects(&f.store, &group).await.unwrap();
    assert_eq!(kinds::recover_crashed(&f.store, QueueName::Suspect).await.unwrap(), []);

    let ids = jobs::enqueue(&f.store, QueueName::Suspect, 100).await.unwrap();
    let group = jobs::group_suspects(&f.store, &ids).await.unwrap().remove(0);
    jobs::claim_suspects(&f.store, &group).await.unwrap();
    assert_eq!(jobs::end_leases_of_suspects(&f.store, &group).await.unwrap(), 2);

    let crashed = kinds::recover_crashed(&f.store, QueueName::Suspect).await.unwrap();
    assert_eq!(crashed.iter().map(|job| job.crashes).collect::<Vec<_>>(), [3, 3]);
    let attempts = jobs::show(&f.store, group.jobs[0]).await.unwrap().unwrap().attempt;
    assert_eq!(attempts, 1, "the run that never was is not counted");
}

/// Shows: JOB-39
async fn an_operator_cannot_cancel_what_money_depends_on(f: Fixture) {
    let order = f.order_with_link(7).await;
    let inquiry = f.settle_job(&order).await;

    assert!(matches!(kinds::cancel(&f.store, inquiry.lease.job_id).await.unwrap(), JobCommandOutcome::Refused(_)));
    assert_eq!(kinds::cancel(&f.store, JobId(999)).await.unwrap(), JobCommandOutcome::Unknown);
}

/// Shows: JOB-39
async fn canceling_the_payment_link_cancels_its_order(f: Fixture) {
    let order = f.order().await;
    let job = kinds::jobs_of_order(&f.store, order.id).await.unwrap().remove(0);

    assert_eq!(kinds::cancel(&f.store, job.id).await.unwrap(), JobCommandOutcome::Done);

    assert_eq!(f.find(&order).await.status, OrderStatus::Canceled);
    let kinds: Vec<_> =
        kinds::jobs_of_order(&f.store, order.id).await.unwrap().into_iter().map(|job| (job.kind, job.state)).collect();
    assert!(kinds.contains(&("settle_order".into(), JobState::Available)), "money may move all the same: {kinds:?}");
    assert_eq!(f.claim(QueueName::Links).await.len(), 0);
}

/// Shows: INVARIANT-2, PROMISE-1
async fn ids_that_were_lost_on_the_way_are_enqueued_again(f: Fixture) {
    f.order().await;
    let enqueued = jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap();
    assert_eq!(jobs::enqueue_again(&f.store, QueueName::Links, 10).await.unwrap(), [], "not within the grace");

    jobs::enqueue_all_again(&f.store).await.unwrap(); // the grace is over

    assert_eq!(jobs::count_enqueued(&f.store, QueueName::Links).await.unwrap(), 1);
    assert_eq!(jobs::enqueue_again(&f.store, QueueName::Links, 10).await.unwrap(), enqueued);
    assert!(matches!(
        orders::expire_without_link(&f.store, &jobs::claim(&f.store, &enqueued).await.unwrap()[0].lease, OrderId(1), 0)
            .await,
        Ok(Transition::Refused)
    ));
}

/// Relays of other processes lock rows for a moment, only to find nothing to do there. An id that was skipped then
/// would be lost until it is enqueued again, and its customer would wait for seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_locked_for_a_moment_is_claimed_all_the_same() {
    let f = Fixture::postgres().await;
    f.order().await;
    let ids = jobs::enqueue(&f.store, QueueName::Links, 1).await.unwrap();
    let mut relay = f.connection().await;
    relay.execute("begin; select id from jobs for update").await.unwrap();

    let store = f.store.clone();
    let claiming = tokio::spawn(async move { jobs::claim(&store, &ids).await.unwrap() });
    wait_until("the claim to wait for the row", PATIENCE, async || {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut f.connection().await).await.unwrap();
        (waiting > 0 || claiming.is_finished()).then_some(())
    })
    .await;
    relay.execute("rollback").await.unwrap();

    assert_eq!(claiming.await.unwrap().len(), 1);
}

/// A process that hangs in the middle of a transaction holds one row. The other jobs of the same claim must not keep a
/// lease that no worker knows of: they would be counted as crashed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_locked_for_long_keeps_no_other_job_from_its_worker() {
    let f = Fixture::postgres().await;
    f.order().await;
    f.order().await;
    let ids = jobs::enqueue(&f.store, QueueName::Links, 2).await.unwrap();
    let mut hung = f.connection().await;
    let held = ids[0].0;
    hung.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "begin; select id from jobs where id = {held} for update"
    ))))
    .await
    .unwrap();

    let claimed = jobs::claim(&f.store, &ids).await.unwrap();

    assert_eq!(claimed.iter().map(|job| job.lease.job_id).collect::<Vec<_>>(), [ids[1]]);
    hung.execute("rollback").await.unwrap();
    assert_eq!(f.state_of(ids[0]).await.0, "enqueued");
}
