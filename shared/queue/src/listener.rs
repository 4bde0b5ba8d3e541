//! When the queue last answered the consumers of this process. Without this, a consumer that gets no answer would look
//! like one with nothing to do.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The listeners of all takers of one process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct TakerListeners(Arc<Mutex<Vec<Weak<Listener>>>>);

/// The listener of one taker; dropped with its taker.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Since when a question waits for its answer. A repeated question does not change it.
    asking_since: Mutex<Option<Instant>>,
}

impl TakerListeners {
    pub(super) fn add(&self) -> Arc<Listener> {
        let listener = Arc::new(Listener::default());
        let mut listeners = self.0.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&listener));
        listener
    }

    /// Whether there is a taker, or was one.
    pub(super) fn has_had_listener(&self) -> bool {
        // Listeners that are gone leave the list only when a new one comes.
        !self.0.lock().is_empty()
    }

    /// How long the oldest question has waited for its answer; `None` where there is no taker.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.0.lock().iter().filter_map(Weak::upgrade).map(|listener| listener.silent_for(now)).max()
    }
}

impl Listener {
    /// Notes that a question was sent.
    pub(super) fn asks(&self, now: Instant) {
        self.asking_since.lock().get_or_insert(now);
    }

    /// Notes that the queue answered, with ids or without.
    pub(super) fn answered(&self) {
        *self.asking_since.lock() = None;
    }

    fn silent_for(&self, now: Instant) -> Duration {
        self.asking_since.lock().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taker_is_silent_from_its_question_to_its_answer_and_never_while_it_is_busy() {
        let (listeners, began) = (TakerListeners::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(listeners.silent_for(began), None, "there is no taker");
        assert!(!listeners.has_had_listener());
        let (one, other) = (listeners.add(), listeners.add());
        assert_eq!(listeners.silent_for(after(5)), Some(Duration::ZERO));

        one.asks(after(5));
        one.asks(after(6));
        other.asks(after(6));
        other.answered();
        assert_eq!(listeners.silent_for(after(7)), Some(Duration::from_secs(2)), "asking again is no answer");

        one.answered();
        assert_eq!(listeners.silent_for(after(60)), Some(Duration::ZERO), "its jobs keep it from asking");
        drop((one, other));
        assert_eq!(listeners.silent_for(after(60)), None);
        assert!(listeners.has_had_listener());
    }
}
