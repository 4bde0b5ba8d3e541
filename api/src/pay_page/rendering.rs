//! Renders the customer's pages.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::id::OrderToken;
use domain::order::{Language, Order};
use domain::time::rfc3339;
use poem::Response;
use poem::http::{StatusCode, header};
use sha2::{Digest, Sha256};
use store::orders;

use super::labels::{Labels, gateway_name, language_name, written_amount};
use super::leaving::{Leaving, leaving_after};
use super::shop_words::ShownShop;
use super::times::{written_deadline, written_moment};
use super::visit::{STAY, WantedLanguage, in_language, remember_return};
use super::way_back::{BackLink, back_link};
use super::words::{Situation, Words};
use crate::Api;
use crate::orders::{OrderAnswer, event_id};
use crate::problem::{Problem, ProblemType};

/// The page's style and script. They stand in the page itself, and the content security policy has their hashes.
pub(crate) const STYLE: &str = include_str!("../../templates/page.css");
const SCRIPT: &str = include_str!("../../templates/page.js");

/// The part of the policy that is the same for all pages.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash_source(STYLE),
        hash_source(SCRIPT)
    )
});

/// The source of a policy that allows this text in the page, and no other.
pub(crate) fn hash_source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// The policy of a page. A form goes to us; an image comes from the origin of the shop's logo.
fn policy(page: &Page<'_>) -> String {
    let form_action = if page.links.ways.is_empty() { "'none'" } else { "'self'" };
    let images = page.shop.image_origin().map(|origin| format!(" img-src {origin}")).unwrap_or_default();
    format!("{}; form-action {form_action};{images}", *POLICY)
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
    pub(super) wanted: WantedLanguage,
    /// Whether this visit may lead the customer back to the shop by itself.
    pub(super) may_leave: bool,
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

impl PageLinks<'_> {
    /// Whether the customer can go on to pay.
    fn lead_on(&self) -> bool {
        self.forward.is_some() || self.pay.is_some() || self.choose.is_some() || !self.ways.is_empty()
    }
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
    /// The page in each language.
    languages: Vec<LanguageLink>,
    shop: ShownShop<'a>,
    title: String,
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
    /// When the page was made, epoch milliseconds; for the script.
    now_ms: i64,
    order: Option<&'a Order>,
    amount: String,
    receipt: Option<PaymentFacts>,
    deadline: Option<Deadline>,
    leaving: Option<Leaving<'a>>,
    links: PageLinks<'a>,
    back: Option<BackLink<'a>>,
    /// Whether the page asks the customer to pay.
    asks_to_pay: bool,
}

/// How a page reloads.
struct Reload {
    seconds: u32,
    by_browser: String,
    by_script: String,
}

/// The same page in a language.
pub(crate) struct LanguageLink {
    pub(crate) language: Language,
    pub(crate) name: &'static str,
    pub(crate) address: String,
}

/// The facts of a payment.
struct PaymentFacts {
    /// `None` where the order keeps no time.
    paid_at: Option<String>,
    gateway: Option<&'static str>,
    transaction_id: Option<i64>,
}

