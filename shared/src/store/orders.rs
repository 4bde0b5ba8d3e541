//! Orders and their history. Every guard on an order's status stands here, in `orders/moving.rs`, or in
//! `settlement.rs`, `refunds.rs` and `reviewing.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::given::Column::{Number, Text};
use super::given::{given, numbers, rows, unindexed};
use super::idempotency::{self, IdempotencyKey, Keeping, Kept};
use super::jobs::Staged;
use super::together::{Group, Locked, Share, Together, Written, together};
use super::{Database, Store, StoreError, Write, ids, jobs, settlement, transactions};
use crate::failpoint::{Point, reach};
use crate::id::{OrderId, OrderToken, TransactionId};
use crate::job::{Job, Lease, QueueName};
use crate::money::Tiyin;
use crate::order::{
    GatewayIdentity, HistoryLine, Language, NewOrder, Order, OrderStatus, PaymentType, Resolution, SuggestedAct,
};

/// At most so many hints of one order may come from its return page.
const RETURN_HINTS: i64 = 30;

/// Hints from the return page come at most this often.
const RETURN_HINT_EVERY_MS: i64 = 10_000;

mod moving;

pub use moving::{Canceled, call_off};
pub(super) use moving::{cancel, clear_resolution, fail, put_before_a_person, unfail};

pub(super) const COLUMNS: &str = "id, token, api_key_name, reference, product_name, amount, payment_type, return_url, \
    language, status, gateway, transaction_id, payment_url, links_made, allowed_transaction_id, last_allowed_at_ms, \
    last_hint_at_ms, link_at_ms, expires_at_ms, final_at_ms, refunded_amount, refund_reserved, needs_review, reason, \
    suggested_act, resolution_by, resolution_reason, resolution_transaction_id, created_at_ms, pending_since_ms";

/// How a request for an order ended.
#[derive(Clone, Debug)]
pub enum Created {
    /// A new order.
    New(Order),
    /// The order that the same request made before.
    Repeated(Order),
    /// The idempotency key belongs to another body.
    KeyReused,
    /// The same request is being carried out at this moment.
    InFlight,
    /// An order of this caller has that reference.
    ReferenceTaken(OrderId),
}

/// How a guarded transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Made, with its history line.
    Made,
    /// The order's row no longer allows it; nothing was written. Look again.
    Refused,
}

/// A payment link as it comes from the gateway.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// The draft behind it.
    pub transaction_id: TransactionId,
    /// The gateway's page.
    pub payment_url: String,
}

/// Makes an order, its first history line and its `create_payment_link` job in one transaction; with a key, that too.
/// Orders that are asked for at the same time share one.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn create(store: &Store, new: &NewOrder, key: Option<&IdempotencyKey>) -> Result<Created, StoreError> {
    match together(store, Creating { new: new.clone(), key: key.cloned() }).await {
        Ok(Made::New(order)) => Ok(Created::New(*order)),
        Ok(Made::KeyIsKept) => match key {
            Some(key) => repeated(store, &new.api_key_name, key).await,
            None => Ok(Created::InFlight),
        },
        Ok(Made::ReferenceIsTaken) => {
            let reference = new.reference.as_deref().unwrap_or_default();
            let taken = id_of_reference(store, &new.api_key_name, reference).await?;
            Ok(taken.map_or(Created::InFlight, Created::ReferenceTaken))
        }
        // Another request holds the key's row and has not ended within the lock timeout.
        Err(StoreError::Conflict(_)) if key.is_some() => Ok(Created::InFlight),
        Err(error) => Err(error),
    }
}

/// An order to be made.
#[derive(Debug)]
pub(super) struct Creating {
    new: NewOrder,
    key: Option<IdempotencyKey>,
}

/// What became of one.
#[derive(Debug)]
pub(super) enum Made {
    New(Box<Order>),
    KeyIsKept,
    ReferenceIsTaken,
}

