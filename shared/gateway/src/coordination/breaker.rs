//! The breaker inside one process. `weather.lua` is the same between processes, see `admission.rs`.

use std::time::Duration;

use tokio::time::Instant;

use super::weather::{BreakerView, Outcome, PROBE_WITHIN, State};

/// So many failures in a row open it. Three tries of one call are not enough.
pub(super) const FAILURES: u32 = 5;

/// How long it lets nobody through after it opened; doubled by each probe that fails.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);

/// An outage that ends is noticed within this.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A probe whose process has died holds up the others for so long.
pub(super) const PROBE_LEASE: Duration = Duration::from_secs(PROBE_WITHIN.as_secs() + 2);

/// Whoever meets a probe that is under way asks again after this.
pub(super) const PROBE_LOOK: Duration = Duration::from_millis(500);

/// Counts failures in a row; open, it lets one probe through at a time.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    cause: String,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    until: Instant,
    failed_probes: u32,
    probe: Option<(String, Instant)>,
}

impl Breaker {
    /// Whether a call may leave: `Ok(false)` as one of many, `Ok(true)` as the probe, else after so long.
    pub(super) fn ask(&self, now: Instant) -> Result<bool, Duration> {
        let Some(open) = &self.open else { return Ok(false) };
        if open.until > now {
            return Err(open.until - now);
        }
        match &open.probe {
            Some((_, until)) if *until > now => Err(PROBE_LOOK),
            Some(_) | None => Ok(true),
        }
    }

    /// Gives the right to probe to `who`, who begins at that moment.
    pub(super) fn begin_probe(&mut self, who: &str, begins: Instant) {
        if let Some(open) = &mut self.open {
            open.probe = Some((who.to_owned(), begins + PROBE_LEASE));
        }
    }

    /// Takes note of what came of a call.
    pub(super) fn settle(&mut self, now: Instant, probe: Option<&str>, outcome: Outcome<'_>) {
        let Some(open) = &mut self.open else {
            match outcome {
                Outcome::Answered => self.failures = 0,
                Outcome::Failed(cause) => {
                    self.failures += 1;
                    cause.clone_into(&mut self.cause);
                    if self.failures >= FAILURES {
                        self.open = Some(Open { since: now, until: now + FIRST_WAIT, failed_probes: 0, probe: None });
                    }
                }
                Outcome::Neither => (),
            }
            return;
        };
        // Whoever left before it opened, or lost the right to probe, has nothing to say.
        if probe.is_none() || open.probe.as_ref().map(|(who, _)| who.as_str()) != probe {
            return;
        }
        match outcome {
            Outcome::Answered => *self = Breaker::default(),
            Outcome::Failed(cause) => {
                open.failed_probes += 1;
                open.until = now + wait_after(open.failed_probes);
                open.probe = None;
                cause.clone_into(&mut self.cause);
            }
            Outcome::Neither => open.probe = None,
        }
    }

    pub(super) fn view(&self, now: Instant) -> BreakerView {
        let Some(open) = &self.open else {
            return BreakerView {
                state: State::Closed,
                opened_ago: None,
                opens_in: Duration::ZERO,
                cause: String::new(),
            };
        };
        let is_probing = open.probe.as_ref().is_some_and(|(_, until)| *until > now);
        BreakerView {
            state: if is_probing { State::Probing } else { State::Open },
            opened_ago: Some(now.saturating_duration_since(open.since)),
            opens_in: if is_probing { PROBE_LOOK } else { open.until.saturating_duration_since(now) },
            cause: self.cause.clone(),
        }
    }
}

/// The wait after so many probes that failed: 2, 4, 5, 5 s.
fn wait_after(failed_probes: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failed_probes)).min(LONGEST_WAIT)
}
