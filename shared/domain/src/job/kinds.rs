//! The table of job kinds: one line has everything that all jobs of a kind share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::QueueName;
use crate::id::{CallbackId, OrderId, RefundId};
use crate::named_values::named_values;

/// The table itself, passed to the macro of the given name: here to the one that makes the types, in the worker to the
/// one that calls each kind's handler, which is `run` in the module of the kind's name.
///
/// A line has: the name in JSON, SQL, logs and metrics, and the variant; the field with the subject's id; the queue;
/// how long one attempt may run before it is aborted as *outcome unknown*, seconds; after how many attempts a defect is
/// given up; the longest wait between two attempts, seconds; whether it asks the gateway; the meaning of its death.
#[macro_export]
macro_rules! each_kind {
    ($then:ident) => {
        $then! {
            /// Makes a draft at the gateway, stores it and the payment link. A customer waits for it.
            create_payment_link CreatePaymentLink { order_id: OrderId }
                (queue Links, deadline_s 60, attempts Some(10), longest_wait_s 30, asks_gateway true, death FailsOrder)
            /// Checks a stored callback's signature again and wakes its order's `settle_order`. Only older releases
            /// stage it; now the callback wakes `settle_order` itself, which checks the signature first.
            process_callback ProcessCallback { callback_id: CallbackId }
                (queue Settle, deadline_s 10, attempts Some(10), longest_wait_s 900, asks_gateway false, death NeedsPerson)
            /// Asks the gateway about an order and settles it; no other kind writes *paid*.
            settle_order SettleOrder { order_id: OrderId }
                (queue Settle, deadline_s 60, attempts Some(10), longest_wait_s 900, asks_gateway true, death NeedsPerson)
            /// Gives an order's money back at the gateway.
            refund_order RefundOrder { refund_id: RefundId }
                (queue Settle, deadline_s 180, attempts Some(10), longest_wait_s 900, asks_gateway true, death ReviewsRefund)
            /// Restores missing jobs and deletes old rows; there is one such job.
            sweep Sweep
                (queue Background, deadline_s 60, attempts None, longest_wait_s 900, asks_gateway false, death Never)
        }
    };
}

/// The meaning of a job's death, which decides what an operator may do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The gateway's final no makes its pending order `failed`; any other death puts the order before a person. An
    /// operator's retry makes the failed order `pending` again, and a cancel cancels it.
    FailsOrder,
    /// Its order goes before a person. It is never canceled: only this job would notice money that has moved.
    NeedsPerson,
    /// Its refund goes to `review`, and the order before a person. An operator's retry opens the refund again; a cancel
    /// cancels it, unless it may have been sent.
    ReviewsRefund,
    /// It never dies and is never canceled: it waits, and runs again.
    Never,
}

/// The subject of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An order.
    Order,
    /// A stored callback.
    Callback,
    /// A refund.
    Refund,
    /// None: there is one such job.
    Nothing,
}

/// The id of a subject.
trait SubjectId {
    const SUBJECT: Subject;
}

impl SubjectId for OrderId {
    const SUBJECT: Subject = Subject::Order;
}

impl SubjectId for CallbackId {
    const SUBJECT: Subject = Subject::Callback;
}

impl SubjectId for RefundId {
    const SUBJECT: Subject = Subject::Refund;
}