impl Together for Creating {
    type Answer = Made;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.new_orders
    }

    fn subject(&self) -> Option<i64> {
        // One key twice in a transaction would find itself.
        let key = self.key.as_ref()?;
        let mut hasher = DefaultHasher::new();
        (&self.new.api_key_name, &key.key).hash(&mut hasher);
        Some(hasher.finish().cast_signed())
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: Locked) -> Result<Written<Made>, StoreError> {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let block = match store.database() {
            Database::Sqlite => Vec::new(),
            Database::Postgres => store.0.ids.take(store, "orders", items.len()).await?,
        };
        let mut write = store.begin(items.len()).await?;
        let ids = match block.is_empty() {
            false => block,
            // One writer: the numbers join the orders' own transaction, which saves a commit.
            true => {
                let first = ids::take_block(write.connection(), "orders", count).await?;
                (first..first + count).collect()
            }
        };
        let numbered: Vec<(OrderId, &Creating)> =
            ids.into_iter().map(OrderId).zip(items.iter().map(Arc::as_ref)).collect();
        let mut keys = Vec::new();
        for (id, Creating { new, key }) in &numbered {
            keys.extend(key.as_ref().map(|key| Keeping::of(&new.api_key_name, key, *id, None)));
        }
        let new_keys = idempotency::keep_all(&mut write, keys).await?;
        let is_to_be_made = |(id, item): &&(OrderId, &Creating)| item.key.is_none() || new_keys.contains(id);
        let making: Vec<&(OrderId, &Creating)> = numbered.iter().filter(is_to_be_made).collect();
        let mut made = insert_all(&mut write, &making).await?;
        let refused = |(_, (id, _)): &(usize, &(OrderId, &Creating))| {
            making.iter().any(|(making, _)| making == id) && !made.contains_key(id)
        };
        let refused: Vec<usize> = numbered.iter().enumerate().filter(refused).map(|(place, _)| place).collect();
        // A key of theirs must not be kept.
        if let Some(unwritten) = Written::without(refused, locked, Share::Done(Made::ReferenceIsTaken)) {
            return Ok(unwritten);
        }
        let line = |id: &OrderId| Told {
            id: *id,
            from: None,
            to: OrderStatus::Pending,
            cause: "the shop asked for it".to_owned(),
        };
        let due_at_ms = write.now_ms();
        let job =
            |id: &OrderId| Staged { job: Job::CreatePaymentLink { order_id: *id }, queue: QueueName::Links, due_at_ms };
        tell_all(&mut write, &made.keys().map(line).collect::<Vec<_>>()).await?;
        jobs::stage_all(&mut write, &made.keys().map(job).collect::<Vec<_>>()).await?;
        reach(Point::CreateBeforeCommit);
        write.commit().await?;
        reach(Point::CreateAfterCommit);
        let share = |(id, _): (OrderId, &Creating)| match made.remove(&id) {
            Some(order) => Share::Done(Made::New(Box::new(order))),
            None => Share::Done(Made::KeyIsKept),
        };
        Ok(Written::Committed(numbered.into_iter().map(share).collect()))
    }
}

