//! Retries within one call. This is the only place that uses the crate `backoff`, which has no maintainer any longer.

use std::time::Duration;

use backoff::ExponentialBackoff;

use super::request::RequestConnection;
use crate::GatewayError;

/// The failure of one try, and whether another try at once may succeed.
#[derive(Debug)]
pub(crate) enum TryError {
    /// The connection or the server failed for a moment; another try at once may succeed.
    Passing(GatewayError),
    /// A connection broke before an answer began, and may be an old one: most likely the other side had closed it. This says
    /// nothing about the gateway; a try on a new connection will.
    Stale(GatewayError),
    /// Another try at once would fail in the same way, cost as much again, or is not allowed.
    Lasting(GatewayError),
    /// The access token was not accepted (HTTP 401); only a new one can help.
    Unauthorized,
}

/// With its waits of about 0.2 and 0.6 s it stays within the 3 s that a customer waits for the payment link.
const TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);

/// Tries a request that may safely be repeated, at most three times within two seconds: first on an open connection, then
/// on new ones. Longer troubles are left to the job's own backoff.
///
/// # Errors
/// The last try's.
pub(crate) async fn briefly<T, F>(mut request: impl FnMut(RequestConnection) -> F) -> Result<T, GatewayError>
where
    F: Future<Output = Result<T, TryError>>,
{
    let waits = ExponentialBackoff {
        initial_interval: FIRST_WAIT,
        current_interval: FIRST_WAIT,
        multiplier: 3.0,
        max_elapsed_time: Some(LONGEST),
        ..ExponentialBackoff::default()
    };
    let mut tries = 0;
    let one_try = || {
        let connection = if tries == 0 { RequestConnection::Kept } else { RequestConnection::Fresh };
        tries += 1;
        let is_last = tries == TRIES;
        let answer = request(connection);
        async move {
            answer.await.map_err(|error| match error {
                TryError::Passing(error) if !is_last => backoff::Error::transient(error),
                TryError::Stale(error) if !is_last => backoff::Error::retry_after(error, Duration::ZERO),
                error => backoff::Error::permanent(error.into_final()),
            })
        }
    };
    backoff::future::retry(waits, one_try).await
}

impl TryError {
    /// The error of the whole call, if there is no further try.
    pub(crate) fn into_final(self) -> GatewayError {
        match self {
            TryError::Passing(error) | TryError::Stale(error) | TryError::Lasting(error) => error,
            TryError::Unauthorized => GatewayError::NotAdmitted { what: "HTTP 401".to_owned() },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::AnswerFault;

    fn stumble() -> GatewayError {
        AnswerFault::HttpStatus(503).into()
    }

    #[tokio::test]
    async fn a_passing_failure_is_tried_again() {
        let tries = Cell::new(0);

        let answer = briefly(|_| async {
            tries.set(tries.get() + 1);
            if tries.get() == 1 { Err(TryError::Passing(stumble())) } else { Ok("done") }
        });

        assert_eq!(answer.await.unwrap(), "done");
        assert_eq!(tries.get(), 2);
    }

    #[tokio::test]
    async fn after_a_stale_connection_fresh_ones_are_tried_at_once() {
        let (seen, started) = (RefCell::new(Vec::new()), std::time::Instant::now());

        let answer = briefly(|connection| {
            seen.borrow_mut().push(connection);
            async move {
                match connection {
                    RequestConnection::Kept => Err(TryError::Stale(stumble())),
                    RequestConnection::Fresh => Ok("done"),
                }
            }
        });

        assert_eq!(answer.await.unwrap(), "done");
        assert_eq!(seen.into_inner(), [RequestConnection::Kept, RequestConnection::Fresh]);
        assert!(started.elapsed() < FIRST_WAIT / 2, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn three_failures_are_enough() {
        let (tries, started) = (Cell::new(0), std::time::Instant::now());

        let answer: Result<(), _> = briefly(|_| async {
            tries.set(tries.get() + 1);
            Err(TryError::Passing(stumble()))
        })
        .await;

        assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{answer:?}");
        assert_eq!(tries.get(), 3);
        assert!(started.elapsed() < LONGEST + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_lasting_failure_is_not_tried_again() {
        let tries = Cell::new(0);

        let answer: Result<(), _> = briefly(|_| async {
            tries.set(tries.get() + 1);
            Err(TryError::Lasting(stumble()))
        })
        .await;

        assert!(answer.is_err());
        assert_eq!(tries.get(), 1);
    }
}
