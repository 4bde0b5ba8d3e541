//! Group commit: callers that arrive at the same time share one transaction, and each is answered after its commit.
//!
//! No caller waits for others to join. The first is written at once; those that arrive meanwhile form the next batch. A
//! member that cannot be written with the others never fails them, and one that meets a locked row never delays them: it is
//! written alone, in a transaction of its own.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{Database, Store, StoreError};

/// The most members of one batch: the first of them waits until the last is written.
const MAX_BATCH: usize = 64;

/// After this time a waiting caller starts another writer beside the slow one, whose connection may hang or whose row may
/// be locked.
const SECOND_WRITER_AFTER: Duration = Duration::from_millis(50);

/// The most writers of one queue at a time.
const MAX_WRITERS: usize = 4;

/// How a statement treats rows that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockedRows {
    /// It waits for them.
    Wait,
    /// It skips them, and each member that needs one is written alone.
    Skip,
}

/// How one member of a batch ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberOutcome<A> {
    /// Committed, with the answer to its caller.
    Done(A),
    /// Another worker holds its lease by now; nothing of it is written.
    LeaseLost,
    /// Nothing of it is written; it must be written alone.
    Alone,
}

impl<A> MemberOutcome<A> {
    fn answer(self) -> Option<Result<A, StoreError>> {
        match self {
            MemberOutcome::Done(answer) => Some(Ok(answer)),
            MemberOutcome::LeaseLost => Some(Err(StoreError::LeaseLost)),
            MemberOutcome::Alone => None,
        }
    }
}

/// How the transaction of a batch ended.
pub(super) enum BatchOutcome<A> {
    /// Committed, with the outcome of each member, in their order.
    Committed(Vec<MemberOutcome<A>>),
    /// Rolled back, because the members at these positions cannot be written with the others. An empty list means all.
    FailedMembers(Vec<usize>),
}

impl<A> BatchOutcome<A> {
    /// How a transaction ends that did not write the members at the positions `failed`; `None` if there are none. A member
    /// that is written alone has waited for every lock, so `last` is its answer. In a batch its row may only have been locked.
    pub(super) fn without(failed: Vec<usize>, locked: LockedRows, last: MemberOutcome<A>) -> Option<Self> {
        match (failed.is_empty(), locked) {
            (true, _) => None,
            (false, LockedRows::Wait) => Some(BatchOutcome::Committed(vec![last])),
            (false, LockedRows::Skip) => Some(BatchOutcome::FailedMembers(failed)),
        }
    }
}

/// A write, or a read, of which one transaction can do many.
pub(super) trait Batched: Send + Sync + Sized + 'static {
    /// The answer to the caller.
    type Answer: Send + 'static;

    /// From this many waiting members on a second writer starts, where the database allows two, and runs until none waits.
    /// Members then wait less, but smaller batches make each of them more expensive.
    const SECOND_WRITER_FROM: usize = usize::MAX;

    /// The queue of waiting members.
    fn batch_queue(store: &Store) -> &BatchQueue<Self>;

    /// The row that only one member of a batch may touch; `None` where that does not matter.
    fn subject(&self) -> Option<i64>;

    /// Writes all of them. With [`LockedRows::Wait`] there is only one, and its outcome is never [`MemberOutcome::Alone`].
    fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> impl Future<Output = Result<BatchOutcome<Self::Answer>, StoreError>> + Send;
}

/// The members of one kind that wait for a batch.
pub(super) struct BatchQueue<T: Batched>(Mutex<Pending<T>>);

struct Pending<T: Batched> {
    members: VecDeque<Member<T>>,
    writers: usize,
}

struct Member<T: Batched> {
    item: Arc<T>,
    answer: oneshot::Sender<Result<T::Answer, StoreError>>,
}

impl<T: Batched> Default for BatchQueue<T> {
    fn default() -> Self {
        BatchQueue(Mutex::new(Pending { members: VecDeque::new(), writers: 0 }))
    }
}

impl<T: Batched> fmt::Debug for BatchQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BatchQueue").field("waiting", &self.lock().members.len()).finish()
    }
}

impl<T: Batched> BatchQueue<T> {
    fn lock(&self) -> MutexGuard<'_, Pending<T>> {
        self.0.lock()
    }

    /// Takes the members of the next batch. Members whose caller has gone are dropped.
    fn next(&self) -> Vec<Member<T>> {
        let mut pending = self.lock();
        let (mut going, mut staying, mut subjects) = (Vec::new(), VecDeque::new(), HashSet::new());
        while let Some(member) = pending.members.pop_front() {
            if member.answer.is_closed() {
                continue;
            }
            if going.len() < MAX_BATCH && member.item.subject().is_none_or(|subject| subjects.insert(subject)) {
                going.push(member);
            } else {
                staying.push_back(member);
            }
            if going.len() == MAX_BATCH {
                break;
            }
        }
        staying.append(&mut pending.members);
        pending.members = staying;
        if going.is_empty() {
            pending.writers -= 1;
        }
        going
    }

    /// Whether to start one more writer: a member waits, and fewer writers run than allowed. The new one counts from now on.
    fn needs_writer(&self, fewer_than: usize, database: Database) -> bool {
        let mut pending = self.lock();
        let may_be_two = database == Database::Postgres && pending.members.len() >= T::SECOND_WRITER_FROM;
        let allowed = if may_be_two { fewer_than.max(2) } else { fewer_than };
        let is_needed = !pending.members.is_empty() && pending.writers < allowed;
        pending.writers += usize::from(is_needed);
        is_needed
    }
}

