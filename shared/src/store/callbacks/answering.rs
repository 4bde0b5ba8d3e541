//! The answer to a callback: which draft may debit, and what follows from having been asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Keeping, Kept, OwnedBody, ReceivedBody, Sender, Verdict, fresh_ids, keep_all};
use crate::failpoint::{Point, reach};
use crate::id::{OrderId, TransactionId};
use crate::job::{Job, JobKind, QueueName};
use crate::order::{GatewayIdentity, OrderStatus};
use crate::store::jobs::{self, Staged};
use crate::store::orders::{self, Told};
use crate::store::statement::{LockingStatement, Statement, json};
use crate::store::together::{Group, Locked, Share, Together, Written, together};
use crate::store::transactions::StoredState;
use crate::store::{Store, StoreError, Write, anew_after_conflict};
use crate::transaction::Callback;

/// Looks after a callback that comes again begin further along their schedule, the longer it has been known: a quarter of
/// what is above this, and at most so far.
const DENSE_MS: i64 = 30_000;
const FURTHEST_MS: i64 = 30_000;

/// Decides about a rightly signed callback from our own rows, keeps it, and stages what follows: one transaction, which
/// callbacks that come at the same time share.
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
    let question = || Question {
        gateway: gateway.clone(),
        our_store_id: our_store_id.to_owned(),
        callback: callback.clone(),
        body: OwnedBody::of(body),
        sender,
    };
    anew_after_conflict(|| together(store, question())).await
}

/// A rightly signed callback that waits for its answer.
#[derive(Debug)]
pub(in crate::store) struct Question {
    gateway: GatewayIdentity,
    our_store_id: String,
    callback: Callback,
    body: OwnedBody,
    sender: Sender,
}

impl Together for Question {
    type Answer = Verdict;

    /// The gateway waits, and so does the customer. (With 12 each was a fifth dearer, and no more were answered.)
    const MANY: usize = 24;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.questions
    }

    fn subject(&self) -> Option<i64> {
        // The same callback is never twice in a transaction either: it asks about the same transaction.
        Some(self.callback.transaction_id.map_or(-1, |id| id.0))
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: Locked) -> Result<Written<Verdict>, StoreError> {
        reach(Point::WebhookBeforeDecision);
        let callback_ids = fresh_ids(store, items.len()).await?;
        let mut write = store.begin(items.len()).await?;
        let found = find_drafts(&mut write, items, locked).await?;
        let now_ms = write.now_ms();
        let judged = judge(&mut write, items, found, now_ms).await?;
        let mut keepings: Vec<Keeping<'_>> = judged.iter().flatten().zip(callback_ids).map(Judged::keeping).collect();
        // One order of locks, for the same callback may have come to another process.
        keepings.sort_unstable_by_key(|keeping| keeping.digest);
        let kept = keep_all(&mut write, &keepings, now_ms).await?;
        follow(&mut write, judged.iter().flatten(), &kept, now_ms).await?;
        reach(Point::WebhookBeforeCommit);
        write.commit().await?;
        reach(Point::WebhookAfterCommit);
        let share = |judged: Option<Judged<'_>>| judged.map_or(Share::Alone, |judged| Share::Done(judged.verdict));
        Ok(Written::Committed(judged.into_iter().map(share).collect()))
    }
}

/// A callback with what its draft and order are like, and what is made of it.
struct Judged<'a> {
    question: &'a Question,
    draft: Option<KnownDraft>,
    verdict: Verdict,
}

impl Judged<'_> {
    fn keeping((judged, id): (&Self, i64)) -> Keeping<'_> {
        Keeping {
            id,
            digest: &judged.question.body.digest,
            body: &judged.question.body.text,
            verdict: judged.verdict.as_str(),
            order_id: judged.draft.as_ref().map(|draft| draft.order_id),
            transaction_id: judged.question.callback.transaction_id,
            address: judged.question.body.address.as_deref(),
        }
    }

    /// Whether the order began to wait for its payment's confirmation by this.
    fn moved_order(&self) -> bool {
        let was_pending = self.draft.as_ref().is_some_and(|draft| draft.order.status == OrderStatus::Pending);
        was_pending && self.verdict == Verdict::Allowed
    }
}

