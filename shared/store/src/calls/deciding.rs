//! What a call leads to: pure functions of its claims and our rows.

use super::account_text::is_same_account;
use super::{BeginCall, CallClaims, CalledAccount};
use crate::callbacks::LockedOrder;
use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::order::OrderStatus;
use domain::transaction::{StoredState, StoredTransaction};

/// What a Begin leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BeginDecision {
    /// Refused; no transaction and no order changes.
    Refused(CallbackVerdict),
    /// The transaction holds its order already: the same answer again.
    Stands,
    /// The transaction is too old: it is closed, and its order is free.
    TimedOut,
    /// The allowing statement decides. A new transaction gets its row if that allows it.
    Allow {
        /// A transaction that held the order and is too old.
        freed: Option<TransactionId>,
    },
}

/// Decides about a Begin. `row` is the transaction of this external id, `holder` the one that was allowed to debit.
pub(super) fn decide_begin(
    account: &CalledAccount,
    call: &BeginCall,
    order: Option<&LockedOrder>,
    row: Option<&StoredTransaction>,
    holder: Option<&StoredTransaction>,
    now_ms: i64,
) -> BeginDecision {
    use BeginDecision::{Allow, Refused, Stands, TimedOut};
    let Some(row) = row else {
        let refusal = match order {
            Some(order) if order.is_of(&account.gateway) => refusal_of_new(account, call, order, now_ms),
            Some(_) | None => Some(CallbackVerdict::UnknownOrder),
        };
        return match (refusal, order) {
            (Some(refusal), _) => Refused(refusal),
            (None, Some(order)) => {
                may_hold(account, order, None, holder, now_ms).map_or_else(Refused, |freed| Allow { freed })
            }
            (None, None) => Refused(CallbackVerdict::UnknownOrder),
        };
    };
    let is_same = Some(row.order_id) == call.order_id
        && Some(row.amount) == call.amount
        && row.account.as_ref().is_some_and(|kept| is_same_account(kept, &call.account));
    let Some(order) = order.filter(|_| is_same) else { return Refused(CallbackVerdict::Conflicting) };
    match row.state {
        StoredState::Closed | StoredState::Reversed => Refused(CallbackVerdict::TransactionClosed),
        StoredState::Debited => Refused(debit_known(order, row)),
        StoredState::Open if row.debited_at_ms.is_some() => Refused(debit_known(order, row)),
        StoredState::Open if row.closed_at_ms.is_some() => Refused(CallbackVerdict::TransactionClosed),
        // Its customer has chosen another account since.
        StoredState::Open if !order.is_of(&account.gateway) => Refused(CallbackVerdict::UnknownOrder),
        StoredState::Open if account.is_timed_out(row.gateway_at_ms, now_ms) => TimedOut,
        StoredState::Open => {
            let holds = order.status == OrderStatus::Confirming && order.allowed == Some(row.transaction_id);
            if holds && account.tells() {
                // The promise stands until the gateway's own time limit, whatever the order's time to pay.
                return Stands;
            }
            may_hold(account, order, Some(row.transaction_id), holder, now_ms)
                .map_or_else(Refused, |freed| Allow { freed })
        }
    }
}

/// Why no transaction of this amount and age may begin on the order, if so.
fn refusal_of_new(
    account: &CalledAccount,
    call: &BeginCall,
    order: &LockedOrder,
    now_ms: i64,
) -> Option<CallbackVerdict> {
    if call.amount != Some(order.amount) {
        Some(CallbackVerdict::WrongAmount)
    } else if account.is_timed_out(Some(call.gateway_at_ms), now_ms) {
        Some(CallbackVerdict::TimedOut)
    } else {
        None
    }
}

/// Whether this transaction, or a new one, may hold the order. Returns the transaction that must free it before.
pub(super) fn may_hold(
    account: &CalledAccount,
    order: &LockedOrder,
    transaction: Option<TransactionId>,
    holder: Option<&StoredTransaction>,
    now_ms: i64,
) -> Result<Option<TransactionId>, CallbackVerdict> {
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirming if order.is_late(now_ms) => Err(CallbackVerdict::Late),
        OrderStatus::Pending | OrderStatus::Confirming => match order.allowed {
            None => Ok(None),
            Some(allowed) if Some(allowed) == transaction => Ok(None),
            Some(allowed) => {
                let is_over = holder.is_some_and(|holder| {
                    holder.transaction_id == allowed
                        && holder.state == StoredState::Open
                        && account.is_timed_out(holder.gateway_at_ms, now_ms)
                });
                if is_over { Ok(Some(allowed)) } else { Err(CallbackVerdict::SecondTransaction) }
            }
        },
        OrderStatus::Paid if transaction.is_some() && order.payer == transaction => Err(CallbackVerdict::AlreadyPaid),
        OrderStatus::Expired => Err(CallbackVerdict::Late),
        OrderStatus::Paid
        | OrderStatus::Refunded
        | OrderStatus::Canceled
        | OrderStatus::Failed
        | OrderStatus::Review => Err(CallbackVerdict::NotPayable),
    }
}

/// The verdict on a call about a transaction whose debit is told or seen already.
fn debit_known(order: &LockedOrder, row: &StoredTransaction) -> CallbackVerdict {
    match order.status {
        OrderStatus::Paid if order.payer == Some(row.transaction_id) && order.is_of(&row.gateway) => {
            CallbackVerdict::AlreadyPaid
        }
        _ => CallbackVerdict::DebitTold,
    }
}

