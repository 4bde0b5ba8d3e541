//! What this process has just committed, for its relay: ids to be pushed at once, and when the database must be asked.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use domain::id::JobId;
use domain::job::QueueName;

/// What was committed since the relay last asked.
#[derive(Debug, Default)]
pub struct Fresh {
    /// Ids of rows that are marked as offered already, by queue: whoever has them pushes them.
    pub offered: HashMap<QueueName, Vec<JobId>>,
    /// When the earliest of the other rows is due, epoch milliseconds; `None` where there is none.
    pub due_at_ms: Option<i64>,
}

impl Fresh {
    pub(super) fn is_empty(&self) -> bool {
        self.offered.is_empty() && self.due_at_ms.is_none()
    }

    pub(super) fn offer(&mut self, queue: QueueName, id: JobId) {
        self.offered.entry(queue).or_default().push(id);
    }

    pub(super) fn due(&mut self, due_at_ms: i64) {
        self.due_at_ms = Some(self.due_at_ms.map_or(due_at_ms, |earliest| earliest.min(due_at_ms)));
    }

    fn add(&mut self, more: Fresh) {
        for (queue, ids) in more.offered {
            self.offered.entry(queue).or_default().extend(ids);
        }
        if let Some(due_at_ms) = more.due_at_ms {
            self.due(due_at_ms);
        }
    }
}

/// Where it waits for the relay.
#[derive(Debug, Default)]
pub(super) struct Tray {
    contents: Mutex<Contents>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Contents {
    fresh: Fresh,
    /// The queues that take ids as soon as their rows are committed: their relay works, and there is room.
    open: Vec<QueueName>,
}

impl Tray {
    pub(super) fn put(&self, fresh: Fresh) {
        if !fresh.is_empty() {
            self.contents().fresh.add(fresh);
            self.bell.notify_one();
        }
    }

    /// Waits until there is something; what was put in since the last call counts.
    pub(super) async fn filled(&self) {
        self.bell.notified().await;
    }

    pub(super) fn take(&self) -> Fresh {
        std::mem::take(&mut self.contents().fresh)
    }

    pub(super) fn is_open(&self, queue: QueueName) -> bool {
        self.contents().open.contains(&queue)
    }

    pub(super) fn open_only(&self, queues: Vec<QueueName>) {
        self.contents().open = queues;
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }
}
