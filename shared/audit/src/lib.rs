//! Compares the gateway's data with ours: pure functions on plain data. The caller fetches the data.
//!
//! A difference has the severity *difference* if an operator must act, and *information* if the work is not finished
//! yet or a person knows already. An apparent difference may be a change that was read halfway: read the data again
//! before you believe it.

use std::collections::HashMap;

use domain::id::{JobId, OrderId, TransactionId};
use domain::job::JobKind;
use domain::named_values::named_values;
use domain::order::{GatewayIdentity, Order, OrderStatus};
use domain::transaction::{BookLine, TransactionReport, TransactionState};
use serde::Serialize;
use store::auditing::OrderRecord;

mod callbacks;
mod jobs;
mod money;
mod refunds;
mod story;

pub use callbacks::callback_without_order;
pub use jobs::{callback_job, job_without_order, sweep};
pub use money::stranger;

named_values! {
    /// The kinds of differences. Their names are stable, because scripts use them.
    Kind {
        /// Paid, and the gateway shows no debit of its transaction.
        PaidWithoutDebit = "paid-without-debit",
        /// The gateway gave the money back, the order is still paid, and no inquiry will notice.
        ReversedNotRecorded = "reversed-not-recorded",
        /// Refunded, and the gateway still has the money, or never had it.
        RefundedWithoutReversal = "refunded-without-reversal",
        /// The amount that the order says was refunded does not fit its status.
        RefundedAmount = "refunded-amount",
        /// Refunds that were made or may still be made add up to more than the order.
        RefundsExceedOrder = "refunds-exceed-order",
        /// The gateway took another amount than the order's, and gives all of it back; the refund has the order's
        /// amount.
        RefundAmountDiffers = "refund-amount-differs",
        /// The order's reserve for refunds is not the sum of what went back and what may still go back.
        RefundReserve = "refund-reserve",
        /// A refund is open, and there is no job to make it.
        RefundWithoutJob = "refund-without-job",
        /// The outcome of a refund is unknown, and its order is not before a person.
        RefundUnseen = "refund-unseen",
        /// The gateway was asked more than once to give a transaction's money back.
        RefundSentTwice = "refund-sent-twice",
        /// The gateway took money on a transaction that we have no row for.
        DebitUnknownToUs = "debit-unknown-to-us",
        /// The gateway took money, and no inquiry will notice.
        DebitNotSettled = "debit-not-settled",
        /// The gateway took money a second time for a paid order, and no person was told.
        SecondDebit = "second-debit",
        /// The gateway took money twice on one transaction.
        DebitedTwice = "debited-twice",
        /// The gateway, the order and the transaction's row do not have the same amount.
        AmountDiffers = "amount-differs",
        /// The gateway has our transaction under another account or store.
        AccountDiffers = "account-differs",
        /// The transaction's row differs from the gateway, and no inquiry will correct it.
        TransactionState = "transaction-state",
        /// The customer's page leads to a transaction that the gateway does not know.
        LinkUnknown = "link-unknown",
        /// The gateway's answer cannot be read, and no inquiry will ask again.
        GatewayUnclear = "gateway-unclear",
        /// The gateway gave no answer about this transaction, so it was not compared.
        NotAsked = "not-asked",
        /// The gateway has had the money for longer than inquiries take to notice.
        UnderWayTooLong = "under-way-too-long",
        /// This release cannot read the order, or a row that belongs to it.
        Unreadable = "unreadable",
        /// An order lacks the job that it must have.
        OrderWithoutJob = "order-without-job",
        /// An order's row contradicts itself or its transactions.
        OrderInconsistent = "order-inconsistent",
        /// An order's history is not a chain that ends at its status.
        HistoryBroken = "history-broken",
        /// A line of an order's history is there twice.
        HistoryDoubled = "history-doubled",
        /// A job died, and its order is not before a person.
        DeadLetterUnseen = "dead-letter-unseen",
        /// A job is about an order that does not exist.
        JobWithoutOrder = "job-without-order",
        /// A job waits, or its lease has ended, for far longer than it should.
        JobStuck = "job-stuck",
        /// Two open jobs of one kind about one order.
        JobDoubled = "job-doubled",
        /// The job that restores missing jobs is missing itself.
        SweepMissing = "sweep-missing",
        /// We allowed a debit, and the order's history does not have it.
        CallbackWithoutEffect = "callback-without-effect",
        /// We allowed a debit of a transaction that is not one of the order's.
        AllowedDraftUnknown = "allowed-draft-unknown",

        /// The gateway is ahead of us, and an inquiry that is staged will notice.
        UnderWay = "under-way",
        /// An order waits for a person, and its findings say why.
        BeforeAPerson = "before-a-person",
        /// Money moved on an order in review after its transactions were last read.
        DebitUntold = "debit-untold",
        /// A job died, and its order is before a person.
        DeadLetter = "dead-letter",
        /// A draft without money that we do not know: the answer that made it was lost.
        UnpaidDraftUnknown = "unpaid-draft-unknown",
        /// The same, and money came on it and went back.
        ReversedDraftUnknown = "reversed-draft-unknown",
        /// The gateway no longer knows a draft of ours on which no money was ever seen.
        DraftUnknownAtGateway = "draft-unknown-at-gateway",
        /// A person knows what the gateway says, and leaves it as it is.
        LeftByAPerson = "left-by-a-person",
        /// An order of another gateway account, which was not asked.
        OtherGateway = "other-gateway",
    }
}

