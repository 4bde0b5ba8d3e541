//! When to look at the gateway: pure functions of time.

use std::time::Duration;

use domain::job::QueueName;
use domain::order::{Order, OrderStatus};
use domain::time::millis;
use store::settlement::{CLOSED_BELIEVED_MS, CONFIRMING_GRACE_MS};

/// How long after the last hint looks come, in milliseconds, ascending; beyond the last they repeat at its distance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookSchedule(Vec<i64>);

/// Looks after the link was made while nothing hints at a payment: 1, 3, 10 and 20 minutes.
const UNHINTED_MS: [i64; 4] = [60_000, 180_000, 600_000, 1_200_000];

/// Looks back at an order that has ended: for late debits, and for reversals.
const LOOK_BACK_MS: [i64; 3] = [24 * 3_600_000, 48 * 3_600_000, 72 * 3_600_000];

/// A look back is no further ahead.
pub(crate) const LONGEST_LOOK_BACK_MS: i64 = LOOK_BACK_MS[0];

/// Looks at an order past its deadline that is still unclear.
const UNCLEAR_MS: i64 = 600_000;

/// A look back that comes this much early counts as made.
const LOOK_BACK_SLACK_MS: i64 = 60_000;

/// Looks that are due later than this after the last hint may wait behind everything else.
const FRESH_MS: i64 = 60_000;

impl LookSchedule {
    /// A schedule with these distances from the last hint.
    pub fn new(after_hint: &[Duration]) -> Self {
        let mut offsets: Vec<i64> = after_hint.iter().map(|offset| millis(*offset).max(1)).collect();
        offsets.sort_unstable();
        offsets.dedup();
        if offsets.is_empty() {
            offsets.push(1_000);
        }
        LookSchedule(offsets)
    }

    /// When to look next at an order that is still open, in epoch milliseconds, and on which queue.
    ///
    /// There is always a look that begins after the order's deadline and decides whether it expires, and one as soon as it
    /// may be believed that the allowed draft is closed: the customer waits for another link. `asked_at_ms` is when the
    /// present one began.
    pub(crate) fn next_look(&self, order: &Order, asked_at_ms: i64, now_ms: i64) -> (i64, QueueName) {
        let since = order.link_at_ms.unwrap_or(order.created_at_ms);
        let scheduled = match order.last_hint_at_ms {
            Some(hint) => hint + self.after(now_ms - hint),
            None => UNHINTED_MS.iter().map(|offset| since + offset).find(|at| *at > now_ms).unwrap_or(i64::MAX),
        };
        let awaited = believed_from_ms(order).filter(|believed_ms| *believed_ms > asked_at_ms);
        let scheduled = awaited.map_or(scheduled, |believed_ms| scheduled.min(believed_ms));
        let next = match deadline_ms(order) {
            // Of the look itself, not of its end: a deadline that passed meanwhile has not been looked at yet.
            Some(deadline) if deadline > asked_at_ms => scheduled.min(deadline),
            // Past its deadline and still open: something was unclear.
            _ => scheduled.min(now_ms + UNCLEAR_MS),
        };
        let is_fresh = order.last_hint_at_ms.is_some_and(|hint| now_ms - hint <= FRESH_MS);
        let is_awaited = awaited == Some(next) && order.shows_page_closed();
        (next, if is_fresh || is_awaited { QueueName::Settle } else { QueueName::Background })
    }

    /// The longest time between two looks at an open order that lives for `payment_ttl` from its link on, in milliseconds.
    pub(crate) fn longest_step_ms(&self, payment_ttl: Duration) -> i64 {
        let longest = |offsets: &[i64]| {
            let first = offsets.first().copied().unwrap_or_default();
            offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default().max(first)
        };
        let repeated = self.0.last().copied().unwrap_or_default();
        let to_deadline = millis(payment_ttl) - UNHINTED_MS[UNHINTED_MS.len() - 1];
        [longest(&self.0), repeated, longest(&UNHINTED_MS), to_deadline, UNCLEAR_MS]
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// The distance from the hint of the first look after `elapsed_ms`.
    fn after(&self, elapsed_ms: i64) -> i64 {
        let elapsed_ms = elapsed_ms.max(0);
        let last = self.0.last().copied().unwrap_or(1_000);
        self.0
            .iter()
            .copied()
            .find(|offset| *offset > elapsed_ms)
            .unwrap_or_else(|| (elapsed_ms / last + 1).saturating_mul(last))
    }
}

/// The first look at a fresh link.
pub(crate) fn first_look_ms(now_ms: i64) -> i64 {
    now_ms + UNHINTED_MS[0]
}

/// From when on a look believes that the allowed draft is closed.
fn believed_from_ms(order: &Order) -> Option<i64> {
    match order.status {
        OrderStatus::Confirming => order.last_allowed_at_ms.map(|allowed_at_ms| allowed_at_ms + CLOSED_BELIEVED_MS),
        _ => None,
    }
}

/// From when on an open order that shows no money has expired.
pub(crate) fn deadline_ms(order: &Order) -> Option<i64> {
    let expires_at_ms = order.expires_at_ms?;
    Some(match order.status {
        OrderStatus::Confirming => {
            expires_at_ms.max(order.last_allowed_at_ms.unwrap_or(i64::MIN)) + CONFIRMING_GRACE_MS
        }
        _ => expires_at_ms,
    })
}

/// When to look back next at an order that ended at `final_at_ms`, or `None` when that is over.
pub(crate) fn next_look_back_ms(final_at_ms: i64, now_ms: i64) -> Option<i64> {
    LOOK_BACK_MS.iter().map(|offset| final_at_ms + offset).find(|at| *at > now_ms + LOOK_BACK_SLACK_MS)
}

#[cfg(test)]
mod tests {
    use config::defaults;
    use proptest::prelude::*;