/// Writes it in a batch with the other waiting members, and returns after the commit. A caller that stops waiting does not
/// know whether it was written.
///
/// # Errors
/// [`StoreError`] as if it had been written alone.
pub(super) async fn run_in_batch<T: Batched>(store: &Store, item: T) -> Result<T::Answer, StoreError> {
    let (answer, mut answered) = oneshot::channel();
    let queue = T::batch_queue(store);
    queue.lock().members.push_back(Member { item: Arc::new(item), answer });
    let mut writers = 1;
    loop {
        if queue.needs_writer(writers, store.database()) {
            // In a task of its own: the other members must not wait for ever when this caller stops waiting.
            tokio::spawn(write_pending::<T>(store.clone()));
        }
        match tokio::time::timeout(SECOND_WRITER_AFTER, &mut answered).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_panicked)) => return Err(writer_crashed()),
            Err(_elapsed) => writers = MAX_WRITERS,
        }
    }
}

async fn write_pending<T: Batched>(store: Store) {
    /// Frees the writer's place after a panic, so that another writer can start.
    struct Writing<T: Batched>(Store, PhantomData<fn(T)>);
    impl<T: Batched> Drop for Writing<T> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                T::batch_queue(&self.0).lock().writers -= 1;
            }
        }
    }
    let _writing = Writing::<T>(store.clone(), PhantomData);
    loop {
        let members = T::batch_queue(&store).next();
        if members.is_empty() {
            return;
        }
        answer_all(&store, members).await;
    }
}

/// Returns once all of them are written or passed on to be written alone.
async fn answer_all<T: Batched>(store: &Store, mut members: Vec<Member<T>>) {
    while !members.is_empty() {
        let items: Vec<Arc<T>> = members.iter().map(|member| Arc::clone(&member.item)).collect();
        match T::write_all(store, &items, LockedRows::Skip).await {
            Ok(BatchOutcome::Committed(outcomes)) => {
                for (member, outcome) in members.drain(..).zip(outcomes) {
                    match outcome.answer() {
                        Some(answer) => drop(member.answer.send(answer)),
                        None => write_alone(store, member),
                    }
                }
            }
            Ok(BatchOutcome::FailedMembers(failed)) => {
                let all = members.drain(..).enumerate().collect::<Vec<_>>();
                for (place, member) in all {
                    match failed.is_empty() || failed.contains(&place) {
                        true => write_alone(store, member),
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
            Err(_) => members.drain(..).for_each(|member| write_alone(store, member)),
        }
    }
}

/// Writes it in a task of its own, so that the lock it waits for keeps no writer from the others.
fn write_alone<T: Batched>(store: &Store, member: Member<T>) {
    let store = store.clone();
    tokio::spawn(async move {
        let written = T::write_all(&store, &[Arc::clone(&member.item)], LockedRows::Wait).await;
        let answer = match written {
            Ok(BatchOutcome::Committed(mut outcomes)) => {
                outcomes.pop().and_then(MemberOutcome::answer).unwrap_or(Err(writer_crashed()))
            }
            Ok(BatchOutcome::FailedMembers(_)) => Err(writer_crashed()),
            Err(error) => Err(error),
        };
        let _ = member.answer.send(answer);
    });
}

/// The writer ended before it answered.
fn writer_crashed() -> StoreError {
    StoreError::Unavailable(Arc::new(sqlx::Error::WorkerCrashed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Piece;

    impl Batched for Piece {
        type Answer = ();

        const SECOND_WRITER_FROM: usize = 3;

        fn batch_queue(_: &Store) -> &BatchQueue<Self> {
            unreachable!("the tests make their own queue")
        }

        fn subject(&self) -> Option<i64> {
            None
        }

        async fn write_all(_: &Store, _: &[Arc<Self>], _: LockedRows) -> Result<BatchOutcome<()>, StoreError> {
            unreachable!("nothing is written here")
        }
    }

    /// How many writers start while this many members arrive and none is done.
    fn writers(database: Database, come: usize) -> usize {
        let (queue, mut callers) = (BatchQueue::<Piece>::default(), Vec::new());
        let began = (0..come).filter(|_| {
            let (answer, answered) = oneshot::channel();
            callers.push(answered);
            queue.lock().members.push_back(Member { item: Arc::new(Piece), answer });
            queue.needs_writer(1, database)
        });
        began.count()
    }

    #[test]
    fn two_write_where_many_wait_and_the_database_has_several_writers() {
        for (come, expected) in [(1, 1), (2, 1), (3, 2), (20, 2)] {
            assert_eq!(writers(Database::Postgres, come), expected, "{come} wait");
            assert_eq!(writers(Database::Sqlite, come), 1, "{come} wait");
        }
    }
}
