//! The state that processes share besides the queue, for each gateway account: its token, and the admission of its calls
//! (rate limit, circuit breaker, `Retry-After`).
//!
//! All of it may be lost at any moment. While Redis is away each process goes on alone, with its own token and breaker and a
//! part of the rate limit. Nothing here decides about money. The settings of an operator come from the database and not from
//! Redis; `process::admission` brings them.

use std::sync::Arc;
use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use domain::secret::Secret;
use parking_lot::Mutex;
use redis_server::RedisServer;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

mod account;
mod admission;
mod breaker;
mod call;
mod decision;
mod local;
mod metrics;
mod note;
mod probe;
mod rate_limit;
mod redis;
mod redis_admission;
mod retry_times;
mod view;
mod waiting;

pub use account::CoordinatedAccount;
pub use call::{CallOutcome, HeldBack, Obstacle, PROBE_WITHIN, Urgency};
use decision::{CallRequest, Denied, Granted};
use local::{LocalAdmission, Notes};
pub use note::{Claim, Note};
pub use probe::Permit;
use probe::{Probe, Reporter};
pub use rate_limit::rate_without_redis;
use rate_limit::{CALLS_PER_INQUIRY, LONGEST_WAIT_LATE, RateLimit};
use redis::RedisNotes;
use redis_admission::RedisAdmission;
use retry_times::RetryTimes;
pub use view::{AdmissionView, BreakerState, BreakerView, OperatorSettings};
use waiting::{INQUIRE_AGAIN, PAUSED, PAUSED_LATE, WaitingCalls};

/// The state that processes share about one account: notes that expire, and the admission of its calls. Cheap to clone;
/// clones share it.
#[derive(Clone, Debug)]
pub struct Coordination {
    inner: Inner,
    process: Arc<ProcessState>,
    is_observer: bool,
}

#[derive(Clone, Debug)]
enum Inner {
    Local { notes: Notes, admission: LocalAdmission },
    Redis { notes: RedisNotes, admission: RedisAdmission },
}

impl Inner {
    fn reporter(&self) -> Reporter {
        match self {
            Inner::Local { admission, .. } => Reporter::Local(admission.clone()),
            Inner::Redis { admission, .. } => Reporter::Redis(admission.clone()),
        }
    }
}

/// The state that this process has for itself.
#[derive(Debug)]
struct ProcessState {
    account: CoordinatedAccount,
    configured: Option<GatewayRate>,
    settings: Mutex<OperatorSettings>,
    retry_times: Mutex<RetryTimes>,
    /// From when on an inquiry on a recent hint may go like a link again.
    inquiry_like_link_at: Mutex<Option<Instant>>,
    /// Calls that wait for the rate limit and let links and other urgent calls go first.
    soon: WaitingCalls,
    late: WaitingCalls,
    seen: Mutex<Option<AdmissionView>>,
    changed: Notify,
}

impl Coordination {
    /// For one process alone; `None` is no rate limit.
    pub fn local(account: CoordinatedAccount, rate: Option<GatewayRate>) -> Self {
        Self::new(account, Inner::Local { notes: Notes::default(), admission: LocalAdmission::default() }, rate)
    }

    /// For all processes of an installation; `None` is no rate limit.
    pub fn redis(account: CoordinatedAccount, server: RedisServer, rate: Option<GatewayRate>) -> Self {
        let (notes, admission) = (RedisNotes::new(server.clone()), RedisAdmission::new(&account, server));
        Self::new(account, Inner::Redis { notes, admission }, rate)
    }

    fn new(account: CoordinatedAccount, inner: Inner, configured: Option<GatewayRate>) -> Self {
        metrics::begin_at_zero(&account);
        let process = ProcessState {
            account,
            configured,
            settings: Mutex::default(),
            retry_times: Mutex::default(),
            inquiry_like_link_at: Mutex::default(),
            soon: WaitingCalls::default(),
            late: WaitingCalls::default(),
            seen: Mutex::default(),
            changed: Notify::new(),
        };
        Coordination { inner, process: Arc::new(process), is_observer: false }
    }

