//! Access tokens: every merchant call needs one.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::SandboxClock;
use crate::config::TokenMode;

mod endpoints;

pub(crate) use endpoints::{post_revoke, post_token};

/// Issues the one token of the sandbox: there is one pair of credentials, so only one token is valid at a time.
#[derive(Debug)]
pub(crate) struct TokenIssuer {
    clock: SandboxClock,
    inside: Mutex<IssuerState>,
}

#[derive(Debug)]
struct IssuerState {
    mode: TokenMode,
    lifetime: Duration,
    current: Option<IssuedToken>,
    counts: TokenCounts,
}

#[derive(Clone)]
struct IssuedToken {
    text: String,
    lapses_at: Instant,
}

/// Counts since the sandbox started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TokenCounts {
    /// Calls of `/token`, whatever their answer.
    pub(crate) token_calls: u64,
    /// Tokens made, including those of another login.
    pub(crate) issued: u64,
    /// Merchant calls answered with 401.
    pub(crate) rejected_calls: u64,
}

/// How tokens are made, and the counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TokenReport {
    mode: &'static str,
    lifetime_seconds: u64,
    #[serde(flatten)]
    counts: TokenCounts,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl TokenMode {
    /// The name in requests and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TokenMode::Reuse => "reuse",
            TokenMode::RevokePrevious => "revoke-previous",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        [TokenMode::Reuse, TokenMode::RevokePrevious].into_iter().find(|mode| mode.name() == name)
    }
}

impl TokenIssuer {
    pub(crate) fn new(mode: TokenMode, lifetime: Duration, clock: SandboxClock) -> Self {
        let inside = IssuerState { mode, lifetime, current: None, counts: TokenCounts::default() };
        TokenIssuer { clock, inside: Mutex::new(inside) }
    }

    /// Changes the mode or the lifetime of tokens made from now on.
    pub(crate) fn change(&self, mode: Option<TokenMode>, lifetime: Option<Duration>) {
        self.with(|inside| {
            inside.mode = mode.unwrap_or(inside.mode);
            inside.lifetime = lifetime.unwrap_or(inside.lifetime);
        });
    }

    pub(crate) fn report(&self) -> TokenReport {
        self.with(|inside| TokenReport {
            mode: inside.mode.name(),
            lifetime_seconds: inside.lifetime.as_secs(),
            counts: inside.counts,
        })
    }

    /// A token, and the whole seconds it has left: at least one, unless the lifetime is shorter. In mode `reuse` it is
    /// the current token if that is still valid.
    fn issue(&self) -> (String, u64) {
        let now = self.clock.now();
        self.with(|inside| {
            let left = |token: &IssuedToken| token.lapses_at.saturating_duration_since(now).as_secs();
            match (inside.mode, &inside.current) {
                (TokenMode::Reuse, Some(token)) if left(token) > 0 => (token.text.clone(), left(token)),
                (TokenMode::Reuse | TokenMode::RevokePrevious, _) => {
                    let text = inside.replace(now);
                    (text, inside.lifetime.as_secs())
                }
            }
        })
    }

    /// Another client with the same credentials got a new token, so ours is void.
    pub(crate) fn log_in_elsewhere(&self) {
        let now = self.clock.now();
        self.with(|inside| inside.replace(now));
    }

    fn revoke(&self, text: &str) {
        self.with(|inside| {
            if inside.current.as_ref().is_some_and(|token| token.text == text) {
                inside.current = None;
            }
        });
    }

    /// Whether this `Authorization` header has the valid token.
    pub(crate) fn accept(&self, authorization: Option<&str>) -> bool {
        let Some(text) = authorization.and_then(|header| credentials(header, "Bearer")) else {
            return false;
        };
        let now = self.clock.now();
        self.with(|inside| inside.current.as_ref().is_some_and(|token| token.text == text && token.lapses_at > now))
    }

