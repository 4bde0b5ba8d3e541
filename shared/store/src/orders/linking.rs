//! Stores payment links; links that arrive at the same time share a transaction.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use sqlx::Row;

use super::{NOT_CHOSEN, NewLink, Told, Transition, tell_all};
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MemberOutcome, run_in_batch};
use crate::jobs::{self, Finish, Staged, WokenBy};
use crate::statement::{LockingStatement, json};
use crate::{Store, StoreError, Write, anew_after_conflict, transactions};
use domain::id::{JobId, OrderId, TransactionId};
use domain::job::{Job, Lease, QueueName};
use domain::order::{Order, OrderStatus};
use failpoint::{Point, reach};

/// Stores a draft with its payment link, and converts the job into the order's first inquiry, in one transaction. If
/// the order has an inquiry already, that one comes no later, and the job is complete.
///
/// If the fence or the order refuses (a late attempt, a canceled order), the draft is recorded alone: every draft must
/// be known, because a customer might pay it. The TTL starts with the first link and stays with later ones.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease; the draft is recorded all the same.
pub async fn store_link(
    store: &Store,
    lease: &Lease,
    order: &Order,
    link: &NewLink,
    payment_ttl_ms: i64,
    first_inquiry_ms: i64,
) -> Result<Transition, StoreError> {
    let linking =
        || Linking { lease: *lease, order: order.clone(), link: link.clone(), payment_ttl_ms, first_inquiry_ms };
    // An operator may stage an inquiry at this moment, which conflicts with this transaction for a short time.
    let stored = anew_after_conflict(|| run_in_batch(store, linking())).await;
    if !matches!(stored, Ok(Transition::Made)) {
        let mut write = store.begin(0).await?;
        transactions::record_drafts(&mut write, &[(order, link.transaction_id)]).await?;
        write.commit().await?;
    }
    stored
}

/// A payment link to store.
#[derive(Debug)]
pub(crate) struct Linking {
    lease: Lease,
    order: Order,
    link: NewLink,
    payment_ttl_ms: i64,
    first_inquiry_ms: i64,
}

const STORE_LINKS: LockingStatement = LockingStatement {
    sqlite: "-- store_links
        update orders set transaction_id = link.transaction_id, payment_url = link.payment_url,
            links_made = orders.links_made + 1, link_at_ms = $2,
            expires_at_ms = coalesce(orders.expires_at_ms, link.expires_at_ms)
        from (
            select value ->> 'id' as id, value ->> 'gateway' as gateway, value ->> 'transaction_id' as transaction_id,
                value ->> 'payment_url' as payment_url, value ->> 'expires_at_ms' as expires_at_ms
            from json_each($1)
        ) as link
        where orders.id in (select value ->> 'id' from json_each($1))
            and orders.id = link.id and coalesce(orders.gateway, '') = link.gateway and orders.status = 'pending'
            and orders.payment_url is null
        returning id",
    postgres: "-- store_links
        update orders set transaction_id = link.transaction_id, payment_url = link.payment_url,
            links_made = orders.links_made + 1, link_at_ms = $2,
            expires_at_ms = coalesce(orders.expires_at_ms, link.expires_at_ms)
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as link
        where orders.id = any(array(
                select id from orders
                where id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
                order by id for update))
            and orders.id = link.id and coalesce(orders.gateway, '') = link.gateway
            and coalesce(orders.status, '') = 'pending' and orders.payment_url is null
        returning orders.id",
    postgres_skipping: "-- store_links
        update orders set transaction_id = link.transaction_id, payment_url = link.payment_url,
            links_made = orders.links_made + 1, link_at_ms = $2,
            expires_at_ms = coalesce(orders.expires_at_ms, link.expires_at_ms)
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as link
        where orders.id = any(array(
                select id from orders
                where id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
                order by id for update skip locked))
            and orders.id = link.id and coalesce(orders.gateway, '') = link.gateway
            and coalesce(orders.status, '') = 'pending' and orders.payment_url is null
        returning orders.id",
};

