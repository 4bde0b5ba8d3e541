//! Reading a call of Click's SHOP-API: Prepare, the question before a debit, and Complete, the news after it.

use domain::id::TransactionId;
use domain::time::TASHKENT;
use domain::transaction::CallbackFault;
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::amount::{self, WrittenAmount};
use super::settings::ClickSettings;
use super::sign::{self, SignedFields};
use crate::call_fields::CallFields;

/// The fields that are read. All others in a body are ignored: a new field of Click must not stop every shop.
const READ: [&str; 9] = [
    "click_trans_id",
    "service_id",
    "merchant_trans_id",
    "merchant_prepare_id",
    "amount",
    "action",
    "error",
    "sign_time",
    "sign_string",
];

/// The longest text of a field that is repeated or kept, bytes; ours has 19 digits.
const LONGEST_TEXT: usize = 255;

/// One call whose signature fits a key of the account that it names. Its content is *claimed*: it is not compared with our
/// rows yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickCall {
    /// The ids that our answer repeats.
    pub ids: CalledIds,
    /// Click's number of the attempt, in its one way of writing.
    pub external_id: String,
    /// What the link said of the order (`merchant_trans_id`).
    pub account: String,
    /// The amount in tiyin; `None` if it is no whole number of tiyin, and so the amount of no order.
    pub amount: Option<i64>,
    /// When Click signed it, epoch milliseconds; `None` if that cannot be read.
    pub signed_at_ms: Option<i64>,
    /// What it says.
    pub step: ClickStep,
    question: String,
}

/// What a call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickStep {
    /// `action` 0: may Click debit?
    Prepare,
    /// `action` 1.
    Complete {
        /// Our number of the transaction, as Prepare was answered; `None` if it is no such number, as after a Prepare that we
        /// refused.
        transaction_id: Option<TransactionId>,
        /// What became of it. No signature covers this.
        outcome: ToldOutcome,
    },
}

/// What became of an attempt, as Complete says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldOutcome {
    /// `error` 0: Click has debited.
    Debited,
    /// `error` −1 or below: the payment did not happen.
    Failed {
        /// Click's number for why.
        code: i64,
    },
}

/// The ids of a call, as they came; none where it had none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalledIds {
    /// `click_trans_id`.
    pub click_trans_id: Option<String>,
    /// `merchant_trans_id`.
    pub merchant_trans_id: Option<String>,
    /// Whether it is a Complete, whose answer has another field.
    pub is_complete: bool,
}

/// Why a call is refused before anything is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickFault {
    /// A field is missing, or is not of its type.
    Unreadable,
    /// It names a service that is not ours.
    ForeignService {
        /// Whether a key of ours signed it all the same: then the number of the service in the settings is wrong.
        is_signed: bool,
    },
    /// No key of the service signed it.
    BadlySigned,
    /// It is correctly signed, and `action` is neither 0 nor 1.
    UnknownAction,
    /// It is a correctly signed Prepare, and its `error` says that the payment failed.
    FailedBeforeDebit,
}

impl ClickFault {
    /// The fault as far as other gateways have it; `None` where the call is correctly signed.
    pub fn callback_fault(self) -> Option<CallbackFault> {
        match self {
            ClickFault::Unreadable | ClickFault::ForeignService { is_signed: false } => Some(CallbackFault::Unreadable),
            ClickFault::BadlySigned => Some(CallbackFault::BadlySigned),
            ClickFault::ForeignService { is_signed: true }
            | ClickFault::UnknownAction
            | ClickFault::FailedBeforeDebit => None,
        }
    }
}

impl ClickCall {
    /// Its question, as text. Two calls have the same question if they differ only in what no signature covers; of `error` it
    /// holds only whether the debit happened. So a sender who has seen one call cannot make many questions of it.
    pub fn question(&self) -> &str {
        &self.question
    }
}

