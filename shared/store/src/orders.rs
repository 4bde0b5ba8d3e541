//! Orders and their history. Every guard on an order's status is here, in `orders/`, in `callbacks/answering.rs`, or
//! in `settlement.rs`, `refunds.rs` and `reviewing.rs`.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::group_commit::BatchQueue;
use super::idempotency::{self, IdempotencyKey, KeyOwner};
use super::reading::{self, ReadByNumber, ReadInBatch};
use super::statement::Statement;
use super::{Store, StoreError, jobs};
use domain::id::{OrderId, OrderToken, TransactionId};
use domain::job::{Job, Lease, QueueName};
use domain::money::Tiyin;
use domain::order::{
    GatewayIdentity, Language, NewOrder, Order, OrderAccount, OrderStatus, PaymentType, Resolution, SuggestedAct,
};
use domain::shop::ShopName;

/// The `gateway` of an order whose customer has not chosen yet. No account has this identity, so that a release that knows no
/// choice leaves the order to others. Statements that look for accounts name it, too.
pub(super) const NOT_CHOSEN: &str = "";

/// The `payment_type` of such an order: a release that knows no choice must be able to read it. It means nothing.
const NOT_CHOSEN_TYPE: PaymentType = PaymentType::Atmos;

/// The most hints that an order's return page may give.
const RETURN_HINTS: i64 = 30;

/// The shortest time between hints of the return page.
const RETURN_HINT_EVERY_MS: i64 = 10_000;

/// How far along the schedule of inquiries each further hint of the return page begins, for three hints at most.
const FURTHER_MS: i64 = 20_000;

mod choosing;
mod history;
mod linking;
mod locking;
mod making;
mod moving;
mod open;

pub use choosing::{Chosen, choose, take_choice_back};
pub use history::history;
pub(super) use history::{Told, history_line, tell, tell_all};
pub(super) use linking::Linking;
pub use linking::store_link;
pub(super) use locking::{LockedStatus, lock, lock_all, missing};
pub(super) use making::Creating;
pub use making::{LocalLink, WriteLink, create, create_behind, create_for_choice, create_linked};
pub use moving::{Canceled, call_off};
pub(super) use moving::{cancel, clear_resolution, fail, put_before_a_person, unfail};
pub use open::{OpenOfAccount, count_open, open_by_account, open_by_shop, open_elsewhere};

/// The columns of an [`Order`], for a statement that reads it whole.
macro_rules! order_columns {
    () => {
        "id, token, shop, api_key_name, reference, product_name, amount, payment_type, return_url, cancel_url, language, status,
            gateway, choices, refused_gateway, transaction_id, payment_url, links_made, allowed_transaction_id, last_allowed_at_ms,
            allowed_until_ms, last_hint_at_ms, seen_unpaid_at_ms, seen_closed_at_ms, link_at_ms, expires_at_ms, final_at_ms,
            refunded_amount, refund_reserved, needs_review, reason, suggested_act, resolution_by, resolution_reason,
            resolution_transaction_id, created_at_ms, pending_since_ms"
    };
}
pub(super) use order_columns;

/// How a request for an order ended.
#[derive(Clone, Debug)]
pub enum Created {
    /// A new order.
    New(Order),
    /// The order that the same request made before.
    Repeated(Order),
    /// The idempotency key was used with another body.
    KeyReused,
    /// The same request is being carried out at this moment.
    InFlight,
    /// Another order of this shop has the same reference.
    ReferenceTaken(OrderId),
}

/// How a guarded transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Made, with its history line.
    Made,
    /// The order's row no longer allows it; nothing was written. Read the order again.
    Refused,
}

/// A payment link, as the gateway made it.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// The draft behind it.
    pub transaction_id: TransactionId,
    /// The gateway's payment page.
    pub payment_url: String,
}

async fn repeated(store: &Store, new: &NewOrder, key: &IdempotencyKey) -> Result<Created, StoreError> {
    let order_id = match idempotency::find(store, &new.api_key_name, key).await? {
        KeyOwner::Nothing => return Ok(Created::InFlight),
        KeyOwner::Order(order_id) => order_id,
        KeyOwner::Refund(_) | KeyOwner::OtherRequest => return Ok(Created::KeyReused),
    };
    Ok(match find(store, order_id).await? {
        Some(order) if order.shop == new.shop => Created::Repeated(order),
        // The name of the API key has moved to another shop.
        Some(_) => Created::KeyReused,
        None => Created::InFlight,
    })
}

