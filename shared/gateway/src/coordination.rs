//! What processes share besides the queue: the gateway's token, and the weather there (budget of calls, breaker, and
//! the patience that the gateway asks for).
//!
//! Everything here may vanish at any moment. With Redis away each process goes on alone, on a token and a breaker of
//! its own and a share of the budget; nothing here ever decides about money. What an operator says about the gateway
//! does not come from Redis, and is handed in by `weather`.

use std::sync::Arc;
use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use domain::secret::Secret;
use parking_lot::Mutex;
use redis_server::RedisServer;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

mod admission;
mod breaker;
mod budget;
mod come_back;
mod local;
mod metrics;
mod note;
mod redis;
mod redis_weather;
mod turn;
mod weather;

use budget::{INQUIRY_BESIDE_LINKS, LATE_IN_LINE, LONGEST_LATE_TURN, Pace};
use come_back::Line;
use local::{LocalWeather, Notes};
pub use metrics::gauge_weather;
pub use note::{Claim, Note};
use redis::RedisNotes;
use redis_weather::RedisWeather;
use turn::{Asked, Blocked, Turn};
pub use weather::{BreakerView, HeldBack, Obstacle, OperatorsWord, Outcome, PROBE_WITHIN, Pass, State, Urgency, View};

/// What processes share: notes that expire, and the weather at the gateway. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Coordination {
    inner: Inner,
    own: Arc<Own>,
    is_observer: bool,
}

#[derive(Clone, Debug)]
enum Inner {
    Local { notes: Notes, weather: LocalWeather },
    Redis { notes: RedisNotes, weather: RedisWeather },
}

/// What this process knows by itself.
#[derive(Debug)]
struct Own {
    configured: Option<GatewayRate>,
    word: Mutex<OperatorsWord>,
    line: Mutex<Line>,
    /// From when on an inquiry on a recent hint may go like a link again.
    inquiry_beside_links: Mutex<Option<Instant>>,
    /// Where calls wait for a turn that links and other urgent ones do not want.
    soon: WaitingRoom,
    late: WaitingRoom,
    told: Mutex<Option<View>>,
    changed: Notify,
}

/// The places of calls that wait for a free turn, and who of them is first.
#[derive(Debug)]
struct WaitingRoom {
    places: Semaphore,
    first: tokio::sync::Mutex<()>,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        WaitingRoom { places: Semaphore::new(LATE_IN_LINE), first: tokio::sync::Mutex::default() }
    }
}

/// Nobody can count the processes while Redis is away; four of them alone stay within the budget.
const SHARE: u32 = 4;

/// An inquiry that waits for its turn tries again after this: a place in the line of links may be free meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An operator who has closed the gateway may open it at any moment.
const OPENED_SOON: Duration = Duration::from_secs(2);
const OPENED_SOON_LATER: Duration = Duration::from_secs(15);

impl Coordination {
    /// For one process alone; `None` is an unlimited budget.
    pub fn local(rate: Option<GatewayRate>) -> Self {
        Self::new(Inner::Local { notes: Notes::default(), weather: LocalWeather::default() }, rate)
    }

    /// For all processes of an installation; `None` is an unlimited budget.
    pub fn redis(server: RedisServer, rate: Option<GatewayRate>) -> Self {
        Self::new(Inner::Redis { notes: RedisNotes::new(server.clone()), weather: RedisWeather::new(server) }, rate)
    }

    fn new(inner: Inner, configured: Option<GatewayRate>) -> Self {
        let own = Own {
            configured,
            word: Mutex::default(),
            line: Mutex::default(),
            inquiry_beside_links: Mutex::default(),
            soon: WaitingRoom::default(),
            late: WaitingRoom::default(),
            told: Mutex::default(),
            changed: Notify::new(),
        };
        Coordination { inner, own: Arc::new(own), is_observer: false }
    }

    /// For one who only asks how things are: calls pass the breaker by, and what comes of them is told to nobody. The
    /// budget, the gateway's wish for patience and an operator's word hold, and the access token is shared.
    #[must_use]
    pub fn observer(self) -> Self {
        Coordination { is_observer: true, ..self }
    }

    /// The note of that name, if there is one and it can be read.
    pub async fn note(&self, name: &str) -> Option<Note> {
        match &self.inner {
            Inner::Local { notes, .. } => notes.read(name),
            Inner::Redis { notes, .. } => notes.read(name).await,
        }
    }

    /// Writes a note, over whatever stands there. It is lost if Redis is away.
    pub async fn write_note(&self, name: &str, note: &Note) {
        match &self.inner {
            Inner::Local { notes, .. } => notes.write(name, note),
            Inner::Redis { notes, .. } => notes.write(name, note).await,
        }
    }

