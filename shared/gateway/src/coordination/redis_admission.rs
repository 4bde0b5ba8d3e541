//! The admission on Redis, one script and one round trip a call. Without Redis each process has its own.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{RedisResult, Script, ScriptInvocation, Value, from_redis_value};
use redis_server::RedisServer;

use super::account::CoordinatedAccount;
use super::breaker::{ASK_AFTER_PROBE, FAILURES, FIRST_WAIT, LONGEST_WAIT, PROBE_LEASE};
use super::call::{CallOutcome, Obstacle};
use super::decision::{CallRequest, Denied, Granted};
use super::local::LocalAdmission;
use super::rate_limit::RateLimit;
use super::redis::RedisAccess;
use super::view::{BreakerState, BreakerView};

static ADMISSION: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admission.lua")));

#[derive(Clone, Debug)]
pub(super) struct RedisAdmission {
    server: RedisServer,
    /// The full name of the hash that holds the state.
    key: String,
    access: RedisAccess,
    /// The admission while Redis is away. It also remembers a `Retry-After` that this process got, in case Redis loses it.
    alone: LocalAdmission,
    last: Arc<Mutex<LastReply>>,
}

/// The state in the last reply of Redis.
#[derive(Clone, Debug, Default)]
struct LastReply {
    is_shared: bool,
    failures: u32,
    breaker: Option<BreakerView>,
    retry_after: Option<Duration>,
}

/// One command of the script, as [`super::admission::Admission`] has it.
#[derive(Debug)]
pub(super) enum ScriptCommand<'a> {
    Admit(&'a CallRequest),
    Settle(Option<&'a str>, CallOutcome<'a>),
    BeginRetryAfter(Duration),
    EndRetryAfter,
    ResetBreaker,
    View,
}

impl ScriptCommand<'_> {
    /// Adds its arguments, in the script's order.
    pub(super) fn add_to(&self, call: &mut ScriptInvocation<'_>) {
        let name = match self {
            ScriptCommand::Admit(_) => "admit",
            ScriptCommand::Settle(_, CallOutcome::Answered) => "answered",
            ScriptCommand::Settle(_, CallOutcome::Failed(_)) => "failed",
            ScriptCommand::Settle(_, CallOutcome::Neither) => "neither",
            ScriptCommand::BeginRetryAfter(_) => "begin_retry_after",
            ScriptCommand::EndRetryAfter => "end_retry_after",
            ScriptCommand::ResetBreaker => "reset_breaker",
            ScriptCommand::View => "view",
        };
        call.arg(name).arg(micros(ASK_AFTER_PROBE));
        match self {
            ScriptCommand::Admit(CallRequest { urgency, limit, name, minds_breaker }) => {
                call.arg(limit.map_or(0, |limit| micros(limit.interval)))
                    .arg(limit.map_or(0, |limit| limit.free_calls(*urgency)))
                    .arg(limit.map_or(0, |limit| micros(limit.longest_debt())))
                    .arg(limit.map_or(0, |limit| micros(limit.longest_wait(*urgency))))
                    .arg(if *minds_breaker { name.as_str() } else { "" })
                    .arg(micros(PROBE_LEASE));
            }
            ScriptCommand::Settle(probe, outcome) => {
                call.arg(probe.unwrap_or_default())
                    .arg(if let CallOutcome::Failed(cause) = outcome { cause } else { "" })
                    .arg(FAILURES)
                    .arg(micros(FIRST_WAIT))
                    .arg(micros(LONGEST_WAIT));
            }
            ScriptCommand::BeginRetryAfter(wait) => {
                call.arg(micros(*wait));
            }
            ScriptCommand::EndRetryAfter | ScriptCommand::ResetBreaker | ScriptCommand::View => (),
        }
    }
}

/// The script's reply.
pub(super) struct ScriptReply {
    decision: String,
    wait: Duration,
    state: LastReply,
}

impl RedisAdmission {
    pub(super) fn new(account: &CoordinatedAccount, server: RedisServer) -> Self {
        let access = RedisAccess::frequent(
            "rate limit and circuit breaker of a gateway account are",
            "a breaker of its own and a part of the gateway's rate limit",
        );
        RedisAdmission {
            key: server.key(&account.key()),
            server,
            access,
            alone: LocalAdmission::default(),
            last: Arc::default(),
        }
    }

    /// As [`LocalAdmission::admit`]; `without_redis` is the limit of this process while it decides alone.
    pub(super) async fn admit(
        &self,
        request: &CallRequest,
        without_redis: Option<RateLimit>,
    ) -> Result<Granted, Denied> {
        if let (Some(wait), _) = self.alone.view() {
            return Err(Denied { obstacle: Obstacle::RetryAfter, wait });
        }
        match self.run(&ScriptCommand::Admit(request)).await {
            Some(reply) => reply.decision(request),
            None => self.alone.admit(&CallRequest { limit: without_redis, ..request.clone() }),
        }
    }

