//! Makes orders; orders that are asked for at the same time share a transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;

use super::{Created, NOT_CHOSEN, NOT_CHOSEN_TYPE, Told, from_row, id_of_reference, order_columns, repeated, tell_all};
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MemberOutcome, run_in_batch};
use crate::idempotency::{self, IdempotencyKey, IdempotencyKeyRow};
use crate::jobs::{self, Staged};
use crate::statement::{Statement, json};
use crate::{Database, Store, StoreError, Write};
use domain::id::{OrderId, OrderToken};
use domain::job::{Job, QueueName};
use domain::order::{NewOrder, Order, OrderStatus};
use failpoint::{Point, reach};

/// Makes an order, its first history line, its `create_payment_link` job and its idempotency key, if there is one, in
/// one transaction. Orders that are asked for at the same time share it.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn create(store: &Store, new: &NewOrder, key: Option<&IdempotencyKey>) -> Result<Created, StoreError> {
    create_behind(store, new, key, QueueName::Links).await
}

/// As [`create`], with the queue of the link's job. A link on [`QueueName::Background`] is made after the links of
/// others: for a shop that asks for very many.
///
/// # Errors
/// As [`create`].
pub async fn create_behind(
    store: &Store,
    new: &NewOrder,
    key: Option<&IdempotencyKey>,
    queue: QueueName,
) -> Result<Created, StoreError> {
    create_as(store, new, key, LinkPlan::Draft(queue)).await
}

/// Makes an order that has its payment link, its TTL and its `settle_order` at once, in one transaction: for a gateway
/// whose links are made without any call. So such an order can be paid while no worker lives. The first inquiry comes at
/// the end of the TTL; before the gateway's first call there is nothing to ask about, and that call stages one.
///
/// # Errors
/// As [`create`].
pub async fn create_linked(
    store: &Store,
    new: &NewOrder,
    key: Option<&IdempotencyKey>,
    link: &LocalLink,
) -> Result<Created, StoreError> {
    create_as(store, new, key, LinkPlan::Local(link.clone())).await
}

/// Makes an order whose customer chooses the account through which it is paid: `new` names none. It has its `settle_order` at
/// once, which expires it if nothing is chosen within `choice_ttl_ms`.
///
/// # Errors
/// As [`create`].
pub async fn create_for_choice(
    store: &Store,
    new: &NewOrder,
    key: Option<&IdempotencyKey>,
    choice_ttl_ms: i64,
) -> Result<Created, StoreError> {
    create_as(store, new, key, LinkPlan::Choice { choice_ttl_ms }).await
}

/// Writes the link of an order with this number and this token.
pub type WriteLink = dyn Fn(OrderId, &OrderToken) -> String + Send + Sync;

/// A payment link that is made without any call.
#[derive(Clone)]
pub struct LocalLink {
    /// Writes it.
    pub write: Arc<WriteLink>,
    /// How long the order can be paid, milliseconds.
    pub payment_ttl_ms: i64,
}

impl fmt::Debug for LocalLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLink").field("payment_ttl_ms", &self.payment_ttl_ms).finish_non_exhaustive()
    }
}

/// How a new order gets its payment link.
#[derive(Clone, Debug)]
enum LinkPlan {
    /// By a job on this queue, which makes a draft.
    Draft(QueueName),
    /// At once.
    Local(LocalLink),
    /// Once the customer has chosen the account.
    Choice { choice_ttl_ms: i64 },
}

async fn create_as(
    store: &Store,
    new: &NewOrder,
    key: Option<&IdempotencyKey>,
    plan: LinkPlan,
) -> Result<Created, StoreError> {
    let jumps_before = store.0.ids.jumps_known();
    let make = async || run_in_batch(store, Creating { new: new.clone(), key: key.cloned(), plan: plan.clone() }).await;
    let made = match make().await {
        // The same reference was written by this API key at the same moment. Now it is found.
        Err(StoreError::Statement(error)) if is_reference_of_key(&error) => make().await,
        // Another order or job has the number: the database has lost commits.
        Err(StoreError::Statement(error)) if is_taken(&error) => {
            store.0.ids.is_behind(store, jumps_before).await?;
            make().await
        }
        made => made,
    };
    match made {
        Ok(CreateOutcome::New(order)) => Ok(Created::New(*order)),
        Ok(CreateOutcome::KeyIsKept) => match key {
            Some(key) => repeated(store, new, key).await,
            None => Ok(Created::InFlight),
        },
        Ok(CreateOutcome::ReferenceIsTaken) => {
            let taken = id_of_reference(store, new).await?;
            Ok(taken.map_or(Created::InFlight, Created::ReferenceTaken))
        }
        // Another request holds the key's row, and has not ended within the lock timeout.
        Err(StoreError::Conflict(_)) if key.is_some() => Ok(Created::InFlight),
        Err(error) => Err(error),
    }
}

fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether the unique index of earlier releases refused it, which they still write by.
fn is_reference_of_key(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::constraint) == Some("orders_reference")
}