impl Question {
    /// Why it is refused whatever may be paid; `None` where its draft and the order's row decide.
    fn refusal(&self, draft: Option<&KnownDraft>) -> Option<Verdict> {
        match draft {
            _ if self.sender == Sender::TurnedAway => Some(Verdict::OtherAddress),
            _ if self.callback.store_id != self.our_store_id => Some(Verdict::OtherStore),
            None => Some(Verdict::UnknownTransaction),
            Some(draft) if self.callback.account != Some(draft.order_id.to_string()) => Some(Verdict::OtherAccount),
            Some(draft) if self.callback.amount != Some(draft.amount) => Some(Verdict::WrongAmount),
            Some(_) => None,
        }
    }
}

/// What each of them is answered, the drafts that may debit being allowed; `None` for one that must go alone.
async fn judge<'a>(
    write: &mut Write,
    questions: &'a [Arc<Question>],
    found: Vec<Found>,
    now_ms: i64,
) -> Result<Vec<Option<Judged<'a>>>, StoreError> {
    // Of two drafts of one order one goes alone: its answer depends on what the other has made of the order.
    let mut orders_met = HashSet::new();
    let mut alone_if_met = |found| match found {
        Found::Draft(draft) if !orders_met.insert(draft.order_id) => Found::Locked,
        found => found,
    };
    let found: Vec<Found> = found.into_iter().map(&mut alone_if_met).collect();
    let mut asking = Vec::with_capacity(questions.len());
    for (question, found) in questions.iter().zip(&found) {
        if let Found::Draft(draft) = found
            && question.refusal(Some(draft)).is_none()
        {
            asking.push(draft);
        }
    }
    let allowed = allow(write, &asking, now_ms).await?;
    let mut judged = Vec::with_capacity(questions.len());
    for (question, found) in questions.iter().zip(found) {
        let draft = match found {
            Found::Unknown => None,
            Found::Draft(draft) => Some(draft),
            Found::Locked => {
                judged.push(None);
                continue;
            }
        };
        let verdict = match (question.refusal(draft.as_ref()), &draft) {
            (Some(refusal), _) => refusal,
            (None, Some(draft)) if allowed.contains(&draft.order_id) => Verdict::Allowed,
            (None, Some(draft)) => draft.why_not_allowed(now_ms),
            (None, None) => Verdict::UnknownTransaction,
        };
        judged.push(Some(Judged { question, draft, verdict }));
    }
    Ok(judged)
}

const HINT_FROM_CALLBACKS: Statement = Statement {
    sqlite: "-- hint_from_callbacks
        update orders set last_hint_at_ms = hint.last_hint_at_ms
        from (select value ->> 'id' as id, value ->> 'last_hint_at_ms' as last_hint_at_ms from json_each($1)) as hint
        where orders.id in (select value ->> 'id' from json_each($1)) and orders.id = hint.id
            and (orders.last_hint_at_ms is null or orders.last_hint_at_ms < hint.last_hint_at_ms)",
    postgres: "-- hint_from_callbacks
        update orders set last_hint_at_ms = hint.last_hint_at_ms
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as hint
        where orders.id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
            and orders.id = hint.id
            and (orders.last_hint_at_ms is null or orders.last_hint_at_ms < hint.last_hint_at_ms)",
};