macro_rules! kinds {
    ($(
        $(#[doc = $meaning:literal])+ $name:ident $kind:ident $({ $field:ident: $Id:ident })?
            (queue $queue:ident, deadline_s $deadline_s:literal, attempts $attempts:expr,
            longest_wait_s $longest_wait_s:literal, asks_gateway $asks_gateway:literal, death $death:ident)
    )+) => {
        named_values! {
            /// The kind of a job.
            JobKind { $($(#[doc = $meaning])+ $kind = stringify!($name),)+ }
        }

        impl JobKind {
            /// The queue that a job of this kind is staged on.
            pub fn queue(self) -> QueueName {
                match self { $(JobKind::$kind => QueueName::$queue,)+ }
            }

            /// How long one attempt may run before it is aborted as *outcome unknown*.
            pub fn deadline(self) -> Duration {
                Duration::from_secs(match self { $(JobKind::$kind => $deadline_s,)+ })
            }

            /// After how many attempts a defect is given up; `None` for never.
            pub fn attempts(self) -> Option<i64> {
                match self { $(JobKind::$kind => $attempts,)+ }
            }

            /// The longest wait between two attempts that failed, milliseconds.
            pub fn longest_wait_ms(self) -> i64 {
                1_000 * match self { $(JobKind::$kind => $longest_wait_s,)+ }
            }

            /// Whether it asks the gateway, which may tell it to wait.
            pub fn asks_gateway(self) -> bool {
                match self { $(JobKind::$kind => $asks_gateway,)+ }
            }

            /// The meaning of its death.
            pub fn death(self) -> Death {
                match self { $(JobKind::$kind => Death::$death,)+ }
            }

            /// The kinds of jobs about this subject.
            pub fn about(subject: Subject) -> impl Iterator<Item = JobKind> {
                JobKind::ALL.iter().copied().filter(move |kind| kind.subject() == subject)
            }

            /// The subject of a job of this kind.
            pub fn subject(self) -> Subject {
                match self { $(JobKind::$kind => only([$(<$Id as SubjectId>::SUBJECT)?]).unwrap_or(Subject::Nothing),)+ }
            }
        }

        /// One durable piece of work. Its JSON is stored in the job row, and a test pins it: a running installation has
        /// jobs of the release before.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Job {
            $($(#[doc = $meaning])+ $kind $({
                /// The id of its subject.
                $field: $Id,
            })?,)+
        }

        impl Job {
            /// Its kind.
            pub fn kind(self) -> JobKind {
                match self { $(Job::$kind { .. } => JobKind::$kind,)+ }
            }

            /// The id of its subject, 0 for a job without one. There is one open job per kind and subject.
            pub fn subject_id(self) -> i64 {
                match self { $(Job::$kind $({ $field })? => only([$($field.0)?]).unwrap_or(0),)+ }
            }
        }
    };
}

/// The value of an array with one or no element.
fn only<T, const N: usize>(values: [T; N]) -> Option<T> {
    values.into_iter().next()
}

each_kind!(kinds);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_every_kind_stays_as_older_releases_wrote_it() {
        let pinned = [
            (Job::CreatePaymentLink { order_id: OrderId(7) }, r#"{"kind":"create_payment_link","order_id":7}"#),
            (Job::ProcessCallback { callback_id: CallbackId(8) }, r#"{"kind":"process_callback","callback_id":8}"#),
            (Job::SettleOrder { order_id: OrderId(9) }, r#"{"kind":"settle_order","order_id":9}"#),
            (Job::RefundOrder { refund_id: RefundId(10) }, r#"{"kind":"refund_order","refund_id":10}"#),
            (Job::Sweep, r#"{"kind":"sweep"}"#),
        ];
        for (job, json) in pinned {
            assert_eq!(serde_json::to_string(&job).unwrap(), json);
            assert_eq!(serde_json::from_str::<Job>(json).unwrap(), job);
            assert!(json.contains(job.kind().as_str()), "the JSON and the column `kind` say the same");
            assert_eq!(job.subject_id() == 0, job.kind().subject() == Subject::Nothing);
        }
        assert_eq!(pinned.map(|(job, _)| job.kind()), JobKind::ALL, "every kind is pinned");
    }

    #[test]
    fn a_kind_that_is_never_given_up_never_dies_and_every_other_one_may() {
        for kind in JobKind::ALL {
            assert_eq!(kind.attempts().is_none(), kind.death() == Death::Never, "{kind}");
        }
    }

    #[test]
    fn every_death_can_be_answered_for_by_what_the_job_is_about() {
        for kind in JobKind::ALL {
            let fits = match kind.death() {
                Death::FailsOrder => kind.subject() == Subject::Order,
                Death::NeedsPerson => matches!(kind.subject(), Subject::Order | Subject::Callback),
                Death::ReviewsRefund => kind.subject() == Subject::Refund,
                Death::Never => true,
            };
            assert!(fits, "{kind}");
        }
    }
}
