//! The customer's pages: `/pay/{token}` leads to the gateway's page, `/pay/{token}/return` shows what came of it.
//!
//! Without JavaScript they load themselves again every few seconds; with it they follow the order's events, ask for the
//! page again and put what comes in its place, so that no proxy's error page ever takes it. What they show is decided here
//! alone.

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

/// The page style and script. They stand in the page itself, and the policy names their hashes.
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

/// Forwards to the gateway's page as soon as there is one; waits for it, or tells what became of the order.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that is no order's; a page in words, as all problems under `/pay`.
#[handler]
pub(crate) async fn get_pay_page(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let order = order_of(&api, &token).await?;
    let situation = Situation::of(&order, api.context.store.now_ms());
    let place = Place { events_root: "..", refresh_s: 2, asks_anew: false };
    let forwards = situation == Situation::Open;
    match &order.payment_url {
        // See Other, and never kept: a later link of the same order may be another one.
        Some(url) if forwards && Again::of(request) != Some(Again::Script) => Ok(Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, url)
            .header(header::CACHE_CONTROL, "no-store")
            .finish()),
        url => {
            // A script cannot follow a redirection to another host: it is told where to go.
            let forward = url.as_deref().filter(|_| forwards);
            let pay = url.as_deref().filter(|_| situation == Situation::Declined);
            Ok(page(&order, &api, situation, &place, Ways { forward, pay }))
        }
    }
}

/// Where the gateway sends the customer back to: hints the order's settlement, and shows the result as it comes.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that is no order's.
#[handler]
pub(crate) async fn get_return_page(
    api: SharedApi<'_>,
    request: &Request,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let mut order = order_of(&api, &token).await?;
    let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
    let mut asks_anew = false;
    // A page that loads itself again says nothing new: only the customer's coming does.
    if is_open && Again::of(request).is_none() {
        match orders::hint_from_return_page(&api.context.store, order.id).await {
            Ok(true) => order.last_hint_at_ms = Some(api.context.store.now_ms()),
            Ok(false) => (),
            Err(error) => {
                // The page is right without the hint; the inquiry only comes later.
                warn!(order.id = %order.id, error = %error, "the return page of order {} could not hint: {error}", order.id);
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
    let place = Place { events_root: "../..", refresh_s: 3, asks_anew };
    Ok(page(&order, &api, situation, &place, Ways { forward: None, pay }))
}

async fn order_of(api: &Api, token: &str) -> Result<Order, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound, "no order has this page");
    let token = OrderToken::parse(token).ok_or_else(not_found)?;
    orders::find_by_token(&api.context.store, &token).await?.ok_or_else(not_found)
}

/// Who loads a page that was loaded before; the query `again` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// The browser, without JavaScript.
    Browser,
    /// The page's script, which puts what comes in the page's place.
    Script,
}

impl Again {
    fn of(request: &Request) -> Option<Self> {
        // What a gateway appends to the address is no concern of ours.
        let query = request.uri().query().unwrap_or_default();
        query.split('&').find_map(|pair| match pair {
            "again=browser" => Some(Again::Browser),
            "again=script" => Some(Again::Script),
            _ => None,
        })
    }

    fn address(self) -> &'static str {
        match self {
            Again::Browser => "?again=browser",
            Again::Script => "?again=script",
        }
    }
}

/// Loads the page as the customer did.
const ANEW: &str = "?";

/// Which of the two pages it is.
struct Place {
    /// The way from the page's folder to where `/api` begins; relative, so that it holds behind any proxy.
    events_root: &'static str,
    refresh_s: u32,
    /// Whether the page loads itself again as the customer did, because it could not do all that a first load does.
    asks_anew: bool,
}

/// Where the page leads.
#[derive(Default)]
struct Ways<'a> {
    /// At once.
    forward: Option<&'a str>,
    /// When the customer who has not paid yet wants to.
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
    /// For the script and for tests; empty on a page about no order.
    status: &'a str,
    tone: &'static str,
    /// How the page is loaded again; `None` where nothing more will come.
    again: Option<Reload>,
    /// Where the script hears that the page is out of date.
    events: Option<String>,
    /// The event that says what the page shows.
    event_id: String,
    order: Option<&'a Order>,
    amount: String,
    ways: Ways<'a>,
    /// Whether paying is what the customer is asked to do.
    asks_to_pay: bool,
}

/// How a page is loaded again.
struct Reload {
    seconds: u32,
    by_browser: &'static str,
    by_script: &'static str,
}

fn page(order: &Order, api: &Api, situation: Situation, place: &Place, ways: Ways<'_>) -> Response {
    let follows = !order.status.is_final();
    let events = format!("{}/api/orders/{}/events?token={}", place.events_root, order.id, order.token.as_str());
    let answer = OrderAnswer::for_customer(order, &api.context.public_url, api.context.store.now_ms());
    let (by_browser, by_script) = match place.asks_anew {
        true => (ANEW, ANEW),
        false => (Again::Browser.address(), Again::Script.address()),
    };
    let asks_to_pay = matches!(situation, Situation::Unpaid | Situation::Declined);
    // A page that asks for something is left in peace while it is read.
    let seconds = if asks_to_pay { place.refresh_s * 4 } else { place.refresh_s };
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
            ways,
            asks_to_pay,
        },
    )
}

/// A problem in words, for a customer's browser.
pub(crate) fn problem_page(problem: &Problem, language: Language) -> Response {
    // An address that cannot even be read is no order's page, and asking again would not mend it.
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
            ways: Ways::default(),
            asks_to_pay: false,
        },
    );
    problem.write_headers(&mut response);
    response
}

fn render(status: StatusCode, page: &Page<'_>) -> Response {
    // Rendering into a string cannot fail but for a defect of the template, which its tests would show.
    let html = page.render().unwrap_or_default();
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, POLICY.as_str())
        .body(html)
}

/// The first language of `Accept-Language` that we speak; for pages about no order.
pub(crate) fn language_of(headers: &HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let spoken = |range: &str| Language::parse(range.trim().split(['-', ';']).next()?);
    accepted.split(',').find_map(spoken).unwrap_or(Language::Uz)
}
