//! The customer's pages: `/pay/{token}` leads to the gateway's page, `/pay/{token}/return` shows the result.
//!
//! Without JavaScript the pages reload every few seconds. With JavaScript they follow the order's events, fetch the
//! page again and replace its content, so that a proxy's error page never replaces it. The content is decided here
//! only.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::id::OrderToken;
use domain::order::{Language, Order, OrderStatus};
use poem::http::{HeaderMap, StatusCode, header};
use poem::web::Path;
use poem::{Request, Response, handler};
use sha2::{Digest, Sha256};
use store::orders;
use tracing::warn;

use crate::orders::{OrderAnswer, event_id};
use crate::problem::{Problem, ProblemType};
use crate::{Api, SharedApi};

mod labels;
pub(crate) mod words;

use labels::{Labels, written_amount};
use words::{Situation, Words};

/// The page's style and script. They stand in the page itself, and the content security policy has their hashes.
const STYLE: &str = include_str!("../templates/page.css");
const SCRIPT: &str = include_str!("../templates/page.js");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// Forwards to the gateway's page as soon as there is one; until then, or when the order has ended, shows a page.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that belongs to no order; shown as a page, like all problems under `/pay`.
#[handler]
pub(crate) async fn get_pay_page(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let order = order_of(&api, &token).await?;
    let situation = Situation::of(&order, api.context.store.now_ms());
    let settings = PageSettings { events_root: "..", refresh_s: 2, asks_anew: false };
    let forwards = situation == Situation::Open;
    match &order.payment_url {
        // 303 See Other, and not cached: a later link of the same order may be a different one.
        Some(url) if forwards && ReloadedBy::of(request) != Some(ReloadedBy::Script) => Ok(Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, url)
            .header(header::CACHE_CONTROL, "no-store")
            .finish()),
        url => {
            // A script cannot follow a redirection to another host, so the page names the address.
            let forward = url.as_deref().filter(|_| forwards);
            let pay = url.as_deref().filter(|_| situation == Situation::Declined);
            Ok(page(&order, &api, situation, &settings, PageLinks { forward, pay }))
        }
    }
}

/// The page to which the gateway sends the customer back: hints the order's settlement, and shows the result as it
/// comes.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that belongs to no order.
#[handler]
pub(crate) async fn get_return_page(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let mut order = order_of(&api, &token).await?;
    let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
    let mut asks_anew = false;
    // Only the customer's return is news; a reload of the page is not.
    if is_open && ReloadedBy::of(request).is_none() {
        match orders::hint_from_return_page(&api.context.store, order.id).await {
            Ok(true) => order.last_hint_at_ms = Some(api.context.store.now_ms()),
            Ok(false) => (),
            Err(error) => {
                // The page is correct without the hint; only the inquiry comes later.
                warn!(order.id = %order.id, error = %error, "the return page of order {} could not record a hint: {error}", order.id);
                asks_anew = true;
            }
        }
    }
    let situation = match Situation::of(&order, api.context.store.now_ms()) {
        Situation::Open if order.seen_unpaid().is_some() => Situation::Unpaid,
        Situation::Open => Situation::Checking,
        situation => situation,
    };
    let ours = format!("../{}", order.token.as_str());
    let pay = match situation {
        Situation::Checking | Situation::Unpaid => Some(ours.as_str()),
        Situation::Declined => order.payment_url.as_deref(),
        _ => None,
    };
    let settings = PageSettings { events_root: "../..", refresh_s: 3, asks_anew };
    Ok(page(&order, &api, situation, &settings, PageLinks { forward: None, pay }))
}

async fn order_of(api: &Api, token: &str) -> Result<Order, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound, "no order has this page");
    let token = OrderToken::parse(token).ok_or_else(not_found)?;
    orders::find_by_token(&api.context.store, &token).await?.ok_or_else(not_found)
}

/// How a page is being reloaded, as its query `again` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReloadedBy {
    /// By the browser, without JavaScript.
    Browser,
    /// By the page's script, which replaces the page's content.
    Script,
}

impl ReloadedBy {
    fn of(request: &Request) -> Option<Self> {
        // A gateway may append its own query to the address; it is ignored.
        let query = request.uri().query().unwrap_or_default();
        query.split('&').find_map(|pair| match pair {
            "again=browser" => Some(ReloadedBy::Browser),
            "again=script" => Some(ReloadedBy::Script),
            _ => None,
        })
    }

