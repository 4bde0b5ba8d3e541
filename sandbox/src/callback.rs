//! The question Atmos asks the merchant before it debits: writing it, signing it, sending it, reading the answer.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use md5::{Digest, Md5};
use reqwest::{Client, header, redirect::Policy};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;
use tracing::debug;
use url::Url;

use crate::{
    config::{AccountField, SandboxConfig, SignAlgorithm, ValueTypes},
    faults::Fault,
    transaction::{Transaction, now_ms},
    wire::{NumberOrText, hex},
};

/// Callbacks kept for `GET /_sim/callbacks`; older ones are forgotten.
const KEPT_CALLBACKS: usize = 1_000;
/// How often one question is asked while no HTTP 200 comes.
const ATTEMPTS: u32 = 3;
/// Short, as the payer waits meanwhile.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// What is read of an answer; the rest cannot matter.
const ANSWER_BYTES: usize = 64 * 1024;

/// Sends callbacks and remembers them.
#[derive(Debug)]
pub(crate) struct Callbacks {
    client: Client,
    url: RwLock<Option<Url>>,
    sent: Mutex<VecDeque<SentCallback>>,
}

/// What the merchant said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reply {
    /// Null, when no answer came.
    pub(crate) http_status: Option<u16>,
    /// The answer's `status`, if it has one.
    pub(crate) status: Option<i64>,
}

impl Reply {
    /// Only HTTP 200 with `status` 1 lets Atmos debit (Atmos API, answer to the callback).
    pub(crate) fn allows_debit(self) -> bool {
        self.http_status == Some(200) && self.status == Some(1)
    }
}

/// One request to the merchant, for `GET /_sim/callbacks`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SentCallback {
    transaction_id: i64,
    account: String,
    /// The fault that spoiled, doubled or delayed it.
    fault: Option<&'static str>,
    attempt: u32,
    sent_at_ms: i64,
    /// How long the merchant took.
    milliseconds: u64,
    body: Box<RawValue>,
    #[serde(flatten)]
    reply: Reply,
    /// Why no answer came, or why it could not be read.
    error: Option<String>,
}

/// The callback's body (Atmos API, callback). The order of the keys is the documentation's.
#[derive(Serialize)]
struct Body<'a> {
    store_id: NumberOrText,
    transaction_id: NumberOrText,
    transaction_time: NumberOrText,
    amount: NumberOrText,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<&'a str>,
    sign: String,
}

impl Callbacks {
    pub(crate) fn new(config: &SandboxConfig) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(config.callback_timeout)
            .redirect(Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            url: RwLock::new(config.callback_url.clone()),
            sent: Mutex::default(),
        })
    }

    /// Where callbacks go from now on.
    pub(crate) fn set_url(&self, url: Url) {
        *self.url.write().unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    /// The callbacks sent lately, oldest first.
    pub(crate) fn sent(&self) -> Vec<SentCallback> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().cloned().collect()
    }

    /// Asks the merchant whether `transaction` may be debited; `None` when no URL is registered.
    ///
    /// Anything but HTTP 200 counts as "could not reach the merchant" and is asked again. A timeout is not: the payer
    /// has waited long enough.
    pub(crate) async fn ask(
        &self,
        config: &SandboxConfig,
        transaction: &Transaction,
        fault: Option<Fault>,
    ) -> Option<Reply> {
        let url = self
            .url
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let body = write_body(config, transaction, fault);
        let mut attempt = 1;
        loop {
            let sent_at_ms = now_ms();
            let started = Instant::now();
            let answer = self.send(url.clone(), body.clone()).await;
            let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            debug!(
                transaction.id = transaction.id,
                attempt, milliseconds, "callback for transaction {} answered", transaction.id
            );
            self.remember(SentCallback {
                transaction_id: transaction.id,
                account: transaction.account.clone(),
                fault: fault.map(Fault::name),
                attempt,
                sent_at_ms,
                milliseconds,
                // The body was written as JSON a few lines above.
                body: RawValue::from_string(body.clone()).unwrap_or_default(),
                reply: answer.reply,
                error: answer.error,
            });
            if answer.reply.http_status == Some(200) || answer.timed_out || attempt >= ATTEMPTS {
                return Some(answer.reply);
            }
            attempt += 1;
            tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await;
        }
    }

    async fn send(&self, url: Url, body: String) -> MerchantAnswer {
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return MerchantAnswer::failed(None, &error),
        };
        let http_status = Some(response.status().as_u16());
        let mut bytes = Vec::new();
        while bytes.len() < ANSWER_BYTES {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return MerchantAnswer::failed(http_status, &error),
            }
        }
        let (status, error) = match serde_json::from_slice::<AnswerBody>(&bytes) {
            Ok(body) => (Some(body.status), None),
            Err(error) => (None, Some(format!("unreadable answer: {error}"))),
        };
        MerchantAnswer {
            reply: Reply {
                http_status,
                status,
            },
            timed_out: false,
            error,
        }
    }

    fn remember(&self, callback: SentCallback) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= KEPT_CALLBACKS {
            sent.pop_front();
        }
        sent.push_back(callback);
    }
}

