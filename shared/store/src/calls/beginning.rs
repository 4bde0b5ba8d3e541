//! Begin: a gateway begins a transaction on an order, which then may debit.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::deciding::{BeginDecision, RowChange, decide_begin};
use super::rows::{BegunRow, CalledBy, Freed, Numbered, begin_all, find_called, find_holders, free_all, move_all};
use super::unheard::{CallerPresence, Unheard, WaitingCaller};
use super::{BeginCall, CallAnswer, CalledAccount};
use crate::callbacks::{
    Allowing, CallbackRow, Hint, KeptCallback, LockedOrder, OwnedBody, ReceivedBody, Sender, allow, hint_all, keep_all,
    lock_orders, new_ids,
};
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MAX_ALONE, MemberOutcome, run_in_batch};
use crate::jobs::{self, Staged};
use crate::{Store, StoreError, Write, anew_after_conflict};
use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::{GatewayIdentity, OrderStatus};
use domain::transaction::{StoredState, StoredTransaction};
use failpoint::{Point, reach};

/// The first run of `settle_order` after a telling gateway's Begin: there is nothing to ask, and what is told wakes it.
const AFTER_TELLING_BEGIN_MS: i64 = 60_000;

/// A gateway begins a transaction on an order (Payme documents, CreateTransaction; Click documents, Prepare). One
/// transaction of the database decides, makes the row, allows the debit, keeps the call and stages `settle_order`.
/// Calls that come at the same time share it.
///
/// | verdict | meaning | row |
/// |---|---|---|
/// | `Allowed` | it holds the order, now or since an earlier call; its debit may come | as it stands: a repeat gets the same |
/// | `UnknownOrder` | the account names no order of this gateway account | none |
/// | `WrongAmount` | the amount is not the order's | none |
/// | `TimedOut` | it is too old: a new one, or a repeat whose row is now closed with the timeout code | none, or closed |
/// | `SecondTransaction` | another live transaction holds the order | none |
/// | `Late` | the order's time to pay is over | none; or the open row of a repeat, which does not hold the order |
/// | `NotPayable` | the order is paid by another transaction, refunded, canceled, failed or in review | as for `Late` |
/// | `AlreadyPaid` | this transaction has paid the order | debited, or open with `debited_at_ms` |
/// | `DebitTold` | its debit was told before, and the order is not paid by it | debited, or open with `debited_at_ms` |
/// | `TransactionClosed` | it is closed, its failure was told, or its money went back | closed, reversed, or open with `closed_at_ms` |
/// | `Conflicting` | it was begun with another amount or account | as it was begun |
/// | `OtherAddress` | the sender was turned away | as it stands |
///
/// Another Begin that is refused leaves no transaction. `body.digest` must differ between gateway accounts.
///
/// A caller that leaves, or gets an error, does not know whether the transaction begins. With
/// [`CalledAccount::unheard_code`] it holds no order: it does not begin, or is closed at once.
///
/// # Errors
/// [`StoreError`] when the database did not do it: nothing is decided, and the gateway must call again.
pub async fn begin(
    store: &Store,
    account: &CalledAccount,
    call: &BeginCall,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<CallAnswer, StoreError> {
    let jumps_before = store.0.ids.jumps_known();
    let caller = CallerPresence::new(Unheard::of(account, call.order_id, &call.external_id));
    let waiting = WaitingCaller::new(store, &caller);
    let beginning = || Beginning {
        account: account.clone(),
        call: call.clone(),
        body: OwnedBody::of(body),
        sender,
        caller: Arc::clone(&caller),
    };
    let begin = || anew_after_conflict(|| run_in_batch(store, beginning()));
    let begun = match begin().await {
        // Another transaction has the number: the database has lost commits.
        Err(StoreError::Statement(error))
            if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) =>
        {
            store.0.ids.is_behind(store, jumps_before).await?;
            begin().await
        }
        begun => begun,
    };
    // After an error the commit may have succeeded all the same.
    if begun.is_ok() {
        waiting.answered();
    }
    begun
}