/// Inserts those whose reference is not taken, and gives them as they stand there now.
async fn insert_all(
    write: &mut Write,
    orders: &[&(OrderId, &Creating)],
) -> Result<BTreeMap<OrderId, Order>, StoreError> {
    #[derive(Serialize)]
    struct Row<'a> {
        number: i64,
        secret: String,
        caller: &'a str,
        named: Option<&'a str>,
        product: &'a str,
        tiyin: i64,
        paid_by: &'static str,
        back_to: Option<&'a str>,
        spoken: &'static str,
        at: &'a str,
    }
    if orders.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut new = Vec::with_capacity(orders.len());
    for (id, Creating { new: order, .. }) in orders {
        new.push(Row {
            number: id.0,
            secret: OrderToken::random().as_str().to_owned(),
            caller: &order.api_key_name,
            named: order.reference.as_deref(),
            product: &order.product_name,
            tiyin: order.amount.get(),
            paid_by: order.payment_type.as_str(),
            back_to: order.return_url.as_deref(),
            spoken: order.language.as_str(),
            at: &order.gateway.0,
        });
    }
    // One order of locks: a reference waits for another request's that is the same.
    new.sort_unstable_by_key(|row| (row.caller, row.named));
    let sql = format!(
        "-- create_orders
        insert into orders (id, token, api_key_name, reference, product_name, amount, payment_type, return_url, language,
            status, gateway, created_at_ms, pending_since_ms)
        select number, secret, caller, named, product, tiyin, paid_by, back_to, spoken, 'pending', at, $2, $2
        from {} where true
        on conflict do nothing returning {COLUMNS}",
        given(
            write.store.database(),
            1,
            &[
                Number("number"),
                Text("secret"),
                Text("caller"),
                Text("named"),
                Text("product"),
                Number("tiyin"),
                Text("paid_by"),
                Text("back_to"),
                Text("spoken"),
                Text("at"),
            ]
        )
    );
    let now_ms = write.now_ms();
    let made = sqlx::query(AssertSqlSafe(sql)).bind(rows(&new)?).bind(now_ms).fetch_all(write.connection()).await?;
    made.iter().map(|row| from_row(row).map(|order| (order.id, order))).collect()
}

async fn repeated(store: &Store, api_key_name: &str, key: &IdempotencyKey) -> Result<Created, StoreError> {
    let order_id = match idempotency::find(store, api_key_name, key).await? {
        Kept::Nothing => return Ok(Created::InFlight),
        Kept::Order(order_id) => order_id,
        Kept::Refund(_) | Kept::OtherRequest => return Ok(Created::KeyReused),
    };
    Ok(match find(store, order_id).await? {
        Some(order) => Created::Repeated(order),
        None => Created::InFlight,
    })
}

async fn id_of_reference(store: &Store, api_key_name: &str, reference: &str) -> Result<Option<OrderId>, StoreError> {
    let row = sqlx::query("-- find_reference\nselect id from orders where api_key_name = $1 and reference = $2")
        .bind(api_key_name.to_owned())
        .bind(reference.to_owned())
        .fetch_optional(store.readers())
        .await?;
    row.map(|row| Ok(OrderId(row.try_get("id")?))).transpose()
}

/// The order of that number. Orders that are asked for at the same time are read in one statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find(store: &Store, id: OrderId) -> Result<Option<Order>, StoreError> {
    together(store, Finding(id)).await
}

/// An order to be read.
#[derive(Debug)]
pub(super) struct Finding(OrderId);

impl Together for Finding {
    type Answer = Option<Order>;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.findings
    }

    fn subject(&self) -> Option<i64> {
        None
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], _: Locked) -> Result<Written<Option<Order>>, StoreError> {
        let ids: Vec<OrderId> = items.iter().map(|item| item.0).collect();
        let sql = format!(
            "-- find_orders\nselect {COLUMNS} from orders where id {}",
            given(store.database(), 1, &[Number("of_order")]).any("of_order")
        );
        let found = sqlx::query(AssertSqlSafe(sql)).bind(numbers("of_order", &ids)?).fetch_all(store.readers()).await?;
        let mut orders = HashMap::with_capacity(found.len());
        for row in &found {
            let order = from_row(row)?;
            orders.insert(order.id, order);
        }
        Ok(Written::Committed(ids.iter().map(|id| Share::Done(orders.get(id).cloned())).collect()))
    }
}

/// The order whose pages carry that token.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find_by_token(store: &Store, token: &OrderToken) -> Result<Option<Order>, StoreError> {
    let row =
        sqlx::query(AssertSqlSafe(format!("-- find_order_by_token\nselect {COLUMNS} from orders where token = $1")))
            .bind(token.as_str().to_owned())
            .fetch_optional(store.readers())
            .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// An order's history, oldest line first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn history(store: &Store, id: OrderId) -> Result<Vec<HistoryLine>, StoreError> {
    let rows = sqlx::query(
        "-- order_history
        select at_ms, from_status, to_status, cause from order_history where order_id = $1 order by number limit 1000",
    )
    .bind(id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(history_line).collect()
}

