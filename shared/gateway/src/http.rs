//! HTTP to the gateway: one request at a time, its answer sorted by what the caller does about it.

use std::time::{Duration, Instant};

use domain::body_coding::{CodingFault, decoded};
use parking_lot::Mutex;
use reqwest::header::{CONNECTION, CONTENT_ENCODING};
use reqwest::{ClientBuilder, Proxy, RequestBuilder, StatusCode, redirect};
use tracing::{Instrument, field};
use url::Url;

use self::failure::{refusal, transport_failure};
use self::request::{CredentialAge, Operation, RequestConnection};
use self::retry::TryError;
use crate::coordination::{CallOutcome, Coordination, PROBE_WITHIN, Permit, Urgency};
use crate::json_answer::unknown;
use crate::{AnswerFault, GatewayError, metrics};

mod failure;
pub(crate) mod request;
pub(crate) mod retry;

/// Longer than any handshake that succeeds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A connection that was idle for so long is not used again. Servers close idle connections after 5 s and more, without notice,
/// and a request that is sent at that moment is lost.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// How long the sandbox may take to send its ledger.
const LEDGER_WITHIN: Duration = Duration::from_secs(120);

/// The reason why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// Calls go over TLS, and this machine has no root certificates.
    #[error(
        "this machine has no root certificates, which calls over https need: install the package ca-certificates, or set \
         SSL_CERT_FILE to a bundle"
    )]
    NoRoots(#[source] reqwest::Error),
    /// The proxy cannot be used.
    #[error("{setting} cannot be used: mend it, or take it away")]
    Proxy {
        /// The setting that names the proxy.
        setting: &'static str,
        /// The reason.
        #[source]
        source: reqwest::Error,
    },
    /// Any other reason of the HTTP client.
    #[error("the HTTP client cannot be made")]
    Other(#[source] reqwest::Error),
}

/// Where a gateway's calls go, and what else differs between gateways.
pub(crate) struct HttpSettings<'a> {
    pub(crate) base_url: &'a Url,
    pub(crate) proxy_url: Option<&'a Url>,
    /// The setting that names the proxy.
    pub(crate) proxy_setting: &'static str,
    /// Whether an unknown outcome came in the gateway's own words, so that the gateway works and reads our requests.
    pub(crate) is_understood: fn(&AnswerFault) -> bool,
    /// Reads the body of HTTP 404 where the gateway may say with it that it has no such record; `None` from it for any other
    /// body. Without it no 404 is read: a wrong address and a proxy send one as well.
    pub(crate) read_not_found: Option<ReadNotFound>,
}

/// See [`HttpSettings::read_not_found`].
pub(crate) type ReadNotFound = fn(&[u8]) -> Option<AnswerFault>;

/// Sends requests within the rate limit and reads their answers.
pub(crate) struct Http {
    /// Keeps its connections for the next request.
    keeping: reqwest::Client,
    last_kept: LastKept,
    /// Opens a connection for each request.
    opening: reqwest::Client,
    base_url: Url,
    call_timeout: Duration,
    is_understood: fn(&AnswerFault) -> bool,
    read_not_found: Option<ReadNotFound>,
    coordination: Coordination,
}

impl Http {
    pub(crate) fn new(
        settings: &HttpSettings<'_>,
        call_timeout: Duration,
        coordination: Coordination,
    ) -> Result<Self, ClientFault> {
        Ok(Http {
            keeping: build(client(settings, call_timeout)?.pool_idle_timeout(KEPT_FOR))?,
            last_kept: LastKept::default(),
            opening: build(client(settings, call_timeout)?.pool_max_idle_per_host(0))?,
            base_url: settings.base_url.clone(),
            call_timeout,
            is_understood: settings.is_understood,
            read_not_found: settings.read_not_found,
            coordination,
        })
    }

    pub(crate) fn coordination(&self) -> &Coordination {
        &self.coordination
    }

    pub(crate) fn post(&self, path: &str, connection: RequestConnection) -> RequestBuilder {
        self.client(connection).post(with_path(&self.base_url, path))
    }

    pub(crate) fn get(&self, path: &str, connection: RequestConnection) -> RequestBuilder {
        self.client(connection).get(with_path(&self.base_url, path))
    }

    pub(crate) fn delete(&self, path: &str, connection: RequestConnection) -> RequestBuilder {
        self.client(connection).delete(with_path(&self.base_url, path))
    }

    fn client(&self, connection: RequestConnection) -> &reqwest::Client {
        match connection {
            RequestConnection::Kept => &self.keeping,
            RequestConnection::Fresh => &self.opening,
        }
    }

