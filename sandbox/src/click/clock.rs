//! Click's own time, which can be set: day and month decide what can be asked and reversed.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::SandboxClock;

/// A clock that runs with the sandbox's, before or behind it. After a restart it has the machine's time again.
#[derive(Debug)]
pub(crate) struct ClickClock {
    sandbox: SandboxClock,
    ahead_ms: AtomicI64,
}

impl ClickClock {
    /// A clock with the sandbox's time.
    pub(crate) fn new(sandbox: SandboxClock) -> Self {
        ClickClock { sandbox, ahead_ms: AtomicI64::new(0) }
    }

    /// Epoch milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.sandbox.now_ms().saturating_add(self.ahead_ms())
    }

    /// How far it is ahead of the sandbox's clock; below zero if it is behind.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Acquire)
    }

    /// From now on it runs from `now_ms`; `None` sets it to the sandbox's time.
    pub(crate) fn set(&self, now_ms: Option<i64>) {
        let ahead = now_ms.map_or(0, |now_ms| now_ms.saturating_sub(self.sandbox.now_ms()));
        self.ahead_ms.store(ahead, Ordering::Release);
    }
}
