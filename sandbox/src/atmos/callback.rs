//! Callbacks: before a debit Atmos asks the merchant for permission. Sends them and reads the answers.

mod body;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use reqwest::{Client, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::debug;
use url::Url;

pub(crate) use self::body::{AccountKey, CallbackRequest, CallbackShape, SPOILING, write_body};
use crate::atmos::faults::AtmosFault;
use crate::clock::now_ms;
use crate::config::SandboxConfig;
use crate::exchange::{client_builder, exchange};
use crate::faults::FaultKind;

/// How many callbacks `GET /_sim/callbacks` shows; older ones are dropped.
const KEPT_CALLBACKS: usize = 1_000;
/// The most attempts of one callback while no HTTP 200 comes.
const ATTEMPTS: u32 = 3;
/// Short, because the payer waits meanwhile.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// The source of callbacks that do not come from the gateway's address. On Linux all of 127.0.0.0/8 is this machine.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Sends callbacks and remembers them.
#[derive(Debug)]
pub(crate) struct CallbackSender {
    client: Client,
    /// Sends from [`ELSEWHERE`].
    client_elsewhere: Client,
    url: RwLock<Option<Url>>,
    sent: Mutex<VecDeque<SentCallback>>,
}

/// The merchant's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MerchantReply {
    /// Null if no answer came.
    pub(crate) http_status: Option<u16>,
    /// The answer's `status`, if it has one.
    pub(crate) status: Option<i64>,
}

impl MerchantReply {
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
    /// The fault that changed, doubled or delayed it.
    fault: Option<&'static str>,
    attempt: u32,
    sent_at_ms: i64,
    /// How long the merchant took.
    milliseconds: u64,
    body: Box<RawValue>,
    #[serde(flatten)]
    reply: MerchantReply,
    /// Why there is no answer, or why it could not be read.
    error: Option<String>,
}

impl CallbackSender {
    pub(crate) fn new(config: &SandboxConfig) -> Result<Self, reqwest::Error> {
        let client = || client_builder(config.callback_timeout);
        let client_elsewhere = client().local_address(ELSEWHERE).build()?;
        Ok(CallbackSender {
            client: client().build()?,
            client_elsewhere,
            url: RwLock::new(config.callback_url.clone()),
            sent: Mutex::default(),
        })
    }

    /// Sets the URL for callbacks.
    pub(crate) fn set_url(&self, url: Url) {
        *self.url.write() = Some(url);
    }

    /// The latest callbacks, oldest first.
    pub(crate) fn sent(&self) -> Vec<SentCallback> {
        let sent = self.sent.lock();
        sent.iter().cloned().collect()
    }

    /// Asks the merchant whether a transaction may be debited; `None` if no URL is registered.
    ///
    /// Any answer but HTTP 200 counts as "could not reach the merchant", and the callback is sent again. After a
    /// timeout it is not, because the payer has waited long enough.
    pub(crate) async fn ask(&self, callback: &CallbackRequest) -> Option<MerchantReply> {
        let url = self.url.read().clone()?;
        let transaction_id = callback.transaction_id;
        let mut attempt = 1;
        loop {
            let sent_at_ms = now_ms();
            let started = Instant::now();
            let answer = self.send(url.clone(), callback).await;
            let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            debug!(
                transaction.id = transaction_id,
                attempt, milliseconds, "callback for transaction {transaction_id} answered"
            );
            self.remember(SentCallback {
                transaction_id,
                account: callback.account.clone(),
                fault: callback.fault.map(AtmosFault::name),
                attempt,
                sent_at_ms,
                milliseconds,
                body: shown(&callback.body),
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

    async fn send(&self, url: Url, callback: &CallbackRequest) -> MerchantAnswer {
        let client = if callback.is_from_elsewhere { &self.client_elsewhere } else { &self.client };
        let content_type = match callback.is_form {
            true => "application/x-www-form-urlencoded",
            false => "application/json",
        };
        let request = client.post(url).header(header::CONTENT_TYPE, content_type).body(callback.body.clone());
        let came = exchange(request).await;
        let http_status = came.http_status;
        if came.error.is_some() {
            let reply = MerchantReply { http_status, status: None };
            return MerchantAnswer { reply, timed_out: came.timed_out, error: came.error };
        }
        let (status, error) = match serde_json::from_slice::<AnswerBody>(&came.body) {
            Ok(body) => (Some(body.status), None),
            Err(error) => (None, Some(format!("unreadable answer: {error}"))),
        };
        MerchantAnswer { reply: MerchantReply { http_status, status }, timed_out: false, error }
    }

    fn remember(&self, callback: SentCallback) {
        let mut sent = self.sent.lock();
        if sent.len() >= KEPT_CALLBACKS {
            sent.pop_front();
        }
        sent.push_back(callback);
    }
}

/// The body byte for byte if it is JSON, otherwise as a JSON string.
fn shown(body: &str) -> Box<RawValue> {
    RawValue::from_string(body.to_owned()).or_else(|_| serde_json::value::to_raw_value(body)).unwrap_or_default()
}

struct MerchantAnswer {
    reply: MerchantReply,
    timed_out: bool,
    error: Option<String>,
}

#[derive(Deserialize)]
struct AnswerBody {
    status: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(MerchantReply { http_status, status }.allows_debit(), allowed);
        }
    }
}
