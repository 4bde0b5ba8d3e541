//! What arrives together is written together: one transaction for many callers, each answered after its commit.
//!
//! Nobody waits for company: whoever comes first is written at once, and whoever comes meanwhile goes with the next
//! transaction. One that cannot go with the others never fails them, and where a row is locked never holds them up: it goes
//! alone, and waits by itself.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{Database, Store, StoreError};

/// More than this is not written in one transaction: whoever comes first waits for the last.
const AT_MOST: usize = 64;

/// Whoever has waited for so long with nobody at it has another transaction begun beside the one that takes its time:
/// a connection may hang, and a row may be locked.
const PATIENCE: Duration = Duration::from_millis(50);

/// More than so many do not write at a time.
const MOST_WRITERS: usize = 4;

/// What a row does that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// It is waited for.
    Waited,
    /// It is passed over, and what needs it goes alone.
    PassedOver,
}

/// What became of one of those that were written together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Share<A> {
    /// It is committed; the answer to its caller.
    Done(A),
    /// Its lease belongs to somebody else; nothing of it is written.
    LeaseLost,
    /// Nothing of it is written: it must go alone.
    Alone,
}

impl<A> Share<A> {
    fn answer(self) -> Option<Result<A, StoreError>> {
        match self {
            Share::Done(answer) => Some(Ok(answer)),
            Share::LeaseLost => Some(Err(StoreError::LeaseLost)),
            Share::Alone => None,
        }
    }
}

/// How a transaction of many ended.
pub(super) enum Written<A> {
    /// Committed; a share for each, in their order.
    Committed(Vec<Share<A>>),
    /// Rolled back, for these, by their places, cannot be written with the others.
    SpoiltBy(Vec<usize>),
}

impl<A> Written<A> {
    /// How a transaction ends in which those at `places` were not written; `None` if there are none. One that goes alone,
    /// and so has waited for every lock, gets its answer by `last`; among others it may just have been locked.
    pub(super) fn without(places: Vec<usize>, locked: Locked, last: Share<A>) -> Option<Self> {
        match (places.is_empty(), locked) {
            (true, _) => None,
            (false, Locked::Waited) => Some(Written::Committed(vec![last])),
            (false, Locked::PassedOver) => Some(Written::SpoiltBy(places)),
        }
    }
}

/// Something of which many can be written, or read, at once.
pub(super) trait Together: Send + Sync + Sized + 'static {
    /// What the caller is told.
    type Answer: Send + 'static;

    /// Where so many wait, a second one begins to write, if the database lets it, and goes on until nobody waits. They wait
    /// less, and each is dearer, for it shares its transaction with fewer.
    const MANY: usize = usize::MAX;

    /// Those that wait.
    fn group(store: &Store) -> &Group<Self>;

    /// What only one of a transaction may touch; `None` where that does not matter.
    fn subject(&self) -> Option<i64>;

    /// Does all of them. Where locks are waited for there is only one, and it is never told to go alone.
    fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: Locked,
    ) -> impl Future<Output = Result<Written<Self::Answer>, StoreError>> + Send;
}

/// Those of one kind that wait to be written.
pub(super) struct Group<T: Together>(Mutex<Waiting<T>>);

struct Waiting<T: Together> {
    tickets: VecDeque<Ticket<T>>,
    writers: usize,
}

struct Ticket<T: Together> {
    item: Arc<T>,
    answer: oneshot::Sender<Result<T::Answer, StoreError>>,
}

impl<T: Together> Default for Group<T> {
    fn default() -> Self {
        Group(Mutex::new(Waiting { tickets: VecDeque::new(), writers: 0 }))
    }
}

impl<T: Together> fmt::Debug for Group<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Group").field("waiting", &self.lock().tickets.len()).finish()
    }
}

impl<T: Together> Group<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock()
    }

    /// The next ones that can go together. Whose caller has gone is left out.
    fn next(&self) -> Vec<Ticket<T>> {
        let mut waiting = self.lock();
        let (mut going, mut staying, mut subjects) = (Vec::new(), VecDeque::new(), HashSet::new());
        while let Some(ticket) = waiting.tickets.pop_front() {
            if ticket.answer.is_closed() {
                continue;
            }
            if going.len() < AT_MOST && ticket.item.subject().is_none_or(|subject| subjects.insert(subject)) {
                going.push(ticket);
            } else {
                staying.push_back(ticket);
            }
            if going.len() == AT_MOST {
                break;
            }
        }
        staying.append(&mut waiting.tickets);
        waiting.tickets = staying;
        if going.is_empty() {
            waiting.writers -= 1;
        }
        going
    }

    /// Whether one more is to write, because something waits and fewer than so many are at it; it counts from now on.
    fn needs_writer(&self, fewer_than: usize, database: Database) -> bool {
        let mut waiting = self.lock();
        let may_be_two = database == Database::Postgres && waiting.tickets.len() >= T::MANY;
        let allowed = if may_be_two { fewer_than.max(2) } else { fewer_than };
        let is_needed = !waiting.tickets.is_empty() && waiting.writers < allowed;
        waiting.writers += usize::from(is_needed);
        is_needed
    }
}

