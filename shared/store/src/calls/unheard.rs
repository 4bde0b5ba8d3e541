//! A Begin whose caller leaves before its answer: the gateway was told that we could not write it, or nothing at all.
//!
//! Its batch goes on without it and may commit. A gateway that does not repeat such a call (Click documents, Prepare: it
//! debits after a positive answer only) will never debit by this transaction, which would hold its order until the gateway's
//! time is over. So it is closed, unless another call of it was answered meanwhile.

use std::collections::HashMap;
use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use sqlx::Row;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::warn;

use super::CalledAccount;
use super::deciding::RowChange;
use super::rows::{CalledBy, Freed, find_called, free_all, move_all};
use crate::callbacks::lock_orders;
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MAX_ALONE, MemberOutcome, run_in_batch};
use crate::jobs::{self, Staged};
use crate::statement::{Statement, json};
use crate::{Store, StoreError, Write, anew_after_conflict};
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::GatewayIdentity;
use domain::transaction::{StoredState, StoredTransaction};

/// The first wait after the database did not do it, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A transaction whose caller may have left before it began.
#[derive(Clone, Debug)]
pub(crate) struct Unheard {
    gateway: GatewayIdentity,
    external_id: String,
    order_id: OrderId,
    close_code: i64,
    /// Until when it may be tried; then an inquiry closes the transaction by itself.
    try_until: Instant,
}

impl Unheard {
    /// `None` where the gateway repeats a call that got no answer, so that the transaction must stand.
    pub(super) fn of(account: &CalledAccount, order_id: Option<OrderId>, external_id: &str) -> Option<Self> {
        Some(Unheard {
            gateway: account.gateway.clone(),
            external_id: external_id.to_owned(),
            order_id: order_id?,
            close_code: account.unheard_code?,
            try_until: Instant::now() + account.terms.debit_within,
        })
    }
}

/// Whether the caller of a Begin still waits, as its caller and its batch see it.
#[derive(Debug)]
pub(super) struct CallerPresence {
    state: Mutex<PresenceState>,
    unheard: Option<Unheard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PresenceState {
    /// It waits, and nothing has begun.
    Waits,
    /// Its transaction is committed, or about to be.
    Begun,
    /// It has left, or has its answer.
    Gone,
}

impl CallerPresence {
    pub(super) fn new(unheard: Option<Unheard>) -> Arc<Self> {
        Arc::new(CallerPresence { state: Mutex::new(PresenceState::Waits), unheard })
    }

    /// Whether it has left, so that nothing need begin for it.
    pub(super) fn has_left(&self) -> bool {
        self.unheard.is_some() && *self.state.lock() == PresenceState::Gone
    }

    /// Its transaction is about to be committed. From now on either side closes it: this one if the caller has left
    /// already, else [`WaitingCaller`].
    pub(super) fn begins(&self, store: &Store) {
        let mut state = self.state.lock();
        match (*state, &self.unheard) {
            (PresenceState::Gone, Some(unheard)) => close_later(store, unheard.clone()),
            (PresenceState::Waits | PresenceState::Begun, _) => *state = PresenceState::Begun,
            (PresenceState::Gone, None) => (),
        }
    }
}

/// The caller's side: dropped without an answer, it closes what has begun.
pub(super) struct WaitingCaller {
    store: Store,
    presence: Arc<CallerPresence>,
}

impl WaitingCaller {
    pub(super) fn new(store: &Store, presence: &Arc<CallerPresence>) -> Self {
        WaitingCaller { store: store.clone(), presence: Arc::clone(presence) }
    }

    /// The caller has its answer.
    pub(super) fn answered(self) {
        *self.presence.state.lock() = PresenceState::Gone;
    }
}

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        let was = replace(&mut *self.presence.state.lock(), PresenceState::Gone);
        if let (PresenceState::Begun, Some(unheard)) = (was, &self.presence.unheard) {
            close_later(&self.store, unheard.clone());
        }
    }
}

/// Closes it in a task of its own, which waits for the commit: the order is locked until then.
fn close_later(store: &Store, unheard: Unheard) {
    // A process that ends leaves the transaction to the inquiries.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(close(store.clone(), unheard));
    }
}

async fn close(store: Store, unheard: Unheard) {
    let mut pause = FIRST_PAUSE;
    loop {
        match anew_after_conflict(|| run_in_batch(&store, unheard.clone())).await {
            Ok(()) => return,
            Err(error) if error.is_passing() && Instant::now() < unheard.try_until => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => {
                let (order_id, external_id) = (unheard.order_id, &unheard.external_id);
                warn!(
                    order.id = %order_id, external_id, error = %error,
                    "transaction {external_id} of order {order_id} began for a caller who had left, and is still open: {error}"
                );
                return;
            }
        }
    }
}

impl Batched for Unheard {
    type Answer = ();