/// A Begin that waits for its answer.
#[derive(Debug)]
pub(crate) struct Beginning {
    account: CalledAccount,
    call: BeginCall,
    body: OwnedBody,
    sender: Sender,
    caller: Arc<CallerPresence>,
}

impl Batched for Beginning {
    type Answer = CallAnswer;

    /// As for the callbacks that ask about a draft.
    const SECOND_WRITER_FROM: usize = 24;

    const MAX_ALONE: usize = MAX_ALONE;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.begins
    }

    fn account(&self) -> Option<&GatewayIdentity> {
        Some(&self.account.gateway)
    }

    fn subject(&self) -> Option<i64> {
        Some(self.call.order_id.map_or_else(|| subject_of(&self.call.external_id), |order_id| order_id.0))
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> Result<BatchOutcome<CallAnswer>, StoreError> {
        let callback_ids = new_ids(store, items.len()).await?;
        let mut numbers = store.0.ids.take(store, "transactions", items.len()).await?;
        // The lowest is used first.
        numbers.reverse();
        let mut write = store.begin(items.len()).await?;
        let now_ms = write.now_ms();
        let mut decided = decide(&mut write, items, locked, now_ms).await?;
        let begun = match carry_out(&mut write, &mut decided, &mut numbers, now_ms).await? {
            Ok(begun) => begun,
            Err(failed) if locked == LockedRows::Skip => return Ok(BatchOutcome::FailedMembers(failed)),
            // Its row is there now.
            Err(_) => return Err(StoreError::Conflict(sqlx::Error::RowNotFound)),
        };
        let mut rows: Vec<CallbackRow<'_>> = decided.iter().flatten().zip(callback_ids).map(Decided::keeping).collect();
        rows.sort_unstable_by_key(|keeping| keeping.digest);
        let kept = keep_all(&mut write, &rows, now_ms).await?;
        follow(&mut write, decided.iter().flatten(), &kept, now_ms).await?;
        if begun {
            reach(Point::BeginBeforeCommit);
        }
        for begun in decided.iter().flatten().filter(|decided| decided.is_new) {
            begun.item.caller.begins(store);
        }
        write.commit().await?;
        if begun {
            reach(Point::BeginAfterCommit);
        }
        store.0.ids.give_back("transactions", numbers.into_iter().rev().collect());
        let outcome = |decided: Option<Decided<'_>>| match decided {
            Some(Decided { verdict, transaction, .. }) => MemberOutcome::Done(CallAnswer { verdict, transaction }),
            None => MemberOutcome::Alone,
        };
        Ok(BatchOutcome::Committed(decided.into_iter().map(outcome).collect()))
    }
}

/// A number for an id that is a text: no two members of a batch may bring the same.
pub(super) fn subject_of(external_id: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    external_id.hash(&mut hasher);
    // Below zero, where no order's number is.
    i64::try_from(hasher.finish() >> 1).unwrap_or_default().wrapping_neg()
}

/// A Begin with its decision, and after [`carry_out`] its verdict and row.
struct Decided<'a> {
    item: &'a Beginning,
    decision: BeginDecision,
    order: Option<(OrderId, LockedOrder)>,
    verdict: CallbackVerdict,
    transaction: Option<StoredTransaction>,
    /// Whether the transaction began by this call.
    is_new: bool,
}

impl Decided<'_> {
    fn keeping((decided, id): (&Self, i64)) -> CallbackRow<'_> {
        let order_id = match &decided.transaction {
            Some(transaction) => Some(transaction.order_id),
            None => decided.order.as_ref().map(|(order_id, _)| *order_id),
        };
        CallbackRow {
            id,
            digest: &decided.item.body.digest,
            body: &decided.item.body.text,
            verdict: decided.verdict.as_str(),
            order_id,
            transaction_id: decided.transaction.as_ref().map(|transaction| transaction.transaction_id),
            address: decided.item.body.address.as_deref(),
            gateway: Some(&decided.item.account.gateway.0),
        }
    }
}

