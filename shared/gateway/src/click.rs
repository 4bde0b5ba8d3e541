//! Click: its payment link, the calls of its SHOP-API to us, and ours of its Merchant API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::id::{OrderId, TransactionId};
use domain::money::Tiyin;
use domain::order::GatewayIdentity;
use domain::terms::{LinkOrigin, OutcomeSource, RefundWay, TOLD_DEBIT_SHOWS_WITHIN, Terms};
use domain::time::millis;
use domain::transaction::{StoredState, StoredTransaction, TransactionReport, TransactionState};

pub use self::answer::{ClickCode, click_answer};
pub use self::call::{CalledIds, ClickCall, ClickFault, ClickStep, ToldOutcome};
use self::merchant_api::MerchantApi;
pub use self::settings::{ClickSettings, SANDBOX_SECRET};
use self::wire::PAID;
use crate::coordination::{Coordination, Urgency};
use crate::http::ClientFault;
use crate::inquiry::InquiryFacts;
use crate::json_answer::contradiction;
use crate::{AnswerFault, GatewayError};

mod amount;
mod answer;
mod authorization;
mod call;
mod days;
mod link;
mod matching;
mod merchant_api;
mod settings;
mod sign;
mod wire;

/// Long enough for a slow gateway, short enough that two calls fit into a job's deadline.
const CLICK_CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long after a Prepare a debit is awaited. Click publishes no time.
const DEBIT_WITHIN: Duration = Duration::from_secs(3_600);

/// How long an answer below 0 is not believed: the payer may still try, and `status_by_mti` does not say which of several
/// attempts it is about.
const CLOSED_BELIEVED_AFTER: Duration = Duration::from_secs(600);

/// How long after a failure was told an answer that finds no payment is believed. Click writes its own rows before it tells,
/// and a copy of them may be a moment behind.
const FAILURE_BELIEVED_AFTER: Duration = Duration::from_secs(1);

/// One service at Click; cheap to clone.
#[derive(Clone)]
pub struct ClickGateway(Arc<ClickService>);

struct ClickService {
    settings: ClickSettings,
    identity: GatewayIdentity,
    api: MerchantApi,
}

impl ClickGateway {
    /// Prepares calls; connects to nothing yet. A rustls crypto provider must have been installed.
    ///
    /// # Errors
    /// [`ClientFault`]: the HTTP client cannot be made.
    pub fn new(settings: ClickSettings, coordination: Coordination) -> Result<Self, ClientFault> {
        ClickGateway::with_call_timeout(settings, CLICK_CALL_TIMEOUT, coordination)
    }

    /// As [`ClickGateway::new`], with another time that one call may take.
    ///
    /// # Errors
    /// As [`ClickGateway::new`].
    pub fn with_call_timeout(
        settings: ClickSettings,
        call_timeout: Duration,
        coordination: Coordination,
    ) -> Result<Self, ClientFault> {
        let api = MerchantApi::new(&settings, call_timeout, coordination)?;
        Ok(ClickGateway(Arc::new(ClickService { identity: settings.identity(), settings, api })))
    }

    /// How Click works: a link of ours, a call before the debit and one after it, and it can be asked.
    pub fn terms(&self) -> Terms {
        Terms {
            link: LinkOrigin::Local,
            outcome: OutcomeSource::Asked,
            debit_within: DEBIT_WITHIN,
            closed_believed_after: CLOSED_BELIEVED_AFTER,
            refunds: RefundWay::CallWithinMonth,
        }
    }

    /// Our account there.
    pub fn identity(&self) -> &GatewayIdentity {
        &self.0.identity
    }

    /// Its settings.
    pub fn settings(&self) -> &ClickSettings {
        &self.0.settings
    }

    /// The admission of its calls.
    pub fn coordination(&self) -> &Coordination {
        self.0.api.coordination()
    }

    /// The payment link of an order, made without any call; `return_url` is where the page sends the customer back.
    pub fn local_link(&self, order_id: OrderId, amount: Tiyin, return_url: &str) -> String {
        link::of_order(&self.0.settings, order_id, amount, return_url)
    }

    /// Reads a call of Click, and checks its signature with the keys of the account whose service it names, which is returned
    /// with it. It is a pure function and makes no call.
    ///
    /// # Errors
    /// What is wrong, in Click's order of checks, with the ids that the answer repeats.
    pub fn read_call<'a>(
        accounts: &[&'a ClickGateway],
        body: &[u8],
    ) -> Result<(&'a ClickGateway, ClickCall), (ClickFault, CalledIds)> {
        let settings: Vec<&ClickSettings> = accounts.iter().map(|account| account.settings()).collect();
        let (place, call) = call::read(&settings, body)?;
        match accounts.get(place) {
            Some(account) => Ok((account, call)),
            None => Err((ClickFault::ForeignService { is_signed: true }, call.ids)),
        }
    }

