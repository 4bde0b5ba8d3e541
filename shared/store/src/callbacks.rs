//! Callbacks: the gateway's questions before a debit, and our answers.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;
use sqlx::Row;

use super::statement::{Statement, json};
use super::{Store, StoreError, Write, jobs};
use domain::callback_verdict::CallbackVerdict;
use domain::id::{CallbackId, OrderId, TransactionId};
use domain::job::{Job, JobKind, Lease, QueueName};
use domain::order::PaymentType;

/// How much of a body that proves nothing is kept, bytes: enough to see who sends what.
const UNPROVEN_BYTES: usize = 500;

/// How many of them, and how many bytes of them, all processes together keep per day and gateway.
const UNPROVEN_A_DAY: i64 = 2_000;
const UNPROVEN_BYTES_A_DAY: i64 = 500_000;

const DAY_MS: i64 = 24 * 3_600_000;

/// A callback that is repeated within this time stages nothing unless it changes something.
const REPEAT_MS: i64 = 10_000;

mod answering;
mod drafts;
mod finding;

pub use answering::answer;
pub(super) use answering::{CallbackQuestion, Hint, hint_all};
pub(super) use drafts::{Allowing, LockedOrder, allow, lock_orders};
pub use finding::{KeptBody, Proofs, StoredCallback, StoredVerdict, Wanted, find, list, newest, of_order, proofs};

/// Bytes as they came from the gateway.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedBody<'a> {
    /// The body.
    pub bytes: &'a [u8],
    /// The identity of the callback, SHA-256 in hex: of its question, or, if it proves nothing, of its bytes.
    pub digest: &'a str,
    /// The sender's address, if it can be trusted.
    pub address: Option<IpAddr>,
}

/// Whether the sender's address lets the content count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The content decides.
    Heard,
    /// Refused whatever it says. Money may move all the same, so it is a hint like any other.
    TurnedAway,
}

#[derive(Debug)]
pub(super) struct OwnedBody {
    pub(super) text: String,
    pub(super) digest: String,
    pub(super) address: Option<String>,
}

impl OwnedBody {
    pub(super) fn of(body: ReceivedBody<'_>) -> Self {
        OwnedBody {
            // PostgreSQL's text cannot hold NUL.
            text: String::from_utf8_lossy(body.bytes).replace('\0', "\u{fffd}"),
            digest: body.digest.to_owned(),
            address: body.address.map(|address| address.to_string()),
        }
    }
}

/// Keeps the beginning of a body that proves nothing, unreadable or badly signed, or counts it if it is kept already.
/// The row names the gateway to whose webhook it came. It stages nothing and is no hint. Every caller can send such bodies, so
/// the number per day is limited for all processes together; each gateway's webhook has a limit of its own.
///
/// Returns whether it was kept or counted.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn keep_unproven(
    store: &Store,
    gateway: PaymentType,
    body: ReceivedBody<'_>,
    verdict: CallbackVerdict,
) -> Result<bool, StoreError> {
    let mut body = OwnedBody::of(body);
    body.text.truncate(body.text.floor_char_boundary(UNPROVEN_BYTES));
    let callback_id = new_ids(store, 1).await?.pop().unwrap_or_default();
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    let again = sqlx::query(
        "-- count_unproven_again
        update callbacks set seen_count = seen_count + 1, last_seen_at_ms = $1, address = $2,
            gateway = coalesce(gateway, $5)
        where digest = $3 and verdict = $4",
    )
    .bind(now_ms)
    .bind(body.address.as_deref())
    .bind(body.digest.as_str())
    .bind(verdict.as_str())
    .bind(gateway.as_str())
    .execute(write.transaction())
    .await?;
    if again.rows_affected() > 0 {
        return write.commit().await.map(|()| true);
    }
    let counted = sqlx::query(
        "-- count_unproven
        insert into unproven_of_gateways (day_ms, gateway, bodies, bytes) values ($1, $2, 1, $3)
        on conflict (day_ms, gateway) do update set
            bodies = unproven_of_gateways.bodies + 1, bytes = unproven_of_gateways.bytes + excluded.bytes
        where unproven_of_gateways.bodies < $4 and unproven_of_gateways.bytes + excluded.bytes <= $5",
    )
    .bind(now_ms - now_ms.rem_euclid(DAY_MS))
    .bind(gateway.as_str())
    .bind(i64::try_from(body.text.len()).unwrap_or(i64::MAX))
    .bind(UNPROVEN_A_DAY)
    .bind(UNPROVEN_BYTES_A_DAY)
    .execute(write.transaction())
    .await?;
    if counted.rows_affected() == 0 {
        return Ok(false);
    }
    let keeping = CallbackRow {
        id: callback_id,
        digest: &body.digest,
        body: &body.text,
        verdict: verdict.as_str(),
        order_id: None,
        transaction_id: None,
        address: body.address.as_deref(),
        gateway: Some(gateway.as_str()),
    };
    keep_all(&mut write, &[keeping], now_ms).await?;
    write.commit().await.map(|()| true)
}

pub(super) async fn new_ids(store: &Store, count: usize) -> Result<Vec<i64>, StoreError> {
    store.0.ids.take(store, "callbacks", count).await
}

