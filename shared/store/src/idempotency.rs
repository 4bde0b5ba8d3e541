//! Idempotency keys: a caller's names for its requests, and the orders and refunds that these made.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::Row;

use super::statement::{Statement, json};
use super::{Store, StoreError, Write};
use domain::id::{OrderId, RefundId};

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_KEY_MS: i64 = 24 * 3_600_000;

/// A caller's name for its request, and the request's content.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The header's value.
    pub key: String,
    /// SHA-256 of the body, hex.
    pub body_digest: String,
}

/// The owner of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOwner {
    /// Nothing is committed yet: the request is being carried out at this moment.
    Nothing,
    /// The order that the same request made.
    Order(OrderId),
    /// The refund that the same request made.
    Refund(RefundId),
    /// Another request.
    OtherRequest,
}

/// A new row of `idempotency_keys`.
#[derive(Serialize)]
pub(super) struct IdempotencyKeyRow<'a> {
    api_key_name: &'a str,
    key: &'a str,
    body_digest: &'a str,
    order_id: OrderId,
    refund_id: Option<RefundId>,
}

impl<'a> IdempotencyKeyRow<'a> {
    /// The caller's key for an order, or for a refund of that order.
    pub(super) fn of(
        api_key_name: &'a str,
        key: &'a IdempotencyKey,
        order_id: OrderId,
        refund_id: Option<RefundId>,
    ) -> Self {
        IdempotencyKeyRow { api_key_name, key: &key.key, body_digest: &key.body_digest, order_id, refund_id }
    }
}

const KEEP_KEYS: Statement = Statement {
    sqlite: "-- keep_idempotency_keys
        insert into idempotency_keys (api_key_name, key, body_digest, order_id, refund_id, created_at_ms)
        select value ->> 'api_key_name', value ->> 'key', value ->> 'body_digest', value ->> 'order_id',
            value ->> 'refund_id', $2
        from json_each($1) where true
        on conflict (api_key_name, key) do nothing returning order_id",
    postgres: "-- keep_idempotency_keys
        insert into idempotency_keys (api_key_name, key, body_digest, order_id, refund_id, created_at_ms)
        select api_key_name, key, body_digest, order_id, refund_id, $2
        from json_populate_recordset(cast(null as idempotency_keys), cast($1 as json))
        on conflict (api_key_name, key) do nothing returning order_id",
};

/// Stores keys in the transaction of what they make, no key twice. Returns the orders of the new keys.
pub(super) async fn keep_all(
    write: &mut Write,
    mut keys: Vec<IdempotencyKeyRow<'_>>,
) -> Result<HashSet<OrderId>, StoreError> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    // All transactions take these locks in the same order: a key waits for another request with the same key.
    keys.sort_unstable_by_key(|key| (key.api_key_name, key.key));
    let now_ms = write.now_ms();
    let text = KEEP_KEYS.on(write.store.database());
    let kept = sqlx::query(text).bind(json(&keys)?).bind(now_ms).fetch_all(write.transaction()).await?;
    kept.iter().map(|row| Ok(OrderId(row.try_get("order_id")?))).collect()
}

/// The owner of a stored key.
pub(super) async fn find(store: &Store, api_key_name: &str, key: &IdempotencyKey) -> Result<KeyOwner, StoreError> {
    let row = sqlx::query(
        "-- find_idempotency_key
        select body_digest, order_id, refund_id from idempotency_keys where api_key_name = $1 and key = $2",
    )
    .bind(api_key_name.to_owned())
    .bind(key.key.clone())
    .fetch_optional(store.readers())
    .await?;
    let Some(row) = row else { return Ok(KeyOwner::Nothing) };
    if row.try_get::<String, _>("body_digest")? != key.body_digest {
        return Ok(KeyOwner::OtherRequest);
    }
    Ok(match row.try_get::<Option<i64>, _>("refund_id")? {
        Some(id) => KeyOwner::Refund(RefundId(id)),
        None => KeyOwner::Order(OrderId(row.try_get("order_id")?)),
    })
}
