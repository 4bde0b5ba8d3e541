//! Each failed attempt leaves a line: which process ran it, when, and the error.

use domain::id::JobId;
use domain::job::{AttemptOutcome, ClaimedJob, FailedAttempt, Job, QueueName};
use domain::order::Order;
use futures_util::future::join_all;
use store::jobs::{self, ATTEMPTS_OF_A_JOB, DeadLetteredBy, Finish};
use store::kinds;
use store::sweeping::{self, ATTEMPTS_MS};

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    an_attempt_that_fails_or_is_aborted_leaves_a_line_and_one_that_goes_well_none
    an_attempt_whose_worker_dies_leaves_the_workers_name
    what_ends_many_runs_at_once_remembers_each_that_failed
    a_job_that_has_left_the_table_still_tells_of_its_attempts
    an_attempt_of_an_older_releases_worker_is_remembered_without_its_name
    an_older_releases_attempt_after_one_of_ours_is_not_taken_for_ours
    of_a_job_that_fails_for_ever_the_newest_attempts_are_remembered
    attempts_are_forgotten_after_their_time
}

fn failed(error: &str, outcome: AttemptOutcome) -> Finish {
    Finish::Retry { not_before_ms: 0, error: error.to_owned(), outcome }
}

impl Fixture {
    async fn attempts(&self, id: JobId) -> Vec<FailedAttempt> {
        jobs::failed_attempts(&self.store, id).await.unwrap()
    }

    async fn end(&self, job: &ClaimedJob, finish: &Finish) {
        jobs::finish_alone(&self.store, &job.lease, finish).await.unwrap();
    }
}

async fn an_attempt_that_fails_or_is_aborted_leaves_a_line_and_one_that_goes_well_none(f: Fixture) {
    let order = f.order().await;
    let before_ms = f.store.now_ms();
    let first = f.claim_one(QueueName::Links).await;
    let id = first.lease.job_id;
    f.end(&first, &failed("the gateway is away", AttemptOutcome::Failed)).await;
    f.end(&f.claim_one(QueueName::Links).await, &failed("it ran too long", AttemptOutcome::Aborted)).await;
    let told = Finish::Release { not_before_ms: 0, reason: Some("told to wait".to_owned()) };
    f.end(&f.claim_one(QueueName::Links).await, &told).await;
    f.end(&f.claim_one(QueueName::Links).await, &Finish::Snooze { until_ms: 0, queue: QueueName::Links }).await;

    let attempts = f.attempts(id).await;

    let told: Vec<_> = attempts.iter().map(|line| (line.attempt, line.outcome, line.error.as_str())).collect();
    let aborted = (2, AttemptOutcome::Aborted, "it ran too long");
    assert_eq!(told, [aborted, (1, AttemptOutcome::Failed, "the gateway is away")], "newest first");
    for line in attempts {
        assert_eq!((line.kind.as_str(), line.subject_id, line.crashes), ("create_payment_link", order.id.0, 0));
        assert_eq!(line.worker_pid, Some(i64::from(std::process::id())));
        assert!(line.worker_host.is_some_and(|host| !host.is_empty()));
        let began_at_ms = line.began_at_ms.expect("its claim wrote it down");
        assert!(before_ms <= began_at_ms && began_at_ms <= line.ended_at_ms && line.ended_at_ms <= f.store.now_ms());
    }
}

async fn an_attempt_whose_worker_dies_leaves_the_workers_name(f: Fixture) {
    f.order().await;
    let id = f.claim_one(QueueName::Links).await.lease.job_id;
    // It ran in another process, on another host.
    f.execute(&["update jobs set due_at_ms = 0, began_at_ms = 1000, worker_host = 'here', worker_pid = 7".to_owned()])
        .await;

    assert_eq!(kinds::recover_crashed(&f.store, QueueName::Links).await.unwrap().len(), 1);
    f.execute(&["update jobs set crashes = 6, queue = 'links'".to_owned()]).await;
    f.claim_one(QueueName::Links).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    kinds::dead_letter(&f.store, DeadLetteredBy::Relay { id, crashes: 6 }, "it crashed, 7 times", false).await.unwrap();

    let attempts = f.attempts(id).await;
    assert!(attempts.iter().all(|line| line.outcome == AttemptOutcome::Crashed), "{attempts:?}");
    let told: Vec<_> = attempts.iter().map(|line| (line.crashes, line.worker_pid)).collect();
    assert_eq!(told, [(7, Some(i64::from(std::process::id()))), (1, Some(7))]);
    assert_eq!((attempts[1].worker_host.as_deref(), attempts[1].began_at_ms), (Some("here"), Some(1_000)));
}

async fn what_ends_many_runs_at_once_remembers_each_that_failed(f: Fixture) {
    let mut running = Vec::new();
    for _ in 0..9 {
        f.order().await;
        running.push(f.claim_one(QueueName::Links).await);
    }
    let end = async |(place, job): (usize, &ClaimedJob)| {
        let finish = match place % 3 {
            0 => failed(&format!("trouble {place}"), AttemptOutcome::Failed),
            1 => Finish::Snooze { until_ms: 0, queue: QueueName::Links },
            _ => Finish::Complete,
        };
        f.end(job, &finish).await;
    };

    join_all(running.iter().enumerate().map(end)).await;

    for (place, job) in running.iter().enumerate() {
        let told: Vec<String> = f.attempts(job.lease.job_id).await.into_iter().map(|line| line.error).collect();
        let expected = if place % 3 == 0 { vec![format!("trouble {place}")] } else { vec![] };
        assert_eq!(told, expected, "{place}");
    }
}

