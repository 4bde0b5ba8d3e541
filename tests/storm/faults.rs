//! What goes wrong at the gateways during a storm.

use domain::order::PaymentType;
use serde_json::{Value, json};

/// The share of calls to a gateway that it does not take.
pub(crate) const SELDOM: f64 = 0.05;

/// The path of a gateway's faults, and the fault that takes no call.
pub(crate) fn no_answer_from(gateway: PaymentType) -> (&'static str, &'static str) {
    match gateway {
        PaymentType::Atmos => ("", "unavailable"),
        PaymentType::Click => ("/click", "api-unavailable"),
        PaymentType::Payme => unreachable!("Payme is never called"),
    }
}

pub(crate) fn of_atmos() -> Vec<Value> {
    vec![
        json!({ "fault": "latency", "milliseconds": 500 }),
        json!({ "fault": "unavailable", "share": SELDOM }),
        json!({ "fault": "answer-lost", "share": 0.03 }),
        json!({ "fault": "malformed", "share": 0.02 }),
        json!({ "fault": "callback-never", "share": 0.1 }),
        json!({ "fault": "callback-doubled", "share": 0.1 }),
    ]
}

pub(crate) fn of_payme() -> Vec<Value> {
    vec![
        json!({ "fault": "answer-lost", "share": 0.08 }),
        json!({ "fault": "doubled", "share": 0.1 }),
        json!({ "fault": "repeated", "share": 0.05 }),
        json!({ "fault": "broken", "share": 0.03 }),
        json!({ "fault": "json-rpc", "share": 0.1 }),
        // A repeat is written as the first call was.
        json!({ "fault": "account-numbers", "account": "1*" }),
        // After a refusal of a later call Payme believes that there is no transaction, or gives the money back.
        json!({ "fault": "wrong-key", "share": 0.03, "method": "CheckPerformTransaction" }),
        json!({ "fault": "no-key", "share": 0.03, "method": "CheckPerformTransaction" }),
        json!({ "fault": "check-skipped", "share": 0.1 }),
        json!({ "fault": "amount-altered", "share": 0.03 }),
        json!({ "fault": "rival", "share": 0.1 }),
        json!({ "fault": "payer-leaves", "share": 0.05 }),
        json!({ "fault": "debit-declined", "share": 0.1 }),
        json!({ "fault": "perform-late", "share": 0.05, "milliseconds": 3_000 }),
    ]
}

pub(crate) fn of_click() -> Vec<Value> {
    vec![
        json!({ "fault": "api-slow", "milliseconds": 500 }),
        json!({ "fault": "api-unavailable", "share": SELDOM }),
        json!({ "fault": "api-answer-lost", "share": 0.03 }),
        json!({ "fault": "api-malformed", "share": 0.02 }),
        json!({ "fault": "mti-another-attempt", "share": 0.05 }),
        json!({ "fault": "mti-not-found", "share": 0.03 }),
        json!({ "fault": "status-processing", "share": 0.03 }),
        json!({ "fault": "doubled", "share": 0.1 }),
        json!({ "fault": "repeated", "share": 0.05 }),
        json!({ "fault": "replayed", "share": 0.05, "milliseconds": 1_500 }),
        json!({ "fault": "slid", "share": 0.02 }),
        json!({ "fault": "json", "share": 0.1 }),
        json!({ "fault": "wrong-key", "share": 0.02 }),
        json!({ "fault": "wrong-amount", "share": 0.02 }),
        json!({ "fault": "complete-never", "share": 0.08 }),
        json!({ "fault": "complete-late", "share": 0.05, "milliseconds": 4_000 }),
        json!({ "fault": "complete-altered", "share": 0.7 }),
        json!({ "fault": "debit-declined", "share": 0.1 }),
        json!({ "fault": "payer-leaves", "share": 0.05 }),
    ]
}