/// An order to make.
#[derive(Debug)]
pub(crate) struct Creating {
    new: NewOrder,
    key: Option<IdempotencyKey>,
    plan: LinkPlan,
}

/// How the making of an order ended.
#[derive(Debug)]
pub(crate) enum CreateOutcome {
    New(Box<Order>),
    KeyIsKept,
    ReferenceIsTaken,
}

impl Batched for Creating {
    type Answer = CreateOutcome;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.new_orders
    }

    fn subject(&self) -> Option<i64> {
        // With one key twice, a batch would find its own row.
        let key = self.key.as_ref()?;
        let mut hasher = DefaultHasher::new();
        (&self.new.api_key_name, &key.key).hash(&mut hasher);
        Some(hasher.finish().cast_signed())
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> Result<BatchOutcome<CreateOutcome>, StoreError> {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let block = match store.database() {
            Database::Sqlite => Vec::new(),
            Database::Postgres => store.0.ids.take(store, "orders", items.len()).await?,
        };
        let mut write = store.begin(items.len()).await?;
        let ids = match block.is_empty() {
            false => block,
            // SQLite has one writer: the numbers join the orders' own transaction, which saves a commit.
            true => {
                let first = store.0.ids.take_within(store, write.transaction(), "orders", count).await?;
                (first..first + count).collect()
            }
        };
        let numbered: Vec<(OrderId, &Creating)> =
            ids.into_iter().map(OrderId).zip(items.iter().map(Arc::as_ref)).collect();
        let mut keys = Vec::new();
        for (id, Creating { new, key, .. }) in &numbered {
            keys.extend(key.as_ref().map(|key| IdempotencyKeyRow::of(&new.api_key_name, key, *id, None)));
        }
        let new_keys = idempotency::keep_all(&mut write, keys).await?;
        let is_to_be_made = |(id, item): &&(OrderId, &Creating)| item.key.is_none() || new_keys.contains(id);
        let making: Vec<&(OrderId, &Creating)> = numbered.iter().filter(is_to_be_made).collect();
        let mut made = insert_all(&mut write, &making).await?;
        let refused = |(_, (id, _)): &(usize, &(OrderId, &Creating))| {
            making.iter().any(|(making, _)| making == id) && !made.contains_key(id)
        };
        let refused: Vec<usize> = numbered.iter().enumerate().filter(refused).map(|(place, _)| place).collect();
        // Roll back, because their keys must not be kept.
        if let Some(unwritten) =
            BatchOutcome::without(refused, locked, MemberOutcome::Done(CreateOutcome::ReferenceIsTaken))
        {
            return Ok(unwritten);
        }
        if made.is_empty() {
            // Their keys are kept already, so nothing is committed, no number is used up, and no job is staged.
            return Ok(BatchOutcome::Committed(
                items.iter().map(|_| MemberOutcome::Done(CreateOutcome::KeyIsKept)).collect(),
            ));
        }
        let line = |id: &OrderId| Told {
            id: *id,
            from: None,
            to: OrderStatus::Pending,
            cause: "the shop asked for it".to_owned(),
        };
        let now_ms = write.now_ms();
        let jobs: Vec<Staged> = making
            .iter()
            .filter(|(id, _)| made.contains_key(id))
            .map(|(id, item)| item.plan.first_job(*id, now_ms))
            .collect();
        tell_all(&mut write, &made.keys().map(line).collect::<Vec<_>>()).await?;
        jobs::stage_all(&mut write, &jobs).await?;
        reach(Point::CreateBeforeCommit);
        write.commit().await?;
        reach(Point::CreateAfterCommit);
        let outcome = |(id, _): (OrderId, &Creating)| match made.remove(&id) {
            Some(order) => MemberOutcome::Done(CreateOutcome::New(Box::new(order))),
            None => MemberOutcome::Done(CreateOutcome::KeyIsKept),
        };
        Ok(BatchOutcome::Committed(numbered.into_iter().map(outcome).collect()))
    }
}

impl LinkPlan {
    /// The order's first job: its payment link, or its last inquiry where it has one.
    fn first_job(&self, order_id: OrderId, now_ms: i64) -> Staged {
        let (job, queue, due_at_ms) = match self {
            LinkPlan::Draft(queue) => (Job::CreatePaymentLink { order_id }, *queue, now_ms),
            LinkPlan::Local(link) => {
                (Job::SettleOrder { order_id }, QueueName::Background, now_ms + link.payment_ttl_ms)
            }
            LinkPlan::Choice { choice_ttl_ms } => {
                (Job::SettleOrder { order_id }, QueueName::Background, now_ms + choice_ttl_ms)
            }
        };
        Staged { job, queue, due_at_ms, woken_by: None }
    }
}

