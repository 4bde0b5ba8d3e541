//! Where a connection is between one request and the next, and when it must be further.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long each part of a request may take, and how long there may be none.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Until the first byte of the next request. Longer than the 60 s for which proxies keep a connection.
    pub idle: Duration,
    /// From the first byte of a request until its head is whole.
    pub head: Duration,
    /// From then until the answer begins: an end for what no time limit of the routes has ended.
    pub work: Duration,
    /// From then until the answer is sent, however slowly it is read.
    pub send: Duration,
    /// How long an endless answer may send nothing. Event streams send something every 15 s.
    pub silence: Duration,
    /// The answer to a request that comes later than this is the connection's last.
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

/// The parts of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing of a request has come yet.
    Idle,
    /// Its head is coming.
    Head,
    /// It is being answered.
    Work,
    /// Its answer, whose length is known, is being sent.
    Send,
    /// Its answer goes on until there is nothing more to tell.
    Stream,
    /// All of the answer is handed to the connection, and not all of it is sent.
    Flush,
}

/// Where one connection is. Changed by its own task; read by whoever needs its place.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    began: Instant,
    timings: Timings,
    /// Notified to have the connection closed.
    pub(crate) closing: Notify,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    since: Instant,
    /// Of the answer that is being sent, unless it is shared.
    unsent_bytes: usize,
}

impl Progress {
    pub(crate) fn new(timings: Timings) -> Self {
        let began = Instant::now();
        let state = State { stage: Stage::Idle, since: began, unsent_bytes: 0 };
        Progress { state: Mutex::new(state), began, timings, closing: Notify::new() }
    }

    /// The stage, and how long it has lasted.
    pub(crate) fn stage(&self) -> (Stage, Duration) {
        let state = self.state();
        (state.stage, state.since.elapsed())
    }

    /// When the connection ends unless it gets further.
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

    /// Whether this answer should be the last.
    pub(crate) fn is_old(&self) -> bool {
        self.began.elapsed() >= self.timings.life
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.state().unsent_bytes
    }

    /// Bytes came. Those after the first of a request gain it no time.
    pub(crate) fn came(&self) {
        let mut state = self.state();
        if state.stage == Stage::Idle {
            state.enter(Stage::Head);
        }
    }

    /// The head is whole.
    pub(crate) fn asked(&self) {
        self.state().enter(Stage::Work);
    }

    /// An answer of that many bytes begins, or one that has no end yet.
    pub(crate) fn answers(&self, bytes: Option<usize>) {
        let mut state = self.state();
        // The end of the answer before it may be unsent, too, where the caller asks before it has read.
        state.unsent_bytes = state.unsent_bytes.saturating_add(bytes.unwrap_or_default());
        state.enter(if bytes.is_some() { Stage::Send } else { Stage::Stream });
    }

    /// Bytes went. Those of an answer that has an end gain it no time.
    pub(crate) fn went(&self) {
        let mut state = self.state();
        if state.stage == Stage::Stream {
            state.since = Instant::now();
        }
    }

    /// All of the answer is handed over.
    pub(crate) fn handed_over(&self) {
        let mut state = self.state();
        match state.stage {
            Stage::Send => state.stage = Stage::Flush,
            Stage::Stream => state.enter(Stage::Flush),
            Stage::Idle | Stage::Head | Stage::Work | Stage::Flush => (),
        }
    }

    /// All that was handed over is sent. Gives the bytes that are no longer unsent.
    pub(crate) fn flushed(&self) -> usize {
        let mut state = self.state();
        if state.stage != Stage::Flush {
            return 0;
        }
        state.enter(Stage::Idle);
        std::mem::take(&mut state.unsent_bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}
