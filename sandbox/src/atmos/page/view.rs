//! The pages for the payer.

use askama::Template;
use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use tracing::error;

use super::step::{PageProblem, PageStep};
use super::visit::{RedirectLink, Visit};
use crate::answers::broken;
use crate::atmos::cards::{Behaviour, TEST_CARDS};
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::{PaymentState, Transaction};

/// The content security policy: the browser loads nothing but the style in the page. Forms are not limited, because
/// browsers apply such a limit to the redirect to the shop too.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// The page in each of its steps.
#[derive(Template)]
#[template(path = "invoice.html")]
struct InvoicePage<'a> {
    step: PageStep,
    message: &'a str,
    message_is_good: bool,
    store_id: &'a str,
    transaction_id: i64,
    account: &'a str,
    amount: String,
    /// The address to which the payer goes afterwards; empty if the shop named none.
    redirect_link: &'a str,
    /// The masked number of the entered card; empty before.
    card: &'a str,
    /// The address of this page in its first step.
    first_step: String,
    test_cards: &'a [(&'a str, Behaviour)],
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
            None => Ok(self.show(state, transaction, PageStep::Done, ending(transaction), StatusCode::OK)),
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
        render(
            status,
            &InvoicePage {
                step,
                message,
                message_is_good: transaction.state == PaymentState::Debited,
                store_id: &state.common.config.store_id,
                transaction_id: transaction.id,
                account: &transaction.account,
                amount: soum(transaction.amount_tiyin),
                redirect_link: self.redirect_link.as_ref().map_or("", RedirectLink::text),
                card: transaction.card.as_ref().map_or("", |card| card.masked.as_str()),
                first_step: self.link(state, PageStep::Card),
                test_cards: &TEST_CARDS,
            },
        )
    }
}

/// The message for a payer about a transaction that has ended.
pub(super) fn ending(transaction: &Transaction) -> &'static str {
    match transaction.state {
        PaymentState::Draft | PaymentState::Prepaid => "",
        PaymentState::Debited => "Paid. Thank you.",
        PaymentState::Closed => "This payment was canceled or is over. No money was taken.",
        PaymentState::Reversed => "This payment was returned.",
    }
}

/// An amount in English notation: `50,000.00`.
fn soum(amount_tiyin: i64) -> String {
    let whole = (amount_tiyin / 100).to_string();
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
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
        assert_eq!(soum(5), "0.05");
        assert_eq!(soum(5_000_000), "50,000.00");
        assert_eq!(soum(12_345_678_901), "123,456,789.01");
    }
}
