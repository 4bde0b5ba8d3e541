//! Jobs that this process has just committed, for its relay: ids to push at once, and when to ask the database next.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use domain::id::JobId;
use domain::job::QueueName;

/// The jobs committed since the relay last asked.
#[derive(Debug, Default)]
pub struct RecentJobs {
    /// Ids, by queue, of rows that are marked as enqueued already. The caller must push them.
    pub enqueued: HashMap<QueueName, Vec<JobId>>,
    /// When the earliest of the other rows is due, epoch milliseconds; `None` where there is none.
    pub due_at_ms: Option<i64>,
}

impl RecentJobs {
    pub(super) fn is_empty(&self) -> bool {
        self.enqueued.is_empty() && self.due_at_ms.is_none()
    }

    pub(super) fn enqueue(&mut self, queue: QueueName, id: JobId) {
        self.enqueued.entry(queue).or_default().push(id);
    }

    pub(super) fn due(&mut self, due_at_ms: i64) {
        self.due_at_ms = Some(self.due_at_ms.map_or(due_at_ms, |earliest| earliest.min(due_at_ms)));
    }

    fn add(&mut self, more: RecentJobs) {
        for (queue, ids) in more.enqueued {
            self.enqueued.entry(queue).or_default().extend(ids);
        }
        if let Some(due_at_ms) = more.due_at_ms {
            self.due(due_at_ms);
        }
    }
}

/// Holds recent jobs until the relay takes them.
#[derive(Debug, Default)]
pub(super) struct RelayInbox {
    state: Mutex<InboxState>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct InboxState {
    recent: RecentJobs,
    /// The queues whose due jobs are enqueued when they are staged: their relay works, and Redis has room.
    open: Vec<QueueName>,
}

impl RelayInbox {
    pub(super) fn put(&self, recent: RecentJobs) {
        if !recent.is_empty() {
            self.lock().recent.add(recent);
            self.filled.notify_one();
        }
    }

    /// Waits until the inbox has something; what came since the last call counts too.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    pub(super) fn take(&self) -> RecentJobs {
        std::mem::take(&mut self.lock().recent)
    }

    pub(super) fn is_open(&self, queue: QueueName) -> bool {
        self.lock().open.contains(&queue)
    }

    pub(super) fn open_only(&self, queues: Vec<QueueName>) {
        self.lock().open = queues;
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock()
    }
}
