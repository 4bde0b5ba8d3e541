//! When to ask the gateway about an order: pure functions of time.

use std::time::Duration;

use domain::job::QueueName;
use domain::order::{Order, OrderStatus};
use domain::terms::{OutcomeSource, Terms};
use domain::time::millis;
use store::settlement::CONFIRMING_GRACE_MS;

/// When inquiries come after the last hint, in milliseconds, ascending. After the last one they repeat at its distance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InquirySchedule(Vec<i64>);

/// When inquiries come after the link was made, while there is no hint of a payment: 1, 3, 10 and 20 minutes.
const UNHINTED_MS: [i64; 4] = [60_000, 180_000, 600_000, 1_200_000];

/// When late inquiries come after the end of an order. They find late debits, and reversals.
const LATE_INQUIRIES_MS: [i64; 3] = [24 * 3_600_000, 48 * 3_600_000, 72 * 3_600_000];

/// The longest wait for the next late inquiry.
pub(crate) const LONGEST_LATE_INQUIRY_WAIT_MS: i64 = LATE_INQUIRIES_MS[0];

/// How long after the last sign of a payment "no money was taken" may be told. A debit mostly shows within four seconds of
/// the allowed callback. The next inquiry of the default schedule is a second later.
pub(crate) const UNPAID_TOLD_MS: i64 = 5_000;

/// The distance of inquiries about an order that is past its deadline and still unclear.
const UNCLEAR_MS: i64 = 600_000;

/// A late inquiry that comes early by this time at most counts as made.
const LATE_INQUIRY_SLACK_MS: i64 = 60_000;

/// An inquiry that is due later than this after the last hint may wait behind all other jobs.
pub(crate) const RECENT_HINT_MS: i64 = 60_000;

impl InquirySchedule {
    /// A schedule with these distances from the last hint.
    pub fn new(after_hint: &[Duration]) -> Self {
        let mut offsets: Vec<i64> = after_hint.iter().map(|offset| millis(*offset).max(1)).collect();
        offsets.sort_unstable();
        offsets.dedup();
        if offsets.is_empty() {
            offsets.push(1_000);
        }
        InquirySchedule(offsets)
    }

    /// When to inquire next about an order that is still open, in epoch milliseconds, and on which queue.
    ///
    /// There is always an inquiry that begins after the order's deadline and decides whether the order expires. Another
    /// one comes as soon as a closed answer about the allowed draft may be believed: the customer waits for another
    /// link. A gateway that only tells is not asked before the deadline, as its word wakes the job; but a customer who came
    /// back without paying is told so, and this order has no other inquiry that could see it. `asked_at_ms` is when the
    /// present inquiry began.
    pub(crate) fn next_inquiry(&self, order: &Order, terms: &Terms, asked_at_ms: i64, now_ms: i64) -> (i64, QueueName) {
        let since = order.link_at_ms.unwrap_or(order.created_at_ms);
        let scheduled = match (terms.outcome, order.last_hint_at_ms) {
            (OutcomeSource::Told, _) => {
                let waits = order.status == OrderStatus::Pending;
                let told_from_ms = order.last_sign_ms().filter(|_| waits).map(|sign_ms| sign_ms + UNPAID_TOLD_MS);
                told_from_ms.filter(|from_ms| *from_ms > asked_at_ms).unwrap_or(i64::MAX)
            }
            (OutcomeSource::Asked, Some(hint)) => hint + self.after(now_ms - hint),
            (OutcomeSource::Asked, None) => {
                UNHINTED_MS.iter().map(|offset| since + offset).find(|at| *at > now_ms).unwrap_or(i64::MAX)
            }
        };
        let awaited = believed_from_ms(order, terms).filter(|believed_ms| *believed_ms > asked_at_ms);
        let scheduled = awaited.map_or(scheduled, |believed_ms| scheduled.min(believed_ms));
        let next = match deadline_ms(order) {
            // The beginning of the inquiry counts, not its end: about a deadline that passed meanwhile it says nothing.
            Some(deadline) if deadline > asked_at_ms => scheduled.min(deadline),
            // Past its deadline and still open: an answer was unclear.
            _ => scheduled.min(now_ms + UNCLEAR_MS),
        };
        let is_recent = order.last_hint_at_ms.is_some_and(|hint| now_ms - hint <= RECENT_HINT_MS);
        let is_awaited = awaited == Some(next) && order.shows_page_closed();
        (next, if is_recent || is_awaited { QueueName::Settle } else { QueueName::Background })
    }

    /// The longest time between two inquiries about an open order that lives for `payment_ttl` from its link on, in
    /// milliseconds.
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

