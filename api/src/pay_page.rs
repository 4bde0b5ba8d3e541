//! The customer's pages: `/pay/{token}` leads to the gateway's page, `/pay/{token}/return` shows what came of it.
//!
//! Without JavaScript they ask again every few seconds; with it they follow the order's events. What they show is
//! decided here alone: the script only loads the page anew.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::http::{HeaderMap, StatusCode, header};
use poem::web::Path;
use poem::{Response, handler};
use sha2::{Digest, Sha256};
use shared::id::OrderToken;
use shared::order::{Language, Order, OrderStatus};
use shared::store::orders;
use tracing::warn;

use crate::orders::payment_url;
use crate::problem::{Problem, ProblemType};
use crate::{Api, SharedApi};

mod words;

use words::{Labels, Situation, Words};

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
pub(crate) async fn get_pay_page(api: SharedApi<'_>, Path(token): Path<String>) -> Result<Response, Problem> {
    let order = order_of(&api, &token).await?;
    let now_ms = api.context.store.now_ms();
    let situation = Situation::of(&order, now_ms);
    match (&order.payment_url, situation) {
        // See Other, and never kept: a later link of the same order may be another one.
        (Some(url), Situation::Open) => Ok(Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, url)
            .header(header::CACHE_CONTROL, "no-store")
            .finish()),
        _ => Ok(page(&order, &api, situation, &Place { events_root: "..", refresh_s: 2, pay_address: None })),
    }
}

/// Where the gateway sends the customer back to: hints the order's settlement, and shows the result as it comes.
///
/// # Errors
/// [`ProblemType::NotFound`] for a token that is no order's.
#[handler]
pub(crate) async fn get_return_page(api: SharedApi<'_>, Path(token): Path<String>) -> Result<Response, Problem> {
    let order = order_of(&api, &token).await?;
    if matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming)
        && let Err(error) = orders::hint_from_return_page(&api.context.store, order.id).await
    {
        // The page is right without the hint; the look only comes later.
        warn!(order.id = %order.id, error = %error, "the return page of order {} could not hint: {error}", order.id);
    }
    let situation = match Situation::of(&order, api.context.store.now_ms()) {
        Situation::Open => Situation::Checking,
        situation => situation,
    };
    let pay_address = (situation == Situation::Checking).then(|| format!("../{}", order.token.as_str()));
    Ok(page(&order, &api, situation, &Place { events_root: "../..", refresh_s: 3, pay_address }))
}

async fn order_of(api: &Api, token: &str) -> Result<Order, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound, "no order has this page");
    let token = OrderToken::parse(token).ok_or_else(not_found)?;
    orders::find_by_token(&api.context.store, &token).await?.ok_or_else(not_found)
}

/// Which of the two pages it is.
struct Place {
    /// The way from the page's folder to where `/api` begins; relative, so that it holds behind any proxy.
    events_root: &'static str,
    refresh_s: u32,
    /// Where the customer who has not paid yet can do so.
    pay_address: Option<String>,
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
    /// When to ask again without JavaScript; `None` where nothing more will come.
    refresh_s: Option<u32>,
    events: Option<String>,
    /// What the script compares with: anything else means that the page is out of date.
    payment_url: String,
    order: Option<&'a Order>,
    pay_address: Option<String>,
}

fn page(order: &Order, api: &Api, situation: Situation, place: &Place) -> Response {
    let follows = !order.status.is_final();
    let events = format!("{}/api/orders/{}/events?token={}", place.events_root, order.id, order.token.as_str());
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
            refresh_s: follows.then_some(place.refresh_s),
            events: follows.then_some(events),
            payment_url: payment_url(order, &api.public_url, api.context.store.now_ms()),
            order: Some(order),
            pay_address: place.pay_address.clone(),
        },
    )
}

/// A problem in words, for a customer's browser.
pub(crate) fn problem_page(problem: &Problem, language: Language) -> Response {
    // An address that cannot even be read is no order's page, and asking again would not mend it.
    let (status, situation, refresh_s) = match problem.status_code() {
        StatusCode::METHOD_NOT_ALLOWED => (StatusCode::METHOD_NOT_ALLOWED, Situation::Unknown, None),
        status if status.is_client_error() => (StatusCode::NOT_FOUND, Situation::Unknown, None),
        status => (status, Situation::Unavailable, Some(5)),
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
            refresh_s,
            events: None,
            payment_url: String::new(),
            order: None,
            pay_address: None,
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
