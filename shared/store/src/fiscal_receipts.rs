//! Fiscal receipts that a gateway tells us of.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::statement::Statement;
use super::{Store, StoreError};
use domain::fiscal::{FiscalKind, FiscalReceipt};
use domain::id::{OrderId, TransactionId};
use domain::order::GatewayIdentity;

/// Keeps the receipt of a transaction that the gateway names by its own id. A later one of the same kind takes its place.
/// Returns whether there is such a transaction.
///
/// # Errors
/// [`StoreError`] when the database did not do it: the gateway must call again.
pub async fn keep(
    store: &Store,
    gateway: &GatewayIdentity,
    external_id: &str,
    kind: FiscalKind,
    data: &str,
) -> Result<bool, StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    let kept = sqlx::query(
        "-- keep_fiscal_receipt
        insert into fiscal_receipts (gateway, transaction_id, kind, data, received_at_ms)
        select gateway, transaction_id, $3, $4, $5 from transactions where gateway = $1 and external_id = $2
        on conflict (gateway, transaction_id, kind) do update set
            data = excluded.data, received_at_ms = excluded.received_at_ms",
    )
    .bind(gateway.0.clone())
    .bind(external_id.to_owned())
    .bind(kind.as_str())
    .bind(data.to_owned())
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    if kept.rows_affected() == 0 {
        return Ok(false);
    }
    write.commit().await.map(|()| true)
}

// One after the other: without statistics PostgreSQL would read all receipts, to join them.
const FISCAL_RECEIPTS_OF_ORDER: Statement = Statement {
    sqlite: "-- fiscal_receipts_of_order
        select f.transaction_id, f.kind, f.data, f.received_at_ms from transactions t
        join fiscal_receipts f on f.gateway = t.gateway and f.transaction_id = t.transaction_id
        where t.order_id = $1 order by f.received_at_ms, f.transaction_id, f.kind limit 200",
    postgres: "-- fiscal_receipts_of_order
        select f.transaction_id, f.kind, f.data, f.received_at_ms from transactions t
        cross join lateral (select transaction_id, kind, data, received_at_ms from fiscal_receipts
            where gateway = t.gateway and transaction_id = t.transaction_id offset 0) as f
        where t.order_id = $1 order by f.received_at_ms, f.transaction_id, f.kind limit 200",
};

/// The fiscal receipts of an order's transactions, oldest first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<FiscalReceipt>, StoreError> {
    let query = sqlx::query(FISCAL_RECEIPTS_OF_ORDER.on(store.database())).bind(order_id.0);
    let rows = query.fetch_all(store.readers()).await?;
    // A kind that a newer release writes is left to it.
    let read = |row: &AnyRow| -> Result<Option<FiscalReceipt>, StoreError> {
        let kind: String = row.try_get("kind")?;
        let Some(kind) = FiscalKind::parse(&kind) else { return Ok(None) };
        Ok(Some(FiscalReceipt {
            transaction_id: TransactionId(row.try_get("transaction_id")?),
            kind,
            data: row.try_get("data")?,
            received_at_ms: row.try_get("received_at_ms")?,
        }))
    };
    rows.iter().map(read).filter_map(Result::transpose).collect()
}
