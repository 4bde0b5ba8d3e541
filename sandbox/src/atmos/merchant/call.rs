//! The calls of the merchant API.

/// A call of the merchant API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    CreateWithReceipt,
    PreApply,
    Apply,
    ApplyWithReceipt,
    RetryOtp,
    Get,
    Reverse,
}

impl Call {
    /// All calls with their paths (Atmos API, payments).
    pub(crate) const PATHS: [(Call, &'static str); 8] = [
        (Call::Create, "/merchant/pay/create"),
        (Call::CreateWithReceipt, "/merchant/pay/create/checkout-ofd"),
        (Call::PreApply, "/merchant/pay/pre-apply"),
        (Call::Apply, "/merchant/pay/apply"),
        (Call::ApplyWithReceipt, "/merchant/pay/apply-ofd"),
        (Call::RetryOtp, "/merchant/pay/retry-otp"),
        (Call::Get, "/merchant/pay/get"),
        (Call::Reverse, "/merchant/pay/reverse"),
    ];
}
