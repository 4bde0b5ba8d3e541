//! Who is asking: an API key sees the orders it made, an order's token that order.

use std::sync::Arc;

use domain::id::{OrderId, OrderToken};
use domain::order::Order;
use domain::secret::Secret;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use store::orders;
use subtle::ConstantTimeEq;

use crate::ApiKey;
use crate::asker::{Asker, Proof};
use crate::orders::Follower;
use crate::problem::{Problem, ProblemType};
use crate::{Api, sender};

const SCHEME: &str = "api_key";

/// What a request brings to prove itself. The proof itself is weighed by [`Caller::order`] and [`KeyHolder`].
#[derive(Debug)]
pub(crate) struct Caller {
    bearer: Bearer,
    asker: Asker,
}

#[derive(Debug)]
enum Bearer {
    Nothing,
    /// An `Authorization` header that is not `Bearer <key>`.
    Unreadable,
    Key(Secret),
}

impl Caller {
    fn of(request: &Request) -> Self {
        let asker = Asker::of(request);
        let Some(value) = request.headers().get(header::AUTHORIZATION) else {
            return Caller { bearer: Bearer::Nothing, asker };
        };
        let key = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, key)| {
            (scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty()).then(|| Secret::new(key.trim()))
        });
        Caller { bearer: key.map_or(Bearer::Unreadable, Bearer::Key), asker }
    }

    /// The name of the caller's API key; empty where no keys are configured.
    fn name(&self, keys: &[ApiKey]) -> Result<String, Problem> {
        let name = match &self.bearer {
            _ if keys.is_empty() => String::new(),
            Bearer::Nothing => {
                return Err(Problem::new(
                    ProblemType::MissingApiKey,
                    "send your API key in the header `Authorization: Bearer <key>`",
                ));
            }
            Bearer::Unreadable => return Err(wrong_key()),
            // All keys are compared, so that the time taken does not tell which one came near.
            Bearer::Key(sent) => keys
                .iter()
                .fold(None, |found, key| if key.key == *sent { Some(key.name.clone()) } else { found })
                .ok_or_else(wrong_key)?,
        };
        self.asker.proved(Proof::Key(name.clone()));
        Ok(name)
    }

    /// The order, if this caller or this token may see it, and as whom.
    ///
    /// A token proves itself alone; where an API key is sent as well, the key decides. An `Authorization` that holds no
    /// key of ours is somebody else's, such as a proxy's that asks for a password in front of the shop.
    pub(crate) async fn order(&self, api: &Api, id: OrderId, token: Option<&str>) -> Result<(Order, Viewer), Problem> {
        let order = match (&self.bearer, token) {
            (Bearer::Nothing | Bearer::Unreadable, Some(token)) => {
                let token = OrderToken::parse(token).ok_or_else(wrong_token)?;
                let order = orders::find(&api.context.store, id).await?.ok_or_else(wrong_token)?;
                if !bool::from(order.token.as_str().as_bytes().ct_eq(token.as_str().as_bytes())) {
                    return Err(wrong_token());
                }
                self.asker.proved(Proof::Token);
                (order, Viewer::Customer)
            }
            _ => {
                let name = self.name(&api.context.settings.keys)?;
                let order = orders::find(&api.context.store, id).await?.filter(|order| order.api_key_name == name);
                (order.ok_or_else(Problem::order_not_found)?, Viewer::Shop)
            }
        };
        Ok(order)
    }

    /// By what a caller that may see an order is counted among those that follow orders: its API key, or else its address.
    pub(crate) fn follower(&self, api: &Api, token: Option<&str>, request: &Request) -> Follower {
        let at_its_address = || Follower::at(sender::sender(request, &api.context.callback_addresses));
        if matches!(self.bearer, Bearer::Nothing | Bearer::Unreadable) && token.is_some() {
            return at_its_address();
        }
        match self.name(&api.context.settings.keys) {
            Ok(name) if !name.is_empty() => Follower::Key(name),
            Ok(_) | Err(_) => at_its_address(),
        }
    }
}

/// Who looks at an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// The shop, with its API key: sees whatever is kept about the order.
    Shop,
    /// The customer, with the order's token: sees no text that was written for the shop or its operators.
    Customer,
}

fn wrong_key() -> Problem {
    Problem::new(ProblemType::WrongApiKey, "no API key of this installation is the one in `Authorization`")
}

fn wrong_token() -> Problem {
    Problem::new(ProblemType::WrongToken, "`token` must be the `order_token` of this very order")
}

/// A caller whose API key was found good before anything else of the request was looked at.
#[derive(Debug)]
pub(crate) struct KeyHolder {
    /// The name of its key; empty where no keys are configured.
    pub(crate) name: String,
}

impl KeyHolder {
    /// The order, if it was made with this key.
    ///
    /// # Errors
    /// [`ProblemType::OrderNotFound`].
    pub(crate) async fn order(&self, api: &Api, id: OrderId) -> Result<Order, Problem> {
        let order = orders::find(&api.context.store, id).await?;
        order.filter(|order| order.api_key_name == self.name).ok_or_else(Problem::order_not_found)
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
        Ok(KeyHolder { name: Caller::of(request).name(&api.context.settings.keys)? })
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
