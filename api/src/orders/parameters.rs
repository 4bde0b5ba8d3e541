//! The parameters of a list: each is parsed once, and each fault names its parameter.

use domain::money::Tiyin;
use domain::order::{OrderStatus, PaymentType};
use domain::text;
use domain::time;
use percent_encoding::percent_decode_str;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Value, json};
use store::order_list::SearchWords;

use crate::problem::{Problem, ProblemType};
use crate::schema;

/// Every parameter of a list.
pub(crate) const NAMES: [&str; 13] = [
    "status",
    "payment_type",
    "since",
    "until",
    "amount",
    "amount_from",
    "amount_to",
    "reference",
    "transaction",
    "needs_review",
    "text",
    "cursor",
    "limit",
];

/// The most characters of a reference, of the number of a transaction, and of a text that is searched for.
const MOST_CHARACTERS: usize = 100;

/// The most orders of a page.
pub(super) const MOST_ORDERS: usize = 100;

/// How many orders a page has if the caller does not say.
pub(super) const USUAL_ORDERS: usize = 20;

/// A parameter that may be left out.
#[derive(Debug)]
pub(super) struct Parameter<K: ParameterKind>(pub(super) Option<K::Value>);

/// The values of a parameter.
pub(super) trait ParameterKind: Send + 'static {
    /// As it is used.
    type Value: Send;

    /// Whether it may be sent several times; the values are then joined by commas.
    const MAY_REPEAT: bool = false;

    /// For `/openapi.json`.
    fn schema() -> MetaSchema;

    /// Reads it.
    ///
    /// # Errors
    /// What it must be like, as the end of a sentence that begins with its name.
    fn parse(text: &str) -> Result<Self::Value, String>;
}

/// One or more statuses.
#[derive(Debug)]
pub(super) struct Statuses;

/// A payment type.
#[derive(Debug)]
pub(super) struct TypeOfPayment;

/// A time or a date.
#[derive(Debug)]
pub(super) struct Time;

/// Decimal soʻm.
#[derive(Debug)]
pub(super) struct Amount;

/// A name: a reference, or the number of a transaction.
#[derive(Debug)]
pub(super) struct Name;

/// Words to search for.
#[derive(Debug)]
pub(super) struct WantedWords;

/// `true` or `false`.
#[derive(Debug)]
pub(super) struct Flag;

/// A cursor.
#[derive(Debug)]
pub(super) struct Cursor;

/// How many orders a page has at most.
#[derive(Debug)]
pub(super) struct Limit;

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<Value> {
    all.iter().map(|value| Value::from(name(*value))).collect()
}

/// Names as a sentence lists them.
fn listed<T: ToString>(all: &[T]) -> String {
    all.iter().map(|value| format!("`{}`", value.to_string())).collect::<Vec<_>>().join(", ")
}

impl ParameterKind for Statuses {
    type Value = Vec<OrderStatus>;

    const MAY_REPEAT: bool = true;

    fn schema() -> MetaSchema {
        let status =
            MetaSchema { enum_items: names(OrderStatus::ALL, OrderStatus::as_str), ..MetaSchema::new("string") };
        MetaSchema {
            items: Some(Box::new(schema::inline(status))),
            example: Some(json!(["paid", "refunded"])),
            ..MetaSchema::new("array")
        }
    }

    fn parse(text: &str) -> Result<Vec<OrderStatus>, String> {
        let status = |name: &str| {
            OrderStatus::parse(name.trim())
                .ok_or_else(|| format!("must be one or more of {}", listed(OrderStatus::ALL)))
        };
        text.split(',').map(status).collect()
    }
}

impl ParameterKind for TypeOfPayment {
    type Value = PaymentType;

    fn schema() -> MetaSchema {
        MetaSchema {
            enum_items: names(PaymentType::ALL, PaymentType::as_str),
            example: Some(json!("atmos")),
            ..MetaSchema::new("string")
        }
    }

    fn parse(text: &str) -> Result<PaymentType, String> {
        PaymentType::parse(text).ok_or_else(|| format!("must be one of {}", listed(PaymentType::ALL)))
    }
}

impl ParameterKind for Time {
    type Value = i64;

