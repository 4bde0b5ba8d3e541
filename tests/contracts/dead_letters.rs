use domain::id::{JobId, TransactionId};
use domain::job::{JobState, QueueName};
use domain::order::{OrderStatus, SuggestedAct};
use domain::review::FindingKind;
use store::jobs::{self, DeadLetteredBy, LEASE_MS};
use store::kinds;
use store::settlement::Settlement;
use store::{StoreError, callbacks, findings};

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    a_dead_letter_moves_its_order_from_whatever_status_it_has
    a_renewal_in_time_wins_over_the_relays_dead_letter
    a_worker_that_lost_its_lease_makes_no_dead_letter
    the_dead_letter_of_a_callback_moves_the_callbacks_order
    a_final_no_to_a_link_that_is_not_needed_any_more_is_no_dead_letter
}

const EVERY_STATUS: [OrderStatus; 8] = [
    OrderStatus::Pending,
    OrderStatus::Confirming,
    OrderStatus::Expired,
    OrderStatus::Canceled,
    OrderStatus::Paid,
    OrderStatus::Refunded,
    OrderStatus::Failed,
    OrderStatus::Review,
];

/// Shows: INVARIANT-14, PROMISE-6, JOB-28
async fn a_dead_letter_moves_its_order_from_whatever_status_it_has(f: Fixture) {
    let mut transaction_id = 0;
    for status in EVERY_STATUS {
        for is_relay in [false, true] {
            transaction_id += 1;
            let before = f.order_in(status, transaction_id).await;
            let job = f.settle_job(&before).await;
            let by = if is_relay {
                jobs::end_all_leases(&f.store).await.unwrap();
                DeadLetteredBy::Relay { id: job.lease.job_id, crashes: 0 }
            } else {
                DeadLetteredBy::Worker(&job.lease)
            };

            kinds::dead_letter(&f.store, by, "it crashed", false).await.unwrap();

            let row = jobs::show(&f.store, job.lease.job_id).await.unwrap().unwrap();
            assert_eq!((row.state, row.crashes), (JobState::Dead, i64::from(is_relay)), "{status} {is_relay}");
            let after = f.find(&before).await;
            let (to, is_marked) = match status {
                OrderStatus::Pending | OrderStatus::Confirming | OrderStatus::Expired | OrderStatus::Canceled => {
                    (OrderStatus::Review, false)
                }
                OrderStatus::Paid | OrderStatus::Refunded | OrderStatus::Failed => (status, true),
                OrderStatus::Review => (OrderStatus::Review, false),
            };
            assert_eq!((after.status, after.needs_review), (to, is_marked), "{status} {is_relay}");
            assert!(
                after.reason.as_deref().is_some_and(|reason| reason.contains("dead letter")),
                "{status}: {after:?}"
            );
            let found = findings::of_order(&f.store, &after).await.unwrap();
            let last = found.last().map(|finding| (finding.kind, finding.act, finding.subject_id));
            assert_eq!(last, Some((FindingKind::JobDied, SuggestedAct::MendJob, Some(row.id.0))), "{status}");
            assert_eq!(found.len(), if status == OrderStatus::Review { 2 } else { 1 }, "{status}: {found:?}");
        }
    }
}

/// Shows: JOB-28
async fn a_renewal_in_time_wins_over_the_relays_dead_letter(f: Fixture) {
    let order = f.order_with_link(7).await;
    let job = f.settle_job(&order).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    assert_eq!(jobs::renew(&f.store, &[job.lease]).await.unwrap(), [job.lease.job_id]);

    let late =
        kinds::dead_letter(&f.store, DeadLetteredBy::Relay { id: job.lease.job_id, crashes: 0 }, "it crashed", false)
            .await;

    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let row = jobs::show(&f.store, job.lease.job_id).await.unwrap().unwrap();
    assert_eq!((row.state, row.crashes), (JobState::Running, 0));
    assert!(row.due_at_ms > f.store.now_ms() + LEASE_MS / 2);
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
}

/// Shows: MONEY-9
async fn a_worker_that_lost_its_lease_makes_no_dead_letter(f: Fixture) {
    let order = f.order_with_link(7).await;
    let mut job = f.settle_job(&order).await;
    job.lease.token ^= 1;

    for lease in [job.lease, domain::job::Lease { job_id: JobId(999), ..job.lease }] {
        let refused = kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&lease), "no", false).await;
        assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    }

    assert_eq!(f.state_of(job.lease.job_id).await.0, "running");
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
}

/// Shows: JOB-28
async fn the_dead_letter_of_a_callback_moves_the_callbacks_order(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    assert_eq!(callbacks::of_order(&f.store, order.id).await.unwrap().len(), 1);
    let job = f.older_callback_job(&order).await;

    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&job.lease), "it panicked", false).await.unwrap();

    assert_eq!(f.find(&order).await.status, OrderStatus::Review);
}

/// While a second link was being made, the customer paid by the first.
async fn a_final_no_to_a_link_that_is_not_needed_any_more_is_no_dead_letter(f: Fixture) {
    let order = f.order_with_link(1).await;
    let closed = Settlement::LinkClosed { transaction_id: TransactionId(1) };
    f.settle(&order, &closed).await.unwrap();
    let second_link = f.claim_one(QueueName::Links).await;
    f.ask(&order, 1).await;

    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&second_link.lease), "no", true).await.unwrap();

    assert!(f.is_complete(second_link.lease.job_id).await);
    let order = f.find(&order).await;
    assert_eq!((order.status, order.needs_review), (OrderStatus::Confirming, false));
}
