//! "Order N changed": lets a waiting request or an open page look again at once. A lost notice costs a poll, no more.

use std::time::Duration;

use futures_util::StreamExt;
use redis::RedisError;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::id::OrderId;
use crate::redis_server::RedisServer;
use crate::store::Store;

/// Where this process hears of changed orders: its own at once, those of other processes through Redis.
#[derive(Clone, Debug)]
pub struct Notice {
    changes: broadcast::Sender<OrderId>,
}

/// The channel that carries order numbers.
const CHANNEL: &str = "order-changed";

/// Between the order numbers of one message.
const BETWEEN_NUMBERS: &str = " ";

/// One message carries no more order numbers.
const TOLD_TOGETHER: usize = 64;

/// After so much silence the connection is asked for a sign of life, and given up when none comes in as long again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Notice {
    /// Starts listening to the store's commits and, where several processes exist, to Redis. Ends with `stop`.
    ///
    /// With Redis away, each process still hears of its own changes.
    pub fn start(store: &Store, redis: Option<RedisServer>, stop: &CancellationToken) -> Self {
        let changes = broadcast::Sender::new(4_096);
        tokio::spawn(stop.clone().run_until_cancelled_owned(hear(store.order_changes(), changes.clone())));
        if let Some(server) = redis {
            let publishing = publish(store.order_changes(), server.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(publishing));
            tokio::spawn(stop.clone().run_until_cancelled_owned(listen(server, changes.clone())));
        }
        Notice { changes }
    }

    /// The changes from now on. A receiver that falls behind is told so by `Lagged`, and looks again.
    pub fn subscribe(&self) -> broadcast::Receiver<OrderId> {
        self.changes.subscribe()
    }
}

/// Hands this process's changes to its own listeners, however Redis is.
async fn hear(mut own: broadcast::Receiver<OrderId>, changes: broadcast::Sender<OrderId>) {
    while let Some(order_id) = next(&mut own).await {
        // Nobody listening is no failure.
        let _ = changes.send(order_id);
    }
}

/// Hands this process's changes to the other processes, those of the same moment in one message.
async fn publish(mut own: broadcast::Receiver<OrderId>, server: RedisServer) {
    let mut commands = server.commands();
    while let Some(order_id) = next(&mut own).await {
        let mut message = order_id.to_string();
        let more = std::iter::from_fn(|| own.try_recv().ok());
        for order_id in more.take(TOLD_TOGETHER - 1) {
            message.push_str(BETWEEN_NUMBERS);
            message.push_str(&order_id.to_string());
        }
        // Redis away is reported by the queue; here it costs the listeners a poll.
        let _: Result<i64, _> =
            redis::cmd("PUBLISH").arg(server.key(CHANNEL)).arg(message).query_async(&mut commands).await;
    }
}

/// The next change, or nothing when there will be none. Changes that came too fast are passed over.
async fn next(own: &mut broadcast::Receiver<OrderId>) -> Option<OrderId> {
    loop {
        match own.recv().await {
            Ok(order_id) => return Some(order_id),
            Err(broadcast::error::RecvError::Lagged(_)) => (),
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

/// Hands the changes of other processes to our own listeners, over a connection that is asked for a sign of life.
async fn listen(server: RedisServer, changes: broadcast::Sender<OrderId>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Ok(Ok(messages)) = timeout(SIGN_OF_LIFE, subscribed(&server)).await {
            pause = SHORTEST_PAUSE;
            hear_others(messages, &changes).await;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn subscribed(server: &RedisServer) -> Result<(PubSubSink, PubSubStream), RedisError> {
    let mut subscriber = server.subscriber().await?;
    subscriber.subscribe(server.key(CHANNEL)).await?;
    Ok(subscriber.split())
}

/// Hands on the order numbers of a message.
fn hear_one(message: &str, changes: &broadcast::Sender<OrderId>) {
    for number in message.split(BETWEEN_NUMBERS) {
        match number.parse() {
            Ok(order_id) => drop(changes.send(order_id)),
            Err(_) => warn!("a notice that is no order number was dropped"),
        }
    }
}

/// Returns when the connection has ended, or gives no sign of life any more: who only listens would not notice.
async fn hear_others((mut sink, mut messages): (PubSubSink, PubSubStream), changes: &broadcast::Sender<OrderId>) {
    loop {
        match timeout(SIGN_OF_LIFE, messages.next()).await {
            Ok(Some(message)) => hear_one(&message.get_payload::<String>().unwrap_or_default(), changes),
            Ok(None) => return,
            Err(_silence) => match timeout(SIGN_OF_LIFE, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => (),
                Ok(Err(_)) | Err(_) => return,
            },
        }
    }
}
