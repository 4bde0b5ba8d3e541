//! What the gateway asked before a debit, and what we answered.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError, Write, anew_after_conflict, jobs, orders};
use crate::failpoint::{Point, reach};
use crate::gateway::Callback;
use crate::id::{CallbackId, OrderId, TransactionId};
use crate::job::{Job, Lease, QueueName};
use crate::order::{GatewayIdentity, OrderStatus, named_values};

named_values! {
    /// What we made of a callback.
    Verdict {
        /// The debit may happen; answered 1.
        Allowed = "allowed",
        /// This very transaction has paid the order already; answered 1.
        AlreadyPaid = "already_paid",
        /// Not a callback at all.
        Unreadable = "unreadable",
        /// No key of ours signed it.
        BadlySigned = "badly_signed",
        /// Rightly signed, and sent from an address that the gateway's list does not have, which refuses it.
        OtherAddress = "other_address",
        /// It speaks for another store.
        OtherStore = "other_store",
        /// No draft of ours has that number.
        UnknownTransaction = "unknown_transaction",
        /// The draft belongs to another order than it says.
        OtherAccount = "other_account",
        /// The amount is not the order's.
        WrongAmount = "wrong_amount",
        /// Another draft of the order was allowed already.
        SecondTransaction = "second_transaction",
        /// The order's time is over.
        Late = "late",
        /// The order is canceled, refunded, failed or with a person.
        NotPayable = "not_payable",
    }
}

impl Verdict {
    /// Whether the gateway is told that it may debit.
    pub fn allows(self) -> bool {
        matches!(self, Verdict::Allowed | Verdict::AlreadyPaid)
    }

    /// Why not, for the answer's `message`; the gateway's support may show it to a person.
    pub fn message(self) -> &'static str {
        match self {
            Verdict::Allowed | Verdict::AlreadyPaid => "Успешно",
            Verdict::Unreadable => "the callback cannot be read",
            Verdict::BadlySigned => "the signature does not fit",
            Verdict::OtherAddress => "the address is not the gateway's",
            Verdict::OtherStore => "the store is not ours",
            Verdict::UnknownTransaction => "the transaction is not known",
            Verdict::OtherAccount => "the account does not belong to the transaction",
            Verdict::WrongAmount => "the amount is not the order's",
            Verdict::SecondTransaction => "the order is being paid by another transaction",
            Verdict::Late => "the time to pay the order is over",
            Verdict::NotPayable => "the order cannot be paid any more",
        }
    }
}

/// A body repeated within this time stages nothing unless it changed something.
const REPEAT_MS: i64 = 10_000;

/// A callback as it is kept.
#[derive(Clone, Debug, Serialize)]
pub struct StoredCallback {
    /// Its number.
    pub id: CallbackId,
    /// The bytes as they came; what was not UTF-8 is replaced.
    #[serde(skip)]
    pub body: String,
    /// What we made of it.
    pub verdict: Verdict,
    /// The order its transaction belongs to.
    pub order_id: Option<OrderId>,
    /// The transaction it asked about.
    pub transaction_id: Option<TransactionId>,
    /// How often the same bytes came with the same verdict.
    pub seen_count: i64,
    /// When it first came, epoch milliseconds.
    pub received_at_ms: i64,
    /// The address it last came from, where that is known.
    pub address: Option<String>,
}

/// Bytes as they came from the gateway.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedBody<'a> {
    /// The body.
    pub bytes: &'a [u8],
    /// Its SHA-256, hex.
    pub digest: &'a str,
    /// Who sent it, as far as that can be believed.
    pub address: Option<IpAddr>,
}

/// Whether the address of a callback's sender lets its content count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Its content decides.
    Heard,
    /// It is refused whatever it says. Money may move all the same, so it is a hint like any other.
    TurnedAway,
}

