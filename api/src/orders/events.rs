//! An order's server-sent events: the order at once, then again after every change, until nothing more can come.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use poem::web::sse::Event;
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;
use shared::id::OrderId;
use shared::notice::{Followed, Moment};
use shared::order::Order;
use shared::store::orders;
use tokio::time::Instant;

use super::answer::OrderAnswer;
use super::stream_place::StreamPlace;
use crate::Api;
use crate::problem::Problem;

/// A lost notice costs a follower no more than this.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Proxies close connections on which nothing moves.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Then the browser connects anew, perhaps to another process.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The orders of one stream.
pub(crate) type OrderEvents = Pin<Box<dyn Stream<Item = OrderAnswer> + Send>>;

/// Begins a stream with the order as it was read after `since`.
///
/// # Errors
/// [`ProblemType::TooManyStreams`](crate::problem::ProblemType::TooManyStreams).
pub(crate) fn follow(api: &Arc<Api>, order: Order, since: Moment) -> Result<EventStream<OrderEvents>, Problem> {
    let place = api.streams.place(order.id)?;
    let follower = Follower {
        api: Arc::clone(api),
        order_id: order.id,
        followed: api.context.notice.follow(order.id, since),
        first: Some(order),
        sent: None,
        is_over: false,
        ends_at: Instant::now() + LIFETIME,
        _place: place,
    };
    let orders: OrderEvents = Box::pin(unfold(follower, |mut follower| async move {
        let answer = follower.next().await?;
        Some((answer, follower))
    }));
    Ok(EventStream::new(orders)
        .to_event(|order| Event::message(order.to_json_string()).event_type("order"))
        .keep_alive(KEEP_ALIVE))
}

struct Follower {
    api: Arc<Api>,
    order_id: OrderId,
    followed: Followed,
    /// The order as it was when the stream began, until it is sent.
    first: Option<Order>,
    /// What was sent last; the same is not sent twice.
    sent: Option<OrderAnswer>,
    /// Whether a final status was sent.
    is_over: bool,
    ends_at: Instant,
    /// Held for as long as the stream lives.
    _place: StreamPlace,
}

impl Follower {
    async fn next(&mut self) -> Option<OrderAnswer> {
        if let Some(order) = self.first.take() {
            return self.unless_sent(&order);
        }
        while !self.is_over {
            tokio::select! {
                () = self.followed.changed() => (),
                () = tokio::time::sleep(READ_EVERY) => (),
                () = tokio::time::sleep_until(self.ends_at) => return None,
                () = self.api.stopping.cancelled() => return None,
            }
            // A database that is away ends no stream: the next round asks again.
            if let Ok(Some(order)) = orders::find(&self.api.context.store, self.order_id).await
                && let Some(answer) = self.unless_sent(&order)
            {
                return Some(answer);
            }
        }
        None
    }

    fn unless_sent(&mut self, order: &Order) -> Option<OrderAnswer> {
        let answer = OrderAnswer::new(order, &self.api.public_url, self.api.context.store.now_ms());
        self.is_over = order.status.is_final();
        if self.sent.as_ref() == Some(&answer) {
            return None;
        }
        self.sent = Some(answer.clone());
        Some(answer)
    }
}
