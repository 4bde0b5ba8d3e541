//! The kinds of responses that endpoints send.

use poem::Response;
use poem::http::{StatusCode, header};
use serde::Serialize;

/// A JSON response.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(bytes),
        Err(_) => broken(),
    }
}

/// A short HTML page that stands for a proxy's error page.
pub(crate) fn html(status: StatusCode, title: &str) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .body(format!("<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"))
}

/// The response after a failure of the sandbox itself, which is in its log.
pub(crate) fn broken() -> Response {
    html(StatusCode::INTERNAL_SERVER_ERROR, "The sandbox failed; its log says why")
}
