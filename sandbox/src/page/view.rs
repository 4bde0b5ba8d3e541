//! What the payer sees.

use askama::Template;
use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use tracing::error;

use super::step::{PageProblem, Step};
use super::visit::{RedirectLink, Visit};
use crate::answers::broken;
use crate::cards::{Behaviour, TEST_CARDS};
use crate::gateway::Gateway;
use crate::transaction::{State, Transaction};

/// What the browser may load: nothing, but for the style in the page. Forms are left free, for browsers hold the
/// redirect to the shop against them.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

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

/// A page with one message.
#[derive(Template)]
#[template(path = "note.html")]
struct NotePage<'a> {
    message: &'a str,
}

impl Visit {
    /// Sends the payer back to the shop, or shows how it ended when the shop named no place.
    pub(super) fn leave(&self, gateway: &Gateway, transaction: &Transaction) -> Result<Response, PageProblem> {
        match &self.redirect_link {
            Some(link) => see_other(link.text()),
            None => Ok(self.show(gateway, transaction, Step::Done, ending(transaction), StatusCode::OK)),
        }
    }

    /// Shows the invoice in one of its steps; an empty message is not shown.
    pub(super) fn show(
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
                card: transaction.card.as_ref().map_or("", |card| card.masked.as_str()),
                first_step: self.link(gateway, Step::Card),
                test_cards: &TEST_CARDS,
            },
        )
    }
}

/// What a payer is told about a transaction that is over.
pub(super) fn ending(transaction: &Transaction) -> &'static str {
    match transaction.state {
        State::Draft | State::Prepaid => "",
        State::Debited => "Paid. Thank you.",
        State::Closed => "This payment was canceled or is over. No money was taken.",
        State::Reversed => "This payment was given back.",
    }
}

/// An amount as the page's language, English, writes it: `50,000.00`.
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
        Self::from_response(note(status, message))
    }
}

/// A page that says no more than this.
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

/// Sends the browser on with a GET.
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