/// Locks the orders, reads the transactions, and decides; `None` for a call that must be decided alone.
async fn decide<'a>(
    write: &mut Write,
    items: &'a [Arc<Beginning>],
    locked: LockedRows,
    now_ms: i64,
) -> Result<Vec<Option<Decided<'a>>>, StoreError> {
    let order_ids: Vec<OrderId> = items.iter().filter_map(|item| item.call.order_id).collect();
    let orders = lock_orders(write, &order_ids, locked).await?;
    let called: Vec<CalledBy<'_>> = items
        .iter()
        .map(|item| CalledBy { of_gateway: &item.account.gateway.0, external: &item.call.external_id })
        .collect();
    let called = find_called(write, &called).await?;
    let holders: Vec<Numbered<'_>> = orders
        .values()
        .filter_map(|order| Some(Numbered { of_gateway: &order.gateway.as_ref()?.0, number: order.allowed? }))
        .collect();
    let holders = find_holders(write, &holders).await?;
    let mut met = HashSet::new();
    let mut decided = Vec::with_capacity(items.len());
    for item in items {
        let Beginning { account, call, sender, caller, .. } = item.as_ref();
        let order = call.order_id.and_then(|id| Some((id, orders.get(&id)?)));
        let is_skipped = locked == LockedRows::Skip && call.order_id.is_some() && order.is_none();
        // Of two calls about one order one is decided alone: its answer depends on what the other did. One without a caller
        // is not decided at all.
        if is_skipped || caller.has_left() || call.order_id.is_some_and(|id| !met.insert(id)) {
            decided.push(None);
            continue;
        }
        let row = called.get(&(account.gateway.0.clone(), call.external_id.clone()));
        let holder = order.and_then(|(id, _)| holders.get(&id));
        let decision = match sender {
            Sender::Heard => decide_begin(account, call, order.map(|(_, order)| order), row, holder, now_ms),
            Sender::TurnedAway => BeginDecision::Refused(CallbackVerdict::OtherAddress),
        };
        let is_ours = |(_, order): &(OrderId, &LockedOrder)| order.is_of(&account.gateway);
        decided.push(Some(Decided {
            item,
            decision,
            order: order.filter(is_ours).map(|(id, order)| (id, order.clone())),
            verdict: match decision {
                BeginDecision::Refused(verdict) => verdict,
                BeginDecision::Stands => CallbackVerdict::Allowed,
                BeginDecision::TimedOut => CallbackVerdict::TimedOut,
                // Until the allowing statement says otherwise.
                BeginDecision::Allow { .. } => CallbackVerdict::SecondTransaction,
            },
            transaction: row.cloned(),
            is_new: false,
        }));
    }
    // Rows of transactions that hold an order too long, closed before another begins on it.
    let mut over = Vec::new();
    for decided in decided.iter().flatten() {
        match (decided.decision, decided.item.account.timeout_code) {
            (BeginDecision::TimedOut, Some(code)) => over.extend(decided.transaction.clone().map(|row| (row, code))),
            (BeginDecision::Allow { freed: Some(_) }, Some(code)) => {
                let holder = decided.order.as_ref().and_then(|(id, _)| holders.get(id));
                over.extend(holder.cloned().map(|row| (row, code)));
            }
            _ => (),
        }
    }
    let closed = time_out(write, &over, now_ms).await?;
    for decided in decided.iter_mut().flatten().filter(|decided| decided.decision == BeginDecision::TimedOut) {
        let row = decided.transaction.as_ref().and_then(|row| closed.get(&row.order_id));
        decided.transaction = row.cloned().or(decided.transaction.take());
    }
    Ok(decided)
}

/// Closes transactions that are too old, and frees their orders.
async fn time_out(
    write: &mut Write,
    over: &[(StoredTransaction, i64)],
    now_ms: i64,
) -> Result<HashMap<OrderId, StoredTransaction>, StoreError> {
    let moves: Vec<(&StoredTransaction, RowChange)> =
        over.iter().map(|(row, code)| (row, RowChange::closed(StoredState::Closed, now_ms, *code))).collect();
    let closed = move_all(write, &moves).await?;
    let freed = |(row, _): &(StoredTransaction, i64)| Freed {
        order_id: row.order_id,
        transaction_id: row.transaction_id,
        cause: timed_out(row.transaction_id),
    };
    free_all(write, &over.iter().map(freed).collect::<Vec<_>>()).await?;
    Ok(closed)
}

