//! The pages for the payer.

use askama::Template;
use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use tracing::error;

use super::step::{PageProblem, PageStep};
use super::visit::{RedirectLink, Visit};
use super::words::InvoiceWords;
use crate::answers::broken;
use crate::atmos::cards::TEST_CARDS;
use crate::atmos::codes::ResultLanguage;
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::{PaymentState, Transaction};

/// The content security policy: the browser loads nothing but the style in the page. Forms are not limited, because
/// browsers apply such a limit to the redirect to the shop too.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// The page in each of its steps.
#[derive(Template)]
#[template(path = "invoice.html")]
struct InvoicePage<'a> {
    words: &'a InvoiceWords,
    language: ResultLanguage,
    /// Each language with the address of this page in it.
    languages: Vec<(ResultLanguage, String)>,
    step: PageStep,
    message: &'a str,
    message_is_good: bool,
    store_id: &'a str,
    transaction_id: i64,
    account: &'a str,
    amount: String,
    /// The address to which the payer goes afterwards; empty if the shop named none.
    redirect_link: &'a str,
    /// The language that a form sends on; empty if the address names none.
    lang: &'a str,
    /// The masked number of the entered card; empty before.
    card: &'a str,
    /// The address of this page in its first step.
    first_step: String,
    /// The numbers, each with what it does.
    test_cards: Vec<(&'a str, &'a str)>,
}

/// A page with one message.
#[derive(Template)]
#[template(path = "note.html")]
struct NotePage<'a> {
    message: &'a str,
}

impl Visit {
    /// Sends the payer back to the shop, or shows the result if the shop named no address.
    pub(super) fn leave(&self, state: &AtmosSandbox, transaction: &Transaction) -> Result<Response, PageProblem> {
        match &self.redirect_link {
            Some(link) => see_other(link.text()),
            None => {
                let message = ending(transaction, self.language(transaction).words());
                Ok(self.show(state, transaction, PageStep::Done, message, StatusCode::OK))
            }
        }
    }

    /// Shows the invoice in one of its steps; an empty message is not shown.
    pub(super) fn show(
        &self,
        state: &AtmosSandbox,
        transaction: &Transaction,
        step: PageStep,
        message: &str,
        status: StatusCode,
    ) -> Response {
        let language = self.language(transaction);
        render(
            status,
            &InvoicePage {
                words: language.words(),
                language,
                languages: ResultLanguage::ALL.map(|other| (other, self.link_in(state, step, other))).to_vec(),
                step,
                message,
                message_is_good: transaction.state == PaymentState::Debited,
                store_id: &state.common.config.store_id,
                transaction_id: transaction.id,
                account: &transaction.account,
                amount: soum(transaction.amount_tiyin, language),
                redirect_link: self.redirect_link.as_ref().map_or("", RedirectLink::text),
                lang: self.lang(),
                card: transaction.card.as_ref().map_or("", |card| card.masked.as_str()),
                first_step: self.link(state, PageStep::Card),
                test_cards: TEST_CARDS
                    .iter()
                    .map(|(number, card)| (*number, language.words().behaviour(*card)))
                    .collect(),
            },
        )
    }
}

/// The message for a payer about a transaction that has ended.
pub(super) fn ending(transaction: &Transaction, words: &InvoiceWords) -> &'static str {
    match transaction.state {
        PaymentState::Draft | PaymentState::Prepaid => "",
        PaymentState::Debited => words.paid,
        PaymentState::Closed => words.closed,
        PaymentState::Reversed => words.returned,
    }
}

/// An amount in English notation, `50,000.00`; in the other languages with no-break spaces between the thousands.
fn soum(amount_tiyin: i64, language: ResultLanguage) -> String {
    let group = match language {
        ResultLanguage::English => ',',
        ResultLanguage::Russian | ResultLanguage::Uzbek => '\u{a0}',
    };
    let whole = (amount_tiyin / 100).to_string();
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(group);
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02}", amount_tiyin % 100)
}

impl From<PageProblem> for poem::Error {
    fn from(problem: PageProblem) -> Self {
        let (status, message) = match problem {
            PageProblem::Incomplete => {
                (StatusCode::BAD_REQUEST, "This link is incomplete: storeId or transactionId is missing.")
            }
            PageProblem::NoWebPage => {
                (StatusCode::BAD_REQUEST, "This link is wrong: redirectLink must begin with http:// or https://.")
            }
            PageProblem::NoInvoice => {
                (StatusCode::NOT_FOUND, "There is no such invoice. Check the link, or ask the shop for a new one.")
            }
            PageProblem::Unreadable => (StatusCode::BAD_REQUEST, "The form could not be read."),
            PageProblem::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "The sandbox failed; its log says why."),
        };
        poem::Error::from_response(note(status, message))
    }
}

/// A page with only this message.
pub(super) fn note(status: StatusCode, message: &str) -> Response {
    render(status, &NotePage { message })
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

/// Redirects the browser with a GET.
pub(super) fn see_other(link: &str) -> Result<Response, PageProblem> {
    let location = HeaderValue::from_str(link).map_err(|_| PageProblem::Broken)?;
    let mut response = Response::default();
    response.set_status(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_shown_as_people_write_it() {
        let soum_in_english = |tiyin| soum(tiyin, ResultLanguage::English);
        assert_eq!(soum_in_english(5), "0.05");
        assert_eq!(soum_in_english(5_000_000), "50,000.00");
        assert_eq!(soum_in_english(12_345_678_901), "123,456,789.01");
        assert_eq!(soum(12_345_678_901, ResultLanguage::Uzbek), "123\u{a0}456\u{a0}789.01");
    }
}
