//! How tokens are made, changed while the sandbox runs.

use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Response};
use serde::Deserialize;

use crate::answers::json;
use crate::atmos::state::AtmosSandbox;
use crate::clock::FURTHEST;
use crate::config::TokenMode;
use crate::sim::{bad_request, read_optional};

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
pub(crate) async fn get_token(Data(state): Data<&Arc<AtmosSandbox>>) -> Response {
    json(StatusCode::OK, &state.tokens.report())
}

/// `POST /_sim/token`: changes how tokens are made.
#[poem::handler]
pub(crate) async fn post_token(Data(state): Data<&Arc<AtmosSandbox>>, body: Body) -> Response {
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
pub(crate) async fn delete_token(Data(state): Data<&Arc<AtmosSandbox>>) -> Response {
    state.tokens.log_in_elsewhere();
    json(StatusCode::OK, &state.tokens.report())
}