/// The cause in an order's history.
pub(super) fn timed_out(transaction_id: TransactionId) -> String {
    format!("transaction {transaction_id} brought no debit in the gateway's time and counts as canceled")
}

/// Runs the allowing statement, and makes the rows of the transactions that it allows. Returns whether any began, or the
/// positions of those whose row another call made meanwhile.
async fn carry_out(
    write: &mut Write,
    decided: &mut [Option<Decided<'_>>],
    numbers: &mut Vec<i64>,
    now_ms: i64,
) -> Result<Result<bool, Vec<usize>>, StoreError> {
    let mut asking = Vec::new();
    for decided in decided.iter().flatten() {
        let (BeginDecision::Allow { freed }, Some((order_id, order))) = (decided.decision, &decided.order) else {
            continue;
        };
        let number = match &decided.transaction {
            Some(row) => row.transaction_id,
            None => TransactionId(numbers.pop().ok_or(sqlx::Error::RowNotFound)?),
        };
        asking.push(Allowing {
            order_id: *order_id,
            transaction_id: number,
            was: if freed.is_some() { OrderStatus::Pending } else { order.status },
            until_ms: decided.item.account.allowed_until_ms(decided.item.call.gateway_at_ms, now_ms),
        });
    }
    let allowed = allow(write, &asking, now_ms).await?;
    let mut beginning = Vec::new();
    for decided in decided.iter_mut().flatten() {
        let Some((order_id, order)) = &decided.order else { continue };
        let asked = asking.iter().find(|asked| asked.order_id == *order_id && allowed.contains(order_id));
        let Some(asked) = asked else { continue };
        decided.verdict = CallbackVerdict::Allowed;
        if decided.transaction.is_none() {
            decided.is_new = true;
            beginning.push(BegunRow {
                gateway: &decided.item.account.gateway.0,
                transaction_id: asked.transaction_id,
                order_id: *order_id,
                amount: order.amount,
                external_id: &decided.item.call.external_id,
                account: &decided.item.call.account,
                gateway_at_ms: decided.item.call.gateway_at_ms,
            });
        }
    }
    let begun = begin_all(write, &mut beginning).await?;
    let mut failed = Vec::new();
    for (place, decided) in decided.iter_mut().enumerate() {
        let Some(decided) = decided.as_mut().filter(|decided| decided.is_new) else { continue };
        decided.transaction = decided.order.as_ref().and_then(|(order_id, _)| begun.get(order_id)).cloned();
        if decided.transaction.is_none() {
            failed.push(place);
        }
    }
    Ok(if failed.is_empty() { Ok(!begun.is_empty()) } else { Err(failed) })
}

/// Writes the hints, and stages the inquiries.
async fn follow<'a>(
    write: &mut Write,
    decided: impl Iterator<Item = &'a Decided<'a>>,
    kept: &HashMap<String, KeptCallback>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (mut hints, mut staged) = (Vec::new(), Vec::new());
    for decided in decided {
        let Some(order_id) = decided.transaction.as_ref().map(|row| row.order_id) else { continue };
        let Some(kept) = kept.get(&decided.item.body.digest) else { continue };
        let tells = decided.item.account.tells();
        let due_at_ms = match decided.decision {
            _ if decided.is_new && tells => now_ms + AFTER_TELLING_BEGIN_MS,
            _ if decided.is_new => now_ms,
            BeginDecision::TimedOut => now_ms,
            // A repeat may come because money moved that we do not know of; a telling gateway would tell.
            _ if !tells && kept.hinted_at_ms == now_ms => {
                hints.push(Hint::of(order_id, kept, now_ms));
                now_ms
            }
            _ => continue,
        };
        let job = Job::SettleOrder { order_id };
        let woken_by = decided.item.account.checked_again(kept);
        staged.push(Staged { job, queue: QueueName::Settle, due_at_ms, woken_by });
    }
    hint_all(write, &hints).await?;
    jobs::stage_all(write, &staged).await
}
