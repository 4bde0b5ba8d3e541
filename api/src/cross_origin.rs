//! CORS: a shop's own pages call us from the shop's origin, and browsers ask first whether that is allowed.
//!
//! Any origin is allowed: the key or token in the request decides which orders are visible, never a browser's cookie.
//!
//! poem's `Cors` would change the responses: it answers 200 instead of 204, names the caller's origin instead of `*`,
//! knows only one list of methods for all paths, and does nothing for a caller without `Origin`. For headers it has a
//! fixed list, or repeats the requested list, however long.

use poem::Response;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Our headers that a shop's page may send. Other headers are allowed too: error trackers and tracing add their own to
/// each request.
const TAKEN: &str = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id";

/// A page never asks for a longer list of headers than this; a longer one is not repeated.
const ASKED_BYTES: usize = 2_000;

/// Our headers that a shop's page may read, besides the ones that are always readable.
const SHOWN: &str = "ETag, Location, Retry-After, X-Request-Id";

/// For how many seconds a browser need not ask again. No browser keeps the answer for more than a day.
const KEPT_S: &str = "86400";

/// The answer to `OPTIONS`, which a browser sends before the request itself.
///
/// The requested headers are allowed by name: `*` does not cover `Authorization`, and older browsers do not know it.
pub(crate) fn preflight(methods: HeaderValue, asked: Option<&HeaderValue>) -> Response {
    let mut response =
        Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, methods.clone()).finish();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, with_asked(asked));
    insert(headers, header::ACCESS_CONTROL_MAX_AGE, KEPT_S);
    insert(headers, header::VARY, "Access-Control-Request-Headers");
    response
}

/// Our headers and the requested ones.
fn with_asked(asked: Option<&HeaderValue>) -> HeaderValue {
    let is_name = |name: &str| HeaderName::from_bytes(name.trim().as_bytes()).is_ok();
    asked
        .and_then(|asked| asked.to_str().ok())
        .filter(|asked| asked.len() <= ASKED_BYTES && asked.split(',').all(is_name))
        .and_then(|asked| HeaderValue::try_from(format!("{TAKEN}, {asked}")).ok())
        .unwrap_or(HeaderValue::from_static(TAKEN))
}

/// Lets pages of any origin read the response, also if it is a problem.
pub(crate) fn allow(headers: &mut HeaderMap) {
    insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
