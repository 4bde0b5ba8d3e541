//! The circuit breaker inside one process. `admission.lua` has the same rules between processes, see `admission.rs`.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{CallOutcome, PROBE_WITHIN};
use super::view::{BreakerState, BreakerView};

/// The number of failures in a row that open it. The three tries of one call are not enough.
pub(super) const FAILURES: u32 = 5;

/// How long it lets no call through after it opened; each failed probe doubles the time.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The end of an outage is noticed within this.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// If the process of a probe dies, the other processes wait this long before they probe.
pub(super) const PROBE_LEASE: Duration = Duration::from_secs(PROBE_WITHIN.as_secs() + 2);

/// A call that finds a probe under way asks again after this.
pub(super) const ASK_AFTER_PROBE: Duration = Duration::from_millis(500);

/// Counts failures in a row; while it is open it lets one probe through at a time.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    cause: String,
    open: Option<OpenBreaker>,
}

#[derive(Debug)]
struct OpenBreaker {
    since: Instant,
    until: Instant,
    failed_probes: u32,
    probe: Option<(String, Instant)>,
}

impl Breaker {
    /// Whether a call may leave: `Ok(false)` as a usual call, `Ok(true)` as the probe. The error is how long to wait.
    pub(super) fn ask(&self, now: Instant) -> Result<bool, Duration> {
        let Some(open) = &self.open else { return Ok(false) };
        if open.until > now {
            return Err(open.until - now);
        }
        match &open.probe {
            Some((_, until)) if *until > now => Err(ASK_AFTER_PROBE),
            Some(_) | None => Ok(true),
        }
    }

    /// Makes the call `name` the probe; it leaves at `begins`.
    pub(super) fn begin_probe(&mut self, name: &str, begins: Instant) {
        if let Some(open) = &mut self.open {
            open.probe = Some((name.to_owned(), begins + PROBE_LEASE));
        }
    }

    /// Counts the result of a call.
    pub(super) fn settle(&mut self, now: Instant, probe: Option<&str>, outcome: CallOutcome<'_>) {
        let Some(open) = &mut self.open else {
            match outcome {
                CallOutcome::Answered => self.failures = 0,
                CallOutcome::Failed(cause) => {
                    self.failures += 1;
                    cause.clone_into(&mut self.cause);
                    if self.failures >= FAILURES {
                        self.open =
                            Some(OpenBreaker { since: now, until: now + FIRST_WAIT, failed_probes: 0, probe: None });
                    }
                }
                CallOutcome::Neither => (),
            }
            return;
        };
        // Only the present probe counts: not a call that left before the breaker opened, nor a probe that took too long.
        if probe.is_none() || open.probe.as_ref().map(|(name, _)| name.as_str()) != probe {
            return;
        }
        match outcome {
            CallOutcome::Answered => *self = Breaker::default(),
            CallOutcome::Failed(cause) => {
                open.failed_probes += 1;
                open.until = now + wait_after(open.failed_probes);
                open.probe = None;
                cause.clone_into(&mut self.cause);
            }
            CallOutcome::Neither => open.probe = None,
        }
    }

    pub(super) fn view(&self, now: Instant) -> BreakerView {
        let Some(open) = &self.open else {
            return BreakerView {
                state: BreakerState::Closed,
                opened_ago: None,
                opens_in: Duration::ZERO,
                cause: String::new(),
            };
        };
        let is_probing = open.probe.as_ref().is_some_and(|(_, until)| *until > now);
        BreakerView {
            state: if is_probing { BreakerState::Probing } else { BreakerState::Open },
            opened_ago: Some(now.saturating_duration_since(open.since)),
            opens_in: if is_probing { ASK_AFTER_PROBE } else { open.until.saturating_duration_since(now) },
            cause: self.cause.clone(),
        }
    }
}

/// The wait after so many failed probes: 2, 4, 5, 5 s.
fn wait_after(failed_probes: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failed_probes)).min(LONGEST_WAIT)
}
