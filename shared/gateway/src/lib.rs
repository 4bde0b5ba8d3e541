//! Whoever moves the money, in neutral words. Only `gateway/atmos` knows the gateway's JSON.

use domain::id::TransactionId;
use domain::order::GatewayIdentity;
use domain::transaction::{BookLine, Callback, CallbackFault, Draft, DraftRequest, TransactionReport};

use crate::coordination::{Coordination, Urgency};

pub mod atmos;
pub mod coordination;
mod error;
mod metrics;

use atmos::AtmosGateway;
pub use error::{Cause, GatewayError};

/// The gateway of this installation. An enum and not a trait object: there are few, and all are known.
#[derive(Clone, Debug)]
pub enum Gateway {
    /// Atmos, or the sandbox that speaks like it.
    Atmos(AtmosGateway),
}

impl Gateway {
    /// Who is asked to move the money; stands on every order and transaction.
    pub fn identity(&self) -> &GatewayIdentity {
        match self {
            Gateway::Atmos(atmos) => atmos.identity(),
        }
    }

    /// The store our callbacks must name.
    pub fn store_id(&self) -> &str {
        match self {
            Gateway::Atmos(atmos) => atmos.store_id(),
        }
    }

    /// Makes a draft. Repeating it is harmless: an unused draft has no page anybody knows. A link beyond its shop's fair
    /// share goes behind all others.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub async fn create_draft(&self, request: &DraftRequest, urgency: Urgency) -> Result<Draft, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.create_draft(request, urgency).await,
        }
    }

    /// The page where the customer pays this draft; `return_url` is where it sends the customer back.
    pub fn payment_url(&self, transaction_id: TransactionId, return_url: &str) -> String {
        match self {
            Gateway::Atmos(atmos) => atmos.payment_url(transaction_id, return_url),
        }
    }

    /// Asks where one transaction is. Moves nothing, so it may always be repeated. Late inquiries leave urgent calls
    /// the rest of the budget.
    ///
    /// # Errors
    /// Every [`GatewayError`]; `Refused` means that the gateway does not know such a transaction.
    pub async fn inquire(
        &self,
        transaction_id: TransactionId,
        urgency: Urgency,
    ) -> Result<TransactionReport, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.inquire(transaction_id, urgency).await,
        }
    }

    /// What its calls are admitted by: the weather that this process shares with the others.
    pub fn coordination(&self) -> &Coordination {
        match self {
            Gateway::Atmos(atmos) => atmos.coordination(),
        }
    }

    /// Gets whatever a call needs before it can leave: an access token. What cannot be got shows here, with nothing sent.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `OutcomeUnknown` and `Refused`.
    pub async fn prepare(&self) -> Result<(), GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.prepare().await,
        }
    }

    /// Gives a debit back wholly, by its permanent id. It is sent once: see [`GatewayError::is_unprocessed`].
    ///
    /// # Errors
    /// Every [`GatewayError`]. `Refused` is a no for good; what it means for a debit that is reversed already decides
    /// nothing: inquire.
    pub async fn reverse(&self, success_transaction_id: TransactionId, reason: &str) -> Result<(), GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.reverse(success_transaction_id, reason).await,
        }
    }

    /// Everything that stands in the gateway's own book, also what we never heard of; `None` where it shows no book,
    /// as Atmos does not. Moves nothing.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub async fn ledger(&self) -> Result<Option<Vec<BookLine>>, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.ledger().await,
        }
    }

    /// Reads a callback's body and checks its signature. Pure; asks nobody.
    ///
    /// # Errors
    /// [`CallbackFault`].
    pub fn read_callback(&self, body: &[u8]) -> Result<Callback, CallbackFault> {
        match self {
            Gateway::Atmos(atmos) => atmos.read_callback(body),
        }
    }

    /// A rightly signed callback body for this transaction, for tests by hand (`tasdiq callback sign`).
    pub fn sign_callback(&self, transaction_id: TransactionId, account: &str, amount: i64) -> String {
        match self {
            Gateway::Atmos(atmos) => atmos.sign_callback(transaction_id, account, amount),
        }
    }
}
