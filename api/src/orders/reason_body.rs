//! The bodies of cancel and refund: why, and how much is to go back. Both may be left out.

use domain::order::{Order, REASON_CHARACTERS};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::json;

use super::body::{amount, amount_schema, readable};
use super::json_object::{JsonObject, Shape};
use crate::digest::sha256_hex;
use crate::problem::{Problem, ProblemType};
use crate::schema::{bounded_text, inline};

const REFUND: Shape =
    Shape { fields: &["amount", "reason"], noun: "a refund", example: "{\"reason\": …}", may_be_empty: true };

const CANCEL: Shape =
    Shape { fields: &["reason"], noun: "a cancellation", example: "{\"reason\": …}", may_be_empty: true };

/// The body of `POST …/refund`, its values not yet looked at.
#[derive(Debug)]
pub(crate) struct RefundRequest(JsonObject);

/// The body of `POST …/cancel`, its values not yet looked at.
#[derive(Debug)]
pub(crate) struct CancelRequest(JsonObject);

impl RefundRequest {
    /// Why, if it was said; the amount must be the whole of the order's.
    ///
    /// # Errors
    /// Each fault has a problem type of its own.
    pub(super) fn parse(&self, order: &Order) -> Result<Option<String>, Problem> {
        if let Some(raw) = self.0.raw("amount")
            && amount(raw)? != order.amount
        {
            let detail = format!(
                "only the whole order can be refunded: leave `amount` out, or send \"{}\"; part of it can be given back in \
                 the gateway's cabinet",
                order.amount
            );
            return Err(Problem::with_field(ProblemType::PartialRefundUnavailable, "amount", detail));
        }
        reason(&self.0)
    }
}

impl CancelRequest {
    /// Why, if it was said.
    ///
    /// # Errors
    /// [`ProblemType::InvalidReason`].
    pub(super) fn parse(&self) -> Result<Option<String>, Problem> {
        reason(&self.0)
    }
}

/// SHA-256 of what a request for a refund says, hex. It never equals an order's.
pub(super) fn digest(order: &Order, reason: Option<&str>) -> String {
    sha256_hex(json!(["refund", order.id, reason]).to_string())
}

fn reason(body: &JsonObject) -> Result<Option<String>, Problem> {
    let Some(raw) = body.raw("reason") else { return Ok(None) };
    readable(raw, "reason", ProblemType::InvalidReason, REASON_CHARACTERS).map(Some)
}

macro_rules! optional_body {
    ($name:ident, $shape:ident, $schema:literal, $description:ident) => {
        impl<'a> ApiExtractor<'a> for $name {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                registry.schemas.entry($schema.to_owned()).or_insert_with($description);
            }

            fn request_meta() -> Option<MetaRequest> {
                let schema = MetaSchemaRef::Reference($schema.to_owned());
                Some(MetaRequest {
                    description: None,
                    content: vec![MetaMediaType { content_type: "application/json", schema }],
                    required: false,
                })
            }

            async fn from_request(
                request: &'a Request,
                body: &mut RequestBody,
                _options: ExtractParamOptions<Self::ParamType>,
            ) -> poem::Result<Self> {
                Ok($name(JsonObject::read(request, body, &$shape).await?))
            }
        }
    };
}

optional_body!(RefundRequest, REFUND, "NewRefund", describe_refund);
optional_body!(CancelRequest, CANCEL, "Cancellation", describe_cancel);

fn describe_refund() -> MetaSchema {
    MetaSchema {
        description: Some("A refund to be made; of the whole order, if nothing is said. Other fields are refused."),
        properties: vec![
            ("amount", inline(amount_schema("The whole amount of the order; anything else is refused so far."))),
            ("reason", inline(bounded_text("Why; the gateway is told.", REASON_CHARACTERS))),
        ],
        example: Some(json!({ "reason": "the customer sent it back" })),
        ..MetaSchema::new("object")
    }
}

fn describe_cancel() -> MetaSchema {
    MetaSchema {
        description: Some("Why an order is called off. Other fields are refused."),
        properties: vec![("reason", inline(bounded_text("Why; it stands in the order's history.", REASON_CHARACTERS)))],
        example: Some(json!({ "reason": "sold out" })),
        ..MetaSchema::new("object")
    }
}