    fn count_call(&self) {
        self.with(|inside| inside.counts.token_calls = inside.counts.token_calls.saturating_add(1));
    }

    /// Counts a merchant call answered with 401.
    pub(crate) fn count_rejection(&self) {
        self.with(|inside| inside.counts.rejected_calls = inside.counts.rejected_calls.saturating_add(1));
    }

    fn with<T>(&self, work: impl FnOnce(&mut IssuerState) -> T) -> T {
        work(&mut self.inside.lock())
    }
}

impl IssuerState {
    fn replace(&mut self, now: Instant) -> String {
        let text = format!("{:032x}", rand::random::<u128>());
        self.counts.issued = self.counts.issued.saturating_add(1);
        self.current = Some(IssuedToken { text: text.clone(), lapses_at: now + self.lifetime });
        text
    }
}

/// The credentials after the scheme in an `Authorization` header. Schemes are case-insensitive (RFC 9110, 11.1).
fn credentials<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, credentials) = header.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(token: &str) -> Option<String> {
        Some(format!("Bearer {token}"))
    }

    fn tokens(mode: TokenMode, lifetime: Duration) -> TokenIssuer {
        TokenIssuer::new(mode, lifetime, SandboxClock::default())
    }

    #[test]
    fn a_living_token_is_issued_again_with_what_is_left_of_its_life() {
        let tokens = tokens(TokenMode::Reuse, Duration::from_secs(100));
        let (first, _) = tokens.issue();
        tokens.clock.advance(Duration::from_secs(40));

        let (second, expires_in) = tokens.issue();

        assert_eq!(first, second);
        assert!((58..=60).contains(&expires_in), "{expires_in}");
        assert!(tokens.accept(bearer(&first).as_deref()));
    }

    #[test]
    fn a_lapsed_token_is_refused_and_replaced() {
        let tokens = tokens(TokenMode::Reuse, Duration::ZERO);
        let (first, _) = tokens.issue();

        assert!(!tokens.accept(bearer(&first).as_deref()));
        assert_ne!(tokens.issue().0, first);
    }

    #[test]
    fn a_new_token_voids_the_last_one_where_that_is_the_mode() {
        let tokens = tokens(TokenMode::RevokePrevious, Duration::from_secs(100));
        let (first, _) = tokens.issue();

        let (second, expires_in) = tokens.issue();

        assert_ne!(first, second);
        assert_eq!(expires_in, 100);
        assert!(!tokens.accept(bearer(&first).as_deref()));
        assert!(tokens.accept(bearer(&second).as_deref()));
    }

    #[test]
    fn another_login_voids_the_token_in_either_mode() {
        for mode in [TokenMode::Reuse, TokenMode::RevokePrevious] {
            let tokens = tokens(mode, Duration::from_secs(100));
            let (first, _) = tokens.issue();

            tokens.log_in_elsewhere();

            assert!(!tokens.accept(bearer(&first).as_deref()));
            assert!(tokens.accept(bearer(&tokens.issue().0).as_deref()));
        }
    }

    #[test]
    fn a_revoked_token_is_refused_and_replaced() {
        let tokens = tokens(TokenMode::Reuse, Duration::from_secs(100));
        let (first, _) = tokens.issue();

        tokens.revoke("another");
        assert!(tokens.accept(bearer(&first).as_deref()));
        tokens.revoke(&first);

        assert!(!tokens.accept(bearer(&first).as_deref()));
        assert_ne!(tokens.issue().0, first);
    }

    #[test]
    fn only_a_bearer_header_is_accepted() {
        let tokens = tokens(TokenMode::Reuse, Duration::from_secs(100));
        let (token, _) = tokens.issue();

        assert!(tokens.accept(Some(&format!("bearer {token}"))));
        for header in [None, Some(token.clone()), Some(format!("Basic {token}")), bearer("another")] {
            assert!(!tokens.accept(header.as_deref()), "{header:?}");
        }
    }
}
