//! The queue inside one process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::id::JobId;
use domain::job::QueueName;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::listener::TakerListeners;

/// A list of ids per queue, shared by the whole process.
#[derive(Clone, Debug, Default)]
pub struct LocalQueue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lists: Mutex<HashMap<QueueName, VecDeque<JobId>>>,
    bell: Notify,
    listeners: TakerListeners,
}

impl LocalQueue {
    pub(super) fn push(&self, queue: QueueName, ids: &[JobId]) -> u64 {
        let waiting = {
            let mut lists = self.lists();
            let list = lists.entry(queue).or_default();
            list.extend(ids);
            list.len() as u64
        };
        self.0.bell.notify_waiters();
        waiting
    }

    pub(super) fn len(&self, queue: QueueName) -> u64 {
        self.lists().get(&queue).map_or(0, |list| list.len() as u64)
    }

    pub(super) fn listeners(&self) -> &TakerListeners {
        &self.0.listeners
    }

    pub(super) async fn take(&self, queues: &[QueueName], max: usize, wait: Duration) -> Vec<JobId> {
        let taking = async {
            loop {
                // Before the lists are read, so that no push in between is missed.
                let mut rung = std::pin::pin!(self.0.bell.notified());
                rung.as_mut().enable();
                let ids = self.take_now(queues, max);
                if !ids.is_empty() {
                    return ids;
                }
                rung.await;
            }
        };
        tokio::time::timeout(wait, taking).await.unwrap_or_default()
    }

    fn take_now(&self, queues: &[QueueName], max: usize) -> Vec<JobId> {
        let mut lists = self.lists();
        for queue in queues {
            if let Some(list) = lists.get_mut(queue).filter(|list| !list.is_empty()) {
                let count = max.min(list.len());
                return list.drain(..count).collect();
            }
        }
        Vec::new()
    }

    fn lists(&self) -> MutexGuard<'_, HashMap<QueueName, VecDeque<JobId>>> {
        self.0.lists.lock()
    }
}
