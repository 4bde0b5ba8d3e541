//! Sends calls of SHOP-API to a merchant, and remembers them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, header};
use serde::Serialize;
use url::Url;

use super::answer::ShopApiReply;
use super::shop_api::{CallBody, ShopApiCall};
use crate::exchange::{client_builder, exchange};

/// How many calls `GET /click/_sim/calls` shows; older ones are dropped.
const KEPT_CALLS: usize = 1_000;
/// The source of calls that do not come from the gateway's address. On Linux all of 127.0.0.0/8 is this machine.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Sends calls to a merchant.
#[derive(Debug)]
pub(crate) struct ShopApiSender {
    client: Client,
    /// Sends from [`ELSEWHERE`].
    client_elsewhere: Client,
    sent: Mutex<VecDeque<SentShopApiCall>>,
}

/// How a call is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) body: CallBody,
    /// Whether it is sent from an address that is not the gateway's.
    pub(crate) is_from_elsewhere: bool,
    /// The fault that changed it, or that sends it at an unusual moment.
    pub(crate) fault: Option<&'static str>,
}

impl Sending {
    /// A form, from the gateway's own address.
    pub(crate) const PLAIN: Sending = Sending { body: CallBody::Form, is_from_elsewhere: false, fault: None };
}

/// One call to the merchant, for `GET /click/_sim/calls`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SentShopApiCall {
    call: &'static str,
    click_trans_id: String,
    account: String,
    fault: Option<&'static str>,
    sign_time: String,
    /// How long the merchant took.
    milliseconds: u64,
    sent: String,
    answer: ShopApiReply,
}

impl ShopApiSender {
    /// A sender that gives the merchant `timeout` for each answer.
    pub(crate) fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        Ok(ShopApiSender {
            client: client_builder(timeout).build()?,
            client_elsewhere: client_builder(timeout).local_address(ELSEWHERE).build()?,
            sent: Mutex::default(),
        })
    }

    /// The latest calls, oldest first.
    pub(crate) fn sent(&self) -> Vec<SentShopApiCall> {
        self.sent.lock().iter().cloned().collect()
    }

    /// Sends one call once.
    pub(crate) async fn send(&self, url: &Url, call: &ShopApiCall, sending: Sending) -> ShopApiReply {
        let written = call.written(sending.body);
        let client = if sending.is_from_elsewhere { &self.client_elsewhere } else { &self.client };
        let request = client.post(url.clone()).header(header::CONTENT_TYPE, sending.body.content_type());
        let came = exchange(request.body(written.clone())).await;
        let answer = ShopApiReply::read(&came);
        let sent = SentShopApiCall {
            call: call.name(),
            click_trans_id: call.click_trans_id.clone(),
            account: call.merchant_trans_id.clone(),
            fault: sending.fault,
            sign_time: call.sign_time.clone(),
            milliseconds: came.milliseconds,
            sent: written,
            answer: answer.clone(),
        };
        let mut kept = self.sent.lock();
        if kept.len() >= KEPT_CALLS {
            kept.pop_front();
        }
        kept.push_back(sent);
        answer
    }
}