/// Reads a call, and checks its signature with the keys of the account whose service it names; that account is returned by its
/// place in `accounts`. It is a pure function: a stored body gives the same result at any time with the same keys.
///
/// # Errors
/// What is wrong, in Click's order of checks, with the ids that the answer repeats.
pub(super) fn read(accounts: &[&ClickSettings], body: &[u8]) -> Result<(usize, ClickCall), (ClickFault, CalledIds)> {
    let Some(fields) = CallFields::read(body, &READ) else {
        return Err((ClickFault::Unreadable, CalledIds::default()));
    };
    let repeated = |name| fields.text(name).filter(|text| text.len() <= LONGEST_TEXT).map(str::to_owned);
    let ids = CalledIds {
        click_trans_id: repeated("click_trans_id"),
        merchant_trans_id: repeated("merchant_trans_id"),
        is_complete: fields.text("action") == Some("1"),
    };
    read_fields(accounts, &fields, &ids).map_err(|fault| (fault, ids))
}

fn read_fields(
    accounts: &[&ClickSettings],
    fields: &CallFields<'_>,
    ids: &CalledIds,
) -> Result<(usize, ClickCall), ClickFault> {
    let text = |name| fields.text(name).filter(|text| text.len() <= LONGEST_TEXT).ok_or(ClickFault::Unreadable);
    let signed = SignedFields {
        click_trans_id: text("click_trans_id")?,
        service_id: text("service_id")?,
        merchant_trans_id: text("merchant_trans_id")?,
        merchant_prepare_id: ids.is_complete.then(|| text("merchant_prepare_id")).transpose()?,
        amount: text("amount")?,
        action: text("action")?,
        sign_time: text("sign_time")?,
    };
    let claimed = text("sign_string")?;
    let written_amount = amount::read(signed.amount).ok_or(ClickFault::Unreadable)?;
    let code = plain_number(text("error")?).filter(|code| *code <= 0).ok_or(ClickFault::Unreadable)?;
    plain_number(signed.click_trans_id).filter(|id| *id >= 0).ok_or(ClickFault::Unreadable)?;
    plain_number(signed.service_id).ok_or(ClickFault::Unreadable)?;

    let has_signed = |settings: &ClickSettings| sign::fits(signed, &settings.secret_keys, claimed);
    let named = accounts.iter().enumerate().find(|(_, settings)| settings.service_id == signed.service_id);
    let Some((place, settings)) = named else {
        return Err(ClickFault::ForeignService { is_signed: accounts.iter().any(|settings| has_signed(settings)) });
    };
    if !has_signed(settings) {
        return Err(ClickFault::BadlySigned);
    }
    let step = match signed.action {
        "0" if code == 0 => ClickStep::Prepare,
        "0" => return Err(ClickFault::FailedBeforeDebit),
        "1" => ClickStep::Complete {
            transaction_id: signed.merchant_prepare_id.and_then(plain_number).filter(|id| *id > 0).map(TransactionId),
            outcome: if code == 0 { ToldOutcome::Debited } else { ToldOutcome::Failed { code } },
        },
        _ => return Err(ClickFault::UnknownAction),
    };
    let call = ClickCall {
        ids: ids.clone(),
        external_id: signed.click_trans_id.to_owned(),
        account: signed.merchant_trans_id.to_owned(),
        amount: match written_amount {
            WrittenAmount::Tiyin(tiyin) => Some(tiyin),
            WrittenAmount::OfNoOrder => None,
        },
        signed_at_ms: signed_at_ms(signed.sign_time),
        step,
        question: format!("{signed:?} {} {}", claimed.to_ascii_lowercase(), code == 0),
    };
    Ok((place, call))
}

/// A whole number in its one way of writing: no plus, no zero in front.
pub(super) fn plain_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// `YYYY-MM-DD HH:mm:ss` as epoch milliseconds. Click's times name no zone; it is at home in Tashkent.
fn signed_at_ms(text: &str) -> Option<i64> {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let at = PrimitiveDateTime::parse(text, format).ok()?.assume_offset(TASHKENT);
    Some(at.unix_timestamp() * 1_000)
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
