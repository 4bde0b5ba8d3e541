//! News of a transaction: it debited, it failed, its money goes back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::beginning::{subject_of, timed_out};
use super::deciding::{News, NewsDecision, RowChange, decide_news, misfit};
use super::rows::{CalledBy, Freed, find_called, free_all, is_order_of, move_all};
use super::{CallAnswer, CalledAccount, ToldCall};
use crate::callbacks::{
    CallbackRow, Hint, KeptCallback, LockedOrder, OwnedBody, ReceivedBody, Sender, hint_all, keep_all, lock_orders,
    new_ids,
};
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MAX_ALONE, MemberOutcome, run_in_batch};
use crate::jobs::{self, Staged};
use crate::{Store, StoreError, Write, anew_after_conflict};
use domain::callback_verdict::CallbackVerdict;
use domain::id::OrderId;
use domain::job::{Job, QueueName};
use domain::order::GatewayIdentity;
use domain::transaction::{StoredState, StoredTransaction};
use failpoint::{Point, reach};

/// Whether a refund that a person makes in the gateway's cabinet is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CabinetRefunds {
    /// The money goes back, and the order is refunded.
    Accepted,
    /// Refused; the money stays.
    Refused,
}

/// The gateway says that it has taken the money of a transaction.
///
/// Where the gateway only tells (Payme documents, PerformTransaction), an open row becomes `debited` with
/// `debited_at_ms`, once, and the order's `settle_order`, whose inquiry is that row, writes *paid*. It is never refused
/// for the order's sake: the card is debited.
///
/// Where the gateway can be asked (Click documents, Complete with `error` 0), it is a hint: the row's state stays, the
/// first `debited_at_ms` is kept, and `settle_order` asks at once. So it is also for an order that has ended, which then
/// goes to a person.
///
/// | verdict | meaning | row |
/// |---|---|---|
/// | `DebitTold` | taken note of, now or before | told: debited, `debited_at_ms` as of the first call. Asked: open or closed with `debited_at_ms`, or debited |
/// | `AlreadyPaid` | asked gateways only: an inquiry saw the debit, and the order is paid by it | debited |
/// | `TimedOut` | the row was open and too old: it is closed now, its order free | closed, with the timeout code |
/// | `TransactionClosed` | told: it is closed, or its money went back. Asked: its money went back | as it stands |
/// | `UnknownTransaction` | no transaction of this account has the id | none |
/// | `UnknownOrder` | the claimed account names no order of this gateway account | none; or the one with the id, as it stands |
/// | `OtherAccount`, `Conflicting`, `WrongAmount` | the claimed account, our number or the amount is not the row's | as it stands |
/// | `OtherAddress` | the sender was turned away | as it stands |
///
/// # Errors
/// [`StoreError`] when the database did not do it: nothing is decided, and the gateway must call again.
pub async fn debited(
    store: &Store,
    account: &CalledAccount,
    call: &ToldCall,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<CallAnswer, StoreError> {
    tell(store, account, call, News::Debited, body, sender).await
}

/// The gateway says that a transaction failed or was canceled before a debit.
///
/// Where the gateway only tells, an open row becomes `closed` with the code, and the order is free in the same
/// transaction: the payer's next try comes at once. Where the gateway can be asked (Click documents, Complete with
/// `error` below 0, which is not signed), it is a hint: the first `closed_at_ms` and `close_code` are kept, the order
/// stays, and the inquiry that follows at once decides.
///
/// `FailureTold` with the row, now and for each repeat; told and debited: `DebitTold`; asked, and debited or with a debit
/// that was told before: `AlreadyPaid` or `DebitTold`, for the gateway contradicts itself; asked, and neither we know the
/// id nor the call a number of ours: `TransactionClosed`, for we refused to begin it; the other verdicts as for
/// [`debited`]. A call about a transaction that we know needs no number of ours: the gateway may not have heard it.
///
/// # Errors
/// As [`debited`].
pub async fn failed(
    store: &Store,
    account: &CalledAccount,
    call: &ToldCall,
    code: i64,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<CallAnswer, StoreError> {
    tell(store, account, call, News::Failed { code }, body, sender).await
}

/// The gateway cancels a transaction, whatever its state (Payme documents, CancelTransaction). Only for a gateway that
/// tells.
///
/// | row before | verdict | row after |
/// |---|---|---|
/// | open, of any age | `FailureTold` | closed, with the code; its order is free |
/// | closed | `FailureTold` | as it stands |
/// | debited | `ReversalTold`; `settle_order` writes *refunded* | reversed, with the code |
/// | debited, and refunds are refused | `ReversalRefused` | as it stands |
/// | reversed | `ReversalTold` | as it stands |
///
/// `UnknownTransaction` and `OtherAddress` as for [`debited`].
///
/// # Errors
/// As [`debited`].
pub async fn canceled(
    store: &Store,
    account: &CalledAccount,
    call: &ToldCall,
    code: i64,
    refunds: CabinetRefunds,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<CallAnswer, StoreError> {
    let refunds_are_accepted = match refunds {
        CabinetRefunds::Accepted => true,
        CabinetRefunds::Refused => false,
    };
    tell(store, account, call, News::Canceled { code, refunds_are_accepted }, body, sender).await
}

async fn tell(
    store: &Store,
    account: &CalledAccount,
    call: &ToldCall,
    news: News,
    body: ReceivedBody<'_>,
    sender: Sender,
) -> Result<CallAnswer, StoreError> {
    let telling = || Telling { account: account.clone(), call: call.clone(), news, body: OwnedBody::of(body), sender };
    anew_after_conflict(|| run_in_batch(store, telling())).await
}

/// News that waits for its answer.
#[derive(Debug)]
pub(crate) struct Telling {
    account: CalledAccount,
    call: ToldCall,
    news: News,
    body: OwnedBody,
    sender: Sender,
}

impl Batched for Telling {
    type Answer = CallAnswer;

    /// As for the callbacks that ask about a draft.
    const SECOND_WRITER_FROM: usize = 24;

    const MAX_ALONE: usize = MAX_ALONE;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.tellings
    }

    fn account(&self) -> Option<&GatewayIdentity> {
        Some(&self.account.gateway)
    }

    fn subject(&self) -> Option<i64> {
        Some(subject_of(&self.call.external_id))
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> Result<BatchOutcome<CallAnswer>, StoreError> {
        let callback_ids = new_ids(store, items.len()).await?;
        let mut write = store.begin(items.len()).await?;
        let now_ms = write.now_ms();
        let mut heard = hear(&mut write, items, locked, now_ms).await?;
        change(&mut write, &mut heard).await?;
        let mut rows: Vec<CallbackRow<'_>> = heard.iter().flatten().zip(callback_ids).map(Heard::keeping).collect();
        rows.sort_unstable_by_key(|keeping| keeping.digest);
        let kept = keep_all(&mut write, &rows, now_ms).await?;
        follow(&mut write, heard.iter().flatten(), &kept, now_ms).await?;
        let points = Points::of(&heard);
        points.reach(Point::DebitedBeforeCommit, Point::FailedBeforeCommit, Point::ReversedBeforeCommit);
        write.commit().await?;
        points.reach(Point::DebitedAfterCommit, Point::FailedAfterCommit, Point::ReversedAfterCommit);
        let outcome = |heard: Option<Heard<'_>>| match heard {
            Some(Heard { decision, transaction, .. }) => {
                MemberOutcome::Done(CallAnswer { verdict: decision.verdict, transaction })
            }
            None => MemberOutcome::Alone,
        };
        Ok(BatchOutcome::Committed(heard.into_iter().map(outcome).collect()))
    }
}

/// News with its decision, and after [`change`] the row as it stands.
struct Heard<'a> {
    item: &'a Telling,
    decision: NewsDecision,
    transaction: Option<StoredTransaction>,
}

impl Heard<'_> {
    fn keeping((heard, id): (&Self, i64)) -> CallbackRow<'_> {
        CallbackRow {
            id,
            digest: &heard.item.body.digest,
            body: &heard.item.body.text,
            verdict: heard.decision.verdict.as_str(),
            order_id: heard.transaction.as_ref().map(|row| row.order_id),
            transaction_id: heard.transaction.as_ref().map(|row| row.transaction_id),
            address: heard.item.body.address.as_deref(),
            gateway: Some(&heard.item.account.gateway.0),
        }
    }
}