    use super::*;

    fn schedule() -> LookSchedule {
        defaults::<crate::WorkerSettings>().unwrap().look_schedule
    }

    #[test]
    fn the_longest_time_between_two_looks_is_ten_minutes_unless_a_setting_makes_it_longer() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);

        assert_eq!(schedule().longest_step_ms(minutes(30)), 600_000);
        assert_eq!(schedule().longest_step_ms(minutes(60)), 2_400_000, "from the look after 20 min to the end");
        assert_eq!(LookSchedule::new(&[minutes(1), minutes(31)]).longest_step_ms(minutes(30)), 1_860_000);
    }

    #[test]
    fn looks_come_quickly_after_a_hint_and_then_every_ten_minutes() {
        let mut elapsed = 0;
        let mut looks = Vec::new();
        while looks.len() < 21 {
            elapsed = schedule().after(elapsed);
            looks.push(elapsed);
        }

        assert_eq!(looks[..5], [250, 500, 1_000, 1_500, 2_000]);
        assert_eq!(looks[16..], [300_000, 600_000, 1_200_000, 1_800_000, 2_400_000]);
    }

    #[test]
    fn a_debit_that_shows_some_seconds_after_the_answer_is_seen_soon() {
        let waits = |within_ms: i64| {
            let mut waits: Vec<i64> = (1..within_ms).map(|shown| schedule().after(shown) - shown).collect();
            waits.sort_unstable();
            waits
        };
        let (usual, slow) = (waits(4_000), waits(12_000));

        let median = usual[usual.len() / 2];
        assert!(median <= 350, "half of the debits within 4 s wait {median} ms or less");
        assert_eq!(slow.last(), Some(&2_000));
    }

    #[test]
    fn an_ended_order_is_looked_back_at_three_times() {
        let mut now = 0;
        let mut looks = Vec::new();
        while let Some(next) = next_look_back_ms(0, now) {
            looks.push(next / 3_600_000);
            now = next;
        }

        assert_eq!(looks, [24, 48, 72]);
    }

    #[test]
    fn without_a_hint_looks_come_after_1_3_10_and_20_minutes_and_at_the_end() {
        let (minute, linked_at) = (60_000, 1_000_000);
        let order = crate::jobs::settle_order::an_order(OrderStatus::Pending, linked_at, linked_at + 30 * minute);
        let mut now = linked_at;
        let mut looks = Vec::new();
        while looks.len() < 6 {
            let (next, queue) = schedule().next_look(&order, now, now);
            assert_eq!(queue, QueueName::Background);
            looks.push((next - linked_at) / minute);
            now = next;
        }

        assert_eq!(first_look_ms(linked_at), linked_at + minute);
        assert_eq!(looks, [1, 3, 10, 20, 30, 40], "past its end something was unclear");
    }

    #[test]
    fn a_look_soon_after_a_hint_goes_before_all_others() {
        let mut order = crate::jobs::settle_order::an_order(OrderStatus::Confirming, 0, 1_800_000);
        order.last_hint_at_ms = Some(100_000);

        assert_eq!(schedule().next_look(&order, 100_000, 100_000), (100_250, QueueName::Settle));
        assert_eq!(schedule().next_look(&order, 160_000, 160_000), (160_000 + 60_000, QueueName::Settle));
        assert_eq!(schedule().next_look(&order, 160_001, 160_001).1, QueueName::Background);
    }

    /// Its customer has canceled at the gateway, and waits for another link.
    #[test]
    fn a_closed_draft_is_looked_at_the_moment_that_may_be_believed() {
        let mut order = crate::jobs::settle_order::an_order(OrderStatus::Confirming, 0, 1_800_000);
        (order.last_hint_at_ms, order.last_allowed_at_ms) = (Some(0), Some(10_000));
        order.seen_closed_at_ms = Some(40_000);

        assert_eq!(schedule().next_look(&order, 120_000, 120_000), (190_000, QueueName::Settle));
        assert_eq!(schedule().next_look(&order, 189_999, 190_001), (190_000, QueueName::Settle), "it began too early");
        assert_eq!(schedule().next_look(&order, 190_000, 190_001), (300_000, QueueName::Background));
    }

    proptest! {
        #[test]
        fn the_next_look_is_always_in_the_future_and_never_far(elapsed in 0i64..100_000_000) {
            let next = schedule().after(elapsed);
            prop_assert!(next > elapsed);
            prop_assert!(next - elapsed <= 600_000);
        }
    }
}
