//! Notices "order N changed": a waiting request or an open page reads the order again at once. A lost notice costs one
//! poll, no more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::id::OrderId;
use futures_util::StreamExt;
use parking_lot::{Mutex, MutexGuard};
use redis::RedisError;
use redis::aio::{PubSubSink, PubSubStream};
use redis_server::RedisServer;
use store::Store;
use telemetry::LineBudget;
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The notices of changed orders: this process's own at once, those of other processes through Redis.
#[derive(Clone, Debug, Default)]
pub struct Notice(Arc<Mutex<Changes>>);

/// The changes that this process was told of, and the followers that wait for more.
#[derive(Debug, Default)]
struct Changes {
    /// The number of changes so far.
    count: u64,
    /// The orders of the last changes, the newest at the end.
    lately: VecDeque<OrderId>,
    /// The followers of each order. A change wakes the followers of its order and no others.
    followers: HashMap<OrderId, Vec<Arc<Notify>>>,
}

/// A moment from which on changes count for a follower.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

/// The changes of one order.
#[derive(Debug)]
pub struct Followed {
    notice: Notice,
    order_id: OrderId,
    bell: Arc<Notify>,
}

/// How many changes are remembered, for callers that know a moment and not yet which order they will follow.
const REMEMBERED: usize = 4_096;

/// The channel that carries order numbers.
const CHANNEL: &str = "order-changed";

/// Separates the order numbers of one message.
const BETWEEN_NUMBERS: &str = " ";

/// The most order numbers in one message.
const TOLD_TOGETHER: usize = 64;

/// The longest message of ours in bytes: a number has 20 digits at most, and a separator.
const LONGEST_MESSAGE: usize = TOLD_TOGETHER * 21;

/// How many foreign messages a minute are logged one by one; the rest is logged as a number.
const WARNINGS_PER_MINUTE: u32 = 5;

/// After this much silence the connection is pinged, and given up when no answer comes within the same time.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Notice {
    /// Starts listening to the store's commits and, where several processes exist, to Redis. Ends with `stop`.
    ///
    /// While Redis is away, each process is still told of its own changes.
    pub fn start(store: &Store, redis: Option<RedisServer>, stop: &CancellationToken) -> Self {
        let notice = Notice::default();
        tokio::spawn(stop.clone().run_until_cancelled_owned(pass_own_on(store.order_changes(), notice.clone())));
        if let Some(server) = redis {
            let publishing = publish(store.order_changes(), server.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(publishing));
            tokio::spawn(stop.clone().run_until_cancelled_owned(listen(server, notice.clone())));
        }
        notice
    }

    /// This moment, for [`Notice::follow`].
    pub fn now(&self) -> Moment {
        Moment(self.changes().count)
    }

    /// Follows an order. A change since `since` counts.
    pub fn follow(&self, order_id: OrderId, since: Moment) -> Followed {
        let bell = Arc::new(Notify::new());
        let mut changes = self.changes();
        if changes.may_have_changed(order_id, since) {
            bell.notify_one();
        }
        changes.followers.entry(order_id).or_default().push(Arc::clone(&bell));
        Followed { notice: self.clone(), order_id, bell }
    }

    fn tell(&self, order_id: OrderId) {
        let mut changes = self.changes();
        changes.count += 1;
        if changes.lately.len() == REMEMBERED {
            changes.lately.pop_front();
        }
        changes.lately.push_back(order_id);
        for bell in changes.followers.get(&order_id).into_iter().flatten() {
            bell.notify_one();
        }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0.lock()
    }
}

impl Changes {
    /// Whether the order changed since then, or so many others did that its change may have been forgotten.
    fn may_have_changed(&self, order_id: OrderId, since: Moment) -> bool {
        let changes_since = usize::try_from(self.count.saturating_sub(since.0)).unwrap_or(usize::MAX);
        changes_since > self.lately.len() || self.lately.iter().rev().take(changes_since).any(|id| *id == order_id)
    }
}

impl Followed {
    /// Returns when the order may have changed since this last returned.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut changes = self.notice.changes();
        if let Some(bells) = changes.followers.get_mut(&self.order_id) {
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if bells.is_empty() {
                changes.followers.remove(&self.order_id);
            }
        }
    }
}

/// Hands this process's changes to its own followers, with and without Redis.
async fn pass_own_on(mut own: broadcast::Receiver<OrderId>, notice: Notice) {
    while let Some(order_id) = next(&mut own).await {
        notice.tell(order_id);
    }
}

/// Publishes this process's changes to the other processes; changes of the same moment share one message.
async fn publish(mut own: broadcast::Receiver<OrderId>, server: RedisServer) {
    let mut commands = server.commands();
    while let Some(order_id) = next(&mut own).await {
        let mut message = order_id.to_string();
        let more = std::iter::from_fn(|| own.try_recv().ok());
        for order_id in more.take(TOLD_TOGETHER - 1) {
            message.push_str(BETWEEN_NUMBERS);
            message.push_str(&order_id.to_string());
        }
        // The queue reports a Redis that is away; here it costs the followers a poll.
        let _: Result<i64, _> =
            redis::cmd("PUBLISH").arg(server.key(CHANNEL)).arg(message).query_async(&mut commands).await;
    }
}