    /// Asks what became of an attempt. It moves no money.
    ///
    /// An attempt is found by its order (`status_by_mti`), a known payment by its number (`payment/status`). No answer names the
    /// amount: the one of the signed Prepare counts, which is the row's. Of several attempts `status_by_mti` shows one, and
    /// which is not documented: what is, or may be, another attempt's is not taken for this one's. An attempt whose known payment
    /// failed is asked about in both ways: another payment may have been made for it.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `Refused`.
    pub async fn inquire(
        &self,
        transaction: &StoredTransaction,
        facts: &InquiryFacts<'_>,
        urgency: Urgency,
    ) -> Result<TransactionReport, GatewayError> {
        let known = match transaction.success_transaction_id {
            Some(payment_id) => match self.0.api.status(payment_id, urgency).await {
                Ok(status) => Some((state(transaction, payment_id, status)?, Some(payment_id))),
                // Click has forgotten a payment that failed.
                Err(GatewayError::OutcomeUnknown { fault: AnswerFault::NotFound(_), .. }) if is_unpaid(transaction) => {
                    None
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let (state, payment_id) = match known {
            Some(seen) if moved_money(&seen.0) || !is_unpaid(transaction) => seen,
            known => {
                let by_order = self.inquire_by_order(transaction, facts, urgency).await?;
                match by_order {
                    // It says no more than the known payment.
                    (TransactionState::Closed, _) | (TransactionState::Open, None) => known.unwrap_or(by_order),
                    _ => by_order,
                }
            }
        };
        Ok(TransactionReport {
            transaction_id: transaction.transaction_id,
            account: transaction.order_id.to_string(),
            store_id: None,
            amount: transaction.amount,
            unpaid_payment_id: payment_id.filter(|_| !moved_money(&state)),
            state,
        })
    }

    /// Asks about each day on which the attempt can have been paid. A debit on any of them counts, then one that is open. The
    /// payment's number comes with its state.
    async fn inquire_by_order(
        &self,
        transaction: &StoredTransaction,
        facts: &InquiryFacts<'_>,
        urgency: Urgency,
    ) -> Result<(TransactionState, Option<TransactionId>), GatewayError> {
        let api = &self.0.api;
        let order_id = transaction.order_id.to_string();
        let (mut found, mut unanswered): (Option<(TransactionState, Option<TransactionId>)>, _) = (None, None);
        let mut is_of_another = false;
        // A debit that was told and is not found may have been made on any day since; so may one of an attempt that we closed.
        let may_be_late = transaction.debited_at_ms.is_some() || transaction.state == StoredState::Closed;
        let today_ms = may_be_late.then_some(facts.asked_at_ms);
        let until_ms = debit_until_ms(transaction, facts).max(transaction.debited_at_ms.unwrap_or(i64::MIN));
        for day in days::of_attempt(transaction.created_at_ms, until_ms, today_ms) {
            let seen = match api.status_by_mti(&order_id, &day, urgency).await {
                Ok(None) => continue,
                Ok(Some(payment)) => {
                    let status = match payment.status {
                        Some(status) => status,
                        None => api.status(payment.payment_id, urgency).await?,
                    };
                    if matching::may_be_of_another(transaction, facts.others, payment.payment_id, status) {
                        is_of_another = true;
                        continue;
                    }
                    match state(transaction, payment.payment_id, status) {
                        Ok(seen) => (seen, Some(payment.payment_id)),
                        Err(error) => {
                            unanswered = Some(error);
                            continue;
                        }
                    }
                }
                Err(error) => {
                    unanswered = Some(error);
                    continue;
                }
            };
            match (&seen.0, found.as_ref().map(|(state, _)| state)) {
                (TransactionState::Debited { .. }, _) => return Ok(seen),
                (_, None)
                | (TransactionState::Open | TransactionState::Unclear { .. }, Some(TransactionState::Closed)) => {
                    found = Some(seen);
                }
                _ => (),
            }
        }
        match (found, unanswered) {
            // The day without an answer may be the one of the debit.
            (_, Some(error)) => Err(error),
            (Some(seen), None) => Ok(seen),
            // Click told a debit that it does not show: the order may have been paid twice, and a person must look.
            (None, None) if is_of_another && transaction.debited_at_ms.is_some() => {
                Ok((TransactionState::Unclear { code: "a payment that may be another attempt's".to_owned() }, None))
            }
            (None, None) => Ok((not_found(transaction, facts)?, None)),
        }
    }

    /// Shows whether Click accepts us, by a question about a payment that cannot exist. Only "no such payment" in its own form
    /// shows it: a code may say that it does not.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `Refused`.
    pub async fn check_access(&self) -> Result<(), GatewayError> {
        match self.0.api.status(TransactionId(0), Urgency::Later).await {
            Ok(_)
            | Err(
                GatewayError::Refused { .. } | GatewayError::OutcomeUnknown { fault: AnswerFault::NotFound(_), .. },
            ) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// `DELETE payment/reversal`: gives back a whole payment, by its number. It is sent once and never repeated.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub async fn reverse(&self, payment_id: TransactionId) -> Result<(), GatewayError> {
        self.0.api.reverse(payment_id).await
    }
}

fn moved_money(state: &TransactionState) -> bool {
    match state {
        TransactionState::Debited { .. } | TransactionState::Reversed { .. } => true,
        TransactionState::Open | TransactionState::Closed | TransactionState::Unclear { .. } => false,
    }
}

fn is_unpaid(transaction: &StoredTransaction) -> bool {
    match transaction.state {
        StoredState::Open | StoredState::Closed => true,
        StoredState::Debited | StoredState::Reversed => false,
    }
}

/// The meaning of a `payment_status`. How a reversed payment looks is not documented: a debit of ours that is below 0 now is
/// reversed where a reversal of ours was accepted, and else a person must look. A payment that Click showed as paid and shows
/// as under way now is asked about again: that passes, and a person has nothing to do about it.
fn state(
    transaction: &StoredTransaction,
    payment_id: TransactionId,
    status: i64,
) -> Result<TransactionState, GatewayError> {
    Ok(match (status, transaction.state) {
        (PAID, _) => TransactionState::Debited { success_transaction_id: payment_id },
        (0 | 1, StoredState::Open | StoredState::Closed) => TransactionState::Open,
        (0 | 1, StoredState::Debited) => return Err(contradiction("a payment that was paid and is under way")),
        (..0, StoredState::Open | StoredState::Closed) => TransactionState::Closed,
        (..0, StoredState::Reversed) => TransactionState::Reversed { success_transaction_id: Some(payment_id) },
        _ => TransactionState::Unclear { code: format!("payment_status {status}") },
    })
}

/// Until when a debit of the attempt may come: an hour after its last Prepare. A repeat of Prepare allows it anew.
fn debit_until_ms(transaction: &StoredTransaction, facts: &InquiryFacts<'_>) -> i64 {
    let first_until_ms = transaction.created_at_ms.saturating_add(millis(DEBIT_WITHIN));
    facts.allowed_until_ms.map_or(first_until_ms, |allowed_until_ms| allowed_until_ms.max(first_until_ms))
}

/// The meaning of "no such payment" on each day. The payer may not have gone on after Prepare, and Click debits no
/// more once it has told a failure (Click documents, Complete: free the reservation). A debit that was told is another
/// matter, for no signature covers which of the two a Complete tells: it frees nothing, and where Click does not show it in
/// time a person must look. One that Click has shown before is asked about until it is shown again.
fn not_found(transaction: &StoredTransaction, facts: &InquiryFacts<'_>) -> Result<TransactionState, GatewayError> {
    const NOT_SHOWN: &str = "a payment that was told and is not found";
    match (transaction.state, transaction.debited_at_ms) {
        (StoredState::Open | StoredState::Closed, None) => {
            let forgotten_at_ms = debit_until_ms(transaction, facts);
            let failed_at_ms =
                transaction.closed_at_ms.map(|at_ms| at_ms.saturating_add(millis(FAILURE_BELIEVED_AFTER)));
            let closed_from_ms = failed_at_ms.map_or(forgotten_at_ms, |failed_at_ms| failed_at_ms.min(forgotten_at_ms));
            Ok(if facts.asked_at_ms < closed_from_ms { TransactionState::Open } else { TransactionState::Closed })
        }
        (StoredState::Open | StoredState::Closed, Some(told_at_ms))
            if facts.asked_at_ms >= told_at_ms.saturating_add(millis(TOLD_DEBIT_SHOWS_WITHIN)) =>
        {
            Ok(TransactionState::Unclear { code: NOT_SHOWN.to_owned() })
        }
        (StoredState::Open | StoredState::Closed, Some(_)) | (StoredState::Debited | StoredState::Reversed, _) => {
            Err(contradiction(NOT_SHOWN))
        }
    }
}

impl fmt::Debug for ClickGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClickGateway").field(&self.0.settings).finish()
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
