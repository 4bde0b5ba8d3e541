//! Decides what the inquiries about an order lead to. Pure functions of the order and the gateway's answers.

use domain::id::TransactionId;
use domain::order::{GatewayIdentity, Order, OrderStatus};
use domain::review::{FindingKind, NewFinding};
use domain::terms::{OutcomeSource, TOLD_DEBIT_SHOWS_WITHIN, Terms};
use domain::time::millis;
use domain::transaction::{StoredState, TransactionReport, TransactionState};
use store::settlement::{MAX_LINKS, Settlement};
use store::sweeping::LATE_INQUIRIES_MS;
use store::transactions::SeenTransaction;

use crate::failure::UNANSWERED_MS;
use crate::inquiry_schedule::{UNPAID_TOLD_MS, deadline_ms, next_late_inquiry_ms};

/// One inquiry: a transaction of the order, as stored before and as the gateway shows it now.
#[derive(Clone, Debug)]
pub(super) struct Inquiry {
    /// The account that has the transaction. It is not the order's if the customer has chosen another one since.
    pub(super) gateway: GatewayIdentity,
    pub(super) transaction_id: TransactionId,
    pub(super) was: StoredState,
    /// Whether a person knows of its debit, or of its unreadable answer, and has accepted it.
    pub(super) is_accepted: bool,
    /// Whether the gateway itself told that it failed, or that its money goes back.
    pub(super) end_is_told: bool,
    /// When the gateway told a debit on it, epoch milliseconds; `None` if it never did.
    pub(super) debit_told_ms: Option<i64>,
    /// Whether the permanent id of its payment is kept already; a refund needs it.
    pub(super) has_permanent_id: bool,
    pub(super) state: TransactionState,
    /// The gateway's answer; `None` where it was not asked, or knows no such transaction.
    pub(super) report: Option<TransactionReport>,
}

impl Inquiry {
    /// Whether it is about this transaction of the order's own account.
    pub(super) fn is_about(&self, order: &Order, transaction_id: Option<TransactionId>) -> bool {
        Some(self.transaction_id) == transaction_id && order.is_of(&self.gateway)
    }

    /// Whether it is a debit that a person knows of and has accepted.
    fn is_known_debit(&self) -> bool {
        self.is_accepted && self.was == StoredState::Debited && matches!(self.state, TransactionState::Debited { .. })
    }

    /// Whether its gateway has told that its money goes back: *paid* is refused then.
    fn is_told_reversed(&self) -> bool {
        self.was == StoredState::Reversed && self.end_is_told
    }

    /// The money that moved on it, in tiyin; `None` where none did.
    fn amount_of_money(&self) -> Option<i64> {
        match self.state {
            TransactionState::Debited { .. } | TransactionState::Reversed { .. } => {
                self.report.as_ref().map(|report| report.amount)
            }
            TransactionState::Open | TransactionState::Closed | TransactionState::Unclear { .. } => None,
        }
    }
}

/// Whether an order has ended so long ago that no late inquiry comes any more.
pub(super) fn late_inquiries_are_over(order: &Order, now_ms: i64) -> bool {
    order.final_at_ms.is_some_and(|final_at_ms| next_late_inquiry_ms(final_at_ms, now_ms).is_none())
}

/// Whether a person must hear that the gateway still gives no clear answer: no order waits for ever.
pub(super) fn answer_is_overdue(order: &Order, asked_at_ms: i64) -> bool {
    let ended_ms = order.final_at_ms.map(|final_at_ms| final_at_ms + LATE_INQUIRIES_MS);
    ended_ms.or(deadline_ms(order)).is_some_and(|over_ms| over_ms + UNANSWERED_MS <= asked_at_ms)
}

