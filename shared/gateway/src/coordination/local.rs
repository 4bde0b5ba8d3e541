//! Notes and admission inside one process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::secret::Secret;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::admission::Admission;
use super::call::CallOutcome;
use super::decision::{CallRequest, Denied, Granted};
use super::note::{Claim, Note};
use super::view::BreakerView;

/// Notes in memory. Only two names are in use, so they never grow.
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

/// The admission inside one process, shared by its tasks only.
#[derive(Clone, Default, Debug)]
pub(super) struct LocalAdmission(Arc<Mutex<Admission>>);

impl LocalAdmission {
    /// As [`Admission::admit`].
    pub(super) fn admit(&self, request: &CallRequest) -> Result<Granted, Denied> {
        self.0.lock().admit(Instant::now(), request)
    }

    /// As [`Admission::settle`].
    pub(super) fn settle(&self, probe: Option<&str>, outcome: CallOutcome<'_>) {
        self.0.lock().settle(Instant::now(), probe, outcome);
    }

    /// As [`Admission::begin_retry_after`].
    pub(super) fn begin_retry_after(&self, wait: Duration) {
        self.0.lock().begin_retry_after(Instant::now(), wait);
    }

    /// As [`Admission::end_retry_after`].
    pub(super) fn end_retry_after(&self) {
        self.0.lock().end_retry_after();
    }

    /// As [`Admission::reset_breaker`].
    pub(super) fn reset_breaker(&self) {
        self.0.lock().reset_breaker();
    }

    /// As [`Admission::view`].
    pub(super) fn view(&self) -> (Option<Duration>, BreakerView) {
        self.0.lock().view(Instant::now())
    }
}