/// Locks the orders of the transactions, reads these, and decides; `None` for a call that must be decided alone.
async fn hear<'a>(
    write: &mut Write,
    items: &'a [Arc<Telling>],
    locked: LockedRows,
    now_ms: i64,
) -> Result<Vec<Option<Heard<'a>>>, StoreError> {
    let called: Vec<CalledBy<'_>> = items
        .iter()
        .map(|item| CalledBy { of_gateway: &item.account.gateway.0, external: &item.call.external_id })
        .collect();
    // Read again once their orders are locked.
    let mut found = find_called(write, &called).await?;
    let (called, orders) = loop {
        let order_ids: Vec<OrderId> = found.values().map(|row| row.order_id).collect();
        let orders = lock_orders(write, &order_ids, locked).await?;
        let again = find_called(write, &called).await?;
        // A row that was committed between the two reads has an order that is not locked yet. One that is decided alone waits for
        // that lock, and has no other to be decided by; in a batch it is left to be decided alone.
        match locked {
            LockedRows::Wait if again.len() > found.len() => found = again,
            LockedRows::Wait | LockedRows::Skip => break (again, orders),
        }
    };
    let mut met = HashSet::new();
    let mut heard = Vec::with_capacity(items.len());
    for item in items {
        let Some(row) = called.get(&(item.account.gateway.0.clone(), item.call.external_id.clone())) else {
            let verdict = item.verdict_without_row(write).await?;
            heard.push(Some(Heard { item, decision: NewsDecision { verdict, change: None }, transaction: None }));
            continue;
        };
        // Of two calls about one order one is decided alone: its answer depends on what the other did.
        let order = orders.get(&row.order_id).filter(|_| met.insert(row.order_id));
        let mut decision = order.map(|order| item.decide(order, row, now_ms));
        if let Some(decision) = decision.as_mut().filter(|decision| decision.verdict == CallbackVerdict::OtherAccount)
            && !item.names_an_order(write).await?
        {
            decision.verdict = CallbackVerdict::UnknownOrder;
        }
        heard.push(decision.map(|decision| Heard { item, decision, transaction: Some(row.clone()) }));
    }
    Ok(heard)
}