/// A new row of `callbacks`.
#[derive(Serialize)]
pub(super) struct CallbackRow<'a> {
    pub(super) id: i64,
    pub(super) digest: &'a str,
    pub(super) body: &'a str,
    pub(super) verdict: &'static str,
    pub(super) order_id: Option<OrderId>,
    pub(super) transaction_id: Option<TransactionId>,
    pub(super) address: Option<&'a str>,
    /// The gateway account that it was for; of a body that proves nothing, the payment type of the webhook.
    pub(super) gateway: Option<&'a str>,
}

/// A callback that was kept now or earlier.
pub(super) struct KeptCallback {
    pub(super) id: CallbackId,
    pub(super) received_at_ms: i64,
    /// When it last was a reason to ask the gateway. If that is now, it is a reason now.
    pub(super) hinted_at_ms: i64,
}

const KEEP_CALLBACKS: Statement = Statement {
    sqlite: "-- keep_callbacks
        insert into callbacks
            (id, digest, body, verdict, order_id, transaction_id, received_at_ms, last_seen_at_ms, hinted_at_ms, address,
            gateway)
        select value ->> 'id', value ->> 'digest', value ->> 'body', value ->> 'verdict', value ->> 'order_id',
            value ->> 'transaction_id', $2, $2, $2, value ->> 'address', value ->> 'gateway'
        from json_each($1) where true
        on conflict (digest, verdict) do update set
            seen_count = callbacks.seen_count + 1, last_seen_at_ms = excluded.last_seen_at_ms,
            address = excluded.address,
            hinted_at_ms = case
                when excluded.hinted_at_ms - coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms) >= $3
                    and 2 * (excluded.hinted_at_ms - coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms))
                        >= coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms) - callbacks.received_at_ms
                then excluded.hinted_at_ms
                else coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms) end
        returning id, digest, received_at_ms, hinted_at_ms",
    postgres: "-- keep_callbacks
        insert into callbacks
            (id, digest, body, verdict, order_id, transaction_id, received_at_ms, last_seen_at_ms, hinted_at_ms, address,
            gateway)
        select id, digest, body, verdict, order_id, transaction_id, $2, $2, $2, address, gateway
        from json_populate_recordset(cast(null as callbacks), cast($1 as json))
        on conflict (digest, verdict) do update set
            seen_count = callbacks.seen_count + 1, last_seen_at_ms = excluded.last_seen_at_ms,
            address = excluded.address,
            hinted_at_ms = case
                when excluded.hinted_at_ms - coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms) >= $3
                    and 2 * (excluded.hinted_at_ms - coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms))
                        >= coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms) - callbacks.received_at_ms
                then excluded.hinted_at_ms
                else coalesce(callbacks.hinted_at_ms, callbacks.received_at_ms) end
        returning id, digest, received_at_ms, hinted_at_ms",
};

/// Keeps callbacks, or counts them if they are kept already. Returns the result of each by its digest; no two may share
/// one.
///
/// A repeated callback is a reason to ask the gateway after 10 s, and then after ever longer: half of the time since it
/// first came. So no sender who has seen one callback can make us ask the gateway for ever.
pub(super) async fn keep_all(
    write: &mut Write,
    rows: &[CallbackRow<'_>],
    now_ms: i64,
) -> Result<HashMap<String, KeptCallback>, StoreError> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let text = KEEP_CALLBACKS.on(write.store.database());
    let query = sqlx::query(text).bind(json(rows)?).bind(now_ms).bind(REPEAT_MS);
    let kept = query.fetch_all(write.transaction()).await?;
    kept.iter()
        .map(|row| {
            let kept = KeptCallback {
                id: CallbackId(row.try_get("id")?),
                received_at_ms: row.try_get("received_at_ms")?,
                hinted_at_ms: row.try_get("hinted_at_ms")?,
            };
            Ok((row.try_get("digest")?, kept))
        })
        .collect()
}

/// Completes a `process_callback`, which an older release has staged, and wakes its order's `settle_order`.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn wake_settlement(store: &Store, lease: &Lease, order_id: OrderId) -> Result<(), StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    // The row of `settle_order` before our own: a callback of an older release holds the order and waits for our row,
    // while `settle_order` holds its row and waits for the order. If the fence then refuses, the transaction ends with
    // nothing written.
    jobs::stage(&mut write, Job::SettleOrder { order_id }, QueueName::Settle, now_ms).await?;
    jobs::finish(&mut write, lease, &jobs::Finish::Complete).await?;
    write.commit().await
}

/// The order of a stored callback, within a transaction.
pub(super) async fn order_of(write: &mut Write, callback_id: i64) -> Result<Option<OrderId>, StoreError> {
    let row = sqlx::query("-- order_of_callback\nselect order_id from callbacks where id = $1")
        .bind(callback_id)
        .fetch_optional(write.transaction())
        .await?;
    Ok(match row {
        Some(row) => row.try_get::<Option<i64>, _>("order_id")?.map(OrderId),
        None => None,
    })
}

/// Cancels the dead letters of this kind about an order's callbacks: no person has to look at them any more.
pub(super) async fn cancel_dead_jobs(write: &mut Write, kind: JobKind, order_id: OrderId) -> Result<(), StoreError> {
    sqlx::query(
        "-- cancel_dead_callback_jobs
        update jobs set state = 'canceled', finished_at_ms = $3
        where kind = $1 and subject_id in (select id from callbacks where order_id = $2)
            and coalesce(state, '') = 'dead'",
    )
    .bind(kind.as_str())
    .bind(order_id.0)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    Ok(())
}
