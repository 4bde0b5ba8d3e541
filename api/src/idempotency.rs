//! The header `Idempotency-Key`: a caller's name for a request, so that repeating it is harmless.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::problem::{Problem, ProblemType};
use crate::schema;

const HEADER: &str = "Idempotency-Key";

/// The header's value, if it was sent: 1 to 255 visible ASCII characters.
#[derive(Debug)]
pub(crate) struct IdempotencyHeader(pub(crate) Option<String>);

impl IdempotencyHeader {
    fn of(request: &Request) -> Result<Self, Problem> {
        let invalid = |detail: &str| Err(Problem::new(ProblemType::InvalidIdempotencyKey, detail));
        let mut values = request.headers().get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(IdempotencyHeader(None)) };
        if values.next().is_some() {
            return invalid("the header `Idempotency-Key` may be sent once");
        }
        match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(IdempotencyHeader(Some(key.to_owned())))
            }
            _ => invalid("the header `Idempotency-Key` takes 1 to 255 visible ASCII characters, such as a UUID"),
        }
    }
}

/// The header's value, where it must be sent.
#[derive(Debug)]
pub(crate) struct NeededIdempotencyKey(pub(crate) String);

impl<'a> ApiExtractor<'a> for NeededIdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::inline(schema::bounded_text(
            "Your name for this refund, for 24 hours: sent again with the same body it brings the same refund.",
            255,
        )))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let key = IdempotencyHeader::of(request)?.0.ok_or_else(|| {
            Problem::new(
                ProblemType::MissingIdempotencyKey,
                "send the header `Idempotency-Key`, such as a UUID: without it, repeating the request could not be told from \
                 a second refund",
            )
        })?;
        Ok(NeededIdempotencyKey(key))
    }
}

impl<'a> ApiExtractor<'a> for IdempotencyHeader {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::inline(schema::bounded_text(
            "Your name for this request, for 24 hours: sent again with the same body it brings the same order.",
            255,
        )))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        Ok(Self::of(request)?)
    }
}
