//! The access token without which no merchant call is answered.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::TokenMode;

mod endpoints;

pub(crate) use endpoints::{post_revoke, post_token};

/// The one token of the sandbox: there is one pair of credentials, so there is one token at a time.
#[derive(Debug)]
pub(crate) struct Tokens {
    clock: Clock,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    mode: TokenMode,
    lifetime: Duration,
    current: Option<Token>,
    counts: TokenCounts,
}

#[derive(Clone)]
struct Token {
    text: String,
    lapses_at: Instant,
}

/// What became of tokens since the sandbox started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TokenCounts {
    /// Calls of `/token`, however they were answered.
    pub(crate) token_calls: u64,
    /// Tokens that were made; another login's are among them.
    pub(crate) issued: u64,
    /// Merchant calls that were answered 401.
    pub(crate) rejected_calls: u64,
}

/// How tokens are made, and what became of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TokenReport {
    mode: &'static str,
    lifetime_seconds: u64,
    #[serde(flatten)]
    counts: TokenCounts,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl TokenMode {
    /// The name by which it is chosen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::RevokePrevious => "revoke-previous",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        [Self::Reuse, Self::RevokePrevious].into_iter().find(|mode| mode.name() == name)
    }
}

impl Tokens {
    pub(crate) fn new(mode: TokenMode, lifetime: Duration, clock: Clock) -> Self {
        let inside = Inside { mode, lifetime, current: None, counts: TokenCounts::default() };
        Self { clock, inside: Mutex::new(inside) }
    }

    /// Tokens that are made from now on are of this kind.
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

    /// A token, and the whole seconds it has left (at least one, unless all lives are shorter). In the mode `reuse` it is
    /// the living one, if there is one.
    fn issue(&self) -> (String, u64) {
        let now = self.clock.now();
        self.with(|inside| {
            let left = |token: &Token| token.lapses_at.saturating_duration_since(now).as_secs();
            match (inside.mode, &inside.current) {
                (TokenMode::Reuse, Some(token)) if left(token) > 0 => (token.text.clone(), left(token)),
                (TokenMode::Reuse | TokenMode::RevokePrevious, _) => {
                    let text = inside.replace(now);
                    (text, inside.lifetime.as_secs())
                }
            }
        })
    }

    /// Somebody else with the same credentials got a new token: ours is void.
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

    /// Whether this `Authorization` header carries the living token.
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

    /// A merchant call was answered 401.
    pub(crate) fn count_rejection(&self) {
        self.with(|inside| inside.counts.rejected_calls = inside.counts.rejected_calls.saturating_add(1));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inside) -> T) -> T {
        work(&mut self.inside.lock())
    }
}

impl Inside {
    fn replace(&mut self, now: Instant) -> String {
        let text = format!("{:032x}", rand::random::<u128>());
        self.counts.issued = self.counts.issued.saturating_add(1);
        self.current = Some(Token { text: text.clone(), lapses_at: now + self.lifetime });
        text
    }
}

/// What stands behind the scheme in an `Authorization` header. Schemes know no case (RFC 9110, 11.1).
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

    fn tokens(mode: TokenMode, lifetime: Duration) -> Tokens {
        Tokens::new(mode, lifetime, Clock::default())
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
