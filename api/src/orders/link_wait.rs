//! `create` waits a moment for the payment link, so that most customers go straight to the gateway's page.

use std::time::Duration;

use domain::order::{Order, OrderStatus};
use process::notice::Moment;
use store::orders;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::Api;

/// When the row is read again without a notice, because a notice may be lost; it is also read when the wait is over.
const READ_AGAIN: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

/// One request's slot among the waiting ones; dropping it (the caller hung up) frees the slot.
pub(crate) struct LinkWait<'a> {
    api: &'a Api,
    slot: Option<(SemaphorePermit<'a>, Moment)>,
}

impl<'a> LinkWait<'a> {
    /// Takes a slot. Called before the order is made, so that no notice is missed.
    pub(crate) fn begin(api: &'a Api) -> Self {
        let slot = match api.context.settings.link_wait {
            Duration::ZERO => None,
            _ => api.waiting.try_acquire().ok().map(|permit| (permit, api.context.notice.now())),
        };
        LinkWait { api, slot }
    }

    /// The order as soon as it has a link or is no longer pending, or at the end of the wait.
    pub(crate) async fn until_linked(self, order: Order) -> Order {
        let Some((_permit, since)) = self.slot else { return order };
        // The customer chooses first, and needs our own page for it.
        if order.account.is_none() {
            return order;
        }
        let followed = self.api.context.notice.follow(order.id, since);
        let began = Instant::now();
        let end = began + self.api.context.settings.link_wait;
        let mut read_at = READ_AGAIN.iter().map(|after| began + *after).filter(|at| *at < end);
        let mut next_read = read_at.next().unwrap_or(end);
        let mut order = order;
        while order.status == OrderStatus::Pending && order.payment_url.is_none() {
            let is_over = tokio::select! {
                () = followed.changed() => false,
                () = tokio::time::sleep_until(next_read) => {
                    let is_over = next_read == end;
                    next_read = read_at.next().unwrap_or(end);
                    is_over
                }
                () = self.api.stopping.cancelled() => return order,
            };
            // A failed read is no failure of the request: our own page forwards later.
            if let Ok(Some(now)) = orders::find(&self.api.context.store, order.id).await {
                order = now;
            }
            if is_over {
                break;
            }
        }
        order
    }
}
