//! The process dies in a customer's choice of an account; the form that is sent again makes one choice, and the order is paid.

use std::time::Duration;

use failpoint::Point;
use reqwest::Method;
use serde_json::json;

use crate::story::choice::{choose, payment_page, unchosen};
use crate::story::gateways::{ACCOUNTS, act};
use crate::support::app::{Kind, TestApp, on_both_kinds};

on_both_kinds! {
    a_process_that_dies_in_a_choice_leaves_one_choice_with_one_link_that_is_paid
}

/// The end of a dead process's leases, and a slow machine.
const PAID_WITHIN: Duration = Duration::from_secs(60);

/// A local link is written with the choice; a draft is made by a job that is staged with it.
async fn a_process_that_dies_in_a_choice_leaves_one_choice_with_one_link_that_is_paid(kind: Kind) {
    for point in Point::ALL.iter().filter(|point| point.is_of_a_choice()) {
        for payment_type in ["payme", "click", "atmos"] {
            dies_in_the_choice(kind, *point, payment_type).await;
        }
    }
}

async fn dies_in_the_choice(kind: Kind, point: Point, payment_type: &str) {
    let what = format!("{point}, {payment_type}");
    let death = format!("{point}=kill");
    let variables: Vec<(&str, &str)> = ACCOUNTS.into_iter().chain([("FAILPOINTS", death.as_str())]).collect();
    let mut app = TestApp::start_with(kind, &variables).await;
    let (id, token) = unchosen(&app).await;
    let choices = async |app: &TestApp| {
        let history = app.history(id).await;
        let causes = history.steps().iter().map(|step| step.cause.clone());
        causes.filter(|cause| cause.contains("the customer chose")).collect::<Vec<_>>()
    };

    let form = app.request(Method::POST, &format!("/pay/{token}")).form(&[("pay_with", payment_type)]);
    assert!(form.send().await.is_err(), "{what}: the process dies before its answer");
    app.start_again_without("FAILPOINTS").await;
    let written = usize::from(point == Point::ChoiceAfterCommit);
    assert_eq!(choices(&app).await.len(), written, "{what}: before the form is sent again");
    // The customer's browser asks whether to send the form again, and a person who waits clicks twice.
    for _ in 0..2 {
        let answer = choose(&app, &token, payment_type).await;
        assert_eq!((answer.status, answer.header("location")), (303, format!("{token}?chosen").as_str()), "{what}");
    }

    assert_eq!(choices(&app).await, [format!("the customer chose to pay with {payment_type}, choice 1")], "{what}");
    if payment_type == "atmos" {
        let linked = app.wait_for_link(id).await;
        app.pay(linked.transaction_id).await;
    } else {
        let page = payment_page(&app, &token).await;
        let amount = if payment_type == "payme" { json!(5_000) } else { json!("50.00") };
        act(&page, &format!("/{payment_type}/_sim/pay/{id}"), &json!({ "amount": amount })).await;
    }
    let order = app.wait_for_within(id, "paid", PAID_WITHIN).await;
    assert_eq!((&order["payment_type"], &order["needs_review"]), (&json!(payment_type), &json!(false)), "{what}");
    let history = app.history(id).await;
    assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (1, 1), "{what}: {history}");
    let story = app.story(id).await;
    assert_eq!(story["transactions"].as_array().unwrap().len(), 1, "{what}: {story}");
    assert_eq!(app.run(&["audit"]).await.code, Some(0), "{what}");
}
