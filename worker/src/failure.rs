//! The results of a handler, and the next step of its job.

use std::time::Duration;

use domain::job::{AttemptOutcome, JobKind, QueueName};
use domain::order::GatewayIdentity;
use domain::time::millis;
use gateway::{Gateway, GatewayError};
use store::StoreError;

/// A run that succeeded.
#[derive(Debug)]
pub(crate) enum Done {
    /// The effect is written, and the job's row with it.
    Changed,
    /// There was nothing left to do; the job is complete.
    NothingToDo,
    /// Run again at this time, from this queue.
    Snooze { until_ms: i64, queue: QueueName },
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The gateway brought no usable answer.
    #[error("{error}")]
    Gateway {
        /// The account that was called.
        account: GatewayIdentity,
        /// The reason.
        #[source]
        error: GatewayError,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It ran into its deadline and was aborted: the outcome is unknown.
    #[error("it ran longer than {} s and was aborted", .0.as_secs())]
    Deadline(Duration),
    /// The handler panicked.
    #[error("the handler panicked")]
    Panicked,
    /// It can never succeed.
    #[error("{0}")]
    Hopeless(String),
}

/// The next step of a job after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Run again after this wait; the attempt counts.
    Retry { wait_ms: i64 },
    /// Run again after this wait. The attempt does not count: the job has not failed.
    Release { wait_ms: i64 },
    /// Make it a dead letter; `refused` means a final no of the gateway.
    DeadLetter { refused: bool },
    /// Write nothing: another worker has the job.
    Forget,
}

/// How long a gateway that gives no clear answer is asked again, before a person must look in its cabinet.
pub(crate) const UNANSWERED_MS: i64 = 72 * 3_600_000;

/// The wait after a guard refused: its row is newer than the state that the handler read.
pub(crate) const RUN_AGAIN_MS: i64 = 250;

impl Failure {
    /// The failure of a call to this gateway.
    pub(crate) fn of(gateway: &Gateway, error: GatewayError) -> Self {
        Failure::Gateway { account: gateway.identity().clone(), error }
    }

    /// The account that failed, if it was a gateway and not the job.
    pub(crate) fn failed_account(&self) -> Option<&GatewayIdentity> {
        match self {
            Failure::Gateway { account, error } => match error {
                GatewayError::Unreachable(_)
                | GatewayError::OutcomeUnknown { .. }
                | GatewayError::NotAdmitted { .. } => Some(account),
                GatewayError::Throttled { .. } | GatewayError::HeldBack { .. } | GatewayError::Refused { .. } => None,
            },
            Failure::Store(_) | Failure::Deadline(_) | Failure::Panicked | Failure::Hopeless(_) => None,
        }
    }

    /// The outcome under which the attempt is kept.
    pub(crate) fn outcome(&self) -> AttemptOutcome {
        match self {
            Failure::Deadline(_) => AttemptOutcome::Aborted,
            Failure::Gateway { .. } | Failure::Store(_) | Failure::Panicked | Failure::Hopeless(_) => {
                AttemptOutcome::Failed
            }
        }
    }

    /// The next step after this attempt of this kind. `spread_permille` (0 to 999) keeps jobs apart that failed
    /// together.
    pub(crate) fn next_step(&self, kind: JobKind, attempt: i64, spread_permille: u64) -> NextStep {
        let wait_ms =
            i64::try_from(delay_ms(u32::try_from(attempt).unwrap_or(u32::MAX), spread_permille)).unwrap_or(i64::MAX);
        let wait_ms = wait_ms.min(kind.longest_wait_ms());
        let spread_ms = i64::try_from(spread_permille).unwrap_or(0);
        let give_up = kind.attempts().is_some_and(|attempts| attempt >= attempts);
        match self {
            // The gateway, our rate limit, our breaker or an operator said to wait: nothing failed.
            Failure::Gateway {
                error: GatewayError::Throttled { retry_after } | GatewayError::HeldBack { retry_after, .. },
                ..
            } => NextStep::Release { wait_ms: millis(*retry_after) + spread_ms },
            Failure::Gateway { error: GatewayError::Refused { .. }, .. } => NextStep::DeadLetter { refused: true },
            // Transport failures never kill a job.
            Failure::Gateway {
                error:
                    GatewayError::Unreachable(_) | GatewayError::OutcomeUnknown { .. } | GatewayError::NotAdmitted { .. },
                ..
            } => NextStep::Retry { wait_ms },
            Failure::Store(StoreError::LeaseLost) => NextStep::Forget,
            Failure::Store(trouble) if trouble.is_passing() => NextStep::Release { wait_ms: 1_000 },
            Failure::Store(_) | Failure::Panicked if give_up => NextStep::DeadLetter { refused: false },
            Failure::Store(_) | Failure::Panicked | Failure::Deadline(_) => NextStep::Retry { wait_ms },
            Failure::Hopeless(_) => NextStep::DeadLetter { refused: false },
        }
    }
}