/// Why a call does not fit the transaction that it names, if it does not.
///
/// A failure needs no number of ours: the answer to the call that began the transaction may have been lost, or that of an
/// earlier copy was taken, which was refused. The gateway then knows none, and the inquiry that follows decides.
pub(super) fn misfit(claims: &CallClaims, news: News, row: &StoredTransaction) -> Option<CallbackVerdict> {
    let needs_number = match news {
        News::Debited | News::Canceled { .. } => true,
        News::Failed { .. } => false,
    };
    let has_our_number = match claims.transaction_id {
        Some(number) => number == row.transaction_id,
        None => !needs_number,
    };
    if row.account.as_ref() != Some(&claims.account) {
        Some(CallbackVerdict::OtherAccount)
    } else if !has_our_number {
        Some(CallbackVerdict::Conflicting)
    } else if claims.amount != Some(row.amount) {
        Some(CallbackVerdict::WrongAmount)
    } else {
        None
    }
}

/// News that a call brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Debited,
    Failed { code: i64 },
    Canceled { code: i64, refunds_are_accepted: bool },
}

/// What news of a transaction leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewsDecision {
    pub(super) verdict: CallbackVerdict,
    pub(super) change: Option<RowChange>,
}

/// A change of a transaction's row. A time or code that the row has already stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowChange {
    pub(super) state: StoredState,
    pub(super) debited_at_ms: Option<i64>,
    pub(super) closed_at_ms: Option<i64>,
    pub(super) close_code: Option<i64>,
}

impl RowChange {
    pub(super) fn closed(state: StoredState, now_ms: i64, code: i64) -> Self {
        RowChange { state, debited_at_ms: None, closed_at_ms: Some(now_ms), close_code: Some(code) }
    }

    fn debited(state: StoredState, now_ms: i64) -> Self {
        RowChange { state, debited_at_ms: Some(now_ms), closed_at_ms: None, close_code: None }
    }
}

/// Decides about news of a transaction.
pub(super) fn decide_news(
    account: &CalledAccount,
    news: News,
    order: &LockedOrder,
    row: &StoredTransaction,
    now_ms: i64,
) -> NewsDecision {
    match account.tells() {
        true => decide_told(account, news, row, now_ms),
        false => decide_hinted(news, order, row, now_ms),
    }
}

/// The gateway's word counts: it moves the row.
fn decide_told(account: &CalledAccount, news: News, row: &StoredTransaction, now_ms: i64) -> NewsDecision {
    let (verdict, change) = match (row.state, news) {
        (StoredState::Open, News::Debited) => match account.timeout_code {
            Some(code) if account.is_timed_out(row.gateway_at_ms, now_ms) => {
                (CallbackVerdict::TimedOut, Some(RowChange::closed(StoredState::Closed, now_ms, code)))
            }
            Some(_) | None => (CallbackVerdict::DebitTold, Some(RowChange::debited(StoredState::Debited, now_ms))),
        },
        (StoredState::Open, News::Failed { code } | News::Canceled { code, .. }) => {
            (CallbackVerdict::FailureTold, Some(RowChange::closed(StoredState::Closed, now_ms, code)))
        }
        (StoredState::Debited, News::Debited | News::Failed { .. }) => (CallbackVerdict::DebitTold, None),
        (StoredState::Debited, News::Canceled { refunds_are_accepted: false, .. }) => {
            (CallbackVerdict::ReversalRefused, None)
        }
        (StoredState::Debited, News::Canceled { code, refunds_are_accepted: true }) => {
            (CallbackVerdict::ReversalTold, Some(RowChange::closed(StoredState::Reversed, now_ms, code)))
        }
        (StoredState::Closed | StoredState::Reversed, News::Debited) => (CallbackVerdict::TransactionClosed, None),
        (StoredState::Closed, News::Failed { .. } | News::Canceled { .. }) => (CallbackVerdict::FailureTold, None),
        (StoredState::Reversed, News::Failed { .. } | News::Canceled { .. }) => (CallbackVerdict::ReversalTold, None),
    };
    NewsDecision { verdict, change }
}

/// The gateway's word is a hint: an inquiry decides, and the row's state stays.
fn decide_hinted(news: News, order: &LockedOrder, row: &StoredTransaction, now_ms: i64) -> NewsDecision {
    let verdict = match (row.state, news) {
        (StoredState::Reversed, _) => CallbackVerdict::TransactionClosed,
        (StoredState::Debited, _) => debit_known(order, row),
        (StoredState::Open | StoredState::Closed, News::Debited) => CallbackVerdict::DebitTold,
        // A debit that was told first stays told: to agree that it failed could lose money that was taken.
        (StoredState::Open | StoredState::Closed, News::Failed { .. } | News::Canceled { .. })
            if row.debited_at_ms.is_some() && row.closed_at_ms.is_none() =>
        {
            debit_known(order, row)
        }
        (StoredState::Open | StoredState::Closed, News::Failed { .. } | News::Canceled { .. }) => {
            CallbackVerdict::FailureTold
        }
    };
    let change = match verdict {
        CallbackVerdict::DebitTold | CallbackVerdict::AlreadyPaid if news == News::Debited => {
            row.debited_at_ms.is_none().then(|| RowChange::debited(row.state, now_ms))
        }
        CallbackVerdict::FailureTold => match news {
            News::Failed { code } | News::Canceled { code, .. } => {
                row.closed_at_ms.is_none().then(|| RowChange::closed(row.state, now_ms, code))
            }
            News::Debited => None,
        },
        _ => None,
    };
    NewsDecision { verdict, change }
}
