//! `/_sim/*`: operations for tests and developers, the same for every gateway: the clock, and outages.
//!
//! There is no password, on purpose: a sandbox holds no money, and listens on loopback unless configured otherwise.
//! Opening the sandbox to a network opens this too. Only pages of other sites are refused, because a developer's
//! browser would let them in.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::web::Data;
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::error;

use crate::answers::{broken, json};
use crate::stand_ins::StandIns;
use crate::state::{BODY_BYTES, SandboxState};

/// Refuses a request that a page of another site may have sent from a developer's browser.
pub(crate) async fn refuse_other_sites<E: Endpoint>(routes: Arc<E>, request: Request) -> poem::Result<Response> {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_reading && let Some((status, why)) = refusal(request.headers()) {
        return Ok(json(status, &json!({"error": why})));
    }
    routes.call(request).await.map(IntoResponse::into_response)
}

/// Browsers say where a request comes from. Some content types they send to other sites without asking; of those only
/// curl's default is accepted, because a browser writes no JSON under that name.
fn refusal(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    if text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Some((StatusCode::FORBIDDEN, "this comes from a page of another site"));
    }
    let host = text(header::HOST).unwrap_or_default();
    if text(header::ORIGIN)
        .is_some_and(|origin| !["http", "https"].iter().any(|way| origin == format!("{way}://{host}")))
    {
        return Some((StatusCode::FORBIDDEN, "this comes from a page of another site"));
    }
    let content_type = text(header::CONTENT_TYPE)?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_taken = matches!(content_type.as_str(), "application/json" | "application/x-www-form-urlencoded");
    (!is_taken).then_some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body's content type is application/json"))
}

/// How far to put the clock forward.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockRequest {
    advance_seconds: u64,
}

/// `GET /_sim/clock`: the sandbox's time.
#[poem::handler]
pub(crate) async fn get_clock(Data(stand_ins): Data<&StandIns>) -> Response {
    clock(&stand_ins.common)
}

/// `POST /_sim/clock`: puts the clock forward. Tokens and unpaid transactions that are over by then end.
#[poem::handler]
pub(crate) async fn post_clock(Data(stand_ins): Data<&StandIns>, body: Body) -> Response {
    let request: ClockRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    stand_ins.common.clock.advance(Duration::from_secs(request.advance_seconds));
    if let Err(cause) = stand_ins.end_what_is_over().await {
        error!(error = %cause, "the ledger failed when the clock was put forward");
        return broken();
    }
    clock(&stand_ins.common)
}

fn clock(state: &SandboxState) -> Response {
    json(StatusCode::OK, &json!({"now_ms": state.clock.now_ms(), "ahead_seconds": state.clock.forward().as_secs()}))
}

/// The length of an outage.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AwayRequest {
    milliseconds: Option<u64>,
}

/// The delay before an outage, so that the answer to its request arrives.
const FAREWELL: Duration = Duration::from_millis(50);
/// For a longer outage, stop the sandbox.
const LONGEST_AWAY_MS: u64 = 3_600_000;

/// `POST /_sim/away`: cuts every connection and refuses new ones for a while (default 3 s).
#[poem::handler]
pub(crate) async fn post_away(Data(stand_ins): Data<&StandIns>, body: Body) -> Response {
    let request: AwayRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let milliseconds = request.milliseconds.unwrap_or(3_000);
    if milliseconds > LONGEST_AWAY_MS {
        return bad_request("`milliseconds` is an hour at most");
    }
    let leaving = Arc::clone(&stand_ins.common);
    stand_ins.common.later(FAREWELL, async move { leaving.connections.go_away(Duration::from_millis(milliseconds)) });
    json(StatusCode::OK, &json!({"away_milliseconds": milliseconds}))
}

/// Reads a JSON body; an empty one is the default.
///
/// # Errors
/// The fault of the body.
pub(crate) async fn read_optional<T: Default + DeserializeOwned>(body: Body) -> Result<T, String> {
    let bytes = read_bytes(body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

pub(crate) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    parse(&read_bytes(body).await?)
}

async fn read_bytes(body: Body) -> Result<Vec<u8>, String> {
    let bytes = body.into_bytes_limit(BODY_BYTES).await;
    bytes.map(|bytes| bytes.to_vec()).map_err(|_| "the body cannot be read".to_owned())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|cause| cause.to_string())
}

pub(crate) fn bad_request(error: &str) -> Response {
    json(StatusCode::BAD_REQUEST, &json!({"error": error}))
}
