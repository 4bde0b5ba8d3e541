//! The queues that form batches, and the members that wait for one. Each gateway account has a queue of its own, and in it the
//! members of one row have their turns.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use domain::order::GatewayIdentity;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};

use crate::{Database, Store, StoreError};

/// The most members of one batch: the first of them waits until the last is written.
const MAX_BATCH: usize = 64;

/// How a statement treats rows that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockedRows {
    /// It waits for them.
    Wait,
    /// It skips them, and each member that needs one is written alone.
    Skip,
}

/// How one member of a batch ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberOutcome<A> {
    /// Committed, with the answer to its caller.
    Done(A),
    /// Another worker holds its lease by now; nothing of it is written.
    LeaseLost,
    /// Nothing of it is written; it must be written alone.
    Alone,
}

impl<A> MemberOutcome<A> {
    pub(super) fn answer(self) -> Option<Result<A, StoreError>> {
        match self {
            MemberOutcome::Done(answer) => Some(Ok(answer)),
            MemberOutcome::LeaseLost => Some(Err(StoreError::LeaseLost)),
            MemberOutcome::Alone => None,
        }
    }
}

/// How the transaction of a batch ended.
pub(crate) enum BatchOutcome<A> {
    /// Committed, with the outcome of each member, in their order.
    Committed(Vec<MemberOutcome<A>>),
    /// Rolled back, because the members at these positions cannot be written with the others. An empty list means all.
    FailedMembers(Vec<usize>),
}

impl<A> BatchOutcome<A> {
    /// How a transaction ends that did not write the members at the positions `failed`; `None` if there are none. A member
    /// that is written alone has waited for every lock, so `last` is its answer. In a batch its row may only have been locked.
    pub(crate) fn without(failed: Vec<usize>, locked: LockedRows, last: MemberOutcome<A>) -> Option<Self> {
        match (failed.is_empty(), locked) {
            (true, _) => None,
            (false, LockedRows::Wait) => Some(BatchOutcome::Committed(vec![last])),
            (false, LockedRows::Skip) => Some(BatchOutcome::FailedMembers(failed)),
        }
    }
}

/// A write, or a read, of which one transaction can do many.
pub(crate) trait Batched: Send + Sync + Sized + 'static {
    /// The answer to the caller.
    type Answer: Send + 'static;

    /// From this many waiting members on a second writer starts, where the database allows two, and runs until none waits.
    /// Members then wait less, but smaller batches make each of them more expensive.
    const SECOND_WRITER_FROM: usize = usize::MAX;

    /// The most members of a queue that are written alone at a time.
    const MAX_ALONE: usize = Semaphore::MAX_PERMITS;

    /// The queue of waiting members.
    fn batch_queue(store: &Store) -> &BatchQueue<Self>;

    /// The gateway account whose members form batches of their own; `None` where all members share.
    fn account(&self) -> Option<&GatewayIdentity> {
        None
    }

    /// The row that only one member of a batch may touch; `None` where that does not matter. Members of one row are
    /// written one after the other, and side by side only if one takes long.
    fn subject(&self) -> Option<i64>;

    /// Writes all of them. With [`LockedRows::Wait`] there is only one, and its outcome is never [`MemberOutcome::Alone`] but
    /// where its caller has gone.
    fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> impl Future<Output = Result<BatchOutcome<Self::Answer>, StoreError>> + Send;
}

/// The members of one kind that wait for a batch, by gateway account.
pub(crate) struct BatchQueue<T: Batched>(Mutex<BTreeMap<Option<GatewayIdentity>, Arc<AccountQueue<T>>>>);

impl<T: Batched> Default for BatchQueue<T> {
    fn default() -> Self {
        BatchQueue(Mutex::default())
    }
}

impl<T: Batched> fmt::Debug for BatchQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BatchQueue").field("accounts", &self.0.lock().len()).finish()
    }
}

