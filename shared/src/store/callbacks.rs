//! What the gateway asked before a debit, and what we answered.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::given::Column::{self, Number, Text};
use super::given::{given, numbers, rows, unindexed};
use super::jobs::Staged;
use super::orders::Told;
use super::together::{Group, Locked, Share, Together, Written, together};
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
pub(super) struct Question {
    gateway: GatewayIdentity,
    our_store_id: String,
    callback: Callback,
    body: OwnedBody,
    sender: Sender,
}

#[derive(Debug)]
struct OwnedBody {
    text: String,
    digest: String,
    address: Option<String>,
}

impl OwnedBody {
    fn of(body: ReceivedBody<'_>) -> Self {
        OwnedBody {
            // PostgreSQL's text holds no NUL.
            text: String::from_utf8_lossy(body.bytes).replace('\0', "\u{fffd}"),
            digest: body.digest.to_owned(),
            address: body.address.map(|address| address.to_string()),
        }
    }
}

impl Together for Question {
    type Answer = Verdict;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.questions
    }

    fn subject(&self) -> Option<i64> {
        // The same body is never twice in a transaction either: it asks about the same transaction.
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
        // One order of locks, for the same body may have come to another process.
        keepings.sort_unstable_by_key(|keeping| keeping.body_digest);
        let kept = keep_all(&mut write, &keepings).await?;
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
            callback_id: id,
            body_digest: &judged.question.body.digest,
            content: &judged.question.body.text,
            judged: judged.verdict.as_str(),
            of_order: judged.draft.as_ref().map(|draft| draft.order_id.0),
            about: judged.question.callback.transaction_id.map(|id| id.0),
            sent_from: judged.question.body.address.as_deref(),
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
    let drafts: Vec<Option<Option<KnownDraft>>> = found
        .into_iter()
        .map(|found| match found {
            Found::Unknown => Some(None),
            Found::Locked => None,
            Found::Draft(draft) => orders_met.insert(draft.order_id).then_some(Some(draft)),
        })
        .collect();
    let asks = |(question, draft): &(&'a Arc<Question>, &Option<Option<KnownDraft>>)| {
        draft.as_ref().is_some_and(|draft| question.refusal(draft.as_ref()).is_none())
    };
    let asking: Vec<&KnownDraft> =
        questions.iter().zip(&drafts).filter(asks).filter_map(|(_, draft)| draft.as_ref()?.as_ref()).collect();
    let allowed = allow(write, &asking, now_ms).await?;
    let judged = |(question, draft): (&'a Arc<Question>, Option<Option<KnownDraft>>)| {
        let draft = draft?;
        let verdict = match (question.refusal(draft.as_ref()), &draft) {
            (Some(refusal), _) => refusal,
            (None, Some(draft)) if allowed.contains(&draft.order_id) => Verdict::Allowed,
            (None, Some(draft)) => draft.why_not_allowed(now_ms),
            (None, None) => Verdict::UnknownTransaction,
        };
        Some(Judged { question, draft, verdict })
    };
    Ok(questions.iter().zip(drafts).map(judged).collect())
}

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
        let is_hint = changed || kept.seen_count == 1 || now_ms - kept.received_at_ms >= REPEAT_MS;
        if !is_hint {
            continue;
        }
        // The statement that moved the order has written the hint as well.
        if !changed {
            hinted.push(OfOrder { of_order: draft.order_id.0, draft: draft.transaction_id.0 });
        }
        let job = Job::ProcessCallback { callback_id: kept.id };
        staged.push(Staged { job, queue: QueueName::Settle, due_at_ms: now_ms });
    }
    if !hinted.is_empty() {
        let hints = given(write.store.database(), 1, &OF_ORDER).any("of_order");
        let sql = format!("-- hint_from_callbacks\nupdate orders set last_hint_at_ms = $2 where id {hints}");
        sqlx::query(AssertSqlSafe(sql)).bind(rows(&hinted)?).bind(now_ms).execute(write.connection()).await?;
    }
    if !staged.is_empty() {
        jobs::stage_all(write, &staged).await?;
    }
    Ok(())
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
    /// There is one, and somebody else holds its order.
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