pub(super) fn history_line(row: &AnyRow) -> Result<HistoryLine, StoreError> {
    let from: Option<String> = row.try_get("from_status")?;
    Ok(HistoryLine {
        at_ms: row.try_get("at_ms")?,
        from: from.map(parse_status).transpose()?,
        to: parse_status(row.try_get("to_status")?)?,
        cause: row.try_get("cause")?,
    })
}

/// Stores a draft with its payment link, stages the first look, and completes the job: one transaction.
///
/// Where the fence or the order refuses (a late attempt, a canceled order), the draft is recorded alone: every draft
/// must be known, for somebody might pay it. The TTL starts with the first link and stays with later ones.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the job belongs to somebody else; the draft is recorded all the same.
pub async fn store_link(
    store: &Store,
    lease: &Lease,
    order: &Order,
    link: &NewLink,
    payment_ttl_ms: i64,
    first_look_ms: i64,
) -> Result<Transition, StoreError> {
    let linking = Linking { lease: *lease, order: order.clone(), link: link.clone(), payment_ttl_ms, first_look_ms };
    let stored = together(store, linking).await;
    if !matches!(stored, Ok(Transition::Made)) {
        let mut write = store.begin(0).await?;
        transactions::record_drafts(&mut write, &[(order, link.transaction_id)]).await?;
        write.commit().await?;
    }
    stored
}

/// A payment link to be stored.
#[derive(Debug)]
pub(super) struct Linking {
    lease: Lease,
    order: Order,
    link: NewLink,
    payment_ttl_ms: i64,
    first_look_ms: i64,
}

impl Together for Linking {
    type Answer = Transition;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.links
    }

    fn subject(&self) -> Option<i64> {
        Some(self.order.id.0)
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: Locked) -> Result<Written<Transition>, StoreError> {
        #[derive(Serialize)]
        struct Row<'a> {
            of_order: i64,
            draft: i64,
            page: &'a str,
            until: i64,
        }
        let mut write = store.begin(items.len()).await?;
        let runs: Vec<(Lease, jobs::Finish)> = items.iter().map(|item| (item.lease, jobs::Finish::Complete)).collect();
        let ended = jobs::finish_all(&mut write, &runs, locked).await?;
        if let Some(unwritten) = Written::without(jobs::not_ended(&runs, &ended), locked, Share::LeaseLost) {
            return Ok(unwritten);
        }
        let look = |item: &Arc<Self>| Staged {
            job: Job::SettleOrder { order_id: item.order.id },
            queue: QueueName::Settle,
            due_at_ms: item.first_look_ms,
        };
        // Jobs before the order's row, as in every settlement: one order of locks.
        jobs::stage_all(&mut write, &items.iter().map(look).collect::<Vec<_>>()).await?;
        let ids: Vec<OrderId> = items.iter().map(|item| item.order.id).collect();
        let statuses = settlement::lock_all(&mut write, &ids, locked).await?;
        if statuses.len() < ids.len() && locked == Locked::PassedOver {
            return Ok(Written::SpoiltBy(settlement::missing(&ids, &statuses)));
        }
        let now_ms = write.now_ms();
        let mut linking = Vec::with_capacity(items.len());
        for item in items {
            linking.push(Row {
                of_order: item.order.id.0,
                draft: item.link.transaction_id.0,
                page: &item.link.payment_url,
                until: now_ms + item.payment_ttl_ms,
            });
        }
        let given =
            given(write.store.database(), 1, &[Number("of_order"), Number("draft"), Text("page"), Number("until")]);
        let sql = format!(
            "-- store_links
            update orders set transaction_id = draft, payment_url = page, links_made = links_made + 1, link_at_ms = $2,
                expires_at_ms = coalesce(expires_at_ms, until)
            from {given} where id {} and id = of_order and {} = 'pending' and payment_url is null returning id",
            given.any("of_order"),
            unindexed("status")
        );
        let done =
            sqlx::query(AssertSqlSafe(sql)).bind(rows(&linking)?).bind(now_ms).fetch_all(write.connection()).await?;
        let mut linked = HashSet::with_capacity(done.len());
        for row in done {
            linked.insert(OrderId(row.try_get("id")?));
        }
        let drafts: Vec<(&Order, TransactionId)> =
            items.iter().map(|item| (&item.order, item.link.transaction_id)).collect();
        let ours = transactions::record_drafts(&mut write, &drafts).await?;
        let is_refused = |(_, item): &(usize, &Arc<Self>)| {
            !linked.contains(&item.order.id) || !ours.contains(&(item.order.id, item.link.transaction_id))
        };
        let refused: Vec<usize> = items.iter().enumerate().filter(is_refused).map(|(place, _)| place).collect();
        if let Some(unwritten) = Written::without(refused, locked, Share::Done(Transition::Refused)) {
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
        Ok(Written::Committed(items.iter().map(|_| Share::Done(Transition::Made)).collect()))
    }
}

