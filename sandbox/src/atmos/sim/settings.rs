//! Settings that change while the sandbox runs: tokens, the clock, and outages.

use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Response};
use serde::Deserialize;
use serde_json::json;
use tracing::error;

use super::{bad_request, read_json, read_optional};
use crate::answers::{broken, json};
use crate::clock::FURTHEST;
use crate::config::TokenMode;
use crate::state::SandboxState;

/// How tokens are made from now on; a missing field changes nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenRequest {
    mode: Option<String>,
    lifetime_seconds: Option<u64>,
}

/// A token with a shorter lifetime could expire before its first use.
const SHORTEST_TOKEN_SECONDS: u64 = 2;

/// `GET /_sim/token`: how tokens are made, and how often they were requested and refused.
#[poem::handler]
pub(crate) async fn get_token(Data(state): Data<&Arc<SandboxState>>) -> Response {
    json(StatusCode::OK, &state.tokens.report())
}

/// `POST /_sim/token`: changes how tokens are made.
#[poem::handler]
pub(crate) async fn post_token(Data(state): Data<&Arc<SandboxState>>, body: Body) -> Response {
    let request: TokenRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let mode = request.mode.as_deref().map(TokenMode::find);
    if mode == Some(None) {
        return bad_request("`mode` is reuse or revoke-previous");
    }
    if request.lifetime_seconds.is_some_and(|seconds| !(SHORTEST_TOKEN_SECONDS..=FURTHEST.as_secs()).contains(&seconds))
    {
        return bad_request("`lifetime_seconds` is 2 or more");
    }
    state.tokens.change(mode.flatten(), request.lifetime_seconds.map(Duration::from_secs));
    json(StatusCode::OK, &state.tokens.report())
}

/// `DELETE /_sim/token`: another login gets a new token, and the current one is void.
#[poem::handler]
pub(crate) async fn delete_token(Data(state): Data<&Arc<SandboxState>>) -> Response {
    state.tokens.log_in_elsewhere();
    json(StatusCode::OK, &state.tokens.report())
}

/// How far to put the clock forward.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockRequest {
    advance_seconds: u64,
}

/// `GET /_sim/clock`: the sandbox's time.
#[poem::handler]
pub(crate) async fn get_clock(Data(state): Data<&Arc<SandboxState>>) -> Response {
    clock(state)
}

/// `POST /_sim/clock`: puts the clock forward. Tokens and unpaid transactions that are over by then end.
#[poem::handler]
pub(crate) async fn post_clock(Data(state): Data<&Arc<SandboxState>>, body: Body) -> Response {
    let request: ClockRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    state.clock.advance(Duration::from_secs(request.advance_seconds));
    for entry in state.ledger.entries() {
        if let Err(cause) = state.present(&entry).await {
            error!(error = %cause, "the ledger failed when the clock was put forward");
            return broken();
        }
    }
    clock(state)
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
pub(crate) async fn post_away(Data(state): Data<&Arc<SandboxState>>, body: Body) -> Response {
    let request: AwayRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let milliseconds = request.milliseconds.unwrap_or(3_000);
    if milliseconds > LONGEST_AWAY_MS {
        return bad_request("`milliseconds` is an hour at most");
    }
    let leaving = Arc::clone(state);
    state.later(FAREWELL, async move { leaving.connections.go_away(Duration::from_millis(milliseconds)) });
    json(StatusCode::OK, &json!({"away_milliseconds": milliseconds}))
}
