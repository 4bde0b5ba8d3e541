//! Whether a gateway account can take a customer now, as its calls' admission says. No gateway is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::order::GatewayIdentity;
use gateway::Gateway;
use gateway::coordination::{AdmissionView, BreakerState};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// For how long what was read holds.
const HOLDS: Duration = Duration::from_millis(1_000);

/// How long a page waits for the state that processes share.
const READ_WITHIN: Duration = Duration::from_millis(300);

/// What was last read of each account.
#[derive(Debug, Default)]
pub(crate) struct Availability(Mutex<BTreeMap<GatewayIdentity, (Instant, bool)>>);

impl Availability {
    /// Whether customers may be sent to this account.
    pub(super) async fn is_available(&self, gateway: &Gateway) -> bool {
        let read = self.0.lock().get(gateway.identity()).copied();
        if let Some((at, is_available)) = read
            && at.elapsed() < HOLDS
        {
            return is_available;
        }
        let coordination = gateway.coordination();
        let is_read = timeout(READ_WITHIN, coordination.refresh()).await.is_ok();
        let is_available = may_take_customers(&coordination.view(), is_read);
        self.0.lock().insert(gateway.identity().clone(), (Instant::now(), is_available));
        is_available
    }
}

/// An operator's pause counts always. A breaker counts while all processes see it, and until it lets its next call through:
/// without customers no call might ever come to close it.
fn may_take_customers(view: &AdmissionView, is_read: bool) -> bool {
    let breaker_is_known = is_read && view.is_shared;
    let breaker_stops =
        breaker_is_known && view.breaker.state != BreakerState::Closed && !view.breaker.opens_in.is_zero();
    !view.is_paused && !breaker_stops
}

#[cfg(test)]
mod tests {
    use gateway::coordination::BreakerView;

    use super::*;

    fn view(state: BreakerState, opens_in_s: u64) -> AdmissionView {
        let opens_in = Duration::from_secs(opens_in_s);
        let breaker = BreakerView { state, opened_ago: None, opens_in, cause: String::new() };
        AdmissionView { configured: None, rate: None, is_paused: false, is_shared: true, breaker, retry_after: None }
    }

    #[test]
    fn a_pause_or_an_open_breaker_keeps_customers_away() {
        let open = view(BreakerState::Open, 5);

        assert!(may_take_customers(&view(BreakerState::Closed, 0), true));
        assert!(!may_take_customers(&open, true) && !may_take_customers(&view(BreakerState::Probing, 1), true));
        assert!(may_take_customers(&view(BreakerState::Open, 0), true), "the next call tests the gateway");
        let paused = AdmissionView { is_paused: true, ..view(BreakerState::Closed, 0) };
        assert!(!may_take_customers(&paused, true) && !may_take_customers(&paused, false));
    }

    #[test]
    fn a_breaker_that_could_not_be_read_keeps_no_customer_away() {
        let open = view(BreakerState::Open, 5);

        assert!(may_take_customers(&open, false));
        assert!(may_take_customers(&AdmissionView { is_shared: false, ..open }, true));
    }
}