/// Decides what the inquiries lead to. Pure: every money guard of `docs/internals/rules.md` that is not SQL stands here.
pub(super) fn decide(
    order: &Order,
    terms: &Terms,
    inquiries: &[Inquiry],
    asked_at_ms: i64,
    store_id: &str,
) -> Settlement {
    let debited: Vec<&Inquiry> =
        inquiries.iter().filter(|inquiry| matches!(inquiry.state, TransactionState::Debited { .. })).collect();
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirming => {
            if let Some((at, mut finding)) =
                debited.iter().find_map(|inquiry| Some((*inquiry, misfit(order, inquiry, store_id)?)))
            {
                let others: Vec<&Inquiry> =
                    debited.iter().copied().filter(|inquiry| !std::ptr::eq(*inquiry, at)).collect();
                if !others.is_empty() {
                    finding.text.push_str(&format!("; debited besides: {}", names(&others)));
                }
                return Settlement::Review(finding);
            }
            match debited.first() {
                Some(paid) => Settlement::Paid { transaction_id: paid.transaction_id },
                None => match given_back(order, terms, inquiries) {
                    Some(transaction_id) => Settlement::Refunded { transaction_id },
                    None => decide_unpaid(order, terms, inquiries, asked_at_ms),
                },
            }
        }
        OrderStatus::Paid | OrderStatus::Refunded => {
            let second: Vec<&Inquiry> = debited
                .iter()
                .copied()
                .filter(|inquiry| !inquiry.is_about(order, order.transaction_id) && !inquiry.is_known_debit())
                .collect();
            let reversed = inquiries.iter().find(|inquiry| {
                inquiry.is_about(order, order.transaction_id)
                    && matches!(inquiry.state, TransactionState::Reversed { .. })
            });
            match (second.first(), reversed) {
                (Some(first), None) => review(
                    FindingKind::SecondPayment,
                    first,
                    format!("the order was paid a second time, by {}", names(&second)),
                ),
                (Some(first), Some(reversed)) => review(
                    FindingKind::SecondPaymentAndReversal,
                    first,
                    format!(
                        "the order was paid a second time, by {}, and transaction {} was reversed",
                        names(&second),
                        reversed.transaction_id
                    ),
                ),
                (None, Some(reversed)) if order.status == OrderStatus::Paid => {
                    Settlement::Refunded { transaction_id: reversed.transaction_id }
                }
                (None, Some(_)) => Settlement::Unchanged,
                (None, None) if order.status == OrderStatus::Refunded => {
                    match debited.iter().find(|inquiry| !inquiry.is_known_debit()) {
                        Some(kept) => review(
                            FindingKind::RefundedButDebited,
                            kept,
                            format!(
                                "the order is refunded, and the gateway still shows transaction {} as debited",
                                kept.transaction_id
                            ),
                        ),
                        None => unclear_after_the_end(order, inquiries),
                    }
                }
                (None, None) => unclear_after_the_end(order, inquiries),
            }
        }
        OrderStatus::Expired | OrderStatus::Canceled | OrderStatus::Failed => {
            let late: Vec<&Inquiry> = debited.iter().copied().filter(|inquiry| !inquiry.is_known_debit()).collect();
            match late.first() {
                Some(first) => review(
                    FindingKind::LatePayment,
                    first,
                    format!("{} debited although the order is {}", with_was(&late), order.status),
                ),
                None => unclear_after_the_end(order, inquiries),
            }
        }
        OrderStatus::Review if order.claimed_payment().is_some() => decide_claimed(order, inquiries),
        // A person has the order, and must hear of money that moved since.
        OrderStatus::Review => {
            let new: Vec<&Inquiry> =
                debited.iter().copied().filter(|inquiry| inquiry.was != StoredState::Debited).collect();
            match new.is_empty() {
                true => Settlement::Unchanged,
                false => Settlement::Noted { what: format!("the gateway shows {} as debited", names(&new)) },
            }
        }
    }
}

/// Decides about an order in review of which a person said which transaction paid it. It is paid if the gateway shows
/// that debit, of any amount.
fn decide_claimed(order: &Order, inquiries: &[Inquiry]) -> Settlement {
    let Some(claimed) = order.claimed_payment() else { return Settlement::Unchanged };
    let own = inquiries.iter().find(|inquiry| inquiry.is_about(order, Some(claimed)));
    let elsewhere = || inquiries.iter().find(|inquiry| inquiry.transaction_id == claimed);
    let shows = match own.or_else(elsewhere).map(|inquiry| &inquiry.state) {
        Some(TransactionState::Debited { .. }) if own.is_some_and(Inquiry::is_told_reversed) => {
            "its gateway told that its money goes back".to_owned()
        }
        Some(TransactionState::Debited { .. }) if own.is_some() => {
            return Settlement::Paid { transaction_id: claimed };
        }
        // A refund would be asked for at the order's account.
        Some(TransactionState::Debited { .. }) => "it debited through another account than the order's".to_owned(),
        Some(TransactionState::Open) => "no money has moved on it".to_owned(),
        Some(TransactionState::Closed) => "it is closed and unpaid".to_owned(),
        Some(TransactionState::Reversed { .. }) => "its money went back".to_owned(),
        Some(TransactionState::Unclear { code }) => format!("the gateway says of it only: {code}"),
        None => "the gateway said nothing of it".to_owned(),
    };
    let what = format!("the order is not paid by transaction {claimed}: {shows}");
    Settlement::NotResolved { transaction_id: claimed, what }
}

