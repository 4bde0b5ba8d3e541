//! The header `Idempotency-Key`: a caller's name for a request, so that repeating it is harmless.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::problem::{Problem, ProblemType};
use crate::schema;

const HEADER: &str = "Idempotency-Key";

/// The header's value: a `String` if it is required, an `Option<String>` if it is optional.
#[derive(Debug)]
pub(crate) struct IdempotencyHeader<K>(pub(crate) K);

/// Required or optional, with the description.
pub(crate) trait Key: Sized {
    const IS_REQUIRED: bool;
    const DESCRIPTION: &'static str;

    fn of(sent: Option<String>) -> Result<Self, Problem>;
}

impl Key for Option<String> {
    const IS_REQUIRED: bool = false;
    const DESCRIPTION: &'static str =
        "Your name for this request, for 24 hours: sent again with the same body it brings the same order.";

    fn of(sent: Option<String>) -> Result<Self, Problem> {
        Ok(sent)
    }
}

impl Key for String {
    const IS_REQUIRED: bool = true;
    const DESCRIPTION: &'static str =
        "Your name for this refund, for 24 hours: sent again with the same body it brings the same refund.";

    fn of(sent: Option<String>) -> Result<Self, Problem> {
        sent.ok_or_else(|| {
            Problem::new(
                ProblemType::MissingIdempotencyKey,
                "send the header `Idempotency-Key`, such as a UUID: without it, repeating the request could not be told from \
                 a second refund",
            )
        })
    }
}

/// The sent value, if any: 1 to 255 visible ASCII characters.
fn sent(request: &Request) -> Result<Option<String>, Problem> {
    let invalid = |detail: &str| Err(Problem::new(ProblemType::InvalidIdempotencyKey, detail));
    let mut values = request.headers().get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return invalid("the header `Idempotency-Key` may be sent once");
    }
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key.to_owned()))
        }
        _ => invalid("the header `Idempotency-Key` takes 1 to 255 visible ASCII characters, such as a UUID"),
    }
}

impl<'a, K: Key> ApiExtractor<'a> for IdempotencyHeader<K> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = K::IS_REQUIRED;

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::inline(schema::bounded_text(K::DESCRIPTION, 255)))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        Ok(IdempotencyHeader(K::of(sent(request)?)?))
    }
}
