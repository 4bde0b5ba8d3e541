//! The bodies of cancel and refund: reason and amount, both optional.

use domain::order::{Order, REASON_CHARACTERS};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::json;

use super::body::{amount, amount_schema, readable};
use super::json_object::{BodyShape, JsonObject};
use crate::digest::sha256_hex;
use crate::problem::{Problem, ProblemType};
use crate::schema::{bounded_text, inline};

const REFUND: BodyShape =
    BodyShape { fields: &["amount", "reason"], noun: "a refund", example: "{\"reason\": …}", may_be_empty: true };

const CANCEL: BodyShape =
    BodyShape { fields: &["reason"], noun: "a cancellation", example: "{\"reason\": …}", may_be_empty: true };

/// The body of `POST …/refund` with its values not yet parsed.
#[derive(Debug)]
pub(crate) struct RefundRequest(JsonObject);

/// The body of `POST …/cancel` with its values not yet parsed.
#[derive(Debug)]
pub(crate) struct CancelRequest(JsonObject);

impl RefundRequest {
    /// The reason, if any. The amount must be the order's whole amount.
    ///
    /// # Errors
    /// Each fault has a problem type of its own.
    pub(super) fn parse(&self, order: &Order) -> Result<Option<String>, Problem> {
        if let Some(raw) = self.0.raw("amount")
            && amount(raw)? != order.amount
        {
            let detail = format!(
                "only the whole order can be refunded: leave `amount` out, or send \"{}\"; a part of it can be returned in \
                 the gateway's cabinet",
                order.amount
            );
            return Err(Problem::with_field(ProblemType::PartialRefundUnavailable, "amount", detail));
        }
        reason(&self.0)
    }
}

impl CancelRequest {
    /// The reason, if any.
    ///
    /// # Errors
    /// [`ProblemType::InvalidReason`].
    pub(super) fn parse(&self) -> Result<Option<String>, Problem> {
        reason(&self.0)
    }
}

/// SHA-256 of a refund request in hex. It is never equal to the digest of an order.
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
        description: Some("A refund of the whole order; `amount` may be left out. Other fields are refused."),
        properties: vec![
            ("amount", inline(amount_schema("The whole amount of the order; no other amount is accepted yet."))),
            ("reason", inline(bounded_text("The reason; the gateway gets it too.", REASON_CHARACTERS))),
        ],
        example: Some(json!({ "reason": "the customer sent it back" })),
        ..MetaSchema::new("object")
    }
}

fn describe_cancel() -> MetaSchema {
    MetaSchema {
        description: Some("The reason why an order is canceled. Other fields are refused."),
        properties: vec![(
            "reason",
            inline(bounded_text("The reason; it is shown in the order's history.", REASON_CHARACTERS)),
        )],
        example: Some(json!({ "reason": "sold out" })),
        ..MetaSchema::new("object")
    }
}