    /// Sends one request, made for this connection, when the admission allows it; `read` reads the body of a 2xx answer. The
    /// request is counted and timed.
    pub(crate) async fn send<T>(
        &self,
        operation: Operation,
        urgency: Urgency,
        credential: CredentialAge,
        (connection, request): (RequestConnection, RequestBuilder),
        read: impl FnOnce(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, TryError> {
        let name = operation.name();
        let admitted = match operation.is_gateways() {
            true => self.coordination.admit(urgency).await,
            false => self.coordination.admit_without_breaker(urgency).await,
        };
        let permit = admitted.map_err(|held_back| TryError::Lasting(held_back.into()))?;
        // A reversal that is cut short leaves it unknown where the money is, so it gets the whole time.
        let is_hurried = permit.is_probe() && operation != Operation::Reverse;
        let request = if is_hurried { request.timeout(PROBE_WITHIN.min(self.call_timeout)) } else { request };
        let span =
            tracing::info_span!("gateway_call", operation = name, outcome = field::Empty, duration_ms = field::Empty);
        async {
            let started = Instant::now();
            let last_kept = match connection {
                RequestConnection::Kept => Some(&self.last_kept),
                RequestConnection::Fresh => None,
            };
            let answer = exchange(operation, last_kept, self.read_not_found, request).await;
            let answer = answer.and_then(|body| read(&body).map_err(TryError::Lasting));
            let (outcome, took) = (outcome(&answer), started.elapsed());
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let labels = [self.coordination.account().gateway_label(), name, outcome];
            metrics::gateway_calls().with_label_values(&labels).inc();
            metrics::gateway_call_seconds().with_label_values(&labels).observe(took.as_secs_f64());
            tracing::Span::current().record("outcome", outcome).record("duration_ms", duration_ms);
            // The caller decides about a failure and logs it; here it is only measured.
            tracing::debug!(operation = name, outcome, duration_ms, "{name} at the gateway: {outcome}");
            self.report(operation, credential, permit, &answer).await;
            answer
        }
        .instrument(span)
        .await
    }

    /// Reports the result of a call to all processes, where it says anything about the gateway.
    async fn report<T>(
        &self,
        operation: Operation,
        credential: CredentialAge,
        permit: Permit,
        answer: &Result<T, TryError>,
    ) {
        if let Err(TryError::Lasting(GatewayError::Throttled { retry_after })) = answer {
            self.coordination.begin_retry_after(*retry_after).await;
        }
        let cause;
        let outcome = match answer {
            _ if !operation.is_gateways() => CallOutcome::Neither,
            // A new token does not show that money can be moved; the call that needs the token will.
            Ok(_) if operation == Operation::Token => CallOutcome::Neither,
            Ok(_) => CallOutcome::Answered,
            // Many connections may have been closed at once, by a gateway that is well.
            Err(TryError::Stale(_)) => CallOutcome::Neither,
            Err(TryError::Unauthorized) => match credential {
                // Only the repetition with a new token shows anything.
                CredentialAge::None | CredentialAge::MayBeOld => CallOutcome::Neither,
                CredentialAge::Fresh => CallOutcome::Failed("HTTP 401 with a fresh token"),
                CredentialAge::Lasting => CallOutcome::Failed("HTTP 401"),
            },
            Err(TryError::Passing(error) | TryError::Lasting(error)) => match error {
                GatewayError::Refused { .. } | GatewayError::Throttled { .. } => CallOutcome::Answered,
                GatewayError::OutcomeUnknown { fault, .. } if (self.is_understood)(fault) => CallOutcome::Answered,
                // A proxy at a wrong address says so, and perhaps the gateway of what it does not find.
                GatewayError::OutcomeUnknown { fault: AnswerFault::HttpStatus(404), .. }
                    if self.read_not_found.is_some() =>
                {
                    CallOutcome::Neither
                }
                GatewayError::Unreachable(_)
                | GatewayError::OutcomeUnknown { .. }
                | GatewayError::NotAdmitted { .. } => {
                    cause = gist(error);
                    CallOutcome::Failed(&cause)
                }
                GatewayError::HeldBack { .. } => CallOutcome::Neither,
            },
        };
        self.coordination.settle(permit, outcome).await;
    }

    /// Reads the sandbox's ledger, which needs no token; retried for a short time.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub(crate) async fn read_ledger<T>(
        &self,
        path: &str,
        read: impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        let address = with_path(&self.base_url, path);
        retry::briefly(|connection| {
            let request = self.client(connection).get(address.clone()).timeout(LEDGER_WITHIN);
            self.send(Operation::Ledger, Urgency::Later, CredentialAge::None, (connection, request), &read)
        })
        .await
    }
}

/// A client that trusts no certificate; enough where no call goes over TLS.
fn without_roots(builder: ClientBuilder) -> ClientBuilder {
    builder.tls_certs_only(std::iter::empty::<reqwest::Certificate>())
}

fn build(builder: ClientBuilder) -> Result<reqwest::Client, ClientFault> {
    builder.build().map_err(|error| {
        // A client without root certificates can be made here, and one with them cannot.
        let has_no_roots =
            reqwest::Client::builder().build().is_err() && without_roots(reqwest::Client::builder()).build().is_ok();
        if has_no_roots { ClientFault::NoRoots(error) } else { ClientFault::Other(error) }
    })
}

/// The settings of all clients. The machine's root certificates are read only where calls go over TLS.
fn client(settings: &HttpSettings<'_>, call_timeout: Duration) -> Result<ClientBuilder, ClientFault> {
    let calls_over_tls =
        std::iter::once(settings.base_url).chain(settings.proxy_url).any(|address| address.scheme() == "https");
    let builder = reqwest::Client::builder();
    let builder = if calls_over_tls { builder } else { without_roots(builder) };
    let builder = builder
        .user_agent(concat!("tasdiq/", env!("CARGO_PKG_VERSION")))
        .timeout(call_timeout)
        // Clearly before the call's own end, so that a failed connection is known as one.
        .connect_timeout(CONNECT_WITHIN.min(call_timeout / 2))
        // A redirected request would carry our token to wherever it points.
        .redirect(redirect::Policy::none())
        .no_proxy();
    let Some(proxy_url) = settings.proxy_url else { return Ok(builder) };
    let proxy = Proxy::all(proxy_url.clone());
    proxy
        .map(|proxy| builder.proxy(proxy))
        .map_err(|source| ClientFault::Proxy { setting: settings.proxy_setting, source })
}

/// `url` with this path added to its own.
pub(crate) fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    let joined = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

/// As a value in a query. A space becomes `%20`, which every reader understands, and not the `+` of forms.
pub(crate) fn percent_encoded(text: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace('+', "%20")
}

/// The longest text of a cause that other processes get.
const GIST_CHARACTERS: usize = 200;

/// A failure and its root cause: a name that is not found, a refused connection, a certificate.
fn gist(error: &GatewayError) -> String {
    let mut text = error.to_string();
    let mut root: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(deeper) = root.and_then(std::error::Error::source) {
        root = Some(deeper);
    }
    if let Some(root) = root.map(ToString::to_string).filter(|root| !text.contains(root.as_str())) {
        text.push_str(": ");
        text.push_str(&root);
    }
    text.chars().take(GIST_CHARACTERS).collect()
}

/// The time at which a request last left its connection open for the next.
#[derive(Debug, Default)]
struct LastKept(Mutex<Option<Instant>>);

impl LastKept {
    /// Notes that a request was answered and its connection stays open.
    fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether the next request may use an old connection.
    fn is_recent(&self) -> bool {
        self.0.lock().is_some_and(|at| at.elapsed() <= KEPT_FOR)
    }
}

/// The body of a 2xx answer. What a 404 says is read by `read_not_found`. `last_kept` belongs to the client of the request, if
/// that client keeps connections open.
async fn exchange(
    operation: Operation,
    last_kept: Option<&LastKept>,
    read_not_found: Option<ReadNotFound>,
    request: RequestBuilder,
) -> Result<Vec<u8>, TryError> {
    // If no old connection can have been used, a new one broke, and the gateway caused it.
    let may_be_kept = last_kept.is_some_and(LastKept::is_recent);
    let mut response = request.send().await.map_err(|error| match transport_failure(error) {
        TryError::Passing(broken @ GatewayError::OutcomeUnknown { .. }) if may_be_kept => TryError::Stale(broken),
        failure => failure,
    })?;
    let closes = response.headers().get(CONNECTION).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"close"));
    let last_kept = last_kept.filter(|_| !closes);
    let read_not_found = read_not_found.filter(|_| response.status() == StatusCode::NOT_FOUND);
    let refusal = refusal(operation, response.status(), response.headers());
    let refusal = match (refusal, read_not_found) {
        (Some(refusal), None) => {
            last_kept.inspect(|last_kept| last_kept.note());
            return Err(refusal);
        }
        (refusal, _) => refusal,
    };
    // We ask for no coding; a proxy on the way may use one all the same.
    let coding = response.headers().get(CONTENT_ENCODING).and_then(|coding| coding.to_str().ok()).map(str::to_owned);
    let longest = operation.longest_answer();
    let too_long = || TryError::Lasting(unknown(&format!("an answer above {} KiB", longest / 1024)));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport_failure)? {
        if body.len() + chunk.len() > longest {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    last_kept.inspect(|last_kept| last_kept.note());
    let body = decoded(coding.as_deref(), body, longest).map_err(|fault| match fault {
        CodingFault::TooLarge => too_long(),
        CodingFault::Unknown => TryError::Lasting(unknown("an answer in a content coding that we did not ask for")),
        CodingFault::Broken => TryError::Lasting(unknown("an answer whose content coding is broken")),
    })?;
    match refusal {
        None => Ok(body),
        Some(refusal) => Err(match read_not_found.and_then(|read| read(&body)) {
            Some(fault) => TryError::Lasting(fault.into()),
            None => refusal,
        }),
    }
}

fn outcome<T>(answer: &Result<T, TryError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(TryError::Stale(_)) => "stale_connection",
        Err(TryError::Unauthorized) => "not_admitted",
        Err(TryError::Passing(error) | TryError::Lasting(error)) => match error {
            GatewayError::Unreachable(_) => "unreachable",
            GatewayError::OutcomeUnknown { .. } => "unknown",
            GatewayError::Throttled { .. } => "throttled",
            GatewayError::HeldBack { .. } => "held_back",
            GatewayError::NotAdmitted { .. } => "not_admitted",
            GatewayError::Refused { .. } => "refused",
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
pub(crate) mod tests;