    /// As [`LocalAdmission::settle`]. A success that follows a success is not sent to Redis: it would cost each call one
    /// more command.
    pub(super) async fn settle(&self, probe: Option<&str>, is_alone: bool, outcome: CallOutcome<'_>) {
        if is_alone {
            self.alone.settle(probe, outcome);
        }
        let is_news = match outcome {
            CallOutcome::Failed(_) => true,
            CallOutcome::Answered => probe.is_some() || self.last.lock().failures > 0,
            CallOutcome::Neither => probe.is_some(),
        };
        if is_news {
            let reply = self.run(&ScriptCommand::Settle(probe, outcome)).await;
            if reply.is_none() && !is_alone {
                self.alone.settle(None, outcome);
            }
        }
    }

    /// As [`LocalAdmission::begin_retry_after`].
    pub(super) async fn begin_retry_after(&self, wait: Duration) {
        self.alone.begin_retry_after(wait);
        let _ = self.run(&ScriptCommand::BeginRetryAfter(wait)).await;
    }

    /// As [`LocalAdmission::end_retry_after`].
    pub(super) async fn end_retry_after(&self) {
        self.alone.end_retry_after();
        let _ = self.run(&ScriptCommand::EndRetryAfter).await;
    }

    /// As [`LocalAdmission::reset_breaker`].
    pub(super) async fn reset_breaker(&self) {
        self.alone.reset_breaker();
        let _ = self.run(&ScriptCommand::ResetBreaker).await;
    }

    /// Reads the state on Redis.
    pub(super) async fn refresh(&self) {
        let _ = self.run(&ScriptCommand::View).await;
    }

    /// Whether all processes see the same, the time that is left of a `Retry-After`, and the breaker, all as last read.
    pub(super) fn view(&self) -> (bool, Option<Duration>, BreakerView) {
        let (retry_after, breaker) = self.alone.view();
        let last = self.last.lock().clone();
        match last.breaker {
            Some(shared) if last.is_shared => (true, retry_after.max(last.retry_after), shared),
            Some(_) | None => (false, retry_after, breaker),
        }
    }

    /// Runs one command of the script; `None` if Redis is away or refuses it.
    async fn run(&self, command: &ScriptCommand<'_>) -> Option<ScriptReply> {
        let mut call = ADMISSION.key(&self.key);
        command.add_to(&mut call);
        let mut commands = self.server.commands();
        let reply = self.access.ask(async { ScriptReply::read(call.invoke_async(&mut commands).await?) }).await;
        let mut last = self.last.lock();
        match &reply {
            Some(reply) => *last = reply.state.clone(),
            None => last.is_shared = false,
        }
        reply
    }
}

impl ScriptReply {
    /// The reply to [`ScriptCommand::Admit`].
    pub(super) fn decision(self, request: &CallRequest) -> Result<Granted, Denied> {
        let ScriptReply { decision, wait, state } = self;
        let obstacle = match decision.as_str() {
            "go" => return Ok(Granted { wait, probe: None, is_alone: false }),
            "probe" => return Ok(Granted { wait, probe: Some(request.name.clone()), is_alone: false }),
            "rate_limit" => Obstacle::RateLimit,
            "retry_after" => Obstacle::RetryAfter,
            _ => Obstacle::Breaker { cause: state.breaker.map(|breaker| breaker.cause).unwrap_or_default() },
        };
        Err(Denied { obstacle, wait })
    }

    /// The time that is left of a `Retry-After`, and the breaker.
    #[cfg(test)]
    pub(super) fn view(&self) -> (Option<Duration>, Option<BreakerView>) {
        (self.state.retry_after, self.state.breaker.clone())
    }

    pub(super) fn read(value: Value) -> RedisResult<ScriptReply> {
        type Row = (String, u64, u32, i64, u64, u8, u64, String);
        let (decision, wait, failures, opened_ago, opens_in, is_probing, retry_after, cause): Row =
            from_redis_value(value)?;
        let breaker_state = match (opened_ago, is_probing) {
            (..0, _) => BreakerState::Closed,
            (_, 0) => BreakerState::Open,
            (..) => BreakerState::Probing,
        };
        let is_open = breaker_state != BreakerState::Closed;
        let breaker = BreakerView {
            state: breaker_state,
            opened_ago: u64::try_from(opened_ago).ok().map(Duration::from_micros),
            opens_in: Duration::from_micros(opens_in),
            cause: if is_open { cause } else { String::new() },
        };
        let retry_after = Some(Duration::from_micros(retry_after)).filter(|left| !left.is_zero());
        let state = LastReply { is_shared: true, failures, breaker: Some(breaker), retry_after };
        Ok(ScriptReply { decision, wait: Duration::from_micros(wait), state })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
