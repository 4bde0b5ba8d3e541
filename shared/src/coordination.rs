//! What processes share besides the queue: the gateway's token and the budget of calls to it.
//!
//! Everything here may vanish at any moment. With Redis away each process goes on alone, on a token of its own
//! and a share of the budget; nothing here ever decides about money.

use std::time::Duration;

use crate::config::GatewayRate;
use crate::redis_server::RedisServer;
use crate::secret::Secret;

mod local;
mod redis;

use local::{Bucket, Notes};
use redis::RedisNotes;

/// What processes share: notes that expire, and a budget of calls. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Coordination(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Local { notes: Notes, bucket: Option<Bucket> },
    Redis(RedisNotes),
}

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

/// The budget of calls is used up, and its turn would come too late to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the budget of gateway calls is used up for {} ms", retry_after.as_millis())]
pub struct OverBudget {
    /// When to ask again.
    pub retry_after: Duration,
}

/// A customer waits up to 3 s for the payment link; a call that has to wait longer is better asked again later.
const LONGEST_TURN: Duration = Duration::from_secs(2);

impl Coordination {
    /// For one process alone; `None` is an unlimited budget.
    pub fn local(rate: Option<GatewayRate>) -> Self {
        Coordination(Inner::Local { notes: Notes::default(), bucket: rate.map(Bucket::new) })
    }

    /// For all processes of an installation; `None` is an unlimited budget.
    pub fn redis(server: RedisServer, rate: Option<GatewayRate>) -> Self {
        Coordination(Inner::Redis(RedisNotes::new(server, rate)))
    }

    /// The note of that name, if there is one and it can be read.
    pub async fn note(&self, name: &str) -> Option<Note> {
        match &self.0 {
            Inner::Local { notes, .. } => notes.read(name),
            Inner::Redis(redis) => redis.read(name).await,
        }
    }

    /// Writes a note, over whatever stands there. It is lost if Redis is away.
    pub async fn write_note(&self, name: &str, note: &Note) {
        match &self.0 {
            Inner::Local { notes, .. } => notes.write(name, note),
            Inner::Redis(redis) => redis.write(name, note).await,
        }
    }

    /// Removes the note if it still says `text`; a newer one stays.
    ///
    /// On Redis these are two commands without a script, so a note written just between them is lost, too: its
    /// readers then fetch a token once more than needed, and nothing else.
    pub async fn drop_note(&self, name: &str, text: &Secret) {
        match &self.0 {
            Inner::Local { notes, .. } => notes.remove(name, text),
            Inner::Redis(redis) => redis.remove(name, text).await,
        }
    }

    /// Asks to be the only one to do what `name` says, for at most `lifetime`; `who` must be random, and gives it
    /// back with [`Coordination::drop_note`]. It spares work; it is no proof of being alone.
    pub async fn claim(&self, name: &str, who: &Secret, lifetime: Duration) -> Claim {
        match &self.0 {
            Inner::Local { notes, .. } => notes.claim(name, who, lifetime),
            Inner::Redis(redis) => redis.claim(name, who, lifetime).await,
        }
    }

    /// Waits for the caller's turn in the budget, at most 2 s.
    ///
    /// # Errors
    /// [`OverBudget`] if the turn would come later than that.
    pub async fn admit(&self) -> Result<(), OverBudget> {
        match &self.0 {
            Inner::Local { bucket: None, .. } => Ok(()),
            Inner::Local { bucket: Some(bucket), .. } => bucket.admit(LONGEST_TURN).await,
            Inner::Redis(redis) => redis.admit(LONGEST_TURN).await,
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