// A reference is refused if an order of the shop, or of the API key, has it. Rows of earlier releases are in no unique index of
// shops, so they are looked up: by subqueries of one value each, which no planner turns into a scan of the table.
const CREATE_ORDERS: Statement = Statement {
    sqlite: concat!(
        "-- create_orders
        insert into orders (id, token, shop, api_key_name, reference, reference_is_of_shop, product_name, amount, payment_type,
            return_url, cancel_url, language, status, gateway, choices, payment_url, links_made, link_at_ms, expires_at_ms,
            created_at_ms, pending_since_ms)
        select value ->> 'id', value ->> 'token', value ->> 'shop', value ->> 'api_key_name', value ->> 'reference',
            1, value ->> 'product_name', value ->> 'amount', value ->> 'payment_type', value ->> 'return_url',
            value ->> 'cancel_url', value ->> 'language', 'pending', value ->> 'gateway', value ->> 'choices', value ->> 'payment_url',
            value ->> 'links_made', value ->> 'link_at_ms', value ->> 'expires_at_ms', $2, $2
        from json_each($1)
        where (select id from orders where shop = value ->> 'shop' and reference = value ->> 'reference' limit 1) is null
            and (select id from orders where api_key_name = value ->> 'api_key_name'
                and reference = value ->> 'reference' limit 1) is null
        on conflict (shop, reference, reference_is_of_shop) where reference is not null do nothing
        returning ",
        order_columns!()
    ),
    postgres: concat!(
        "-- create_orders
        insert into orders (id, token, shop, api_key_name, reference, reference_is_of_shop, product_name, amount, payment_type,
            return_url, cancel_url, language, status, gateway, choices, payment_url, links_made, link_at_ms, expires_at_ms,
            created_at_ms, pending_since_ms)
        select id, token, shop, api_key_name, reference, 1, product_name, amount, payment_type, return_url,
            cancel_url, language, 'pending', gateway, choices, payment_url, links_made, link_at_ms, expires_at_ms, $2, $2
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as new
        where (select o.id from orders o where o.shop = new.shop and o.reference = new.reference limit 1) is null
            and (select o.id from orders o where o.api_key_name = new.api_key_name and o.reference = new.reference limit 1)
                is null
        on conflict (shop, reference, reference_is_of_shop) where reference is not null do nothing
        returning ",
        order_columns!()
    ),
};

/// Inserts the orders whose reference is not taken, and returns them.
async fn insert_all(
    write: &mut Write,
    orders: &[&(OrderId, &Creating)],
) -> Result<BTreeMap<OrderId, Order>, StoreError> {
    #[derive(Serialize)]
    struct NewOrderRow<'a> {
        id: OrderId,
        token: String,
        shop: &'a str,
        api_key_name: &'a str,
        reference: Option<&'a str>,
        product_name: &'a str,
        amount: i64,
        payment_type: &'static str,
        return_url: Option<&'a str>,
        cancel_url: Option<&'a str>,
        language: &'static str,
        gateway: &'a str,
        choices: Option<i64>,
        payment_url: Option<String>,
        links_made: i64,
        link_at_ms: Option<i64>,
        expires_at_ms: Option<i64>,
    }
    if orders.is_empty() {
        return Ok(BTreeMap::new());
    }
    let now_ms = write.now_ms();
    let mut new = Vec::with_capacity(orders.len());
    for (id, Creating { new: order, plan, .. }) in orders {
        let token = OrderToken::random();
        let link = match plan {
            LinkPlan::Draft(_) | LinkPlan::Choice { .. } => None,
            LinkPlan::Local(link) => Some(link),
        };
        let choice_ttl_ms = match plan {
            LinkPlan::Choice { choice_ttl_ms } => Some(*choice_ttl_ms),
            LinkPlan::Draft(_) | LinkPlan::Local(_) => None,
        };
        let account = order.account.as_ref();
        new.push(NewOrderRow {
            id: *id,
            payment_url: link.map(|link| (link.write)(*id, &token)),
            links_made: i64::from(link.is_some()),
            link_at_ms: link.map(|_| now_ms),
            expires_at_ms: link.map(|link| link.payment_ttl_ms).or(choice_ttl_ms).map(|ttl_ms| now_ms + ttl_ms),
            token: token.as_str().to_owned(),
            shop: order.shop.as_str(),
            api_key_name: &order.api_key_name,
            reference: order.reference.as_deref(),
            product_name: &order.product_name,
            amount: order.amount.get(),
            payment_type: account.map_or(NOT_CHOSEN_TYPE, |account| account.payment_type).as_str(),
            return_url: order.return_url.as_deref(),
            cancel_url: order.cancel_url.as_deref(),
            language: order.language.as_str(),
            gateway: account.map_or(NOT_CHOSEN, |account| &account.gateway.0),
            choices: choice_ttl_ms.map(|_| 0),
        });
    }
    // All transactions take these locks in the same order: a reference waits for another request with the same one.
    new.sort_unstable_by_key(|row| (row.shop, row.reference));
    let text = CREATE_ORDERS.on(write.store.database());
    let made = sqlx::query(text).bind(json(&new)?).bind(now_ms).fetch_all(write.transaction()).await?;
    made.iter().map(|row| from_row(row).map(|order| (order.id, order))).collect()
}