    /// When the first inquiry comes that is later than `elapsed_ms`, in milliseconds after the hint.
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

/// When the first inquiry about a new link is due, in epoch milliseconds.
pub(crate) fn first_inquiry_ms(now_ms: i64) -> i64 {
    now_ms + UNHINTED_MS[0]
}

/// From when on the answer that the allowed draft is closed may be believed.
fn believed_from_ms(order: &Order, terms: &Terms) -> Option<i64> {
    match (order.status, terms.outcome) {
        (OrderStatus::Confirming, OutcomeSource::Asked) => {
            let after_ms = millis(terms.closed_believed_after);
            order.last_allowed_at_ms.map(|allowed_at_ms| allowed_at_ms + after_ms)
        }
        _ => None,
    }
}

/// From when on an open order that shows no money has expired.
pub(crate) fn deadline_ms(order: &Order) -> Option<i64> {
    let expires_at_ms = order.expires_at_ms?;
    Some(match order.status {
        OrderStatus::Confirming => {
            let last_ms = expires_at_ms.max(order.last_allowed_at_ms.unwrap_or(i64::MIN)) + CONFIRMING_GRACE_MS;
            last_ms.max(order.allowed_until_ms.unwrap_or(i64::MIN))
        }
        _ => expires_at_ms,
    })
}

/// When the next late inquiry about an order is due that ended at `final_at_ms`; `None` after the last one.
pub(crate) fn next_late_inquiry_ms(final_at_ms: i64, now_ms: i64) -> Option<i64> {
    LATE_INQUIRIES_MS.iter().map(|offset| final_at_ms + offset).find(|at| *at > now_ms + LATE_INQUIRY_SLACK_MS)
}

#[cfg(test)]
mod tests {
    use config::defaults;
    use proptest::prelude::*;

    use super::*;
    use crate::jobs::settle_order::asked;

    fn schedule() -> InquirySchedule {
        defaults::<crate::WorkerSettings>().unwrap().inquiry_schedule
    }

    #[test]
    fn the_longest_time_between_two_inquiries_is_ten_minutes_unless_a_setting_makes_it_longer() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);

        assert_eq!(schedule().longest_step_ms(minutes(30)), 600_000);
        assert_eq!(schedule().longest_step_ms(minutes(60)), 2_400_000, "from the inquiry after 20 min to the end");
        assert_eq!(InquirySchedule::new(&[minutes(1), minutes(31)]).longest_step_ms(minutes(30)), 1_860_000);
    }

    /// Shows: JOB-5
    #[test]
    fn inquiries_come_quickly_after_a_hint_and_then_every_ten_minutes() {
        let mut elapsed = 0;
        let mut inquiries = Vec::new();
        while inquiries.len() < 21 {
            elapsed = schedule().after(elapsed);
            inquiries.push(elapsed);
        }

        assert_eq!(inquiries[..5], [250, 500, 1_000, 1_500, 2_000]);
        assert_eq!(inquiries[16..], [300_000, 600_000, 1_200_000, 1_800_000, 2_400_000]);
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

    /// Shows: JOB-4
    #[test]
    fn an_ended_order_has_three_late_inquiries() {
        let mut now = 0;
        let mut inquiries = Vec::new();
        while let Some(next) = next_late_inquiry_ms(0, now) {
            inquiries.push(next / 3_600_000);
            now = next;
        }

        assert_eq!(inquiries, [24, 48, 72]);
    }

    /// Shows: JOB-5
    #[test]
    fn without_a_hint_inquiries_come_after_1_3_10_and_20_minutes_and_at_the_end() {
        let (minute, linked_at) = (60_000, 1_000_000);
        let order = crate::jobs::settle_order::an_order(OrderStatus::Pending, linked_at, linked_at + 30 * minute);
        let mut now = linked_at;
        let mut inquiries = Vec::new();
        while inquiries.len() < 6 {
            let (next, queue) = schedule().next_inquiry(&order, &asked(), now, now);
            assert_eq!(queue, QueueName::Background);
            inquiries.push((next - linked_at) / minute);
            now = next;
        }

        assert_eq!(first_inquiry_ms(linked_at), linked_at + minute);
        assert_eq!(inquiries, [1, 3, 10, 20, 30, 40], "past its end an answer was unclear");
    }

    /// Shows: JOB-5
    #[test]
    fn an_inquiry_soon_after_a_hint_goes_before_all_others() {
        let mut order = crate::jobs::settle_order::an_order(OrderStatus::Confirming, 0, 1_800_000);
        order.last_hint_at_ms = Some(100_000);

        assert_eq!(schedule().next_inquiry(&order, &asked(), 100_000, 100_000), (100_250, QueueName::Settle));
        assert_eq!(schedule().next_inquiry(&order, &asked(), 160_000, 160_000), (160_000 + 60_000, QueueName::Settle));
        assert_eq!(schedule().next_inquiry(&order, &asked(), 160_001, 160_001).1, QueueName::Background);
    }

    /// The customer has canceled at the gateway, and waits for another link.
    /// Shows: PERSON-22
    #[test]
    fn a_closed_draft_is_asked_about_as_soon_as_the_answer_may_be_believed() {
        let mut order = crate::jobs::settle_order::an_order(OrderStatus::Confirming, 0, 1_800_000);
        (order.last_hint_at_ms, order.last_allowed_at_ms) = (Some(0), Some(10_000));
        order.seen_closed_at_ms = Some(40_000);

        assert_eq!(schedule().next_inquiry(&order, &asked(), 120_000, 120_000), (190_000, QueueName::Settle));
        assert_eq!(
            schedule().next_inquiry(&order, &asked(), 189_999, 190_001),
            (190_000, QueueName::Settle),
            "it began too early"
        );
        assert_eq!(schedule().next_inquiry(&order, &asked(), 190_000, 190_001), (300_000, QueueName::Background));
    }

    proptest! {
        #[test]
        fn the_next_inquiry_is_always_in_the_future_and_never_far(elapsed in 0i64..100_000_000) {
            let next = schedule().after(elapsed);
            prop_assert!(next > elapsed);
            prop_assert!(next - elapsed <= 600_000);
        }
    }
}
