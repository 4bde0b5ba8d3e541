//! How many event streams are open: of the whole process, of each order, and of each follower.

use std::net::IpAddr;
use std::sync::Arc;

use domain::id::OrderId;
use http_server::network_of;

use crate::callers::{InUse, Taken};
use crate::problem::{Problem, ProblemType};

/// At most so many event streams are open in one process; each reads its order every few seconds.
pub(crate) const EVENT_STREAMS: usize = 1_000;

/// At most so many of one order: its customer has some tabs, the shop some programs.
pub(crate) const EVENT_STREAMS_PER_ORDER: usize = 20;

/// At most so many of one address that follows with orders' tokens: many customers may share one behind their provider's
/// router, and one caller with many tokens must not take every other customer's places.
pub(crate) const EVENT_STREAMS_PER_ADDRESS: usize = 100;

/// At most so many with one API key, so that customers and other keys have their places.
pub(crate) const EVENT_STREAMS_PER_KEY: usize = 500;

/// The event streams of one process.
#[derive(Debug, Default)]
pub(crate) struct EventStreams {
    all: Arc<InUse<()>>,
    of_order: Arc<InUse<OrderId>>,
    of_follower: Arc<InUse<Follower>>,
}

/// By what a follower is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Follower {
    /// The name of its API key.
    Key(String),
    /// Its address, or none where a proxy of ours names none.
    Address(Option<IpAddr>),
}

impl Follower {
    /// The follower at this address; a network of IPv6 is one.
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Follower::Address(address.map(network_of))
    }
}

impl EventStreams {
    /// A place for one more stream of the order to this follower.
    ///
    /// # Errors
    /// [`ProblemType::TooManyStreams`], with the limit that was met.
    pub(crate) fn place(&self, order_id: OrderId, follower: Follower) -> Result<StreamPlace, Problem> {
        let (limit, most) = match &follower {
            Follower::Key(_) => ("api_key", EVENT_STREAMS_PER_KEY),
            Follower::Address(_) => ("address", EVENT_STREAMS_PER_ADDRESS),
        };
        Ok(StreamPlace {
            _of_order: self
                .of_order
                .take(order_id, EVENT_STREAMS_PER_ORDER)
                .ok_or_else(|| too_many("order", EVENT_STREAMS_PER_ORDER))?,
            _of_follower: self.of_follower.take(follower, most).ok_or_else(|| too_many(limit, most))?,
            _of_all: self.all.take((), EVENT_STREAMS).ok_or_else(|| too_many("process", EVENT_STREAMS))?,
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

/// One stream's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    _of_order: Taken<OrderId>,
    _of_follower: Taken<Follower>,
    _of_all: Taken<()>,
}
