//! The body of `POST /api/orders/create`, parsed and checked once.

use domain::money::{AmountFault, Tiyin};
use domain::order::{GatewayIdentity, Language, NewOrder, OrderAccount, PaymentType};
use domain::shops::Shop;
use domain::text;
use domain::web_address;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Value, json};

use super::json_object::{BodyShape, JsonObject};
use crate::digest::sha256_hex;
use crate::problem::{Problem, ProblemType};
use crate::schema::{bounded_text, inline, one_of};

const PRODUCT_NAME_LIMIT: usize = 200;
const REFERENCE_LIMIT: usize = 100;
const RETURN_URL_LIMIT: usize = 2_000;
const DEFAULT_LANGUAGE: Language = Language::Uz;

/// All fields of an order.
const FIELDS: &[&str] =
    &["product_name", "amount", "payment_type", "reference", "return_url", "cancel_url", "language"];

/// The body with its values not yet parsed.
#[derive(Debug)]
pub(crate) struct OrderRequest(JsonObject);

impl OrderRequest {
    /// The order described by the body, for this shop.
    ///
    /// # Errors
    /// Each fault has a problem type of its own.
    pub(crate) fn parse(&self, api_key_name: String, shop: &Shop) -> Result<NewOrder, Problem> {
        let (product_name, amount) = (self.product_name()?, self.amount()?);
        let account = self.account(shop)?;
        Ok(NewOrder {
            shop: shop.name.clone(),
            api_key_name,
            product_name,
            amount,
            account,
            reference: self.reference()?,
            return_url: self.way_back("return_url", ProblemType::InvalidReturnUrl, shop)?,
            cancel_url: self.way_back("cancel_url", ProblemType::InvalidCancelUrl, shop)?,
            language: self.language()?,
        })
    }

    fn product_name(&self) -> Result<String, Problem> {
        let raw = self.0.required("product_name")?;
        readable(raw, "product_name", ProblemType::InvalidProductName, PRODUCT_NAME_LIMIT)
    }

    fn amount(&self) -> Result<Tiyin, Problem> {
        amount(self.0.required("amount")?)
    }

    /// The shop's account that the payment type chooses. Without a `payment_type` it is the shop's only account; `None` where it
    /// has several, and the customer chooses.
    fn account(&self, shop: &Shop) -> Result<Option<OrderAccount>, Problem> {
        let of_shop = |kind, what: String| {
            let types: Vec<&str> = shop.payment_types().map(PaymentType::as_str).collect();
            Problem::with_field(kind, "payment_type", what).member("payment_types", types)
        };
        let account = |payment_type: PaymentType, gateway: &GatewayIdentity| OrderAccount {
            payment_type,
            gateway: gateway.clone(),
        };
        let Some(raw) = self.0.raw("payment_type") else {
            let mut accounts = shop.accounts.iter();
            return match (accounts.next(), accounts.next()) {
                (Some((payment_type, gateway)), None) => Ok(Some(account(*payment_type, gateway))),
                (Some(_), Some(_)) => Ok(None),
                (None, _) => {
                    let what = "your shop has no account, so no order can be paid".to_owned();
                    Err(of_shop(ProblemType::PaymentTypeWithoutGateway, what))
                }
            };
        };
        let name = serde_json::from_str::<String>(raw).ok();
        let Some(payment_type) = name.as_deref().and_then(PaymentType::parse) else {
            let what = "`payment_type` must be one of `atmos`, `payme`, `click`";
            return Err(Problem::with_field(ProblemType::UnknownPaymentType, "payment_type", what));
        };
        match shop.accounts.get(&payment_type) {
            Some(gateway) => Ok(Some(account(payment_type, gateway))),
            None => {
                let what = format!("your shop has no account for `{payment_type}`; it has {}", types_of(shop));
                Err(of_shop(ProblemType::PaymentTypeWithoutGateway, what))
            }
        }
    }

    fn reference(&self) -> Result<Option<String>, Problem> {
        let Some(raw) = self.0.raw("reference") else { return Ok(None) };
        readable(raw, "reference", ProblemType::InvalidReference, REFERENCE_LIMIT).map(Some)
    }

    /// An address of the shop to which we send its customer.
    fn way_back(&self, field: &'static str, kind: ProblemType, shop: &Shop) -> Result<Option<String>, Problem> {
        let Some(raw) = self.0.raw(field) else { return Ok(None) };
        let wrong = |why: String| Err(Problem::with_field(kind, field, why));
        let Ok(text) = serde_json::from_str::<String>(raw) else {
            return wrong(format!("`{field}` must be a string"));
        };
        if text.chars().count() > RETURN_URL_LIMIT {
            return wrong(format!("`{field}` is longer than {RETURN_URL_LIMIT} characters"));
        }
        match web_address::parse(&text) {
            Ok(url) if url.host_str().is_some_and(|host| shop.allows_host(host)) => Ok(Some(text)),
            Ok(_) => wrong(format!(
                "`{field}` leads to a host that your shop does not list; it lists {}",
                shop.return_hosts.join(", ")
            )),
            Err(fault) => {
                wrong(format!("`{field}` {fault}; write an absolute address such as https://shop.example/done"))
            }
        }
    }

    fn language(&self) -> Result<Language, Problem> {
        let Some(raw) = self.0.raw("language") else { return Ok(DEFAULT_LANGUAGE) };
        let name = serde_json::from_str::<String>(raw).ok();
        name.as_deref().and_then(Language::parse).ok_or_else(|| {
            Problem::with_field(ProblemType::UnknownLanguage, "language", "`language` must be one of `uz`, `ru`, `en`")
        })
    }
}

