//! The database behaves as the table of job kinds says.

use domain::id::TransactionId;
use domain::job::{AttemptOutcome, ClaimedJob, Death, Job, JobKind, QueueName, Subject};
use domain::order::OrderStatus;
use domain::refund::RefundState;
use serde_json::json;
use store::jobs::{self, DeadLetteredBy, Finish};
use store::{callbacks, kinds};

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    a_job_of_each_kind_waits_on_its_queue_and_nowhere_else
    a_suspect_of_each_kind_that_ran_goes_back_to_its_queue
    the_death_of_each_kind_is_answered_for_with_it
    a_final_no_ends_an_order_where_the_table_says_so
}

/// A job of this kind with this subject.
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

async fn the_death_of_each_kind_is_answered_for_with_it(f: Fixture) {
    for (kind, transaction_id) in JobKind::ALL.iter().copied().zip(1..) {
        let order = f.paid_order_as(transaction_id, TransactionId(transaction_id + 1_000)).await;
        f.ask(&order, transaction_id).await;
        let callback = callbacks::of_order(&f.store, order.id).await.unwrap().remove(0);
        let refund = f.refund(&order).await;
        let subject_id = match kind.subject() {
            Subject::Order => order.id.0,
            Subject::Callback => callback.id.0,
            Subject::Refund => refund.id.0,
            Subject::Nothing => 0,
        };
        f.execute(&["delete from jobs".to_owned()]).await;
        jobs::stage_now(&f.store, job_of(kind, subject_id)).await.unwrap();
        f.execute(&["update jobs set crashes = 6".to_owned()]).await; // it crashed alone twice
        f.claim_one(kind.queue()).await;
        jobs::end_all_leases(&f.store).await.unwrap();

        let crashed = kinds::recover_crashed(&f.store, kind.queue()).await.unwrap().remove(0);

        let dies = kind.death() != Death::Never;
        assert_eq!((crashed.crashes, crashed.is_dead), (7, dies), "{kind}");
        let order = f.find(&order).await;
        assert_eq!((order.status, order.needs_review), (OrderStatus::Paid, dies), "{kind}: a person is told");
        assert_eq!(order.reason.is_some_and(|reason| reason.contains("dead letter")), dies, "{kind}");
        let expected = if kind.subject() == Subject::Refund { RefundState::Review } else { RefundState::Open };
        assert_eq!(f.refund_again(&refund).await.state, expected, "{kind}");
    }
}

async fn a_final_no_ends_an_order_where_the_table_says_so(f: Fixture) {
    for kind in JobKind::about(Subject::Order) {
        let order = f.order().await;
        f.execute(&["delete from jobs".to_owned()]).await;
        jobs::stage_now(&f.store, job_of(kind, order.id.0)).await.unwrap();
        let job = f.claim_one(kind.queue()).await;

        kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&job.lease), "no", true).await.unwrap();

        let expected = if kind.death() == Death::FailsOrder { OrderStatus::Failed } else { OrderStatus::Review };
        assert_eq!(f.find(&order).await.status, expected, "{kind}");
    }
}

async fn a_suspect_of_each_kind_that_ran_goes_back_to_its_queue(f: Fixture) {
    for kind in JobKind::ALL.iter().copied() {
        jobs::stage_now(&f.store, job_of(kind, 9_000)).await.unwrap();
    }
    f.execute(&["update jobs set queue = 'suspect', crashes = 2".to_owned()]).await;
    let ids = jobs::enqueue(&f.store, QueueName::Suspect, 100).await.unwrap();
    let groups = jobs::group_suspects(&f.store, &ids).await.unwrap();
    let suspects: Vec<ClaimedJob> = jobs::claim_suspects(&f.store, &groups[0]).await.unwrap();
    assert_eq!(suspects.len(), JobKind::ALL.len());

    for suspect in suspects {
        let failed =
            Finish::Retry { not_before_ms: 0, error: "it ran, and failed".into(), outcome: AttemptOutcome::Failed };
        jobs::finish_alone(&f.store, &suspect.lease, &failed).await.unwrap();

        let row = jobs::show(&f.store, suspect.lease.job_id).await.unwrap().unwrap();
        assert_eq!(row.queue, suspect.job.unwrap().kind().queue().as_str(), "{}", row.kind);
    }
}