/// Decides about a rightly signed callback from our own rows, keeps it, and stages what follows: one transaction.
///
/// Every callback, repeated or not, runs the allowing statement and is answered by its result, never by an earlier
/// verdict. Only one draft of an order is ever allowed.
///
/// # Errors
/// [`StoreError`] when the database did not do it: the gateway must be told to ask again.
pub async fn answer(
    store: &Store,
    gateway: &GatewayIdentity,
    our_store_id: &str,
    callback: &Callback,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<Verdict, StoreError> {
    anew_after_conflict(|| answer_once(store, gateway, our_store_id, callback, body, sender)).await
}

async fn answer_once(
    store: &Store,
    gateway: &GatewayIdentity,
    our_store_id: &str,
    callback: &Callback,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<Verdict, StoreError> {
    reach(Point::WebhookBeforeDecision);
    let callback_id = fresh_id(store).await?;
    let mut write = store.begin(1).await?;
    let known = match callback.transaction_id {
        Some(transaction_id) => find_draft(&mut write, gateway, transaction_id).await?,
        None => None,
    };
    let verdict = match &known {
        _ if sender == Sender::TurnedAway => Verdict::OtherAddress,
        _ if callback.store_id != our_store_id => Verdict::OtherStore,
        None => Verdict::UnknownTransaction,
        Some(draft) if callback.account != Some(draft.order_id.to_string()) => Verdict::OtherAccount,
        Some(draft) if callback.amount != Some(draft.amount) => Verdict::WrongAmount,
        Some(draft) => allow(&mut write, draft).await?,
    };
    let order_id = known.as_ref().map(|draft| draft.order_id);
    let kept = keep(&mut write, callback_id, body, verdict, order_id, callback.transaction_id).await?;
    if let Some(draft) = known {
        let now_ms = write.now_ms();
        let changed = verdict == Verdict::Allowed && draft.status == OrderStatus::Pending;
        let is_hint = changed || kept.seen_count == 1 || now_ms - kept.received_at_ms >= REPEAT_MS;
        // The statement that moved the order has written the hint as well.
        if is_hint && !changed {
            sqlx::query("-- hint_from_callback\nupdate orders set last_hint_at_ms = $2 where id = $1")
                .bind(draft.order_id.0)
                .bind(now_ms)
                .execute(write.connection())
                .await?;
        }
        if is_hint {
            jobs::stage(&mut write, Job::ProcessCallback { callback_id: kept.id }, QueueName::Settle, now_ms).await?;
        }
    }
    reach(Point::WebhookBeforeCommit);
    write.commit().await?;
    reach(Point::WebhookAfterCommit);
    Ok(verdict)
}

struct KnownDraft {
    order_id: OrderId,
    amount: i64,
    transaction_id: TransactionId,
    status: OrderStatus,
    is_late: bool,
}

/// The draft and its order, whose row stays locked until the answer is committed.
async fn find_draft(
    write: &mut Write,
    gateway: &GatewayIdentity,
    transaction_id: TransactionId,
) -> Result<Option<KnownDraft>, StoreError> {
    let sql = format!(
        "-- find_draft
        select o.id, t.amount, o.status, o.expires_at_ms from transactions t join orders o on o.id = t.order_id
        where t.gateway = $1 and t.transaction_id = $2 {}",
        write.for_update("o")
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(gateway.0.clone())
        .bind(transaction_id.0)
        .fetch_optional(write.connection())
        .await?;
    let now_ms = write.now_ms();
    row.map(|row| {
        Ok(KnownDraft {
            order_id: OrderId(row.try_get("id")?),
            amount: row.try_get("amount")?,
            transaction_id,
            status: orders::parse_status(row.try_get("status")?)?,
            is_late: row
                .try_get::<Option<i64>, _>("expires_at_ms")?
                .is_none_or(|expires_at_ms| expires_at_ms <= now_ms),
        })
    })
    .transpose()
}

/// Lets this one draft debit, if none other may and the order can still be paid.
async fn allow(write: &mut Write, draft: &KnownDraft) -> Result<Verdict, StoreError> {
    let done = sqlx::query(
        "-- allow_draft
        update orders set status = 'confirming', allowed_transaction_id = $2, last_allowed_at_ms = $3,
            last_hint_at_ms = case when status = 'pending' then $3 else last_hint_at_ms end
        where id = $1 and status in ('pending', 'confirming') and expires_at_ms > $3
            and (allowed_transaction_id is null or allowed_transaction_id = $2)",
    )
    .bind(draft.order_id.0)
    .bind(draft.transaction_id.0)
    .bind(write.now_ms())
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 1 {
        // What a look saw of it earlier no longer holds: from now on it is asked about again.
        sqlx::query(
            "-- reopen_allowed_draft
            update transactions set state = 'open' where order_id = $1 and transaction_id = $2 and state = 'closed'",
        )
        .bind(draft.order_id.0)
        .bind(draft.transaction_id.0)
        .execute(write.connection())
        .await?;
        if draft.status == OrderStatus::Pending {
            let cause = format!("the gateway asked for transaction {} and was allowed", draft.transaction_id);
            orders::tell(write, draft.order_id, Some(OrderStatus::Pending), OrderStatus::Confirming, &cause).await?;
        }
        return Ok(Verdict::Allowed);
    }
    let row = sqlx::query("-- why_not_allowed\nselect status, transaction_id from orders where id = $1")
        .bind(draft.order_id.0)
        .fetch_one(write.connection())
        .await?;
    let payer: Option<i64> = row.try_get("transaction_id")?;
    Ok(match orders::parse_status(row.try_get("status")?)? {
        OrderStatus::Paid if payer == Some(draft.transaction_id.0) => Verdict::AlreadyPaid,
        OrderStatus::Paid => Verdict::SecondTransaction,
        OrderStatus::Pending | OrderStatus::Confirming if draft.is_late => Verdict::Late,
        OrderStatus::Pending | OrderStatus::Confirming => Verdict::SecondTransaction,
        OrderStatus::Expired => Verdict::Late,
        OrderStatus::Refunded | OrderStatus::Canceled | OrderStatus::Failed | OrderStatus::Review => {
            Verdict::NotPayable
        }
    })
}

/// Keeps a body that proves nothing: unreadable or badly signed. It stages nothing and is no hint.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn keep_unproven(store: &Store, body: ReceivedBody<'_>, verdict: Verdict) -> Result<(), StoreError> {
    let callback_id = fresh_id(store).await?;
    let mut write = store.begin(0).await?;
    keep(&mut write, callback_id, body, verdict, None, None).await?;
    write.commit().await
}

struct Kept {
    id: CallbackId,
    seen_count: i64,
    received_at_ms: i64,
}

async fn fresh_id(store: &Store) -> Result<CallbackId, StoreError> {
    let ids = store.0.ids.take(store, "callbacks", 1).await?;
    Ok(CallbackId(ids.first().copied().unwrap_or_default()))
}

async fn keep(
    write: &mut Write,
    id: CallbackId,
    body: ReceivedBody<'_>,
    verdict: Verdict,
    order_id: Option<OrderId>,
    transaction_id: Option<TransactionId>,
) -> Result<Kept, StoreError> {
    // PostgreSQL's text holds no NUL.
    let text = String::from_utf8_lossy(body.bytes).replace('\0', "\u{fffd}");
    let row = sqlx::query(
        "-- keep_callback
        insert into callbacks
            (id, digest, body, verdict, order_id, transaction_id, received_at_ms, last_seen_at_ms, address)
        values ($1, $2, $3, $4, $5, $6, $7, $7, $8)
        on conflict (digest, verdict) do update set
            seen_count = callbacks.seen_count + 1, last_seen_at_ms = excluded.last_seen_at_ms,
            address = excluded.address
        returning id, seen_count, received_at_ms",
    )
    .bind(id.0)
    .bind(body.digest.to_owned())
    .bind(text)
    .bind(verdict.as_str())
    .bind(order_id.map(|id| id.0))
    .bind(transaction_id.map(|id| id.0))
    .bind(write.now_ms())
    .bind(body.address.map(|address| address.to_string()))
    .fetch_one(write.connection())
    .await?;
    Ok(Kept {
        id: CallbackId(row.try_get("id")?),
        seen_count: row.try_get("seen_count")?,
        received_at_ms: row.try_get("received_at_ms")?,
    })
}

/// The callback of that number.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find(store: &Store, id: CallbackId) -> Result<Option<StoredCallback>, StoreError> {
    let row = sqlx::query(
        "-- find_callback
        select id, body, verdict, order_id, transaction_id, seen_count, received_at_ms, address from callbacks where id = $1",
    )
    .bind(id.0)
    .fetch_optional(store.readers())
    .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The callbacks about an order, oldest first, at most 100.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<StoredCallback>, StoreError> {
    let rows = sqlx::query(
        "-- callbacks_of_order
        select id, body, verdict, order_id, transaction_id, seen_count, received_at_ms, address from callbacks
        where order_id = $1 order by received_at_ms, id limit 100",
    )
    .bind(order_id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(from_row).collect()
}

/// The newest callbacks, whatever their verdict.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn newest(store: &Store, limit: i64) -> Result<Vec<StoredCallback>, StoreError> {
    let rows = sqlx::query(
        "-- newest_callbacks
        select id, body, verdict, order_id, transaction_id, seen_count, received_at_ms, address from callbacks
        order by received_at_ms desc limit $1",
    )
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(from_row).collect()
}

/// Completes `process_callback` and wakes its order's `settle_order`, in one transaction.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the job belongs to somebody else.
pub async fn wake_settlement(store: &Store, lease: &Lease, order_id: OrderId) -> Result<(), StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    // The look's row before our own: a repeated callback holds the order and waits for ours, and a look holds its row
    // and waits for the order. Where the fence then refuses, the transaction ends with nothing written.
    jobs::stage(&mut write, Job::SettleOrder { order_id }, QueueName::Settle, now_ms).await?;
    jobs::finish(&mut write, lease, &jobs::Finish::Complete).await?;
    reach(Point::WakeBeforeCommit);
    write.commit().await?;
    reach(Point::WakeAfterCommit);
    Ok(())
}

/// The order of a stored callback, within a transaction.
pub(super) async fn order_of(write: &mut Write, callback_id: i64) -> Result<Option<OrderId>, StoreError> {
    let row = sqlx::query("-- order_of_callback\nselect order_id from callbacks where id = $1")
        .bind(callback_id)
        .fetch_optional(write.connection())
        .await?;
    Ok(match row {
        Some(row) => row.try_get::<Option<i64>, _>("order_id")?.map(OrderId),
        None => None,
    })
}

fn from_row(row: &AnyRow) -> Result<StoredCallback, StoreError> {
    let verdict: String = row.try_get("verdict")?;
    Ok(StoredCallback {
        id: CallbackId(row.try_get("id")?),
        body: row.try_get("body")?,
        verdict: Verdict::parse(&verdict)
            .ok_or(StoreError::UnknownValue { column: "callbacks.verdict", value: verdict })?,
        order_id: row.try_get::<Option<i64>, _>("order_id")?.map(OrderId),
        transaction_id: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        seen_count: row.try_get("seen_count")?,
        received_at_ms: row.try_get("received_at_ms")?,
        address: row.try_get("address")?,
    })
}
