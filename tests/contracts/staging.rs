//! Jobs that are enqueued when they are staged, and the causes that a woken job is told of.

use domain::id::JobId;
use domain::job::{AttemptOutcome, ClaimedJob, Job, QueueName};
use domain::order::Order;
use store::jobs::{self, ENQUEUE_GRACE_MS, Finish};
use store::settlement::{self, Settlement};
use store::{StoreError, callbacks, kinds, orders};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link, on_every_database};

on_every_database! {
    what_is_staged_on_an_open_queue_is_enqueued_with_its_commit
    an_id_that_was_not_pushed_is_enqueued_again_after_its_grace
    a_waiting_job_that_is_staged_again_on_an_open_queue_is_enqueued_and_a_suspect_is_not
    a_callback_wakes_its_inquiry_in_whatever_state_that_is
    a_callback_hurries_an_inquiry_that_is_in_the_queue_of_later_ones
    what_is_due_later_hurries_no_inquiry_that_is_in_the_queue_of_later_ones
    what_woke_an_inquiry_is_told_until_a_run_has_taken_it_up
    the_list_of_what_woke_an_inquiry_does_not_grow_for_ever
    the_job_by_which_an_older_release_processes_a_callback_wakes_the_inquiry
}

/// The row of the order's `settle_order`, or of its link's job.
async fn job_of(f: &Fixture, order: &Order, kind: &str) -> domain::job::JobRow {
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    jobs.into_iter().find(|job| job.kind == kind && job.finished_at_ms.is_none()).expect("an open job")
}

async fn state_of(f: &Fixture, order: &Order, kind: &str) -> String {
    job_of(f, order, kind).await.state.to_string()
}

/// Shows: JOB-30
async fn what_is_staged_on_an_open_queue_is_enqueued_with_its_commit(f: Fixture) {
    let before = f.order().await;
    assert_eq!(state_of(&f, &before, "create_payment_link").await, "available", "no queue is open");
    assert!(f.store.take_recent().due_at_ms.is_some(), "the relay must look at it");
    f.store.enqueue_when_staged(vec![QueueName::Links]);

    let order = f.order().await;

    let job = job_of(&f, &order, "create_payment_link").await;
    assert_eq!(job.state.to_string(), "enqueued");
    assert!(job.due_at_ms > f.store.now_ms() + ENQUEUE_GRACE_MS / 2, "it has its grace");
    let recent = f.store.take_recent();
    assert_eq!(recent.enqueued[&QueueName::Links], [job.id]);
    assert_eq!(recent.due_at_ms, None, "there is nothing to ask the database about");
    assert_eq!(f.store.take_recent().enqueued.len(), 0, "it is given once");
    assert_eq!(jobs::claim(&f.store, &[job.id]).await.unwrap().len(), 1);

    f.store.enqueue_when_staged(Vec::new());
    let after = f.order().await;
    assert_eq!(state_of(&f, &after, "create_payment_link").await, "available");
}

/// Shows: JOB-30
async fn an_id_that_was_not_pushed_is_enqueued_again_after_its_grace(f: Fixture) {
    f.store.enqueue_when_staged(vec![QueueName::Links]);
    let order = f.order().await;
    let id = job_of(&f, &order, "create_payment_link").await.id;
    assert_eq!(jobs::enqueue_again(&f.store, QueueName::Links, 10).await.unwrap(), []);

    let past = "update jobs set due_at_ms = 0, waiting_since_ms = waiting_since_ms - 60000 where state = 'enqueued'";
    f.execute(&[past.to_owned()]).await;

    let waited_ms = jobs::oldest_due_age_ms(&f.store, QueueName::ALL).await.unwrap();
    assert!(
        (60_000..90_000).contains(&waited_ms),
        "it waits since it was staged, and not since it was enqueued: {waited_ms}"
    );
    assert_eq!(jobs::enqueue_again(&f.store, QueueName::Links, 10).await.unwrap(), [id]);
}

/// Shows: JOB-30
async fn a_waiting_job_that_is_staged_again_on_an_open_queue_is_enqueued_and_a_suspect_is_not(f: Fixture) {
    f.store.enqueue_when_staged(vec![QueueName::Settle]);
    for (queue, expected) in [("background", ("enqueued", "settle")), ("suspect", ("available", "suspect"))] {
        let order = f.order_with_link(7 + queue.len() as i64).await;
        let id = job_of(&f, &order, "settle_order").await.id;
        f.execute(&[format!("update jobs set queue = '{queue}' where id = {id}")]).await;
        f.store.take_recent();

        jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();

        let job = job_of(&f, &order, "settle_order").await;
        assert_eq!((job.state.to_string().as_str(), job.queue.as_str()), expected);
        let enqueued: Vec<JobId> = f.store.take_recent().enqueued.into_values().flatten().collect();
        assert_eq!(enqueued, if queue == "suspect" { vec![] } else { vec![id] });
    }
}

