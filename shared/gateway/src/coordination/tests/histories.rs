//! Any history leads to the same answers inside one process and on Redis: `admission.rs` and `weather.lua` have one set of
//! rules.

use ::redis::{Script, Value};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::coordination::admission::Admission;
use crate::coordination::redis_weather::{Act, Answer};

/// The script with its time handed in behind all other arguments.
fn timed_script() -> Script {
    let (clock, handed_in) = ("redis.call('TIME')", "{ ARGV[#ARGV - 1], ARGV[#ARGV] }");
    let text = include_str!("../weather.lua");
    assert_eq!(text.matches(clock).count(), 1, "the script asks for the time once");
    Script::new(&text.replace(clock, handed_in))
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Wait(Duration),
    Admit {
        urgency: Urgency,
        rate: Option<GatewayRate>,
        minds_breaker: bool,
    },
    /// By a call that was none, or by one of the probes so far, be it still the probe or not.
    Settle {
        by: Option<Index>,
        outcome: Outcome<'static>,
    },
    Tell(Duration),
    EndPatience,
    ResetBreaker,
}

fn step() -> impl Strategy<Value = Step> {
    // Whole microseconds between turns: Redis counts in these.
    let rate = (select(vec![1, 2, 5, 10, 40, 1_000]), 1_u32..12)
        .prop_map(|(per_second, burst)| GatewayRate { per_second, burst });
    let admit = (
        select(vec![Urgency::Now, Urgency::Soon, Urgency::Later]),
        prop::option::weighted(0.8, rate),
        prop::bool::weighted(0.9),
    );
    let outcome = select(vec![
        Outcome::Failed("HTTP 503"),
        Outcome::Failed("HTTP 503"),
        Outcome::Failed("no answer"),
        Outcome::Answered,
        Outcome::Neither,
    ]);
    prop_oneof![
        4 => select(vec![1, 999, 25_000, 200_000, 1_000_000, 2_000_000, 5_000_000, 11_000_000])
            .prop_map(|micros| Step::Wait(Duration::from_micros(micros))),
        6 => admit.prop_map(|(urgency, rate, minds_breaker)| Step::Admit { urgency, rate, minds_breaker }),
        6 => (prop::option::of(any::<Index>()), outcome).prop_map(|(by, outcome)| Step::Settle { by, outcome }),
        1 => (1_u64..4_000).prop_map(|millis| Step::Tell(Duration::from_millis(millis))),
        1 => Just(Step::EndPatience),
        1 => Just(Step::ResetBreaker),
    ]
}

/// An admission in comparable words: the wait, and whether it is the probe, or what is in its way.
fn words(admitted: Result<Turn, Blocked>) -> Result<(Duration, Option<String>), (Obstacle, Duration)> {
    admitted.map(|turn| (turn.wait, turn.probe)).map_err(|blocked| (blocked.obstacle, blocked.wait))
}

/// One history, told to both.
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

    async fn on_redis(&self, key: &str, act: &Act<'_>) -> Answer {
        let time = Duration::from_secs(1_800_000_000) + self.passed;
        let mut call = self.script.key(key);
        act.tell(&mut call);
        call.arg(time.as_secs()).arg(time.subsec_micros());
        let answer: Value = call.invoke_async(&mut self.server.commands()).await.unwrap();
        Answer::read(answer).unwrap()
    }

    async fn take(&mut self, key: &str, number: usize, step: &Step) -> Result<(), TestCaseError> {
        let now = self.now();
        match step {
            Step::Wait(time) => self.passed += *time,
            Step::Admit { urgency, rate, minds_breaker } => {
                let (pace, name) = (rate.map(Pace::new), format!("call {number}"));
                let asked = Asked { urgency: *urgency, pace, name, minds_breaker: *minds_breaker };
                let here = words(self.admission.admit(now, &asked));
                let there = words(self.on_redis(key, &Act::Admit(&asked)).await.admits(&asked));
                prop_assert_eq!(&here, &there, "step {}: {:?}", number, step);
                self.probes.extend(here.ok().and_then(|(_, probe)| probe));
            }
            Step::Settle { by, outcome } => {
                let probe = by.filter(|_| !self.probes.is_empty()).map(|by| by.get(&self.probes).clone());
                self.admission.settle(now, probe.as_deref(), *outcome);
                self.on_redis(key, &Act::Settle(probe.as_deref(), *outcome)).await;
            }
            Step::Tell(patience) => {
                self.admission.tell(now, *patience);
                self.on_redis(key, &Act::Tell(*patience)).await;
            }
            Step::EndPatience => {
                self.admission.end_patience();
                self.on_redis(key, &Act::EndPatience).await;
            }
            Step::ResetBreaker => {
                self.admission.reset_breaker();
                self.on_redis(key, &Act::ResetBreaker).await;
            }
        }
        let (told_for, breaker) = self.admission.view(self.now());
        let there = self.on_redis(key, &Act::Look).await.view();
        prop_assert_eq!((told_for, Some(breaker)), there, "after step {}: {:?}", number, step);
        Ok(())
    }
}

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