    /// For a command that only asks how the gateway is: its calls pass by the breaker, and their results are not counted.
    /// Rate limit, `Retry-After` and an operator's pause hold for it, and it shares the access token.
    #[must_use]
    pub fn observer(self) -> Self {
        Coordination { is_observer: true, ..self }
    }

    /// The account whose calls it admits.
    pub fn account(&self) -> &CoordinatedAccount {
        &self.process.account
    }

    /// The note of that name, if there is one and it can be read.
    pub async fn note(&self, name: &str) -> Option<Note> {
        match &self.inner {
            Inner::Local { notes, .. } => notes.read(name),
            Inner::Redis { notes, .. } => notes.read(name).await,
        }
    }

    /// Writes a note and replaces the old one. The note is lost if Redis is away.
    pub async fn write_note(&self, name: &str, note: &Note) {
        match &self.inner {
            Inner::Local { notes, .. } => notes.write(name, note),
            Inner::Redis { notes, .. } => notes.write(name, note).await,
        }
    }

    /// Removes the note if it still says `text`; a newer one stays.
    ///
    /// On Redis these are two commands without a script, so a note that is written just between them is lost, too. Its
    /// readers then get one token more than needed; nothing else happens.
    pub async fn drop_note(&self, name: &str, text: &Secret) {
        match &self.inner {
            Inner::Local { notes, .. } => notes.remove(name, text),
            Inner::Redis { notes, .. } => notes.remove(name, text).await,
        }
    }

    /// Asks to be the only process that does `name`, for at most `lifetime`. `who` must be random;
    /// [`Coordination::drop_note`] with it gives the claim back. A claim saves work; it does not prove that no other process
    /// does the same.
    pub async fn claim(&self, name: &str, who: &Secret, lifetime: Duration) -> Claim {
        match &self.inner {
            Inner::Local { notes, .. } => notes.claim(name, who, lifetime),
            Inner::Redis { notes, .. } => notes.claim(name, who, lifetime).await,
        }
    }

    /// Waits until the call may leave: at most 2 s if it is urgent and 5 s if not, and not at all if many calls wait
    /// already. The permit must be settled.
    ///
    /// # Errors
    /// [`HeldBack`] when the call may not leave, or not so soon.
    pub async fn admit(&self, urgency: Urgency) -> Result<Permit, HeldBack> {
        self.admit_one(urgency, !self.is_observer).await
    }

    /// As [`Coordination::admit`], for a call that says nothing about the gateway's health and does not depend on it: it
    /// passes by the breaker.
    ///
    /// # Errors
    /// As [`Coordination::admit`].
    pub async fn admit_without_breaker(&self, urgency: Urgency) -> Result<Permit, HeldBack> {
        self.admit_one(urgency, false).await
    }

    async fn admit_one(&self, urgency: Urgency, minds_breaker: bool) -> Result<Permit, HeldBack> {
        let admitted = match (urgency, self.admitted(urgency, minds_breaker).await) {
            (Urgency::Soon | Urgency::Later, Err(denied)) if denied.obstacle == Obstacle::RateLimit => {
                self.admitted_after_waiting(urgency, denied, minds_breaker).await
            }
            (Urgency::Now | Urgency::Soon | Urgency::Later, admitted) => admitted,
        };
        self.publish();
        admitted.map_err(|Denied { obstacle, wait }| {
            metrics::count_held_back(&self.process.account, &obstacle);
            HeldBack { obstacle, retry_after: self.retry_time(urgency, wait) }
        })
    }