    fn schema() -> MetaSchema {
        MetaSchema { example: Some(json!("2026-11-01T00:00:00Z")), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<i64, String> {
        time::parse(text).ok_or_else(|| {
            "must be an RFC 3339 time such as 2026-11-01T09:30:00Z, or a date in UTC such as 2026-11-01; a `+` is written %2B"
                .to_owned()
        })
    }
}

impl ParameterKind for Amount {
    type Value = Tiyin;

    fn schema() -> MetaSchema {
        MetaSchema {
            pattern: Some(r"^\d+(\.\d{1,2})?$".to_owned()),
            example: Some(json!("50000.00")),
            ..MetaSchema::new("string")
        }
    }

    fn parse(text: &str) -> Result<Tiyin, String> {
        Tiyin::from_som(text).map_err(|fault| format!("must be decimal soʻm such as 50000.00: {fault}"))
    }
}

impl ParameterKind for Name {
    type Value = String;

    fn schema() -> MetaSchema {
        bounded_text("A-17")
    }

    fn parse(text: &str) -> Result<String, String> {
        readable(text).map(str::to_owned)
    }
}

impl ParameterKind for WantedWords {
    type Value = SearchWords;

    fn schema() -> MetaSchema {
        bounded_text("somsa")
    }

    fn parse(text: &str) -> Result<SearchWords, String> {
        readable(text).map(SearchWords::new)
    }
}

impl ParameterKind for Flag {
    type Value = bool;

    fn schema() -> MetaSchema {
        MetaSchema { example: Some(json!(true)), ..MetaSchema::new("boolean") }
    }

    fn parse(text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| "must be `true` or `false`".to_owned())
    }
}

impl ParameterKind for Cursor {
    type Value = String;

    fn schema() -> MetaSchema {
        MetaSchema::new("string")
    }

    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

impl ParameterKind for Limit {
    type Value = usize;

    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(1.0),
            maximum: Some(100.0),
            default: Some(json!(USUAL_ORDERS)),
            example: Some(json!(50)),
            ..MetaSchema::new("integer")
        }
    }

    fn parse(text: &str) -> Result<usize, String> {
        let limit = text.parse().ok().filter(|limit| (1..=MOST_ORDERS).contains(limit));
        limit.ok_or_else(|| format!("must be a whole number from 1 to {MOST_ORDERS}"))
    }
}

fn bounded_text(example: &str) -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(MOST_CHARACTERS),
        example: Some(json!(example)),
        ..MetaSchema::new("string")
    }
}

fn readable(text: &str) -> Result<&str, String> {
    match text::check(text, MOST_CHARACTERS) {
        Ok(()) => Ok(text),
        Err(fault) => Err(format!("must have 1 to {MOST_CHARACTERS} characters that can be read: {fault}")),
    }
}

/// The names and values of an address's query.
fn query(request: &Request) -> impl Iterator<Item = (&str, &str)> {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

fn decoded(text: &str, part: impl FnOnce() -> String) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().map(Into::into).map_err(|_| Problem::not_utf8(&part()))
}

impl<'a, K: ParameterKind> ApiExtractor<'a> for Parameter<K> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = false;

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::inline(K::schema()))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let name = options.name;
        let mut sent = Vec::new();
        for (key, value) in query(request) {
            if decoded(key, || "a name in the address".to_owned())? == name {
                sent.push(decoded(value, || format!("`{name}`"))?);
            }
        }
        let wrong = |why: &str| Problem::with_parameter(ProblemType::InvalidParameter, name, format!("`{name}` {why}"));
        if sent.len() > 1 && !K::MAY_REPEAT {
            return Err(wrong("may be sent once").into());
        }
        if sent.is_empty() {
            return Ok(Parameter(None));
        }
        Ok(Parameter(Some(K::parse(&sent.join(",")).map_err(|why| wrong(&why))?)))
    }
}

/// Refuses parameters that a list does not have: a filter with a slip in its name would find too much.
///
/// # Errors
/// [`ProblemType::UnknownParameter`].
pub(super) fn check_names(request: &Request) -> Result<(), Problem> {
    for (name, _) in query(request) {
        let name = decoded(name, || "a name in the address".to_owned())?;
        if !NAMES.contains(&name.as_str()) {
            return Err(unknown(&name));
        }
    }
    Ok(())
}

/// A parameter that a list does not have, with the name that is most like it.
pub(crate) fn unknown(name: &str) -> Problem {
    let name = text::plain(name).chars().take(MOST_CHARACTERS).collect::<String>();
    let nearest = NAMES.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, &name)).unwrap_or_default();
    Problem::with_parameter(
        ProblemType::UnknownParameter,
        &name,
        format!("`{name}` is not a parameter of this list; do you mean `{nearest}`? There are {}", NAMES.join(", ")),
    )
}

/// The reference at the end of a path.
#[derive(Debug)]
pub(super) struct ReferenceInPath(pub(super) String);

impl<'a> ApiExtractor<'a> for ReferenceInPath {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(schema::inline(bounded_text("A-17")))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        // poem leaves a parameter out that is not UTF-8.
        let last = request.uri().path().rsplit('/').next().unwrap_or_default();
        let reference = percent_decode_str(last).decode_utf8().map_err(|_| Problem::not_utf8("the reference"))?;
        Ok(ReferenceInPath(reference.into_owned()))
    }
}
