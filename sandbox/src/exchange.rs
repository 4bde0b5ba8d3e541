//! Requests to a merchant's server, and what came back.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder};

/// The most bytes read of an answer; the rest cannot matter.
const ANSWER_BYTES: usize = 1024 * 1024;

/// What came back from a merchant's server.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Null if no answer came.
    pub(crate) http_status: Option<u16>,
    /// The answer's body, as far as it came.
    pub(crate) body: Vec<u8>,
    pub(crate) timed_out: bool,
    /// Why there is no answer, or why it ended in the middle.
    pub(crate) error: Option<String>,
    /// How long the merchant took.
    pub(crate) milliseconds: u64,
}

/// A client for a merchant's server, which has `timeout` for each answer.
pub(crate) fn client_builder(timeout: Duration) -> ClientBuilder {
    // A merchant on the same machine is called without TLS, and this machine may have no root certificates.
    let builder = Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy();
    match Client::builder().build() {
        Ok(_) => builder,
        Err(_) => builder.tls_certs_only(std::iter::empty::<reqwest::Certificate>()),
    }
}

/// Sends a request and reads the answer.
pub(crate) async fn exchange(request: RequestBuilder) -> Exchange {
    let started = Instant::now();
    let mut came = Exchange { http_status: None, body: Vec::new(), timed_out: false, error: None, milliseconds: 0 };
    let failed = match request.send().await {
        Ok(mut response) => {
            came.http_status = Some(response.status().as_u16());
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) if came.body.len() < ANSWER_BYTES => came.body.extend_from_slice(&chunk),
                    Ok(_) => break None,
                    Err(error) => break Some(error),
                }
            }
        }
        Err(error) => Some(error),
    };
    came.timed_out = failed.as_ref().is_some_and(reqwest::Error::is_timeout);
    came.error = failed.as_ref().map(with_causes);
    came.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    came
}

fn with_causes(error: &reqwest::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    causes.join(": ")
}
