//! The sandbox's tokens, its clock, and whether it is there at all.

use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Response};
use serde::Deserialize;
use serde_json::json;
use tracing::error;

use super::{bad_request, read_json, read_wish};
use crate::answers::{broken, json};
use crate::clock::FURTHEST;
use crate::config::TokenMode;
use crate::gateway::Gateway;

/// How tokens are to be made from now on; what is left out stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenWish {
    mode: Option<String>,
    lifetime_seconds: Option<u64>,
}

/// A token that lives for less could be over before it is used.
const SHORTEST_TOKEN_SECONDS: u64 = 2;

/// `GET /_sim/token`: how tokens are made, and how often they were asked for and refused.
#[poem::handler]
pub(crate) async fn get_token(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    json(StatusCode::OK, &gateway.tokens.report())
}

/// `POST /_sim/token`: changes how tokens are made.
#[poem::handler]
pub(crate) async fn post_token(Data(gateway): Data<&Arc<Gateway>>, wish: Body) -> Response {
    let wish: TokenWish = match read_wish(wish).await {
        Ok(wish) => wish,
        Err(fault) => return bad_request(&fault),
    };
    let mode = wish.mode.as_deref().map(TokenMode::find);
    if mode == Some(None) {
        return bad_request("`mode` is reuse or revoke-previous");
    }
    if wish.lifetime_seconds.is_some_and(|seconds| !(SHORTEST_TOKEN_SECONDS..=FURTHEST.as_secs()).contains(&seconds)) {
        return bad_request("`lifetime_seconds` is 2 or more");
    }
    gateway.tokens.change(mode.flatten(), wish.lifetime_seconds.map(Duration::from_secs));
    json(StatusCode::OK, &gateway.tokens.report())
}

/// `DELETE /_sim/token`: another login gets a new token, and the one in use is void.
#[poem::handler]
pub(crate) async fn delete_token(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    gateway.tokens.log_in_elsewhere();
    json(StatusCode::OK, &gateway.tokens.report())
}

/// How far the clock is to be put forward.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockWish {
    advance_seconds: u64,
}

/// `GET /_sim/clock`: the sandbox's time.
#[poem::handler]
pub(crate) async fn get_clock(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    clock(gateway)
}

/// `POST /_sim/clock`: puts the clock forward. Tokens and unpaid transactions whose time is over by then end.
#[poem::handler]
pub(crate) async fn post_clock(Data(gateway): Data<&Arc<Gateway>>, wish: Body) -> Response {
    let wish: ClockWish = match read_json(wish).await {
        Ok(wish) => wish,
        Err(fault) => return bad_request(&fault),
    };
    gateway.clock.advance(Duration::from_secs(wish.advance_seconds));
    for entry in gateway.ledger.entries() {
        if let Err(cause) = gateway.present(&entry).await {
            error!(error = %cause, "the ledger failed when the clock was put forward");
            return broken();
        }
    }
    clock(gateway)
}

fn clock(gateway: &Gateway) -> Response {
    json(StatusCode::OK, &json!({"now_ms": gateway.clock.now_ms(), "ahead_seconds": gateway.clock.forward().as_secs()}))
}

/// For how long nobody is to be there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AwayWish {
    milliseconds: Option<u64>,
}

/// So long after its request the sandbox goes away: its answer is to arrive.
const FAREWELL: Duration = Duration::from_millis(50);
/// Whoever wants it away for longer stops it.
const LONGEST_AWAY_MS: u64 = 3_600_000;

/// `POST /_sim/away`: cuts every connection and refuses new ones for a while (3 s if nothing is said).
#[poem::handler]
pub(crate) async fn post_away(Data(gateway): Data<&Arc<Gateway>>, wish: Body) -> Response {
    let wish: AwayWish = match read_wish(wish).await {
        Ok(wish) => wish,
        Err(fault) => return bad_request(&fault),
    };
    let milliseconds = wish.milliseconds.unwrap_or(3_000);
    if milliseconds > LONGEST_AWAY_MS {
        return bad_request("`milliseconds` is an hour at most");
    }
    let leaving = Arc::clone(gateway);
    gateway.later(FAREWELL, async move { leaving.connections.go_away(Duration::from_millis(milliseconds)) });
    json(StatusCode::OK, &json!({"away_milliseconds": milliseconds}))
}
