//! The places for connections of one listener, and whose is given to a new one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::limits::Limits;
use crate::metrics::{self, Why};
use crate::progress::{Progress, Stage};

/// Where no connection can be closed, it is looked again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An answer that has been made, or is being read, for this long may be closed when places are needed; a sound one takes
/// less, but for the wait for a payment link and event streams, and both may be asked for again.
const NOT_SOON: Duration = Duration::from_secs(5);

/// Together with one connection its likes are closed, this part of all places: to look for them is work.
const PART_CLOSED: usize = 64;

/// So many warnings a minute.
const WARNINGS_PER_MINUTE: u32 = 6;

/// The network that counts as one caller: an IPv4 address, or the /64 of IPv6 that one subscriber has whole.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        IpAddr::V4(address) => address.into(),
    }
}

/// All places of one listener.
pub(crate) struct Places {
    name: &'static str,
    limits: Limits,
    is_favored: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    free: Arc<Semaphore>,
    open: Mutex<Open>,
    unsent_bytes: AtomicUsize,
    pub(crate) warnings: Warnings,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    connections: HashMap<u64, Connection>,
    /// How many each address has that are not about to close.
    of_address: HashMap<IpAddr, usize>,
    /// How many are about to close, and have their places still.
    closing: usize,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    is_favored: bool,
    is_closing: bool,
    progress: Arc<Progress>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("name", &self.name).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Places {
    pub(crate) fn new(name: &'static str, limits: Limits) -> Self {
        metrics::register(name, limits.places);
        Places {
            name,
            limits,
            is_favored: Box::new(|_| false),
            free: Arc::new(Semaphore::new(limits.places)),
            open: Mutex::default(),
            unsent_bytes: AtomicUsize::new(0),
            warnings: Warnings::default(),
        }
    }

    pub(crate) fn favor(&mut self, is_favored: impl Fn(IpAddr) -> bool + Send + Sync + 'static) {
        self.is_favored = Box::new(is_favored);
    }

    /// A place for a connection of this peer, made free if there is none; `None` where the peer's address has as many as
    /// it may have and each of them is in use.
    pub(crate) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let address = network_of(peer);
        let is_favored = (self.is_favored)(peer);
        if !is_favored && self.count_of(address) >= self.limits.per_address {
            if self.warnings.take() {
                warn!(
                    %address,
                    "{address} has {} connections to the {}, as many as one address may have; if it is a proxy of yours, \
                     list it in TASDIQ_TRUSTED_PROXIES",
                    self.limits.per_address, self.name
                );
            }
            if self.close(Some(address), Why::Address) == 0 {
                metrics::count_closed(self.name, Why::Refused);
                return None;
            }
        }
        let permit = self.permit().await?;
        let progress = Arc::new(Progress::new(self.limits.timings));
        let mut open = self.open();
        open.last_id += 1;
        let id = open.last_id;
        *open.of_address.entry(address).or_default() += 1;
        let connection = Connection { address, is_favored, is_closing: false, progress: Arc::clone(&progress) };
        open.connections.insert(id, connection);
        metrics::open(self.name, open.connections.len());
        Some(Place { places: Arc::clone(self), id, progress, _permit: permit })
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        let mut has_waited = false;
        loop {
            self.make_room(has_waited);
            let freed = tokio::time::timeout(LOOK_AGAIN, Arc::clone(&self.free).acquire_owned()).await;
            if let Ok(permit) = freed {
                return permit.ok();
            }
            if self.warnings.take() {
                warn!("all connections of the {} are in use; new ones wait until one closes", self.name);
            }
            has_waited = true;
        }
    }

    /// Closes connections that are of less use than a new one, unless some are closing already and have not been waited
    /// for: many callers that come at once would else each have a part of all connections closed.
    pub(crate) fn make_room(&self, has_waited: bool) {
        let are_closing = self.open().closing > 0;
        if has_waited || !are_closing {
            self.close(None, Why::Crowded);
        }
    }

    fn count_of(&self, address: IpAddr) -> usize {
        self.open().of_address.get(&address).copied().unwrap_or_default()
    }

    /// Has those closed that are of least use, of this address or of all, and gives how many there are.
    fn close(&self, of: Option<IpAddr>, why: Why) -> usize {
        let mut open = self.open();
        let open = &mut *open;
        let mut ranked: Vec<(Rank, u64)> = open
            .connections
            .iter()
            .filter(|(_, connection)| !connection.is_closing && of.is_none_or(|address| address == connection.address))
            .filter_map(|(id, connection)| {
                let of_address = open.of_address.get(&connection.address).copied().unwrap_or_default();
                Some((Rank::of(connection, of_address)?, *id))
            })
            .collect();
        let most = if of.is_some() { self.limits.per_address } else { self.limits.places } / PART_CLOSED;
        let most = most.max(1);
        if ranked.len() > most {
            ranked.select_nth_unstable_by_key(most - 1, |(rank, _)| Reverse(*rank));
            ranked.truncate(most);
        }
        ranked.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        // Idle ones are no loss; of the others as few are closed as will do.
        let idle = ranked.iter().take_while(|(rank, _)| rank.use_of_it == Reverse(Use::None)).count();
        ranked.truncate(idle.max(1));
        for (_, id) in &ranked {
            let Some(connection) = open.connections.get_mut(id) else { continue };
            connection.is_closing = true;
            connection.progress.closing.notify_one();
            let address = connection.address;
            open.closing += 1;
            leave(&mut open.of_address, address);
            metrics::count_closed(self.name, why);
        }
        ranked.len()
    }

