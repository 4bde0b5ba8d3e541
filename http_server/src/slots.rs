//! The connection slots of one listener, and which connection must give its slot to a new one.

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

use crate::limits::ListenerLimits;
use crate::metrics::{self, ConnectionCloseReason};
use crate::progress::{ConnectionProgress, Stage};

/// While no connection can be closed, the search is repeated this often.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A response that takes longer than this may be closed when slots are needed. A healthy one is faster; the exceptions
/// are the wait for a payment link and event streams, and callers can repeat both requests.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// One search closes up to this fraction of the slots (1/64), because each search reads all connections.
const CLOSED_SHARE: usize = 64;

/// The most warnings in a minute.
const WARNINGS_PER_MINUTE: u32 = 6;

/// The network that counts as one caller: one IPv4 address, or one IPv6 /64, which a single subscriber owns whole.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        IpAddr::V4(address) => address.into(),
    }
}

/// All connection slots of one listener.
pub(crate) struct ConnectionSlots {
    name: &'static str,
    limits: ListenerLimits,
    is_favored: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    free: Arc<Semaphore>,
    open: Mutex<OpenConnections>,
    unsent_bytes: AtomicUsize,
    pub(crate) warnings: WarningLimit,
}

#[derive(Debug, Default)]
struct OpenConnections {
    last_id: u64,
    connections: HashMap<u64, OpenConnection>,
    /// How many connections each address has, without those that are closing.
    of_address: HashMap<IpAddr, usize>,
    /// How many connections are closing but still have their slots.
    closing: usize,
}

#[derive(Debug)]
struct OpenConnection {
    address: IpAddr,
    is_favored: bool,
    is_closing: bool,
    progress: Arc<ConnectionProgress>,
}

impl fmt::Debug for ConnectionSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSlots")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl ConnectionSlots {
    pub(crate) fn new(name: &'static str, limits: ListenerLimits) -> Self {
        metrics::register(name, limits.slots);
        ConnectionSlots {
            name,
            limits,
            is_favored: Box::new(|_| false),
            free: Arc::new(Semaphore::new(limits.slots)),
            open: Mutex::default(),
            unsent_bytes: AtomicUsize::new(0),
            warnings: WarningLimit::default(),
        }
    }

    pub(crate) fn favor(&mut self, is_favored: impl Fn(IpAddr) -> bool + Send + Sync + 'static) {
        self.is_favored = Box::new(is_favored);
    }

    /// A slot for a connection of this peer; another connection is closed for it if needed. `None` if the peer's
    /// address has as many connections as it may have and all of them are in use.
    pub(crate) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionSlot> {
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
            if self.close(Some(address), ConnectionCloseReason::Address) == 0 {
                metrics::count_closed(self.name, ConnectionCloseReason::Refused);
                return None;
            }
        }
        let permit = self.permit().await?;
        let progress = Arc::new(ConnectionProgress::new(self.limits.timings));
        let mut open = self.open();
        open.last_id += 1;
        let id = open.last_id;
        *open.of_address.entry(address).or_default() += 1;
        let connection = OpenConnection { address, is_favored, is_closing: false, progress: Arc::clone(&progress) };
        open.connections.insert(id, connection);
        metrics::open(self.name, open.connections.len());
        Some(ConnectionSlot { slots: Arc::clone(self), id, progress, _permit: permit })
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        let mut has_waited = false;
        loop {
            self.make_room(has_waited);
            let freed = tokio::time::timeout(RETRY_INTERVAL, Arc::clone(&self.free).acquire_owned()).await;
            if let Ok(permit) = freed {
                return permit.ok();
            }
            if self.warnings.take() {
                warn!("all connections of the {} are in use; new ones wait until one closes", self.name);
            }
            has_waited = true;
        }
    }

    /// Closes the least useful connections, unless others are already closing and the caller has not waited for them.
    /// Otherwise each of many simultaneous new connections would close its own fraction of all.
    pub(crate) fn make_room(&self, has_waited: bool) {
        let are_closing = self.open().closing > 0;
        if has_waited || !are_closing {
            self.close(None, ConnectionCloseReason::Crowded);
        }
    }

    fn count_of(&self, address: IpAddr) -> usize {
        self.open().of_address.get(&address).copied().unwrap_or_default()
    }

    /// Closes the least useful connections, of one address or of all, and returns their number.
    fn close(&self, of: Option<IpAddr>, why: ConnectionCloseReason) -> usize {
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
        let most = if of.is_some() { self.limits.per_address } else { self.limits.slots } / CLOSED_SHARE;
        let most = most.max(1);
        if ranked.len() > most {
            ranked.select_nth_unstable_by_key(most - 1, |(rank, _)| Reverse(*rank));
            ranked.truncate(most);
        }
        ranked.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        // Closing idle connections loses nothing; of the others only one is closed.
        let idle = ranked.iter().take_while(|(rank, _)| rank.usefulness == Reverse(Usefulness::None)).count();
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

    /// Closes slow readers while there are more unsent bytes than allowed: unfavored ones first, and among them the one
    /// that has been reading for the longest time.
    fn bound_unsent(&self) {
        let mut open = self.open();
        let mut unsent = self.unsent_bytes.load(Ordering::Relaxed);
        // Closing connections free their bytes in a moment but are still counted.
        let closing = open.connections.values().filter(|connection| connection.is_closing);
        unsent = unsent.saturating_sub(closing.map(|connection| connection.progress.unsent_bytes()).sum());
        let mut slow: Vec<(bool, Duration, usize, &mut OpenConnection)> = open
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
            metrics::count_closed(self.name, ConnectionCloseReason::Unsent);
        }
        open.closing += closed.len();
        for address in closed {
            leave(&mut open.of_address, address);
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock()
    }
}