    async fn admitted(&self, urgency: Urgency, minds_breaker: bool) -> Result<Permit, Denied> {
        self.check_paused(urgency)?;
        let rate = self.rate();
        let name = format!("{:016x}", rand::random::<u64>());
        let mut asks = Probe::asks(self.inner.reporter(), &name);
        let request = CallRequest { urgency, limit: rate.map(RateLimit::new), name, minds_breaker };
        let granted = match &self.inner {
            Inner::Local { admission, .. } => admission.admit(&request),
            Inner::Redis { admission, .. } => {
                admission.admit(&request, rate.map(rate_without_redis).map(RateLimit::new)).await
            }
        };
        if !granted.as_ref().is_ok_and(|granted| granted.probe.is_some()) {
            asks.is_done();
        }
        let Granted { wait, probe, is_alone } = granted?;
        let mut probe = probe.map(|_| asks.granted(is_alone));
        if !wait.is_zero() {
            sleep(wait).await;
            // Much may have changed meanwhile.
            self.refresh().await;
            self.check_paused(urgency)?;
            let view = self.view();
            if let Some(wait) = view.retry_after {
                return Err(Denied { obstacle: Obstacle::RetryAfter, wait });
            }
            if view.breaker.state != BreakerState::Closed && probe.is_none() && minds_breaker {
                let (wait, cause) = (view.breaker.opens_in, view.breaker.cause);
                return Err(Denied { obstacle: Obstacle::Breaker { cause }, wait });
            }
        }
        probe.iter_mut().for_each(Probe::leaves);
        Ok(Permit { probe, is_alone })
    }

    /// Waits until the rate limit has a call left that no more urgent call needs, behind the calls of the same urgency that
    /// wait already. `denied` is the first answer that the caller got.
    async fn admitted_after_waiting(
        &self,
        urgency: Urgency,
        denied: Denied,
        minds_breaker: bool,
    ) -> Result<Permit, Denied> {
        let waiting = if urgency == Urgency::Soon { &self.process.soon } else { &self.process.late };
        let until = Instant::now() + LONGEST_WAIT_LATE;
        let Ok(_place) = waiting.places.try_acquire() else { return Err(denied) };
        let Ok(_first) = timeout_at(until, waiting.first.lock()).await else { return Err(denied) };
        loop {
            let mut admitted = self.admitted(urgency, minds_breaker).await;
            if urgency == Urgency::Soon && is_over_rate_limit(&admitted) && self.inquiry_may_go_like_a_link() {
                admitted = self.admitted(Urgency::Now, minds_breaker).await;
                if admitted.is_ok() {
                    self.note_inquiry_like_a_link();
                }
            }
            match admitted {
                Err(Denied { obstacle: Obstacle::RateLimit, wait }) => {
                    let pause = if urgency == Urgency::Soon { wait.min(INQUIRE_AGAIN) } else { wait };
                    if Instant::now() + pause > until {
                        return Err(Denied { obstacle: Obstacle::RateLimit, wait });
                    }
                    sleep(pause).await;
                }
                admitted => return admitted,
            }
        }
    }

    /// Whether an inquiry may take a link's place now: many links at once must not keep payments from being confirmed.
    fn inquiry_may_go_like_a_link(&self) -> bool {
        self.process.inquiry_like_link_at.lock().is_none_or(|next| next <= Instant::now())
    }

    fn note_inquiry_like_a_link(&self) {
        if let Some(limit) = self.rate().map(RateLimit::new) {
            *self.process.inquiry_like_link_at.lock() = Some(Instant::now() + limit.interval * CALLS_PER_INQUIRY);
        }
    }

    fn check_paused(&self, urgency: Urgency) -> Result<(), Denied> {
        let wait = match urgency {
            Urgency::Now | Urgency::Soon => PAUSED,
            Urgency::Later => PAUSED_LATE,
        };
        let is_paused = self.process.settings.lock().is_paused;
        if is_paused { Err(Denied { obstacle: Obstacle::Operator, wait }) } else { Ok(()) }
    }

    /// Reports the result of a call to the breaker.
    pub async fn settle(&self, permit: Permit, outcome: CallOutcome<'_>) {
        if self.is_observer {
            return;
        }
        let Permit { mut probe, is_alone } = permit;
        probe.iter_mut().for_each(|probe| probe.ends(outcome));
        self.inner.reporter().report(probe.as_ref().map(Probe::name), is_alone, outcome).await;
        probe.iter_mut().for_each(Probe::is_done);
        self.publish();
    }

