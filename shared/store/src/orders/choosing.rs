//! The customer chooses the account through which an order is paid, on our page.

use failpoint::{Point, reach};
use sqlx::Row;

use super::{LocalLink, NOT_CHOSEN, NOT_CHOSEN_TYPE, Transition, find, tell};
use crate::jobs::{self, Finish};
use crate::settlement::MAX_LINKS;
use crate::{Store, StoreError, anew_after_conflict};
use domain::id::OrderId;
use domain::job::{Job, Lease, QueueName};
use domain::order::{MAX_CHOICES, Order, OrderAccount, OrderStatus};

/// How often a choice is tried again that meets another one.
const MEETINGS: usize = 5;

/// How a customer's choice ended.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// The order is paid through this account, now or since before.
    Done(Order),
    /// The order takes no choice, or not this one; it is as it stands.
    Refused(Order),
    /// There is no such order.
    Unknown,
}

/// The customer chooses the account through which the order is paid, for the first time or anew. `link` writes its payment
/// link; without one, a job makes a draft for it. The choice, its history line and the jobs are one transaction.
///
/// It is refused once money may move or has moved: only a pending order takes it, with no transaction that is allowed, that
/// its gateway has begun and not ended, or whose debit is told or seen. A draft on which none of this happened stays as it
/// is: callbacks about it are refused from now on. It is also refused after the order's time, after `MAX_CHOICES` choices,
/// for an account that has finally refused a link of this order, and, for a draft, after `MAX_LINKS` drafts. The account that the order has already is always its choice while it can
/// be paid, and nothing is written.
///
/// The order's time to pay begins with its first link; later choices do not change it.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn choose(
    store: &Store,
    id: OrderId,
    account: &OrderAccount,
    link: Option<&LocalLink>,
) -> Result<Chosen, StoreError> {
    let mut order = match find(store, id).await? {
        Some(order) => order,
        None => return Ok(Chosen::Unknown),
    };
    for _ in 0..MEETINGS {
        let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
        if order.is_of(&account.gateway) {
            return Ok(if is_open { Chosen::Done(order) } else { Chosen::Refused(order) });
        }
        if !order.takes_choice_at(store.now_ms()) || order.is_refused_by(&account.gateway) {
            return Ok(Chosen::Refused(order));
        }
        let is_made = anew_after_conflict(|| choose_once(store, &order, account, link)).await?;
        let Some(now) = find(store, id).await? else { return Ok(Chosen::Unknown) };
        // Another choice may have come first: this one is then made from that account.
        let has_met = now.account != order.account;
        order = now;
        if !is_made && !has_met {
            break;
        }
    }
    Ok(Chosen::Refused(order))
}

const CHOOSE_ACCOUNT: &str = "-- choose_account
    update orders set gateway = $2, payment_type = $3, payment_url = $4, transaction_id = null, choices = choices + 1,
        link_at_ms = $5, expires_at_ms = case when gateway = '' then $6 else coalesce(expires_at_ms, $6) end,
        pending_since_ms = $7, seen_unpaid_at_ms = null, seen_closed_at_ms = null
    where id = $1 and status = 'pending' and gateway = $8 and choices < $9 and allowed_transaction_id is null
        and coalesce(refused_gateway, '') <> $2
        and (expires_at_ms is null or expires_at_ms > $7) and (coalesce($4, '') <> '' or links_made < $10)
        and not exists (select 1 from transactions paying
            where paying.order_id = orders.id and (paying.state = 'debited'
                or (paying.state = 'open' and paying.external_id is not null)
                or (paying.state <> 'reversed' and paying.debited_at_ms is not null)))
    returning choices";