/// The gateway's answer about an order that has ended may be unreadable. Then money may have moved, and a person must
/// check. While a refund is under way its own job asks about the payment, and tells a person if need be: how a payment
/// looks that is being reversed is not documented everywhere (Click).
fn unclear_after_the_end(order: &Order, inquiries: &[Inquiry]) -> Settlement {
    let is_being_refunded = |inquiry: &Inquiry| {
        inquiry.is_about(order, order.transaction_id) && order.refund_reserved > order.refunded_amount
    };
    let unclear = inquiries.iter().find_map(|inquiry| match (&inquiry.state, &inquiry.report) {
        (TransactionState::Unclear { .. }, _) if is_being_refunded(inquiry) => None,
        (TransactionState::Unclear { code }, Some(_)) if !inquiry.is_accepted => Some((inquiry.transaction_id, code)),
        _ => None,
    });
    match unclear {
        Some((id, code)) => Settlement::Review(NewFinding::of_transaction(
            FindingKind::UnclearAnswer,
            id,
            format!("the order is {}, and the gateway says of transaction {id} only: {code}", order.status),
        )),
        None => Settlement::Unchanged,
    }
}

/// `transaction 7`, or `transactions 7, 9`: a person must hear of each of them.
fn names(inquiries: &[&Inquiry]) -> String {
    let mut ids: Vec<i64> = inquiries.iter().map(|inquiry| inquiry.transaction_id.0).collect();
    ids.sort_unstable();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("transaction{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
}

fn with_was(inquiries: &[&Inquiry]) -> String {
    format!("{} {}", names(inquiries), if inquiries.len() == 1 { "was" } else { "were" })
}

/// A finding about one of the order's transactions, for a person.
fn review(kind: FindingKind, inquiry: &Inquiry, text: String) -> Settlement {
    Settlement::Review(NewFinding::of_transaction(kind, inquiry.transaction_id, text))
}

/// Why a debit does not fit the order, if it does not.
fn misfit(order: &Order, inquiry: &Inquiry, store_id: &str) -> Option<NewFinding> {
    let report = inquiry.report.as_ref()?;
    let id = inquiry.transaction_id;
    let text = if !order.is_of(&inquiry.gateway) {
        format!("transaction {id} of {} was debited after the customer had chosen another way to pay", inquiry.gateway)
    } else if report.amount != order.amount.get() {
        format!("transaction {id} was debited with {} tiyin instead of {}", report.amount, order.amount.get())
    } else if report.account != order.id.to_string() {
        format!("transaction {id} was debited for another account")
    } else if report.store_id.as_deref().is_some_and(|store| store != store_id) {
        format!("transaction {id} was debited for another store")
    } else {
        return None;
    };
    Some(NewFinding::of_transaction(FindingKind::DebitDiffers, id, text))
}

/// The transaction that holds the order, if its money came and went back before any inquiry: the customer has paid, and must
/// not be asked to pay again. Only the word of a gateway that tells is so; what another shows as reversed may be a payment
/// that it never finished.
fn given_back(order: &Order, terms: &Terms, inquiries: &[Inquiry]) -> Option<TransactionId> {
    let is_told = match terms.outcome {
        OutcomeSource::Told => true,
        OutcomeSource::Asked => false,
    };
    inquiries
        .iter()
        .filter(|_| is_told && order.status == OrderStatus::Confirming)
        .find(|inquiry| {
            inquiry.is_about(order, order.allowed_transaction_id)
                && matches!(inquiry.state, TransactionState::Reversed { .. })
        })
        .map(|inquiry| inquiry.transaction_id)
}

/// Decides about an order without money so far. The result depends on what may still come.
fn decide_unpaid(order: &Order, terms: &Terms, inquiries: &[Inquiry], asked_at_ms: i64) -> Settlement {
    let is_over = deadline_ms(order).is_some_and(|deadline| deadline <= asked_at_ms);
    let unclear = inquiries.iter().find_map(|inquiry| match &inquiry.state {
        TransactionState::Unclear { code } => Some((inquiry.transaction_id, code)),
        _ => None,
    });
    if is_over {
        return match unclear {
            Some((id, code)) => Settlement::Review(NewFinding::of_transaction(
                FindingKind::UnclearAnswer,
                id,
                format!("its time is over, and the gateway says of transaction {id} only: {code}"),
            )),
            None => Settlement::Expired,
        };
    }
    if let Some((id, code)) = told_in_vain(order, inquiries, asked_at_ms) {
        return Settlement::Review(NewFinding::of_transaction(
            FindingKind::UnclearAnswer,
            id,
            format!("a debit of transaction {id} was told, and the gateway says of it only: {code}"),
        ));
    }
    let closed = |id: Option<TransactionId>| {
        inquiries.iter().find(|inquiry| inquiry.is_about(order, id) && is_closed_unpaid(&inquiry.state))
    };
    let is_closed = |id: Option<TransactionId>| closed(id).is_some();
    match (order.status, order.allowed_transaction_id) {
        (OrderStatus::Confirming, Some(allowed))
            if closed(Some(allowed)).is_some_and(|closed| closed_is_believed(order, terms, closed, asked_at_ms)) =>
        {
            let link_is_closed = order.transaction_id == Some(allowed);
            let believed_after = terms.closed_believed_after;
            Settlement::Reopened { transaction_id: allowed, link_is_closed, believed_after }
        }
        (OrderStatus::Pending, None) if is_closed(order.transaction_id) && order.links_made < MAX_LINKS => {
            match order.transaction_id {
                Some(transaction_id) => Settlement::LinkClosed { transaction_id },
                None => Settlement::Unchanged,
            }
        }
        _ if unclear.is_some() => Settlement::Unchanged,
        _ => unpaid_so_far(order, is_closed(order.transaction_id), asked_at_ms),
    }
}

/// A transaction whose debit was told and should show by now, and the gateway's unclear answer about it. A person hears of it
/// before the order's time is over, which may be a week: a customer may have paid. While another transaction holds the order
/// its payer may be paying, so it waits for the end of that one.
fn told_in_vain<'a>(order: &Order, inquiries: &'a [Inquiry], asked_at_ms: i64) -> Option<(TransactionId, &'a str)> {
    let holds = |inquiry: &Inquiry| {
        order.allowed_transaction_id.is_none() || inquiry.is_about(order, order.allowed_transaction_id)
    };
    let is_overdue = |told_ms: i64| told_ms.saturating_add(millis(TOLD_DEBIT_SHOWS_WITHIN)) <= asked_at_ms;
    inquiries.iter().find_map(|inquiry| match &inquiry.state {
        TransactionState::Unclear { code } if holds(inquiry) && inquiry.debit_told_ms.is_some_and(is_overdue) => {
            Some((inquiry.transaction_id, code.as_str()))
        }
        _ => None,
    })
}

