//! Renders the customer's pages.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::id::OrderToken;
use domain::order::{Language, Order};
use poem::Response;
use poem::http::{StatusCode, header};
use sha2::{Digest, Sha256};
use store::orders;

use super::labels::{Labels, written_amount};
use super::words::{Situation, Words};
use crate::Api;
use crate::orders::{OrderAnswer, event_id};
use crate::problem::{Problem, ProblemType};

/// The page's style and script. They stand in the page itself, and the content security policy has their hashes.
const STYLE: &str = include_str!("../../templates/page.css");
const SCRIPT: &str = include_str!("../../templates/page.js");

static POLICY: LazyLock<String> = LazyLock::new(|| policy("'none'"));

/// Of a page with a form, which goes to us.
static POLICY_WITH_FORM: LazyLock<String> = LazyLock::new(|| policy("'self'"));

fn policy(form_action: &str) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action {form_action}; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

pub(super) async fn order_of(api: &Api, token: &str) -> Result<Order, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound, "no order has this page");
    let token = OrderToken::parse(token).ok_or_else(not_found)?;
    orders::find_by_token(&api.context.store, &token).await?.ok_or_else(not_found)
}

/// Reloads the page as if the customer opened it.
const ANEW: &str = "?";

/// The differences between the two pages.
pub(super) struct PageSettings {
    /// The relative path from the page to the parent of `/api`; relative, so that it works behind any proxy.
    pub(super) events_root: &'static str,
    pub(super) refresh_s: u32,
    pub(super) reload: ReloadAs,
}

/// The page as which a page is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadAs {
    /// As itself.
    Page,
    /// As if the customer came, because this load could not do everything a first load does.
    Visit,
    /// The choice.
    Choice,
    /// The reason why a choice was refused.
    Refused,
}

impl ReloadAs {
    /// The addresses by which the browser and the script load the page.
    fn addresses(self) -> (&'static str, &'static str) {
        match self {
            ReloadAs::Page => ("?again=browser", "?again=script"),
            ReloadAs::Visit => (ANEW, ANEW),
            ReloadAs::Choice => ("?choose&again=browser", "?choose&again=script"),
            ReloadAs::Refused => ("?refused&again=browser", "?refused&again=script"),
        }
    }
}

/// The links of a page.
#[derive(Default)]
pub(super) struct PageLinks<'a> {
    /// The address to forward to at once.
    pub(super) forward: Option<&'a str>,
    /// The address of the button to pay.
    pub(super) pay: Option<&'a str>,
    /// The address of the choice of another gateway.
    pub(super) choose: Option<&'a str>,
    /// The gateways to choose from.
    pub(super) ways: &'a [WayToPay],
    /// The address of the form that chooses.
    pub(super) form: &'a str,
}

/// A way to pay that the page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WayToPay {
    /// The value of the form's field.
    pub(super) value: &'static str,
    /// The gateway's name.
    pub(super) name: &'static str,
    /// The gateway in a few words; or, if it is not available, why.
    pub(super) note: &'static str,
    /// Whether it can be chosen now.
    pub(super) is_available: bool,
    /// Whether the order is paid through it now.
    pub(super) is_chosen: bool,
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

pub(super) fn page(
    order: &Order,
    api: &Api,
    situation: Situation,
    settings: &PageSettings,
    links: PageLinks<'_>,
) -> Response {
    page_with(StatusCode::OK, order, api, situation, settings, links)
}

pub(super) fn page_with(
    status: StatusCode,
    order: &Order,
    api: &Api,
    situation: Situation,
    settings: &PageSettings,
    links: PageLinks<'_>,
) -> Response {
    let follows = !order.status.is_final();
    let events = format!("{}/api/orders/{}/events?token={}", settings.events_root, order.id, order.token.as_str());
    let answer = OrderAnswer::for_customer(order, &api.context.public_url, api.context.store.now_ms());
    let (by_browser, by_script) = settings.reload.addresses();
    let asks_to_pay = matches!(situation, Situation::Unpaid | Situation::Declined | Situation::ChoiceIsOver);
    // A page that asks the customer to act reloads less often, so that it can be read in peace.
    let seconds = if asks_to_pay { settings.refresh_s * 4 } else { settings.refresh_s };
    render(
        status,
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
    let policy = if page.links.ways.is_empty() { &POLICY } else { &POLICY_WITH_FORM };
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, policy.as_str())
        .body(html)
}
