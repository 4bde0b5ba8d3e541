//! Calls to the merchant's endpoint: sends them with the cashbox's key, repeats them, and remembers them.

mod broken;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use reqwest::{Client, header};
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::debug;
use url::Url;

use super::faults::SimPaymeFault;
use super::wire::{MerchantWord, RpcCall};
use crate::clock::now_ms;
use crate::config::SandboxConfig;
use crate::exchange::{Exchange, client_builder, exchange};
use crate::faults::{FaultKind, FaultTarget, Faults, Strike};

/// How many calls `GET /payme/_sim/calls` shows; older ones are dropped.
const KEPT_CALLS: usize = 1_000;
/// How often a call is sent while the payer waits. Payme publishes neither a number nor a schedule.
const ATTEMPTS: u32 = 3;
/// Short, because the payer waits meanwhile.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// The source of calls that do not come from the gateway's address. On Linux all of 127.0.0.0/8 is this machine.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The user name of every merchant (Payme's integration template, README).
const LOGIN: &str = "Paycom";

/// Calls the merchant of the cashbox.
#[derive(Debug)]
pub(crate) struct MerchantCaller {
    client: Client,
    /// Sends from [`ELSEWHERE`].
    client_elsewhere: Client,
    key: String,
    timeout: Duration,
    url: RwLock<Option<Url>>,
    next_id: AtomicU64,
    pub(crate) faults: Faults<SimPaymeFault>,
    calls: Mutex<VecDeque<SentRpcCall>>,
}

/// One call, for `GET /payme/_sim/calls`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SentRpcCall {
    method: String,
    /// The fault that changed it.
    fault: Option<&'static str>,
    sent_at_ms: i64,
    /// How long the merchant took.
    milliseconds: u64,
    body: Box<RawValue>,
    /// Null if no answer came.
    http_status: Option<u16>,
    /// The answer's body, if it is JSON.
    answer: Option<Box<RawValue>>,
    /// Why there is no answer, or why it counts as none.
    error: Option<String>,
}

impl MerchantCaller {
    pub(crate) fn new(config: &SandboxConfig) -> Result<Self, reqwest::Error> {
        let client = || client_builder(config.callback_timeout);
        Ok(MerchantCaller {
            client: client().build()?,
            client_elsewhere: client().local_address(ELSEWHERE).build()?,
            key: config.payme_key.clone(),
            timeout: config.callback_timeout,
            url: RwLock::new(config.payme_webhook.clone()),
            next_id: AtomicU64::new(1),
            faults: Faults::default(),
            calls: Mutex::default(),
        })
    }

    /// Calls the merchant at `url` from now on.
    pub(crate) fn set_url(&self, url: Url) {
        *self.url.write() = Some(url);
    }

    /// The merchant's endpoint, if the cashbox has one.
    pub(crate) fn url(&self) -> Option<Url> {
        self.url.read().clone()
    }

    /// The latest calls, oldest first.
    pub(crate) fn calls(&self) -> Vec<SentRpcCall> {
        self.calls.lock().iter().cloned().collect()
    }

    /// Sends a call, and sends it again with the same parameters while the merchant is silent (Payme documents,
    /// CreateTransaction and PerformTransaction).
    pub(crate) async fn call(&self, call: &RpcCall) -> MerchantWord {
        let mut attempt = 1;
        loop {
            let word = self.call_once(call).await;
            if !matches!(word, MerchantWord::Silence(_)) || attempt >= ATTEMPTS {
                return word;
            }
            attempt += 1;
            tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await;
        }
    }

    /// Sends a call once, or as often as a fault says.
    pub(crate) async fn call_once(&self, call: &RpcCall) -> MerchantWord {
        let Some(url) = self.url() else {
            return MerchantWord::Silence(
                "the cashbox has no endpoint: start the sandbox with --payme-webhook".to_owned(),
            );
        };
        if let Some(strike) = self.strikes(SimPaymeFault::Doubled, call) {
            let copies = (0..strike.times).map(|_| self.send(&url, call, Some(SimPaymeFault::Doubled)));
            return first_of(join_all(copies).await);
        }
        if let Some(strike) = self.strikes(SimPaymeFault::Repeated, call) {
            let mut word = None;
            for _ in 0..strike.times {
                word = Some(self.send(&url, call, Some(SimPaymeFault::Repeated)).await);
            }
            return first_of(word);
        }
        self.send(&url, call, None).await
    }

