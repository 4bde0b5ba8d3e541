//! The ways in which a call to the gateway can fail.

use std::sync::Arc;
use std::time::Duration;

use crate::coordination::{HeldBack, Obstacle};

/// The reason why a request did not leave. It is shared, because one failed token request may fail many calls.
pub type UnreachableCause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call brought no usable answer, sorted by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The request never left: no connection, or no access token. To call again is safe.
    #[error("could not reach the gateway")]
    Unreachable(#[source] UnreachableCause),
    /// The request left and no readable answer came (timeout, broken connection, 5xx, unreadable body,
    /// unknown result code). Make an inquiry before you do anything that moves money again.
    #[error("the gateway gave no clear answer ({fault}), so the outcome is unknown")]
    OutcomeUnknown {
        /// The event in place of a clear answer, without secrets.
        fault: AnswerFault,
        /// The transport's error, if it was one.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The gateway sent a `Retry-After`, now or to an earlier call of any process. The request was not processed.
    #[error("the gateway asked us to wait {} s", retry_after.as_secs_f64().ceil())]
    Throttled {
        /// How long to wait: 15 minutes at most, and a little more, so that not all callers come back at once.
        retry_after: Duration,
    },
    /// The request never left: our rate limit is reached, the circuit breaker is open, or an operator has paused calls. To
    /// call again is safe, and fails in the same way before `retry_after` is over.
    #[error("no call to the gateway: {obstacle}")]
    HeldBack {
        /// The reason.
        obstacle: Obstacle,
        /// How long to wait; each caller gets another time.
        retry_after: Duration,
    },
    /// The gateway does not accept our credentials or our address (HTTP 401 with a new token, 403). An operator must correct
    /// it, so the work waits; it is no final refusal of the order.
    #[error("the gateway does not admit us ({what})")]
    NotAdmitted {
        /// The gateway's words, without secrets.
        what: String,
    },
    /// The gateway has refused this request, and will do so again.
    #[error("the gateway refused with code {code}")]
    Refused {
        /// The gateway's result code, such as `STPIMS-ERR-009`.
        code: String,
    },
}

/// What came in the place of a clear answer. Rules read the kind; the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// No answer within the time of a call.
    #[error("timeout")]
    Timeout,
    /// The connection ended before the answer did.
    #[error("broken connection")]
    BrokenConnection,
    /// A status other than 2xx. Whatever stands between us and the gateway may have sent it.
    #[error("HTTP {0}")]
    HttpStatus(u16),
    /// A code in the gateway's own form, and one that does not say what became of the request.
    #[error("code {0}")]
    Code(String),
    /// A code in the gateway's own form, which says that it has no such record.
    #[error("no such record, code {0}")]
    NotFound(String),
    /// A clear answer that contradicts what the gateway told or showed before. The gateway works.
    #[error("{0}")]
    Contradiction(String),
    /// An answer that is not in the gateway's form, or that contradicts itself or the question.
    #[error("{0}")]
    Unreadable(String),
}

impl From<AnswerFault> for GatewayError {
    fn from(fault: AnswerFault) -> Self {
        GatewayError::OutcomeUnknown { fault, source: None }
    }
}

impl GatewayError {
    /// Whether the call only has to wait: it did not leave, or the gateway sent a `Retry-After`. This says nothing about the
    /// request itself.
    pub fn is_a_wait(&self) -> bool {
        match self {
            GatewayError::Throttled { .. } | GatewayError::HeldBack { .. } => true,
            GatewayError::Unreachable(_)
            | GatewayError::OutcomeUnknown { .. }
            | GatewayError::NotAdmitted { .. }
            | GatewayError::Refused { .. } => false,
        }
    }

    /// Whether the request is known to have moved no money, because it was not processed: it never left, or the gateway's
    /// front refused it for its token, its address or too many requests.
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
            Obstacle::RateLimit | Obstacle::Breaker { .. } | Obstacle::Operator => {
                GatewayError::HeldBack { obstacle, retry_after }
            }
        }
    }
}