/// The order that keeps a new one from having its reference: one of its API key, or else the first one of its shop. Until
/// the release with shops, keys of one shop may have used the same reference.
async fn id_of_reference(store: &Store, new: &NewOrder) -> Result<Option<OrderId>, StoreError> {
    let row = sqlx::query(
        "-- find_reference
        select id from (
            select id, 0 as place from orders where api_key_name = $1 and reference = $2
            union all
            select id, 1 as place from orders where shop = $3 and reference = $2
        ) as found order by place, id limit 1",
    )
    .bind(new.api_key_name.clone())
    .bind(new.reference.clone())
    .bind(new.shop.as_str().to_owned())
    .fetch_optional(store.readers())
    .await?;
    row.map(|row| Ok(OrderId(row.try_get("id")?))).transpose()
}

/// The order of this number. Orders that are asked for at the same time are read in one statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find(store: &Store, id: OrderId) -> Result<Option<Order>, StoreError> {
    reading::find(store, id.0).await
}

pub(super) const FIND_ORDERS: Statement = Statement {
    sqlite: concat!(
        "-- find_orders
        select ",
        order_columns!(),
        " from orders where id in (select value from json_each($1))"
    ),
    postgres: concat!(
        "-- find_orders
        select ",
        order_columns!(),
        " from orders
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))"
    ),
};

impl ReadInBatch for Option<Order> {
    fn batch_queue(store: &Store) -> &BatchQueue<ReadByNumber<Self>> {
        &store.0.batch_queues.orders
    }

    async fn find_all(store: &Store, numbers: String) -> Result<HashMap<i64, Self>, StoreError> {
        let found = sqlx::query(FIND_ORDERS.on(store.database())).bind(numbers).fetch_all(store.readers()).await?;
        found.iter().map(|row| from_row(row).map(|order| (order.id.0, Some(order)))).collect()
    }
}

/// The order whose pages have this token.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find_by_token(store: &Store, token: &OrderToken) -> Result<Option<Order>, StoreError> {
    let row =
        sqlx::query(concat!("-- find_order_by_token\nselect ", order_columns!(), " from orders where token = $1"))
            .bind(token.as_str().to_owned())
            .fetch_optional(store.readers())
            .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// Expires an order that never got a payment link, and completes the job.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn expire_without_link(
    store: &Store,
    lease: &Lease,
    id: OrderId,
    waiting_since_before_ms: i64,
) -> Result<Transition, StoreError> {
    let mut write = store.begin(1).await?;
    jobs::finish(&mut write, lease, &jobs::Finish::Complete).await?;
    let now_ms = write.now_ms();
    // A draft may exist: its answer was lost, or it was recorded alone.
    jobs::stage(&mut write, Job::SettleOrder { order_id: id }, QueueName::Background, now_ms).await?;
    let done = sqlx::query(
        "-- expire_without_link
        update orders set status = 'expired', final_at_ms = $2
        where id = $1 and status = 'pending' and payment_url is null and pending_since_ms <= $3",
    )
    .bind(id.0)
    .bind(now_ms)
    .bind(waiting_since_before_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    tell(&mut write, id, Some(OrderStatus::Pending), OrderStatus::Expired, "no payment link could be made in time")
        .await?;
    write.commit().await?;
    Ok(Transition::Made)
}

/// The customer came to the return page: ask the gateway soon. At most once per 10 s, per 20 s from the seventh time
/// on, per 30 s from the thirteenth, and 30 times per order. Only the first time starts the schedule of inquiries
/// again. Each further time brings one inquiry at once and later ones from further along the schedule, so that a page
/// that is reloaded for ever does not use up the gateway's rate limit.
///
/// Returns whether an inquiry was staged.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn hint_from_return_page(store: &Store, id: OrderId) -> Result<bool, StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    // Before the order's row, as in every settlement: all transactions take locks in the same order.
    jobs::stage(&mut write, Job::SettleOrder { order_id: id }, QueueName::Settle, now_ms).await?;
    let done = sqlx::query(
        "-- hint_from_return_page
        update orders set last_return_hint_at_ms = $2, return_hints = return_hints + 1, seen_unpaid_at_ms = null,
            last_hint_at_ms = case
                when return_hints = 0 or last_hint_at_ms is null then $2
                when last_hint_at_ms >= $2 - $5 * case when return_hints < 3 then return_hints else 3 end
                then last_hint_at_ms
                else $2 - $5 * case when return_hints < 3 then return_hints else 3 end end
        where id = $1 and status in ('pending', 'confirming') and payment_url is not null and return_hints < $3
            and (last_return_hint_at_ms is null or last_return_hint_at_ms <= $2 - $4 * (1 + return_hints / 6))",
    )
    .bind(id.0)
    .bind(now_ms)
    .bind(RETURN_HINTS)
    .bind(RETURN_HINT_EVERY_MS)
    .bind(FURTHER_MS)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    write.commit().await?;
    Ok(true)
}

