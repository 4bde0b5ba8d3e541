//! Any history of events leads to the same answers inside one process and on Redis: `admission.rs` and `admission.lua` have
//! the same rules.

use ::redis::{Script, Value};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::coordination::admission::Admission;
use crate::coordination::redis_admission::{ScriptCommand, ScriptReply};

/// The script with the time as its last two arguments.
fn timed_script() -> Script {
    let (clock, given) = ("redis.call('TIME')", "{ ARGV[#ARGV - 1], ARGV[#ARGV] }");
    let text = include_str!("../admission.lua");
    assert_eq!(text.matches(clock).count(), 1, "the script asks for the time once");
    Script::new(&text.replace(clock, given))
}

/// One event.
#[derive(Clone, Debug)]
enum Step {
    Wait(Duration),
    Admit {
        urgency: Urgency,
        rate: Option<GatewayRate>,
        minds_breaker: bool,
    },
    /// By a call that was no probe, or by one of the probes so far, which may be over.
    Settle {
        by: Option<Index>,
        outcome: CallOutcome<'static>,
    },
    BeginRetryAfter(Duration),
    EndRetryAfter,
    ResetBreaker,
}

fn step() -> impl Strategy<Value = Step> {
    // Whole microseconds between calls: Redis counts in these.
    let rate = (select(vec![1, 2, 5, 10, 40, 1_000]), 1_u32..12)
        .prop_map(|(per_second, burst)| GatewayRate { per_second, burst });
    let admit = (
        select(vec![Urgency::Now, Urgency::Soon, Urgency::Later]),
        prop::option::weighted(0.8, rate),
        prop::bool::weighted(0.9),
    );
    let outcome = select(vec![
        CallOutcome::Failed("HTTP 503"),
        CallOutcome::Failed("HTTP 503"),
        CallOutcome::Failed("no answer"),
        CallOutcome::Answered,
        CallOutcome::Neither,
    ]);
    prop_oneof![
        4 => select(vec![1, 999, 25_000, 200_000, 1_000_000, 2_000_000, 5_000_000, 11_000_000])
            .prop_map(|micros| Step::Wait(Duration::from_micros(micros))),
        6 => admit.prop_map(|(urgency, rate, minds_breaker)| Step::Admit { urgency, rate, minds_breaker }),
        6 => (prop::option::of(any::<Index>()), outcome).prop_map(|(by, outcome)| Step::Settle { by, outcome }),
        1 => (1_u64..4_000).prop_map(|millis| Step::BeginRetryAfter(Duration::from_millis(millis))),
        1 => Just(Step::EndRetryAfter),
        1 => Just(Step::ResetBreaker),
    ]
}

/// A decision in comparable form.
fn comparable(admitted: Result<Granted, Denied>) -> Result<(Duration, Option<String>), (Obstacle, Duration)> {
    admitted.map(|granted| (granted.wait, granted.probe)).map_err(|denied| (denied.obstacle, denied.wait))
}

/// One history, applied to both.
struct Both {
    admission: Admission,
    began: Instant,
    passed: Duration,
    server: RedisServer,
    script: Script,
    probes: Vec<String>,
}

impl Both {
    fn new(server: &RedisServer) -> Self {
        let admission = Admission::default();
        let (began, script) = (Instant::now(), timed_script());
        Both { admission, began, passed: Duration::ZERO, server: server.clone(), script, probes: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.began + self.passed
    }

    async fn on_redis(&self, key: &str, command: &ScriptCommand<'_>) -> ScriptReply {
        let time = Duration::from_secs(1_800_000_000) + self.passed;
        let mut call = self.script.key(key);
        command.add_to(&mut call);
        call.arg(time.as_secs()).arg(time.subsec_micros());
        let answer: Value = call.invoke_async(&mut self.server.commands()).await.unwrap();
        ScriptReply::read(answer).unwrap()
    }

    async fn take(&mut self, key: &str, number: usize, step: &Step) -> Result<(), TestCaseError> {
        let now = self.now();
        match step {
            Step::Wait(time) => self.passed += *time,
            Step::Admit { urgency, rate, minds_breaker } => {
                let (limit, name) = (rate.map(RateLimit::new), format!("call {number}"));
                let request = CallRequest { urgency: *urgency, limit, name, minds_breaker: *minds_breaker };
                let here = comparable(self.admission.admit(now, &request));
                let there = comparable(self.on_redis(key, &ScriptCommand::Admit(&request)).await.decision(&request));
                prop_assert_eq!(&here, &there, "step {}: {:?}", number, step);
                self.probes.extend(here.ok().and_then(|(_, probe)| probe));
            }
            Step::Settle { by, outcome } => {
                let probe = by.filter(|_| !self.probes.is_empty()).map(|by| by.get(&self.probes).clone());
                self.admission.settle(now, probe.as_deref(), *outcome);
                self.on_redis(key, &ScriptCommand::Settle(probe.as_deref(), *outcome)).await;
            }
            Step::BeginRetryAfter(wait) => {
                self.admission.begin_retry_after(now, *wait);
                self.on_redis(key, &ScriptCommand::BeginRetryAfter(*wait)).await;
            }
            Step::EndRetryAfter => {
                self.admission.end_retry_after();
                self.on_redis(key, &ScriptCommand::EndRetryAfter).await;
            }
            Step::ResetBreaker => {
                self.admission.reset_breaker();
                self.on_redis(key, &ScriptCommand::ResetBreaker).await;
            }
        }
        let (retry_after, breaker) = self.admission.view(self.now());
        let there = self.on_redis(key, &ScriptCommand::View).await.view();
        prop_assert_eq!((retry_after, Some(breaker)), there, "after step {}: {:?}", number, step);
        Ok(())
    }
}

/// Shows: ADMISSION-7
#[test]
fn any_history_leads_to_the_same_answers_in_process_and_on_redis() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(async { an_installation() });
    let mut histories =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 400, ..ProptestConfig::default() });

    histories
        .run(&prop::collection::vec(step(), 1..80), |steps| {
            runtime.block_on(async {
                let key = server.key(&format!("history-{:032x}", rand::random::<u128>()));
                let mut both = Both::new(&server);
                for (number, step) in steps.iter().enumerate() {
                    both.take(&key, number, step).await?;
                }
                Ok(())
            })
        })
        .unwrap();
}
