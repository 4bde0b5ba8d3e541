//! A shop's own pages call us from the shop's origin: what browsers want to be told before they allow that.
//!
//! Any origin may: who sees an order is decided by the key or token in the request, never by a cookie of the browser.
//!
//! poem's `Cors` would change what callers see: it answers 200 instead of 204, names the caller's origin instead of `*`,
//! knows one list of methods for all addresses, and has nothing for a caller without `Origin`; of headers it takes a fixed
//! list, or repeats whatever is asked, however long.

use poem::Response;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The headers of ours that a shop's page may send. It may send any other as well: error trackers and tracing add some of
/// their own to each request.
const TAKEN: &str = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id";

/// A longer list of asked headers is nothing that a page sends, and is not repeated.
const ASKED_BYTES: usize = 2_000;

/// The headers of ours that a shop's page may read, besides those that it always may.
const SHOWN: &str = "Location, Retry-After, X-Request-Id";

/// For how many seconds a browser need not ask again; none keeps it for longer than a day.
const KEPT_S: &str = "86400";

/// The answer to `OPTIONS`, which a browser asks before it sends the request itself.
///
/// The headers it asks for are allowed by name: `*` would not stand for `Authorization`, and older browsers do not know it.
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

/// Our headers, and those that are asked for.
fn with_asked(asked: Option<&HeaderValue>) -> HeaderValue {
    let is_name = |name: &str| HeaderName::from_bytes(name.trim().as_bytes()).is_ok();
    asked
        .and_then(|asked| asked.to_str().ok())
        .filter(|asked| asked.len() <= ASKED_BYTES && asked.split(',').all(is_name))
        .and_then(|asked| HeaderValue::try_from(format!("{TAKEN}, {asked}")).ok())
        .unwrap_or(HeaderValue::from_static(TAKEN))
}

/// Lets pages of any origin read the answer, a problem as well.
pub(crate) fn allow(headers: &mut HeaderMap) {
    insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
