//! An order's server-sent events: the order at once, then after every change, until its status is final.

use std::sync::Arc;
use std::time::Duration;

use domain::id::OrderId;
use domain::order::Order;
use futures_util::stream::unfold;
use poem::web::sse::{Event, SSE};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use process::notice::{Followed, Moment};
use serde_json::json;
use store::orders;
use tokio::time::Instant;

use super::answer::OrderAnswer;
use super::stream_slots::{Follower, StreamSlot};
use crate::Api;
use crate::auth::Viewer;
use crate::digest::sha256_hex;
use crate::problem::Problem;

/// If a notice is lost, a follower sees the change at most this much later.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Proxies close connections on which nothing is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After this the browser connects again, perhaps to another process.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The answer to a request to follow an order.
#[derive(ApiResponse)]
pub(crate) enum FollowAnswer {
    /// The order's events.
    #[oai(status = 200)]
    Events(OrderEvents),
    /// The order has ended, and the client already has its last event (header `Last-Event-ID`): browsers stop asking.
    #[oai(status = 204)]
    Over,
}

/// A stream of server-sent events.
pub(crate) struct OrderEvents(SSE);

impl IntoResponse for OrderEvents {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl Payload for OrderEvents {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    /// OpenAPI 3.0 cannot describe a stream of events, so it is described as a text.
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some(
                "Server-sent events. `order`: its `data` is an `OrderAnswer` in JSON, its `id` names that answer. `end`: the \
                 status is final, and nothing more comes. Lines that begin with a colon keep the connection alive.",
            ),
            example: Some(json!(
                "id: 5f0c1f2f9b5f4d3c\nevent: order\ndata: {\"order_id\":1,\"status\":\"paid\"}\n\nevent: end\ndata: paid\n\n"
            )),
            ..MetaSchema::new("string")
        }))
    }

    fn register(registry: &mut Registry) {
        OrderAnswer::register(registry);
    }
}

/// The start of a stream.
pub(crate) struct Resumed {
    /// A moment before the order was read.
    pub(crate) since: Moment,
    /// The id of the last event that the client has.
    pub(crate) last_event_id: Option<String>,
}

/// The id of an event: two events with the same id have the same content.
pub(crate) fn event_id(answer: &OrderAnswer) -> String {
    let mut id = sha256_hex(answer.to_json_string());
    id.truncate(16);
    id
}

/// Starts a stream with the order that was read after `since`.
///
/// # Errors
/// [`ProblemType::TooManyStreams`](crate::problem::ProblemType::TooManyStreams), or the problem of an unavailable
/// database.
pub(crate) async fn follow(
    api: &Arc<Api>,
    order: Order,
    viewer: Viewer,
    from: Resumed,
    follower: Follower,
) -> Result<FollowAnswer, Problem> {
    let answer = OrderAnswer::read(&api.context.store, &order, viewer, &api.context.public_url).await?;
    let is_known = from.last_event_id.is_some_and(|id| id == event_id(&answer));
    if is_known && order.status.is_final() {
        return Ok(FollowAnswer::Over);
    }
    let slot = api.streams.acquire(order.id, follower)?;
    let following = Following {
        api: Arc::clone(api),
        order_id: order.id,
        viewer,
        followed: api.context.notice.follow(order.id, from.since),
        is_final: order.status.is_final() && !is_known,
        first: (!is_known).then(|| answer.clone()),
        sent: is_known.then_some(answer),
        is_over: false,
        ends_at: Instant::now() + LIFETIME,
        _slot: slot,
    };
    let events = unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((event, following))
    });
    Ok(FollowAnswer::Events(OrderEvents(SSE::new(events).keep_alive(KEEP_ALIVE))))
}

struct Following {
    api: Arc<Api>,
    order_id: OrderId,
    viewer: Viewer,
    followed: Followed,
    /// The order at the start of the stream, until it is sent.
    first: Option<OrderAnswer>,
    /// The last order sent; the same content is not sent twice.
    sent: Option<OrderAnswer>,
    /// Whether a final status was sent.
    is_final: bool,
    /// Whether the event `end` was sent.
    is_over: bool,
    ends_at: Instant,
    /// The slot of this stream.
    _slot: StreamSlot,
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        if let Some(answer) = self.first.take() {
            return self.unless_sent(answer);
        }
        while !self.is_final {
            tokio::select! {
                () = self.followed.changed() => (),
                () = tokio::time::sleep(READ_EVERY) => (),
                () = tokio::time::sleep_until(self.ends_at) => return None,
                () = self.api.stopping.cancelled() => return None,
            }
            // An unavailable database does not end the stream: the next round reads again.
            let store = &self.api.context.store;
            if let Ok(Some(order)) = orders::find(store, self.order_id).await
                && let Ok(answer) = OrderAnswer::read(store, &order, self.viewer, &self.api.context.public_url).await
            {
                self.is_final = order.status.is_final();
                if let Some(event) = self.unless_sent(answer) {
                    return Some(event);
                }
            }
        }
        if self.is_over {
            return None;
        }
        self.is_over = true;
        let status = self.sent.as_ref().map(OrderAnswer::status).unwrap_or_default();
        Some(Event::message(status).event_type("end"))
    }

    fn unless_sent(&mut self, answer: OrderAnswer) -> Option<Event> {
        if self.sent.as_ref() == Some(&answer) {
            return None;
        }
        let event = Event::message(answer.to_json_string()).event_type("order").id(event_id(&answer));
        self.sent = Some(answer);
        Some(event)
    }
}
