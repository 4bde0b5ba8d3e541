//! Notes and weather inside one process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::secret::Secret;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::admission::Admission;
use super::note::{Claim, Note};
use super::turn::{Asked, Blocked, Turn};
use super::weather::{BreakerView, Outcome};

/// Notes in memory. There are as many as names are used, which is two.
#[derive(Clone, Default, Debug)]
pub(super) struct Notes(Arc<Mutex<HashMap<String, (Secret, Instant)>>>);

impl Notes {
    pub(super) fn read(&self, name: &str) -> Option<Note> {
        let now = Instant::now();
        let notes = self.0.lock();
        let (text, until) = notes.get(name)?;
        let good_for = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some(Note { text: text.clone(), good_for })
    }

    pub(super) fn write(&self, name: &str, note: &Note) {
        self.0.lock().insert(name.to_owned(), (note.text.clone(), Instant::now() + note.good_for));
    }

    pub(super) fn remove(&self, name: &str, text: &Secret) {
        let mut notes = self.0.lock();
        if notes.get(name).is_some_and(|(present, _)| present == text) {
            notes.remove(name);
        }
    }

    pub(super) fn claim(&self, name: &str, who: &Secret, lifetime: Duration) -> Claim {
        let now = Instant::now();
        let mut notes = self.0.lock();
        if notes.get(name).is_some_and(|(_, until)| *until > now) {
            return Claim::Taken;
        }
        notes.insert(name.to_owned(), (who.clone(), now + lifetime));
        Claim::Yours
    }
}

/// The weather of one process that shares it with nobody.
#[derive(Clone, Default, Debug)]
pub(super) struct LocalWeather(Arc<Mutex<Admission>>);

impl LocalWeather {
    /// Lets a call leave, after its wait for a turn; or says what is in its way.
    pub(super) fn admit(&self, asked: &Asked) -> Result<Turn, Blocked> {
        self.0.lock().admit(Instant::now(), asked)
    }

    /// Takes note of what came of a call.
    pub(super) fn settle(&self, probe: Option<&str>, outcome: Outcome<'_>) {
        self.0.lock().settle(Instant::now(), probe, outcome);
    }

    /// Lets nobody call for so long.
    pub(super) fn tell(&self, patience: Duration) {
        self.0.lock().tell(Instant::now(), patience);
    }

    /// Forgets that the gateway asked for patience.
    pub(super) fn end_patience(&self) {
        self.0.lock().end_patience();
    }

    /// Closes the breaker.
    pub(super) fn reset_breaker(&self) {
        self.0.lock().reset_breaker();
    }

    /// How long nobody may call yet, and how the breaker is.
    pub(super) fn view(&self) -> (Option<Duration>, BreakerView) {
        self.0.lock().view(Instant::now())
    }
}