/// Returns whether the order's row took the choice.
async fn choose_once(
    store: &Store,
    order: &Order,
    account: &OrderAccount,
    link: Option<&LocalLink>,
) -> Result<bool, StoreError> {
    let id = order.id;
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    let expires_at_ms = link.map(|link| now_ms + link.payment_ttl_ms);
    // Before the order's row, as in every settlement: all transactions take locks in the same order.
    let (job, queue, due_at_ms) = match expires_at_ms {
        Some(expires_at_ms) => (Job::SettleOrder { order_id: id }, QueueName::Background, expires_at_ms),
        None => (Job::CreatePaymentLink { order_id: id }, QueueName::Links, now_ms),
    };
    jobs::stage(&mut write, job, queue, due_at_ms).await?;
    let row = sqlx::query(CHOOSE_ACCOUNT)
        .bind(id.0)
        .bind(account.gateway.0.clone())
        .bind(account.payment_type.as_str())
        .bind(link.map(|link| (link.write)(id, &order.token)))
        .bind(link.map(|_| now_ms))
        .bind(expires_at_ms)
        .bind(now_ms)
        .bind(order.gateway().map_or(NOT_CHOSEN, |gateway| &gateway.0).to_owned())
        .bind(MAX_CHOICES)
        .bind(MAX_LINKS)
        .fetch_optional(write.transaction())
        .await?;
    let Some(row) = row else { return Ok(false) };
    let choice: i64 = row.try_get("choices")?;
    let cause = format!("the customer chose to pay with {}, choice {choice}", account.payment_type);
    tell(&mut write, id, Some(OrderStatus::Pending), OrderStatus::Pending, &cause).await?;
    reach(Point::ChoiceBeforeCommit);
    write.commit().await?;
    reach(Point::ChoiceAfterCommit);
    Ok(true)
}

const TAKE_CHOICE_BACK: &str = "-- take_choice_back
    update orders set gateway = $3, payment_type = $4, refused_gateway = $2, transaction_id = null,
        expires_at_ms = coalesce(expires_at_ms, $5), pending_since_ms = $6, seen_unpaid_at_ms = null, seen_closed_at_ms = null
    where id = $1 and status = 'pending' and gateway = $2 and choices < $7 and payment_url is null
        and allowed_transaction_id is null and (expires_at_ms is null or expires_at_ms > $6)
        and not exists (select 1 from transactions paying
            where paying.order_id = orders.id and (paying.state in ('open', 'debited')
                or (paying.state <> 'reversed' and paying.debited_at_ms is not null)))";

/// The gateway of the account that the customer chose has finally refused to make a payment link: the order has no account
/// again, and the customer chooses another one. The job is complete, and `settle_order` expires the order at the end of its time,
/// which is `choice_ttl_ms` from now where it has none yet.
///
/// It is refused, and nothing is written, where the shop named the account, where the order has changed since it was read,
/// or where one of its transactions may still take money: no inquiry asks about a transaction of an order without an account.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease; otherwise the database did not do it.
pub async fn take_choice_back(
    store: &Store,
    lease: &Lease,
    order: &Order,
    reason: &str,
    choice_ttl_ms: i64,
) -> Result<Transition, StoreError> {
    let Some(account) = order.account.as_ref().filter(|_| order.choices.is_some()) else {
        return Ok(Transition::Refused);
    };
    let id = order.id;
    let mut write = store.begin(1).await?;
    jobs::finish(&mut write, lease, &Finish::Complete).await?;
    let now_ms = write.now_ms();
    let expires_at_ms = order.expires_at_ms.unwrap_or(now_ms + choice_ttl_ms);
    // Before the order's row, as in every settlement: all transactions take locks in the same order.
    jobs::stage(&mut write, Job::SettleOrder { order_id: id }, QueueName::Background, expires_at_ms).await?;
    let done = sqlx::query(TAKE_CHOICE_BACK)
        .bind(id.0)
        .bind(account.gateway.0.clone())
        .bind(NOT_CHOSEN)
        .bind(NOT_CHOSEN_TYPE.as_str())
        .bind(expires_at_ms)
        .bind(now_ms)
        .bind(MAX_CHOICES)
        .execute(write.transaction())
        .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    let cause =
        format!("{} made no payment link ({reason}), the customer may choose another way", account.payment_type);
    tell(&mut write, id, Some(OrderStatus::Pending), OrderStatus::Pending, &cause).await?;
    write.commit().await?;
    Ok(Transition::Made)
}
