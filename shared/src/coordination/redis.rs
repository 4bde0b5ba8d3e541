//! Notes and budget on Redis, without scripts; a Redis that is away leaves each process on its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::RedisError;
use tokio::time::{Instant, sleep, timeout};

use super::local::{Bucket, lock};
use super::{Claim, Note, OverBudget};
use crate::config::GatewayRate;
use crate::redis_server::RedisServer;
use crate::secret::Secret;

/// One second by the connection's own rule; this is the net under it.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// After a failure Redis is not asked for this long, so that an outage costs each process one slow call a second
/// and not every call one second.
const LEAVE_ALONE: Duration = Duration::from_secs(1);

/// Nobody can count the processes while Redis is away; four of them alone stay within the budget.
const SHARE: u32 = 4;

#[derive(Clone, Debug)]
pub(super) struct RedisNotes {
    server: RedisServer,
    budget: Option<Budget>,
    /// When Redis may be asked again after a failure; `None` while it answers.
    away_until: Arc<Mutex<Option<Instant>>>,
}

#[derive(Clone, Debug)]
struct Budget {
    rate: GatewayRate,
    alone: Bucket,
}

impl RedisNotes {
    pub(super) fn new(server: RedisServer, rate: Option<GatewayRate>) -> Self {
        let budget = rate.map(|rate| {
            let share = GatewayRate { per_second: rate.per_second / SHARE, burst: rate.burst / SHARE };
            Budget { rate, alone: Bucket::new(share) }
        });
        RedisNotes { server, budget, away_until: Arc::new(Mutex::new(None)) }
    }

    pub(super) async fn read(&self, name: &str) -> Option<Note> {
        let key = self.server.key(name);
        let mut pipe = redis::pipe();
        pipe.atomic().get(&key).pttl(&key);
        let (text, good_for_ms): (Option<String>, i64) =
            self.ask(pipe.query_async(&mut self.server.commands())).await?;
        let good_for = u64::try_from(good_for_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)?;
        Some(Note { text: Secret::new(text?), good_for })
    }

    pub(super) async fn write(&self, name: &str, note: &Note) {
        let mut set = redis::cmd("SET");
        set.arg(self.server.key(name)).arg(note.text.expose()).arg("PX").arg(whole_ms(note.good_for));
        // A note that could not be written is missed by its readers; `ask` has told the operator.
        let _: Option<()> = self.ask(set.exec_async(&mut self.server.commands())).await;
    }

    pub(super) async fn remove(&self, name: &str, text: &Secret) {
        let key = self.server.key(name);
        let mut commands = self.server.commands();
        let _: Option<()> = self
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
        let done: Option<Option<String>> = self.ask(set.query_async(&mut self.server.commands())).await;
        match done {
            Some(Some(_)) => Claim::Yours,
            Some(None) => Claim::Taken,
            None => Claim::Unknown,
        }
    }

    pub(super) async fn admit(&self, longest: Duration) -> Result<(), OverBudget> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let give_up_at = Instant::now() + longest;
        loop {
            match self.full_for(budget.rate).await {
                None => return budget.alone.admit(longest).await,
                Some(wait) if wait.is_zero() => return Ok(()),
                Some(wait) if Instant::now() + wait > give_up_at => return Err(OverBudget { retry_after: wait }),
                Some(wait) => sleep(wait).await,
            }
        }
    }

    /// Counts one call; how long the present window is still full, zero if the call fits; `None` without Redis.
    ///
    /// `burst` calls fit into a window of `burst / per_second` seconds, which begins with the first call after
    /// the last window's end. So the average never exceeds the rate, and at worst two bursts meet at an edge.
    /// The time is Redis' own: hosts with skewed clocks share one window.
    async fn full_for(&self, rate: GatewayRate) -> Option<Duration> {
        let burst = u64::from(rate.burst.max(1));
        let window_ms = (burst * 1_000).div_ceil(u64::from(rate.per_second.max(1)));
        let key = self.server.key("gateway-budget");
        let mut commands = self.server.commands();
        let (count, left_ms): (u64, i64) = self
            .ask(async {
                let mut pipe = redis::pipe();
                pipe.atomic();
                pipe.cmd("SET").arg(&key).arg(0).arg("NX").arg("PX").arg(window_ms).ignore();
                pipe.cmd("INCR").arg(&key).cmd("PTTL").arg(&key);
                let answer: (u64, i64) = pipe.query_async(&mut commands).await?;
                if answer.1 < 0 {
                    // The window ended between SET and INCR, and INCR made a counter that never ends.
                    redis::cmd("PEXPIRE").arg(&key).arg(window_ms).exec_async(&mut commands).await?;
                }
                Ok(answer)
            })
            .await?;
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(window_ms).max(1));
        Some(if count <= burst { Duration::ZERO } else { left })
    }

    /// Runs a question to Redis, and answers `None` if it is away; says so in the log once per change.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        if lock(&self.away_until).is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let answer = timeout(ANSWER_WITHIN, question).await;
        let mut away_until = lock(&self.away_until);
        let cause = match answer {
            Ok(Ok(answer)) => {
                if away_until.take().is_some() {
                    tracing::info!("Redis answers again: gateway token and call budget are shared");
                }
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if away_until.replace(Instant::now() + LEAVE_ALONE).is_none() {
            tracing::warn!(
                error = cause,
                "Redis is away: this process uses a gateway token of its own and a share of the call budget"
            );
        }
        None
    }
}

/// Redis refuses a lifetime of zero.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
