//! The probe of the circuit breaker, from the question whether a call may be it until its result is reported.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::call::CallOutcome;
use super::local::LocalAdmission;
use super::redis_admission::RedisAdmission;

/// From when on a call that its caller gives up counts as one without an answer. A gateway that works answers sooner as a rule,
/// and a caller that gives up before says nothing about it.
pub(super) const NO_ANSWER_AFTER: Duration = Duration::from_secs(1);

/// The permission to make one call. Its holder must report the result with [`super::Coordination::settle`]; a probe whose holder
/// is dropped before reports itself.
#[derive(Debug)]
pub struct Permit {
    /// The call, where it is the probe: the one call that tests whether the gateway works again.
    pub(super) probe: Option<Probe>,
    /// Whether this process decided alone, because Redis is away.
    pub(super) is_alone: bool,
}

impl Permit {
    /// Whether this call is the probe. All other calls wait for its result, so it should not take longer than
    /// [`super::PROBE_WITHIN`].
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// Where results of calls are counted.
#[derive(Clone, Debug)]
pub(super) enum Reporter {
    Local(LocalAdmission),
    Redis(RedisAdmission),
}

impl Reporter {
    /// Counts the result of a call, which was the probe of this name; `is_alone` as in [`Permit`].
    pub(super) async fn report(&self, probe: Option<&str>, is_alone: bool, outcome: CallOutcome<'_>) {
        match self {
            Reporter::Local(admission) => admission.settle(probe, outcome),
            Reporter::Redis(admission) => admission.settle(probe, is_alone, outcome).await,
        }
    }
}

/// A call that is the probe, or may have become it. All other calls wait for its result, so it reports itself if it is
/// dropped: its caller has a time limit, its job ran into its deadline, or it was turned away before it left.
#[derive(Debug)]
pub(super) struct Probe {
    reporter: Reporter,
    name: String,
    /// Whether this process decided alone.
    is_alone: bool,
    progress: ProbeProgress,
}

#[derive(Debug)]
enum ProbeProgress {
    /// It has not left.
    Waits,
    Left(Instant),
    /// It has ended, and its result is being reported.
    Ended(ProbeEnd),
    /// Nothing is left to report.
    Reported,
}

/// A [`CallOutcome`] that outlives its caller.
#[derive(Debug)]
enum ProbeEnd {
    Answered,
    Failed(String),
    Neither,
}

impl ProbeEnd {
    fn outcome(&self) -> CallOutcome<'_> {
        match self {
            ProbeEnd::Answered => CallOutcome::Answered,
            ProbeEnd::Failed(cause) => CallOutcome::Failed(cause),
            ProbeEnd::Neither => CallOutcome::Neither,
        }
    }
}

impl Probe {
    /// A call of this name, which asks whether it may be the probe.
    pub(super) fn asks(reporter: Reporter, name: &str) -> Self {
        // Where the answer is lost with its caller, it may have been decided here or on Redis.
        Probe { reporter, name: name.to_owned(), is_alone: true, progress: ProbeProgress::Waits }
    }

    /// It is the probe.
    pub(super) fn granted(self, is_alone: bool) -> Self {
        let mut granted = self;
        granted.is_alone = is_alone;
        granted
    }

    /// It is not the probe, or its result is reported.
    pub(super) fn is_done(&mut self) {
        self.progress = ProbeProgress::Reported;
    }

    pub(super) fn leaves(&mut self) {
        self.progress = ProbeProgress::Left(Instant::now());
    }

    /// It has ended; its caller reports this.
    pub(super) fn ends(&mut self, outcome: CallOutcome<'_>) {
        self.progress = ProbeProgress::Ended(match outcome {
            CallOutcome::Answered => ProbeEnd::Answered,
            CallOutcome::Failed(cause) => ProbeEnd::Failed(cause.to_owned()),
            CallOutcome::Neither => ProbeEnd::Neither,
        });
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The result that is left to report.
    fn unreported(&mut self) -> Option<ProbeEnd> {
        match std::mem::replace(&mut self.progress, ProbeProgress::Reported) {
            ProbeProgress::Reported => None,
            ProbeProgress::Waits => Some(ProbeEnd::Neither),
            ProbeProgress::Left(at) if at.elapsed() < NO_ANSWER_AFTER => Some(ProbeEnd::Neither),
            ProbeProgress::Left(at) => {
                let waited_ms = at.elapsed().as_millis();
                Some(ProbeEnd::Failed(format!("no answer in {waited_ms} ms, when its caller gave up")))
            }
            ProbeProgress::Ended(result) => Some(result),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let Some(end) = self.unreported() else { return };
        let (reporter, name, is_alone) = (self.reporter.clone(), std::mem::take(&mut self.name), self.is_alone);
        match reporter {
            Reporter::Local(admission) => admission.settle(Some(&name), end.outcome()),
            // Without a runtime the process ends, and the probe's lease after it.
            Reporter::Redis(admission) => drop(Handle::try_current().map(|runtime| {
                runtime.spawn(async move { admission.settle(Some(&name), is_alone, end.outcome()).await })
            })),
        }
    }
}
