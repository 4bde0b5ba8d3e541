//! `sweep`: restores missing jobs, and deletes old rows.

use sqlx::Row;

use super::statement::{Statement, json};
use super::{Store, StoreError, findings, jobs, orders, processes};
use tracing::error;

use domain::id::{OrderId, RefundId};
use domain::job::{Job, JobKind, QueueName};
use domain::order::GatewayIdentity;
use domain::review::{FindingKind, NewFinding};

mod pruning;

pub use pruning::prune;

const HOUR_MS: i64 = 3_600_000;

/// From its link until this long after its final status an order has an open `settle_order`.
pub const LATE_INQUIRIES_MS: i64 = 72 * HOUR_MS;

/// The last late inquiry completes its job at the end of that time. For this long before it, a missing job may
/// simply be complete.
pub const LATE_INQUIRIES_MARGIN_MS: i64 = HOUR_MS;

/// How long finished jobs are kept.
pub const FINISHED_JOBS_MS: i64 = 7 * 24 * HOUR_MS;

/// How long dead letters and callbacks are kept.
pub const DEAD_AND_CALLBACKS_MS: i64 = 90 * 24 * HOUR_MS;

/// How long failed attempts are kept: longer than the late inquiries about an order, and long enough for a person who
/// comes back from a holiday.
pub const ATTEMPTS_MS: i64 = 14 * 24 * HOUR_MS;

/// How long callbacks that prove nothing are kept: long enough to see who sent them.
pub const UNPROVEN_MS: i64 = 14 * 24 * HOUR_MS;

/// How long an order may stay open after its TTL if its gateway is no longer configured.
const ELSEWHERE_MS: i64 = 72 * HOUR_MS;

/// Orders restored per sweep and kind; the next sweep restores more.
const BATCH: u32 = 500;

/// Ended orders that one statement checks, and the number of such statements in one sweep: enough for as many orders
/// per minute as can end in one.
const ENDED_PAGE: u32 = 1_000;
const ENDED_PAGES: usize = 20;

/// The results of one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// `create_payment_link` jobs restored.
    pub links_restored: u64,
    /// `settle_order` jobs restored.
    pub settlements_restored: u64,
    /// `refund_order` jobs restored.
    pub refunds_restored: u64,
    /// Orders of another gateway that were put before a person.
    pub orphans: u64,
    /// Orders of which findings of an older release were adopted.
    pub adopted: u64,
}

// The first condition is that of the index. SQLite does not infer it from a narrower one.
const WITHOUT_LINK_JOB: &str = "-- orders_without_link_job
    select o.id from orders o
    where o.status in ('pending', 'confirming', 'review') and o.status = 'pending' and o.payment_url is null
        and o.gateway <> ''
        and (o.expires_at_ms is null or o.expires_at_ms > $2)
        and not exists (select 1 from jobs j
            where j.kind = $1 and j.subject_id = o.id and j.state in ('available', 'enqueued', 'running'))
    order by o.id limit $3";

const WITHOUT_SETTLE_JOB: &str = "-- open_orders_without_settle_job
    select o.id from orders o
    where o.status in ('pending', 'confirming', 'review')
        and ((o.status in ('pending', 'confirming') and o.expires_at_ms is not null)
            or (o.status = 'review' and o.resolution_transaction_id is not null))
        and not exists (select 1 from jobs j
            where j.kind = $1 and j.subject_id = o.id and j.state in ('available', 'enqueued', 'running'))
    order by o.id limit $2";

/// Restores the missing jobs of open orders. It may run beside anything.
///
/// # Errors
/// [`StoreError`] when the database did not do it; the restored jobs stay.
pub async fn restore(store: &Store, ours: &[GatewayIdentity]) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let without_link = sqlx::query(WITHOUT_LINK_JOB)
        .bind(JobKind::CreatePaymentLink.as_str())
        .bind(store.now_ms())
        .bind(i64::from(BATCH));
    for row in without_link.fetch_all(store.readers()).await? {
        let order_id = OrderId(row.try_get("id")?);
        stage(store, Job::CreatePaymentLink { order_id }, QueueName::Links).await?;
        swept.links_restored += 1;
    }
    let without_inquiry = sqlx::query(WITHOUT_SETTLE_JOB).bind(JobKind::SettleOrder.as_str()).bind(i64::from(BATCH));
    for row in without_inquiry.fetch_all(store.readers()).await? {
        let order_id = OrderId(row.try_get("id")?);
        stage(store, Job::SettleOrder { order_id }, QueueName::Settle).await?;
        swept.settlements_restored += 1;
    }
    swept.settlements_restored += restore_late_inquiries(store).await?;
    swept.refunds_restored = restore_refunds(store).await?;
    swept.orphans = hand_over_orphans(store, ours).await?;
    swept.adopted = findings::adopt(store).await?;
    Ok(swept)
}

