//! The answer to a callback: which draft may debit, and what must be done next.

use domain::callback_verdict::CallbackVerdict;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::drafts::{Allowing, Found, KnownDraft, Named, allow, find_drafts};
use super::{CallbackRow, KeptCallback, OwnedBody, ReceivedBody, Sender, keep_all, new_ids};
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MAX_ALONE, MemberOutcome, run_in_batch};
use crate::jobs::{self, Staged};
use crate::statement::{Statement, json};
use crate::{Store, StoreError, Write, anew_after_conflict};
use domain::id::OrderId;
use domain::job::{Job, QueueName};
use domain::order::{GatewayIdentity, OrderStatus};
use domain::time::millis;
use domain::transaction::Callback;
use failpoint::{Point, reach};

/// A repeated callback starts the schedule of inquiries further along, the longer it has been known: by a quarter of
/// the time above `DENSE_MS`, and by `FURTHEST_MS` at most.
const DENSE_MS: i64 = 30_000;
const FURTHEST_MS: i64 = 30_000;

/// Decides about a correctly signed callback from our own rows, keeps it, and stages its job, in one transaction.
/// Callbacks that come at the same time share a transaction.
///
/// Every callback, repeated or not, runs the allowing statement, whose result is the answer; an earlier verdict never
/// is. Only one draft of an order is ever allowed. `debit_within` is how long after the answer a debit may come.
///
/// # Errors
/// [`StoreError`] when the database did not do it: the gateway must be told to ask again.
pub async fn answer(
    store: &Store,
    gateway: &GatewayIdentity,
    our_store_id: &str,
    debit_within: Duration,
    callback: &Callback,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<CallbackVerdict, StoreError> {
    let question = || CallbackQuestion {
        gateway: gateway.clone(),
        our_store_id: our_store_id.to_owned(),
        debit_within_ms: millis(debit_within),
        callback: callback.clone(),
        body: OwnedBody::of(body),
        sender,
    };
    anew_after_conflict(|| run_in_batch(store, question())).await
}

/// A correctly signed callback that waits for its answer.
#[derive(Debug)]
pub(crate) struct CallbackQuestion {
    gateway: GatewayIdentity,
    our_store_id: String,
    debit_within_ms: i64,
    callback: Callback,
    body: OwnedBody,
    sender: Sender,
}

impl Batched for CallbackQuestion {
    type Answer = CallbackVerdict;

    /// The gateway waits, and so does the customer. (With 12, each answer cost a fifth more, and no more were given.)
    const SECOND_WRITER_FROM: usize = 24;

    const MAX_ALONE: usize = MAX_ALONE;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.questions
    }

    fn account(&self) -> Option<&GatewayIdentity> {
        Some(&self.gateway)
    }

    fn subject(&self) -> Option<i64> {
        // This also keeps the same callback from being twice in a batch: it asks about the same transaction.
        Some(self.callback.transaction_id.map_or(-1, |id| id.0))
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> Result<BatchOutcome<CallbackVerdict>, StoreError> {
        reach(Point::WebhookBeforeDecision);
        let callback_ids = new_ids(store, items.len()).await?;
        let mut write = store.begin(items.len()).await?;
        let mut named = Vec::with_capacity(items.len());
        for CallbackQuestion { gateway, callback, .. } in items.iter().map(Arc::as_ref) {
            named.push(Named { gateway, transaction_id: callback.transaction_id });
        }
        let found = find_drafts(&mut write, &named, locked).await?;
        let now_ms = write.now_ms();
        let judged = judge(&mut write, items, found, now_ms).await?;
        let mut rows: Vec<CallbackRow<'_>> = judged.iter().flatten().zip(callback_ids).map(Judged::keeping).collect();
        // All transactions take these locks in the same order, because another process may have got the same callback.
        rows.sort_unstable_by_key(|keeping| keeping.digest);
        let kept = keep_all(&mut write, &rows, now_ms).await?;
        follow(&mut write, judged.iter().flatten(), &kept, now_ms).await?;
        reach(Point::WebhookBeforeCommit);
        write.commit().await?;
        reach(Point::WebhookAfterCommit);
        let outcome = |judged: Option<Judged<'_>>| {
            judged.map_or(MemberOutcome::Alone, |judged| MemberOutcome::Done(judged.verdict))
        };
        Ok(BatchOutcome::Committed(judged.into_iter().map(outcome).collect()))
    }
}

/// A callback with its draft and order, and its verdict.
struct Judged<'a> {
    question: &'a CallbackQuestion,
    draft: Option<KnownDraft>,
    verdict: CallbackVerdict,
}

impl Judged<'_> {
    fn keeping((judged, id): (&Self, i64)) -> CallbackRow<'_> {
        CallbackRow {
            id,
            digest: &judged.question.body.digest,
            body: &judged.question.body.text,
            verdict: judged.verdict.as_str(),
            order_id: judged.draft.as_ref().map(|draft| draft.order_id),
            transaction_id: judged.question.callback.transaction_id,
            address: judged.question.body.address.as_deref(),
            gateway: Some(&judged.question.gateway.0),
        }
    }

    /// Whether the order began to wait for the confirmation of its payment by this.
    fn moved_order(&self) -> bool {
        let was_pending = self.draft.as_ref().is_some_and(|draft| draft.order.status == OrderStatus::Pending);
        was_pending && self.verdict == CallbackVerdict::Allowed
    }
}

