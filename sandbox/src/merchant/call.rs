//! The calls there are.

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
    /// Every call with its path (Atmos API, payments).
    pub(crate) const PATHS: [(Self, &'static str); 8] = [
        (Self::Create, "/merchant/pay/create"),
        (Self::CreateWithReceipt, "/merchant/pay/create/checkout-ofd"),
        (Self::PreApply, "/merchant/pay/pre-apply"),
        (Self::Apply, "/merchant/pay/apply"),
        (Self::ApplyWithReceipt, "/merchant/pay/apply-ofd"),
        (Self::RetryOtp, "/merchant/pay/retry-otp"),
        (Self::Get, "/merchant/pay/get"),
        (Self::Reverse, "/merchant/pay/reverse"),
    ];
}