/// The payment types of the shop's accounts, for people.
fn types_of(shop: &Shop) -> String {
    let types: Vec<String> = shop.payment_types().map(|payment_type| format!("`{payment_type}`")).collect();
    if types.is_empty() { "none".to_owned() } else { types.join(", ") }
}

/// SHA-256 of the order's content in hex: the same for two bodies that differ only in blanks or in the order of fields.
pub(crate) fn digest(order: &NewOrder) -> String {
    let mut content = vec![
        json!(order.product_name),
        json!(order.amount.get()),
        json!(order.account.as_ref().map(|account| account.payment_type)),
        json!(order.reference),
        json!(order.return_url),
        json!(order.language),
    ];
    // Without one the digest is that of releases which know none: a request may be repeated over an upgrade.
    content.extend(order.cancel_url.as_ref().map(|url| json!(url)));
    sha256_hex(Value::from(content).to_string())
}

/// Decimal soʻm in a string, or a whole number of soʻm.
///
/// # Errors
/// [`ProblemType::InvalidAmount`].
pub(super) fn amount(raw: &str) -> Result<Tiyin, Problem> {
    let amount = match raw.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<String>(raw) {
            Ok(text) => Tiyin::from_som(&text),
            Err(_) => Err(AmountFault::NotANumber),
        },
        // A number is read from its digits, so that no float is used and no number is too large. Most numbers with an
        // exponent are whole, so an error about a fraction would be misleading.
        Some(b'-' | b'0'..=b'9') if raw.contains(['e', 'E']) => Err(AmountFault::NotANumber),
        Some(b'-' | b'0'..=b'9') if raw.contains('.') => Err(AmountFault::FractionAsNumber),
        Some(b'-' | b'0'..=b'9') => Tiyin::from_som(raw),
        _ => Err(AmountFault::NotANumber),
    };
    amount.map_err(|fault| Problem::with_field(ProblemType::InvalidAmount, "amount", fault.to_string()))
}

/// A text for people, of at most `limit` characters.
///
/// # Errors
/// A problem of type `kind` that names the fault.
pub(super) fn readable(raw: &str, field: &'static str, kind: ProblemType, limit: usize) -> Result<String, Problem> {
    let wrong = |why: String| Problem::with_field(kind, field, why);
    let text = serde_json::from_str::<String>(raw).map_err(|_| wrong(format!("`{field}` must be a string")))?;
    match text::check(&text, limit) {
        Ok(()) => Ok(text),
        Err(fault) => Err(wrong(format!("`{field}` must have 1 to {limit} characters that can be read: {fault}"))),
    }
}

impl<'a> ApiExtractor<'a> for OrderRequest {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.schemas.entry("NewOrder".to_owned()).or_insert_with(description);
    }

    fn request_meta() -> Option<MetaRequest> {
        let schema = poem_openapi::registry::MetaSchemaRef::Reference("NewOrder".to_owned());
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "application/json", schema }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let shape =
            BodyShape { fields: FIELDS, noun: "an order", example: "{\"product_name\": …}", may_be_empty: false };
        Ok(OrderRequest(JsonObject::read(request, body, &shape).await?))
    }
}

fn description() -> MetaSchema {
    let names = |names: Vec<&str>| names.into_iter().map(Value::from).collect();
    let languages = names(Language::ALL.iter().map(|language| language.as_str()).collect());
    MetaSchema {
        description: Some("An order to be made. Fields that are not listed are refused."),
        required: vec!["product_name", "amount"],
        properties: vec![
            ("product_name", inline(bounded_text("What is sold; the customer sees it.", PRODUCT_NAME_LIMIT))),
            (
                "amount",
                inline(amount_schema("Decimal soʻm in a string, or a whole number of soʻm. At most 10000000000.00.")),
            ),
            (
                "payment_type",
                inline(one_of(
                    "How the customer pays; your shop needs an account for it. If it is left out, your shop's only account is \
                     taken; where it has several, the customer chooses one on our page.",
                    names(PaymentType::ALL.iter().map(|payment_type| payment_type.as_str()).collect()),
                    None,
                )),
            ),
            ("reference", inline(bounded_text("Your own name for the order, unique in your shop.", REFERENCE_LIMIT))),
            (
                "return_url",
                inline(bounded_text(
                    "Where the customer goes from our result page; one of your shop's hosts, where it lists some.",
                    RETURN_URL_LIMIT,
                )),
            ),
            (
                "cancel_url",
                inline(bounded_text(
                    "Where the customer goes from our pages without paying; one of your shop's hosts, where it lists some. \
                     `return_url`, if it is left out.",
                    RETURN_URL_LIMIT,
                )),
            ),
            ("language", inline(one_of("The language of the customer's pages.", languages, Some(json!("uz"))))),
        ],
        example: Some(json!({ "product_name": "Somsa, 2 dona", "amount": "50000.00", "payment_type": "atmos" })),
        ..MetaSchema::new("object")
    }
}

/// The schema of an amount as [`amount`] reads it.
pub(super) fn amount_schema(description: &'static str) -> MetaSchema {
    MetaSchema {
        description: Some(description),
        one_of: vec![
            inline(MetaSchema { pattern: Some(r"^\d+(\.\d{1,2})?$".to_owned()), ..MetaSchema::new("string") }),
            inline(MetaSchema::new_with_format("integer", "int64")),
        ],
        ..MetaSchema::ANY
    }
}