    const MAX_ALONE: usize = MAX_ALONE;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.unheard
    }

    fn account(&self) -> Option<&GatewayIdentity> {
        Some(&self.gateway)
    }

    fn subject(&self) -> Option<i64> {
        Some(self.order_id.0)
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: LockedRows) -> Result<BatchOutcome<()>, StoreError> {
        let mut write = store.begin(items.len()).await?;
        let now_ms = write.now_ms();
        let order_ids: Vec<OrderId> = items.iter().map(|item| item.order_id).collect();
        let orders = lock_orders(&mut write, &order_ids, locked).await?;
        let called: Vec<CalledBy<'_>> =
            items.iter().map(|item| CalledBy { of_gateway: &item.gateway.0, external: &item.external_id }).collect();
        let called = find_called(&mut write, &called).await?;
        let row = |item: &Unheard| {
            let row = called.get(&(item.gateway.0.clone(), item.external_id.clone()))?;
            let is_open = row.state == StoredState::Open && row.debited_at_ms.is_none() && row.closed_at_ms.is_none();
            (is_open && row.order_id == item.order_id && orders.contains_key(&item.order_id)).then_some(row)
        };
        let open: Vec<(&StoredTransaction, i64)> =
            items.iter().filter_map(|item| Some((row(item)?, item.close_code))).collect();
        let calls = count_calls(&mut write, &open).await?;
        // Another call of it may have been answered that the debit is allowed.
        let only_call = |(row, _): &&(&StoredTransaction, i64)| calls.get(&row.order_id) == Some(&1);
        let over: Vec<&(&StoredTransaction, i64)> = open.iter().filter(only_call).collect();
        let moves: Vec<(&StoredTransaction, RowChange)> =
            over.iter().map(|(row, code)| (*row, RowChange::closed(StoredState::Closed, now_ms, *code))).collect();
        move_all(&mut write, &moves).await?;
        let freed = |(row, _): &&(&StoredTransaction, i64)| Freed {
            order_id: row.order_id,
            transaction_id: row.transaction_id,
            cause: unheard(row.transaction_id),
        };
        free_all(&mut write, &over.iter().map(freed).collect::<Vec<_>>()).await?;
        let staged = |(row, _): &&(&StoredTransaction, i64)| Staged {
            job: Job::SettleOrder { order_id: row.order_id },
            queue: QueueName::Settle,
            due_at_ms: now_ms,
            woken_by: None,
        };
        jobs::stage_all(&mut write, &over.iter().map(staged).collect::<Vec<_>>()).await?;
        write.commit().await?;
        let outcome = |item: &Arc<Unheard>| match orders.contains_key(&item.order_id) || locked == LockedRows::Wait {
            true => MemberOutcome::Done(()),
            false => MemberOutcome::Alone,
        };
        Ok(BatchOutcome::Committed(items.iter().map(outcome).collect()))
    }
}

/// The cause in an order's history.
fn unheard(transaction_id: TransactionId) -> String {
    format!("transaction {transaction_id} is closed: its gateway had no answer, or was told that we could not write it")
}

const COUNT_CALLS: Statement = Statement {
    sqlite: "-- count_calls_of_transactions
        select callbacks.order_id, cast(sum(callbacks.seen_count) as bigint) as calls from json_each($1) as asked
        cross join callbacks
        where callbacks.order_id = asked.value ->> 'of_order' and callbacks.transaction_id = asked.value ->> 'number'
        group by callbacks.order_id",
    postgres: "-- count_calls_of_transactions
        select asked.of_order as order_id, cast(sum(kept.seen_count) as bigint) as calls
        from json_to_recordset(cast($1 as json)) as asked(of_order bigint, number bigint)
        cross join lateral (select seen_count from callbacks
            where order_id = asked.of_order and transaction_id = asked.number limit 100) as kept
        group by asked.of_order",
};

/// How many calls about each of these transactions were kept, by their orders: each is kept in the transaction of the
/// database that decides about it.
async fn count_calls(
    write: &mut Write,
    open: &[(&StoredTransaction, i64)],
) -> Result<HashMap<OrderId, i64>, StoreError> {
    #[derive(Serialize)]
    struct Counted {
        of_order: OrderId,
        number: TransactionId,
    }
    if open.is_empty() {
        return Ok(HashMap::new());
    }
    let counted = |(row, _): &(&StoredTransaction, i64)| Counted { of_order: row.order_id, number: row.transaction_id };
    let text = COUNT_CALLS.on(write.store.database());
    let asked = json(&open.iter().map(counted).collect::<Vec<_>>())?;
    let rows = sqlx::query(text).bind(asked).fetch_all(write.transaction()).await?;
    rows.iter().map(|row| Ok((OrderId(row.try_get("order_id")?), row.try_get("calls")?))).collect()
}
