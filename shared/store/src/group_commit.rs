//! Group commit: callers that arrive at the same time share one transaction, and each is answered after its commit.
//!
//! No caller waits for others to join. The first is written at once; those that arrive meanwhile form the next batch. A
//! member that cannot be written with the others never fails them, and one that meets a locked row never delays them: it is
//! written alone, in a transaction of its own.
//!
//! Calls of gateways form batches by gateway account, and however many calls of one account wait, they ask for few
//! connections. So a flood of one account delays no call of another by more than a transaction.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Database, Store, StoreError};

mod batch_queue;

use batch_queue::{AccountQueue, Member};
pub(super) use batch_queue::{BatchOutcome, BatchQueue, Batched, LockedRows, MemberOutcome};

/// After this time a waiting caller starts another writer beside the slow one, whose connection may hang or whose row may
/// be locked.
const SECOND_WRITER_AFTER: Duration = Duration::from_millis(50);

/// The most writers of one account's queue at a time on PostgreSQL, and the most members of one subject that are written at a
/// time.
const MAX_WRITERS: usize = 4;

/// The most members of one gateway account that wait for locked rows at a time: each holds a connection.
pub(super) const MAX_ALONE: usize = 4;

/// Writes it in a batch with the other waiting members, and returns after the commit. A caller that stops waiting does not
/// know whether it was written.
///
/// # Errors
/// [`StoreError`] as if it had been written alone.
pub(super) async fn run_in_batch<T: Batched>(store: &Store, item: T) -> Result<T::Answer, StoreError> {
    let (answer, mut answered) = oneshot::channel();
    let queue = T::batch_queue(store).of(&item);
    let subject = item.subject();
    queue.push(Member { item: Arc::new(item), answer, claim: None });
    start_writer(store, &queue, 1);
    loop {
        match tokio::time::timeout(SECOND_WRITER_AFTER, &mut answered).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_panicked)) => return Err(writer_crashed()),
            Err(_elapsed) => {
                let at_once = match store.database() {
                    // It has one connection that writes, which never hangs alone.
                    Database::Sqlite => 1,
                    Database::Postgres => MAX_WRITERS,
                };
                if let Some(subject) = subject {
                    queue.overtake(subject, at_once);
                }
                start_writer(store, &queue, at_once);
            }
        }
    }
}

/// Starts a writer if one is needed. It runs in a task of its own: the other members must not wait for ever when this caller
/// stops waiting.
fn start_writer<T: Batched>(store: &Store, queue: &Arc<AccountQueue<T>>, fewer_than: usize) {
    if queue.needs_writer(fewer_than, store.database()) {
        tokio::spawn(write_pending(store.clone(), Arc::clone(queue)));
    }
}

async fn write_pending<T: Batched>(store: Store, queue: Arc<AccountQueue<T>>) {
    /// Frees the writer's place after a panic, so that another writer can start.
    struct Writing<T: Batched>(Arc<AccountQueue<T>>);
    impl<T: Batched> Drop for Writing<T> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.writer_crashed();
            }
        }
    }
    let _writing = Writing(Arc::clone(&queue));
    loop {
        let members = queue.next();
        if members.is_empty() {
            return;
        }
        answer_all(&store, &queue, members).await;
    }
}

/// Returns once all of them are written or passed on to be written alone.
async fn answer_all<T: Batched>(store: &Store, queue: &Arc<AccountQueue<T>>, mut members: Vec<Member<T>>) {
    while !members.is_empty() {
        let items: Vec<Arc<T>> = members.iter().map(|member| Arc::clone(&member.item)).collect();
        match T::write_all(store, &items, LockedRows::Skip).await {
            Ok(BatchOutcome::Committed(outcomes)) => {
                for (member, outcome) in members.drain(..).zip(outcomes) {
                    match outcome.answer() {
                        Some(answer) => drop(member.answer.send(answer)),
                        None => write_alone(store, queue, member),
                    }
                }
            }
            Ok(BatchOutcome::FailedMembers(failed)) => {
                let all = members.drain(..).enumerate().collect::<Vec<_>>();
                for (place, member) in all {
                    match failed.is_empty() || failed.contains(&place) {
                        true => write_alone(store, queue, member),
                        false => members.push(member),
                    }
                }
            }
            // The database's fault, and the same for every member.
            Err(StoreError::Unavailable(error)) => {
                for member in members.drain(..) {
                    let _ = member.answer.send(Err(StoreError::Unavailable(Arc::clone(&error))));
                }
            }
            Err(StoreError::Refused(error)) => {
                for member in members.drain(..) {
                    let _ = member.answer.send(Err(StoreError::Refused(Arc::clone(&error))));
                }
            }
            Err(error) if members.len() == 1 => {
                if let Some(only) = members.pop() {
                    let _ = only.answer.send(Err(error));
                }
            }
            // One of them caused it, and the error does not tell which.
            Err(_) => members.drain(..).for_each(|member| write_alone(store, queue, member)),
        }
    }
}

/// Writes it in a task of its own, so that the lock it waits for keeps no writer from the others.
fn write_alone<T: Batched>(store: &Store, queue: &Arc<AccountQueue<T>>, member: Member<T>) {
    let (store, queue) = (store.clone(), Arc::clone(queue));
    tokio::spawn(async move {
        // It is never closed.
        let _place = queue.alone.acquire().await;
        let Member { item, answer, claim } = member;
        if !answer.is_closed() {
            let _ = answer.send(written_alone(&store, item).await);
        }
        drop(claim);
        start_writer(&store, &queue, 1);
    });
}

async fn written_alone<T: Batched>(store: &Store, item: Arc<T>) -> Result<T::Answer, StoreError> {
    match T::write_all(store, &[item], LockedRows::Wait).await? {
        BatchOutcome::Committed(mut outcomes) => {
            outcomes.pop().and_then(MemberOutcome::answer).unwrap_or(Err(writer_crashed()))
        }
        BatchOutcome::FailedMembers(_) => Err(writer_crashed()),
    }
}

/// The writer ended before it answered.
fn writer_crashed() -> StoreError {
    StoreError::Unavailable(Arc::new(sqlx::Error::WorkerCrashed))
}