impl CallbackQuestion {
    /// The refusal that does not depend on the order's row; `None` if draft and order decide.
    fn refusal(&self, draft: Option<&KnownDraft>) -> Option<CallbackVerdict> {
        match draft {
            _ if self.sender == Sender::TurnedAway => Some(CallbackVerdict::OtherAddress),
            _ if self.callback.store_id != self.our_store_id => Some(CallbackVerdict::OtherStore),
            None => Some(CallbackVerdict::UnknownTransaction),
            Some(draft) if self.callback.account != Some(draft.order_id.to_string()) => {
                Some(CallbackVerdict::OtherAccount)
            }
            Some(draft) if self.callback.amount != Some(draft.amount) => Some(CallbackVerdict::WrongAmount),
            // Its customer has chosen another account since the draft was made.
            Some(draft) if !draft.order.is_of(&self.gateway) => Some(CallbackVerdict::NotPayable),
            Some(_) => None,
        }
    }
}

/// Gives each callback its verdict, and allows the drafts that may debit; `None` for one that must be answered alone.
async fn judge<'a>(
    write: &mut Write,
    questions: &'a [Arc<CallbackQuestion>],
    found: Vec<Found>,
    now_ms: i64,
) -> Result<Vec<Option<Judged<'a>>>, StoreError> {
    // Of two drafts of one order one is answered alone: its answer depends on what the other did to the order.
    let mut orders_met = HashSet::new();
    let mut alone_if_met = |found| match found {
        Found::Draft(draft) if !orders_met.insert(draft.order_id) => Found::IsLocked,
        found => found,
    };
    let found: Vec<Found> = found.into_iter().map(&mut alone_if_met).collect();
    let mut asking = Vec::with_capacity(questions.len());
    for (question, found) in questions.iter().zip(&found) {
        if let Found::Draft(draft) = found
            && question.refusal(Some(draft)).is_none()
        {
            asking.push(Allowing {
                order_id: draft.order_id,
                transaction_id: draft.transaction_id,
                was: draft.order.status,
                until_ms: now_ms + question.debit_within_ms,
            });
        }
    }
    let allowed = allow(write, &asking, now_ms).await?;
    let mut judged = Vec::with_capacity(questions.len());
    for (question, found) in questions.iter().zip(found) {
        let draft = match found {
            Found::Unknown => None,
            Found::Draft(draft) => Some(draft),
            Found::IsLocked => {
                judged.push(None);
                continue;
            }
        };
        let verdict = match (question.refusal(draft.as_ref()), &draft) {
            (Some(refusal), _) => refusal,
            (None, Some(draft)) if allowed.contains(&draft.order_id) => CallbackVerdict::Allowed,
            (None, Some(draft)) => draft.why_not_allowed(now_ms),
            (None, None) => CallbackVerdict::UnknownTransaction,
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

/// Writes the hints, and stages the jobs of the callbacks that were kept.
async fn follow<'a>(
    write: &mut Write,
    judged: impl Iterator<Item = &'a Judged<'a>>,
    kept: &HashMap<String, KeptCallback>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (mut hinted, mut staged) = (Vec::new(), Vec::new());
    for judged in judged {
        let (Some(draft), Some(kept)) = (&judged.draft, kept.get(&judged.question.body.digest)) else { continue };
        let changed = judged.moved_order();
        if !changed && kept.hinted_at_ms != now_ms {
            continue;
        }
        // The statement that moved the order has already written the hint.
        if !changed {
            hinted.push(Hint::of(draft.order_id, kept, now_ms));
        }
        staged.push(Staged {
            job: Job::SettleOrder { order_id: draft.order_id },
            queue: QueueName::Settle,
            due_at_ms: now_ms,
            woken_by: Some(kept.id.0),
        });
    }
    hint_all(write, &hinted).await?;
    if !staged.is_empty() {
        jobs::stage_all(write, &staged).await?;
    }
    Ok(())
}

/// A reason to ask about an order soon, as a row parameter.
#[derive(Serialize)]
pub(crate) struct Hint {
    pub(crate) id: OrderId,
    pub(crate) last_hint_at_ms: i64,
}

impl Hint {
    /// The hint of a callback that was kept at this moment.
    pub(crate) fn of(id: OrderId, kept: &KeptCallback, now_ms: i64) -> Self {
        let further_ms = ((now_ms - kept.received_at_ms - DENSE_MS) / 4).clamp(0, FURTHEST_MS);
        Hint { id, last_hint_at_ms: now_ms - further_ms }
    }
}

/// Writes hints; an order keeps a later one that it has.
pub(crate) async fn hint_all(write: &mut Write, hints: &[Hint]) -> Result<(), StoreError> {
    if !hints.is_empty() {
        let text = HINT_FROM_CALLBACKS.on(write.store.database());
        sqlx::query(text).bind(json(hints)?).execute(write.transaction()).await?;
    }
    Ok(())
}
