//! A shop's own pages call us from the shop's origin: what browsers want to be told before they allow that.
//!
//! Any origin may: who sees an order is decided by the key or token in the request, never by a cookie of the browser.

use poem::Response;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The headers that a shop's page may send.
const TAKEN: &str = "Authorization, Content-Type, Idempotency-Key, X-Request-Id";

/// The headers of ours that a shop's page may read, besides those that it always may.
const SHOWN: &str = "Location, Retry-After, X-Request-Id";

/// For how many seconds a browser need not ask again; none keeps it for longer than a day.
const KEPT_S: &str = "86400";

/// The answer to `OPTIONS`, which a browser asks before it sends the request itself.
pub(crate) fn preflight(methods: &'static str) -> Response {
    let mut response = Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, methods).finish();
    insert(response.headers_mut(), header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    insert(response.headers_mut(), header::ACCESS_CONTROL_ALLOW_HEADERS, TAKEN);
    insert(response.headers_mut(), header::ACCESS_CONTROL_MAX_AGE, KEPT_S);
    response
}

/// Lets pages of any origin read the answer, a problem as well.
pub(crate) fn allow(headers: &mut HeaderMap) {
    insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
