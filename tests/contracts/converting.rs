//! The job of a payment link becomes the order's first inquiry: one row, whatever else happens to it meanwhile.

use domain::job::{Job, JobRow, JobState, QueueName};
use domain::order::{Order, OrderStatus};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use store::jobs::{self, Finish};
use store::kinds::{self, JobCommandOutcome};
use store::orders::{self, Canceled, Transition};
use store::{StoreError, transactions};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link, on_every_database};

on_every_database! {
    the_job_of_a_link_becomes_the_orders_first_inquiry
    a_link_whose_order_has_an_inquiry_already_leaves_the_table_and_the_inquiry_comes_no_later
    an_inquiry_that_runs_beside_the_link_is_told_to_run_once_more
    a_link_that_was_woken_while_it_ran_becomes_an_inquiry_all_the_same
    a_suspect_that_makes_its_link_is_none_any_more
    a_link_whose_lease_ran_out_becomes_nothing
    a_link_that_is_refused_stays_as_it_is
    a_job_that_is_complete_leaves_the_table_unless_it_was_woken
    an_inquiry_that_is_complete_makes_room_for_the_next
}

impl Fixture {
    /// The jobs of an order, newest first.
    async fn jobs_of(&self, order: &Order) -> Vec<JobRow> {
        kinds::jobs_of_order(&self.store, order.id).await.unwrap()
    }

    async fn only_job_of(&self, order: &Order) -> JobRow {
        let mut jobs = self.jobs_of(order).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }

    async fn store(
        &self,
        order: &Order,
        job: &domain::job::ClaimedJob,
        inquiry_ms: i64,
    ) -> Result<Transition, StoreError> {
        orders::store_link(&self.store, &job.lease, order, &new_link(7), PAYMENT_TTL_MS, inquiry_ms).await
    }

