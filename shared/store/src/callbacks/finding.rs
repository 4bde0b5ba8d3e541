//! Finding stored callbacks, and checking our keys by the newest ones.

use domain::callback_verdict::CallbackVerdict;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::DAY_MS;
use crate::group_commit::BatchQueue;
use crate::reading::{self, ReadByNumber, ReadInBatch};
use crate::statement::Statement;
use crate::{Store, StoreError};
use domain::id::{CallbackId, OrderId, TransactionId};
use domain::order::{GatewayIdentity, PaymentType};

/// The verdict of a stored callback. A newer release that runs beside this one may have written a verdict of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredVerdict {
    /// One that this release knows.
    Known(CallbackVerdict),
    /// The name of one of a newer release.
    Newer(String),
}

impl StoredVerdict {
    fn of(name: String) -> Self {
        CallbackVerdict::parse(&name).map_or(StoredVerdict::Newer(name), StoredVerdict::Known)
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            StoredVerdict::Known(verdict) => verdict.as_str(),
            StoredVerdict::Newer(name) => name,
        }
    }
}

impl fmt::Display for StoredVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for StoredVerdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialEq<CallbackVerdict> for StoredVerdict {
    fn eq(&self, other: &CallbackVerdict) -> bool {
        self == &StoredVerdict::Known(*other)
    }
}

/// A stored callback.
#[derive(Clone, Debug, Serialize)]
pub struct StoredCallback {
    /// Its number.
    pub id: CallbackId,
    /// Its body; bytes that are not UTF-8 are replaced. For a body that proves nothing, only its beginning.
    #[serde(skip)]
    pub body: String,
    /// Our verdict.
    pub verdict: StoredVerdict,
    /// The account whose key proves it. `None` where no key does, and in rows of a release that knew Atmos alone.
    pub gateway: Option<GatewayIdentity>,
    /// The gateway to whose webhook it came. `None` in rows of a release that knew Atmos alone.
    pub webhook: Option<PaymentType>,
    /// The order its transaction belongs to.
    pub order_id: Option<OrderId>,
    /// The transaction it asked about.
    pub transaction_id: Option<TransactionId>,
    /// How often it came with the same verdict: the same question, or, if it proves nothing, the same bytes.
    pub seen_count: i64,
    /// When it first came, epoch milliseconds.
    pub received_at_ms: i64,
    /// The address that it last came from, if known.
    pub address: Option<String>,
}

/// A callback's body, for checking its signature. A newer release may have given it another verdict.
#[derive(Clone, Debug)]
pub struct KeptBody {
    /// The callback's number.
    pub id: CallbackId,
    /// The order its transaction belongs to.
    pub order_id: Option<OrderId>,
    /// As in [`StoredCallback`].
    pub gateway: Option<GatewayIdentity>,
    /// As in [`StoredCallback`].
    pub body: String,
}

/// The body of the callback of this number. Bodies that are asked for at the same time are read in one statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer, or the row cannot be read.
pub async fn find(store: &Store, id: CallbackId) -> Result<Option<KeptBody>, StoreError> {
    reading::find(store, id.0).await
}

/// The columns of a [`StoredCallback`], for a statement that reads it whole.
macro_rules! callback_columns {
    () => {
        "id, body, verdict, gateway, order_id, transaction_id, seen_count, received_at_ms, address"
    };
}

const FIND_CALLBACKS: Statement = Statement {
    sqlite: "-- find_callbacks
        select id, order_id, gateway, body from callbacks where id in (select value from json_each($1))",
    postgres: "-- find_callbacks
        select id, order_id, gateway, body from callbacks
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))",
};

impl ReadInBatch for Option<KeptBody> {
    fn batch_queue(store: &Store) -> &BatchQueue<ReadByNumber<Self>> {
        &store.0.batch_queues.callbacks
    }