pub(super) fn from_row(row: &AnyRow) -> Result<Order, StoreError> {
    let unknown = |column, value: String| StoreError::UnknownValue { column, value };
    let token: String = row.try_get("token")?;
    let shop: String = row.try_get("shop")?;
    let amount: i64 = row.try_get("amount")?;
    let payment_type: String = row.try_get("payment_type")?;
    let language: String = row.try_get("language")?;
    let transaction = |column| row.try_get::<Option<i64>, _>(column).map(|id| id.map(TransactionId));
    Ok(Order {
        id: OrderId(row.try_get("id")?),
        token: OrderToken::parse(&token).ok_or_else(|| unknown("orders.token", "not 32 hex digits".into()))?,
        shop: ShopName::parse(&shop).map_err(|_| unknown("orders.shop", shop))?,
        api_key_name: row.try_get("api_key_name")?,
        reference: row.try_get("reference")?,
        product_name: row.try_get("product_name")?,
        amount: Tiyin::new(amount).map_err(|_| unknown("orders.amount", amount.to_string()))?,
        account: match gateway_of(row)? {
            None => None,
            Some(gateway) => Some(OrderAccount {
                payment_type: PaymentType::parse(&payment_type).ok_or(unknown("orders.payment_type", payment_type))?,
                gateway,
            }),
        },
        choices: row.try_get("choices")?,
        refused_gateway: row.try_get::<Option<String>, _>("refused_gateway")?.map(GatewayIdentity),
        return_url: row.try_get("return_url")?,
        cancel_url: row.try_get("cancel_url")?,
        language: Language::parse(&language).ok_or(unknown("orders.language", language))?,
        status: parse_status(row.try_get("status")?)?,
        transaction_id: transaction("transaction_id")?,
        payment_url: row.try_get("payment_url")?,
        links_made: row.try_get("links_made")?,
        allowed_transaction_id: transaction("allowed_transaction_id")?,
        last_allowed_at_ms: row.try_get("last_allowed_at_ms")?,
        allowed_until_ms: row.try_get("allowed_until_ms")?,
        last_hint_at_ms: row.try_get("last_hint_at_ms")?,
        seen_unpaid_at_ms: row.try_get("seen_unpaid_at_ms")?,
        seen_closed_at_ms: row.try_get("seen_closed_at_ms")?,
        link_at_ms: row.try_get("link_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        final_at_ms: row.try_get("final_at_ms")?,
        refunded_amount: row.try_get("refunded_amount")?,
        needs_review: row.try_get::<i64, _>("needs_review")? != 0,
        refund_reserved: row.try_get("refund_reserved")?,
        reason: row.try_get("reason")?,
        // A newer release may suggest an act that this one does not know.
        suggested_act: row.try_get::<Option<String>, _>("suggested_act")?.and_then(|act| SuggestedAct::parse(&act)),
        resolution: resolution(row)?,
        created_at_ms: row.try_get("created_at_ms")?,
        pending_since_ms: row.try_get("pending_since_ms")?,
    })
}

/// The account of an order's row; `None` until its customer has chosen one.
pub(super) fn gateway_of(row: &AnyRow) -> Result<Option<GatewayIdentity>, StoreError> {
    let gateway: String = row.try_get("gateway")?;
    Ok(Some(gateway).filter(|gateway| gateway != NOT_CHOSEN).map(GatewayIdentity))
}

fn resolution(row: &AnyRow) -> Result<Option<Resolution>, StoreError> {
    let Some(by) = row.try_get("resolution_by")? else { return Ok(None) };
    let reason: Option<String> = row.try_get("resolution_reason")?;
    let transaction_id = row.try_get::<Option<i64>, _>("resolution_transaction_id")?.map(TransactionId);
    Ok(Some(Resolution { by, reason: reason.unwrap_or_default(), transaction_id }))
}

pub(super) fn parse_status(text: String) -> Result<OrderStatus, StoreError> {
    OrderStatus::parse(&text).ok_or(StoreError::UnknownValue { column: "orders.status", value: text })
}
