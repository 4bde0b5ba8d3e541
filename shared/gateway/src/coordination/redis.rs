//! Notes on Redis. They use no scripts, so processes share them also where Redis refuses scripts. While Redis is away each
//! process is on its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::secret::Secret;
use parking_lot::Mutex;
use redis::RedisError;
use redis_server::{RedisServer, is_refusal};
use tokio::time::{Instant, timeout};

use super::note::{Claim, Note};

/// The connection itself gives up after one second. This limit holds should it not.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// After a failure Redis is not asked for this long. So an outage costs each process one slow call a second for each
/// [`RedisAccess`], and does not make every call one second slower.
const LEAVE_ALONE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct RedisNotes {
    pub(super) server: RedisServer,
    access: RedisAccess,
}

/// The access to Redis for one purpose. Each purpose has its own, because Redis may refuse the commands of one purpose and
/// answer those of another.
#[derive(Clone, Debug)]
pub(super) struct RedisAccess {
    /// The things that the processes share this way, and those that each uses while Redis is away; for the log.
    shared: &'static str,
    without: &'static str,
    /// Whether Redis is asked all the time. The relay asks as often and logs that Redis is away, so it is not logged twice.
    is_frequent: bool,
    state: Arc<Mutex<RedisAccessState>>,
}

#[derive(Debug, Default)]
struct RedisAccessState {
    /// When Redis may be asked again after a failure; `None` while it answers.
    away_until: Option<Instant>,
    /// The codes of the refusals that were logged.
    logged: HashSet<String>,
}

impl RedisNotes {
    pub(super) fn new(server: RedisServer) -> Self {
        RedisNotes { server, access: RedisAccess::new("the gateway token is", "a gateway token of its own") }
    }

    pub(super) async fn read(&self, name: &str) -> Option<Note> {
        let key = self.server.key(name);
        let mut pipe = redis::pipe();
        pipe.atomic().get(&key).pttl(&key);
        let (text, good_for_ms): (Option<String>, i64) =
            self.access.ask(pipe.query_async(&mut self.server.commands())).await?;
        let good_for = u64::try_from(good_for_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)?;
        Some(Note { text: Secret::new(text?), good_for })
    }

    pub(super) async fn write(&self, name: &str, note: &Note) {
        let mut set = redis::cmd("SET");
        set.arg(self.server.key(name)).arg(note.text.expose()).arg("PX").arg(whole_ms(note.good_for));
        // The readers of a note that could not be written find none; `RedisAccess::ask` has logged why.
        let _: Option<()> = self.access.ask(set.exec_async(&mut self.server.commands())).await;
    }

    pub(super) async fn remove(&self, name: &str, text: &Secret) {
        let key = self.server.key(name);
        let mut commands = self.server.commands();
        let _: Option<()> = self
            .access
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
        let done: Option<Option<String>> = self.access.ask(set.query_async(&mut self.server.commands())).await;
        match done {
            Some(Some(_)) => Claim::Yours,
            Some(None) => Claim::Taken,
            None => Claim::Unknown,
        }
    }
}

impl RedisAccess {
    pub(super) fn new(shared: &'static str, without: &'static str) -> Self {
        RedisAccess { shared, without, is_frequent: false, state: Arc::default() }
    }

    /// The access for a purpose that asks all the time. It does not log an outage, and it logs refusals.
    pub(super) fn frequent(shared: &'static str, without: &'static str) -> Self {
        RedisAccess { is_frequent: true, ..RedisAccess::new(shared, without) }
    }

    /// Runs a question to Redis; `None` if Redis is away or refuses the command. An outage is logged once when it begins and
    /// once when it ends. Each sort of refusal is logged once; a refusal comes at once, so Redis is still asked.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        if self.state.lock().away_until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let answer = timeout(ANSWER_WITHIN, question).await;
        let mut state = self.state.lock();
        let (shared, without) = (self.shared, self.without);
        let cause = match answer {
            Ok(Ok(answer)) => {
                if state.away_until.take().is_some() && !self.is_frequent {
                    tracing::info!("Redis answers again: {shared} shared");
                }
                return Some(answer);
            }
            Ok(Err(refusal)) if is_refusal(&refusal) => {
                state.away_until = None;
                if state.logged.insert(refusal.code().unwrap_or_default().to_owned()) {
                    let error = refusal.to_string();
                    tracing::warn!(error, "Redis refuses a command ({error}), so this process uses {without}");
                }
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if state.away_until.replace(Instant::now() + LEAVE_ALONE).is_none() && !self.is_frequent {
            tracing::warn!(error = cause, "Redis is away: this process uses {without}");
        }
        None
    }
}

/// Redis refuses a lifetime of zero.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