impl Batched for Linking {
    type Answer = Transition;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.links
    }

    fn subject(&self) -> Option<i64> {
        Some(self.order.id.0)
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> Result<BatchOutcome<Transition>, StoreError> {
        #[derive(Serialize)]
        struct LinkRow<'a> {
            id: OrderId,
            gateway: &'a str,
            transaction_id: TransactionId,
            payment_url: &'a str,
            expires_at_ms: i64,
        }
        let mut write = store.begin(items.len()).await?;
        // Jobs before the order's row, as in every settlement: all transactions take locks in the same order.
        let converting: Vec<(Lease, Staged)> = items.iter().map(|item| (item.lease, first_inquiry(item))).collect();
        let converted = jobs::convert_all(&mut write, &converting, locked).await?;
        if let Some(unwritten) = end_unconverted(&mut write, items, converted, locked).await? {
            return Ok(unwritten);
        }
        let now_ms = write.now_ms();
        let mut linking = Vec::with_capacity(items.len());
        for item in items {
            linking.push(LinkRow {
                id: item.order.id,
                gateway: item.order.gateway().map_or(NOT_CHOSEN, |gateway| &gateway.0),
                transaction_id: item.link.transaction_id,
                payment_url: &item.link.payment_url,
                expires_at_ms: now_ms + item.payment_ttl_ms,
            });
        }
        let text = STORE_LINKS.on(write.store.database(), locked);
        let done = sqlx::query(text).bind(json(&linking)?).bind(now_ms).fetch_all(write.transaction()).await?;
        let mut linked = HashSet::with_capacity(done.len());
        for row in done {
            linked.insert(OrderId(row.try_get("id")?));
        }
        let unlinked = |(_, item): &(usize, &Arc<Self>)| !linked.contains(&item.order.id);
        let unlinked: Vec<usize> = items.iter().enumerate().filter(unlinked).map(|(place, _)| place).collect();
        if !unlinked.is_empty() && locked == LockedRows::Skip {
            // One of the orders may be locked, and its draft would wait for that lock.
            return Ok(BatchOutcome::FailedMembers(unlinked));
        }
        let drafts: Vec<(&Order, TransactionId)> =
            items.iter().map(|item| (&item.order, item.link.transaction_id)).collect();
        let ours = transactions::record_drafts(&mut write, &drafts).await?;
        let is_refused = |(_, item): &(usize, &Arc<Self>)| {
            !linked.contains(&item.order.id) || !ours.contains(&(item.order.id, item.link.transaction_id))
        };
        let refused: Vec<usize> = items.iter().enumerate().filter(is_refused).map(|(place, _)| place).collect();
        if let Some(unwritten) = BatchOutcome::without(refused, locked, MemberOutcome::Done(Transition::Refused)) {
            return Ok(unwritten);
        }
        let line = |item: &Arc<Self>| Told {
            id: item.order.id,
            from: Some(OrderStatus::Pending),
            to: OrderStatus::Pending,
            cause: format!("the gateway made a payment link, transaction {}", item.link.transaction_id),
        };
        tell_all(&mut write, &items.iter().map(line).collect::<Vec<_>>()).await?;
        reach(Point::LinkBeforeCommit);
        write.commit().await?;
        reach(Point::LinkAfterCommit);
        Ok(BatchOutcome::Committed(items.iter().map(|_| MemberOutcome::Done(Transition::Made)).collect()))
    }
}

/// The order's first inquiry.
fn first_inquiry(item: &Linking) -> Staged {
    let job = Job::SettleOrder { order_id: item.order.id };
    Staged { job, queue: QueueName::Settle, due_at_ms: item.first_inquiry_ms, woken_by: None }
}

/// Ends the runs that were not converted into inquiries: an inquiry is open beside them, or their lease is lost.
/// Returns how the transaction ends if one of them cannot be ended.
async fn end_unconverted(
    write: &mut Write,
    items: &[Arc<Linking>],
    mut ended: HashSet<JobId>,
    locked: LockedRows,
) -> Result<Option<BatchOutcome<Transition>>, StoreError> {
    let runs: Vec<(Lease, Finish)> = items.iter().map(|item| (item.lease, Finish::Complete)).collect();
    let unconverted: Vec<(Lease, Finish)> =
        runs.iter().filter(|(lease, _)| !ended.contains(&lease.job_id)).cloned().collect();
    if !unconverted.is_empty() {
        let finished = jobs::finish_all(write, &unconverted, WokenBy::Kept, locked).await?;
        let is_finished = |item: &&Arc<Linking>| finished.contains(&item.lease.job_id);
        let inquiries: Vec<Staged> = items.iter().filter(is_finished).map(|item| first_inquiry(item)).collect();
        jobs::stage_all(write, &inquiries).await?;
        ended.extend(finished);
    }
    Ok(BatchOutcome::without(jobs::not_ended(&runs, &ended), locked, MemberOutcome::LeaseLost))
}
