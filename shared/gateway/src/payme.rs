//! Payme: its checkout link, and the calls of its Merchant API. Payme cannot be asked: it only tells.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::{GatewayIdentity, Language};
use domain::terms::{LinkOrigin, OutcomeSource, RefundWay, Terms};
use domain::transaction::{StoredState, StoredTransaction, TransactionReport, TransactionState};

pub use self::answer::{PaymeAnswer, PaymeResult, STATEMENT_BEGINS, answer_text, statement_end, statement_line};
use self::authentication::KeyDigests;
pub use self::call::{AskedPayment, CallId, PaymeAccount, PaymeCall, PaymeRequest};
pub use self::fault::{PayerMessage, PaymeFault};
pub use self::settings::{CancelPolicy, PaymeSettings, SANDBOX_KEY, is_sandbox_key};
use crate::coordination::Coordination;

mod answer;
mod authentication;
mod call;
mod fault;
mod link;
mod settings;

/// Payme's reason for a cancellation because of the time (Payme documents, CancelTransaction).
pub const TIMEOUT_REASON: i64 = 4;

/// 12 hours after Payme created a transaction it cancels one that is not performed (Payme documents, CreateTransaction).
const DEBIT_WITHIN: Duration = Duration::from_millis(43_200_000);

/// One web cashbox at Payme; cheap to clone.
#[derive(Clone)]
pub struct PaymeGateway(Arc<Cashbox>);

struct Cashbox {
    settings: PaymeSettings,
    identity: GatewayIdentity,
    keys: KeyDigests,
    coordination: Coordination,
}

impl PaymeGateway {
    /// The cashbox of these settings. Nothing is ever called, so there is nothing to prepare.
    pub fn new(settings: PaymeSettings, coordination: Coordination) -> Self {
        let (identity, keys) = (settings.identity(), KeyDigests::of(&settings));
        PaymeGateway(Arc::new(Cashbox { settings, identity, keys, coordination }))
    }

    /// How Payme works: a link of ours, calls that tell, 12 hours for the debit. Its word that a transaction is closed stands in
    /// the row from the moment it came, and a refund begins in its cabinet.
    pub fn terms(&self) -> Terms {
        Terms {
            link: LinkOrigin::Local,
            outcome: OutcomeSource::Told,
            debit_within: DEBIT_WITHIN,
            closed_believed_after: Duration::ZERO,
            refunds: RefundWay::Cabinet,
        }
    }

    /// Our account there.
    pub fn identity(&self) -> &GatewayIdentity {
        &self.0.identity
    }

    /// Its settings.
    pub fn settings(&self) -> &PaymeSettings {
        &self.0.settings
    }

    /// The admission of its calls, of which there are none.
    pub fn coordination(&self) -> &Coordination {
        &self.0.coordination
    }

    /// The payment link of an order, made without any call; `return_url` is where the page sends the customer back.
    pub fn local_link(&self, order_id: OrderId, amount: Tiyin, language: Language, return_url: &str) -> String {
        link::of_order(&self.0.settings, order_id, amount, language, return_url)
    }

    /// The answer to an inquiry: what Payme has told us stands in the transaction's row, and nothing else can be known.
    pub fn inquire(&self, transaction: &StoredTransaction) -> TransactionReport {
        let success_transaction_id = transaction.success_transaction_id;
        TransactionReport {
            transaction_id: transaction.transaction_id,
            account: transaction.order_id.to_string(),
            store_id: None,
            amount: transaction.seen_amount.unwrap_or(transaction.amount),
            unpaid_payment_id: None,
            state: match transaction.state {
                StoredState::Open => TransactionState::Open,
                StoredState::Closed => TransactionState::Closed,
                StoredState::Debited => TransactionState::Debited {
                    success_transaction_id: success_transaction_id.unwrap_or(transaction.transaction_id),
                },
                StoredState::Reversed => TransactionState::Reversed { success_transaction_id },
            },
        }
    }

    /// The one of these accounts whose key came in the header `Authorization`. Every key is compared, in one time.
    pub fn called<'a>(
        header: Option<&[u8]>,
        accounts: impl IntoIterator<Item = &'a PaymeGateway>,
    ) -> Option<&'a PaymeGateway> {
        authentication::authenticated(header, accounts.into_iter().map(|account| (account, &account.0.keys)))
    }
}

impl fmt::Debug for PaymeGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PaymeGateway").field(&self.0.settings).finish()
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
