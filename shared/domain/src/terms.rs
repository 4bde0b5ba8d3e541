//! The terms of a gateway: which way it works, and how long things take there.

use std::time::Duration;

use crate::time::TashkentTime;

/// How a gateway works, as far as the rest of the program must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How a payment link comes to be.
    pub link: LinkOrigin,
    /// How we learn whether money has moved.
    pub outcome: OutcomeSource,
    /// How long after the last permission a debit may still come.
    pub debit_within: Duration,
    /// How long after the last permission an answer that shows the transaction closed and unpaid is believed.
    pub closed_believed_after: Duration,
    /// Who can give the money of a payment back.
    pub refunds: RefundWay,
}

/// How a payment link comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOrigin {
    /// A draft is made at the gateway first; the link names it (Atmos).
    Draft,
    /// We write the link without any call. The transaction is born when the gateway calls us (Payme, Click).
    Local,
}

/// How we learn whether money has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeSource {
    /// The gateway is asked (Atmos, Click).
    Asked,
    /// The gateway only tells: its authenticated call about a transaction that we allowed and recorded is the word that
    /// counts, and it stands in the transaction's row (Payme).
    Told,
}

/// Who can give the money of a payment back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundWay {
    /// A call of ours reverses the whole debit.
    Call,
    /// A call of ours reverses the whole debit, within the gateway's reporting month and on the first day of the next
    /// one (Click documents, payment/reversal).
    CallWithinMonth,
    /// Only a person in the gateway's cabinet; we learn of it by the gateway's call.
    Cabinet,
}

/// How long the answers of a gateway that is asked need not show a debit that it has told. Its own copies of its rows catch up
/// within seconds; what is not shown after this is a contradiction that no further question resolves soon, and a customer who
/// may have paid waits.
pub const TOLD_DEBIT_SHOWS_WITHIN: Duration = Duration::from_secs(600);

/// Why a payment cannot be given back by a call of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRefundCall {
    /// The gateway takes no such call.
    #[error("this gateway gives money back only in its cabinet")]
    OnlyInCabinet,
    /// The reporting month of the payment is over.
    #[error("the gateway gives back only payments of this month, and on its first day those of the month before")]
    MonthIsOver,
}

impl RefundWay {
    /// Whether a payment of that time can be given back by a call of ours now; both in epoch milliseconds.
    ///
    /// # Errors
    /// [`NoRefundCall`].
    pub fn check(self, paid_at_ms: i64, now_ms: i64) -> Result<(), NoRefundCall> {
        match self {
            RefundWay::Call => Ok(()),
            RefundWay::Cabinet => Err(NoRefundCall::OnlyInCabinet),
            RefundWay::CallWithinMonth => {
                let (Some(paid), Some(today)) = (TashkentTime::of(paid_at_ms), TashkentTime::of(now_ms)) else {
                    return Err(NoRefundCall::MonthIsOver);
                };
                let months = |day: TashkentTime| day.year * 12 + i32::from(day.month);
                match months(today) - months(paid) {
                    0 => Ok(()),
                    1 if today.day == 1 => Ok(()),
                    _ => Err(NoRefundCall::MonthIsOver),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;

    fn at(time: OffsetDateTime) -> i64 {
        time.unix_timestamp() * 1_000
    }

    #[test]
    fn a_gateway_that_gives_back_within_its_month_does_so_until_the_end_of_the_next_ones_first_day() {
        let within = |paid, now| RefundWay::CallWithinMonth.check(at(paid), at(now));
        let over = Err(NoRefundCall::MonthIsOver);

        for (paid, now, expected) in [
            (datetime!(2026-08-01 00:00:00 +5), datetime!(2026-08-31 23:59:59 +5), Ok(())),
            (datetime!(2026-08-01 00:00:00 +5), datetime!(2026-09-01 23:59:59 +5), Ok(())),
            (datetime!(2026-08-31 23:59:59 +5), datetime!(2026-09-02 00:00:00 +5), over),
            (datetime!(2026-08-31 23:59:59 +5), datetime!(2026-10-01 00:00:00 +5), over),
            (datetime!(2025-08-10 12:00:00 +5), datetime!(2026-08-10 12:00:00 +5), over),
            (datetime!(2025-12-31 12:00:00 +5), datetime!(2026-01-01 12:00:00 +5), Ok(())),
            (datetime!(2025-12-31 12:00:00 +5), datetime!(2026-01-02 12:00:00 +5), over),
            // The day begins five hours before that of UTC.
            (datetime!(2026-08-31 18:59:59 UTC), datetime!(2026-09-01 19:00:00 UTC), over),
            (datetime!(2026-08-31 19:00:00 UTC), datetime!(2026-09-30 18:59:59 UTC), Ok(())),
            // A clock that was set back.
            (datetime!(2026-09-10 12:00:00 +5), datetime!(2026-08-10 12:00:00 +5), over),
        ] {
            assert_eq!(within(paid, now), expected, "paid {paid}, now {now}");
        }
        assert_eq!(RefundWay::CallWithinMonth.check(i64::MAX, 0), over);
    }

    #[test]
    fn the_other_ways_know_no_month() {
        assert_eq!(RefundWay::Call.check(0, i64::MAX), Ok(()));
        assert_eq!(RefundWay::Cabinet.check(0, 0), Err(NoRefundCall::OnlyInCabinet));
    }
}