/// Writes it with whatever else waits to be written, and returns after the commit. A caller that goes away meanwhile
/// does not know whether it was written.
///
/// # Errors
/// [`StoreError`] as if it had been written alone.
pub(super) async fn together<T: Together>(store: &Store, item: T) -> Result<T::Answer, StoreError> {
    let (answer, mut answered) = oneshot::channel();
    let group = T::group(store);
    group.lock().tickets.push_back(Ticket { item: Arc::new(item), answer });
    let mut writers = 1;
    loop {
        if group.needs_writer(writers, store.database()) {
            // By itself: the others must not wait for ever when this caller goes away.
            tokio::spawn(write_those_that_wait::<T>(store.clone()));
        }
        match tokio::time::timeout(PATIENCE, &mut answered).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_panicked)) => return Err(nobody_answered()),
            Err(_elapsed) => writers = MOST_WRITERS,
        }
    }
}

async fn write_those_that_wait<T: Together>(store: Store) {
    /// After a panic somebody else must write.
    struct Writing<T: Together>(Store, PhantomData<fn(T)>);
    impl<T: Together> Drop for Writing<T> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                T::group(&self.0).lock().writers -= 1;
            }
        }
    }
    let _writing = Writing::<T>(store.clone(), PhantomData);
    loop {
        let tickets = T::group(&store).next();
        if tickets.is_empty() {
            return;
        }
        answer_all(&store, tickets).await;
    }
}

/// Until all of them are written, or sent on their own ways.
async fn answer_all<T: Together>(store: &Store, mut tickets: Vec<Ticket<T>>) {
    while !tickets.is_empty() {
        let items: Vec<Arc<T>> = tickets.iter().map(|ticket| Arc::clone(&ticket.item)).collect();
        match T::write_all(store, &items, Locked::PassedOver).await {
            Ok(Written::Committed(shares)) => {
                for (ticket, share) in tickets.drain(..).zip(shares) {
                    match share.answer() {
                        Some(answer) => drop(ticket.answer.send(answer)),
                        None => go_alone(store, ticket),
                    }
                }
            }
            Ok(Written::SpoiltBy(places)) => {
                let all = tickets.drain(..).enumerate().collect::<Vec<_>>();
                for (place, ticket) in all {
                    match places.is_empty() || places.contains(&place) {
                        true => go_alone(store, ticket),
                        false => tickets.push(ticket),
                    }
                }
            }
            // All the same for each of them, and told at once.
            Err(StoreError::Unavailable(error)) => {
                for ticket in tickets.drain(..) {
                    let _ = ticket.answer.send(Err(StoreError::Unavailable(Arc::clone(&error))));
                }
            }
            Err(StoreError::Refused(error)) => {
                for ticket in tickets.drain(..) {
                    let _ = ticket.answer.send(Err(StoreError::Refused(Arc::clone(&error))));
                }
            }
            Err(error) if tickets.len() == 1 => {
                if let Some(only) = tickets.pop() {
                    let _ = only.answer.send(Err(error));
                }
            }
            // It is one of them, and nobody knows which.
            Err(_) => tickets.drain(..).for_each(|ticket| go_alone(store, ticket)),
        }
    }
}

/// By itself, so that whatever it waits for keeps no writer from the others.
fn go_alone<T: Together>(store: &Store, ticket: Ticket<T>) {
    let store = store.clone();
    tokio::spawn(async move {
        let written = T::write_all(&store, &[Arc::clone(&ticket.item)], Locked::Waited).await;
        let answer = match written {
            Ok(Written::Committed(mut shares)) => {
                shares.pop().and_then(Share::answer).unwrap_or(Err(nobody_answered()))
            }
            Ok(Written::SpoiltBy(_)) => Err(nobody_answered()),
            Err(error) => Err(error),
        };
        let _ = ticket.answer.send(answer);
    });
}

/// Whoever was to answer has ended before it did.
fn nobody_answered() -> StoreError {
    StoreError::Unavailable(Arc::new(sqlx::Error::WorkerCrashed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Piece;

    impl Together for Piece {
        type Answer = ();

        const MANY: usize = 3;

        fn group(_: &Store) -> &Group<Self> {
            unreachable!("the tests have the group at hand")
        }

        fn subject(&self) -> Option<i64> {
            None
        }

        async fn write_all(_: &Store, _: &[Arc<Self>], _: Locked) -> Result<Written<()>, StoreError> {
            unreachable!("nothing is written here")
        }
    }

    /// How many writers begin while so many come, of whom none is done.
    fn writers(database: Database, come: usize) -> usize {
        let (group, mut callers) = (Group::<Piece>::default(), Vec::new());
        let began = (0..come).filter(|_| {
            let (answer, answered) = oneshot::channel();
            callers.push(answered);
            group.lock().tickets.push_back(Ticket { item: Arc::new(Piece), answer });
            group.needs_writer(1, database)
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
