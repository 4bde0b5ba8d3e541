//! HTML answers.

use askama::Template;
use poem::Response;
use poem::http::{StatusCode, header};
use tracing::error;

use crate::answers::broken;

/// The content security policy: the browser loads nothing but the style in the page. Forms are not limited, because
/// browsers apply such a limit to the redirect to the shop too.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// A page with one message.
#[derive(Template)]
#[template(path = "note.html")]
struct PaymeNote<'a> {
    message: &'a str,
}

/// A page with only this message.
pub(super) fn note(status: StatusCode, message: &str) -> Response {
    render(status, &PaymeNote { message })
}

pub(super) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-store")
            .header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY)
            .header(header::REFERRER_POLICY, "no-referrer")
            .body(text),
        Err(cause) => {
            error!(error = %cause, "could not render a page");
            broken()
        }
    }
}
