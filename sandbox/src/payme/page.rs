//! The checkout page, where a payer enters a card and a code. It works without JavaScript.

mod front;
mod render;

use std::sync::Arc;

use askama::Template;
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Response};
use tracing::error;
use url::form_urlencoded;

use self::front::front;
pub(crate) use self::front::{post_check, post_front_refund, post_sim_check};
use self::render::{note, render};
use super::card::{CODE, PayerCard, TEST_CARDS};
use super::link::CheckoutOrder;
use super::paying::{PayerEnd, ReceiptOutcome};
use super::soum::soum;
use super::state::PaymeSandbox;
use super::words::{PayerLanguage, PayerWords};
use crate::answers::broken;
use crate::state::BODY_BYTES;

/// A link may ask for a longer wait. Its payer shall not stay on the page for days.
const LONGEST_RETURN_SECONDS: u64 = 3_600;

/// The checkout page in each of its steps.
#[derive(Template)]
#[template(path = "payme.html")]
struct CheckoutPage<'a> {
    words: &'a PayerWords,
    language: PayerLanguage,
    languages: Vec<(PayerLanguage, String)>,
    cashbox: &'a str,
    account: String,
    amount: String,
    message: &'a str,
    /// What the merchant says, in the payer's language.
    detail: String,
    is_good: bool,
    step: CheckoutStep,
    card_number: &'a str,
    expiry: &'a str,
    test_cards: &'a [&'a str],
    /// Empty if the link names none.
    return_url: String,
    /// After so many seconds the browser goes there by itself; `None`: it does not.
    return_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckoutStep {
    Card,
    Code,
    Done,
}

/// `GET /payme/{base64}`: the page behind a checkout link (Payme documents, checkout by GET); `GET /payme/`: the front
/// page.
#[poem::handler]
pub(crate) async fn get_page(Data(payme): Data<&Arc<PaymeSandbox>>, Path(link): Path<String>) -> Response {
    if link.is_empty() {
        return front(payme);
    }
    match order(payme, &link) {
        Ok(order) => PageState::new(&order).show(CheckoutStep::Card, "", StatusCode::OK),
        Err((status, message)) => note(status, &message),
    }
}

/// `POST /payme/{base64}`: the payer entered a card, or the code.
#[poem::handler]
pub(crate) async fn post_page(Data(payme): Data<&Arc<PaymeSandbox>>, Path(link): Path<String>, form: Body) -> Response {
    let order = match order(payme, &link) {
        Ok(order) => order,
        Err((status, message)) => return note(status, &message),
    };
    let Ok(bytes) = form.into_bytes_limit(BODY_BYTES).await else {
        return note(StatusCode::BAD_REQUEST, "The form could not be read.");
    };
    let fields: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
    let typed = |name: &str| fields.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.trim());
    let words = order.language.words();
    let mut page = PageState::new(&order);
    (page.card_number, page.expiry) = (typed("card_number").to_owned(), typed("expiry").to_owned());
    let Some(card) = PayerCard::read(&page.card_number, &page.expiry) else {
        return page.show(CheckoutStep::Card, words.wrong_card, StatusCode::UNPROCESSABLE_ENTITY);
    };
    match typed("code") {
        "" => return page.show(CheckoutStep::Code, "", StatusCode::OK),
        CODE => (),
        _ => return page.show(CheckoutStep::Code, words.wrong_code, StatusCode::UNPROCESSABLE_ENTITY),
    }
    // It runs to its end even if the browser leaves.
    let (runner, paid) = (Arc::clone(payme), order.clone());
    match payme.common.run(async move { runner.pay(paid, &card).await }).await {
        Some(Ok(outcome)) => page.end(&outcome),
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed a payer");
            broken()
        }
        None => broken(),
    }
}

/// Reads the link as the payer's browser has it now.
fn order(payme: &PaymeSandbox, link: &str) -> Result<CheckoutOrder, (StatusCode, String)> {
    let order = CheckoutOrder::read(link).map_err(|problem| (StatusCode::BAD_REQUEST, problem.to_string()))?;
    if order.cashbox != payme.common.config.payme_id {
        let message = format!("-31601: the cashbox {} is not found or blocked.", order.cashbox);
        return Err((StatusCode::NOT_FOUND, message));
    }
    Ok(order)
}

/// The page of one visit.
struct PageState<'a> {
    order: &'a CheckoutOrder,
    card_number: String,
    expiry: String,
    detail: String,
    is_good: bool,
    return_url: Option<String>,
    return_seconds: Option<u64>,
}

impl<'a> PageState<'a> {
    fn new(order: &'a CheckoutOrder) -> Self {
        PageState {
            order,
            card_number: String::new(),
            expiry: String::new(),
            detail: String::new(),
            is_good: false,
            return_url: None,
            return_seconds: None,
        }
    }

    /// Shows the outcome; after a payment the browser returns to the shop by itself.
    fn end(mut self, outcome: &ReceiptOutcome) -> Response {
        let words = self.order.language.words();
        let mut told = |error: &super::wire::RpcError| {
            let text = &error.message[self.order.language.code()];
            let text = text.as_str().or(error.message.as_str()).unwrap_or_default();
            self.detail = format!("{text} ({})", error.code);
        };
        let message = match &outcome.end {
            PayerEnd::Paid => words.paid,
            PayerEnd::Closing => words.waits,
            PayerEnd::Refused(error) => {
                told(error);
                words.refused
            }
            PayerEnd::Returned(error) | PayerEnd::Kept(error) => {
                told(error);
                words.returned
            }
            PayerEnd::Unavailable(why) => {
                self.detail = format!("-31622: {why}");
                words.unavailable
            }
            PayerEnd::Declined => words.declined,
            PayerEnd::Left => words.left,
            PayerEnd::Canceled | PayerEnd::Canceling | PayerEnd::Nothing => words.returned,
        };
        let id = outcome.receipt.as_ref().map_or("", |receipt| receipt.id.as_str());
        self.return_url = self.order.return_address(id);
        self.is_good = matches!(outcome.end, PayerEnd::Paid);
        let seconds = self.order.return_after_ms.div_ceil(1000).min(LONGEST_RETURN_SECONDS);
        // Less than a second is at once.
        let seconds = if self.order.return_after_ms < 1_000 { 0 } else { seconds };
        self.return_seconds = (self.is_good && self.return_url.is_some()).then_some(seconds);
        // Each try is a receipt of its own, so another card may be tried at once.
        let may_go_on = matches!(outcome.end, PayerEnd::Declined);
        let step = if may_go_on { CheckoutStep::Card } else { CheckoutStep::Done };
        self.show(step, message, StatusCode::OK)
    }

    fn show(&self, step: CheckoutStep, message: &str, status: StatusCode) -> Response {
        let order = self.order;
        let other = |language| (language, CheckoutOrder { language, ..order.clone() }.write());
        let languages = [PayerLanguage::Russian, PayerLanguage::Uzbek, PayerLanguage::English].map(other);
        let account = order.account.iter().map(|(field, value)| format!("{field}: {value}"));
        render(
            status,
            &CheckoutPage {
                words: order.language.words(),
                language: order.language,
                languages: languages.to_vec(),
                cashbox: &order.cashbox,
                account: account.collect::<Vec<_>>().join(", "),
                amount: soum(order.amount_tiyin),
                message,
                detail: self.detail.clone(),
                is_good: self.is_good,
                step,
                card_number: &self.card_number,
                expiry: &self.expiry,
                test_cards: &TEST_CARDS,
                return_url: self.return_url.clone().unwrap_or_default(),
                return_seconds: self.return_seconds,
            },
        )
    }
}