struct MerchantAnswer {
    reply: Reply,
    timed_out: bool,
    error: Option<String>,
}

#[derive(Deserialize)]
struct AnswerBody {
    status: i64,
}

impl MerchantAnswer {
    fn failed(http_status: Option<u16>, error: &reqwest::Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(inner) = cause {
            causes.push(inner.to_string());
            cause = inner.source();
        }
        Self {
            reply: Reply {
                http_status,
                status: None,
            },
            timed_out: error.is_timeout(),
            error: Some(causes.join(": ")),
        }
    }
}

/// Writes the body, spoiled if a fault asks for it.
fn write_body(config: &SandboxConfig, transaction: &Transaction, fault: Option<Fault>) -> String {
    let mut store_id = config.store_id.clone();
    let mut transaction_id = transaction.id.to_string();
    let mut account = transaction.account.clone();
    let mut amount = transaction.amount_tiyin.to_string();
    match fault {
        Some(Fault::CallbackWrongAmount) => "1".clone_into(&mut amount),
        Some(Fault::CallbackWrongStore) => store_id.push('9'),
        Some(Fault::CallbackUnknownTransaction) => transaction_id.push_str("000"),
        _ => (),
    }
    let mut sign = sign(
        config.sign_algorithm,
        &store_id,
        &transaction_id,
        &account,
        &amount,
        &config.api_key,
    );
    match fault {
        Some(Fault::CallbackBadlySigned) => sign = sign.chars().rev().collect(),
        // The last character of the account becomes the first of the amount: the signed text is the same.
        Some(Fault::CallbackSlid) => {
            amount.insert_str(0, &account.pop().map(String::from).unwrap_or_default())
        }
        _ => (),
    }

    let scalar = |text: String| match config.value_types {
        ValueTypes::Strings => NumberOrText::Text(text),
        ValueTypes::Numbers => NumberOrText::new(&text),
    };
    let body = Body {
        store_id: scalar(store_id),
        transaction_id: scalar(transaction_id),
        transaction_time: scalar(now_ms().to_string()),
        amount: scalar(amount),
        account: (config.account_field != AccountField::Invoice).then_some(account.as_str()),
        invoice: (config.account_field != AccountField::Account).then_some(account.as_str()),
        sign,
    };
    // A struct of texts and numbers always is JSON.
    serde_json::to_string(&body).unwrap_or_default()
}