/// Whether an operator must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// An operator must act: `tasdiq audit` ends with 1.
    Difference,
    /// Worth knowing; no operator must act.
    Information,
}

impl Kind {
    /// Whether an operator must act.
    pub fn severity(self) -> Severity {
        use Kind::*;
        match self {
            PaidWithoutDebit
            | ReversedNotRecorded
            | RefundedWithoutReversal
            | RefundedAmount
            | RefundsExceedOrder
            | RefundAmountDiffers
            | UnderWayTooLong
            | Unreadable
            | RefundReserve
            | RefundWithoutJob
            | RefundUnseen
            | RefundSentTwice
            | DebitUnknownToUs
            | DebitNotSettled
            | SecondDebit
            | DebitedTwice
            | AmountDiffers
            | AccountDiffers
            | TransactionState
            | LinkUnknown
            | GatewayUnclear
            | NotAsked
            | DebitUntold
            | OrderWithoutJob
            | OrderInconsistent
            | HistoryBroken
            | HistoryDoubled
            | DeadLetterUnseen
            | JobWithoutOrder
            | JobStuck
            | JobDoubled
            | SweepMissing
            | CallbackWithoutEffect
            | AllowedDraftUnknown => Severity::Difference,
            UnderWay
            | BeforeAPerson
            | DeadLetter
            | UnpaidDraftUnknown
            | ReversedDraftUnknown
            | DraftUnknownAtGateway
            | LeftByAPerson
            | OtherGateway => Severity::Information,
        }
    }

    /// The next step, in a sentence for an operator.
    pub fn act(self) -> &'static str {
        use Kind::*;
        match self {
            PaidWithoutDebit => "do not ship; look at the transaction in the gateway's cabinet",
            ReversedNotRecorded => "run `tasdiq orders reconcile` for the order, which makes it refunded",
            RefundedWithoutReversal => "look in the gateway's cabinet whether the customer has the money back",
            RefundedAmount => "look at the order's history and at the gateway's cabinet; what went back is not sure",
            RefundsExceedOrder => {
                "refund nothing more of it, and look in the gateway's cabinet how much went back: no release writes this"
            }
            RefundAmountDiffers => {
                "book the difference by hand: the gateway gives back all that it took, and no part of it"
            }
            UnderWayTooLong => "run `tasdiq orders reconcile` for the order; if it stays so, look at `tasdiq doctor`",
            Unreadable => "run the audit of the release that wrote the row, or mend the row in the database",
            RefundReserve => {
                "look at `tasdiq orders show`: no release writes this; refund nothing of it before you know what went back"
            }
            RefundWithoutJob => "see that a worker runs: its sweep restores the job within a minute",
            RefundUnseen => "look in the gateway's cabinet whether the money went back; no person was told to",
            RefundSentTwice => "look in the gateway's cabinet whether money went back twice, and report it to us",
            DebitUnknownToUs => {
                "find the customer by the account in the gateway's cabinet; give the money back there, or deliver by hand"
            }
            DebitNotSettled => "run `tasdiq orders reconcile` for the order, which asks the gateway and settles",
            SecondDebit => "run `tasdiq orders reconcile` for the order, then give the second payment back",
            DebitedTwice => "report it to the gateway, and have one of the two debits given back",
            AmountDiffers | AccountDiffers => "do not ship; look at the transaction in the gateway's cabinet",
            TransactionState => "look at the transaction in the gateway's cabinet; its row here is wrong",
            LinkUnknown => "ask the gateway; its customer cannot pay by that link",
            GatewayUnclear => {
                "look at the transaction in the gateway's cabinet, and ask the gateway what the code means"
            }
            NotAsked => "run the audit again, for this order with `--order`",
            OrderWithoutJob => "see that a worker runs: its sweep restores the job, of an open order within a minute",
            OrderInconsistent | HistoryBroken | HistoryDoubled => {
                "look at `tasdiq orders show`: no release writes this, so a person or a program changed the database"
            }
            DeadLetterUnseen => "look at `tasdiq jobs show`, mend the cause, then run `tasdiq jobs retry`",
            JobWithoutOrder => "look at the database: an order was deleted or its restoration is incomplete",
            JobStuck => "see that workers run and take from all queues: `tasdiq doctor`",
            JobDoubled => "look at the database: its index jobs_open is missing",
            SweepMissing => "start a worker, which stages it",
            CallbackWithoutEffect | AllowedDraftUnknown => {
                "run `tasdiq orders reconcile` for the order, and look at the database: a row was changed or lost"
            }
            UnderWay => "nothing; an inquiry is staged, and `tasdiq orders reconcile` makes it come at once",
            BeforeAPerson => "look at `tasdiq orders review`, which says what was found and what to do about it",
            LeftByAPerson => "nothing; the history in `tasdiq orders show` tells who decided so, and why",
            DebitUntold => "run `tasdiq orders reconcile` for the order, then look at `tasdiq orders review`",
            DeadLetter => "look at `tasdiq jobs show`, mend the cause, then run `tasdiq jobs retry`",
            UnpaidDraftUnknown | ReversedDraftUnknown => "nothing; no customer's money is there",
            DraftUnknownAtGateway => "nothing; no money was ever seen on it",
            OtherGateway => "run the audit with the settings of that account, too",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its kind.
    pub kind: Kind,
    /// The order, if it is about one.
    pub order_id: Option<OrderId>,
    /// The gateway's transaction, if it is about one.
    pub transaction_id: Option<TransactionId>,
    /// The job, if it is about one.
    pub job_id: Option<JobId>,
    /// The difference in words.
    pub says: String,
}

impl Difference {
    /// Whether both are about the same thing, in whatever words.
    pub fn is_same(&self, other: &Difference) -> bool {
        let thing = |difference: &Difference| {
            (difference.kind, difference.order_id, difference.transaction_id, difference.job_id)
        };
        thing(self) == thing(other)
    }
}

/// The gateway's data about one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Its data.
    Said(BookLine),
    /// It knows no such transaction.
    Unknown,
    /// It gave no answer.
    NotAsked {
        /// The reason, in words.
        why: String,
    },
}

