//! The customer chooses on our page through which gateway to pay.

use domain::order::{Order, OrderAccount, PaymentType};
use domain::terms::LinkOrigin;
use gateway::Gateway;
use poem::http::{StatusCode, header};
use poem::web::Path;
use poem::{Body, Request, Response, handler};
use store::orders::{self, Chosen};
use tracing::info;
use url::form_urlencoded;

use super::WantedLanguage;
use super::labels::Ways;
use super::rendering::{PageLinks, PageSettings, ReloadAs, WayToPay, order_of, page_with};
use super::words::Situation;
use crate::orders::local_link;
use crate::problem::Problem;
use crate::request_body;
use crate::{Api, SharedApi};

/// The largest form that is read, bytes. Ours has one short field.
const FORM_LIMIT: usize = 1_024;

/// Without a script the choice is loaded again after this time, for the gateways that are available change.
const RELOADED_AFTER_S: u32 = 15;

/// The name of the form's field.
const FIELD: &str = "pay_with";

/// Why the page shows the choice again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChoiceFault {
    /// The form names no way to pay of this shop.
    NotOffered,
}

/// The customer has chosen. Answers with a page of ours that leads on: a browser may refuse to follow a form's answer to
/// another host, because the page's policy lets forms go to us alone.
///
/// # Errors
/// [`crate::problem::ProblemType::NotFound`] for a token that belongs to no order.
#[handler]
pub(crate) async fn post_choice(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    if let Some(elsewhere) = without_last_slash(request) {
        return Ok(elsewhere);
    }
    let order = order_of(&api, &token).await?;
    let wanted = WantedLanguage::of(request);
    // A form that cannot be read chooses nothing.
    let form = request_body::read(request.headers(), body, FORM_LIMIT).await.unwrap_or_default();
    let chosen = form_urlencoded::parse(&form).find(|(name, _)| name == FIELD).map(|(_, value)| value.into_owned());
    let gateway = chosen.as_deref().and_then(PaymentType::parse).and_then(|chosen| gateway_of(&api, &order, chosen));
    let Some(gateway) = gateway else {
        let response = match order.takes_choice_at(api.context.store.now_ms()) {
            true => choice_page(&api, &order, wanted, Some(ChoiceFault::NotOffered)).await,
            false => see_other(&token, &wanted.keep("")),
        };
        return Ok(response);
    };
    if order.is_refused_by(gateway.identity()) {
        return Ok(see_other(&token, &wanted.keep("?choose")));
    }
    if !order.is_of(gateway.identity()) && !api.availability.is_available(gateway).await {
        return Ok(see_other(&token, &wanted.keep("?choose")));
    }
    let account = OrderAccount { payment_type: gateway.payment_type(), gateway: gateway.identity().clone() };
    let link = match gateway.terms().link {
        LinkOrigin::Local => Some(local_link(&api, gateway, order.amount, wanted.or(order.language))),
        LinkOrigin::Draft => None,
    };
    match orders::choose(&api.context.store, order.id, &account, link.as_ref()).await.map_err(Problem::from)? {
        Chosen::Done(order) => {
            info!(order.id = %order.id, gateway = %account.gateway, "the customer of order {} pays with {}", order.id, account.payment_type);
            Ok(see_other(&token, &wanted.keep("?chosen")))
        }
        Chosen::Refused(_) => Ok(see_other(&token, &wanted.keep("?refused"))),
        Chosen::Unknown => Err(Problem::internal()),
    }
}

/// Leads to a page of this order. Relative, so that it works behind any proxy.
pub(super) fn see_other(token: &str, query: &str) -> Response {
    Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(header::LOCATION, format!("{token}{query}"))
        .header(header::CACHE_CONTROL, "no-store")
        .finish()
}

/// Leads from an address with a last slash to the same without it; `None` where there is none. A page's own addresses are
/// relative, so that they work behind any proxy, and a last slash would turn them. The method stays, and so does the query, which
/// a gateway may have written.
pub(super) fn without_last_slash(request: &Request) -> Option<Response> {
    // Routing takes the slash away.
    let uri = request.original_uri();
    let path = uri.path().strip_suffix('/')?.trim_end_matches('/');
    let page = path.rsplit('/').next().filter(|page| !page.is_empty())?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let response = Response::builder()
        .status(StatusCode::TEMPORARY_REDIRECT)
        .header(header::LOCATION, format!("../{page}{query}"))
        .header(header::CACHE_CONTROL, "no-store");
    Some(response.finish())
}

/// The account of the order's shop for this payment type, if this process has it.
fn gateway_of<'a>(api: &'a Api, order: &Order, payment_type: PaymentType) -> Option<&'a Gateway> {
    let shop = api.context.shops.get(&order.shop)?;
    api.context.gateways.get(shop.accounts.get(&payment_type)?)
}

/// The page on which the customer chooses.
pub(super) async fn choice_page(
    api: &Api,
    order: &Order,
    wanted: WantedLanguage,
    fault: Option<ChoiceFault>,
) -> Response {
    let labels = Ways::of(wanted.or(order.language));
    let mut ways = Vec::new();
    for payment_type in PaymentType::ALL {
        let Some(gateway) = gateway_of(api, order, *payment_type) else { continue };
        let is_available = !order.is_refused_by(gateway.identity()) && api.availability.is_available(gateway).await;
        let (name, note) = labels.of_type(*payment_type);
        let is_chosen = order.is_of(gateway.identity());
        let note = match (is_available, is_chosen) {
            (false, _) => labels.unavailable,
            (true, true) => labels.chosen,
            (true, false) => note,
        };
        ways.push(WayToPay { value: payment_type.as_str(), name, note, is_available, is_chosen });
    }
    let (status, situation) = match fault {
        Some(ChoiceFault::NotOffered) => (StatusCode::UNPROCESSABLE_ENTITY, Situation::NotOffered),
        None if ways.iter().any(|way| way.is_available) => (StatusCode::OK, Situation::Choosing),
        None => (StatusCode::OK, Situation::NothingAvailable),
    };
    let settings = PageSettings {
        events_root: "..",
        refresh_s: RELOADED_AFTER_S,
        reload: ReloadAs::Choice,
        wanted,
        may_leave: false,
    };
    let form = wanted.keep(order.token.as_str());
    let links = PageLinks { ways: &ways, form: &form, ..PageLinks::default() };
    page_with(status, order, api, situation, &settings, links)
}
