//! The few ways in which endpoints answer.

use poem::Response;
use poem::http::{StatusCode, header};
use serde::Serialize;

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(bytes),
        Err(_) => broken(),
    }
}

/// The short HTML page that stands for a proxy's error page.
pub(crate) fn html(status: StatusCode, title: &str) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .body(format!("<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"))
}

/// The sandbox itself failed, and logged why.
pub(crate) fn broken() -> Response {
    html(StatusCode::INTERNAL_SERVER_ERROR, "The sandbox failed; its log says why")
}
