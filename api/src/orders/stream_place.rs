//! How many event streams are open, of the whole process and of each order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::id::OrderId;

use crate::problem::{Problem, ProblemType};

/// At most so many event streams are open in one process; each reads its order every few seconds.
pub(crate) const EVENT_STREAMS: usize = 1_000;

/// At most so many of one order: a token, which a customer has, must not take everybody else's places.
pub(crate) const EVENT_STREAMS_PER_ORDER: usize = 20;

/// The event streams of one process.
#[derive(Debug, Default)]
pub(crate) struct EventStreams(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// Only orders that have some.
    of_order: HashMap<OrderId, usize>,
}

impl EventStreams {
    /// A place for one more stream of the order.
    ///
    /// # Errors
    /// [`ProblemType::TooManyStreams`].
    pub(crate) fn place(self: &Arc<Self>, order_id: OrderId) -> Result<StreamPlace, Problem> {
        let mut open = self.open();
        let of_order = open.of_order.get(&order_id).copied().unwrap_or_default();
        if open.count >= EVENT_STREAMS || of_order >= EVENT_STREAMS_PER_ORDER {
            let detail = "ask for the order itself every few seconds instead";
            return Err(Problem::new(ProblemType::TooManyStreams, detail).retry_after(5));
        }
        open.count += 1;
        open.of_order.insert(order_id, of_order + 1);
        Ok(StreamPlace { streams: Arc::clone(self), order_id })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    streams: Arc<EventStreams>,
    order_id: OrderId,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.count = open.count.saturating_sub(1);
        match open.of_order.get_mut(&self.order_id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.of_order.remove(&self.order_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_of_streams_that_are_closed() {
        let streams = Arc::new(EventStreams::default());

        let places: Vec<StreamPlace> = (1..=3).map(|id| streams.place(OrderId(id)).unwrap()).collect();
        drop((streams.place(OrderId(1)).unwrap(), places));

        let open = streams.open();
        assert!(open.count == 0 && open.of_order.is_empty(), "{open:?}");
    }
}
