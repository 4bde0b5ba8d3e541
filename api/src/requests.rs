//! What every request goes through: an id, a time limit, a log line, and an answer even after a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use poem::http::{HeaderMap, HeaderValue, Method, Uri, header};
use poem::{Endpoint, IntoResponse, Middleware, Request, Response};
use tracing::{Instrument, info_span};

use crate::CallbackAddresses;
use crate::access_log::{AccessLog, Answered};
use crate::asker::{Asker, Proof};
use crate::problem::{Problem, ProblemType};
use crate::served::{Address, Addresses, Audience};
use crate::{access_log, cross_origin, metrics, pay_page, sender};

const REQUEST_ID: &str = "X-Request-Id";

/// Wraps all routes.
#[derive(Clone)]
pub(crate) struct Requests {
    /// How long `create` waits for the payment link.
    pub(crate) link_wait: Duration,
    /// Whose word about a sender's address counts.
    pub(crate) senders: CallbackAddresses,
    /// What is served.
    pub(crate) served: Arc<Addresses>,
}

/// All routes, wrapped.
pub(crate) struct Watched<E> {
    routes: E,
    requests: Requests,
    log: AccessLog,
}

impl<E: Endpoint> Middleware<E> for Requests {
    type Output = Watched<E>;

    fn transform(&self, routes: E) -> Self::Output {
        Watched { routes, requests: self.clone(), log: AccessLog::new() }
    }
}

impl<E: Endpoint> Endpoint for Watched<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let began = Instant::now();
        if let Some(uri) = with_plain_path(request.uri()) {
            *request.uri_mut() = uri;
        }
        let id = request_id(request.headers());
        let method = request.method().clone();
        let path = access_log::redacted(request.uri().path());
        let client = sender::sender(&request, &self.requests.senders);
        let asker = Asker::unproven(&mut request);
        let address = self.requests.served.of(request.uri().path());
        let language = pay_page::language_of(request.headers());
        let span = info_span!("request", request.id = %id);
        let time_limit = address.time_limit(self.requests.link_wait);
        let is_preflight = method == Method::OPTIONS && address.is_called_from_shop_pages();

        let answering = async {
            match is_preflight {
                true => {
                    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
                    Ok(cross_origin::preflight(address.methods(), asked))
                }
                false => self.routes.call(request).await.map(IntoResponse::into_response),
            }
        };
        let answered =
            AssertUnwindSafe(tokio::time::timeout(time_limit, answering)).catch_unwind().instrument(span.clone()).await;

        let _entered = span.entered();
        let has_panicked = answered.is_err();
        let answered = match answered {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(error))) => Err(Problem::from_error(error)),
            Ok(Err(_elapsed)) => Err(Problem::too_slow(time_limit.as_secs())),
            Err(_panic) => Err(Problem::internal()),
        };
        let status = answered.as_ref().map_or_else(Problem::status_code, Response::status).as_u16();
        let taken = began.elapsed();
        metrics::count_request(address.name(), status, taken);
        if address.audience() == Audience::PayPage && status < 400 {
            // The address itself holds the order's token.
            asker.proved(Proof::Token);
        }
        let told = Answered { method: &method, path: &path, status, taken, client, api_key: asker.key_name() };
        if address.audience() == Audience::Health || is_preflight {
            self.log.tell_at_debug(&told);
        } else if self.log.may_tell(status, asker.proof()) {
            if has_panicked {
                access_log::tell_panic(&method, &path);
            }
            if let Err(problem) = &answered {
                problem.log();
            }
            access_log::tell(&told);
        }

        let mut response = answered.unwrap_or_else(|problem| answer(&problem, address, &id, language));
        finish_headers(response.headers_mut(), &id);
        if address.is_called_from_shop_pages() {
            cross_origin::allow(response.headers_mut());
        }
        Ok(response)
    }
}

fn answer(problem: &Problem, address: &Address, request_id: &str, language: domain::order::Language) -> Response {
    let mut response = match address.audience() {
        Audience::PayPage => pay_page::problem_page(problem, language),
        Audience::Program
        | Audience::ShopPage
        | Audience::MakesOrder
        | Audience::Health
        | Audience::Docs
        | Audience::Other => problem.answer(request_id),
    };
    if problem.problem_type() == ProblemType::MethodNotAllowed {
        response.headers_mut().insert(header::ALLOW, address.methods());
    }
    response
}

/// Headers of every answer, unless the handler has said otherwise.
fn finish_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Addresses of ours hold order tokens.
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The caller's own id for the request, where it is sane; else a random one.
fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_sane) {
        Some(id) => id.to_owned(),
        None => format!("{:032x}", rand::random::<u128>()),
    }
}

/// The address with single slashes, and without a last one: an address that was put together from parts
/// (`https://host/` and `/atmos/webhook/`) is meant as it reads. `None` where it stands so already, and for the
/// documentation, whose own addresses are relative to its last slash.
fn with_plain_path(uri: &Uri) -> Option<Uri> {
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let plain = format!("/{}", path.join("/"));
    if plain == uri.path() || path.first() == Some(&"docs") {
        return None;
    }
    let plain = match uri.query() {
        Some(query) => format!("{plain}?{query}"),
        None => plain,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(plain.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_doubled_slashes_is_read_as_it_is_meant() {
        for (path, plain) in [
            ("//atmos/webhook/", Some("/atmos/webhook")),
            ("/atmos//webhook//", Some("/atmos/webhook")),
            ("/api//orders/7/?token=a//b", Some("/api/orders/7?token=a//b")),
            ("http://host//livez", Some("http://host/livez")),
            ("//", Some("/")),
            ("/atmos/webhook", None),
            ("/", None),
            ("/docs/", None),
        ] {
            let uri = with_plain_path(&path.parse().unwrap());
            assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), plain, "{path}");
        }
    }
}