/// The order's callback is repeated, so much later that it is a reason to ask again.
async fn ask_again(f: &Fixture, order: &Order) {
    f.execute(&["update callbacks set received_at_ms = 0, hinted_at_ms = 0".to_owned()]).await;
    f.ask(order, 7).await;
}

async fn callback_of(f: &Fixture, order: &Order) -> i64 {
    callbacks::of_order(&f.store, order.id).await.unwrap()[0].id.0
}

/// Shows: JOB-31
async fn a_callback_wakes_its_inquiry_in_whatever_state_that_is(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.store.enqueue_when_staged(vec![QueueName::Settle]);
    f.store.take_recent();

    f.ask(&order, 7).await;
    let inquiry = job_of(&f, &order, "settle_order").await;
    assert_eq!((inquiry.state.to_string().as_str(), inquiry.queue.as_str()), ("enqueued", "settle"));
    assert_eq!(f.store.take_recent().enqueued[&QueueName::Settle], [inquiry.id]);

    ask_again(&f, &order).await;
    assert_eq!(f.store.take_recent().enqueued.len(), 0, "its id is in the queue");

    let running = jobs::claim(&f.store, &[inquiry.id]).await.unwrap().remove(0);
    ask_again(&f, &order).await;
    let far = Finish::Snooze { until_ms: f.store.now_ms() + 60_000, queue: QueueName::Background };
    jobs::finish_alone(&f.store, &running.lease, &far).await.unwrap();
    let again = job_of(&f, &order, "settle_order").await;
    assert_eq!((again.state.to_string().as_str(), again.queue.as_str()), ("available", "settle"));
    assert!(again.due_at_ms <= f.store.now_ms(), "its run may have asked before the customer paid");

    let last = f.claim_one(QueueName::Settle).await;
    jobs::finish_alone(&f.store, &last.lease, &Finish::Complete).await.unwrap();
    ask_again(&f, &order).await;
    assert_eq!(f.claim_recent(QueueName::Settle).await.woken_by, [callback_of(&f, &order).await]);
}

/// The order's `settle_order` is due, and its id waits among those of the late inquiries.
async fn enqueue_among_later_ones(f: &Fixture, order: &Order) -> JobId {
    let id = job_of(f, order, "settle_order").await.id;
    let due_ms = f.store.now_ms() - 60_000;
    f.execute(&[format!("update jobs set queue = 'background', due_at_ms = {due_ms} where id = {id}")]).await;
    assert_eq!(jobs::enqueue(&f.store, QueueName::Background, 10).await.unwrap(), [id]);
    id
}

/// Such inquiries wait behind two thousand others, and while the rate limit is used up none of them asks at all.
/// Shows: JOB-2
async fn a_callback_hurries_an_inquiry_that_is_in_the_queue_of_later_ones(f: Fixture) {
    let order = f.order_with_link(7).await;
    let id = enqueue_among_later_ones(&f, &order).await;
    f.store.enqueue_when_staged(vec![QueueName::Settle]);
    f.store.take_recent();

    f.ask(&order, 7).await;

    let inquiry = job_of(&f, &order, "settle_order").await;
    assert_eq!((inquiry.state.to_string().as_str(), inquiry.queue.as_str()), ("enqueued", "settle"));
    let recent = f.store.take_recent();
    assert_eq!(recent.enqueued[&QueueName::Settle], [id]);
    assert_eq!(recent.enqueued.len(), 1);
    let waited_ms = jobs::oldest_due_age_ms(&f.store, &[QueueName::Settle]).await.unwrap();
    assert!((60_000..90_000).contains(&waited_ms), "it has waited since it was due: {waited_ms}");
    // Its id is in two lists now.
    let claimed = jobs::claim(&f.store, &[id]).await.unwrap().remove(0);
    assert_eq!((claimed.queue, claimed.woken_by), (QueueName::Settle, vec![callback_of(&f, &order).await]));
    assert_eq!(jobs::claim(&f.store, &[id]).await.unwrap().len(), 0);

    // If this process's relay does not take it, the next relay that can does.
    let order = f.order_with_link(8).await;
    let id = enqueue_among_later_ones(&f, &order).await;
    f.store.enqueue_when_staged(Vec::new());
    f.store.take_recent();
    f.ask(&order, 8).await;
    let inquiry = job_of(&f, &order, "settle_order").await;
    assert_eq!((inquiry.state.to_string().as_str(), inquiry.queue.as_str()), ("available", "settle"));
    assert!(inquiry.due_at_ms <= f.store.now_ms());
    assert!(f.store.take_recent().due_at_ms.is_some(), "the relay must look at it");
    assert_eq!(jobs::claim(&f.store, &[id]).await.unwrap().len(), 0, "its id in the other list is of the past");
    assert_eq!(jobs::enqueue(&f.store, QueueName::Settle, 10).await.unwrap(), [id]);
    assert_eq!(jobs::claim(&f.store, &[id]).await.unwrap()[0].queue, QueueName::Settle);
}

