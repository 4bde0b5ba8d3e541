//! Parts of `/openapi.json` written by hand, because their JSON is read and written by hand.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use serde_json::{Value, json};

/// A string with its description.
pub(crate) fn text(description: &'static str) -> MetaSchema {
    MetaSchema { description: Some(description), ..MetaSchema::new("string") }
}

/// A string with a maximum length.
pub(crate) fn bounded_text(description: &'static str, max_length: usize) -> MetaSchema {
    MetaSchema { min_length: Some(1), max_length: Some(max_length), ..text(description) }
}

/// One of a few strings.
pub(crate) fn one_of(description: &'static str, values: Vec<Value>, default: Option<Value>) -> MetaSchema {
    MetaSchema { enum_items: values, default, ..text(description) }
}

/// A schema that is written where it is used.
pub(crate) fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

/// A reference to the problem document.
pub(crate) fn problem() -> MetaSchemaRef {
    MetaSchemaRef::Reference("Problem".to_owned())
}

/// Describes the problem document.
pub(crate) fn register_problem(registry: &mut Registry) {
    let integer = |description| MetaSchema { description: Some(description), ..MetaSchema::new("integer") };
    registry.schemas.entry("Problem".to_owned()).or_insert_with(|| MetaSchema {
        description: Some("A problem document (RFC 9457)."),
        required: vec!["type", "title", "status", "detail", "request_id"],
        properties: vec![
            ("type", inline(text("`urn:tasdiq:problem:<slug>`; for programs."))),
            ("title", inline(text("The problem in a few words."))),
            ("status", inline(integer("The HTTP status."))),
            ("detail", inline(text("What to do next, in a sentence for people."))),
            ("request_id", inline(text("The id of the request in our logs, like the header `X-Request-Id`."))),
            ("field", inline(text("The field of the body it is about."))),
            ("parameter", inline(text("The parameter of the address it is about."))),
            ("order_id", inline(integer("The order it is about."))),
            ("order_status", inline(text("The status that the order has."))),
            ("refund_id", inline(integer("The refund it is about."))),
        ],
        example: Some(json!({
            "type": "urn:tasdiq:problem:invalid-amount",
            "title": "The amount cannot be used",
            "status": 422,
            "detail": "the amount must be above zero",
            "request_id": "5f0c1f2f9b5f4d3c8a7e6d5c4b3a2910",
            "field": "amount",
        })),
        ..MetaSchema::new("object")
    });
}
