//! The middleware of every request: an id, a time limit, a log line, and a response even after a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use poem::http::{HeaderMap, HeaderValue, Method, Uri, header};
use poem::{Endpoint, IntoResponse, Middleware, Request, Response};
use tracing::{Instrument, info_span};

use crate::CallbackAddresses;
use crate::access_log::{AccessLog, AccessLogEntry};
use crate::credential::{Credential, ProvenCredential};
use crate::pay_page::WantedLanguage;
use crate::problem::{Problem, ProblemType};
use crate::route_table::{Audience, RouteEntries, RouteEntry};
use crate::webhook::payme;
use crate::{access_log, cross_origin, metrics, pay_page, sender};

const REQUEST_ID: &str = "X-Request-Id";

/// Wraps all routes.
#[derive(Clone)]
pub(crate) struct RequestMiddleware {
    /// How long `create` waits for the payment link.
    pub(crate) link_wait: Duration,
    /// The trusted proxies.
    pub(crate) senders: CallbackAddresses,
    /// All routes, to look up what is known of one.
    pub(crate) routes: Arc<RouteEntries>,
}

/// All routes, wrapped.
pub(crate) struct RequestEndpoint<E> {
    routes: E,
    middleware: RequestMiddleware,
    log: AccessLog,
}

impl<E: Endpoint> Middleware<E> for RequestMiddleware {
    type Output = RequestEndpoint<E>;

    fn transform(&self, routes: E) -> Self::Output {
        RequestEndpoint { routes, middleware: self.clone(), log: AccessLog::new() }
    }
}

impl<E: Endpoint> Endpoint for RequestEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let began = Instant::now();
        if let Some(uri) = with_plain_path(request.uri()) {
            *request.uri_mut() = uri;
        }
        let id = request_id(request.headers());
        let method = request.method().clone();
        let path = access_log::redacted(request.uri().path());
        let client = sender::sender(&request, &self.middleware.senders);
        let credential = ProvenCredential::attach(&mut request);
        let route = self.middleware.routes.of(request.uri().path());
        let language = WantedLanguage::of(&request);
        let span = info_span!("request", request.id = %id);
        let time_limit = route.time_limit(self.middleware.link_wait);
        let is_preflight = method == Method::OPTIONS && route.is_called_from_shop_pages();

        let answering = async {
            match is_preflight {
                true => {
                    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
                    Ok(cross_origin::preflight(route.methods(), asked))
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
        metrics::count_request(route.name(), status, taken);
        if route.audience() == Audience::PayPage && status < 400 {
            // The page's address contains the order's token.
            credential.record(Credential::OrderToken);
        }
        let entry =
            AccessLogEntry { method: &method, path: &path, status, taken, client, api_key: credential.key_name() };
        if route.audience() == Audience::Health || is_preflight {
            self.log.log_at_debug(&entry);
        } else if self.log.may_log(status, credential.get()) {
            if has_panicked {
                access_log::log_panic(&method, &path);
            }
            if let Err(problem) = &answered {
                problem.log();
            }
            access_log::log_request(&entry);
        }

        let mut response = answered.unwrap_or_else(|problem| answer(&problem, route, &id, language));
        finish_headers(response.headers_mut(), &id);
        if route.is_called_from_shop_pages() {
            cross_origin::allow(response.headers_mut());
        }
        Ok(response)
    }
}

fn answer(problem: &Problem, route: &RouteEntry, request_id: &str, language: WantedLanguage) -> Response {
    let mut response = match route.audience() {
        Audience::PayPage => pay_page::problem_page(problem, language),
        Audience::Payme => payme::system_error(),
        Audience::Program
        | Audience::ShopPage
        | Audience::MakesOrder
        | Audience::Health
        | Audience::Docs
        | Audience::Other => problem.answer(request_id),
    };
    if problem.problem_type() == ProblemType::MethodNotAllowed {
        response.headers_mut().insert(header::ALLOW, route.methods());
    }
    response
}

/// Headers of every response, unless the handler has set them.
fn finish_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Our addresses contain order tokens.
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The caller's own id of the request if it is valid, otherwise a random one.
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

/// The address with single slashes and without a trailing one: addresses are often joined from parts, such as
/// `https://host/` and `/atmos/webhook/`. `None` if nothing changes, and for `/docs`, whose own addresses are relative
/// to its trailing slash.
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
