//! The page where a payer types a card and an OTP. It works without JavaScript.

use std::sync::Arc;

use askama::Template;
use poem::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode, header},
    web::{Data, Path},
};
use tracing::error;
use url::{Url, form_urlencoded};

use crate::{
    cards::{Behaviour, CardError, PayingCard, TEST_CARDS},
    codes::{Code, Language},
    gateway::{BODY_BYTES, Gateway, broken},
    journal::JournalError,
    payment::Verdict,
    transaction::{CloseReason, State, Transaction},
};

/// What the browser may load: nothing, but for the style in the page. Forms are left free, for browsers hold the
/// redirect to the shop against them.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// The page, in each of its steps.
#[derive(Template)]
#[template(path = "invoice.html")]
struct InvoicePage<'a> {
    step: Step,
    message: &'a str,
    message_is_good: bool,
    store_id: &'a str,
    transaction_id: i64,
    account: &'a str,
    amount: String,
    /// Where the payer goes afterwards; empty when the shop named nothing.
    redirect_link: &'a str,
    /// The card that was entered, masked; empty before.
    card: &'a str,
    /// This page in its first step.
    first_step: String,
    test_cards: &'a [(&'a str, Behaviour)],
}

/// What the page asks of the payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Card,
    Otp,
    /// Nothing more; the message says how it ended.
    Done,
}

/// The page that says why there is no invoice.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    message: &'a str,
}

/// Which invoice the browser means, from the query or from a form.
struct Visit {
    transaction_id: i64,
    redirect_link: Option<RedirectLink>,
    fields: Vec<(String, String)>,
}

/// Where the shop wants its customer back: `http` or `https`, and as it was given.
struct RedirectLink(HeaderValue);

