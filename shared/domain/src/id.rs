//! Typed ids, so that an order's number is never passed where a job's is meant.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

integer_id! {
    /// An order's number, which the shop sees and the gateway returns as `account`. The first order is 1.
    OrderId
}
integer_id! {
    /// A job row's number; the only value in the queue.
    JobId
}
integer_id! {
    /// A stored callback's number.
    CallbackId
}
integer_id! {
    /// A refund's number.
    RefundId
}
integer_id! {
    /// The gateway's own number of one transaction (Atmos API, field `transaction_id` of `/merchant/pay/create`).
    TransactionId
}

/// The secret part of an order's page addresses and of `?token=`: 128 random bits as 32 hex digits.
///
/// Anyone who has it may see that one order. It is in URLs and never in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderToken(String);

impl OrderToken {
    /// A new token from the process's random generator, which the operating system seeds.
    pub fn random() -> Self {
        OrderToken(format!("{:032x}", rand::random::<u128>()))
    }

    /// Parses the token; `None` unless it is 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(is_hex)).then(|| OrderToken(text.to_owned()))
    }

    /// The 32 hex digits, for a URL or the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OrderToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_token_is_read_back_as_it_was_written() {
        let token = OrderToken::random();

        assert_eq!(OrderToken::parse(token.as_str()), Some(token));
    }

    #[test]
    fn what_is_no_order_token_is_refused() {
        for text in ["", "1", "ABCDEF0123456789abcdef0123456789", "abcdef0123456789abcdef012345678'"] {
            assert_eq!(OrderToken::parse(text), None, "{text}");
        }
    }

    /// Shows: PROMISE-13
    #[test]
    fn an_order_token_is_not_printed() {
        assert_eq!(format!("{:?}", OrderToken::random()), "[redacted]");
    }
}