    fn address(self) -> &'static str {
        match self {
            ReloadedBy::Browser => "?again=browser",
            ReloadedBy::Script => "?again=script",
        }
    }
}

/// Reloads the page as if the customer opened it.
const ANEW: &str = "?";

/// The differences between the two pages.
struct PageSettings {
    /// The relative path from the page to the parent of `/api`; relative, so that it works behind any proxy.
    events_root: &'static str,
    refresh_s: u32,
    /// Whether the reload counts as a visit of the customer, because this load could not do everything a first load
    /// does.
    asks_anew: bool,
}

/// The links of a page.
#[derive(Default)]
struct PageLinks<'a> {
    /// The address to forward to at once.
    forward: Option<&'a str>,
    /// The address of the button to pay.
    pay: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    language: Language,
    words: Words,
    labels: Labels,
    style: &'static str,
    script: &'static str,
    /// For the script and for tests; empty on a page without an order.
    status: &'a str,
    tone: &'static str,
    /// How the page reloads; `None` if nothing more will change.
    again: Option<Reload>,
    /// The address of the events that tell the script that the page is outdated.
    events: Option<String>,
    /// The id of the event that this page corresponds to.
    event_id: String,
    order: Option<&'a Order>,
    amount: String,
    links: PageLinks<'a>,
    /// Whether the page asks the customer to pay.
    asks_to_pay: bool,
}

/// How a page reloads.
struct Reload {
    seconds: u32,
    by_browser: &'static str,
    by_script: &'static str,
}

fn page(order: &Order, api: &Api, situation: Situation, settings: &PageSettings, links: PageLinks<'_>) -> Response {
    let follows = !order.status.is_final();
    let events = format!("{}/api/orders/{}/events?token={}", settings.events_root, order.id, order.token.as_str());
    let answer = OrderAnswer::for_customer(order, &api.context.public_url, api.context.store.now_ms());
    let (by_browser, by_script) = match settings.asks_anew {
        true => (ANEW, ANEW),
        false => (ReloadedBy::Browser.address(), ReloadedBy::Script.address()),
    };
    let asks_to_pay = matches!(situation, Situation::Unpaid | Situation::Declined);
    // A page that asks the customer to act reloads less often, so that it can be read in peace.
    let seconds = if asks_to_pay { settings.refresh_s * 4 } else { settings.refresh_s };
    render(
        StatusCode::OK,
        &Page {
            language: order.language,
            words: situation.words(order.language),
            labels: Labels::of(order.language),
            style: STYLE,
            script: SCRIPT,
            status: order.status.as_str(),
            tone: situation.tone(),
            again: follows.then_some(Reload { seconds, by_browser, by_script }),
            events: follows.then_some(events),
            event_id: event_id(&answer),
            order: Some(order),
            amount: written_amount(order.language, order.amount),
            links,
            asks_to_pay,
        },
    )
}

/// A problem as a page for a customer's browser.
pub(crate) fn problem_page(problem: &Problem, language: Language) -> Response {
    // An unreadable address belongs to no order, and repeating the request would not help.
    let (status, situation, again) = match problem.status_code() {
        StatusCode::METHOD_NOT_ALLOWED => (StatusCode::METHOD_NOT_ALLOWED, Situation::Unknown, None),
        status if status.is_client_error() => (StatusCode::NOT_FOUND, Situation::Unknown, None),
        status => (status, Situation::Unavailable, Some(Reload { seconds: 5, by_browser: ANEW, by_script: ANEW })),
    };
    let mut response = render(
        status,
        &Page {
            language,
            words: situation.words(language),
            labels: Labels::of(language),
            style: STYLE,
            script: SCRIPT,
            status: "",
            tone: situation.tone(),
            again,
            events: None,
            event_id: String::new(),
            order: None,
            amount: String::new(),
            links: PageLinks::default(),
            asks_to_pay: false,
        },
    );
    problem.write_headers(&mut response);
    response
}

fn render(status: StatusCode, page: &Page<'_>) -> Response {
    // Rendering into a string fails only if the template has a defect, which the tests would show.
    let html = page.render().unwrap_or_default();
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, POLICY.as_str())
        .body(html)
}

/// The first language of `Accept-Language` that we support; for pages without an order.
pub(crate) fn language_of(headers: &HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let spoken = |range: &str| Language::parse(range.trim().split(['-', ';']).next()?);
    accepted.split(',').find_map(spoken).unwrap_or(Language::Uz)
}
