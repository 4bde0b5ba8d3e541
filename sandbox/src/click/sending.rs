//! Prepare and Complete of one attempt: built, signed, changed by the faults, and sent.

use std::sync::Arc;

use super::answer::ShopApiReply;
use super::attempt::ClickAttempt;
use super::faults::{COMPLETE, ClickSimFault, PREPARE};
use super::sender::Sending;
use super::shop_api::{CallBody, ShopApiCall};
use super::state::{ClickSandbox, SECRET_KEY};
use super::{soum, tashkent};
use crate::faults::{FaultKind, FaultTarget, Strike};

/// The faults that change what a call says, in the order in which they are tried; the first that strikes is the one.
const SPOILING: [ClickSimFault; 7] = [
    ClickSimFault::WrongKey,
    ClickSimFault::Unsigned,
    ClickSimFault::WrongAmount,
    ClickSimFault::WrongService,
    ClickSimFault::UnknownAccount,
    ClickSimFault::UnknownPrepare,
    ClickSimFault::Slid,
];

/// What a call tells the merchant.
#[derive(Clone, Copy, Debug)]
pub(super) enum ShopMessage {
    /// May the money be taken?
    Prepare,
    /// It was taken.
    Paid { merchant_prepare_id: i64 },
    /// It was not taken, and will not be.
    Failed { merchant_prepare_id: i64, error: i64 },
}

impl ShopMessage {
    fn path(self) -> &'static str {
        match self {
            ShopMessage::Prepare => PREPARE,
            ShopMessage::Paid { .. } | ShopMessage::Failed { .. } => COMPLETE,
        }
    }
}

impl ClickSandbox {
    /// Tells the merchant once, or as often as the faults say. `None` if the service is off.
    pub(super) async fn tell(self: &Arc<Self>, attempt: &ClickAttempt, message: ShopMessage) -> Option<ShopApiReply> {
        let target = FaultTarget { call: Some(message.path()), account: Some(&attempt.account) };
        let strikes = |fault: ClickSimFault| self.faults.strikes(fault, target);
        let (call, sending) = self.call_for(attempt, message, strikes);

        let reply = if strikes(ClickSimFault::Doubled).is_some() {
            let sending = told(sending, ClickSimFault::Doubled);
            tokio::join!(self.send(&call, sending), self.send(&call, sending)).0
        } else if let Some(strike) = strikes(ClickSimFault::Repeated) {
            let sending = told(sending, ClickSimFault::Repeated);
            let mut reply = None;
            for _ in 0..strike.times {
                reply = self.send(&call, sending).await;
            }
            reply
        } else {
            self.send(&call, sending).await
        };
        if let ShopMessage::Failed { .. } = message
            && self.strikes(ClickSimFault::CompleteAltered, &attempt.account).is_some()
        {
            let altered = ShopApiCall { error: "0".to_owned(), error_note: "Success".to_owned(), ..call.clone() };
            self.send(&altered, told(sending, ClickSimFault::CompleteAltered)).await;
        }
        if let Some(strike) = strikes(ClickSimFault::Replayed) {
            let click = Arc::clone(self);
            self.common.later(strike.delay, async move {
                click.send(&call, told(sending, ClickSimFault::Replayed)).await;
            });
        }
        reply
    }

    async fn send(&self, call: &ShopApiCall, sending: Sending) -> Option<ShopApiReply> {
        let addresses = self.addresses()?;
        let url = if call.is_prepare() { addresses.prepare } else { addresses.complete };
        Some(self.sender.send(&url, call, sending).await)
    }

    fn call_for(
        &self,
        attempt: &ClickAttempt,
        message: ShopMessage,
        strikes: impl Fn(ClickSimFault) -> Option<Strike>,
    ) -> (ShopApiCall, Sending) {
        let is_short = strikes(ClickSimFault::ShortAmount).is_some();
        let (prepare_id, error) = match message {
            ShopMessage::Prepare => (None, 0),
            ShopMessage::Paid { merchant_prepare_id } => (Some(merchant_prepare_id), 0),
            ShopMessage::Failed { merchant_prepare_id, error } => (Some(merchant_prepare_id), error),
        };
        let call = ShopApiCall {
            click_trans_id: attempt.click_trans_id.to_string(),
            service_id: self.common.config.click_service_id.clone(),
            click_paydoc_id: attempt.click_paydoc_id.to_string(),
            merchant_trans_id: attempt.account.clone(),
            merchant_prepare_id: prepare_id.map(|id| id.to_string()),
            amount: match is_short {
                true => soum::short(attempt.amount_tiyin),
                false => soum::with_decimals(attempt.amount_tiyin),
            },
            action: if prepare_id.is_none() { "0" } else { "1" }.to_owned(),
            error: error.to_string(),
            error_note: if error == 0 { "Success" } else { "Transaction cancelled" }.to_owned(),
            sign_time: tashkent::written(self.clock.now_ms()),
            sign_string: None,
            without: None,
            has_more: strikes(ClickSimFault::MoreFields).is_some(),
        };
        let fault = SPOILING.into_iter().find(|fault| strikes(*fault).is_some());
        let mut call = spoiled(call, fault);
        if strikes(ClickSimFault::UppercaseSign).is_some() {
            call.sign_string = call.sign_string.map(|sign| sign.to_ascii_uppercase());
        }
        let sending = Sending {
            body: if strikes(ClickSimFault::Json).is_some() { CallBody::Json } else { CallBody::Form },
            is_from_elsewhere: strikes(ClickSimFault::OtherAddress).is_some(),
            fault: fault.map(FaultKind::name),
        };
        (call, sending)
    }
}

/// Names the fault, unless another one has changed the call already.
fn told(sending: Sending, fault: ClickSimFault) -> Sending {
    Sending { fault: sending.fault.or(Some(fault.name())), ..sending }
}

/// Signs a call, and spoils it in the one way that the fault says.
fn spoiled(call: ShopApiCall, fault: Option<ClickSimFault>) -> ShopApiCall {
    let right = |call: ShopApiCall| call.signed(SECRET_KEY);
    match fault {
        Some(ClickSimFault::WrongKey) => call.signed("not-the-key"),
        Some(ClickSimFault::Unsigned) => call,
        Some(ClickSimFault::WrongAmount) => right(ShopApiCall { amount: soum::with_decimals(100), ..call }),
        Some(ClickSimFault::WrongService) => right(ShopApiCall { service_id: format!("{}9", call.service_id), ..call }),
        Some(ClickSimFault::UnknownAccount) => {
            right(ShopApiCall { merchant_trans_id: format!("{}999", call.merchant_trans_id), ..call })
        }
        Some(ClickSimFault::UnknownPrepare) => {
            let never_given = call.merchant_prepare_id.as_ref().map(|id| format!("{id}999"));
            right(ShopApiCall { merchant_prepare_id: never_given, ..call })
        }
        Some(ClickSimFault::Slid) => {
            let honest = right(call);
            honest.clone().slid().unwrap_or(honest)
        }
        _ => right(call),
    }
}
