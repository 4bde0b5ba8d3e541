//! Why a call to the gateway brought nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::coordination::{HeldBack, Obstacle};

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
