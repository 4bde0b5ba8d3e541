//! What `sweep` finds missing, and what it may delete.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError, jobs, orders};
use tracing::error;

use crate::id::OrderId;
use crate::job::{Job, QueueName};
use crate::order::GatewayIdentity;

const HOUR_MS: i64 = 3_600_000;

/// From its link until this long after its final status an order has an open `settle_order`.
pub const LOOK_BACK_MS: i64 = 72 * HOUR_MS;

/// How long finished jobs are kept.
pub const FINISHED_JOBS_MS: i64 = 7 * 24 * HOUR_MS;

/// How long dead letters and callbacks are kept.
pub const DEAD_AND_CALLBACKS_MS: i64 = 90 * 24 * HOUR_MS;

/// How long an order of a gateway that is no longer configured may stay open after its TTL.
const ELSEWHERE_MS: i64 = 72 * HOUR_MS;

/// In the words of the index, which SQLite does not infer from narrower ones.
const OPEN_ORDERS: &str = "o.status in ('pending', 'confirming', 'review')";

/// Orders restored per sweep and kind; the next sweep goes on.
const BATCH: i64 = 500;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// `create_payment_link` jobs restored.
    pub links_restored: u64,
    /// `settle_order` jobs restored.
    pub settlements_restored: u64,
    /// Orders of another gateway that went to a person.
    pub orphans: u64,
}

/// Restores the jobs that open orders must have and do not have. Harmless beside anything.
///
/// # Errors
/// [`StoreError`] when the database did not do it; what was restored stays.
pub async fn restore(store: &Store, ours: &GatewayIdentity) -> Result<Swept, StoreError> {
    let without = |kind: &str| {
        format!(
            "not exists (select 1 from jobs j where j.kind = '{kind}' and j.subject_id = o.id
                and j.state in ('available', 'enqueued', 'running'))"
        )
    };
    let mut swept = Swept::default();
    let links = format!(
        "-- orders_without_link_job
        select o.id from orders o where {OPEN_ORDERS} and o.status = 'pending' and o.payment_url is null
            and (o.expires_at_ms is null or o.expires_at_ms > $1) and {} order by o.id limit {BATCH}",
        without("create_payment_link")
    );
    for order_id in ids(store, links, store.now_ms()).await? {
        stage(store, Job::CreatePaymentLink { order_id }, QueueName::Links).await?;
        swept.links_restored += 1;
    }
    let open = format!(
        "-- open_orders_without_settle_job
        select o.id from orders o where {OPEN_ORDERS} and o.status in ('pending', 'confirming')
            and o.expires_at_ms is not null and {} order by o.id limit {BATCH}",
        without("settle_order")
    );
    let ended = format!(
        "-- ended_orders_without_settle_job
        select o.id from orders o where o.final_at_ms > $1 and o.status in ('paid', 'refunded', 'expired', 'canceled')
            and o.needs_review = 0 and {} order by o.final_at_ms limit {BATCH}",
        without("settle_order")
    );
    // An hour's margin: the last look back completes its job right at the end of the time.
    let ended_after_ms = store.now_ms() - LOOK_BACK_MS + HOUR_MS;
    for (sql, queue) in [(open, QueueName::Settle), (ended, QueueName::Background)] {
        for order_id in ids(store, sql, ended_after_ms).await? {
            stage(store, Job::SettleOrder { order_id }, queue).await?;
            swept.settlements_restored += 1;
        }
    }
    let elsewhere = sqlx::query(
        "-- orphaned_orders
        select id from orders where status in ('pending', 'confirming', 'review')
            and status in ('pending', 'confirming') and gateway <> $1
            and coalesce(expires_at_ms, pending_since_ms) <= $2 order by id limit 100",
    )
    .bind(ours.0.clone())
    .bind(store.now_ms() - ELSEWHERE_MS)
    .fetch_all(store.readers())
    .await?;
    for row in elsewhere {
        let mut write = store.begin(0).await?;
        let reason = "its gateway is no longer configured, so nobody can ask about its money";
        let order_id = OrderId(row.try_get("id")?);
        orders::put_before_a_person(&mut write, order_id, reason).await?;
        write.commit().await?;
        error!(order.id = %order_id, "order {order_id} needs a person: {reason}");
        swept.orphans += 1;
    }
    Ok(swept)
}

/// Deletes what its retention has run out for: batches of 1,000 rows, a commit each, until nothing is left or
/// `time_limit` is over; the next sweep goes on.
///
/// # Errors
/// [`StoreError`] when the database did not do it; what was deleted stays deleted.
pub async fn prune(store: &Store, time_limit: Duration) -> Result<u64, StoreError> {
    let began = Instant::now();
    let now_ms = store.now_ms();
    let mut pruned = 0;
    for (sql, before_ms) in [
        (
            "-- prune_jobs\ndelete from jobs where id in (select id from jobs
                where state in ('completed', 'canceled') and finished_at_ms < $1 order by finished_at_ms limit 1000)",
            now_ms - FINISHED_JOBS_MS,
        ),
        (
            "-- prune_dead_letters\ndelete from jobs where id in (select id from jobs
                where state = 'dead' and finished_at_ms < $1 order by finished_at_ms limit 1000)",
            now_ms - DEAD_AND_CALLBACKS_MS,
        ),
        (
            "-- prune_callbacks\ndelete from callbacks where id in (
                select id from callbacks where received_at_ms < $1 order by received_at_ms limit 1000)",
            now_ms - DEAD_AND_CALLBACKS_MS,
        ),
        (
            "-- prune_idempotency_keys\ndelete from idempotency_keys where (api_key_name, key) in (
                select api_key_name, key from idempotency_keys where created_at_ms < $1
                order by created_at_ms limit 1000)",
            now_ms - orders::IDEMPOTENCY_KEY_MS,
        ),
        (
            "-- prune_processes\ndelete from processes where id in (
                select id from processes where heartbeat_at_ms < $1 order by heartbeat_at_ms limit 1000)",
            now_ms - 24 * HOUR_MS,
        ),
    ] {
        while began.elapsed() < time_limit {
            let deleted = sqlx::query(sql).bind(before_ms).execute(store.writer()).await?.rows_affected();
            pruned += deleted;
            if deleted < 1_000 {
                break;
            }
        }
    }
    Ok(pruned)
}

async fn ids(store: &Store, sql: String, time_ms: i64) -> Result<Vec<OrderId>, StoreError> {
    let takes_time = sql.contains("$1");
    let query = sqlx::query(AssertSqlSafe(sql));
    let query = if takes_time { query.bind(time_ms) } else { query };
    let rows = query.fetch_all(store.readers()).await?;
    rows.iter().map(|row| Ok(OrderId(row.try_get("id")?))).collect()
}

async fn stage(store: &Store, job: Job, queue: QueueName) -> Result<(), StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    jobs::stage(&mut write, job, queue, now_ms).await?;
    write.commit().await
}