    /// Removes the note if it still says `text`; a newer one stays.
    ///
    /// On Redis these are two commands without a script, so a note written just between them is lost, too: its
    /// readers then fetch a token once more than needed, and nothing else.
    pub async fn drop_note(&self, name: &str, text: &Secret) {
        match &self.inner {
            Inner::Local { notes, .. } => notes.remove(name, text),
            Inner::Redis { notes, .. } => notes.remove(name, text).await,
        }
    }

    /// Asks to be the only one to do what `name` says, for at most `lifetime`; `who` must be random, and gives it
    /// back with [`Coordination::drop_note`]. It spares work; it is no proof of being alone.
    pub async fn claim(&self, name: &str, who: &Secret, lifetime: Duration) -> Claim {
        match &self.inner {
            Inner::Local { notes, .. } => notes.claim(name, who, lifetime),
            Inner::Redis { notes, .. } => notes.claim(name, who, lifetime).await,
        }
    }

    /// Waits for the caller's turn, at most 2 s if it is urgent and 5 s if not, and then not in a long line. The pass must
    /// be settled.
    ///
    /// # Errors
    /// [`HeldBack`] when the call may not leave, or not so soon.
    pub async fn admit(&self, urgency: Urgency) -> Result<Pass, HeldBack> {
        self.admit_one(urgency, !self.is_observer).await
    }

    /// As [`Coordination::admit`], for a question that says nothing about the gateway's health and need not wait for it:
    /// the breaker is passed by.
    ///
    /// # Errors
    /// As [`Coordination::admit`].
    pub async fn admit_beside_breaker(&self, urgency: Urgency) -> Result<Pass, HeldBack> {
        self.admit_one(urgency, false).await
    }

    async fn admit_one(&self, urgency: Urgency, minds_breaker: bool) -> Result<Pass, HeldBack> {
        let admitted = match (urgency, self.admitted(urgency, minds_breaker).await) {
            (Urgency::Soon | Urgency::Later, Err(blocked)) if blocked.obstacle == Obstacle::Budget => {
                self.admitted_in_the_end(urgency, blocked, minds_breaker).await
            }
            (Urgency::Now | Urgency::Soon | Urgency::Later, admitted) => admitted,
        };
        self.notice();
        admitted.map_err(|Blocked { obstacle, wait }| {
            metrics::gateway_calls_held_back().with_label_values(&[obstacle.name()]).inc();
            HeldBack { obstacle, retry_after: self.come_back(urgency, wait) }
        })
    }

    async fn admitted(&self, urgency: Urgency, minds_breaker: bool) -> Result<Pass, Blocked> {
        self.operator_allows(urgency)?;
        let rate = self.rate();
        let name = format!("{:016x}", rand::random::<u64>());
        let asked = Asked { urgency, pace: rate.map(Pace::new), name, minds_breaker };
        let Turn { wait, probe, is_alone } = match &self.inner {
            Inner::Local { weather, .. } => weather.admit(&asked)?,
            Inner::Redis { weather, .. } => weather.admit(&asked, rate.map(share).map(Pace::new)).await?,
        };
        if !wait.is_zero() {
            sleep(wait).await;
            // Much may have been said meanwhile.
            self.look().await;
            self.operator_allows(urgency)?;
            let view = self.view();
            if let Some(wait) = view.told_for {
                return Err(Blocked { obstacle: Obstacle::RetryAfter, wait });
            }
            if view.breaker.state != State::Closed && probe.is_none() && minds_breaker {
                let (wait, cause) = (view.breaker.opens_in, view.breaker.cause);
                return Err(Blocked { obstacle: Obstacle::Breaker { cause }, wait });
            }
        }
        Ok(Pass { probe, is_alone })
    }

    /// Waits until a turn is free that no more urgent call wants, behind the calls of that urgency that wait already;
    /// `blocked` is what the caller was told first.
    async fn admitted_in_the_end(
        &self,
        urgency: Urgency,
        blocked: Blocked,
        minds_breaker: bool,
    ) -> Result<Pass, Blocked> {
        let room = if urgency == Urgency::Soon { &self.own.soon } else { &self.own.late };
        let until = Instant::now() + LONGEST_LATE_TURN;
        let Ok(_place) = room.places.try_acquire() else { return Err(blocked) };
        let Ok(_first) = timeout_at(until, room.first.lock()).await else { return Err(blocked) };
        loop {
            let mut admitted = self.admitted(urgency, minds_breaker).await;
            if urgency == Urgency::Soon && is_over_budget(&admitted) && self.inquiry_may_go_like_a_link() {
                admitted = self.admitted(Urgency::Now, minds_breaker).await;
                if admitted.is_ok() {
                    self.inquiry_has_gone_like_a_link();
                }
            }
            match admitted {
                Err(Blocked { obstacle: Obstacle::Budget, wait }) => {
                    let pause = if urgency == Urgency::Soon { wait.min(LOOK_AGAIN) } else { wait };
                    if Instant::now() + pause > until {
                        return Err(Blocked { obstacle: Obstacle::Budget, wait });
                    }
                    sleep(pause).await;
                }
                admitted => return admitted,
            }
        }
    }