impl From<TransactionReport> for Word {
    fn from(report: TransactionReport) -> Self {
        let debits = match report.state {
            TransactionState::Debited { .. } | TransactionState::Reversed { .. } => 1,
            TransactionState::Open | TransactionState::Closed | TransactionState::Unclear { .. } => 0,
        };
        Word::Said(BookLine { report, debits, reversals_asked: 0 })
    }
}

/// The gateway's side of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The gateway account that was asked.
    pub gateway: &'a GatewayIdentity,
    /// The store of that account, as text.
    pub store_id: &'a str,
    /// Its data about the transactions of that account, and about those that orders name without a row.
    pub words: &'a HashMap<TransactionId, Word>,
    /// Now, in epoch milliseconds of the database.
    pub now_ms: i64,
}

/// All differences of one order, information too.
pub fn examine(record: &OrderRecord, against: &Against<'_>) -> Vec<Difference> {
    let mut case = Case::new(record, against);
    money::compare(&mut case);
    refunds::check(&mut case);
    story::check(&mut case);
    jobs::check(&mut case);
    callbacks::check(&mut case);
    if case.is_before_a_person() {
        let status = record.order.status;
        if record.findings.is_empty() {
            case.find(Kind::BeforeAPerson, None, format!("the order is {status}: the reason was not recorded"));
        }
        for finding in &record.findings {
            let says = format!("the order is {status}, {}: {}", finding.act, finding.text);
            case.find(Kind::BeforeAPerson, None, says);
        }
    }
    case.differences
}

/// One order that is being compared.
struct Case<'a> {
    record: &'a OrderRecord,
    against: &'a Against<'a>,
    differences: Vec<Difference>,
}

impl<'a> Case<'a> {
    fn new(record: &'a OrderRecord, against: &'a Against<'a>) -> Self {
        Case { record, against, differences: Vec::new() }
    }

    fn order(&self) -> &'a Order {
        &self.record.order
    }

    fn find(&mut self, kind: Kind, transaction_id: Option<TransactionId>, says: String) {
        let order_id = Some(self.record.order.id);
        self.differences.push(Difference { kind, order_id, transaction_id, job_id: None, says });
    }

    /// Whether the order is in review or marked for a person.
    fn is_before_a_person(&self) -> bool {
        self.order().status == OrderStatus::Review || self.order().needs_review
    }

    /// When the order's open job of this kind is due, if there is one.
    fn open_job_due_ms(&self, kind: JobKind) -> Option<i64> {
        let jobs = self.record.jobs.iter();
        jobs.filter(|job| job.kind == kind.as_str() && job.state.is_open()).map(|job| job.due_at_ms).min()
    }
}

/// An order that could not be read, or not completely, and so was not, or not completely, compared.
pub fn unreadable(order_id: OrderId, what: &str) -> Difference {
    let order_id = Some(order_id);
    Difference { kind: Kind::Unreadable, order_id, transaction_id: None, job_id: None, says: what.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