/// Writes the hint, and stages what follows from those that were kept.
async fn follow<'a>(
    write: &mut Write,
    judged: impl Iterator<Item = &'a Judged<'a>>,
    kept: &HashMap<String, Kept>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (mut hinted, mut staged) = (Vec::new(), Vec::new());
    for judged in judged {
        let (Some(draft), Some(kept)) = (&judged.draft, kept.get(&judged.question.body.digest)) else { continue };
        let changed = judged.moved_order();
        if !changed && kept.hinted_at_ms != now_ms {
            continue;
        }
        // The statement that moved the order has written the hint as well.
        if !changed {
            let further_ms = ((now_ms - kept.received_at_ms - DENSE_MS) / 4).clamp(0, FURTHEST_MS);
            hinted.push(Hint { id: draft.order_id, last_hint_at_ms: now_ms - further_ms });
        }
        staged.push(Staged {
            job: Job::SettleOrder { order_id: draft.order_id },
            queue: QueueName::Settle,
            due_at_ms: now_ms,
            woken_by: Some(kept.id.0),
        });
    }
    if !hinted.is_empty() {
        let text = HINT_FROM_CALLBACKS.on(write.store.database());
        sqlx::query(text).bind(json(&hinted)?).execute(write.transaction()).await?;
    }
    if !staged.is_empty() {
        jobs::stage_all(write, &staged).await?;
    }
    Ok(())
}

/// A reason to ask about an order soon, as its statement reads it.
#[derive(Serialize)]
struct Hint {
    id: OrderId,
    last_hint_at_ms: i64,
}

struct KnownDraft {
    order_id: OrderId,
    amount: i64,
    transaction_id: TransactionId,
    order: LockedOrder,
}

/// An order as it stands while its row is locked.
#[derive(Clone, Copy)]
struct LockedOrder {
    status: OrderStatus,
    expires_at_ms: Option<i64>,
    payer: Option<TransactionId>,
}

impl KnownDraft {
    /// Why the allowing statement has passed over its order, whose row is locked.
    fn why_not_allowed(&self, now_ms: i64) -> Verdict {
        let is_late = self.order.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms <= now_ms);
        match self.order.status {
            OrderStatus::Paid if self.order.payer == Some(self.transaction_id) => Verdict::AlreadyPaid,
            OrderStatus::Paid => Verdict::SecondTransaction,
            OrderStatus::Pending | OrderStatus::Confirming if is_late => Verdict::Late,
            OrderStatus::Pending | OrderStatus::Confirming => Verdict::SecondTransaction,
            OrderStatus::Expired => Verdict::Late,
            OrderStatus::Refunded | OrderStatus::Canceled | OrderStatus::Failed | OrderStatus::Review => {
                Verdict::NotPayable
            }
        }
    }
}

/// What is known of the transaction that a callback names.
enum Found {
    /// No draft of ours has that number.
    Unknown,
    /// There is one, and its order is another's at this moment: it must go alone.
    Locked,
    /// The draft with its order, whose row stays locked until the answer is committed.
    Draft(KnownDraft),
}

async fn find_drafts(write: &mut Write, questions: &[Arc<Question>], locked: Locked) -> Result<Vec<Found>, StoreError> {
    let Some(gateway) = questions.first().map(|question| &question.gateway) else { return Ok(Vec::new()) };
    let amounts = amounts_of_drafts(write, gateway, questions).await?;
    let order_ids: Vec<OrderId> = amounts.values().map(|(order_id, _)| *order_id).collect();
    let orders = lock_orders(write, &order_ids, locked).await?;
    let found = |question: &Arc<Question>| {
        // One statement asks about one gateway.
        if question.gateway != *gateway {
            return Found::Locked;
        }
        let Some(transaction_id) = question.callback.transaction_id else { return Found::Unknown };
        let Some((order_id, amount)) = amounts.get(&transaction_id).copied() else { return Found::Unknown };
        match orders.get(&order_id) {
            Some(order) => Found::Draft(KnownDraft { order_id, amount, transaction_id, order: *order }),
            None => Found::Locked,
        }
    };
    Ok(questions.iter().map(found).collect())
}

const FIND_DRAFTS: Statement = Statement {
    sqlite: "-- find_drafts
        select transaction_id, order_id, amount from json_each($1)
        cross join transactions where gateway = $2 and transaction_id = value",
    postgres: "-- find_drafts
        select draft.transaction_id, draft.order_id, draft.amount
        from json_array_elements_text(cast($1 as json)) as asked
        cross join lateral (select transaction_id, order_id, amount from transactions
            where gateway = $2 and transaction_id = cast(asked.value as bigint) limit 1) as draft",
};