    /// Has slow readers closed while there are more unsent bytes than there may be: the strange ones first, and of those
    /// the one that reads longest.
    fn bound_unsent(&self) {
        let mut open = self.open();
        let mut unsent = self.unsent_bytes.load(Ordering::Relaxed);
        // Those that are closing free theirs in a moment, and are counted until then.
        let closing = open.connections.values().filter(|connection| connection.is_closing);
        unsent = unsent.saturating_sub(closing.map(|connection| connection.progress.unsent_bytes()).sum());
        let mut slow: Vec<(bool, Duration, usize, &mut Connection)> = open
            .connections
            .values_mut()
            .filter(|connection| !connection.is_closing)
            .filter_map(|connection| {
                let bytes = connection.progress.unsent_bytes();
                (bytes > 0).then(|| (connection.is_favored, connection.progress.stage().1, bytes, connection))
            })
            .collect();
        slow.sort_unstable_by_key(|(is_favored, reads_for, ..)| (*is_favored, Reverse(*reads_for)));
        let mut closed = Vec::new();
        for (.., bytes, connection) in slow {
            if unsent <= self.limits.unsent_bytes {
                break;
            }
            unsent = unsent.saturating_sub(bytes);
            connection.is_closing = true;
            connection.progress.closing.notify_one();
            closed.push(connection.address);
            metrics::count_closed(self.name, Why::Unsent);
        }
        open.closing += closed.len();
        for address in closed {
            leave(&mut open.of_address, address);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

fn leave(of_address: &mut HashMap<IpAddr, usize>, address: IpAddr) {
    match of_address.get_mut(&address) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(of_address.remove(&address)),
    }
}

/// How well a connection can be done without; the greatest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_strange: bool,
    use_of_it: Reverse<Use>,
    of_address: usize,
    lasts: Duration,
}

/// Of what use a connection is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// It waits for a request.
    None,
    /// It has been waiting for its reader, or for us, for longer than it should.
    Little,
}

impl Rank {
    /// `None` for one that is in use.
    fn of(connection: &Connection, of_address: usize) -> Option<Self> {
        let (stage, lasts) = connection.progress.stage();
        let use_of_it = match stage {
            Stage::Idle | Stage::Head => Use::None,
            Stage::Work | Stage::Send | Stage::Stream | Stage::Flush if lasts >= NOT_SOON => Use::Little,
            Stage::Work | Stage::Send | Stage::Stream | Stage::Flush => return None,
        };
        Some(Rank { is_strange: !connection.is_favored, use_of_it: Reverse(use_of_it), of_address, lasts })
    }
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    pub(crate) progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// The listener's name.
    pub(crate) fn listener(&self) -> &'static str {
        self.places.name
    }

    /// An answer of that many bytes begins, or one that has no end yet.
    pub(crate) fn answers(&self, bytes: Option<usize>) {
        self.progress.answers(bytes);
        let bytes = bytes.unwrap_or_default();
        let unsent = self.places.unsent_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unsent > self.places.limits.unsent_bytes {
            self.places.bound_unsent();
        }
    }

    /// All that was handed over is sent.
    pub(crate) fn flushed(&self) {
        self.settle(self.progress.flushed());
    }

    fn settle(&self, bytes: usize) {
        self.places.unsent_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        // Together with its removal: whoever adds up sees both or neither.
        self.settle(self.progress.unsent_bytes());
        match open.connections.remove(&self.id) {
            Some(connection) if connection.is_closing => open.closing = open.closing.saturating_sub(1),
            Some(connection) => leave(&mut open.of_address, connection.address),
            None => (),
        }
        metrics::open(self.places.name, open.connections.len());
    }
}

/// Some warnings a minute.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Option<(Instant, u32)>>);

impl Warnings {
    /// Whether there may be one more.
    pub(crate) fn take(&self) -> bool {
        let mut minute = self.0.lock();
        let (began, spent) = match *minute {
            Some((began, spent)) if began.elapsed() < Duration::from_secs(60) => (began, spent),
            _ => (Instant::now(), 0),
        };
        *minute = Some((began, spent + 1));
        spent < WARNINGS_PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn many_that_come_at_once_have_no_more_closed_than_they_need() {
        let places = Arc::new(Places::new("test", Limits { per_address: usize::MAX, ..Limits::of(4 * PART_CLOSED) }));
        let mut open = Vec::new();
        for _ in 0..4 * PART_CLOSED {
            open.push(places.admit(PEER).await.unwrap());
        }
        assert_eq!(closing(&places), 0);

        // Each connection that is closed ends a little after it was told to, and just then the next one comes.
        for _ in 0..4 {
            let coming = tokio::spawn({
                let places = Arc::clone(&places);
                async move { places.admit(PEER).await.unwrap() }
            });
            // This runtime has one thread: it runs until it waits for a place.
            tokio::task::yield_now().await;
            let before = closing(&places);
            assert!((1..=4).contains(&before), "a part of all: {before}");
            let ends = open.iter().position(|place| is_closing(&places, place)).unwrap();
            drop(open.swap_remove(ends));
            open.push(coming.await.unwrap());
            assert_eq!(closing(&places), before - 1);
        }
    }

    fn closing(places: &Places) -> usize {
        places.open().connections.values().filter(|connection| connection.is_closing).count()
    }

    fn is_closing(places: &Places, place: &Place) -> bool {
        places.open().connections[&place.id].is_closing
    }
}