    /// Many links at once must not keep payments from being confirmed: now and then an inquiry stands in their line.
    fn inquiry_may_go_like_a_link(&self) -> bool {
        self.own.inquiry_beside_links.lock().is_none_or(|next| next <= Instant::now())
    }

    fn inquiry_has_gone_like_a_link(&self) {
        if let Some(pace) = self.rate().map(Pace::new) {
            *self.own.inquiry_beside_links.lock() = Some(Instant::now() + pace.between_turns * INQUIRY_BESIDE_LINKS);
        }
    }

    fn operator_allows(&self, urgency: Urgency) -> Result<(), Blocked> {
        let wait = match urgency {
            Urgency::Now | Urgency::Soon => OPENED_SOON,
            Urgency::Later => OPENED_SOON_LATER,
        };
        if self.own.word.lock().is_closed { Err(Blocked { obstacle: Obstacle::Operator, wait }) } else { Ok(()) }
    }

    /// Tells the breaker what came of a call.
    pub async fn settle(&self, pass: Pass, outcome: Outcome<'_>) {
        if self.is_observer {
            return;
        }
        match &self.inner {
            Inner::Local { weather, .. } => weather.settle(pass.probe.as_deref(), outcome),
            Inner::Redis { weather, .. } => weather.settle(&pass, outcome).await,
        }
        self.notice();
    }

    /// The gateway asks for patience: no process calls it for so long.
    pub async fn ask_for_patience(&self, patience: Duration) {
        if self.is_observer {
            return;
        }
        match &self.inner {
            Inner::Local { weather, .. } => weather.tell(patience),
            Inner::Redis { weather, .. } => weather.tell(patience).await,
        }
        self.notice();
    }

    /// How long to wait if the breaker lets nobody through now, as this process last heard.
    pub fn breaker_wait(&self, urgency: Urgency) -> Option<Duration> {
        let breaker = self.view().breaker;
        (breaker.state != State::Closed).then(|| self.come_back(urgency, breaker.opens_in))
    }

    /// Takes the operator's word, as it now stands in the database. The first one is how things are; a later one that was
    /// opened anew closes the breaker, and one that overrides the gateway's wish for patience ends that.
    pub async fn obey(&self, word: OperatorsWord, is_first: bool) {
        let before = std::mem::replace(&mut *self.own.word.lock(), word);
        if !is_first && before.opened_at_ms != word.opened_at_ms {
            match &self.inner {
                Inner::Local { weather, .. } => weather.reset_breaker(),
                Inner::Redis { weather, .. } => weather.reset_breaker().await,
            }
        }
        if !is_first && before.overridden_at_ms != word.overridden_at_ms {
            match &self.inner {
                Inner::Local { weather, .. } => weather.end_patience(),
                Inner::Redis { weather, .. } => weather.end_patience().await,
            }
        }
        self.notice();
    }

    /// Asks how the weather is, where others share it.
    pub async fn look(&self) {
        match &self.inner {
            Inner::Local { .. } => (),
            Inner::Redis { weather, .. } => weather.look().await,
        }
        self.notice();
    }

    /// The weather as this process last heard of it.
    pub fn view(&self) -> View {
        let (is_shared, told_for, breaker) = match &self.inner {
            Inner::Local { weather, .. } => {
                let (told_for, breaker) = weather.view();
                (true, told_for, breaker)
            }
            Inner::Redis { weather, .. } => weather.view(),
        };
        let rate = self.rate();
        let rate = if is_shared { rate } else { rate.map(share) };
        let is_closed = self.own.word.lock().is_closed;
        View { configured: self.own.configured, rate, is_closed, is_shared, breaker, told_for }
    }

    /// Waits until the weather has changed, as this process sees it.
    pub async fn changed(&self) {
        self.own.changed.notified().await;
    }

    /// Tells of the weather, if it is another one.
    fn notice(&self) {
        let view = self.view();
        let mut told = self.own.told.lock();
        if told.as_ref().is_none_or(|told| view.differs_from(told)) {
            metrics::gauge_weather(&view);
            *told = Some(view);
            self.own.changed.notify_one();
        }
    }

    /// The whole budget in force, which all processes share.
    fn rate(&self) -> Option<GatewayRate> {
        self.own.word.lock().rate.or(self.own.configured)
    }

    fn come_back(&self, urgency: Urgency, wait: Duration) -> Duration {
        self.own.line.lock().place(urgency, wait, self.rate().map(Pace::new), Instant::now())
    }
}

fn is_over_budget(admitted: &Result<Pass, Blocked>) -> bool {
    matches!(admitted, Err(Blocked { obstacle: Obstacle::Budget, .. }))
}

/// What one process may use of the budget where it cannot share it with the others.
pub fn share(rate: GatewayRate) -> GatewayRate {
    GatewayRate { per_second: (rate.per_second / SHARE).max(1), burst: (rate.burst / SHARE).max(1) }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
