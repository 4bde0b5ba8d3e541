//! The calls of the Merchant API that the sandbox answers.

/// A call of the Merchant API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiCall {
    /// `payment/status`.
    Status,
    /// `payment/status_by_mti`.
    StatusByMti,
    /// `payment/status_by_mti` without the day, which several clients forget.
    StatusByMtiWithoutDay,
    /// `payment/reversal`.
    Reversal,
    /// `payment/partial_reversal`.
    PartialReversal,
}

impl ApiCall {
    pub(crate) const ALL: [ApiCall; 5] = [
        ApiCall::Status,
        ApiCall::StatusByMti,
        ApiCall::StatusByMtiWithoutDay,
        ApiCall::Reversal,
        ApiCall::PartialReversal,
    ];

    /// Its route below `/click` (Click documents, Merchant API).
    pub(crate) fn route(self) -> &'static str {
        match self {
            ApiCall::Status => "/v2/merchant/payment/status/:service_id/:payment_id",
            ApiCall::StatusByMti => "/v2/merchant/payment/status_by_mti/:service_id/:mti/:date",
            ApiCall::StatusByMtiWithoutDay => "/v2/merchant/payment/status_by_mti/:service_id/:mti",
            ApiCall::Reversal => "/v2/merchant/payment/reversal/:service_id/:payment_id",
            ApiCall::PartialReversal => "/v2/merchant/payment/partial_reversal/:service_id/:payment_id/:amount",
        }
    }

    /// The name by which a fault is limited to it.
    pub(super) fn name(self) -> &'static str {
        match self {
            ApiCall::Status => "payment/status",
            ApiCall::StatusByMti | ApiCall::StatusByMtiWithoutDay => "payment/status_by_mti",
            ApiCall::Reversal => "payment/reversal",
            ApiCall::PartialReversal => "payment/partial_reversal",
        }
    }
}
