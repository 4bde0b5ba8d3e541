//! Notes on Redis, without scripts, so that they are shared also where Redis refuses those; a Redis that is away leaves
//! each process on its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::secret::Secret;
use parking_lot::Mutex;
use redis::RedisError;
use redis_server::{RedisServer, is_refusal};
use tokio::time::{Instant, timeout};

use super::note::{Claim, Note};

/// One second by the connection's own rule; this is the net under it.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// After a failure Redis is not asked for this long, so that an outage costs each process one slow call a second
/// for each [`Way`], and not every call one second.
const LEAVE_ALONE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct RedisNotes {
    pub(super) server: RedisServer,
    way: Way,
}

/// How Redis meets one sort of question. What ails another sort is no matter of this one.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// What is shared over it, and what each process does without, for the operator.
    shared: &'static str,
    without: &'static str,
    /// Whether it is asked so often that an absence is told by others before: the relay asks as often.
    is_beat: bool,
    state: Arc<Mutex<WayState>>,
}

#[derive(Debug, Default)]
struct WayState {
    /// When Redis may be asked again after a failure; `None` while it answers.
    away_until: Option<Instant>,
    /// The refusals that the operator was told of, by their code.
    told: HashSet<String>,
}

impl RedisNotes {
    pub(super) fn new(server: RedisServer) -> Self {
        RedisNotes { server, way: Way::new("the gateway token is", "a gateway token of its own") }
    }

    pub(super) async fn read(&self, name: &str) -> Option<Note> {
        let key = self.server.key(name);
        let mut pipe = redis::pipe();
        pipe.atomic().get(&key).pttl(&key);
        let (text, good_for_ms): (Option<String>, i64) =
            self.way.ask(pipe.query_async(&mut self.server.commands())).await?;
        let good_for = u64::try_from(good_for_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)?;
        Some(Note { text: Secret::new(text?), good_for })
    }

    pub(super) async fn write(&self, name: &str, note: &Note) {
        let mut set = redis::cmd("SET");
        set.arg(self.server.key(name)).arg(note.text.expose()).arg("PX").arg(whole_ms(note.good_for));
        // A note that could not be written is missed by its readers; `Way` has told the operator.
        let _: Option<()> = self.way.ask(set.exec_async(&mut self.server.commands())).await;
    }

    pub(super) async fn remove(&self, name: &str, text: &Secret) {
        let key = self.server.key(name);
        let mut commands = self.server.commands();
        let _: Option<()> = self
            .way
            .ask(async {
                let present: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut commands).await?;
                if present.is_some_and(|present| Secret::new(present) == *text) {
                    redis::cmd("DEL").arg(&key).exec_async(&mut commands).await?;
                }
                Ok(())
            })
            .await;
    }

    pub(super) async fn claim(&self, name: &str, who: &Secret, lifetime: Duration) -> Claim {
        let mut set = redis::cmd("SET");
        set.arg(self.server.key(name)).arg(who.expose()).arg("NX").arg("PX").arg(whole_ms(lifetime));
        let done: Option<Option<String>> = self.way.ask(set.query_async(&mut self.server.commands())).await;
        match done {
            Some(Some(_)) => Claim::Yours,
            Some(None) => Claim::Taken,
            None => Claim::Unknown,
        }
    }
}

impl Way {
    pub(super) fn new(shared: &'static str, without: &'static str) -> Self {
        Way { shared, without, is_beat: false, state: Arc::default() }
    }

    /// A way that is asked all the time, so that each outage would be told a second time. Refusals are told all the same.
    pub(super) fn of_a_beat(shared: &'static str, without: &'static str) -> Self {
        Way { is_beat: true, ..Way::new(shared, without) }
    }

    /// Runs a question to Redis, and answers `None` if it is away, or says no. The log tells once per change that it is
    /// away, and once of each sort of no: that one comes at once, so Redis is asked on.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        if self.state.lock().away_until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let answer = timeout(ANSWER_WITHIN, question).await;
        let mut state = self.state.lock();
        let (shared, without) = (self.shared, self.without);
        let cause = match answer {
            Ok(Ok(answer)) => {
                if state.away_until.take().is_some() && !self.is_beat {
                    tracing::info!("Redis answers again: {shared} shared");
                }
                return Some(answer);
            }
            Ok(Err(refusal)) if is_refusal(&refusal) => {
                state.away_until = None;
                if state.told.insert(refusal.code().unwrap_or_default().to_owned()) {
                    let error = refusal.to_string();
                    tracing::warn!(error, "Redis refuses a command ({error}), so this process uses {without}");
                }
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if state.away_until.replace(Instant::now() + LEAVE_ALONE).is_none() && !self.is_beat {
            tracing::warn!(error = cause, "Redis is away: this process uses {without}");
        }
        None
    }
}

/// Redis refuses a lifetime of zero.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
