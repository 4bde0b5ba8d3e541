//! What the calls of the Merchant API do (Click documents, Merchant API).

use std::sync::Arc;

use poem::http::StatusCode;
use serde_json::json;

use super::answer::MerchantApiAnswer;
use super::call::ApiCall;
use crate::click::attempt::{AttemptChange, AttemptState, ClickAttempt};
use crate::click::faults::ClickSimFault;
use crate::click::ledger::AttemptEntry;
use crate::click::payer::PayScheme;
use crate::click::state::ClickSandbox;
use crate::click::{soum, tashkent};
use crate::journal::JournalError;

/// The parts of a path; empty where the call has none.
#[derive(Clone, Debug)]
pub(super) struct PaymentPath {
    pub(super) service_id: String,
    pub(super) payment_id: String,
    pub(super) account: String,
    pub(super) date: String,
    pub(super) amount: String,
}

/// Does the work of a call.
pub(super) async fn answer(
    call: ApiCall,
    click: &Arc<ClickSandbox>,
    asked: &PaymentPath,
) -> Result<MerchantApiAnswer, JournalError> {
    if asked.service_id != click.common.config.click_service_id {
        return Ok(MerchantApiAnswer::refused(StatusCode::FORBIDDEN, -403, "this service belongs to another merchant"));
    }
    match call {
        ApiCall::StatusByMti => Ok(status_by_mti(click, asked)),
        ApiCall::StatusByMtiWithoutDay => {
            let why = "the path is payment/status_by_mti/{service_id}/{merchant_trans_id}/{YYYY-MM-DD}";
            Ok(MerchantApiAnswer::refused(StatusCode::BAD_REQUEST, -400, why))
        }
        ApiCall::Status | ApiCall::Reversal | ApiCall::PartialReversal => {
            let Ok(payment_id) = asked.payment_id.parse() else {
                return Ok(MerchantApiAnswer::refused(StatusCode::BAD_REQUEST, -400, "payment_id is a number"));
            };
            let Some(entry) = click.ledger.find_payment(payment_id) else {
                return Ok(MerchantApiAnswer::refused(StatusCode::NOT_FOUND, -404, "there is no such payment"));
            };
            match call {
                ApiCall::Reversal => reverse(click, &entry, None).await,
                ApiCall::PartialReversal => match soum::read_tiyin(&asked.amount) {
                    Some(tiyin) => reverse(click, &entry, Some(tiyin)).await,
                    None => {
                        let why = "the amount is in soʻm, above 0, with at most two decimals";
                        Ok(MerchantApiAnswer::refused(StatusCode::BAD_REQUEST, -400, why))
                    }
                },
                _ => Ok(status(click, &entry.snapshot())),
            }
        }
    }
}

fn status(click: &ClickSandbox, attempt: &ClickAttempt) -> MerchantApiAnswer {
    MerchantApiAnswer::done(json!({"payment_id": attempt.payment_id, "payment_status": shown_status(click, attempt)}))
}

/// The payment of an order on one day: of several attempts the one that was paid, or else the latest. Which one Click answers
/// about is not documented.
fn status_by_mti(click: &ClickSandbox, asked: &PaymentPath) -> MerchantApiAnswer {
    let Some(day) = tashkent::read_day(&asked.date) else {
        let why = "the date is YYYY-MM-DD, the day of the payment in Tashkent";
        return MerchantApiAnswer::refused(StatusCode::BAD_REQUEST, -400, why);
    };
    let strikes = |fault| click.strikes(fault, &asked.account).is_some();
    // How Click says that it finds nothing is not documented; 404 is among its HTTP codes.
    let nothing = |status| MerchantApiAnswer::refused(status, -404, "there is no payment of this order on this day");
    if strikes(ClickSimFault::MtiNothing) {
        return nothing(StatusCode::OK);
    }
    let mut attempts = click.ledger.attempts_of(&asked.account);
    attempts.retain(|attempt| tashkent::day(attempt.created_at_ms) == day);
    let attempt = match strikes(ClickSimFault::MtiAnotherAttempt) {
        true => attempts.first(),
        false => attempts.iter().rfind(|attempt| attempt.debits > 0).or(attempts.last()),
    };
    let Some(attempt) = attempt.filter(|_| !strikes(ClickSimFault::MtiNotFound)) else {
        return nothing(StatusCode::NOT_FOUND);
    };
    let mut answer = status(click, attempt);
    if strikes(ClickSimFault::MtiWithoutStatus)
        && let Some(fields) = answer.body.as_object_mut()
    {
        fields.remove("payment_status");
        fields.insert("merchant_trans_id".to_owned(), json!(attempt.account));
    }
    if strikes(ClickSimFault::MtiAsList) {
        answer.body = json!([answer.body]);
    }
    answer
}

/// The status of a payment, as the faults would have it.
fn shown_status(click: &ClickSandbox, attempt: &ClickAttempt) -> i64 {
    let status = attempt.payment_status();
    if attempt.state != AttemptState::Debited {
        return status;
    }
    let shown =
        [(ClickSimFault::StatusProcessing, 1), (ClickSimFault::StatusUnknown, 7), (ClickSimFault::StatusFailed, -1)];
    let struck = shown.into_iter().find(|(fault, _)| click.strikes(*fault, &attempt.account).is_some());
    struck.map_or(status, |(_, shown)| shown)
}

/// Returns the money, or a part of it.
///
/// Click documents: only of a successful payment, only in the reporting month of the payment (on the first day of the
/// next month, too), and the card's bank may refuse, which UZCARD does.
async fn reverse(
    click: &ClickSandbox,
    entry: &AttemptEntry,
    part_tiyin: Option<i64>,
) -> Result<MerchantApiAnswer, JournalError> {
    entry.count_reversal();
    let refuse = |code, why: &str| Ok(MerchantApiAnswer::refused(StatusCode::OK, code, why));
    let attempt = entry.snapshot();
    let is_refused_by_uzcard = attempt.means.scheme == PayScheme::Uzcard
        && click.strikes(ClickSimFault::UzcardRefuses, &attempt.account).is_some();
    if is_refused_by_uzcard {
        return refuse(-23, "UZCARD refused the reversal");
    }
    let now_ms = click.clock.now_ms();
    if attempt.debited_at_ms.is_some_and(|paid_at_ms| !tashkent::is_reversible(paid_at_ms, now_ms)) {
        return refuse(-22, "the reporting month of the payment is over");
    }
    let (after, is_changed) = click
        .ledger
        .change(&click.clock, entry, |attempt| {
            let left = attempt.amount_tiyin.saturating_sub(attempt.returned_tiyin);
            let amount = part_tiyin.unwrap_or(left);
            (attempt.state == AttemptState::Debited && amount <= left).then_some(AttemptChange::Returned { amount })
        })
        .await?;
    match (is_changed, after.state) {
        (true, _) => Ok(MerchantApiAnswer::done(json!({"payment_id": after.payment_id}))),
        (false, AttemptState::Debited) => refuse(-24, "less than this amount is left of the payment"),
        (false, _) => refuse(-21, "the payment is not a successful one"),
    }
}