    async fn find_all(store: &Store, numbers: String) -> Result<HashMap<i64, Self>, StoreError> {
        let found = sqlx::query(FIND_CALLBACKS.on(store.database())).bind(numbers).fetch_all(store.readers()).await?;
        let kept = |row: &AnyRow| -> Result<(i64, Self), StoreError> {
            let id = row.try_get("id")?;
            let order_id = row.try_get::<Option<i64>, _>("order_id")?.map(OrderId);
            let gateway = row.try_get::<Option<String>, _>("gateway")?.map(GatewayIdentity);
            Ok((id, Some(KeptBody { id: CallbackId(id), order_id, gateway, body: row.try_get("body")? })))
        };
        found.iter().map(kept).collect()
    }
}

/// The callbacks about an order, oldest first, at most 100.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<StoredCallback>, StoreError> {
    let rows = sqlx::query(concat!(
        "-- callbacks_of_order
        select ",
        callback_columns!(),
        " from callbacks
        where order_id = $1 order by received_at_ms, id limit 100"
    ))
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
    let rows = sqlx::query(concat!(
        "-- newest_callbacks
        select ",
        callback_columns!(),
        " from callbacks
        order by received_at_ms desc limit $1"
    ))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(from_row).collect()
}

/// A selection of callbacks.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Only those of this verdict.
    pub verdict: Option<CallbackVerdict>,
    /// Only those about this order.
    pub order_id: Option<OrderId>,
    /// Only those that first came at this time or later, epoch milliseconds.
    pub since_ms: i64,
    /// The most that are returned; the newest.
    pub limit: i64,
}

/// The newest callbacks of a selection.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn list(store: &Store, wanted: Wanted) -> Result<Vec<StoredCallback>, StoreError> {
    let verdict = wanted.verdict.map(|verdict| verdict.as_str());
    let query = match wanted.order_id {
        Some(order_id) => sqlx::query(concat!(
            "-- list_callbacks_of_order
        select ",
            callback_columns!(),
            " from callbacks
            where order_id = $4 and received_at_ms >= $1 and (verdict = $2 or $2 is null)
            order by received_at_ms desc, id desc limit $3"
        ))
        .bind(wanted.since_ms)
        .bind(verdict)
        .bind(wanted.limit)
        .bind(order_id.0),
        None => sqlx::query(concat!(
            "-- list_callbacks
        select ",
            callback_columns!(),
            " from callbacks
            where received_at_ms >= $1 and (verdict = $2 or $2 is null)
            order by received_at_ms desc, id desc limit $3"
        ))
        .bind(wanted.since_ms)
        .bind(verdict)
        .bind(wanted.limit),
    };
    query.fetch_all(store.readers()).await?.iter().map(from_row).collect()
}

/// How many of the newest callbacks of the last day to one gateway's webhook fit our keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proofs {
    /// The gateway.
    pub webhook: PaymentType,
    /// The number of callbacks looked at.
    pub callbacks: i64,
    /// How many of them have a signature that none of our keys makes.
    pub badly_signed: i64,
    /// How many of them cannot be read.
    pub unreadable: i64,
    /// How many of the badly signed ones came after the last correctly signed one.
    pub badly_signed_since: i64,
}

/// The number of newest callbacks that are looked at, of each gateway.
const PROOFS: i64 = 100;

/// Counts the callbacks that prove nothing among the newest ones of the last day, for each gateway of which some came. However
/// many came to one, those to another are seen.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn proofs(store: &Store) -> Result<Vec<Proofs>, StoreError> {
    let since_ms = store.now_ms() - DAY_MS;
    let mut came: HashMap<PaymentType, Vec<NewestVerdict>> = HashMap::new();
    for gateway in gateways_of(store).await? {
        let of_gateway = newest_verdicts(store, gateway.as_deref(), since_ms).await?;
        came.entry(webhook_of(gateway.as_deref())).or_default().extend(of_gateway);
    }
    let of_webhook = |webhook: &PaymentType| {
        let mut newest = came.remove(webhook).filter(|newest| !newest.is_empty())?;
        newest.sort_unstable_by_key(|one| Reverse((one.received_at_ms, one.id)));
        newest.truncate(PROOFS as usize);
        let verdicts: Vec<&StoredVerdict> = newest.iter().map(|one| &one.verdict).collect();
        Some(proofs_of(*webhook, &verdicts))
    };
    Ok(PaymentType::ALL.iter().filter_map(of_webhook).collect())
}