/// The drafts of ours that are asked about, each with its order and amount. (In a statement of its own: joined with the
/// orders, PostgreSQL would now and then begin with all of those.)
async fn amounts_of_drafts(
    write: &mut Write,
    gateway: &GatewayIdentity,
    questions: &[Arc<Question>],
) -> Result<HashMap<TransactionId, (OrderId, i64)>, StoreError> {
    let asked: Vec<TransactionId> = questions.iter().filter_map(|question| question.callback.transaction_id).collect();
    let sql = format!(
        "-- find_drafts
        select transaction_id, order_id, amount from transactions where gateway = $2 and transaction_id {}",
        given(write.store.database(), 1, &[Number("about")]).any("about")
    );
    let known = sqlx::query(AssertSqlSafe(sql))
        .bind(numbers("about", &asked)?)
        .bind(gateway.0.clone())
        .fetch_all(write.connection())
        .await?;
    let draft = |row: &AnyRow| {
        let order = (OrderId(row.try_get("order_id")?), row.try_get("amount")?);
        Ok((TransactionId(row.try_get("transaction_id")?), order))
    };
    known.iter().map(draft).collect()
}

/// Locks orders, and tells what decides whether a draft of theirs may debit.
async fn lock_orders(
    write: &mut Write,
    ids: &[OrderId],
    locked: Locked,
) -> Result<HashMap<OrderId, LockedOrder>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "-- lock_orders_asked_about
        select id, status, expires_at_ms, transaction_id from orders where id {} order by id {}",
        given(write.store.database(), 1, &[Number("of_order")]).any("of_order"),
        locked.clause(&write.store, "orders")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(numbers("of_order", ids)?).fetch_all(write.connection()).await?;
    let order = |row: &AnyRow| {
        let order = LockedOrder {
            status: orders::parse_status(row.try_get("status")?)?,
            expires_at_ms: row.try_get("expires_at_ms")?,
            payer: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        };
        Ok((OrderId(row.try_get("id")?), order))
    };
    rows.iter().map(order).collect()
}

/// An order and one of its drafts, as given to a statement.
#[derive(Serialize)]
struct OfOrder {
    of_order: i64,
    draft: i64,
}

const OF_ORDER: [Column; 2] = [Number("of_order"), Number("draft")];

/// Lets these drafts debit whose order no other may pay and that can still be paid. Returns the orders of those.
async fn allow(write: &mut Write, drafts: &[&KnownDraft], now_ms: i64) -> Result<HashSet<OrderId>, StoreError> {
    if drafts.is_empty() {
        return Ok(HashSet::new());
    }
    let asking: Vec<OfOrder> =
        drafts.iter().map(|draft| OfOrder { of_order: draft.order_id.0, draft: draft.transaction_id.0 }).collect();
    let given = given(write.store.database(), 1, &OF_ORDER);
    let sql = format!(
        "-- allow_drafts
        update orders set status = 'confirming', allowed_transaction_id = draft, last_allowed_at_ms = $2,
            last_hint_at_ms = case when status = 'pending' then $2 else last_hint_at_ms end
        from {given}
        where id {} and id = of_order and {} in ('pending', 'confirming') and expires_at_ms > $2
            and (allowed_transaction_id is null or allowed_transaction_id = draft)
        returning id",
        given.any("of_order"),
        unindexed("status")
    );
    let done = sqlx::query(AssertSqlSafe(sql)).bind(rows(&asking)?).bind(now_ms).fetch_all(write.connection()).await?;
    let mut allowed = HashSet::with_capacity(done.len());
    for row in done {
        allowed.insert(OrderId(row.try_get("id")?));
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
    if !allowed.is_empty() {
        // What a look saw of them earlier no longer holds: from now on they are asked about again. (To open one more again
        // costs a question.)
        let sql = format!(
            "-- reopen_allowed_drafts
            update transactions set state = 'open'
            where order_id {} and transaction_id {} and state = 'closed'",
            given.any("of_order"),
            given.any("draft")
        );
        let allowed: Vec<OfOrder> =
            asking.into_iter().filter(|asked| allowed.contains(&OrderId(asked.of_order))).collect();
        sqlx::query(AssertSqlSafe(sql)).bind(rows(&allowed)?).execute(write.connection()).await?;
    }
    Ok(allowed)
}

/// Keeps a body that proves nothing: unreadable or badly signed. It stages nothing and is no hint.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn keep_unproven(store: &Store, body: ReceivedBody<'_>, verdict: Verdict) -> Result<(), StoreError> {
    let body = OwnedBody::of(body);
    let callback_id = fresh_ids(store, 1).await?.pop().unwrap_or_default();
    let mut write = store.begin(0).await?;
    let keeping = Keeping {
        callback_id,
        body_digest: &body.digest,
        content: &body.text,
        judged: verdict.as_str(),
        of_order: None,
        about: None,
        sent_from: body.address.as_deref(),
    };
    keep_all(&mut write, &[keeping]).await?;
    write.commit().await
}

async fn fresh_ids(store: &Store, count: usize) -> Result<Vec<i64>, StoreError> {
    store.0.ids.take(store, "callbacks", count).await
}

