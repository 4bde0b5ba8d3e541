//! The weather on Redis, one script and one round trip a call; without Redis each process has its own.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{RedisResult, Script, ScriptInvocation, Value, from_redis_value};
use redis_server::RedisServer;

use super::breaker::{FAILURES, FIRST_WAIT, LONGEST_WAIT, PROBE_LEASE, PROBE_LOOK};
use super::budget::Pace;
use super::local::LocalWeather;
use super::redis::Way;
use super::turn::{Asked, Blocked, Turn};
use super::weather::{BreakerView, Obstacle, Outcome, Pass, State};

static WEATHER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("weather.lua")));

#[derive(Clone, Debug)]
pub(super) struct RedisWeather {
    server: RedisServer,
    way: Way,
    /// What holds while Redis is away; it also remembers what the gateway told this process, should Redis forget.
    alone: LocalWeather,
    seen: Arc<Mutex<Seen>>,
}

/// What Redis last said.
#[derive(Clone, Debug, Default)]
struct Seen {
    is_shared: bool,
    failures: u32,
    breaker: Option<BreakerView>,
    told_for: Option<Duration>,
}

/// What the script is asked to do, as [`super::admission::Admission`] does it.
#[derive(Debug)]
pub(super) enum Act<'a> {
    Admit(&'a Asked),
    Settle(Option<&'a str>, Outcome<'a>),
    Tell(Duration),
    EndPatience,
    ResetBreaker,
    Look,
}

impl Act<'_> {
    /// Adds its arguments, in the script's order.
    pub(super) fn tell(&self, call: &mut ScriptInvocation<'_>) {
        let act = match self {
            Act::Admit(_) => "admit",
            Act::Settle(_, Outcome::Answered) => "answered",
            Act::Settle(_, Outcome::Failed(_)) => "failed",
            Act::Settle(_, Outcome::Neither) => "neither",
            Act::Tell(_) => "told",
            Act::EndPatience => "end_patience",
            Act::ResetBreaker => "reset",
            Act::Look => "look",
        };
        call.arg(act).arg(micros(PROBE_LOOK));
        match self {
            Act::Admit(Asked { urgency, pace, name, minds_breaker }) => {
                call.arg(pace.map_or(0, |pace| micros(pace.between_turns)))
                    .arg(pace.map_or(0, |pace| pace.free_turns(*urgency)))
                    .arg(pace.map_or(0, |pace| micros(pace.longest_debt())))
                    .arg(pace.map_or(0, |pace| micros(pace.longest_wait(*urgency))))
                    .arg(if *minds_breaker { name.as_str() } else { "" })
                    .arg(micros(PROBE_LEASE));
            }
            Act::Settle(probe, outcome) => {
                call.arg(probe.unwrap_or_default())
                    .arg(if let Outcome::Failed(cause) = outcome { cause } else { "" })
                    .arg(FAILURES)
                    .arg(micros(FIRST_WAIT))
                    .arg(micros(LONGEST_WAIT));
            }
            Act::Tell(patience) => {
                call.arg(micros(*patience));
            }
            Act::EndPatience | Act::ResetBreaker | Act::Look => (),
        }
    }
}

/// What the script answers.
pub(super) struct Answer {
    verdict: String,
    wait: Duration,
    seen: Seen,
}

impl RedisWeather {
    pub(super) fn new(server: RedisServer) -> Self {
        let way = Way::of_a_beat("call budget and breaker are", "a breaker of its own and a share of the call budget");
        RedisWeather { server, way, alone: LocalWeather::default(), seen: Arc::default() }
    }

    /// As [`LocalWeather::admit`]; `share` is the part of the budget that this process may use alone.
    pub(super) async fn admit(&self, asked: &Asked, share: Option<Pace>) -> Result<Turn, Blocked> {
        if let (Some(wait), _) = self.alone.view() {
            return Err(Blocked { obstacle: Obstacle::RetryAfter, wait });
        }
        match self.ask(self.call(&Act::Admit(asked))).await {
            Some(answer) => answer.admits(asked),
            None => self.alone.admit(&Asked { pace: share, ..asked.clone() }),
        }
    }

