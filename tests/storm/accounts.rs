//! The shop's accounts at the three gateways.

use domain::order::PaymentType;

use crate::story::gateways::ACCOUNTS;

/// The variables of the three accounts, at this sandbox.
pub(crate) fn accounts(sandbox_url: &str) -> Vec<(String, String)> {
    let [payme_url, click_url] = ["payme", "click"].map(|gateway| format!("{sandbox_url}/{gateway}"));
    let addresses = [
        ("ATMOS_BASE_URL", sandbox_url),
        ("PAYME_CHECKOUT_URL", &payme_url),
        ("CLICK_PAY_URL", &click_url),
        ("CLICK_API_URL", &click_url),
    ];
    ACCOUNTS.iter().chain(&addresses).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The variables without those of one account.
pub(crate) fn without_account(environment: &[(String, String)], gateway: PaymentType) -> Vec<(String, String)> {
    let prefix = format!("{}_", gateway.as_str().to_uppercase());
    environment.iter().filter(|(name, _)| !name.starts_with(&prefix)).cloned().collect()
}

/// The account at this gateway.
pub(crate) fn identity(gateway: PaymentType) -> &'static str {
    match gateway {
        PaymentType::Atmos => "sandbox:1234",
        PaymentType::Payme => "sandbox-payme:64a1f0c2b7e8d9034f5a6b7c",
        PaymentType::Click => "sandbox-click:22222",
    }
}