/// The drafts of ours that are asked about, each with its order and amount. (In a statement of its own: joined with the
/// orders, PostgreSQL would now and then begin with all of those; and of a list it may think that reading all rows of the
/// gateway is less work than looking up one after the other.)
async fn amounts_of_drafts(
    write: &mut Write,
    gateway: &GatewayIdentity,
    questions: &[Arc<Question>],
) -> Result<HashMap<TransactionId, (OrderId, i64)>, StoreError> {
    let asked: Vec<TransactionId> = questions.iter().filter_map(|question| question.callback.transaction_id).collect();
    let text = FIND_DRAFTS.on(write.store.database());
    let query = sqlx::query(text).bind(json(&asked)?).bind(gateway.0.clone());
    let known = query.fetch_all(write.transaction()).await?;
    let draft = |row: &AnyRow| {
        let order = (OrderId(row.try_get("order_id")?), row.try_get("amount")?);
        Ok((TransactionId(row.try_get("transaction_id")?), order))
    };
    known.iter().map(draft).collect()
}

// The looks are counted, and so locked, before any order is read.
const LOCK_ORDERS: LockingStatement = LockingStatement {
    sqlite: "-- lock_orders_asked_about
        select id, status, expires_at_ms, transaction_id, 1 as has_look from orders
        where id in (select value from json_each($1)) order by id",
    postgres: "-- lock_orders_asked_about
        with looks as materialized (
            select subject_id from jobs
            where kind = $2 and state in ('available', 'enqueued', 'running') and subject_id = any(array(
                select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            order by subject_id for update)
        select id, status, expires_at_ms, transaction_id,
            case when id = any(array(select subject_id from looks)) then 1 else 0 end as has_look
        from orders
        where (select count(*) from looks) >= 0
            and id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
        order by id for update of orders",
    postgres_skipping: "-- lock_orders_asked_about
        with looks as materialized (
            select subject_id from jobs
            where kind = $2 and state in ('available', 'enqueued', 'running') and subject_id = any(array(
                select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            order by subject_id for update skip locked)
        select id, status, expires_at_ms, transaction_id,
            case when id = any(array(select subject_id from looks)) then 1 else 0 end as has_look
        from orders
        where (select count(*) from looks) >= 0
            and id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
        order by id for update of orders skip locked",
};

/// Locks orders, each after its look, and tells what decides whether a draft of theirs may debit.
///
/// The look's row comes first, as in every settlement, for it is staged when the order is decided about. An order whose
/// look is locked is passed over like one that is locked itself; so is one that has none, which is rare.
async fn lock_orders(
    write: &mut Write,
    ids: &[OrderId],
    locked: Locked,
) -> Result<HashMap<OrderId, LockedOrder>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let text = LOCK_ORDERS.on(write.store.database(), locked);
    let query = sqlx::query(text).bind(json(ids)?).bind(JobKind::SettleOrder.as_str());
    let rows = query.fetch_all(write.transaction()).await?;
    let is_ours =
        |row: &&AnyRow| Ok::<_, StoreError>(locked == Locked::Waited || row.try_get::<i32, _>("has_look")? != 0);
    let order = |row: &AnyRow| {
        let order = LockedOrder {
            status: orders::parse_status(row.try_get("status")?)?,
            expires_at_ms: row.try_get("expires_at_ms")?,
            payer: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        };
        Ok::<_, StoreError>((OrderId(row.try_get("id")?), order))
    };
    let mut orders = HashMap::with_capacity(rows.len());
    for row in &rows {
        if is_ours(&row)? {
            orders.extend([order(row)?]);
        }
    }
    Ok(orders)
}

const ALLOW_DRAFTS: Statement = Statement {
    sqlite: "-- allow_drafts
        update orders set status = 'confirming', allowed_transaction_id = asked.allowed_transaction_id,
            last_allowed_at_ms = $2,
            last_hint_at_ms = case when orders.status = 'pending' then $2 else orders.last_hint_at_ms end
        from (
            select value ->> 'id' as id, value ->> 'allowed_transaction_id' as allowed_transaction_id from json_each($1)
        ) as asked
        where orders.id in (select value ->> 'id' from json_each($1)) and orders.id = asked.id
            and orders.status in ('pending', 'confirming') and orders.expires_at_ms > $2
            and (orders.allowed_transaction_id is null or orders.allowed_transaction_id = asked.allowed_transaction_id)
        returning id, (select state from transactions where transactions.gateway = orders.gateway
            and transactions.transaction_id = orders.allowed_transaction_id) as draft_state",
    postgres: "-- allow_drafts
        update orders set status = 'confirming', allowed_transaction_id = asked.allowed_transaction_id,
            last_allowed_at_ms = $2,
            last_hint_at_ms = case when orders.status = 'pending' then $2 else orders.last_hint_at_ms end
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as asked
        where orders.id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
            and orders.id = asked.id
            and coalesce(orders.status, '') in ('pending', 'confirming') and orders.expires_at_ms > $2
            and (orders.allowed_transaction_id is null or orders.allowed_transaction_id = asked.allowed_transaction_id)
        returning orders.id, (select state from transactions where transactions.gateway = orders.gateway
            and transactions.transaction_id = orders.allowed_transaction_id) as draft_state",
};

const REOPEN_ALLOWED_DRAFTS: Statement = Statement {
    sqlite: "-- reopen_allowed_drafts
        update transactions set state = 'open'
        where order_id in (select value from json_each($1)) and transaction_id in (select value from json_each($2))
            and state = 'closed'",
    postgres: "-- reopen_allowed_drafts
        update transactions set state = 'open'
        where order_id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            and transaction_id = any(array(
                select cast(value as bigint) from json_array_elements_text(cast($2 as json))))
            and state = 'closed'",
};

/// Lets these drafts debit whose order no other may pay and that can still be paid. Returns the orders of those.
async fn allow(write: &mut Write, drafts: &[&KnownDraft], now_ms: i64) -> Result<HashSet<OrderId>, StoreError> {
    #[derive(Serialize)]
    struct Asked {
        id: OrderId,
        allowed_transaction_id: TransactionId,
    }
    if drafts.is_empty() {
        return Ok(HashSet::new());
    }
    let asked = |draft: &&KnownDraft| Asked { id: draft.order_id, allowed_transaction_id: draft.transaction_id };
    let asked: Vec<Asked> = drafts.iter().map(asked).collect();
    let text = ALLOW_DRAFTS.on(write.store.database());
    let done = sqlx::query(text).bind(json(&asked)?).bind(now_ms).fetch_all(write.transaction()).await?;
    let (mut allowed, mut not_open) = (HashSet::with_capacity(done.len()), HashSet::new());
    for row in done {
        let order_id = OrderId(row.try_get("id")?);
        allowed.insert(order_id);
        // Its order is locked, so no look can close it from now on.
        if row.try_get::<Option<String>, _>("draft_state")?.as_deref() != Some(StoredState::Open.as_str()) {
            not_open.insert(order_id);
        }
    }
    let mut lines = Vec::new();
    for draft in
        drafts.iter().filter(|draft| allowed.contains(&draft.order_id) && draft.order.status == OrderStatus::Pending)
    {
        lines.push(Told {
            id: draft.order_id,
            from: Some(OrderStatus::Pending),
            to: OrderStatus::Confirming,
            cause: format!("the gateway asked for transaction {} and was allowed", draft.transaction_id),
        });
    }
    if !lines.is_empty() {
        orders::tell_all(write, &lines).await?;
    }
    if !not_open.is_empty() {
        // What a look saw of them earlier no longer holds: from now on they are asked about again.
        let (orders, drafts): (Vec<OrderId>, Vec<TransactionId>) = drafts
            .iter()
            .filter(|draft| not_open.contains(&draft.order_id))
            .map(|draft| (draft.order_id, draft.transaction_id))
            .unzip();
        let text = REOPEN_ALLOWED_DRAFTS.on(write.store.database());
        sqlx::query(text).bind(json(&orders)?).bind(json(&drafts)?).execute(write.transaction()).await?;
    }
    Ok(allowed)
}
