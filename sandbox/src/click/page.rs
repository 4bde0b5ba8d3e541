//! The page behind a payment link. It works without JavaScript.

mod link;

use std::sync::Arc;

use askama::Template;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Body, Request, Response};
use tracing::error;

pub(crate) use self::link::PaymentLink;
use super::attempt::AttemptState;
use super::payer::{PayMeans, PayerBehaviour, TEST_VALUES};
use super::soum;
use super::state::ClickSandbox;
use super::words::{PageLanguage, PageWords};
use crate::answers::broken;
use crate::state::BODY_BYTES;

/// The browser loads nothing but the style in the page. Forms are not limited, because browsers apply such a limit to
/// the redirect to the shop too.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// The page in all its states.
#[derive(Template)]
#[template(path = "click.html")]
struct ClickPage<'a> {
    words: &'a PageWords,
    language: PageLanguage,
    /// Each language with the address of this page in it.
    languages: Vec<(PageLanguage, String)>,
    message: &'a str,
    is_good: bool,
    account: &'a str,
    amount: String,
    /// The fields that a form sends back.
    fields: &'a [(String, String)],
    return_url: &'a str,
    /// Whether the payer may still pay.
    is_open: bool,
    test_values: &'a [(&'a str, PayerBehaviour)],
}

/// A page with one message.
#[derive(Template)]
#[template(path = "note.html")]
struct ClickNote<'a> {
    message: &'a str,
}

/// `GET /click/services/pay`: shows what is to be paid (Click documents, payment link).
#[poem::handler]
pub(crate) async fn get_pay(Data(click): Data<&Arc<ClickSandbox>>, request: &Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    match PaymentLink::read(&click.common.config.click_service_id, query.as_bytes()) {
        Ok(link) => show(&link, browser_languages(request), "", StatusCode::OK, PageEnd::Open),
        Err(problem) => note(StatusCode::BAD_REQUEST, &problem),
    }
}

/// `POST /click/services/pay`: the payer pays by card or telephone.
#[poem::handler]
pub(crate) async fn post_pay(Data(click): Data<&Arc<ClickSandbox>>, request: &Request, form: Body) -> Response {
    let Ok(bytes) = form.into_bytes_limit(BODY_BYTES).await else {
        return note(StatusCode::BAD_REQUEST, "The form could not be read.");
    };
    let accepted = browser_languages(request);
    let link = match PaymentLink::read(&click.common.config.click_service_id, &bytes) {
        Ok(link) => link,
        Err(problem) => return note(StatusCode::BAD_REQUEST, &problem),
    };
    let words = link.language(accepted).words();
    let again = |message: &str| show(&link, accepted, message, StatusCode::UNPROCESSABLE_ENTITY, PageEnd::Open);
    let means = match typed_means(&link, words) {
        Ok(means) => means,
        Err(message) => return again(message),
    };
    let (runner, payment) = (Arc::clone(click), link.payment());
    let outcome = match click.common.run(async move { runner.pay(&payment, means).await }).await {
        Some(Ok(outcome)) => outcome,
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed a payer");
            return note(StatusCode::INTERNAL_SERVER_ERROR, words.broken);
        }
        None => return note(StatusCode::INTERNAL_SERVER_ERROR, words.broken),
    };
    let message = match outcome.word() {
        "debited" => words.paid,
        "returned" => words.returned,
        "refused" => words.refused,
        "declined" => words.declined,
        _ => words.left,
    };
    match outcome.state {
        AttemptState::Closed => again(message),
        AttemptState::Debited | AttemptState::Reversed | AttemptState::Created | AttemptState::Prepared => {
            let is_good = outcome.state == AttemptState::Debited;
            let shown = |end| show(&link, accepted, message, StatusCode::OK, end);
            match link.return_url() {
                Some(url) => see_other(url),
                None => shown(if is_good { PageEnd::Paid } else { PageEnd::Unpaid }),
            }
        }
    }
}

/// Whether the page still takes a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageEnd {
    Open,
    Paid,
    Unpaid,
}

fn typed_means(link: &PaymentLink, words: &'static PageWords) -> Result<PayMeans, &'static str> {
    let phone = link.typed("phone");
    if !phone.is_empty() {
        return PayMeans::phone(phone).ok_or(words.wrong_phone);
    }
    let expiry: String = link.typed("expiry").chars().filter(char::is_ascii_digit).collect();
    let month = expiry.get(..2).and_then(|month| month.parse::<u8>().ok());
    if expiry.len() != 4 || !month.is_some_and(|month| (1..=12).contains(&month)) {
        return Err(words.wrong_expiry);
    }
    PayMeans::card(link.typed("card_number")).ok_or(words.wrong_card)
}

fn show(link: &PaymentLink, accepted: &str, message: &str, status: StatusCode, end: PageEnd) -> Response {
    let language = link.language(accepted);
    let payment = link.payment();
    let page = ClickPage {
        words: language.words(),
        language,
        languages: PageLanguage::ALL.map(|other| (other, link.address_in(other))).to_vec(),
        message,
        is_good: end == PageEnd::Paid,
        account: &payment.account,
        amount: soum::for_people(payment.amount_tiyin),
        fields: link.fields(),
        return_url: link.return_url().unwrap_or_default(),
        is_open: end == PageEnd::Open,
        test_values: &TEST_VALUES,
    };
    render(status, &page)
}

fn browser_languages(request: &Request) -> &str {
    request.header(header::ACCEPT_LANGUAGE).unwrap_or_default()
}

/// A page with only this message.
fn note(status: StatusCode, message: &str) -> Response {
    render(status, &ClickNote { message })
}

/// Writes a page of the sandbox.
pub(super) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-store")
            .header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY)
            .header(header::REFERRER_POLICY, "no-referrer")
            .body(text),
        Err(cause) => {
            error!(error = %cause, "could not render a page");
            broken()
        }
    }
}

/// Sends the browser to the shop with a GET.
fn see_other(link: &str) -> Response {
    let mut response = Response::default();
    response.set_status(StatusCode::SEE_OTHER);
    if let Ok(location) = HeaderValue::from_str(link) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
