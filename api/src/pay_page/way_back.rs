//! Where the link to the shop leads.

use domain::order::Order;

use super::labels::Labels;
use super::words::Situation;

/// The link to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackLink<'a> {
    pub(super) address: &'a str,
    pub(super) label: &'static str,
}

/// The link to the shop of an order in this situation; `None` where the shop named no address for it.
pub(super) fn back_link(order: &Order, situation: Situation, labels: Labels) -> Option<BackLink<'_>> {
    let (without_paying, label) = match outcome(situation) {
        Outcome::MayBePaid => (None, labels.back),
        Outcome::CanBePaid => (order.cancel_url.as_deref(), labels.back_without_paying),
        Outcome::IsOver => (order.cancel_url.as_deref(), labels.back),
    };
    match without_paying {
        Some(address) => Some(BackLink { address, label }),
        None => order.return_url.as_deref().map(|address| BackLink { address, label: labels.back }),
    }
}

/// What a customer who leaves the page leaves behind.
enum Outcome {
    /// A payment: it was made, or may be under way.
    MayBePaid,
    /// No payment, and the order can still be paid.
    CanBePaid,
    /// No payment, and there will be none.
    IsOver,
}

fn outcome(situation: Situation) -> Outcome {
    match situation {
        Situation::Checking
        | Situation::Confirming
        | Situation::Late
        | Situation::Paid
        | Situation::Refunded
        | Situation::Review
        | Situation::Unknown
        | Situation::Unavailable => Outcome::MayBePaid,
        Situation::Choosing
        | Situation::NotOffered
        | Situation::NothingAvailable
        | Situation::ChoiceIsOver
        | Situation::MakingLink
        | Situation::LinkDelayed
        | Situation::Open
        | Situation::Unpaid
        | Situation::Declined
        | Situation::Closed
        | Situation::MakingAnotherLink => Outcome::CanBePaid,
        Situation::NoMoreLinks | Situation::Expired | Situation::Canceled | Situation::Failed => Outcome::IsOver,
    }
}
