//! `/token` and `/revoke`: the access token without which no merchant call is answered.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::{
    Body, Request, Response,
    http::{StatusCode, header},
    web::Data,
};
use serde_json::json;
use url::form_urlencoded;

use crate::{
    faults::{Fault, Target},
    gateway::{BODY_BYTES, Gateway, html, json},
};

/// The one token of the sandbox.
///
/// As at Atmos, asking again while it lives brings the same token with what is left of its life. When it lapses or is
/// revoked, the next one to ask gets a new one.
#[derive(Debug)]
pub(crate) struct Tokens {
    lifetime: Duration,
    current: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    lapses_at: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl Tokens {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, current: Mutex::default() }
    }

    /// The living token, or a new one, and the whole seconds it has left (at least one, unless all lives are shorter).
    fn issue(&self) -> (String, u64) {
        let now = Instant::now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |token: &Token| token.lapses_at.saturating_duration_since(now).as_secs();
        if let Some(token) = current.as_ref().filter(|token| left(token) > 0) {
            return (token.text.clone(), left(token));
        }
        let token = Token { text: format!("{:032x}", rand::random::<u128>()), lapses_at: now + self.lifetime };
        let issued = (token.text.clone(), self.lifetime.as_secs());
        *current = Some(token);
        issued
    }

    fn revoke(&self, text: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|token| token.text == text) {
            *current = None;
        }
    }

    /// Whether this `Authorization` header carries the living token.
    pub(crate) fn accept(&self, authorization: Option<&str>) -> bool {
        let Some(text) = authorization.and_then(|header| credentials(header, "Bearer")) else {
            return false;
        };
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|token| token.text == text && token.lapses_at > Instant::now())
    }
}

/// What stands behind the scheme in an `Authorization` header. Schemes know no case (RFC 9110, 11.1).
fn credentials<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, credentials) = header.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

/// `POST /token` (Atmos API, token): the client's credentials in, an access token out.
#[poem::handler]
pub(crate) async fn post_token(Data(gateway): Data<&Arc<Gateway>>, request: &Request, form: Body) -> Response {
    let target = Target { path: None, account: None };
    if gateway.faults.strikes(Fault::TokenUnavailable, target).is_some() {
        return html(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    }
    if !knows_client(gateway, request) {
        return invalid_client();
    }
    let Ok(form) = form.into_bytes_limit(BODY_BYTES).await else {
        return invalid_request("the form cannot be read");
    };
    // The newest example puts the grant type into the query, older ones into the form.
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
    let (access_token, expires_in) = gateway.tokens.issue();
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

/// `POST /revoke` (Atmos API, token): ends a token's life. An unknown one is no error (RFC 7009, 2.2).
#[poem::handler]
pub(crate) async fn post_revoke(Data(gateway): Data<&Arc<Gateway>>, request: &Request, form: Body) -> Response {
    if !knows_client(gateway, request) {
        return invalid_client();
    }
    let Ok(form) = form.into_bytes_limit(BODY_BYTES).await else {
        return invalid_request("the form cannot be read");
    };
    match form_urlencoded::parse(&form).find(|(name, _)| name == "token") {
        Some((_, token)) => gateway.tokens.revoke(&token),
        None => return invalid_request("token is missing"),
    }
    Response::default()
}

fn knows_client(gateway: &Gateway, request: &Request) -> bool {
    let (key, secret) = (&gateway.config.consumer_key, &gateway.config.consumer_secret);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(token: &str) -> Option<String> {
        Some(format!("Bearer {token}"))
    }

    #[test]
    fn a_living_token_is_issued_again_with_what_is_left_of_its_life() {
        let tokens = Tokens::new(Duration::from_secs(100));
        let (first, _) = tokens.issue();
        if let Some(token) = tokens.current.lock().expect("the token").as_mut() {
            token.lapses_at -= Duration::from_secs(40);
        }

        let (second, expires_in) = tokens.issue();

        assert_eq!(first, second);
        assert!((58..=60).contains(&expires_in), "{expires_in}");
        assert!(tokens.accept(bearer(&first).as_deref()));
    }

    #[test]
    fn a_lapsed_token_is_refused_and_replaced() {
        let tokens = Tokens::new(Duration::ZERO);
        let (first, _) = tokens.issue();

        assert!(!tokens.accept(bearer(&first).as_deref()));
        assert_ne!(tokens.issue().0, first);
    }

    #[test]
    fn a_revoked_token_is_refused_and_replaced() {
        let tokens = Tokens::new(Duration::from_secs(100));
        let (first, _) = tokens.issue();

        tokens.revoke("another");
        assert!(tokens.accept(bearer(&first).as_deref()));
        tokens.revoke(&first);

        assert!(!tokens.accept(bearer(&first).as_deref()));
        assert_ne!(tokens.issue().0, first);
    }

    #[test]
    fn only_a_bearer_header_is_accepted() {
        let tokens = Tokens::new(Duration::from_secs(100));
        let (token, _) = tokens.issue();

        assert!(tokens.accept(Some(&format!("bearer {token}"))));
        for header in [None, Some(token.clone()), Some(format!("Basic {token}")), bearer("another")] {
            assert!(!tokens.accept(header.as_deref()), "{header:?}");
        }
    }
}