    async fn send(&self, url: &Url, call: &RpcCall, copied: Option<SimPaymeFault>) -> MerchantWord {
        let struck = |fault| self.strikes(fault, call).map(|strike| (fault, strike));
        let key = struck(SimPaymeFault::WrongKey).or_else(|| struck(SimPaymeFault::NoKey));
        let shapes = [SimPaymeFault::JsonRpc, SimPaymeFault::AccountNumbers].map(struck);
        let [is_json_rpc, has_numbers] = [0, 1].map(|shape| shapes[shape].is_some());
        let way = [SimPaymeFault::Broken, SimPaymeFault::Slow, SimPaymeFault::OtherAddress];
        let way = way.into_iter().find_map(struck);
        let fault = copied.or([way, key].into_iter().chain(shapes).flatten().next().map(|(fault, _)| fault));

        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let written = if has_numbers { call.clone().with_numbers() } else { call.clone() };
        let body = written.body(id, is_json_rpc);
        let content_type = if is_json_rpc { "application/json" } else { "text/json; charset=UTF-8" };
        let authorization = match key {
            Some((SimPaymeFault::NoKey, _)) => None,
            Some(_) => Some(basic(&format!("{}-wrong", self.key))),
            None => Some(basic(&self.key)),
        };
        let sent_at_ms = now_ms();
        let came = match way {
            Some((fault @ (SimPaymeFault::Broken | SimPaymeFault::Slow), strike)) => {
                let pause = (fault == SimPaymeFault::Slow).then_some(strike.delay);
                broken::exchange(url, authorization.as_deref(), content_type, &body, pause, self.timeout).await
            }
            _ => {
                let client = if way.is_some() { &self.client_elsewhere } else { &self.client };
                let mut request = client.post(url.clone()).header(header::CONTENT_TYPE, content_type);
                if let Some(authorization) = &authorization {
                    request = request.header(header::AUTHORIZATION, authorization);
                }
                exchange(request.body(body.clone())).await
            }
        };
        let lost = self.strikes(SimPaymeFault::AnswerLost, call).is_some();
        let word = match (&came, lost) {
            (_, true) => MerchantWord::Silence("the answer is lost on purpose".to_owned()),
            (Exchange { http_status: Some(status), error: None, .. }, false) => MerchantWord::read(*status, &came.body),
            (Exchange { error, .. }, false) => MerchantWord::Silence(error.clone().unwrap_or_default()),
        };
        debug!(method = call.method, milliseconds = came.milliseconds, "the merchant answered {}", call.method);
        self.remember(SentRpcCall {
            method: call.method.clone(),
            fault: fault.or(lost.then_some(SimPaymeFault::AnswerLost)).map(SimPaymeFault::name),
            sent_at_ms,
            milliseconds: came.milliseconds,
            body: RawValue::from_string(body).unwrap_or_default(),
            http_status: came.http_status,
            answer: String::from_utf8(came.body).ok().and_then(|text| RawValue::from_string(text).ok()),
            error: match &word {
                MerchantWord::Silence(why) => Some(why.clone()),
                MerchantWord::Result(_) | MerchantWord::Error(_) => None,
            },
        });
        word
    }

    fn remember(&self, call: SentRpcCall) {
        let mut calls = self.calls.lock();
        if calls.len() >= KEPT_CALLS {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    fn strikes(&self, fault: SimPaymeFault, call: &RpcCall) -> Option<Strike> {
        self.faults.strikes(fault, FaultTarget { call: Some(&call.method), account: call.account.as_deref() })
    }
}

/// The header of Basic authentication (Payme documents, authorization).
pub(crate) fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{LOGIN}:{key}")))
}

/// The first word of several; a call is sent at least once.
fn first_of(words: impl IntoIterator<Item = MerchantWord>) -> MerchantWord {
    words.into_iter().next().unwrap_or_else(|| MerchantWord::Silence("it was not sent".to_owned()))
}
