//! Makes a draft at the gateway, stores it and the payment link.

use domain::id::OrderId;
use domain::job::QueueName;
use domain::order::OrderStatus;
use domain::time::millis;
use domain::transaction::DraftRequest;
use failpoint::{Point, reach};
use gateway::GatewayError;
use store::orders::{self, NewLink, Transition};
use tracing::{info, warn};

use crate::elsewhere::{gateway_of, give_back};
use crate::failure::{Done, Failure};
use crate::handler::Attempt;
use crate::inquiry_schedule::first_inquiry_ms;

/// The wait after a link that could not be stored.
const LINK_AGAIN_MS: i64 = 1_000;

pub(crate) async fn run(attempt: Attempt<'_>, order_id: OrderId) -> Result<Done, Failure> {
    let Attempt { context, places, slot, lease, urgency, .. } = attempt;
    let store = &context.store;
    let Some(order) = orders::find(store, order_id).await? else {
        return Err(Failure::Hopeless(format!("there is no order {order_id}")));
    };
    if order.status != OrderStatus::Pending || order.payment_url.is_some() {
        return Ok(Done::NothingToDo); // an earlier attempt finished after its lease had run out, or the order ended
    }
    if order.account.is_none() {
        return Ok(Done::NothingToDo); // its customer has not chosen an account yet; the choice stages the job anew
    }
    let now_ms = store.now_ms();
    if order.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms) {
        return Ok(Done::NothingToDo); // its time ended between two links; `settle_order` has the last inquiry
    }
    let oldest_ms = now_ms - millis(context.link_ttl);
    if order.expires_at_ms.is_none() && order.pending_since_ms <= oldest_ms {
        return match orders::expire_without_link(store, lease, order_id, oldest_ms).await? {
            Transition::Made => Ok(Done::Changed),
            Transition::Refused => Ok(Done::NothingToDo),
        };
    }
    let Some(gateway) = gateway_of(context, &order) else {
        return Ok(give_back(context, &order, QueueName::Links).await?);
    };
    let _place = match places.take(&order, slot, QueueName::Links, store.now_ms()).await {
        Ok(place) => place,
        Err(done) => return Ok(done),
    };

    let request = DraftRequest { order_id, amount: order.amount, language: order.language };
    reach(Point::LinkBeforeCall);
    let draft = match gateway.create_draft(&request, urgency).await {
        Ok(draft) => draft,
        Err(error @ GatewayError::Refused { .. }) => {
            let reason = error.to_string();
            let choice_ttl_ms = millis(context.link_ttl);
            return match orders::take_choice_back(store, lease, &order, &reason, choice_ttl_ms).await? {
                Transition::Made => {
                    let account = gateway.identity();
                    warn!(order.id = %order_id, gateway = %account, error = reason, "order {order_id} gets no link from {account}, and its customer chooses again: {reason}");
                    Ok(Done::Changed)
                }
                Transition::Refused => Err(Failure::of(gateway, error)),
            };
        }
        Err(error) => return Err(Failure::of(gateway, error)),
    };
    reach(Point::LinkAfterCall);

    let return_url = format!("{}/pay/{}/return", context.public_url, order.token.as_str());
    let Some(payment_url) = gateway.payment_url(draft.transaction_id, &return_url) else {
        return Err(Failure::Hopeless(format!("{} has no page for a draft", gateway.identity())));
    };
    let link = NewLink { transaction_id: draft.transaction_id, payment_url };
    let first_inquiry_ms = first_inquiry_ms(store.now_ms());
    match orders::store_link(store, lease, &order, &link, millis(context.payment_ttl), first_inquiry_ms).await? {
        Transition::Made => {
            info!(order.id = %order_id, transaction.id = %link.transaction_id, "order {order_id} has a payment link");
            Ok(Done::Changed)
        }
        // The order was canceled meanwhile, or a gateway that was reset gave a number twice. The draft is recorded if
        // it is ours, and the next run reads the order again.
        Transition::Refused => {
            warn!(order.id = %order_id, transaction.id = %link.transaction_id, "the link of order {order_id} was not stored");
            Ok(Done::Snooze { until_ms: store.now_ms() + LINK_AGAIN_MS, queue: QueueName::Links })
        }
    }
}
