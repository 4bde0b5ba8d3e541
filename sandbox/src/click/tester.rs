//! The scenarios with which Click tests a new shop, and those in which shops are known to fail.
//!
//! Click's own tester is a program for Windows ("NEW-CLICK_API") that plays Click against a shop's two addresses (Click
//! documents, Testing). This one does the same against any endpoint, and needs nothing of the sandbox.

mod expectation;
mod scenarios;

use std::time::Duration;

use url::Url;

use self::expectation::Expectation;
use super::answer::ShopApiReply;
use super::sender::{Sending, ShopApiSender};
use super::shop_api::ShopApiCall;
use super::{soum, tashkent};
use crate::check::{CheckLine, CheckReport};
use crate::clock::now_ms;

/// The most time that a merchant may take; Click's own is not published.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A merchant's endpoint, and an order there that can be paid.
#[derive(Clone)]
pub struct ClickTester {
    /// The address for Prepare.
    pub prepare_url: Url,
    /// The address for Complete; often the same.
    pub complete_url: Url,
    /// The service's number.
    pub service_id: String,
    /// The key that signs the calls.
    pub secret_key: String,
    /// `merchant_trans_id` of an order that is not paid yet: the scenarios pay it. A second order is for the payment
    /// that fails; without it, the payer of the only order fails first and then pays.
    pub accounts: Vec<String>,
    /// The amount of each order, in tiyin.
    pub amount_tiyin: i64,
}

impl ClickTester {
    /// Plays all scenarios, one after another.
    ///
    /// # Errors
    /// The HTTP client cannot be made. What the merchant does wrong is a red line of the report.
    pub async fn run(&self) -> Result<CheckReport, reqwest::Error> {
        let sender = ShopApiSender::new(TIMEOUT)?;
        let mut run = TesterRun { tester: self, sender, next_id: now_ms(), lines: Vec::new() };
        run.play().await;
        Ok(CheckReport { lines: run.lines })
    }
}

/// One run of all scenarios.
struct TesterRun<'a> {
    tester: &'a ClickTester,
    sender: ShopApiSender,
    next_id: i64,
    lines: Vec<CheckLine>,
}

/// One attempt of a payer, as Click numbers it.
#[derive(Clone, Debug)]
struct TriedPayment {
    click_trans_id: String,
    click_paydoc_id: String,
    /// The order.
    account: String,
    /// Whether the amount is written as `1000` instead of `1000.00`.
    is_short: bool,
}

impl TesterRun<'_> {
    /// A new attempt on one of the orders.
    fn new_payment(&mut self, account: &str, is_short: bool) -> TriedPayment {
        self.next_id += 1;
        TriedPayment {
            account: account.to_owned(),
            click_trans_id: self.next_id.to_string(),
            click_paydoc_id: (self.next_id + 1_000_000_000).to_string(),
            is_short,
        }
    }

    /// The order that is paid.
    fn paying_account(&self) -> String {
        self.tester.accounts.first().cloned().unwrap_or_default()
    }

    /// The order whose first payment fails.
    fn failing_account(&self) -> String {
        self.tester.accounts.get(1).cloned().unwrap_or_else(|| self.paying_account())
    }

    /// A Prepare, signed.
    fn prepare(&self, payment: &TriedPayment) -> ShopApiCall {
        self.signed(ShopApiCall {
            click_trans_id: payment.click_trans_id.clone(),
            service_id: self.tester.service_id.clone(),
            click_paydoc_id: payment.click_paydoc_id.clone(),
            merchant_trans_id: payment.account.clone(),
            merchant_prepare_id: None,
            amount: match payment.is_short {
                true => soum::short(self.tester.amount_tiyin),
                false => soum::with_decimals(self.tester.amount_tiyin),
            },
            action: "0".to_owned(),
            error: "0".to_owned(),
            error_note: "Success".to_owned(),
            sign_time: tashkent::written(now_ms()),
            sign_string: None,
            without: None,
            has_more: false,
        })
    }

    /// A Complete after a debit, signed.
    fn complete(&self, payment: &TriedPayment, prepare_id: i64) -> ShopApiCall {
        self.signed(ShopApiCall {
            merchant_prepare_id: Some(prepare_id.to_string()),
            action: "1".to_owned(),
            ..self.prepare(payment)
        })
    }

    fn signed(&self, call: ShopApiCall) -> ShopApiCall {
        call.signed(&self.tester.secret_key)
    }

    async fn send(&self, call: &ShopApiCall) -> ShopApiReply {
        let url = if call.is_prepare() { &self.tester.prepare_url } else { &self.tester.complete_url };
        self.sender.send(url, call, Sending::PLAIN).await
    }

    /// Sends a call, and adds a line about its answer.
    async fn check(&mut self, name: &'static str, call: &ShopApiCall, expected: &Expectation) -> ShopApiReply {
        let answer = self.send(call).await;
        self.judge(name, call, &answer, expected);
        answer
    }

    fn judge(&mut self, name: &'static str, call: &ShopApiCall, answer: &ShopApiReply, expected: &Expectation) {
        let judged = expected.judge(call, answer);
        self.lines.push(CheckLine {
            name: name.to_owned(),
            is_green: judged.is_ok(),
            sent: sent(call),
            expected: expected.to_string(),
            answered: answered(answer),
            note: match judged {
                Ok(seen) => seen.to_owned(),
                Err(complaint) => complaint,
            },
        });
    }

    /// A line about a scenario that could not be played.
    fn skip(&mut self, names: &[&'static str], why: &str) {
        self.lines.extend(names.iter().map(|name| CheckLine {
            name: (*name).to_owned(),
            is_green: false,
            sent: String::new(),
            expected: String::new(),
            answered: String::new(),
            note: format!("not played: {why}"),
        }));
    }
}

/// What was sent, for a person. The signature shows that a key was used, and not which.
fn sent(call: &ShopApiCall) -> String {
    let fields: Vec<String> = call.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {}", call.name(), fields.join(" "))
}

fn answered(answer: &ShopApiReply) -> String {
    match (answer.http_status, &answer.failure) {
        (None, failure) => failure.clone().unwrap_or_else(|| "no answer".to_owned()),
        (Some(status), _) => format!("HTTP {status} {}", answer.body),
    }
}
