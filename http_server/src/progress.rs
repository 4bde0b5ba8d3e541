//! Which part of a request a connection is in, and its deadline there.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The time limit of each part of a request, and of the wait for the next one.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Until the first byte of the next request. Longer than the 60 s for which proxies keep a connection open.
    pub idle: Duration,
    /// From the first byte of a request until its head is complete.
    pub head: Duration,
    /// From then until the response starts. Routes have their own time limits; this one catches what they miss.
    pub work: Duration,
    /// From then until the response is sent, however slowly the caller reads it.
    pub send: Duration,
    /// How long an endless response may send nothing. Event streams send something every 15 s.
    pub silence: Duration,
    /// The age of a connection after which its next response is its last.
    pub life: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(10),
            work: Duration::from_secs(120),
            send: Duration::from_secs(60),
            silence: Duration::from_secs(75),
            life: Duration::from_secs(10 * 60),
        }
    }
}

/// The stage of a connection in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No byte of the next request has come.
    Idle,
    /// The head of a request is coming.
    Head,
    /// The request is being worked on.
    Work,
    /// A response of known length is being sent.
    Send,
    /// A response without a known length, such as an event stream, is being sent.
    Stream,
    /// The whole response is handed to the connection but not yet sent.
    Flush,
}

/// The stage of one connection. Its own task changes it; the task that needs a slot for a new connection reads it.
#[derive(Debug)]
pub(crate) struct ConnectionProgress {
    state: Mutex<CurrentStage>,
    began: Instant,
    timings: Timings,
    /// Notified when the connection must close.
    pub(crate) closing: Notify,
}

#[derive(Debug)]
struct CurrentStage {
    stage: Stage,
    since: Instant,
    /// Unsent bytes of the response, 0 if its body is shared.
    unsent_bytes: usize,
}

impl ConnectionProgress {
    pub(crate) fn new(timings: Timings) -> Self {
        let began = Instant::now();
        let state = CurrentStage { stage: Stage::Idle, since: began, unsent_bytes: 0 };
        ConnectionProgress { state: Mutex::new(state), began, timings, closing: Notify::new() }
    }

    /// The stage, and how long the connection has been in it.
    pub(crate) fn stage(&self) -> (Stage, Duration) {
        let state = self.state();
        (state.stage, state.since.elapsed())
    }

    /// When the connection must close unless it gets to another stage.
    pub(crate) fn ends_at(&self) -> Instant {
        let state = self.state();
        state.since
            + match state.stage {
                Stage::Idle => self.timings.idle,
                Stage::Head => self.timings.head,
                Stage::Work => self.timings.work,
                Stage::Send | Stage::Flush => self.timings.send,
                Stage::Stream => self.timings.silence,
            }
    }

    /// Whether the next response should be the last of this connection.
    pub(crate) fn is_old(&self) -> bool {
        self.began.elapsed() >= self.timings.life
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.state().unsent_bytes
    }

    /// Bytes came. Only the first byte of a request starts a new stage, so the later ones do not extend its time.
    pub(crate) fn bytes_came(&self) {
        let mut state = self.state();
        if state.stage == Stage::Idle {
            state.enter(Stage::Head);
        }
    }

    /// The head of a request is complete.
    pub(crate) fn head_is_complete(&self) {
        self.state().enter(Stage::Work);
    }

    /// A response starts: of `bytes` bytes, or of unknown length.
    pub(crate) fn response_starts(&self, bytes: Option<usize>) {
        let mut state = self.state();
        // Added, not set: a caller that sends requests without reading may leave the previous response unsent.
        state.unsent_bytes = state.unsent_bytes.saturating_add(bytes.unwrap_or_default());
        state.enter(if bytes.is_some() { Stage::Send } else { Stage::Stream });
    }

    /// Bytes were sent. Only in a response of unknown length does that extend the time.
    pub(crate) fn bytes_went(&self) {
        let mut state = self.state();
        if state.stage == Stage::Stream {
            state.since = Instant::now();
        }
    }

    /// The whole response has been handed to the connection.
    pub(crate) fn handed_over(&self) {
        let mut state = self.state();
        match state.stage {
            Stage::Send => state.stage = Stage::Flush,
            Stage::Stream => state.enter(Stage::Flush),
            Stage::Idle | Stage::Head | Stage::Work | Stage::Flush => (),
        }
    }

    /// Everything handed over is sent. Returns how many bytes are no longer unsent.
    pub(crate) fn flushed(&self) -> usize {
        let mut state = self.state();
        if state.stage != Stage::Flush {
            return 0;
        }
        state.enter(Stage::Idle);
        std::mem::take(&mut state.unsent_bytes)
    }

    fn state(&self) -> MutexGuard<'_, CurrentStage> {
        self.state.lock()
    }
}

impl CurrentStage {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}