/// The next change, or `None` when there will be none. Changes that came too fast are skipped.
async fn next(own: &mut broadcast::Receiver<OrderId>) -> Option<OrderId> {
    loop {
        match own.recv().await {
            Ok(order_id) => return Some(order_id),
            Err(broadcast::error::RecvError::Lagged(_)) => (),
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

/// Hands the changes of other processes to our own followers, over a connection that is pinged when it is silent.
async fn listen(server: RedisServer, notice: Notice) {
    let mut pause = SHORTEST_PAUSE;
    let warnings = LineBudget::new(WARNINGS_PER_MINUTE);
    loop {
        if let Ok(Ok(messages)) = timeout(SIGN_OF_LIFE, subscribed(&server)).await {
            pause = SHORTEST_PAUSE;
            receive(messages, &notice, &warnings).await;
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

/// Hands on the order numbers of a message. A message of another form is dropped whole: every client of this Redis can
/// send one.
///
/// # Errors
/// [`Foreign`].
fn pass_message_on(message: &[u8], notice: &Notice) -> Result<(), Foreign> {
    if message.len() > LONGEST_MESSAGE {
        return Err(Foreign);
    }
    let text = std::str::from_utf8(message).map_err(|_| Foreign)?;
    let numbers: Result<Vec<OrderId>, _> = text.split(BETWEEN_NUMBERS).map(str::parse).collect();
    numbers.map_err(|_| Foreign)?.into_iter().for_each(|order_id| notice.tell(order_id));
    Ok(())
}

/// The message was not sent by a process of ours.
#[derive(Debug, PartialEq, Eq)]
struct Foreign;

fn warn_of_foreign(warnings: &LineBudget) {
    if warnings.take_and_tell(|more| warn!(messages = more, "{more} more foreign messages of a minute were dropped")) {
        warn!(
            "a message on the channel of changed orders is none of ours and was dropped; see who else uses this Redis"
        );
    }
}

/// Returns when the connection has ended or answers no ping. A connection that only listens would not notice that.
async fn receive((mut sink, mut messages): (PubSubSink, PubSubStream), notice: &Notice, warnings: &LineBudget) {
    loop {
        match timeout(SIGN_OF_LIFE, messages.next()).await {
            Ok(Some(message)) => {
                if pass_message_on(message.get_payload_bytes(), notice) == Err(Foreign) {
                    warn_of_foreign(warnings);
                }
            }
            Ok(None) => return,
            Err(_silence) => match timeout(SIGN_OF_LIFE, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => (),
                Ok(Err(_)) | Err(_) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: OrderId = OrderId(7);
    const ANOTHERS: OrderId = OrderId(8);

    async fn is_told(followed: &Followed) -> bool {
        timeout(Duration::from_millis(20), followed.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_follower_of_an_order_is_told_of_that_order_alone_and_of_each_change() {
        let notice = Notice::default();
        let (first, second) = (notice.follow(OURS, notice.now()), notice.follow(OURS, notice.now()));
        assert!(!is_told(&first).await, "nothing has happened yet");

        notice.tell(ANOTHERS);
        assert!(!is_told(&first).await, "it was about another order");
        notice.tell(OURS);
        notice.tell(OURS);

        assert!(is_told(&first).await && is_told(&second).await);
        assert!(!is_told(&first).await, "the second change came before the first was taken");
        notice.tell(OURS);
        assert!(is_told(&first).await, "and once more");
    }

    #[tokio::test]
    async fn a_change_between_a_moment_and_the_following_is_told() {
        let notice = Notice::default();
        notice.tell(OURS);
        let moment = notice.now();
        assert!(!is_told(&notice.follow(OURS, moment)).await, "it changed before that moment");

        notice.tell(ANOTHERS);
        notice.tell(OURS);
        notice.tell(ANOTHERS);

        assert!(is_told(&notice.follow(OURS, moment)).await);
        assert!(!is_told(&notice.follow(OURS, notice.now())).await);
    }

    #[tokio::test]
    async fn a_follower_is_woken_when_more_changed_than_is_remembered() {
        let notice = Notice::default();
        let moment = notice.now();
        for _ in 0..REMEMBERED {
            notice.tell(ANOTHERS);
        }
        assert!(!is_told(&notice.follow(OURS, moment)).await, "all of it is remembered");

        notice.tell(ANOTHERS);

        assert!(is_told(&notice.follow(OURS, moment)).await);
    }

    #[tokio::test]
    async fn a_forged_message_wakes_no_follower_however_long_it_is() {
        let notice = Notice::default();
        let followed = notice.follow(OURS, notice.now());

        for forged in ["x".repeat(16 << 20), " ".repeat(16 << 20), "7 ".repeat(8 << 20), "7 x".into(), String::new()] {
            assert_eq!(pass_message_on(forged.as_bytes(), &notice), Err(Foreign));
        }
        assert_eq!(pass_message_on(b"7 \xff", &notice), Err(Foreign));
        assert!(!is_told(&followed).await);

        let ours = vec![i64::MAX.to_string(); TOLD_TOGETHER - 1].join(BETWEEN_NUMBERS) + " 7";
        assert_eq!(pass_message_on(ours.as_bytes(), &notice), Ok(()));
        assert!(is_told(&followed).await);
    }

    #[test]
    fn nothing_is_left_of_followers_that_have_gone() {
        let notice = Notice::default();
        let stays = notice.follow(OURS, notice.now());
        drop(notice.follow(OURS, notice.now()));
        drop(notice.follow(ANOTHERS, notice.now()));

        assert_eq!(notice.changes().followers.len(), 1);
        drop(stays);
        assert!(notice.changes().followers.is_empty());
    }
}
