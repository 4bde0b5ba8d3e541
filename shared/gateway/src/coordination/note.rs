//! Notes that all processes can read.

use std::time::Duration;

use domain::secret::Secret;

/// A short text that all processes can read, and how long it is still good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text; a token, so it does not print.
    pub text: Secret,
    /// How long from now.
    pub good_for: Duration,
}

/// The answer to a process that asks to be the only one to do a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The claim is granted, until it is given back or its time is over.
    Yours,
    /// Another process has the claim.
    Taken,
    /// Redis is away, so it cannot be known: go on alone.
    Unknown,
}