/// The longest wait after a failure.
pub(crate) const LONGEST_BACKOFF_MS: i64 = 900_000;

/// Milliseconds to wait before the next attempt: doubling from 2 s to at most 15 min.
///
/// `spread_permille` (0 to 999) adds up to a fifth, so that jobs which failed together do not come back together.
pub fn delay_ms(attempt: u32, spread_permille: u64) -> u64 {
    const LONGEST_MS: u64 = LONGEST_BACKOFF_MS.unsigned_abs();
    let doubled = 2_000_u64.saturating_mul(1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
    let delay = doubled.min(LONGEST_MS);
    (delay + delay / 5 * spread_permille.min(999) / 1_000).min(LONGEST_MS)
}

/// A fixed wait and up to a fifth more, so that jobs that were put off together do not come back together.
pub(crate) fn apart_ms(wait_ms: i64) -> i64 {
    wait_ms + rand::random_range(0..=wait_ms / 5)
}

#[cfg(test)]
mod tests {
    use gateway::AnswerFault;
    use gateway::coordination::{HeldBack, Obstacle};
    use proptest::prelude::*;

    use super::*;

    fn failed(error: GatewayError) -> Failure {
        Failure::Gateway { account: GatewayIdentity("sandbox:1234".to_owned()), error }
    }

    proptest! {
        /// Shows: JOB-14
        #[test]
        fn the_delay_stays_within_its_bounds(attempt in 0u32..10_000, spread in 0u64..2_000) {
            prop_assert!((2_000..=900_000).contains(&delay_ms(attempt, spread)));
        }

        #[test]
        fn the_delay_never_shrinks(attempt in 0u32..100) {
            prop_assert!(delay_ms(attempt + 1, 0) >= delay_ms(attempt, 0));
        }
    }

    /// Shows: JOB-14
    #[test]
    fn the_delay_doubles_and_then_stays() {
        let delays: Vec<u64> = (1..=11).map(|attempt| delay_ms(attempt, 0)).collect();

        assert_eq!(delays, [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 900_000, 900_000]);
    }

    /// Shows: JOB-17
    #[test]
    fn a_gateway_that_is_away_never_kills_a_job() {
        let away = || GatewayError::from(AnswerFault::HttpStatus(503));
        for attempt in [1, 10, 1_000, i64::MAX] {
            for kind in [JobKind::CreatePaymentLink, JobKind::SettleOrder, JobKind::RefundOrder] {
                let next_step = failed(away()).next_step(kind, attempt, 0);
                assert!(matches!(next_step, NextStep::Retry { .. }), "{kind} {attempt}: {next_step:?}");
            }
        }
    }

    /// Shows: JOB-14
    #[test]
    fn while_a_customer_waits_for_a_link_it_is_tried_again_within_half_a_minute() {
        let away = || failed(AnswerFault::HttpStatus(503).into());
        for attempt in 1..100 {
            let next_step = away().next_step(JobKind::CreatePaymentLink, attempt, 999);
            assert!(matches!(next_step, NextStep::Retry { wait_ms: ..=30_000 }), "{attempt}: {next_step:?}");
        }
        let inquiry = away().next_step(JobKind::SettleOrder, 100, 999);
        assert_eq!(inquiry, NextStep::Retry { wait_ms: 900_000 });
    }

    /// Shows: JOB-11
    #[test]
    fn a_run_that_was_aborted_at_its_deadline_is_repeated_whatever_its_attempt() {
        let aborted = Failure::Deadline(Duration::from_secs(60)).next_step(JobKind::SettleOrder, 1_000, 0);

        assert!(matches!(aborted, NextStep::Retry { .. }), "{aborted:?}");
    }

    /// Shows: JOB-15, ADMISSION-5
    #[test]
    fn being_told_to_wait_burns_no_attempt() {
        let told = failed(GatewayError::Throttled { retry_after: Duration::from_secs(3) });

        assert_eq!(told.next_step(JobKind::SettleOrder, 10, 7), NextStep::Release { wait_ms: 3_007 });

        let held_back = HeldBack { obstacle: Obstacle::RateLimit, retry_after: Duration::from_secs(2) };
        let over_budget = failed(held_back.into());
        assert_eq!(over_budget.next_step(JobKind::SettleOrder, 10, 7), NextStep::Release { wait_ms: 2_007 });
    }

    /// Shows: PROMISE-7
    #[test]
    fn a_defect_becomes_a_dead_letter_in_the_end_but_sweep_never() {
        assert_eq!(Failure::Panicked.next_step(JobKind::SettleOrder, 10, 0), NextStep::DeadLetter { refused: false });
        assert!(matches!(Failure::Panicked.next_step(JobKind::Sweep, 10, 0), NextStep::Retry { .. }));
    }
}