/// Decides whether the customer is told that no money was taken so far. That happens once after each sign of a payment,
/// when a debit would have shown, and at once when the payment page is closed.
fn unpaid_so_far(order: &Order, page_is_closed: bool, asked_at_ms: i64) -> Settlement {
    let is_told = order.seen_unpaid().is_some() && (order.shows_page_closed() || !page_is_closed);
    let would_have_shown = order.last_sign_ms().is_some_and(|sign_ms| sign_ms + UNPAID_TOLD_MS <= asked_at_ms);
    if !is_told && (page_is_closed || would_have_shown) {
        Settlement::Unpaid { page_is_closed }
    } else {
        Settlement::Unchanged
    }
}

fn is_closed_unpaid(state: &TransactionState) -> bool {
    matches!(state, TransactionState::Closed | TransactionState::Reversed { .. })
}

/// Whether the answer that the allowed transaction is closed may be believed: a payment that was allowed just now may still
/// debit, whatever the gateway shows, unless it told the end itself.
pub(super) fn closed_is_believed(order: &Order, terms: &Terms, closed: &Inquiry, asked_at_ms: i64) -> bool {
    let believed_ms = asked_at_ms - millis(terms.closed_believed_after);
    closed.end_is_told || order.last_allowed_at_ms.is_none_or(|allowed_at_ms| allowed_at_ms <= believed_ms)
}

/// The news to be stored. That the allowed draft is closed is stored only once it may be believed.
pub(super) fn worth_keeping(
    order: &Order,
    terms: &Terms,
    inquiries: &[Inquiry],
    asked_at_ms: i64,
) -> Vec<(GatewayIdentity, SeenTransaction)> {
    inquiries
        .iter()
        .filter_map(|inquiry| {
            let (state, success_transaction_id) = match &inquiry.state {
                TransactionState::Closed => {
                    (StoredState::Closed, inquiry.report.as_ref().and_then(|report| report.unpaid_payment_id))
                }
                TransactionState::Debited { success_transaction_id } => {
                    (StoredState::Debited, Some(*success_transaction_id))
                }
                TransactionState::Reversed { success_transaction_id } => {
                    (StoredState::Reversed, *success_transaction_id)
                }
                TransactionState::Open | TransactionState::Unclear { .. } => return None,
            };
            let too_early = state == StoredState::Closed
                && inquiry.is_about(order, order.allowed_transaction_id)
                && !closed_is_believed(order, terms, inquiry, asked_at_ms);
            let is_new = state != inquiry.was || (success_transaction_id.is_some() && !inquiry.has_permanent_id);
            let seen = SeenTransaction {
                transaction_id: inquiry.transaction_id,
                state,
                success_transaction_id,
                amount: inquiry.amount_of_money(),
            };
            (is_new && !too_early).then(|| (inquiry.gateway.clone(), seen))
        })
        .collect()
}