/// Expires an order that never got a payment link, and completes the job.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the job belongs to somebody else.
pub async fn expire_without_link(
    store: &Store,
    lease: &Lease,
    id: OrderId,
    waiting_since_before_ms: i64,
) -> Result<Transition, StoreError> {
    let mut write = store.begin(1).await?;
    jobs::finish(&mut write, lease, &jobs::Finish::Complete).await?;
    let now_ms = write.now_ms();
    // A draft may exist whose answer was lost or that was recorded alone.
    jobs::stage(&mut write, Job::SettleOrder { order_id: id }, QueueName::Background, now_ms).await?;
    let done = sqlx::query(
        "-- expire_without_link
        update orders set status = 'expired', final_at_ms = $2
        where id = $1 and status = 'pending' and payment_url is null and pending_since_ms <= $3",
    )
    .bind(id.0)
    .bind(now_ms)
    .bind(waiting_since_before_ms)
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    tell(&mut write, id, Some(OrderStatus::Pending), OrderStatus::Expired, "no payment link could be made in time")
        .await?;
    write.commit().await?;
    Ok(Transition::Made)
}

/// The customer came to the return page: look soon. At most once per 10 s and 30 times per order.
///
/// Returns whether a look was staged.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn hint_from_return_page(store: &Store, id: OrderId) -> Result<bool, StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    // Before the order's row, as in every settlement: the same order of locks.
    jobs::stage(&mut write, Job::SettleOrder { order_id: id }, QueueName::Settle, now_ms).await?;
    let done = sqlx::query(
        "-- hint_from_return_page
        update orders set last_hint_at_ms = $2, last_return_hint_at_ms = $2, return_hints = return_hints + 1
        where id = $1 and status in ('pending', 'confirming') and payment_url is not null and return_hints < $3
            and (last_return_hint_at_ms is null or last_return_hint_at_ms <= $4)",
    )
    .bind(id.0)
    .bind(now_ms)
    .bind(RETURN_HINTS)
    .bind(now_ms - RETURN_HINT_EVERY_MS)
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    write.commit().await?;
    Ok(true)
}

/// How many open orders there are by status, and how many need a person although their status stays.
///
/// Only statuses that an order leaves again are counted: the others grow for ever.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_open(store: &Store) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query(
        "-- count_open_orders
        select status, count(*) as orders from orders where status in ('pending', 'confirming', 'review') group by status
        union all select 'needs_review', count(*) from orders where needs_review = 1",
    )
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Ok((row.try_get("status")?, row.try_get("orders")?))).collect()
}

/// Open orders of another gateway identity than ours: nobody asks about them until that gateway is configured again.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn open_elsewhere(
    store: &Store,
    ours: &GatewayIdentity,
) -> Result<Vec<(OrderId, GatewayIdentity)>, StoreError> {
    let rows = sqlx::query(
        "-- open_orders_elsewhere
        select id, gateway from orders where status in ('pending', 'confirming', 'review')
            and status in ('pending', 'confirming') and gateway <> $1 order by id limit 100",
    )
    .bind(ours.0.clone())
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Ok((OrderId(row.try_get("id")?), GatewayIdentity(row.try_get("gateway")?)))).collect()
}

