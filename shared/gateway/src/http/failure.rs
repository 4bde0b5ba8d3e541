//! The failures of a request, sorted by what its caller does about them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::request::Operation;
use super::retry::TryError;
use crate::{AnswerFault, GatewayError};

/// The wait if the gateway refuses a call as too many and sends no `Retry-After`.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The longest `Retry-After` that is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// The meaning of a status other than 2xx: 401 the token, 403 our address or contract, 429 (or 503 with a time) too
/// many calls; anything else says nothing about what happened to the request.
pub(super) fn refusal(operation: Operation, status: StatusCode, headers: &HeaderMap) -> Option<TryError> {
    let fault = AnswerFault::HttpStatus(status.as_u16());
    Some(match status {
        status if status.is_success() => return None,
        // Wrong credentials, or a grant this client may not use (RFC 6749 §5.2): an operator's to mend.
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED if operation == Operation::Token => {
            TryError::Lasting(GatewayError::NotAdmitted { what: format!("{fault} for our consumer key") })
        }
        StatusCode::UNAUTHORIZED => TryError::Unauthorized,
        StatusCode::FORBIDDEN => TryError::Lasting(GatewayError::NotAdmitted { what: fault.to_string() }),
        StatusCode::TOO_MANY_REQUESTS => throttled(headers),
        // An overloaded gateway may have begun the reversal all the same; an inquiry must show it.
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(RETRY_AFTER) && operation != Operation::Reverse => {
            throttled(headers)
        }
        status if status.is_server_error() => TryError::Passing(fault.into()),
        _ => TryError::Lasting(fault.into()),
    })
}

fn throttled(headers: &HeaderMap) -> TryError {
    let retry_after = retry_after(headers).unwrap_or(DEFAULT_RETRY_AFTER);
    TryError::Lasting(GatewayError::Throttled { retry_after })
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3), at least 1 s and at most 15 min.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
            SystemTime::from(at).duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER))
}

/// Sorts a transport's error: did the request leave, and may a try at once help? After a timeout it may not: the gateway is
/// slow, and the customer has waited once already.
pub(super) fn transport_failure(error: reqwest::Error) -> TryError {
    if error.is_connect() || error.is_builder() {
        return TryError::Passing(GatewayError::Unreachable(Arc::new(error)));
    }
    if error.is_timeout() {
        return TryError::Lasting(GatewayError::OutcomeUnknown { fault: AnswerFault::Timeout, source: Some(error) });
    }
    TryError::Passing(GatewayError::OutcomeUnknown { fault: AnswerFault::BrokenConnection, source: Some(error) })
}
