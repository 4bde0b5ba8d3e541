//! `/token` and `/revoke`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::{Body, Request, Response};
use serde_json::json;
use url::form_urlencoded;

use super::credentials;
use crate::answers::{html, json};
use crate::atmos::faults::AtmosFault;
use crate::atmos::state::AtmosSandbox;
use crate::faults::FaultTarget;
use crate::state::BODY_BYTES;

/// `POST /token` (Atmos API, token): returns an access token for the client's credentials.
#[poem::handler]
pub(crate) async fn post_token(Data(state): Data<&Arc<AtmosSandbox>>, request: &Request, form: Body) -> Response {
    let target = FaultTarget { call: None, account: None };
    state.tokens.count_call();
    if let Some(strike) = state.faults.strikes(AtmosFault::TokenSlow, target) {
        tokio::time::sleep(strike.delay).await;
    }
    if state.faults.strikes(AtmosFault::TokenUnavailable, target).is_some() {
        return html(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    }
    if !knows_client(state, request) {
        return invalid_client();
    }
    let Ok(form) = form.into_bytes_limit(BODY_BYTES).await else {
        return invalid_request("the form cannot be read");
    };
    // The newest example has the grant type in the query, older ones in the form.
    let query = request.uri().query().unwrap_or_default();
    let grant_type = form_urlencoded::parse(&form)
        .chain(form_urlencoded::parse(query.as_bytes()))
        .find(|(name, _)| name == "grant_type");
    match grant_type {
        Some((_, grant_type)) if grant_type == "client_credentials" => (),
        Some(_) => {
            return oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type", "use client_credentials");
        }
        None => return invalid_request("grant_type is missing"),
    }
    let (access_token, expires_in) = state.tokens.issue();
    json(
        StatusCode::OK,
        &json!({
            "access_token": access_token,
            "scope": "am_application_scope default",
            "token_type": "Bearer",
            "expires_in": expires_in,
        }),
    )
}

/// `POST /revoke` (Atmos API, token): makes a token invalid. An unknown token is no error (RFC 7009, 2.2).
#[poem::handler]
pub(crate) async fn post_revoke(Data(state): Data<&Arc<AtmosSandbox>>, request: &Request, form: Body) -> Response {
    if !knows_client(state, request) {
        return invalid_client();
    }
    let Ok(form) = form.into_bytes_limit(BODY_BYTES).await else {
        return invalid_request("the form cannot be read");
    };
    match form_urlencoded::parse(&form).find(|(name, _)| name == "token") {
        Some((_, token)) => state.tokens.revoke(&token),
        None => return invalid_request("token is missing"),
    }
    Response::default()
}

fn knows_client(state: &AtmosSandbox, request: &Request) -> bool {
    let (key, secret) = (&state.common.config.consumer_key, &state.common.config.consumer_secret);
    request
        .header(header::AUTHORIZATION)
        .and_then(|header| credentials(header, "Basic"))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .is_some_and(|given| given == format!("{key}:{secret}").into_bytes())
}

fn invalid_client() -> Response {
    oauth_error(StatusCode::UNAUTHORIZED, "invalid_client", "A valid OAuth client could not be found for client_id")
}

fn invalid_request(description: &str) -> Response {
    oauth_error(StatusCode::BAD_REQUEST, "invalid_request", description)
}

fn oauth_error(status: StatusCode, error: &str, description: &str) -> Response {
    json(status, &json!({"error": error, "error_description": description}))
}
