//! The handlers, one job at a time.

use domain::id::TransactionId;
use domain::job::{JobState, QueueName};
use domain::order::{NewOrder, OrderAccount, OrderStatus, PaymentType};
use queue::{LocalQueue, Queue};
use store::orders::{self, Chosen, Created};

use super::gateway::{HeldGateway, PER_ORDER};
use super::running::counted;
use super::{Working, inquire_now};
use crate::support::fixture::{Fixture, gateway, new_order, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_final_no_of_the_gateway_fails_the_order_with_its_reason
    a_final_no_to_a_draft_that_was_chosen_leaves_its_customer_the_other_ways
    a_debit_on_an_unseen_draft_pays_the_order
    no_gateway_is_asked_about_another_ones_order
    a_stored_callback_that_proves_nothing_any_more_still_brings_an_inquiry
    a_callback_whose_verdict_only_a_newer_release_knows_stops_no_payment
    a_callback_that_proves_nothing_is_told_once_however_often_its_inquiry_is_tried
    a_callback_during_an_inquiry_brings_another_inquiry
}

/// Shows: JOB-18
async fn a_final_no_of_the_gateway_fails_the_order_with_its_reason(f: Fixture) {
    let w = Working::start(f).await;
    w.gateway.refuse(1);
    let order = w.f.order().await;

    let failed = wait_until("the order to fail", PATIENCE, async || {
        Some(w.f.find(&order).await).filter(|order| order.status == OrderStatus::Failed)
    })
    .await;

    assert!(failed.reason.unwrap().contains("STPIMS-ERR-009"));
    assert_eq!(w.job_of(&order).await.state, JobState::Dead);
    assert_eq!(w.gateway.asked(1), 1, "asking again would change nothing");
}

async fn a_final_no_to_a_draft_that_was_chosen_leaves_its_customer_the_other_ways(f: Fixture) {
    let w = Working::start(f).await;
    let new = NewOrder { account: None, ..new_order() };
    let Created::New(order) = orders::create_for_choice(&w.f.store, &new, None, 86_400_000).await.unwrap() else {
        panic!("a new order")
    };
    w.gateway.refuse(order.id.0);

    let atmos = OrderAccount { payment_type: PaymentType::Atmos, gateway: gateway() };
    let chosen = orders::choose(&w.f.store, order.id, &atmos, None).await.unwrap();

    assert!(matches!(chosen, Chosen::Done(_)), "{chosen:?}");
    let again = wait_until("the choice to be taken back", PATIENCE, async || {
        Some(w.f.find(&order).await).filter(|order| order.account.is_none())
    })
    .await;
    assert_eq!((again.status, again.reason, again.choices), (OrderStatus::Pending, None, Some(1)));
    assert_eq!(again.refused_gateway, Some(gateway()));
    let history = orders::history(&w.f.store, order.id).await.unwrap();
    assert!(history[2].cause.contains("STPIMS-ERR-009"), "{history:?}");
    assert_eq!(w.gateway.asked(order.id.0), 1, "asking again would change nothing");
}

/// Shows: MONEY-8
async fn a_debit_on_an_unseen_draft_pays_the_order(f: Fixture) {
    let order = f.order_with_link(PER_ORDER + 1).await;
    f.stray_draft(&order, PER_ORDER + 2).await;
    let gateway = HeldGateway::start().await;
    gateway.debit(PER_ORDER + 2);
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;
    inquire_now(&w.f, &order).await;

    let paid = wait_until("the order to be paid", PATIENCE, async || {
        Some(w.f.find(&order).await).filter(|order| order.status == OrderStatus::Paid)
    })
    .await;

    assert_eq!(paid.transaction_id, Some(TransactionId(PER_ORDER + 2)));
    assert_eq!(w.gateway.asked(1), 2, "about both drafts");
    let inquiry = w.job_of(&order).await;
    let days = (inquiry.due_at_ms - w.f.store.now_ms() + 60_000) / 86_400_000;
    assert_eq!(
        (inquiry.state, inquiry.queue.as_str(), days),
        (JobState::Available, "background", 1),
        "the first late inquiry"
    );
}