/// Adds a history line; to be called in the transaction that made the transition, while the order's row is locked.
pub(super) async fn tell(
    write: &mut Write,
    id: OrderId,
    from: Option<OrderStatus>,
    to: OrderStatus,
    cause: &str,
) -> Result<(), StoreError> {
    tell_all(write, &[Told { id, from, to, cause: cause.to_owned() }]).await
}

/// What a history line says.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) id: OrderId,
    pub(super) from: Option<OrderStatus>,
    pub(super) to: OrderStatus,
    pub(super) cause: String,
}

/// As [`tell`], of several orders.
pub(super) async fn tell_all(write: &mut Write, lines: &[Told]) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Line<'a> {
        of_order: i64,
        was: Option<&'static str>,
        is_now: &'static str,
        why: &'a str,
    }
    let mut new = Vec::with_capacity(lines.len());
    for Told { id, from, to, cause } in lines {
        let was = from.map(OrderStatus::as_str);
        new.push(Line { of_order: id.0, was, is_now: to.as_str(), why: cause });
    }
    let sql = format!(
        "-- add_history_lines
        insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
        select of_order, coalesce((select max(number) from order_history where order_id = of_order), 0) + 1, $2, was, is_now, why
        from {}",
        given(write.store.database(), 1, &[Number("of_order"), Text("was"), Text("is_now"), Text("why")])
    );
    sqlx::query(AssertSqlSafe(sql)).bind(rows(&new)?).bind(write.now_ms()).execute(write.connection()).await?;
    for told in lines {
        if told.from != Some(told.to) {
            write.transitions.push(told.to);
        }
        if !write.changed.contains(&told.id) {
            write.changed.push(told.id);
        }
    }
    Ok(())
}

pub(super) fn from_row(row: &AnyRow) -> Result<Order, StoreError> {
    let unknown = |column, value: String| StoreError::UnknownValue { column, value };
    let token: String = row.try_get("token")?;
    let amount: i64 = row.try_get("amount")?;
    let payment_type: String = row.try_get("payment_type")?;
    let language: String = row.try_get("language")?;
    let transaction = |column| row.try_get::<Option<i64>, _>(column).map(|id| id.map(TransactionId));
    Ok(Order {
        id: OrderId(row.try_get("id")?),
        token: OrderToken::parse(&token).ok_or_else(|| unknown("orders.token", "not 32 hex digits".into()))?,
        api_key_name: row.try_get("api_key_name")?,
        reference: row.try_get("reference")?,
        product_name: row.try_get("product_name")?,
        amount: Tiyin::new(amount).map_err(|_| unknown("orders.amount", amount.to_string()))?,
        payment_type: PaymentType::parse(&payment_type).ok_or(unknown("orders.payment_type", payment_type))?,
        return_url: row.try_get("return_url")?,
        language: Language::parse(&language).ok_or(unknown("orders.language", language))?,
        status: parse_status(row.try_get("status")?)?,
        gateway: GatewayIdentity(row.try_get("gateway")?),
        transaction_id: transaction("transaction_id")?,
        payment_url: row.try_get("payment_url")?,
        links_made: row.try_get("links_made")?,
        allowed_transaction_id: transaction("allowed_transaction_id")?,
        last_allowed_at_ms: row.try_get("last_allowed_at_ms")?,
        last_hint_at_ms: row.try_get("last_hint_at_ms")?,
        link_at_ms: row.try_get("link_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        final_at_ms: row.try_get("final_at_ms")?,
        refunded_amount: row.try_get("refunded_amount")?,
        needs_review: row.try_get::<i64, _>("needs_review")? != 0,
        refund_reserved: row.try_get("refund_reserved")?,
        reason: row.try_get("reason")?,
        // A newer release may suggest what this one does not know.
        suggested_act: row.try_get::<Option<String>, _>("suggested_act")?.and_then(|act| SuggestedAct::parse(&act)),
        resolution: resolution(row)?,
        created_at_ms: row.try_get("created_at_ms")?,
        pending_since_ms: row.try_get("pending_since_ms")?,
    })
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