/// A callback, as far as `proofs` looks at it.
struct NewestVerdict {
    received_at_ms: i64,
    id: i64,
    verdict: StoredVerdict,
}

/// The webhook of a callback's column `gateway`: an account's identity, a payment type, or nothing where an older release wrote
/// it, which has Atmos alone.
fn webhook_of(gateway: Option<&str>) -> PaymentType {
    let account = |told: &str| GatewayIdentity(told.to_owned()).payment_type();
    gateway.and_then(|told| PaymentType::parse(told).or_else(|| account(told))).unwrap_or(PaymentType::Atmos)
}

/// Each content of the column `gateway`, found one after the other in its index.
async fn gateways_of(store: &Store) -> Result<Vec<Option<String>>, StoreError> {
    let rows = sqlx::query(
        "-- callback_gateways
        with recursive known (gateway) as (
            select min(gateway) from callbacks
            union all
            select (select min(callbacks.gateway) from callbacks where callbacks.gateway > known.gateway)
            from known where known.gateway is not null)
        select gateway from known",
    )
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Ok(row.try_get("gateway")?)).collect()
}

/// The newest of those with this content of the column `gateway`.
async fn newest_verdicts(
    store: &Store,
    gateway: Option<&str>,
    since_ms: i64,
) -> Result<Vec<NewestVerdict>, StoreError> {
    let query = match gateway {
        Some(gateway) => sqlx::query(
            "-- newest_verdicts
            select received_at_ms, id, verdict from callbacks where gateway = $3 and received_at_ms >= $1
            order by received_at_ms desc, id desc limit $2",
        )
        .bind(since_ms)
        .bind(PROOFS)
        .bind(gateway.to_owned()),
        None => sqlx::query(
            "-- newest_verdicts_without_gateway
            select received_at_ms, id, verdict from callbacks where gateway is null and received_at_ms >= $1
            order by received_at_ms desc, id desc limit $2",
        )
        .bind(since_ms)
        .bind(PROOFS),
    };
    let verdict = |row: &AnyRow| {
        let verdict = StoredVerdict::of(row.try_get("verdict")?);
        Ok(NewestVerdict { received_at_ms: row.try_get("received_at_ms")?, id: row.try_get("id")?, verdict })
    };
    query.fetch_all(store.readers()).await?.iter().map(verdict).collect()
}

/// The verdicts are the newest first.
fn proofs_of(webhook: PaymentType, verdicts: &[&StoredVerdict]) -> Proofs {
    let is = |verdict: &StoredVerdict, wanted: CallbackVerdict| *verdict == wanted;
    let of = |wanted| verdicts.iter().filter(|verdict| is(verdict, wanted)).count() as i64;
    let proves_nothing = |verdict: &&&StoredVerdict| {
        is(verdict, CallbackVerdict::BadlySigned) || is(verdict, CallbackVerdict::Unreadable)
    };
    let since = verdicts.iter().take_while(proves_nothing);
    Proofs {
        webhook,
        badly_signed_since: since.filter(|verdict| is(verdict, CallbackVerdict::BadlySigned)).count() as i64,
        callbacks: verdicts.len() as i64,
        badly_signed: of(CallbackVerdict::BadlySigned),
        unreadable: of(CallbackVerdict::Unreadable),
    }
}

fn from_row(row: &AnyRow) -> Result<StoredCallback, StoreError> {
    let told = row.try_get::<Option<String>, _>("gateway")?;
    // An account, or of a body that proves nothing only the webhook.
    let webhook_alone = told.as_deref().and_then(PaymentType::parse);
    let gateway = told.filter(|_| webhook_alone.is_none()).map(GatewayIdentity);
    let webhook = webhook_alone.or_else(|| gateway.as_ref().and_then(GatewayIdentity::payment_type));
    Ok(StoredCallback {
        id: CallbackId(row.try_get("id")?),
        body: row.try_get("body")?,
        verdict: StoredVerdict::of(row.try_get("verdict")?),
        gateway,
        webhook,
        order_id: row.try_get::<Option<i64>, _>("order_id")?.map(OrderId),
        transaction_id: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        seen_count: row.try_get("seen_count")?,
        received_at_ms: row.try_get("received_at_ms")?,
        address: row.try_get("address")?,
    })
}