/// A callback to be kept, as its statement reads it.
#[derive(Serialize)]
struct Keeping<'a> {
    callback_id: i64,
    body_digest: &'a str,
    content: &'a str,
    judged: &'static str,
    of_order: Option<i64>,
    about: Option<i64>,
    sent_from: Option<&'a str>,
}

/// A callback that was kept, now or before.
struct Kept {
    id: CallbackId,
    seen_count: i64,
    received_at_ms: i64,
}

/// Keeps them, or counts those that were there. What became of each, by the digest of its body; no two may have one.
async fn keep_all(write: &mut Write, keepings: &[Keeping<'_>]) -> Result<HashMap<String, Kept>, StoreError> {
    if keepings.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "-- keep_callbacks
        insert into callbacks
            (id, digest, body, verdict, order_id, transaction_id, received_at_ms, last_seen_at_ms, address)
        select callback_id, body_digest, content, judged, of_order, about, $2, $2, sent_from from {} where true
        on conflict (digest, verdict) do update set
            seen_count = callbacks.seen_count + 1, last_seen_at_ms = excluded.last_seen_at_ms,
            address = excluded.address
        returning id, digest, seen_count, received_at_ms",
        given(
            write.store.database(),
            1,
            &[
                Number("callback_id"),
                Text("body_digest"),
                Text("content"),
                Text("judged"),
                Number("of_order"),
                Number("about"),
                Text("sent_from"),
            ]
        )
    );
    let now_ms = write.now_ms();
    let kept = sqlx::query(AssertSqlSafe(sql)).bind(rows(keepings)?).bind(now_ms).fetch_all(write.connection()).await?;
    kept.iter()
        .map(|row| {
            let kept = Kept {
                id: CallbackId(row.try_get("id")?),
                seen_count: row.try_get("seen_count")?,
                received_at_ms: row.try_get("received_at_ms")?,
            };
            Ok((row.try_get("digest")?, kept))
        })
        .collect()
}

/// The callback of that number. Those that are asked for at the same time are read in one statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find(store: &Store, id: CallbackId) -> Result<Option<StoredCallback>, StoreError> {
    together(store, Finding(id)).await
}

/// A callback to be read.
#[derive(Debug)]
pub(super) struct Finding(CallbackId);

impl Together for Finding {
    type Answer = Option<StoredCallback>;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.callbacks
    }

    fn subject(&self) -> Option<i64> {
        None
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        _locked: Locked,
    ) -> Result<Written<Option<StoredCallback>>, StoreError> {
        let sql = format!(
            "-- find_callbacks
            select id, body, verdict, order_id, transaction_id, seen_count, received_at_ms, address
            from callbacks where id {}",
            given(store.database(), 1, &[Number("number")]).any("number")
        );
        let ids: Vec<CallbackId> = items.iter().map(|item| item.0).collect();
        let found = sqlx::query(AssertSqlSafe(sql)).bind(numbers("number", &ids)?).fetch_all(store.readers()).await?;
        let mut callbacks = HashMap::with_capacity(found.len());
        for row in &found {
            let callback = from_row(row)?;
            callbacks.insert(callback.id, callback);
        }
        Ok(Written::Committed(ids.iter().map(|id| Share::Done(callbacks.get(id).cloned())).collect()))
    }
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
    together(store, Waking { lease: *lease, order_id }).await
}

/// A settlement to be woken.
#[derive(Debug)]
pub(super) struct Waking {
    lease: Lease,
    order_id: OrderId,
}

impl Together for Waking {
    type Answer = ();

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.wakings
    }

    fn subject(&self) -> Option<i64> {
        Some(self.order_id.0)
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: Locked) -> Result<Written<()>, StoreError> {
        let mut write = store.begin(items.len()).await?;
        let due_at_ms = write.now_ms();
        let look = |item: &Arc<Self>| Staged {
            job: Job::SettleOrder { order_id: item.order_id },
            queue: QueueName::Settle,
            due_at_ms,
        };
        // The look's row before our own: a repeated callback holds the order and waits for ours, and a look holds its row
        // and waits for the order. Where the fence then refuses, the transaction ends with nothing written.
        jobs::stage_all(&mut write, &items.iter().map(look).collect::<Vec<_>>()).await?;
        let runs: Vec<(Lease, jobs::Finish)> = items.iter().map(|item| (item.lease, jobs::Finish::Complete)).collect();
        let ended = jobs::finish_all(&mut write, &runs, locked).await?;
        if let Some(unwritten) = Written::without(jobs::not_ended(&runs, &ended), locked, Share::LeaseLost) {
            return Ok(unwritten);
        }
        reach(Point::WakeBeforeCommit);
        write.commit().await?;
        reach(Point::WakeAfterCommit);
        Ok(Written::Committed(items.iter().map(|_| Share::Done(())).collect()))
    }
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