    /// Obeys the gateway's `Retry-After`: no process calls it for so long.
    pub async fn begin_retry_after(&self, wait: Duration) {
        if self.is_observer {
            return;
        }
        match &self.inner {
            Inner::Local { admission, .. } => admission.begin_retry_after(wait),
            Inner::Redis { admission, .. } => admission.begin_retry_after(wait).await,
        }
        self.publish();
    }

    /// How long to wait if the breaker lets no call through now, as this process last read it.
    pub fn breaker_wait(&self, urgency: Urgency) -> Option<Duration> {
        let breaker = self.view().breaker;
        (breaker.state != BreakerState::Closed).then(|| self.retry_time(urgency, breaker.opens_in))
    }

    /// Applies the operator's settings as they now stand in the database. At the start of a process (`is_first`) their times
    /// are the past and change nothing. Later a new time of a reset closes the breaker, and a new time of an override ends
    /// a `Retry-After`.
    pub async fn apply(&self, settings: OperatorSettings, is_first: bool) {
        let before = std::mem::replace(&mut *self.process.settings.lock(), settings);
        if !is_first && before.breaker_reset_at_ms != settings.breaker_reset_at_ms {
            match &self.inner {
                Inner::Local { admission, .. } => admission.reset_breaker(),
                Inner::Redis { admission, .. } => admission.reset_breaker().await,
            }
        }
        if !is_first && before.retry_after_overridden_at_ms != settings.retry_after_overridden_at_ms {
            match &self.inner {
                Inner::Local { admission, .. } => admission.end_retry_after(),
                Inner::Redis { admission, .. } => admission.end_retry_after().await,
            }
        }
        self.publish();
    }

    /// Reads the shared state, where processes share it.
    pub async fn refresh(&self) {
        match &self.inner {
            Inner::Local { .. } => (),
            Inner::Redis { admission, .. } => admission.refresh().await,
        }
        self.publish();
    }

    /// The admission as this process last read it.
    pub fn view(&self) -> AdmissionView {
        let (is_shared, retry_after, breaker) = match &self.inner {
            Inner::Local { admission, .. } => {
                let (retry_after, breaker) = admission.view();
                (true, retry_after, breaker)
            }
            Inner::Redis { admission, .. } => admission.view(),
        };
        let rate = self.rate();
        let rate = if is_shared { rate } else { rate.map(rate_without_redis) };
        let is_paused = self.process.settings.lock().is_paused;
        AdmissionView { configured: self.process.configured, rate, is_paused, is_shared, breaker, retry_after }
    }

    /// Sets this account's gauges. Those of times change without any event.
    pub fn gauge(&self) {
        metrics::gauge_admission(&self.process.account, &self.view());
    }

    /// Waits until the admission has changed, as this process sees it.
    pub async fn changed(&self) {
        self.process.changed.notified().await;
    }

    /// Sets the metrics and wakes [`Coordination::changed`], if the admission has changed.
    fn publish(&self) {
        let view = self.view();
        let mut seen = self.process.seen.lock();
        if seen.as_ref().is_none_or(|seen| view.differs_from(seen)) {
            metrics::gauge_admission(&self.process.account, &view);
            *seen = Some(view);
            self.process.changed.notify_one();
        }
    }

    /// The whole rate limit in force, which all processes share.
    fn rate(&self) -> Option<GatewayRate> {
        self.process.settings.lock().rate.or(self.process.configured)
    }

    fn retry_time(&self, urgency: Urgency, wait: Duration) -> Duration {
        let limit = self.rate().map(RateLimit::new);
        self.process.retry_times.lock().give_out(urgency, wait, limit, Instant::now())
    }
}

fn is_over_rate_limit(admitted: &Result<Permit, Denied>) -> bool {
    matches!(admitted, Err(Denied { obstacle: Obstacle::RateLimit, .. }))
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
pub(crate) mod tests;