    /// As [`LocalWeather::settle`]. That all is well, as before, is told to nobody: it would cost every call a command.
    pub(super) async fn settle(&self, pass: &Pass, outcome: Outcome<'_>) {
        if pass.is_alone {
            self.alone.settle(pass.probe.as_deref(), outcome);
        }
        let is_news = match outcome {
            Outcome::Failed(_) => true,
            Outcome::Answered => pass.is_probe() || self.seen.lock().failures > 0,
            Outcome::Neither => pass.is_probe(),
        };
        if is_news {
            let call = self.call(&Act::Settle(pass.probe.as_deref(), outcome));
            if self.ask(call).await.is_none() && !pass.is_alone {
                self.alone.settle(None, outcome);
            }
        }
    }

    /// As [`LocalWeather::tell`].
    pub(super) async fn tell(&self, patience: Duration) {
        self.alone.tell(patience);
        let _ = self.ask(self.call(&Act::Tell(patience))).await;
    }

    /// As [`LocalWeather::end_patience`].
    pub(super) async fn end_patience(&self) {
        self.alone.end_patience();
        let _ = self.ask(self.call(&Act::EndPatience)).await;
    }

    /// As [`LocalWeather::reset_breaker`].
    pub(super) async fn reset_breaker(&self) {
        self.alone.reset_breaker();
        let _ = self.ask(self.call(&Act::ResetBreaker)).await;
    }

    /// Asks Redis how the weather is.
    pub(super) async fn look(&self) {
        let _ = self.ask(self.call(&Act::Look)).await;
    }

    /// Whether all processes see the same, how long nobody may call yet, and how the breaker is, as last heard.
    pub(super) fn view(&self) -> (bool, Option<Duration>, BreakerView) {
        let (told_for, breaker) = self.alone.view();
        let seen = self.seen.lock().clone();
        match seen.breaker {
            Some(shared) if seen.is_shared => (true, told_for.max(seen.told_for), shared),
            Some(_) | None => (false, told_for, breaker),
        }
    }

    fn call(&self, act: &Act<'_>) -> ScriptInvocation<'static> {
        let mut call = WEATHER.key(self.server.key("gateway-weather"));
        act.tell(&mut call);
        call
    }

    async fn ask(&self, call: ScriptInvocation<'static>) -> Option<Answer> {
        let mut commands = self.server.commands();
        let answer = self.way.ask(async { Answer::read(call.invoke_async(&mut commands).await?) }).await;
        let mut seen = self.seen.lock();
        match &answer {
            Some(answer) => *seen = answer.seen.clone(),
            None => seen.is_shared = false,
        }
        answer
    }
}

impl Answer {
    /// The answer to [`Act::Admit`].
    pub(super) fn admits(self, asked: &Asked) -> Result<Turn, Blocked> {
        let Answer { verdict, wait, seen } = self;
        let obstacle = match verdict.as_str() {
            "go" => return Ok(Turn { wait, probe: None, is_alone: false }),
            "probe" => return Ok(Turn { wait, probe: Some(asked.name.clone()), is_alone: false }),
            "budget" => Obstacle::Budget,
            "retry_after" => Obstacle::RetryAfter,
            _ => Obstacle::Breaker { cause: seen.breaker.map(|breaker| breaker.cause).unwrap_or_default() },
        };
        Err(Blocked { obstacle, wait })
    }

    /// How long nobody may call yet, and how the breaker is.
    #[cfg(test)]
    pub(super) fn view(&self) -> (Option<Duration>, Option<BreakerView>) {
        (self.seen.told_for, self.seen.breaker.clone())
    }

    pub(super) fn read(value: Value) -> RedisResult<Answer> {
        type Row = (String, u64, u32, i64, u64, u8, u64, String);
        let (verdict, wait, failures, opened_ago, opens_in, is_probing, told_for, cause): Row =
            from_redis_value(value)?;
        let state = match (opened_ago, is_probing) {
            (..0, _) => State::Closed,
            (_, 0) => State::Open,
            (..) => State::Probing,
        };
        let is_open = state != State::Closed;
        let breaker = BreakerView {
            state,
            opened_ago: u64::try_from(opened_ago).ok().map(Duration::from_micros),
            opens_in: Duration::from_micros(opens_in),
            cause: if is_open { cause } else { String::new() },
        };
        let told_for = Some(Duration::from_micros(told_for)).filter(|left| !left.is_zero());
        let seen = Seen { is_shared: true, failures, breaker: Some(breaker), told_for };
        Ok(Answer { verdict, wait: Duration::from_micros(wait), seen })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