const STILL_ORPHANED: Statement = Statement {
    sqlite: "-- still_orphaned
        select id from orders
        where id = $1 and status in ('pending', 'confirming') and gateway <> ''
            and gateway not in (select value from json_each($2))
            and coalesce(expires_at_ms, pending_since_ms) <= $3",
    postgres: "-- still_orphaned
        select id from orders
        where id = $1 and status in ('pending', 'confirming') and gateway <> ''
            and gateway not in (select value from json_array_elements_text(cast($2 as json)))
            and coalesce(expires_at_ms, pending_since_ms) <= $3
        for update",
};

const ORPHANED_ORDERS: Statement = Statement {
    sqlite: "-- orphaned_orders
        select id from orders where status in ('pending', 'confirming', 'review')
            and status in ('pending', 'confirming') and gateway <> ''
            and gateway not in (select value from json_each($1))
            and coalesce(expires_at_ms, pending_since_ms) <= $2
            and not exists (select 1 from processes p where p.heartbeat_at_ms > $3 and (p.gateway = orders.gateway
                or exists (select 1 from json_each(p.accounts) where key = orders.gateway)))
        order by id limit 100",
    postgres: "-- orphaned_orders
        select id from orders where status in ('pending', 'confirming', 'review')
            and status in ('pending', 'confirming') and gateway <> ''
            and gateway not in (select value from json_array_elements_text(cast($1 as json)))
            and coalesce(expires_at_ms, pending_since_ms) <= $2
            and not exists (select 1 from processes p where p.heartbeat_at_ms > $3 and (p.gateway = orders.gateway
                or jsonb_exists(cast(p.accounts as jsonb), orders.gateway)))
        order by id limit 100",
};

/// Puts orders before a person whose gateway is no longer configured, and returns how many.
async fn hand_over_orphans(store: &Store, ours: &[GatewayIdentity]) -> Result<u64, StoreError> {
    const REASON: &str = "its gateway is no longer configured, so no process can ask about its money";
    let since_ms = store.now_ms() - ELSEWHERE_MS;
    let ours = json(ours)?;
    let elsewhere = sqlx::query(ORPHANED_ORDERS.on(store.database()))
        .bind(ours.clone())
        .bind(since_ms)
        .bind(store.now_ms() - processes::ALIVE_MS)
        .fetch_all(store.readers())
        .await?;
    let mut orphans = 0;
    for row in elsewhere {
        let order_id = OrderId(row.try_get("id")?);
        let mut write = store.begin(0).await?;
        // Meanwhile a process that has its gateway may have recorded a payment, or the order may have another link.
        let still = sqlx::query(STILL_ORPHANED.on(store.database())).bind(order_id.0).bind(ours.clone()).bind(since_ms);
        if still.fetch_optional(write.transaction()).await?.is_none() {
            continue;
        }
        let finding = NewFinding::new(FindingKind::GatewayNotConfigured, REASON);
        orders::put_before_a_person(&mut write, order_id, &finding).await?;
        write.commit().await?;
        error!(order.id = %order_id, "order {order_id} needs a person: {REASON}");
        orphans += 1;
    }
    Ok(orphans)
}

/// Restores the jobs of open refunds, and returns how many.
async fn restore_refunds(store: &Store) -> Result<u64, StoreError> {
    let rows = sqlx::query(
        "-- open_refunds_without_job
        select r.id from refunds r where r.state in ('open', 'review') and r.state = 'open'
            and not exists (select 1 from jobs j
                where j.kind = $1 and j.subject_id = r.id and j.state in ('available', 'enqueued', 'running'))
        order by r.order_id limit $2",
    )
    .bind(JobKind::RefundOrder.as_str())
    .bind(i64::from(BATCH))
    .fetch_all(store.readers())
    .await?;
    for row in &rows {
        let refund_id = RefundId(row.try_get("id")?);
        stage(store, Job::RefundOrder { refund_id }, QueueName::Settle).await?;
    }
    Ok(rows.len() as u64)
}