async fn a_job_that_has_left_the_table_still_tells_of_its_attempts(f: Fixture) {
    let order = f.order().await;
    let first = f.claim_one(QueueName::Links).await;
    f.end(&first, &failed("no", AttemptOutcome::Failed)).await;
    f.end(&f.claim_one(QueueName::Links).await, &Finish::Complete).await;

    assert!(f.is_complete(first.lease.job_id).await);
    assert_eq!(f.attempts(first.lease.job_id).await[0].subject_id, order.id.0);
}

/// Its claim writes neither name nor time, and does not clear the earlier ones either.
async fn an_attempt_of_an_older_releases_worker_is_remembered_without_its_name(f: Fixture) {
    let order: Order = f.order_with_link(7).await;
    let inquiry = f.settle_job(&order).await;
    f.end(&inquiry, &Finish::Snooze { until_ms: 0, queue: QueueName::Settle }).await;
    f.execute(&["update jobs set state = 'running', lease_token = 5, attempt = 1, due_at_ms = 0".to_owned()]).await;

    kinds::recover_crashed(&f.store, QueueName::Settle).await.unwrap();

    let line = f.attempts(inquiry.lease.job_id).await.remove(0);
    assert_eq!((line.worker_host, line.worker_pid, line.began_at_ms), (None, None, None));
}

/// However our attempt ended, before the older release claims the job that then crashes.
async fn an_older_releases_attempt_after_one_of_ours_is_not_taken_for_ours(f: Fixture) {
    f.order().await;
    let old_claim = async |queue: &str| {
        let claim = "update jobs set state = 'running', lease_token = 5, attempt = attempt + 1, due_at_ms = 0";
        f.execute(&[format!("{claim}, queue = '{queue}'")]).await;
    };
    let ours = f.claim_one(QueueName::Links).await;
    let id = ours.lease.job_id;
    let crashes_unnamed = async |ours: &str| {
        old_claim("links").await;
        assert_eq!(kinds::recover_crashed(&f.store, QueueName::Links).await.unwrap().len(), 1, "{ours}");
        let line = f.attempts(id).await.remove(0);
        assert_eq!(line.outcome, AttemptOutcome::Crashed, "{ours}");
        assert_eq!((line.worker_host, line.worker_pid, line.began_at_ms), (None, None, None), "{ours}");
        f.execute(&["update jobs set crashes = 0, queue = 'links', due_at_ms = 0".to_owned()]).await;
    };

    f.end(&ours, &failed("no", AttemptOutcome::Failed)).await;
    assert!(f.attempts(id).await[0].worker_pid.is_some(), "our own line names us");
    crashes_unnamed("it failed").await;

    f.claim_one(QueueName::Links).await;
    f.execute(&["update jobs set due_at_ms = 0".to_owned()]).await;
    assert_eq!(kinds::recover_crashed(&f.store, QueueName::Links).await.unwrap().len(), 1);
    assert!(f.attempts(id).await[0].worker_pid.is_some(), "our own line names us");
    f.execute(&["update jobs set crashes = 0".to_owned()]).await;
    crashes_unnamed("it crashed").await;

    f.execute(&["update jobs set crashes = 2, queue = 'suspect'".to_owned()]).await;
    let enqueued = jobs::enqueue(&f.store, QueueName::Suspect, 10).await.unwrap();
    let group = jobs::group_suspects(&f.store, &enqueued).await.unwrap().remove(0);
    assert_eq!(jobs::claim_suspects(&f.store, &group).await.unwrap().len(), 1);
    jobs::hand_back_suspects(&f.store, &group).await.unwrap();
    f.execute(&["update jobs set crashes = 0".to_owned()]).await;
    crashes_unnamed("it was handed back").await;
}

async fn of_a_job_that_fails_for_ever_the_newest_attempts_are_remembered(f: Fixture) {
    f.order().await;
    let times = ATTEMPTS_OF_A_JOB + 5;
    let mut id = JobId(0);
    for time in 1..=times {
        let job = f.claim_one(QueueName::Links).await;
        id = job.lease.job_id;
        f.end(&job, &failed(&format!("time {time}"), AttemptOutcome::Failed)).await;
    }

    let attempts = f.attempts(id).await;

    assert_eq!(f.number("select count(*) from job_attempts").await, ATTEMPTS_OF_A_JOB, "and no more are kept");
    assert_eq!((attempts[0].attempt, attempts[0].error.as_str()), (times, format!("time {times}").as_str()));
    assert_eq!(attempts.last().unwrap().attempt, 6);
}

async fn attempts_are_forgotten_after_their_time(f: Fixture) {
    for error in ["old", "young"] {
        let order = f.order().await;
        f.end(&f.claim_one(QueueName::Links).await, &failed(error, AttemptOutcome::Failed)).await;
        jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
        f.execute(&["update jobs set due_at_ms = 9999999999999 where kind = 'create_payment_link'".to_owned()]).await;
    }
    let (old_ms, young_ms) = (f.store.now_ms() - ATTEMPTS_MS - 60_000, f.store.now_ms() - ATTEMPTS_MS + 60_000);
    f.execute(&[
        format!("update job_attempts set ended_at_ms = {old_ms} where error = 'old'"),
        format!("update job_attempts set ended_at_ms = {young_ms} where error = 'young'"),
    ])
    .await;

    sweeping::prune(&f.store, std::time::Duration::from_secs(10)).await.unwrap();

    assert_eq!(f.text("select error from job_attempts").await, "young");
}
