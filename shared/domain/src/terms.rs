//! The terms of a gateway: which way it works, and how long things take there.

use std::time::Duration;

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