/// Restores the late inquiries about ended orders, and returns how many.
///
/// A late inquiry is a day away, so this may take its time. With very many ended orders each sweep continues where the
/// one before stopped, and starts again after the last.
async fn restore_late_inquiries(store: &Store) -> Result<u64, StoreError> {
    let oldest = SweepPosition {
        final_at_ms: store.now_ms() - LATE_INQUIRIES_MS + LATE_INQUIRIES_MARGIN_MS,
        order_id: OrderId(0),
    };
    let mut from = sweep_position(store).await?.max(oldest);
    let mut restored = 0;
    for _ in 0..ENDED_PAGES {
        let page = ended_orders(store, from).await?;
        for order in &page {
            if order.is_without_inquiry {
                if restored == u64::from(BATCH) {
                    keep_sweep_position(store, from).await?;
                    return Ok(restored);
                }
                stage(store, Job::SettleOrder { order_id: order.place.order_id }, QueueName::Background).await?;
                restored += 1;
            }
            from = order.place;
        }
        if page.len() < ENDED_PAGE as usize {
            from = SweepPosition::default(); // all of them were looked at
            break;
        }
    }
    keep_sweep_position(store, from).await?;
    Ok(restored)
}

/// The last ended order that was checked. Many orders may end in the same millisecond, so the position includes the
/// order's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SweepPosition {
    final_at_ms: i64,
    order_id: OrderId,
}

impl Default for SweepPosition {
    fn default() -> Self {
        SweepPosition { final_at_ms: 0, order_id: OrderId(0) }
    }
}

struct EndedOrder {
    place: SweepPosition,
    is_without_inquiry: bool,
}

/// The next ended orders, oldest first, and for each whether a late inquiry is missing.
async fn ended_orders(store: &Store, from: SweepPosition) -> Result<Vec<EndedOrder>, StoreError> {
    let rows = sqlx::query(
        "-- ended_orders
        select o.id, o.final_at_ms,
            case when o.status in ('paid', 'refunded', 'expired', 'canceled') and o.needs_review = 0 then coalesce(
                (select 0 from jobs j where j.kind = $3 and j.subject_id = o.id
                    and j.state in ('available', 'enqueued', 'running') limit 1), 1) else 0 end as is_without_inquiry
        from orders o where o.final_at_ms >= $1 and (o.final_at_ms > $1 or o.id > $2)
        order by o.final_at_ms, o.id limit $4",
    )
    .bind(from.final_at_ms)
    .bind(from.order_id.0)
    .bind(JobKind::SettleOrder.as_str())
    .bind(i64::from(ENDED_PAGE))
    .fetch_all(store.readers())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(EndedOrder {
                place: SweepPosition {
                    final_at_ms: row.try_get("final_at_ms")?,
                    order_id: OrderId(row.try_get("id")?),
                },
                is_without_inquiry: row.try_get::<i32, _>("is_without_inquiry")? != 0,
            })
        })
        .collect()
}

/// The position of the sweep before: a time in epoch milliseconds and an order's number.
async fn sweep_position(store: &Store) -> Result<SweepPosition, StoreError> {
    let row = sqlx::query("-- sweep_position\nselect value from installation where name = 'swept_to_ms'")
        .fetch_optional(store.readers())
        .await?;
    let read = |row: sqlx::any::AnyRow| {
        let value: String = row.try_get("value").ok()?;
        // An earlier release stored only the time.
        let (final_at_ms, order_id) = value.split_once(' ').unwrap_or((&value, "0"));
        Some(SweepPosition { final_at_ms: final_at_ms.parse().ok()?, order_id: OrderId(order_id.parse().ok()?) })
    };
    // A position that cannot be read means: start again.
    Ok(row.and_then(read).unwrap_or_default())
}

async fn keep_sweep_position(store: &Store, to: SweepPosition) -> Result<(), StoreError> {
    sqlx::query(
        "-- keep_sweep_position
        insert into installation (name, value) values ('swept_to_ms', $1)
        on conflict (name) do update set value = excluded.value",
    )
    .bind(format!("{} {}", to.final_at_ms, to.order_id.0))
    .execute(store.writer())
    .await?;
    Ok(())
}

async fn stage(store: &Store, job: Job, queue: QueueName) -> Result<(), StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    jobs::stage(&mut write, job, queue, now_ms).await?;
    write.commit().await
}