fn leave(of_address: &mut HashMap<IpAddr, usize>, address: IpAddr) {
    match of_address.get_mut(&address) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(of_address.remove(&address)),
    }
}

/// How easily a connection can be closed; the greatest is closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_unfavored: bool,
    usefulness: Reverse<Usefulness>,
    of_address: usize,
    lasted: Duration,
}

/// How useful a connection is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Usefulness {
    /// Idle: it waits for a request.
    None,
    /// Slow: its reader or our work takes longer than it should.
    Little,
}

impl Rank {
    /// `None` if the connection is in use.
    fn of(connection: &OpenConnection, of_address: usize) -> Option<Self> {
        let (stage, lasted) = connection.progress.stage();
        let usefulness = match stage {
            Stage::Idle | Stage::Head => Usefulness::None,
            Stage::Work | Stage::Send | Stage::Stream | Stage::Flush if lasted >= SLOW_AFTER => Usefulness::Little,
            Stage::Work | Stage::Send | Stage::Stream | Stage::Flush => return None,
        };
        Some(Rank { is_unfavored: !connection.is_favored, usefulness: Reverse(usefulness), of_address, lasted })
    }
}

/// The slot of one connection; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    id: u64,
    pub(crate) progress: Arc<ConnectionProgress>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlot {
    /// The listener's name.
    pub(crate) fn listener(&self) -> &'static str {
        self.slots.name
    }

    /// A response starts: of `bytes` bytes, or of unknown length.
    pub(crate) fn response_starts(&self, bytes: Option<usize>) {
        self.progress.response_starts(bytes);
        let bytes = bytes.unwrap_or_default();
        let unsent = self.slots.unsent_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unsent > self.slots.limits.unsent_bytes {
            self.slots.bound_unsent();
        }
    }

    /// Everything handed over is sent.
    pub(crate) fn flushed(&self) {
        self.settle(self.progress.flushed());
    }

    fn settle(&self, bytes: usize) {
        self.slots.unsent_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        // Under the same lock as the removal, so that `bound_unsent` sees both or neither.
        self.settle(self.progress.unsent_bytes());
        match open.connections.remove(&self.id) {
            Some(connection) if connection.is_closing => open.closing = open.closing.saturating_sub(1),
            Some(connection) => leave(&mut open.of_address, connection.address),
            None => (),
        }
        metrics::open(self.slots.name, open.connections.len());
    }
}

/// Limits the warnings to [`WARNINGS_PER_MINUTE`].
#[derive(Debug, Default)]
pub(crate) struct WarningLimit(Mutex<Option<(Instant, u32)>>);

impl WarningLimit {
    /// Whether one more warning may be logged now.
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
    async fn many_new_connections_at_once_close_no_more_than_they_need() {
        let slots = Arc::new(ConnectionSlots::new(
            "test",
            ListenerLimits { per_address: usize::MAX, ..ListenerLimits::of(4 * CLOSED_SHARE) },
        ));
        let mut open = Vec::new();
        for _ in 0..4 * CLOSED_SHARE {
            open.push(slots.admit(PEER).await.unwrap());
        }
        assert_eq!(closing(&slots), 0);

        // Each closing connection ends a little later, and exactly then the next new connection comes.
        for _ in 0..4 {
            let coming = tokio::spawn({
                let slots = Arc::clone(&slots);
                async move { slots.admit(PEER).await.unwrap() }
            });
            // This runtime has one thread, so the task runs until it waits for a slot.
            tokio::task::yield_now().await;
            let before = closing(&slots);
            assert!((1..=4).contains(&before), "a part of all: {before}");
            let ends = open.iter().position(|slot| is_closing(&slots, slot)).unwrap();
            drop(open.swap_remove(ends));
            open.push(coming.await.unwrap());
            assert_eq!(closing(&slots), before - 1);
        }
    }

    fn closing(slots: &ConnectionSlots) -> usize {
        slots.open().connections.values().filter(|connection| connection.is_closing).count()
    }

    fn is_closing(slots: &ConnectionSlots, slot: &ConnectionSlot) -> bool {
        slots.open().connections[&slot.id].is_closing
    }
}
