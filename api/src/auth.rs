//! Authentication: an API key sees the orders of its shop, an order's token sees that order.

use std::sync::Arc;

use domain::id::{OrderId, OrderToken};
use domain::order::Order;
use domain::secret::Secret;
use domain::shop::ShopName;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use store::orders;
use subtle::ConstantTimeEq;

use crate::ApiKey;
use crate::credential::{Credential, ProvenCredential};
use crate::orders::Follower;
use crate::problem::{Problem, ProblemType};
use crate::{Api, sender};

const SCHEME: &str = "api_key";

/// The credentials of a request, not yet checked: [`Caller::order`] and [`KeyHolder`] check them.
#[derive(Debug)]
pub(crate) struct Caller {
    bearer: BearerHeader,
    credential: ProvenCredential,
}

#[derive(Debug)]
enum BearerHeader {
    Nothing,
    /// An `Authorization` header that is not `Bearer <key>`.
    Unreadable,
    Key(Secret),
}

impl Caller {
    fn of(request: &Request) -> Self {
        let credential = ProvenCredential::of(request);
        let Some(value) = request.headers().get(header::AUTHORIZATION) else {
            return Caller { bearer: BearerHeader::Nothing, credential };
        };
        let key = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, key)| {
            (scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty()).then(|| Secret::new(key.trim()))
        });
        Caller { bearer: key.map_or(BearerHeader::Unreadable, BearerHeader::Key), credential }
    }

    /// The caller's API key. If no keys are configured, its name is empty, and its shop the default one.
    fn key_holder(&self, keys: &[ApiKey]) -> Result<KeyHolder, Problem> {
        let holder = match &self.bearer {
            _ if keys.is_empty() => KeyHolder { name: String::new(), shop: ShopName::default() },
            BearerHeader::Nothing => {
                return Err(Problem::new(
                    ProblemType::MissingApiKey,
                    "send your API key in the header `Authorization: Bearer <key>`",
                ));
            }
            BearerHeader::Unreadable => return Err(wrong_key()),
            // Every key is compared, so that the response time does not reveal which one was close.
            BearerHeader::Key(sent) => keys
                .iter()
                .fold(None, |found, key| if key.key == *sent { Some(key) } else { found })
                .map(|key| KeyHolder { name: key.name.clone(), shop: key.shop.clone() })
                .ok_or_else(wrong_key)?,
        };
        self.credential.record(Credential::ApiKey(holder.name.clone()));
        Ok(holder)
    }

    /// The order, if the API key or the token allows to see it, and the role in which the caller sees it.
    ///
    /// A token is enough alone; if a bearer key is sent as well, the key decides. An `Authorization` header of another
    /// kind is not meant for us: a proxy in front of the shop may ask for a password.
    pub(crate) async fn order(&self, api: &Api, id: OrderId, token: Option<&str>) -> Result<(Order, Viewer), Problem> {
        let order = match (&self.bearer, token) {
            (BearerHeader::Nothing | BearerHeader::Unreadable, Some(token)) => {
                let token = OrderToken::parse(token).ok_or_else(wrong_token)?;
                let order = orders::find(&api.context.store, id).await?.ok_or_else(wrong_token)?;
                if !bool::from(order.token.as_str().as_bytes().ct_eq(token.as_str().as_bytes())) {
                    return Err(wrong_token());
                }
                self.credential.record(Credential::OrderToken);
                (order, Viewer::Customer)
            }
            _ => {
                let holder = self.key_holder(&api.context.settings.keys)?;
                (holder.order(api, id).await?, Viewer::Shop)
            }
        };
        Ok(order)
    }

    /// How a caller is counted among the followers of orders: by its API key, otherwise by its address.
    pub(crate) fn follower(&self, api: &Api, token: Option<&str>, request: &Request) -> Follower {
        let at_its_address = || Follower::at(sender::sender(request, &api.context.callback_addresses));
        if matches!(self.bearer, BearerHeader::Nothing | BearerHeader::Unreadable) && token.is_some() {
            return at_its_address();
        }
        match self.key_holder(&api.context.settings.keys) {
            Ok(holder) if !holder.name.is_empty() => Follower::Key(holder.name),
            Ok(_) | Err(_) => at_its_address(),
        }
    }
}

/// The role in which a caller sees an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// The shop, with its API key: sees everything stored about the order.
    Shop,
    /// The customer, with the order's token: sees no text written for the shop or its operators.
    Customer,
}

fn wrong_key() -> Problem {
    Problem::new(ProblemType::WrongApiKey, "the key in `Authorization` is not an API key of this installation")
}

fn wrong_token() -> Problem {
    Problem::new(ProblemType::WrongToken, "`token` must be the `order_token` of this order")
}

/// A caller whose API key was checked before the rest of the request was read.
#[derive(Debug)]
pub(crate) struct KeyHolder {
    /// The name of its key; empty if no keys are configured.
    pub(crate) name: String,
    /// The shop that it belongs to.
    pub(crate) shop: ShopName,
}

impl KeyHolder {
    /// The order, if it is one of this key's shop.
    ///
    /// # Errors
    /// [`ProblemType::OrderNotFound`].
    pub(crate) async fn order(&self, api: &Api, id: OrderId) -> Result<Order, Problem> {
        let order = orders::find(&api.context.store, id).await?;
        order.filter(|order| order.shop == self.shop).ok_or_else(Problem::order_not_found)
    }
}

impl<'a> ApiExtractor<'a> for KeyHolder {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Caller::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        Caller::security_schemes()
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let api = request.data::<Arc<Api>>().ok_or_else(Problem::internal)?;
        Ok(Caller::of(request).key_holder(&api.context.settings.keys)?)
    }
}

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some("A key of `TASDIQ_API_KEYS`. Without keys (sandbox on a laptop) none is asked for."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        Ok(Caller::of(request))
    }
}
