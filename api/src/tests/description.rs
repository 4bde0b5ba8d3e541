//! The contents of `/openapi.json`.

use serde_json::{Value, json};

use super::support::{TestApi, send};
use crate::description::{EXAMPLE_ID, example};
use crate::problem::ProblemType;

#[tokio::test]
async fn each_answer_has_an_example_of_each_of_its_problems() {
    let api = TestApi::start().await;

    let description = api.get("/openapi.json").await.json();

    let create = &description["paths"]["/api/orders/create"]["post"];
    let examples =
        |status: &str| create["responses"][status]["content"]["application/problem+json"]["examples"].clone();
    assert_eq!(examples("415")["unsupported-media-type"]["value"]["status"], 415, "{create:#}");
    assert_eq!(examples("409")["reference-taken"]["value"]["order_id"], 7);
    let invalid = examples("422");
    assert!(invalid.as_object().unwrap().len() >= 12, "{invalid:#}");
    for (slug, example) in invalid.as_object().unwrap() {
        assert_eq!(example["value"]["type"], format!("urn:tasdiq:problem:{slug}"));
        assert_ne!(example["value"]["detail"], example["value"]["title"]);
    }
}

#[tokio::test]
async fn the_examples_are_what_is_answered() {
    let api = TestApi::start().await;
    let whole = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let with = |field: &str, value: Value| {
        let mut body = whole.clone();
        body[field] = value;
        body
    };

    for (kind, body) in [
        (ProblemType::UnknownField, with("refrence", json!("A-17"))),
        (ProblemType::InvalidAmount, with("amount", json!("0"))),
        (ProblemType::MissingField, with("amount", Value::Null)),
        (ProblemType::InvalidProductName, with("product_name", json!(""))),
        (ProblemType::InvalidReference, with("reference", json!(""))),
        (ProblemType::InvalidReturnUrl, with("return_url", json!("/done"))),
        (ProblemType::InvalidCancelUrl, with("cancel_url", json!("/done"))),
        (ProblemType::UnknownLanguage, with("language", json!("de"))),
        (ProblemType::UnknownPaymentType, with("payment_type", json!("cash"))),
        (ProblemType::PaymentTypeWithoutGateway, with("payment_type", json!("payme"))),
        (ProblemType::NotAnObject, json!([])),
    ] {
        let mut answer = api.create(&body).await.json();
        answer["request_id"] = json!(EXAMPLE_ID);
        assert_eq!(answer, example(kind).document(EXAMPLE_ID));
    }
    let unreadable = send(api.client.post("/api/orders/create").content_type("application/json").body("x")).await;
    assert_eq!(unreadable.json()["detail"], example(ProblemType::UnreadableBody).document(EXAMPLE_ID)["detail"]);
}

#[tokio::test]
async fn the_addresses_stand_in_groups() {
    let api = TestApi::start().await;

    let description = api.get("/openapi.json").await.json();

    let groups: Vec<&Value> = description["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    assert_eq!(groups, ["Orders", "Refund and cancel"]);
    for (path, operations) in description["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{path}");
        }
    }
}