impl Telling {
    fn decide(&self, order: &LockedOrder, row: &StoredTransaction, now_ms: i64) -> NewsDecision {
        let misfit = match self.sender {
            Sender::TurnedAway => Some(CallbackVerdict::OtherAddress),
            Sender::Heard => self.call.claims.as_ref().and_then(|claims| misfit(claims, self.news, row)),
        };
        match misfit {
            Some(verdict) => NewsDecision { verdict, change: None },
            None => decide_news(&self.account, self.news, order, row, now_ms),
        }
    }

    async fn verdict_without_row(&self, write: &mut Write) -> Result<CallbackVerdict, StoreError> {
        let Some(claims) = self.call.claims.as_ref() else { return Ok(CallbackVerdict::UnknownTransaction) };
        Ok(match (self.sender, self.names_an_order(write).await?, self.news) {
            (Sender::TurnedAway, _, _) => CallbackVerdict::OtherAddress,
            (Sender::Heard, false, _) => CallbackVerdict::UnknownOrder,
            // Without a number of ours it is one that we refused to begin, and the gateway tells its end.
            (Sender::Heard, true, News::Failed { .. }) if claims.transaction_id.is_none() => {
                CallbackVerdict::TransactionClosed
            }
            (Sender::Heard, true, _) => CallbackVerdict::UnknownTransaction,
        })
    }