impl<T: Batched> BatchQueue<T> {
    /// The queue of this member's account. There are as many as accounts are configured.
    pub(super) fn of(&self, member: &T) -> Arc<AccountQueue<T>> {
        let mut queues = self.0.lock();
        match queues.get(&member.account().cloned()) {
            Some(queue) => Arc::clone(queue),
            None => Arc::clone(queues.entry(member.account().cloned()).or_default()),
        }
    }
}

/// The members of one gateway account that wait for a batch.
pub(super) struct AccountQueue<T: Batched> {
    pending: Mutex<Pending<T>>,
    /// The places of members that are written alone.
    pub(super) alone: Semaphore,
}

struct Pending<T: Batched> {
    /// Members that the next batches may take.
    ready: VecDeque<Member<T>>,
    /// The subjects of the members that are ready or being written.
    subjects: HashMap<i64, SubjectMembers<T>>,
    writers: usize,
}

/// A row that members touch.
struct SubjectMembers<T: Batched> {
    /// How many of its members are ready or being written.
    going: usize,
    /// Those that wait until one of them is done.
    waiting: VecDeque<Member<T>>,
}

/// A caller that waits for its answer.
pub(super) struct Member<T: Batched> {
    pub(super) item: Arc<T>,
    pub(super) answer: oneshot::Sender<Result<T::Answer, StoreError>>,
    /// Of a member that is ready or being written.
    pub(super) claim: Option<SubjectClaim<T>>,
}

/// A member's turn at its subject. The next member has its turn when this is dropped.
pub(super) struct SubjectClaim<T: Batched> {
    queue: Arc<AccountQueue<T>>,
    subject: i64,
}

impl<T: Batched> Drop for SubjectClaim<T> {
    fn drop(&mut self) {
        let mut pending = self.queue.lock();
        if let Some(subject) = pending.subjects.get_mut(&self.subject) {
            subject.going = subject.going.saturating_sub(1);
        }
        self.queue.let_go(&mut pending, self.subject, 1);
    }
}

impl<T: Batched> Default for AccountQueue<T> {
    fn default() -> Self {
        let pending = Pending { ready: VecDeque::new(), subjects: HashMap::new(), writers: 0 };
        AccountQueue { pending: Mutex::new(pending), alone: Semaphore::new(T::MAX_ALONE) }
    }
}