/// Shows: JOB-2
async fn what_is_due_later_hurries_no_inquiry_that_is_in_the_queue_of_later_ones(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    let id = enqueue_among_later_ones(&f, &order).await;
    let before = job_of(&f, &order, "settle_order").await;

    let inquiry_ms = f.store.now_ms() + 60_000;
    orders::store_link(&f.store, &link.lease, &order, &new_link(7), PAYMENT_TTL_MS, inquiry_ms).await.unwrap();

    let inquiry = job_of(&f, &order, "settle_order").await;
    assert_eq!((inquiry.id, inquiry.state, inquiry.queue.as_str()), (id, before.state, "background"));
    assert_eq!(inquiry.due_at_ms, before.due_at_ms);
}

/// Shows: JOB-31
async fn what_woke_an_inquiry_is_told_until_a_run_has_taken_it_up(f: Fixture) {
    let order = f.order_with_link(7).await;
    let order = f.find(&order).await;
    assert_eq!(f.settle_job(&order).await.woken_by, [0; 0], "nothing woke it but its time");
    jobs::end_all_leases(&f.store).await.unwrap();
    kinds::recover_crashed(&f.store, QueueName::Settle).await.unwrap();
    f.ask(&order, 7).await;
    let callback = callback_of(&f, &order).await;

    // The run never began, failed, was put off, or died: the callback is not handled.
    let now_ms = f.store.now_ms();
    for finish in [
        Finish::Release { not_before_ms: now_ms, reason: None },
        Finish::Retry { not_before_ms: now_ms, error: "no".to_owned(), outcome: AttemptOutcome::Failed },
        Finish::Snooze { until_ms: now_ms, queue: QueueName::Settle },
    ] {
        let inquiry = f.settle_job(&order).await;
        assert_eq!(inquiry.woken_by, [callback], "{finish:?}");
        jobs::finish_alone(&f.store, &inquiry.lease, &finish).await.unwrap();
    }
    f.settle_job(&order).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    kinds::recover_crashed(&f.store, QueueName::Settle).await.unwrap();

    // Another callback comes during the run: that one is not handled.
    let inquiry = f.settle_job(&order).await;
    assert_eq!(inquiry.woken_by, [callback]);
    ask_again(&f, &order).await;
    settle_unchanged(&f, &order, &inquiry).await;
    let inquiry = f.settle_job(&order).await;
    assert_eq!(inquiry.woken_by, [callback, callback]);
    settle_unchanged(&f, &order, &inquiry).await;
    assert_eq!(f.settle_job(&order).await.woken_by, [0; 0], "all of it was taken up");
}

async fn settle_unchanged(f: &Fixture, order: &Order, inquiry: &ClaimedJob) {
    let now_ms = f.store.now_ms();
    let finish = Finish::Snooze { until_ms: now_ms, queue: QueueName::Settle };
    settlement::settle(&f.store, &inquiry.lease, order, now_ms, &[], &Settlement::Unchanged, &finish).await.unwrap();
}

async fn the_list_of_what_woke_an_inquiry_does_not_grow_for_ever(f: Fixture) {
    let order = f.order_with_link(7).await;
    for _ in 0..600 {
        ask_again(&f, &order).await;
    }

    let inquiry = f.settle_job(&order).await;

    assert!((100..600).contains(&inquiry.woken_by.len()), "{}", inquiry.woken_by.len());
    assert!(inquiry.woken_by.iter().all(|id| *id == inquiry.woken_by[0]));
}

/// In a rolling update an API of the release before stages such jobs.
/// Shows: JOB-31
async fn the_job_by_which_an_older_release_processes_a_callback_wakes_the_inquiry(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    let inquiry = f.settle_job(&order).await;
    let far = Finish::Snooze { until_ms: f.store.now_ms() + 60_000, queue: QueueName::Background };
    jobs::finish_alone(&f.store, &inquiry.lease, &far).await.unwrap();
    let job = f.older_callback_job(&order).await;

    callbacks::wake_settlement(&f.store, &job.lease, order.id).await.unwrap();

    assert!(f.is_complete(job.lease.job_id).await);
    assert_eq!(f.claim_one(QueueName::Settle).await.lease.job_id, inquiry.lease.job_id);
    let again = callbacks::wake_settlement(&f.store, &job.lease, order.id).await;
    assert!(matches!(again, Err(StoreError::LeaseLost)), "{again:?}");
    assert_eq!(f.number("select wakes from jobs").await, 0, "and wrote nothing");
}