    async fn stage_inquiry(&self, order: &Order) {
        jobs::stage_now(&self.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    }
}

/// Shows: JOB-32
async fn the_job_of_a_link_becomes_the_orders_first_inquiry(f: Fixture) {
    let order = f.order().await;
    let enqueued = jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap();
    let link = jobs::claim(&f.store, &enqueued).await.unwrap().remove(0);
    let inquiry_ms = f.store.now_ms() + 60_000;

    assert_eq!(f.store(&order, &link, inquiry_ms).await.unwrap(), Transition::Made);

    let inquiry = f.only_job_of(&order).await;
    assert_eq!(inquiry.id, link.lease.job_id, "it is the same row");
    assert_eq!(
        (inquiry.kind.as_str(), inquiry.queue.as_str(), inquiry.state),
        ("settle_order", "settle", JobState::Available)
    );
    assert_eq!((inquiry.due_at_ms, inquiry.attempt, inquiry.crashes), (inquiry_ms, 0, 0));
    assert_eq!((inquiry.last_error, inquiry.finished_at_ms), (None, None));
    // The link's run is over, and its answer may have been lost; its id may still be in the list of links.
    assert_eq!(jobs::renew(&f.store, &[link.lease]).await.unwrap(), []);
    let again = f.store(&order, &link, inquiry_ms).await;
    assert!(matches!(again, Err(StoreError::LeaseLost)), "{again:?}");
    let complete = jobs::finish_alone(&f.store, &link.lease, &Finish::Complete).await;
    assert!(matches!(complete, Err(StoreError::LeaseLost)), "{complete:?}");
    assert_eq!(jobs::claim(&f.store, &enqueued).await.unwrap().len(), 0, "it is not enqueued as an inquiry yet");
    let inquiry = f.settle_job(&order).await;
    assert_eq!((inquiry.job, inquiry.attempt), (Ok(Job::SettleOrder { order_id: order.id }), 1));
}

async fn a_link_whose_order_has_an_inquiry_already_leaves_the_table_and_the_inquiry_comes_no_later(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    f.stage_inquiry(&order).await;
    let inquiry = f.claim_one(QueueName::Settle).await;
    let far = Finish::Snooze { until_ms: f.store.now_ms() + 3_600_000, queue: QueueName::Background };
    jobs::finish_alone(&f.store, &inquiry.lease, &far).await.unwrap();
    let inquiry_ms = f.store.now_ms() + 60_000;

    assert_eq!(f.store(&order, &link, inquiry_ms).await.unwrap(), Transition::Made);

    let left = f.only_job_of(&order).await;
    assert_eq!((left.id, left.kind.as_str(), left.due_at_ms), (inquiry.lease.job_id, "settle_order", inquiry_ms));
    assert!(f.is_complete(link.lease.job_id).await);
}

async fn an_inquiry_that_runs_beside_the_link_is_told_to_run_once_more(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    f.stage_inquiry(&order).await;
    let inquiry = f.claim_one(QueueName::Settle).await;

    assert_eq!(f.store(&order, &link, f.store.now_ms() + 60_000).await.unwrap(), Transition::Made);

    jobs::finish_alone(&f.store, &inquiry.lease, &Finish::Complete).await.unwrap();
    let left = f.only_job_of(&order).await;
    assert_eq!((left.id, left.state), (inquiry.lease.job_id, JobState::Available));
    assert!(left.due_at_ms <= f.store.now_ms(), "its run had seen no draft");
}

/// The link is there, so another run of its job would have nothing to do.
/// Shows: JOB-32
async fn a_link_that_was_woken_while_it_ran_becomes_an_inquiry_all_the_same(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    jobs::stage_now(&f.store, Job::CreatePaymentLink { order_id: order.id }).await.unwrap();
    let inquiry_ms = f.store.now_ms() + 60_000;

    assert_eq!(f.store(&order, &link, inquiry_ms).await.unwrap(), Transition::Made);

    let inquiry = f.only_job_of(&order).await;
    assert_eq!((inquiry.kind.as_str(), inquiry.due_at_ms), ("settle_order", inquiry_ms));
    // The wakes that it had as a link make no inquiry run twice.
    let inquiry = f.settle_job(&order).await;
    let far = Finish::Snooze { until_ms: inquiry_ms, queue: QueueName::Settle };
    jobs::finish_alone(&f.store, &inquiry.lease, &far).await.unwrap();
    assert_eq!(f.only_job_of(&order).await.due_at_ms, inquiry_ms);
}

async fn a_suspect_that_makes_its_link_is_none_any_more(f: Fixture) {
    let order = f.order().await;
    f.execute(&["update jobs set crashes = 2, queue = 'suspect', last_error = 'it died'".to_owned()]).await;
    let link = f.claim_one(QueueName::Suspect).await;

    assert_eq!(f.store(&order, &link, f.store.now_ms()).await.unwrap(), Transition::Made);

    let inquiry = f.only_job_of(&order).await;
    assert_eq!((inquiry.queue.as_str(), inquiry.crashes, inquiry.last_error), ("settle", 0, None));
    assert_eq!(f.claim_one(QueueName::Settle).await.lease.job_id, inquiry.id);
}

async fn a_link_whose_lease_ran_out_becomes_nothing(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    f.execute(&["update jobs set due_at_ms = 0".to_owned()]).await;
    assert_eq!(kinds::recover_crashed(&f.store, QueueName::Links).await.unwrap().len(), 1);

    let late = f.store(&order, &link, f.store.now_ms()).await;

    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let job = f.only_job_of(&order).await;
    assert_eq!((job.kind.as_str(), job.state, job.crashes), ("create_payment_link", JobState::Available, 1));
    assert_eq!(transactions::of_order(&f.store, order.id).await.unwrap().len(), 1, "its draft is known all the same");
}

async fn a_link_that_is_refused_stays_as_it_is(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    assert!(matches!(orders::call_off(&f.store, order.id, "no more").await, Ok(Canceled::Done(_))));

    assert_eq!(f.store(&order, &link, f.store.now_ms()).await.unwrap(), Transition::Refused);

    assert_eq!(f.state_of(link.lease.job_id).await.0, "running");
    assert_eq!(f.find(&order).await.status, OrderStatus::Canceled);
    assert_eq!(f.jobs_of(&order).await.iter().filter(|job| job.kind == "settle_order").count(), 1);
}

async fn a_job_that_is_complete_leaves_the_table_unless_it_was_woken(f: Fixture) {
    let order = f.order().await;
    let first = f.claim_one(QueueName::Links).await;
    jobs::stage_now(&f.store, Job::CreatePaymentLink { order_id: order.id }).await.unwrap();

    jobs::finish_alone(&f.store, &first.lease, &Finish::Complete).await.unwrap();
    let again = f.only_job_of(&order).await;
    assert_eq!((again.id, again.state, again.attempt), (first.lease.job_id, JobState::Available, 0));

    let second = f.claim_one(QueueName::Links).await;
    let stale = jobs::finish_alone(&f.store, &first.lease, &Finish::Complete).await;
    assert!(matches!(stale, Err(StoreError::LeaseLost)), "{stale:?}");
    jobs::finish_alone(&f.store, &second.lease, &Finish::Complete).await.unwrap();
    assert!(f.is_complete(first.lease.job_id).await);
    let repeated = jobs::finish_alone(&f.store, &second.lease, &Finish::Complete).await;
    assert!(matches!(repeated, Err(StoreError::LeaseLost)), "{repeated:?}");
}

async fn an_inquiry_that_is_complete_makes_room_for_the_next(f: Fixture) {
    let order = f.order_with_link(7).await;
    let inquiry = f.settle_job(&order).await;
    jobs::finish_alone(&f.store, &inquiry.lease, &Finish::Complete).await.unwrap();
    assert_eq!(f.jobs_of(&order).await.len(), 0);

    f.stage_inquiry(&order).await;

    assert_ne!(f.only_job_of(&order).await.id, inquiry.lease.job_id);
}

/// An operator's cancel reads the job of a link, and waits for the row: its run stores the link meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inquiry_that_was_a_link_when_its_cancel_was_asked_for_goes_on() {
    let f = Fixture::postgres().await;
    let order = f.order().await;
    let id = f.only_job_of(&order).await.id;
    let turn = format!(
        "begin; update jobs set kind = 'settle_order', queue = 'settle',
            payload = '{{\"kind\":\"settle_order\",\"order_id\":' || subject_id || '}}' where id = {id}"
    );
    let mut other = f.connection().await;
    other.execute(AssertSqlSafe(turn)).await.unwrap();

