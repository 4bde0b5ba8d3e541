//! What is checked, and with which values.

use std::time::Duration;

use url::Url;

use crate::payme::busy::BusyCode;
use crate::payme::link::CheckoutOrder;
use crate::payme::words::PayerLanguage;

/// What the merchant does with a refund that comes from the gateway's cabinet, as Cancel of a performed transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefundPolicy {
    /// It is cancelled: state -2.
    #[default]
    Accept,
    /// It is refused with -31007.
    Refuse,
}

/// Payme's test course against any endpoint of the Merchant API (Payme documents, sandbox).
///
/// Scenario 1 creates a transaction and cancels it; scenario 2 performs one and refunds it. So the endpoint must not
/// have real orders.
#[derive(Clone)]
pub struct PaymeScenarios {
    /// The endpoint.
    pub url: Url,
    /// The cashbox's test key. It stands in no report.
    pub key: String,
    /// The name of the account field.
    pub account_field: String,
    /// Orders that can be paid, one for each scenario; the last one serves further scenarios too.
    pub accounts: Vec<String>,
    /// What each order costs, in tiyin.
    pub amount_tiyin: i64,
    /// The right code for an order that another transaction holds.
    pub busy_code: BusyCode,
    /// What becomes of a refund.
    pub refund: RefundPolicy,
    /// The numbers of the scenarios to run: 1, 2.
    pub scenarios: Vec<u8>,
    /// The wait before each repeat, so that an answer with the present time differs from the first one.
    pub pause: Duration,
    /// How long the endpoint may take to answer.
    pub timeout: Duration,
}

impl PaymeScenarios {
    /// Both scenarios with the values of the sandbox's cashbox.
    pub fn new(url: Url, accounts: Vec<String>, amount_tiyin: i64) -> Self {
        PaymeScenarios {
            url,
            key: "sandbox-payme-key".to_owned(),
            account_field: "order_id".to_owned(),
            accounts,
            amount_tiyin,
            busy_code: BusyCode::default(),
            refund: RefundPolicy::default(),
            scenarios: vec![1, 2],
            // Longer than a second, for some clocks count seconds.
            pause: Duration::from_millis(1_100),
            timeout: Duration::from_secs(10),
        }
    }

    /// The link that leads a payer of the first order to Payme's own test page (Payme documents, checkout by GET).
    pub fn checkout_link(&self, cashbox: &str) -> String {
        let order = CheckoutOrder {
            cashbox: cashbox.to_owned(),
            account: self.accounts.iter().take(1).map(|value| (self.account_field.clone(), value.clone())).collect(),
            amount_tiyin: self.amount_tiyin,
            language: PayerLanguage::Russian,
            return_url: None,
            return_after_ms: 0,
        };
        format!("https://test.paycom.uz/{}", order.write())
    }
}
