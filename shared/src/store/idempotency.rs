//! Idempotency keys: a caller's names for its requests, and what those made.

use sqlx::Row;

use super::{Store, StoreError, Write};
use crate::id::{OrderId, RefundId};

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_KEY_MS: i64 = 24 * 3_600_000;

/// A caller's name for its request, and what the request said.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The header's value.
    pub key: String,
    /// SHA-256 of the body, hex.
    pub body_digest: String,
}

/// What a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing that is committed: the request is being carried out at this moment.
    Nothing,
    /// The order that the same request made.
    Order(OrderId),
    /// The refund that the same request made.
    Refund(RefundId),
    /// Another request.
    OtherRequest,
}

/// Keeps a key in the transaction of what it makes: the order, or the refund of that order. Returns whether it is new.
pub(super) async fn keep(
    write: &mut Write,
    api_key_name: &str,
    key: &IdempotencyKey,
    order_id: OrderId,
    refund_id: Option<RefundId>,
) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let inserted = sqlx::query(
        "-- keep_idempotency_key
        insert into idempotency_keys (api_key_name, key, body_digest, order_id, refund_id, created_at_ms)
        values ($1, $2, $3, $4, $5, $6) on conflict (api_key_name, key) do nothing",
    )
    .bind(api_key_name.to_owned())
    .bind(key.key.clone())
    .bind(key.body_digest.clone())
    .bind(order_id.0)
    .bind(refund_id.map(|id| id.0))
    .bind(now_ms)
    .execute(write.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// What the key was kept with.
pub(super) async fn find(store: &Store, api_key_name: &str, key: &IdempotencyKey) -> Result<Kept, StoreError> {
    let row = sqlx::query(
        "-- find_idempotency_key
        select body_digest, order_id, refund_id from idempotency_keys where api_key_name = $1 and key = $2",
    )
    .bind(api_key_name.to_owned())
    .bind(key.key.clone())
    .fetch_optional(store.readers())
    .await?;
    let Some(row) = row else { return Ok(Kept::Nothing) };
    if row.try_get::<String, _>("body_digest")? != key.body_digest {
        return Ok(Kept::OtherRequest);
    }
    Ok(match row.try_get::<Option<i64>, _>("refund_id")? {
        Some(id) => Kept::Refund(RefundId(id)),
        None => Kept::Order(OrderId(row.try_get("order_id")?)),
    })
}