impl RedirectLink {
    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        // Nothing may be appended, so the text stays as it is unless a header cannot carry it.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        HeaderValue::from_str(if is_plain { text } else { url.as_str() })
            .ok()
            .map(Self)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Visit {
    /// Reads the query of the page or the fields of a form.
    ///
    /// # Errors
    /// The page that tells what is wrong with them.
    fn read(gateway: &Gateway, encoded: &[u8]) -> Result<Self, Response> {
        let fields: Vec<(String, String)> = form_urlencoded::parse(encoded).into_owned().collect();
        let find = |name: &str| {
            let field = fields.iter().find(|(other, _)| other == name);
            field.map(|(_, value)| value.as_str())
        };
        let (Some(store_id), Some(transaction_id)) = (find("storeId"), find("transactionId"))
        else {
            return Err(problem(
                StatusCode::BAD_REQUEST,
                "This link is incomplete: storeId or transactionId is missing.",
            ));
        };
        let redirect_link = match find("redirectLink").filter(|link| !link.is_empty()) {
            None => None,
            Some(link) => match RedirectLink::read(link) {
                Some(link) => Some(link),
                None => {
                    return Err(problem(
                        StatusCode::BAD_REQUEST,
                        "This link is wrong: redirectLink must begin with http:// or https://.",
                    ));
                }
            },
        };
        match transaction_id.parse() {
            Ok(transaction_id) if store_id == gateway.config.store_id => Ok(Self {
                transaction_id,
                redirect_link,
                fields,
            }),
            _ => Err(no_invoice()),
        }
    }

    async fn from_form(gateway: &Gateway, form: Body) -> Result<Self, Response> {
        match form.into_bytes_limit(BODY_BYTES).await {
            Ok(bytes) => Self::read(gateway, &bytes),
            Err(_) => Err(problem(
                StatusCode::BAD_REQUEST,
                "The form could not be read.",
            )),
        }
    }

    /// A field without the spaces people type.
    fn typed(&self, name: &str) -> String {
        let field = self.fields.iter().find(|(other, _)| other == name);
        let value = field.map_or("", |(_, value)| value.as_str());
        value
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect()
    }

    /// The page itself, relative to it and to the forms' targets, so that it may live under any prefix.
    fn link(&self, gateway: &Gateway, step: Step) -> String {
        let mut query = form_urlencoded::Serializer::new(String::from("get?"));
        query
            .append_pair("storeId", &gateway.config.store_id)
            .append_pair("transactionId", &self.transaction_id.to_string());
        if let Some(link) = &self.redirect_link {
            query.append_pair("redirectLink", link.text());
        }
        if step == Step::Otp {
            query.append_pair("step", "otp");
        }
        query.finish()
    }

    /// Sends the payer back to the shop, or shows how it ended when the shop named no place.
    fn leave(&self, gateway: &Gateway, transaction: &Transaction) -> Response {
        match &self.redirect_link {
            Some(link) => see_other(link.0.clone()),
            None => self.show(
                gateway,
                transaction,
                Step::Done,
                ending(transaction),
                StatusCode::OK,
            ),
        }
    }

    fn show(
        &self,
        gateway: &Gateway,
        transaction: &Transaction,
        step: Step,
        message: &str,
        status: StatusCode,
    ) -> Response {
        render(
            status,
            &InvoicePage {
                step,
                message,
                message_is_good: transaction.state == State::Debited,
                store_id: &gateway.config.store_id,
                transaction_id: transaction.id,
                account: &transaction.account,
                amount: soum(transaction.amount_tiyin),
                redirect_link: self.redirect_link.as_ref().map_or("", RedirectLink::text),
                card: transaction
                    .card
                    .as_ref()
                    .map_or("", |card| card.masked.as_str()),
                first_step: self.link(gateway, Step::Card),
                test_cards: &TEST_CARDS,
            },
        )
    }
}

/// `GET /invoice/get?storeId&transactionId[&redirectLink]`: the page behind a payment link (Atmos API, payment page).
#[poem::handler]
pub(crate) async fn get_invoice(Data(gateway): Data<&Arc<Gateway>>, request: &Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let visit = match Visit::read(gateway, query.as_bytes()) {
        Ok(visit) => visit,
        Err(page) => return page,
    };
    let Some(entry) = gateway.ledger.find(visit.transaction_id) else {
        return no_invoice();
    };
    let transaction = entry.snapshot();
    let (step, message) = match transaction.state {
        State::Prepaid if visit.typed("step") == "otp" => (Step::Otp, ""),
        State::Draft | State::Prepaid => (Step::Card, ""),
        State::Debited | State::Closed | State::Reversed => (Step::Done, ending(&transaction)),
    };
    visit.show(gateway, &transaction, step, message, StatusCode::OK)
}

/// `POST /invoice/card`: the payer entered a card.
#[poem::handler]
pub(crate) async fn post_card(Data(gateway): Data<&Arc<Gateway>>, form: Body) -> Response {
    let visit = match Visit::from_form(gateway, form).await {
        Ok(visit) => visit,
        Err(page) => return page,
    };
    let Some(entry) = gateway.ledger.find(visit.transaction_id) else {
        return no_invoice();
    };
    let complaint = |message: &str| {
        visit.show(
            gateway,
            &entry.snapshot(),
            Step::Card,
            message,
            StatusCode::UNPROCESSABLE_ENTITY,
        )
    };
    let Some(expiry_yymm) = expiry_yymm(&visit.typed("expiry")) else {
        return complaint("Enter the expiry as MM/YY, for example 07/28.");
    };
    let card = match PayingCard::read(&visit.typed("card_number"), &expiry_yymm) {
        Ok(card) => card,
        Err(CardError::Malformed) => {
            return complaint("Enter the 16 digits of the card number and its expiry.");
        }
        Err(CardError::WrongNumber) => {
            return complaint("This card number is wrong. Check its digits.");
        }
    };
    let (runner, id) = (Arc::clone(gateway), visit.transaction_id);
    let work = async move { runner.prepay(id, card).await };
    match finished(gateway.run(work).await) {
        Ok((Code::Ok, _)) => match HeaderValue::from_str(&visit.link(gateway, Step::Otp)) {
            Ok(link) => see_other(link),
            Err(_) => broken(),
        },
        Ok((Code::Closed, transaction)) => visit.leave(gateway, &transaction),
        Ok((code, _)) => complaint(code.description(Language::English)),
        Err(page) => page,
    }
}

/// `POST /invoice/pay`: the payer confirms with the OTP. A second click finds the first one's debit, and no second one.
#[poem::handler]
pub(crate) async fn post_pay(Data(gateway): Data<&Arc<Gateway>>, form: Body) -> Response {
    let visit = match Visit::from_form(gateway, form).await {
        Ok(visit) => visit,
        Err(page) => return page,
    };
    let (runner, id, otp) = (
        Arc::clone(gateway),
        visit.transaction_id,
        visit.typed("otp"),
    );
    let work = async move { runner.pay(id, &otp).await };
    let (code, transaction) = match finished(gateway.run(work).await) {
        Ok(ended) => ended,
        Err(page) => return page,
    };
    let (step, message) = match code {
        Code::Ok | Code::Closed => return visit.leave(gateway, &transaction),
        Code::WrongOtp if transaction.state == State::Closed => (Step::Done, ending(&transaction)),
        Code::WrongOtp => (
            Step::Otp,
            "This code is wrong. Enter the code from the message once more.",
        ),
        Code::MerchantRefused => (
            Step::Otp,
            "The shop did not accept this payment. No money was taken. You may try again or cancel.",
        ),
        Code::InsufficientFunds => (
            Step::Card,
            "There is not enough money on this card. No money was taken. You may try another one.",
        ),
        Code::Internal => (
            Step::Card,
            "The bank could not process this payment. No money was taken. You may try again.",
        ),
        Code::WrongParameters
        | Code::NotFound
        | Code::WrongCard
        | Code::CardExpired
        | Code::CardWithoutSms
        | Code::NeverHeardOf => (Step::Card, "Enter a card first."),
    };
    visit.show(
        gateway,
        &transaction,
        step,
        message,
        StatusCode::UNPROCESSABLE_ENTITY,
    )
}

/// `POST /invoice/cancel`: the payer gives up, which closes the transaction for good.
#[poem::handler]
pub(crate) async fn post_cancel(Data(gateway): Data<&Arc<Gateway>>, form: Body) -> Response {
    let visit = match Visit::from_form(gateway, form).await {
        Ok(visit) => visit,
        Err(page) => return page,
    };
    let (runner, id) = (Arc::clone(gateway), visit.transaction_id);
    let work = async move { runner.give_up(id, CloseReason::Canceled).await };
    match finished(gateway.run(work).await) {
        Ok((_, transaction)) => visit.leave(gateway, &transaction),
        Err(page) => page,
    }
}

/// `GET /ofd/{success_trans_id}`: stands for the fiscal receipt that `apply` links to.
#[poem::handler]
pub(crate) async fn get_receipt(
    Data(gateway): Data<&Arc<Gateway>>,
    Path(success_trans_id): Path<i64>,
) -> Response {
    match gateway.ledger.find_debit(success_trans_id) {
        Some(_) => problem(
            StatusCode::OK,
            "This would be the fiscal receipt. The sandbox writes none.",
        ),
        None => problem(StatusCode::NOT_FOUND, "There is no such receipt."),
    }
}

/// The code and the transaction of a step, or the page that says why there is none.
fn finished(
    verdict: Option<Result<Verdict, JournalError>>,
) -> Result<(Code, Transaction), Response> {
    match verdict {
        Some(Ok(Verdict {
            code,
            transaction: Some(transaction),
            ..
        })) => Ok((code, transaction)),
        Some(Ok(_)) => Err(no_invoice()),
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed a payer");
            Err(broken())
        }
        None => Err(broken()),
    }
}

