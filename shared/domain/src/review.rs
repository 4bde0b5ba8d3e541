//! Findings about an order for a person, each of a kind that suggests an act.

use crate::id::{JobId, RefundId, TransactionId};
use crate::named_values::named_values;
use crate::order::SuggestedAct;

named_values! {
    /// The kinds of findings. Their names are stable, because programs and the database use them.
    FindingKind {
        /// The gateway shows a debit whose amount, account or store is not the order's.
        DebitDiffers = "debit_differs",
        /// A paid order was paid a second time, by another transaction.
        SecondPayment = "second_payment",
        /// The same, and the first payment was reversed.
        SecondPaymentAndReversal = "second_payment_and_reversal",
        /// Money came after the order had expired, was canceled or had failed.
        LatePayment = "late_payment",
        /// The order is refunded, and the gateway still shows its payment as debited.
        RefundedButDebited = "refunded_but_debited",
        /// The gateway's answer about a transaction cannot be understood.
        UnclearAnswer = "unclear_answer",
        /// The gateway has given no answer about the order for three days after its time.
        NoAnswer = "no_answer",
        /// A job of the order is a dead letter.
        JobDied = "job_died",
        /// No process is configured for the gateway account that has the order's money.
        GatewayNotConfigured = "gateway_not_configured",
        /// It is unknown whether a refund was made.
        RefundUnknown = "refund_unknown",
        /// Written by a release that gave no kind, or an unknown one; the text explains it.
        Other = "other",
    }
}

impl FindingKind {
    /// The suggested act for a finding of this kind.
    pub fn act(self) -> SuggestedAct {
        match self {
            FindingKind::DebitDiffers => SuggestedAct::CompareDebit,
            FindingKind::SecondPayment | FindingKind::SecondPaymentAndReversal => SuggestedAct::ReturnSecondPayment,
            FindingKind::LatePayment => SuggestedAct::ReturnLatePayment,
            FindingKind::RefundedButDebited => SuggestedAct::ReturnPayment,
            FindingKind::UnclearAnswer | FindingKind::NoAnswer | FindingKind::Other => SuggestedAct::AskGateway,
            FindingKind::JobDied => SuggestedAct::MendJob,
            FindingKind::GatewayNotConfigured => SuggestedAct::ConfigureGateway,
            FindingKind::RefundUnknown => SuggestedAct::CheckRefund,
        }
    }
}

/// A new finding for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFinding {
    /// Its kind.
    pub kind: FindingKind,
    /// The gateway's transaction, if it is about one.
    pub transaction_id: Option<TransactionId>,
    /// The number of the dead job, or of the refund.
    pub subject_id: Option<i64>,
    /// The finding in words, for people.
    pub text: String,
}

impl NewFinding {
    /// A finding about the order as a whole.
    pub fn new(kind: FindingKind, text: impl Into<String>) -> Self {
        NewFinding { kind, transaction_id: None, subject_id: None, text: text.into() }
    }

    /// A finding about one of the order's transactions.
    pub fn of_transaction(kind: FindingKind, id: TransactionId, text: impl Into<String>) -> Self {
        NewFinding { transaction_id: Some(id), ..NewFinding::new(kind, text) }
    }

    /// A job of the order died.
    pub fn of_job(id: JobId, text: impl Into<String>) -> Self {
        NewFinding { subject_id: Some(id.0), ..NewFinding::new(FindingKind::JobDied, text) }
    }

    /// It is unknown whether a refund of the order was made.
    pub fn of_refund(id: RefundId, text: impl Into<String>) -> Self {
        NewFinding { subject_id: Some(id.0), ..NewFinding::new(FindingKind::RefundUnknown, text) }
    }
}

/// A finding about an order that no person has settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewFinding {
    /// Its number within the order, from 1; 0 while only an older release has written it, which gives no number.
    pub number: i64,
    /// Its kind.
    pub kind: FindingKind,
    /// The gateway's transaction, if it is about one.
    pub transaction_id: Option<TransactionId>,
    /// The number of the dead job, or of the refund.
    pub subject_id: Option<i64>,
    /// The finding in words, for people. No rule reads it.
    pub text: String,
    /// The suggested act.
    pub act: SuggestedAct,
    /// When it was found, epoch milliseconds.
    pub found_at_ms: i64,
}

impl ReviewFinding {
    /// Whether it is about the same as `new`: the same kind, and the same transaction, job or refund.
    pub fn is_same(&self, new: &NewFinding) -> bool {
        (self.kind, self.transaction_id, self.subject_id) == (new.kind, new.transaction_id, new.subject_id)
    }

    /// Sorts findings for reading: oldest first, and one without a number after those of the same time.
    pub fn sort(findings: &mut [ReviewFinding]) {
        findings.sort_by_key(|finding| (finding.found_at_ms, finding.number == 0, finding.number));
    }

    /// Whether a person must tell if a refund was made.
    pub fn is_about_refund(&self) -> bool {
        self.act == SuggestedAct::CheckRefund
    }
}