/// Shows: INVARIANT-17, MONEY-14
async fn no_gateway_is_asked_about_another_ones_order(f: Fixture) {
    let (linked, new) = (f.order_with_link(PER_ORDER + 1).await, f.order().await);
    f.execute(&["update orders set gateway = 'atmos:9'".to_owned()]).await;
    let w = Working::start(f).await;
    inquire_now(&w.f, &linked).await;

    for order in [&linked, &new] {
        let snoozed = wait_until("its job to be put off", PATIENCE, async || {
            Some(w.job_of(order).await)
                .filter(|job| job.state == JobState::Available && job.due_at_ms > w.f.store.now_ms() + 2_000)
        })
        .await;
        assert!(snoozed.due_at_ms <= w.f.store.now_ms() + 300_000, "it is asked about once its gateway is back");
        assert_eq!(w.gateway.asked(order.id.0), 0);
    }
}

/// The key was rotated since, or the row was changed. A person must know, and the gateway's own answer decides.
/// Shows: JOB-8
async fn a_stored_callback_that_proves_nothing_any_more_still_brings_an_inquiry(f: Fixture) {
    let order = f.order_with_link(PER_ORDER + 1).await;
    f.ask(&order, PER_ORDER + 1).await; // the body that the fixture stores has no valid signature
    let w = Working::start(f).await;

    wait_until("an inquiry", PATIENCE, async || (w.gateway.asked(1) >= 1).then_some(())).await;

    assert_eq!(unproven(&w).await, "1");
    assert_eq!(w.f.find(&order).await.status, OrderStatus::Confirming, "the gateway shows no money");
}

/// The count of stored callbacks whose signature is no longer valid.
async fn unproven(w: &Working) -> String {
    let metrics = process::scrape::render(&w.f.store, &Queue::Local(LocalQueue::default())).await;
    let counted =
        metrics.lines().find_map(|line| line.strip_prefix("tasdiq_callbacks_unproven_total{gateway=\"atmos\"} "));
    counted.unwrap_or("0").to_owned()
}

async fn pays_although(f: Fixture, change: &str) -> Working {
    let order = f.order_with_link(PER_ORDER + 1).await;
    f.ask(&order, PER_ORDER + 1).await;
    f.execute(&[change.to_owned()]).await;
    let gateway = HeldGateway::start().await;
    gateway.debit(PER_ORDER + 1);
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;

    wait_until("the order to be paid", PATIENCE, async || {
        (w.f.find(&order).await.status == OrderStatus::Paid).then_some(())
    })
    .await;
    assert_eq!(w.f.number("select count(*) from job_attempts").await, 0, "no attempt has failed");
    w
}

async fn a_callback_whose_verdict_only_a_newer_release_knows_stops_no_payment(f: Fixture) {
    pays_although(f, "update callbacks set verdict = 'brewed'").await;
}

/// A stored body that is no text, after a change by hand. PostgreSQL cannot store one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_that_cannot_be_read_stops_no_payment_and_is_counted() {
    let w = pays_although(Fixture::sqlite().await, "update callbacks set body = x'ff'").await;

    assert_eq!(unproven(&w).await, "1");
}

async fn a_callback_that_proves_nothing_is_told_once_however_often_its_inquiry_is_tried(f: Fixture) {
    let order = f.order_with_link(PER_ORDER + 1).await;
    f.ask(&order, PER_ORDER + 1).await;
    let gateway = HeldGateway::start().await;
    gateway.go_away();
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;

    // An inquiry checks the callbacks that woke it before it asks.
    let tried = || counted("settle_order", "failed") + counted("settle_order", "released");
    wait_until("the inquiry to be tried again", PATIENCE, async || (tried() >= 2).then_some(())).await;

    assert_eq!(unproven(&w).await, "1");
}

/// Shows: JOB-3
async fn a_callback_during_an_inquiry_brings_another_inquiry(f: Fixture) {
    let order = f.order_with_link(PER_ORDER + 1).await;
    let gateway = HeldGateway::start().await;
    gateway.hold_all();
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;
    let inquiry = inquire_now(&w.f, &order).await;
    w.wait_for_calls(&[1]).await;

    w.f.ask(&order, PER_ORDER + 1).await;
    wait_until("the callback to wake the inquiry", PATIENCE, async || {
        (w.f.number("select cast(sum(wakes) as bigint) from jobs").await > 0).then_some(())
    })
    .await;
    assert_eq!((w.gateway.asked(1), w.job(inquiry).await.state), (1, JobState::Running));
    w.gateway.release_all();

    wait_until("another inquiry", PATIENCE, async || (w.gateway.asked(1) >= 2).then_some(())).await;
}
