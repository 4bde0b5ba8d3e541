//! Whoever moves the money, in neutral words. Only `gateway/atmos` knows the gateway's JSON.

use std::sync::Arc;
use std::time::Duration;

use crate::coordination::{Coordination, HeldBack, Obstacle, Urgency};
use crate::id::TransactionId;
use crate::order::GatewayIdentity;
use crate::transaction::{BookLine, Callback, CallbackFault, Draft, DraftRequest, TransactionReport};

pub mod atmos;
mod metrics;

use atmos::AtmosGateway;

/// The gateway of this installation. An enum and not a trait object: there are few, and all are known.
#[derive(Clone, Debug)]
pub enum Gateway {
    /// Atmos, or the sandbox that speaks like it.
    Atmos(AtmosGateway),
}

/// What kept requests from leaving. Shared, for one failed token request may be the cause of many failed calls.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call brought no usable answer, sorted by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The request never left: no connection, or no access token to send it with. Calling again is safe.
    #[error("could not reach the gateway")]
    Unreachable(#[source] Cause),
    /// The request left and no readable answer came (timeout, broken connection, 5xx, unreadable body,
    /// unknown result code). Look the transaction up before doing anything that moves money again.
    #[error("the gateway gave no clear answer ({what}), so the outcome is unknown")]
    OutcomeUnknown {
        /// What came instead of an answer, without secrets: `timeout`, `HTTP 503`, `code STPIMS-ERR-777`.
        what: String,
        /// The transport's error, if it was one.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The gateway asked us to slow down, now or in answer to an earlier call of any process. The request was not served.
    #[error("the gateway asked us to wait {} s", retry_after.as_secs_f64().ceil())]
    Throttled {
        /// How long; capped at 15 minutes, and a little more, so that not all come back at once.
        retry_after: Duration,
    },
    /// The request never left: our own budget of calls is used up, the gateway is known to be in trouble, or an operator
    /// has closed it. Calling again is safe, and leads to the same before that time.
    #[error("no call to the gateway: {obstacle}")]
    HeldBack {
        /// What is in the way.
        obstacle: Obstacle,
        /// When to ask again; others are told other times.
        retry_after: Duration,
    },
    /// Our credentials are not accepted, or our address is not admitted (HTTP 401 after a fresh token, 403).
    /// It is mended by an operator, so the work waits; it is no final no to the order.
    #[error("the gateway does not admit us ({what})")]
    NotAdmitted {
        /// What it said, without secrets.
        what: String,
    },
    /// A final no to this request.
    #[error("the gateway refused with code {code}")]
    Refused {
        /// The gateway's result code, such as `STPIMS-ERR-009`.
        code: String,
    },
}

impl GatewayError {
    /// Whether the gateway was not asked at all, or asked for patience: that says nothing about what was to be asked.
    pub fn is_a_wait(&self) -> bool {
        match self {
            GatewayError::Throttled { .. } | GatewayError::HeldBack { .. } => true,
            GatewayError::Unreachable(_)
            | GatewayError::OutcomeUnknown { .. }
            | GatewayError::NotAdmitted { .. }
            | GatewayError::Refused { .. } => false,
        }
    }

    /// Whether the request is known to have moved nothing, because nobody processed it: it never left, or whoever stands
    /// in front of the gateway turned it away for its token, its address or its pace.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            GatewayError::Unreachable(_)
            | GatewayError::Throttled { .. }
            | GatewayError::HeldBack { .. }
            | GatewayError::NotAdmitted { .. } => true,
            GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => false,
        }
    }
}

impl From<HeldBack> for GatewayError {
    fn from(HeldBack { obstacle, retry_after }: HeldBack) -> Self {
        match obstacle {
            Obstacle::RetryAfter => GatewayError::Throttled { retry_after },
            Obstacle::Budget | Obstacle::Breaker { .. } | Obstacle::Operator => {
                GatewayError::HeldBack { obstacle, retry_after }
            }
        }
    }
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

    /// Looks: asks where one transaction is. Moves nothing, so it may always be repeated. Late looks leave urgent calls
    /// the rest of the budget.
    ///
    /// # Errors
    /// Every [`GatewayError`]; `Refused` means that the gateway does not know such a transaction.
    pub async fn look(
        &self,
        transaction_id: TransactionId,
        urgency: Urgency,
    ) -> Result<TransactionReport, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.look(transaction_id, urgency).await,
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
    /// nothing: look.
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