impl<T: Batched> AccountQueue<T> {
    fn lock(&self) -> MutexGuard<'_, Pending<T>> {
        self.pending.lock()
    }

    pub(super) fn push(self: &Arc<Self>, member: Member<T>) {
        let mut pending = self.lock();
        match member.item.subject() {
            Some(number) => {
                let subject = pending.subjects.entry(number);
                subject
                    .or_insert_with(|| SubjectMembers { going: 0, waiting: VecDeque::new() })
                    .waiting
                    .push_back(member);
                self.let_go(&mut pending, number, 1);
            }
            None => pending.ready.push_back(member),
        }
    }

    /// Makes members of this subject ready until this many are ready or being written.
    fn let_go(self: &Arc<Self>, pending: &mut Pending<T>, number: i64, at_once: usize) {
        let Pending { ready, subjects, .. } = pending;
        let Some(subject) = subjects.get_mut(&number) else { return };
        while subject.going < at_once
            && let Some(mut member) = subject.waiting.pop_front()
        {
            if !member.answer.is_closed() {
                member.claim = Some(SubjectClaim { queue: Arc::clone(self), subject: number });
                subject.going += 1;
                ready.push_back(member);
            }
        }
        if subject.going == 0 && subject.waiting.is_empty() {
            subjects.remove(&number);
        }
    }

    /// Lets so many members of this subject go side by side: one of them takes long.
    pub(super) fn overtake(self: &Arc<Self>, subject: i64, at_once: usize) {
        self.let_go(&mut self.lock(), subject, at_once);
    }

    /// Frees the place of a writer that panicked.
    pub(super) fn writer_crashed(&self) {
        self.lock().writers -= 1;
    }

    /// Takes the members of the next batch. Members whose caller has gone are dropped.
    pub(super) fn next(&self) -> Vec<Member<T>> {
        loop {
            let (mut going, mut staying, mut subjects) = (Vec::new(), VecDeque::new(), HashSet::new());
            let mut gone = Vec::new();
            let mut pending = self.lock();
            while going.len() < MAX_BATCH
                && let Some(member) = pending.ready.pop_front()
            {
                if member.answer.is_closed() {
                    gone.push(member);
                } else if member.item.subject().is_none_or(|subject| subjects.insert(subject)) {
                    going.push(member);
                } else {
                    staying.push_back(member);
                }
            }
            staying.append(&mut pending.ready);
            pending.ready = staying;
            if going.is_empty() && gone.is_empty() {
                pending.writers -= 1;
            }
            drop(pending);
            // Others of their subjects may be ready by it.
            let has_lost = !gone.is_empty();
            drop(gone);
            if !going.is_empty() || !has_lost {
                return going;
            }
        }
    }

    /// Whether to start one more writer: a member is ready, and fewer writers run than allowed. The new one counts from now
    /// on.
    pub(super) fn needs_writer(&self, fewer_than: usize, database: Database) -> bool {
        let mut pending = self.lock();
        let may_be_two = database == Database::Postgres && pending.ready.len() >= T::SECOND_WRITER_FROM;
        let allowed = if may_be_two { fewer_than.max(2) } else { fewer_than };
        let is_needed = !pending.ready.is_empty() && pending.writers < allowed;
        pending.writers += usize::from(is_needed);
        is_needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Piece(Option<i64>);

    impl Batched for Piece {
        type Answer = ();

        const SECOND_WRITER_FROM: usize = 3;

        fn batch_queue(_: &Store) -> &BatchQueue<Self> {
            unreachable!("the tests make their own queue")
        }

        fn subject(&self) -> Option<i64> {
            self.0
        }

        async fn write_all(_: &Store, _: &[Arc<Self>], _: LockedRows) -> Result<BatchOutcome<()>, StoreError> {
            unreachable!("nothing is written here")
        }
    }

    fn member(subject: Option<i64>) -> (Member<Piece>, oneshot::Receiver<Result<(), StoreError>>) {
        let (answer, answered) = oneshot::channel();
        (Member { item: Arc::new(Piece(subject)), answer, claim: None }, answered)
    }

    /// How many writers start while this many members arrive and none is done.
    fn writers(database: Database, come: usize) -> usize {
        let (queue, mut callers) = (Arc::<AccountQueue<Piece>>::default(), Vec::new());
        let began = (0..come).filter(|_| {
            let (member, answered) = member(None);
            callers.push(answered);
            queue.push(member);
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

    /// A sender repeats one call as often as it can. The repeats take one place in a batch, and others pass them.
    #[test]
    fn members_of_one_row_have_their_turns_and_hold_up_no_others() {
        let queue = Arc::<AccountQueue<Piece>>::default();
        let mut callers = Vec::new();
        let mut come = |subject| {
            let (member, answered) = member(subject);
            callers.push(answered);
            queue.push(member);
        };
        (0..500).for_each(|_| come(Some(7)));
        (0..3).for_each(|number| come(Some(number)));
        let subjects = |members: &[Member<Piece>]| members.iter().map(|member| member.item.0).collect::<Vec<_>>();
        queue.lock().writers = 2;

        let first = queue.next();
        assert_eq!(subjects(&first), [Some(7), Some(0), Some(1), Some(2)]);
        assert_eq!(queue.next().len(), 0, "the repeats wait for the first");
        drop(first);
        let second = queue.next();
        assert_eq!(subjects(&second), [Some(7)]);
        // One that takes long is overtaken by a few, never by all.
        (0..20).for_each(|_| queue.overtake(7, 4));
        let third: Vec<_> = (0..2).map(|_| queue.next()).collect();
        assert_eq!(third.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1], "not two in one batch");
        drop((second, third));

        // Their callers gave up.
        callers.clear();
        assert_eq!(queue.next().len(), 0);
        let pending = queue.lock();
        assert_eq!((pending.ready.len(), pending.subjects.len()), (0, 0), "nothing is left of them");
    }
}
