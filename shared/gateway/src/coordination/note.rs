//! Notes that all processes can read.

use std::time::Duration;

use domain::secret::Secret;

/// A short note all processes can read: its text and how long it is still good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text; a token, so it does not print.
    pub text: Secret,
    /// How long from now.
    pub good_for: Duration,
}

/// The answer to one who wants to be the only one to do a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is yours until you give it back or its time is over.
    Yours,
    /// Somebody else is at it.
    Taken,
    /// Nobody can say, because Redis is away: go on alone.
    Unknown,
}