/// Until when the customer can go on.
struct Deadline {
    label: &'static str,
    /// For programs.
    datetime: String,
    text: String,
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
    let (follows, now_ms) = (!order.status.is_final(), api.context.store.now_ms());
    let language = settings.wanted.or(order.language);
    let labels = Labels::of(language);
    let events = format!("{}/api/orders/{}/events?token={}", settings.events_root, order.id, order.token.as_str());
    let answer = OrderAnswer::for_customer(order, &api.context.public_url, now_ms);
    let (by_browser, by_script) = settings.reload.addresses();
    let asks_to_pay = matches!(situation, Situation::Unpaid | Situation::Declined | Situation::ChoiceIsOver);
    // A page that asks the customer to act reloads less often, so that it can be read in peace.
    let seconds = if asks_to_pay { settings.refresh_s * 4 } else { settings.refresh_s };
    let keep = |address: &str| settings.wanted.keep(address);
    let again = Reload { seconds, by_browser: keep(by_browser), by_script: keep(by_script) };
    let words = situation.words(language);
    let shop = api.context.shops.get(&order.shop);
    let leaving = shop.and_then(|shop| shop.return_after_paid).filter(|_| settings.may_leave);
    let leaving = leaving.and_then(|after| leaving_after(after, order, now_ms, language, settings.wanted));
    let shop = shop.map(|shop| ShownShop::of(&shop.words, language)).unwrap_or_default();
    let leaves = leaving.is_some();
    let mut response = render(
        status,
        &Page {
            language,
            // A customer who reads the receipt in another language stays with it.
            languages: language_links(if follows { by_browser } else { STAY }),
            title: title(words, shop.name, order),
            shop,
            words,
            labels,
            style: STYLE,
            script: SCRIPT,
            status: order.status.as_str(),
            tone: situation.tone(),
            again: follows.then_some(again),
            events: follows.then_some(events),
            event_id: event_id(&answer),
            now_ms,
            order: Some(order),
            amount: written_amount(language, order.amount),
            receipt: receipt(order, situation, language),
            deadline: links.lead_on().then(|| deadline(order, labels, language, now_ms)).flatten(),
            leaving,
            links,
            back: back_link(order, situation, labels),
            asks_to_pay,
        },
    );
    if leaves {
        remember_return(&mut response, &api.context.public_url, order.token.as_str());
    }
    response
}

/// What a tab, a bookmark or a history of pages says.
fn title(words: Words, shop: Option<&str>, order: &Order) -> String {
    match shop {
        Some(shop) => format!("{} · {shop} · №{}", words.headline, order.id),
        None => format!("{} · №{}", words.headline, order.id),
    }
}

/// The page at this address in each language.
pub(crate) fn language_links(address: &str) -> Vec<LanguageLink> {
    let link = |language: &Language| LanguageLink {
        language: *language,
        name: language_name(*language),
        address: in_language(address, *language),
    };
    Language::ALL.iter().map(link).collect()
}

fn receipt(order: &Order, situation: Situation, language: Language) -> Option<PaymentFacts> {
    matches!(situation, Situation::Paid | Situation::Refunded).then(|| PaymentFacts {
        paid_at: order.final_at_ms.and_then(|at_ms| written_moment(language, at_ms)),
        gateway: order.payment_type().map(gateway_name),
        transaction_id: order.transaction_id.map(|id| id.0),
    })
}

fn deadline(order: &Order, labels: Labels, language: Language, now_ms: i64) -> Option<Deadline> {
    let until_ms = order.expires_at_ms.filter(|until_ms| *until_ms > now_ms)?;
    let label = if order.account.is_none() { labels.choose_until } else { labels.pay_until };
    let text = written_deadline(language, until_ms, now_ms)?;
    Some(Deadline { label, datetime: rfc3339(until_ms), text })
}

/// A problem as a page for a customer's browser.
pub(crate) fn problem_page(problem: &Problem, wanted: WantedLanguage) -> Response {
    let language = wanted.or_accepted();
    let anew = || Reload { seconds: 5, by_browser: wanted.keep(ANEW), by_script: wanted.keep(ANEW) };
    // An unreadable address belongs to no order, and repeating the request would not help.
    let (status, situation, again) = match problem.status_code() {
        StatusCode::METHOD_NOT_ALLOWED => (StatusCode::METHOD_NOT_ALLOWED, Situation::Unknown, None),
        status if status.is_client_error() => (StatusCode::NOT_FOUND, Situation::Unknown, None),
        status => (status, Situation::Unavailable, Some(anew())),
    };
    let mut response = render(
        status,
        &Page {
            language,
            languages: language_links(ANEW),
            title: situation.words(language).headline.to_owned(),
            shop: ShownShop::default(),
            words: situation.words(language),
            labels: Labels::of(language),
            style: STYLE,
            script: SCRIPT,
            status: "",
            tone: situation.tone(),
            again,
            events: None,
            event_id: String::new(),
            now_ms: 0,
            order: None,
            amount: String::new(),
            receipt: None,
            deadline: None,
            leaving: None,
            links: PageLinks::default(),
            back: None,
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
        .header(header::CONTENT_SECURITY_POLICY, policy(page))
        .body(html)
}
