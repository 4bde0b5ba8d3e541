//! `/openapi.json`: made by poem-openapi from the handlers, with an example of each problem document; and `/docs`,
//! which shows it.

use std::sync::Arc;

use askama::Template;
use domain::id::OrderId;
use serde_json::{Map, Value, json};
use utoipa_swagger_ui::Config;

use crate::orders::{cursor, parameters};
use crate::problem::{Problem, ProblemType};
use crate::{Api, orders};

/// The request id in every example.
pub(crate) const EXAMPLE_ID: &str = "5f0c1f2f9b5f4d3c8a7e6d5c4b3a2910";

/// The OpenAPI description, as JSON.
pub(crate) fn document(api: &Arc<Api>) -> String {
    let plain = orders::service(api).spec();
    match serde_json::from_str::<Value>(&plain) {
        Ok(mut description) => {
            add_examples(&mut description);
            description.to_string()
        }
        // Unlikely, because it was written just now. Without examples it is still correct.
        Err(_) => plain,
    }
}

/// The page that shows the description. It contains everything it needs and loads nothing.
#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage<'a> {
    style: &'a str,
    script: &'a str,
    document: &'a str,
}

/// The page of `/docs`, as HTML.
pub(crate) fn page(api: &Arc<Api>) -> String {
    let config = Arc::new(Config::from("openapi.json"));
    // The files are part of the program, so they are always found.
    let file = |name| match utoipa_swagger_ui::serve(name, Arc::clone(&config)) {
        Ok(Some(file)) => String::from_utf8_lossy(&file.bytes).into_owned(),
        Ok(None) | Err(_) => String::new(),
    };
    // Otherwise a text of the description could end the script it stands in.
    let document = document(api).replace("</", "<\\/");
    let page = DocsPage { style: &file("swagger-ui.css"), script: &file("swagger-ui-bundle.js"), document: &document };
    page.render().unwrap_or_default()
}

/// Adds to each problem response an example of every problem that its description names.
fn add_examples(description: &mut Value) {
    let Some(paths) = description.get_mut("paths").and_then(Value::as_object_mut) else { return };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let answers = operations.filter_map(|operation| operation.get_mut("responses")?.as_object_mut());
    for answer in answers.flat_map(Map::values_mut) {
        let examples = examples_of(answer.get("description").and_then(Value::as_str).unwrap_or_default());
        if let Some(content) = answer.pointer_mut("/content/application~1problem+json").and_then(Value::as_object_mut)
            && !examples.is_empty()
        {
            content.insert("examples".to_owned(), Value::Object(examples));
        }
    }
}

/// Examples of the problems whose slugs stand in backticks.
fn examples_of(description: &str) -> Map<String, Value> {
    let named = |word: &str| ProblemType::ALL.iter().copied().find(|kind| kind.slug() == word);
    let example = |kind: ProblemType| {
        let document = example(kind).document(EXAMPLE_ID);
        (kind.slug().to_owned(), json!({ "summary": document["title"], "value": document }))
    };
    description.split('`').filter_map(named).map(example).collect()
}

