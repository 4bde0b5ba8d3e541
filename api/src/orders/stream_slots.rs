//! Limits the open event streams: of the process, of each order, and of each follower.

use std::net::IpAddr;
use std::sync::Arc;

use domain::id::OrderId;
use http_server::network_of;

use crate::concurrency_limit::{ConcurrencyLimit, ConcurrencyPermit};
use crate::problem::{Problem, ProblemType};

/// The most event streams of one process; each reads its order every few seconds.
pub(crate) const EVENT_STREAMS: usize = 1_000;

/// The most of one order: its customer has some tabs, the shop some programs.
pub(crate) const EVENT_STREAMS_PER_ORDER: usize = 20;

/// The most of one address that follows with order tokens: many customers may share an address behind their provider's
/// router, but one caller with many tokens must not take the slots of all other customers.
pub(crate) const EVENT_STREAMS_PER_ADDRESS: usize = 100;

/// The most of one API key, so that customers and other keys have slots left.
pub(crate) const EVENT_STREAMS_PER_KEY: usize = 500;

/// The event streams of one process.
#[derive(Debug, Default)]
pub(crate) struct EventStreams {
    all: Arc<ConcurrencyLimit<()>>,
    of_order: Arc<ConcurrencyLimit<OrderId>>,
    of_follower: Arc<ConcurrencyLimit<Follower>>,
}

/// The identity by which followers are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Follower {
    /// The name of its API key.
    Key(String),
    /// Its address; `None` if one of our proxies names none.
    Address(Option<IpAddr>),
}

impl Follower {
    /// The follower at this address; an IPv6 /64 network counts as one.
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Follower::Address(address.map(network_of))
    }
}

impl EventStreams {
    /// A slot for one more stream of the order to this follower.
    ///
    /// # Errors
    /// [`ProblemType::TooManyStreams`], with the limit that was reached.
    pub(crate) fn acquire(&self, order_id: OrderId, follower: Follower) -> Result<StreamSlot, Problem> {
        let (limit, most) = match &follower {
            Follower::Key(_) => ("api_key", EVENT_STREAMS_PER_KEY),
            Follower::Address(_) => ("address", EVENT_STREAMS_PER_ADDRESS),
        };
        Ok(StreamSlot {
            _of_order: self
                .of_order
                .acquire(order_id, EVENT_STREAMS_PER_ORDER)
                .ok_or_else(|| too_many("order", EVENT_STREAMS_PER_ORDER))?,
            _of_follower: self.of_follower.acquire(follower, most).ok_or_else(|| too_many(limit, most))?,
            _of_all: self.all.acquire((), EVENT_STREAMS).ok_or_else(|| too_many("process", EVENT_STREAMS))?,
        })
    }
}

fn too_many(limit: &str, most: usize) -> Problem {
    let whose = match limit {
        "order" => "this order has",
        "api_key" => "your API key has",
        "address" => "your address has",
        _ => "this process has",
    };
    let detail = format!("{whose} {most} event streams open; ask for the order itself every few seconds instead");
    Problem::new(ProblemType::TooManyStreams, detail).member("limit", limit).member("most", most).retry_after(5)
}

/// The slot of one stream; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    _of_order: ConcurrencyPermit<OrderId>,
    _of_follower: ConcurrencyPermit<Follower>,
    _of_all: ConcurrencyPermit<()>,
}