    let mut watching = f.connection().await;
    let converted = async {
        wait_for_a_lock(&mut watching).await;
        other.execute("commit").await.unwrap();
    };
    let (canceled, ()) = tokio::join!(kinds::cancel(&f.store, id), converted);

    assert!(matches!(canceled, Ok(JobCommandOutcome::Refused(_))), "{canceled:?}");
    let inquiry = f.only_job_of(&order).await;
    assert_eq!((inquiry.kind.as_str(), inquiry.state), ("settle_order", JobState::Available));
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending, "the customer may pay");
}

/// Until another connection to this database waits for a lock.
async fn wait_for_a_lock(watching: &mut PgConnection) {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
        and datname = current_database()";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *watching).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}

/// The partial unique index allows one inquiry: a transaction that writes another waits for the first one's end, and is
/// then run again.
/// Shows: JOB-32
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inquiry_that_is_staged_in_the_same_moment_is_the_one() {
    let f = Fixture::postgres().await;
    for is_kept in [true, false] {
        let order = f.order().await;
        let link = f.claim_one(QueueName::Links).await;
        let staged = format!(
            "begin; insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
            select id + 1000000, 'settle', 'settle_order', subject_id,
                '{{\"kind\":\"settle_order\",\"order_id\":' || subject_id || '}}', 'available', due_at_ms, created_at_ms
            from jobs where id = {}",
            link.lease.job_id
        );
        let mut other = f.connection().await;
        other.execute(AssertSqlSafe(staged)).await.unwrap();

        let mut watching = f.connection().await;
        let waits = async {
            wait_for_a_lock(&mut watching).await;
            other.execute(if is_kept { "commit" } else { "rollback" }).await.unwrap();
        };
        let draft = new_link(order.id.0);
        let (stored, ()) = tokio::join!(
            orders::store_link(&f.store, &link.lease, &order, &draft, PAYMENT_TTL_MS, f.store.now_ms() + 60_000),
            waits
        );

        assert_eq!(stored.unwrap(), Transition::Made);
        let inquiry = f.only_job_of(&order).await;
        let expected = link.lease.job_id.0 + if is_kept { 1_000_000 } else { 0 };
        assert_eq!((inquiry.id.0, inquiry.kind.as_str()), (expected, "settle_order"));
    }
}
