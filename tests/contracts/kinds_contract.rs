//! What the table of job kinds says of a kind is so in the database.

use serde_json::json;
use shared::job::{ClaimedJob, Job, JobKind, QueueName, Subject};
use shared::store::jobs::{self, Finish};

use super::{Fixture, on_every_database};

on_every_database! {
    a_job_of_each_kind_waits_on_its_queue_and_nowhere_else
    a_suspect_of_each_kind_that_ran_goes_back_to_its_queue
}

/// A job of this kind about the thing of that number.
fn job_of(kind: JobKind, subject_id: i64) -> Job {
    let field = match kind.subject() {
        Subject::Order => "order_id",
        Subject::Callback => "callback_id",
        Subject::Refund => "refund_id",
        Subject::Nothing => "nothing",
    };
    serde_json::from_value(json!({ "kind": kind.as_str(), field: subject_id })).unwrap()
}

async fn a_job_of_each_kind_waits_on_its_queue_and_nowhere_else(f: Fixture) {
    for kind in JobKind::ALL.iter().copied() {
        jobs::stage_now(&f.store, job_of(kind, 9_000)).await.unwrap();

        for queue in QueueName::ALL.iter().copied() {
            let kinds: Vec<String> = f.claim(queue).await.into_iter().map(|job| job.kind).collect();
            assert_eq!(kinds, if queue == kind.queue() { vec![kind.to_string()] } else { vec![] }, "{kind} on {queue}");
        }
    }
}

async fn a_suspect_of_each_kind_that_ran_goes_back_to_its_queue(f: Fixture) {
    for kind in JobKind::ALL.iter().copied() {
        jobs::stage_now(&f.store, job_of(kind, 9_000)).await.unwrap();
    }
    f.execute(&["update jobs set queue = 'suspect', crashes = 2".to_owned()]).await;
    let ids = jobs::offer(&f.store, QueueName::Suspect, 100).await.unwrap();
    let groups = jobs::group_suspects(&f.store, &ids).await.unwrap();
    let suspects: Vec<ClaimedJob> = jobs::claim_suspects(&f.store, &groups[0]).await.unwrap();
    assert_eq!(suspects.len(), JobKind::ALL.len());

    for suspect in suspects {
        let failed = Finish::Retry { not_before_ms: 0, error: "it ran, and failed".into() };
        jobs::finish_alone(&f.store, &suspect.lease, &failed).await.unwrap();

        let row = jobs::show(&f.store, suspect.lease.job_id).await.unwrap().unwrap();
        assert_eq!(row.queue, suspect.job.unwrap().kind().queue().as_str(), "{}", row.kind);
    }
}
