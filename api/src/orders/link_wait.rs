//! `create` waits a moment for the payment link, so that most customers go straight to the gateway's page.

use std::time::Duration;

use domain::order::{Order, OrderStatus};
use process::notice::Moment;
use store::orders;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::Api;

/// When the row is read again without a notice, for a notice may be lost; and once more when the wait is over.
const READ_AGAIN: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

/// One request's place among those that wait; dropping it (the caller went away) frees the place.
pub(crate) struct LinkWait<'a> {
    api: &'a Api,
    place: Option<(SemaphorePermit<'a>, Moment)>,
}

impl<'a> LinkWait<'a> {
    /// Takes a place; to be called before the order is made, so that no notice is missed.
    pub(crate) fn begin(api: &'a Api) -> Self {
        let place = match api.context.settings.link_wait {
            Duration::ZERO => None,
            _ => api.waiting.try_acquire().ok().map(|permit| (permit, api.context.notice.now())),
        };
        LinkWait { api, place }
    }

    /// The order as it is once it has a link, is no longer pending, or the wait is over.
    pub(crate) async fn until_linked(self, order: Order) -> Order {
        let Some((_permit, since)) = self.place else { return order };
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
            // A failed read changes nothing: our own page forwards later.
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