/// A typical problem document of this type.
pub(crate) fn example(kind: ProblemType) -> Problem {
    let with_field = |field: &str, detail: &str| Problem::with_field(kind, field, detail);
    match kind {
        ProblemType::UnreadableBody => Problem::new(kind, "the body is not JSON: expected value at line 1 column 1"),
        ProblemType::InvalidIdempotencyKey => {
            Problem::new(kind, "the header `Idempotency-Key` takes 1 to 255 visible ASCII characters, such as a UUID")
        }
        ProblemType::MissingIdempotencyKey => Problem::new(
            kind,
            "send the header `Idempotency-Key`, such as a UUID: without it, repeating the request could not be told from \
                 a second refund",
        ),
        ProblemType::MissingApiKey => {
            Problem::new(kind, "send your API key in the header `Authorization: Bearer <key>`")
        }
        ProblemType::WrongApiKey => {
            Problem::new(kind, "the key in `Authorization` is not an API key of this installation")
        }
        ProblemType::WrongToken => Problem::new(kind, "`token` must be the `order_token` of this order"),
        ProblemType::OrderNotFound => Problem::order_not_found(),
        ProblemType::ReferenceTaken => Problem::reference_taken(OrderId(7)),
        ProblemType::RequestInFlight => Problem::in_flight(true),
        ProblemType::PaymentInProgress => Problem::new(
            kind,
            "the customer is paying at this moment; ask again in a minute, and refund the order if it is paid by then",
        ),
        ProblemType::OrderNotCancelable => {
            Problem::new(kind, "the order is paid; refund it instead").member("order_status", "paid")
        }
        ProblemType::OrderNotPaid => {
            Problem::new(kind, "the order is not paid; cancel it instead").member("order_status", "pending")
        }
        ProblemType::RefundInProgress => {
            Problem::new(kind, "another refund of this order is being made; `GET …/refunds` shows its result")
                .member("refund_id", 3)
        }
        ProblemType::RefundInReview => Problem::new(
            kind,
            "the result of an earlier refund of this order is unknown; a person must find it out first, otherwise the \
             money might be returned twice",
        )
        .member("refund_id", 3),
        ProblemType::AlreadyRefunded => Problem::new(kind, "the order's whole amount was already returned"),
        ProblemType::GatewayNotConfigured => {
            Problem::new(kind, "the order was paid through atmos:1234, which is not configured here any more")
        }
        ProblemType::BodyTooLarge => Problem::new(kind, "the body is larger than its limit"),
        ProblemType::UnsupportedMediaType => {
            Problem::new(kind, "send JSON in UTF-8, with the header `Content-Type: application/json`")
        }
        ProblemType::NotAnObject => Problem::new(kind, "the body must be an object: {\"product_name\": …}"),
        ProblemType::MissingField => with_field("amount", "the field `amount` is missing"),
        ProblemType::UnknownField => with_field(
            "refrence",
            "`refrence` is not a field of an order; there are product_name, amount, payment_type, reference, return_url, \
             cancel_url, language",
        ),
        ProblemType::RepeatedField => with_field("amount", "`amount` appears twice; send it once"),
        ProblemType::InvalidAmount => with_field("amount", "the amount must be above zero"),
        ProblemType::InvalidProductName => with_field(
            "product_name",
            "`product_name` must have 1 to 200 characters that can be read: there is nothing to see in it",
        ),
        ProblemType::InvalidReference => with_field(
            "reference",
            "`reference` must have 1 to 100 characters that can be read: there is nothing to see in it",
        ),
        ProblemType::InvalidReturnUrl => with_field(
            "return_url",
            "`return_url` does not begin with http:// or https://; write an absolute address such as \
             https://shop.example/done",
        ),
        ProblemType::InvalidCancelUrl => with_field(
            "cancel_url",
            "`cancel_url` does not begin with http:// or https://; write an absolute address such as \
             https://shop.example/done",
        ),
        ProblemType::InvalidReason => with_field(
            "reason",
            "`reason` must have 1 to 200 characters that can be read: it has a line break or another control character",
        ),
        ProblemType::RefundOnlyInCabinet => Problem::new(
            kind,
            "this gateway gives money back only in its cabinet: refund the payment there, and the order becomes `refunded`",
        ),
        ProblemType::RefundMonthOver => Problem::new(
            kind,
            "the gateway gives back only payments of this month, and on its first day those of the month before; give the \
             money back by other means",
        ),
        ProblemType::PartialRefundUnavailable => with_field(
            "amount",
            "only the whole order can be refunded: leave `amount` out, or send \"50.00\"; a part of it can be returned in \
                 the gateway's cabinet",
        ),
        ProblemType::InvalidParameter => {
            Problem::with_parameter(kind, "limit", "`limit` must be a whole number from 1 to 100")
        }
        ProblemType::UnknownParameter => parameters::unknown("state"),
        ProblemType::InvalidCursor => cursor::unusable(),
        ProblemType::InvalidRequest => Problem::not_utf8("the reference"),
        ProblemType::UnknownLanguage => with_field("language", "`language` must be one of `uz`, `ru`, `en`"),
        ProblemType::UnknownPaymentType => {
            with_field("payment_type", "`payment_type` must be one of `atmos`, `payme`, `click`")
        }
        ProblemType::PaymentTypeWithoutGateway => {
            with_field("payment_type", "your shop has no account for `payme`; it has `atmos`")
                .member("payment_types", vec!["atmos"])
        }
        ProblemType::IdempotencyKeyReused => {
            Problem::new(kind, "this key was sent with another body within 24 hours; take a new key for a new order")
        }
        ProblemType::Internal => Problem::internal(),
        ProblemType::DatabaseUnavailable => Problem::new(kind, "nothing was changed by this request; ask again"),
        ProblemType::TooSlow => Problem::too_slow(30),
        ProblemType::DebitUnknown => Problem::new(
            kind,
            "the gateway's number of the debit is not known here yet; the gateway is being asked for it: ask again",
        ),
        ProblemType::TooManyStreams => Problem::new(
            kind,
            "this order has 20 event streams open; ask for the order itself every few seconds instead",
        )
        .member("limit", "order")
        .member("most", 20),
        ProblemType::TooManyRequests => Problem::too_many_requests(),
        // No operation's description names these.
        ProblemType::NotFound | ProblemType::MethodNotAllowed | ProblemType::NotReady => {
            Problem::new(kind, kind.slug())
        }
    }
}