/// What a payer is told about a transaction that is over.
fn ending(transaction: &Transaction) -> &'static str {
    match transaction.state {
        State::Draft | State::Prepaid => "",
        State::Debited => "Paid. Thank you.",
        State::Closed => "This payment was canceled or is over. No money was taken.",
        State::Reversed => "This payment was given back.",
    }
}

/// `MM/YY` or `MMYY` as people type it, in the API's `YYMM`.
fn expiry_yymm(typed: &str) -> Option<String> {
    let (month, year) = match typed.split_once('/') {
        Some(parts) => parts,
        None => typed.split_at_checked(2)?,
    };
    (month.len() == 2 && year.len() == 2).then(|| format!("{year}{month}"))
}

/// An amount as people write it: `50 000.00`.
fn soum(amount_tiyin: i64) -> String {
    let whole = (amount_tiyin / 100).to_string();
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            // Does not break between the groups.
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02}", amount_tiyin % 100)
}

fn no_invoice() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "There is no such invoice. Check the link, or ask the shop for a new one.",
    )
}

fn problem(status: StatusCode, message: &str) -> Response {
    render(status, &ProblemPage { message })
}

fn render(status: StatusCode, page: &impl Template) -> Response {
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

fn see_other(location: HeaderValue) -> Response {
    let mut response = Response::default();
    response.set_status(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_read_as_people_type_it() {
        assert_eq!(expiry_yymm("07/28").as_deref(), Some("2807"));
        assert_eq!(expiry_yymm("0728").as_deref(), Some("2807"));
        for nonsense in ["", "0", "7/28", "07/2028", "0728/", "үү28"] {
            assert_eq!(expiry_yymm(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn an_amount_is_shown_as_people_write_it() {
        assert_eq!(soum(5), "0.05");
        assert_eq!(soum(5_000_000), "50\u{a0}000.00");
        assert_eq!(soum(123_456_789_01), "123\u{a0}456\u{a0}789.01");
    }

    #[test]
    fn a_redirect_link_stays_as_it_was_given() {
        for link in [
            "http://shop.test",
            "https://shop.test/back?order=1&x=%20#end",
        ] {
            assert_eq!(RedirectLink::read(link).expect("a link").text(), link);
        }
    }

    #[test]
    fn a_redirect_link_leads_to_a_web_page_or_nowhere() {
        for link in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//shop.test",
            "/back",
            "ftp://shop.test",
            "shop.test",
        ] {
            assert!(RedirectLink::read(link).is_none(), "{link}");
        }
        // A line break would begin another header.
        let link = RedirectLink::read("http://shop.test/\r\nX-Evil:1").expect("a link");
        assert_eq!(link.text(), "http://shop.test/X-Evil:1");
    }
}