/// Signs a callback: the hash of the five values, nothing between them, as lowercase hex (Atmos API, field `sign`).
fn sign(
    algorithm: SignAlgorithm,
    store_id: &str,
    transaction_id: &str,
    account: &str,
    amount: &str,
    api_key: &str,
) -> String {
    let text = [store_id, transaction_id, account, amount, api_key].concat();
    match algorithm {
        SignAlgorithm::Md5 => hex(&Md5::digest(text)),
        SignAlgorithm::Sha256 => hex(&Sha256::digest(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn config() -> SandboxConfig {
        let mut config = SandboxConfig::new(([127, 0, 0, 1], 0).into(), "unused".into(), None);
        "test_api_key".clone_into(&mut config.api_key);
        config
    }

    fn transaction() -> Transaction {
        Transaction::draft(202_072, "12345".into(), 5_000_000, None)
    }

    fn body(config: &SandboxConfig, fault: Option<Fault>) -> Value {
        serde_json::from_str(&write_body(config, &transaction(), fault)).expect("JSON")
    }

    /// Computed elsewhere, with Python's hashlib.
    #[test]
    fn signatures_are_those_of_an_independent_implementation() {
        let vectors = [
            (
                SignAlgorithm::Md5,
                ["1234", "202072", "12345", "5000000"],
                "81cf2d62ac965a94cda887ae406d37d4",
            ),
            (
                SignAlgorithm::Sha256,
                ["1234", "202072", "12345", "5000000"],
                "7a045b5f5900ed628205e466a68d65043d4a818a277193e9fd09d310833f2fee",
            ),
            (
                SignAlgorithm::Md5,
                ["1234", "202072", "12345", "5000000.0"],
                "fbacee95c46195f0573d7e34177d5b91",
            ),
            (
                SignAlgorithm::Md5,
                ["1234", "123456", "1", "5000"],
                "90768594b7b10865eb1dbc62d44afe37",
            ),
            (
                SignAlgorithm::Md5,
                ["test_store", "123456", "12345", "5000000"],
                "0eeeebc613e6d252edc1ab051a106460",
            ),
        ];
        for (algorithm, [store_id, transaction_id, account, amount], expected) in vectors {
            let signed = sign(
                algorithm,
                store_id,
                transaction_id,
                account,
                amount,
                "test_api_key",
            );

            assert_eq!(signed, expected);
        }
    }

    #[test]
    fn the_body_is_that_of_a_live_callback() {
        let body = body(&config(), None);

        assert_eq!(body["store_id"], "1234");
        assert_eq!(body["transaction_id"], "202072");
        assert!(body["transaction_time"].is_string());
        assert_eq!(body["amount"], "5000000");
        assert_eq!(body["account"], "12345");
        assert_eq!(body.get("invoice"), None);
        assert_eq!(body["sign"], "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn the_body_can_be_that_of_older_examples() {
        let mut config = config();
        config.account_field = AccountField::Both;
        config.value_types = ValueTypes::Numbers;

        let body = body(&config, None);

        assert_eq!(body["transaction_id"], 202_072);
        assert_eq!(body["amount"], 5_000_000);
        assert_eq!(body["account"], "12345");
        assert_eq!(body["invoice"], "12345");
        assert_eq!(body["sign"], "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn a_slid_boundary_leaves_the_signature_right() {
        let body = body(&config(), Some(Fault::CallbackSlid));

        assert_eq!(body["account"], "1234");
        assert_eq!(body["amount"], "55000000");
        assert_eq!(body["sign"], "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn a_spoiled_callback_is_spoiled_in_one_place() {
        let config = config();
        let resigned = |body: &Value| {
            let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            sign(
                SignAlgorithm::Md5,
                &text("store_id"),
                &text("transaction_id"),
                &text("account"),
                &text("amount"),
                "test_api_key",
            )
        };

        let wrong_amount = body(&config, Some(Fault::CallbackWrongAmount));
        assert_eq!(wrong_amount["amount"], "1");
        assert_eq!(wrong_amount["sign"], resigned(&wrong_amount));

        let wrong_store = body(&config, Some(Fault::CallbackWrongStore));
        assert_ne!(wrong_store["store_id"], "1234");
        assert_eq!(wrong_store["sign"], resigned(&wrong_store));

        let unknown = body(&config, Some(Fault::CallbackUnknownTransaction));
        assert_ne!(unknown["transaction_id"], "202072");
        assert_eq!(unknown["sign"], resigned(&unknown));

        let badly_signed = body(&config, Some(Fault::CallbackBadlySigned));
        assert_eq!(badly_signed["amount"], "5000000");
        assert_ne!(badly_signed["sign"], resigned(&badly_signed));
    }

    #[test]
    fn only_http_200_with_status_1_allows_a_debit() {
        for (http_status, status, allowed) in [
            (Some(200), Some(1), true),
            (Some(200), Some(0), false),
            (Some(200), Some(2), false),
            (Some(200), None, false),
            (Some(201), Some(1), false),
            (Some(500), Some(1), false),
            (None, None, false),
        ] {
            assert_eq!(
                Reply {
                    http_status,
                    status
                }
                .allows_debit(),
                allowed
            );
        }
    }
}