    /// Whether the claimed account names an order of this gateway account.
    async fn names_an_order(&self, write: &mut Write) -> Result<bool, StoreError> {
        match self.call.claims.as_ref().and_then(|claims| claims.order_id) {
            Some(order_id) => is_order_of(write, &self.account.gateway, order_id).await,
            None => Ok(false),
        }
    }
}

/// Changes the rows, and frees the orders of transactions that take no money any more.
async fn change(write: &mut Write, heard: &mut [Option<Heard<'_>>]) -> Result<(), StoreError> {
    let (mut moves, mut freed): (Vec<(&StoredTransaction, RowChange)>, _) = (Vec::new(), Vec::new());
    for Heard { item, decision, transaction } in heard.iter().flatten() {
        let (Some(row), Some(change)) = (transaction, decision.change) else { continue };
        moves.push((row, change));
        if (row.state, change.state) == (StoredState::Open, StoredState::Closed) {
            let id = row.transaction_id;
            let cause = match (item.news, decision.verdict) {
                (_, CallbackVerdict::TimedOut) => timed_out(id),
                (News::Failed { code } | News::Canceled { code, .. }, _) => {
                    format!("the gateway canceled transaction {id} before a debit, code {code}")
                }
                (News::Debited, _) => format!("the gateway canceled transaction {id} before a debit"),
            };
            freed.push(Freed { order_id: row.order_id, transaction_id: id, cause });
        }
    }
    let moved = move_all(write, &moves).await?;
    free_all(write, &freed).await?;
    for Heard { decision, transaction, .. } in heard.iter_mut().flatten() {
        if let (Some(row), Some(_)) = (transaction.as_mut(), decision.change) {
            // Its order is locked, so no other call can have changed it.
            *row = moved.get(&row.order_id).cloned().ok_or(sqlx::Error::RowNotFound)?;
        }
    }
    Ok(())
}

/// Writes the hints, and stages the inquiries.
async fn follow<'a>(
    write: &mut Write,
    heard: impl Iterator<Item = &'a Heard<'a>>,
    kept: &HashMap<String, KeptCallback>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (mut hints, mut staged) = (Vec::new(), Vec::new());
    for Heard { item, decision, transaction } in heard {
        let (Some(row), Some(kept)) = (transaction, kept.get(&item.body.digest)) else { continue };
        let is_news = decision.change.is_some();
        if !is_news && kept.hinted_at_ms != now_ms {
            continue;
        }
        let order_id = row.order_id;
        // A failure that a telling gateway told leaves nothing to ask soon; the job must only plan anew.
        let is_over = item.account.tells() && row.state == StoredState::Closed;
        if !is_over {
            hints.push(if is_news {
                Hint { id: order_id, last_hint_at_ms: now_ms }
            } else {
                Hint::of(order_id, kept, now_ms)
            });
        }
        let job = Job::SettleOrder { order_id };
        let woken_by = item.account.checked_again(kept);
        staged.push(Staged { job, queue: QueueName::Settle, due_at_ms: now_ms, woken_by });
    }
    hint_all(write, &hints).await?;
    jobs::stage_all(write, &staged).await
}

/// Which failpoints a batch comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Points {
    debited: bool,
    failed: bool,
    reversed: bool,
}

impl Points {
    fn of(heard: &[Option<Heard<'_>>]) -> Self {
        let has = |verdict| heard.iter().flatten().any(|heard| heard.decision.verdict == verdict);
        Points {
            debited: has(CallbackVerdict::DebitTold),
            failed: has(CallbackVerdict::FailureTold),
            reversed: has(CallbackVerdict::ReversalTold),
        }
    }

    fn reach(self, debited: Point, failed: Point, reversed: Point) {
        for (comes, point) in [(self.debited, debited), (self.failed, failed), (self.reversed, reversed)] {
            if comes {
                reach(point);
            }
        }
    }
}
