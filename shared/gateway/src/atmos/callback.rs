//! Callbacks: reading the gateway's question, byte by byte where the signature needs it.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::id::TransactionId;
use domain::secret::Secret;
use domain::transaction::{Callback, CallbackFault};
use serde::Serialize;

use super::AtmosSettings;
use super::sign::{self, SignedWords};
use crate::call_fields::CallFields;
use crate::json_answer::whole_number;

/// Reads a callback and checks its signature with the keys of the account whose store it names, which is returned by its
/// place in `accounts`. A callback that names the store of none is checked with the keys of each. It is a pure function: a
/// stored body gives the same result at any time with the same keys.
///
/// The body may be a JSON object, a form whose only field holds such an object, or a plain form, whatever the
/// content type says (integrations report all of them), and each may begin with a byte order mark. Fields that are not
/// documented are ignored, whatever they hold: a new field of the gateway must not stop every shop.
///
/// # Errors
/// `Unreadable` without the four signed fields; else `BadlySigned`.
pub(super) fn read(accounts: &[&AtmosSettings], body: &[u8]) -> Result<(usize, Callback), CallbackFault> {
    let fields = CallFields::read(body, &READ).ok_or(CallbackFault::Unreadable)?;
    let (words, contradiction) = signed_words(&fields).ok_or(CallbackFault::Unreadable)?;
    let claimed = fields.text("sign").ok_or(CallbackFault::BadlySigned)?;
    let has_signed = |settings: &AtmosSettings| {
        let fits = |account| {
            let words = SignedWords { account, ..words };
            sign::fits(settings.sign_algorithm, words, &settings.api_keys, claimed)
        };
        fits(words.account) || contradiction.is_some_and(fits)
    };
    let signer = match accounts.iter().position(|settings| settings.store_id == words.store_id) {
        Some(named) => accounts.get(named).is_some_and(|settings| has_signed(settings)).then_some(named),
        None => accounts.iter().position(|settings| has_signed(settings)),
    };
    let signer = signer.ok_or(CallbackFault::BadlySigned)?;
    let callback = Callback {
        store_id: words.store_id.to_owned(),
        transaction_id: whole_number(words.transaction_id).map(TransactionId),
        account: contradiction.is_none().then(|| words.account.to_owned()),
        amount: whole_number(words.amount),
        signature: claimed.to_ascii_lowercase(),
    };
    Ok((signer, callback))
}

/// The documented body, all values strings, signed with the present key.
pub(super) fn write(settings: &AtmosSettings, transaction_id: TransactionId, account: &str, amount: i64) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        store_id: &'a str,
        transaction_id: &'a str,
        transaction_time: &'a str,
        amount: &'a str,
        account: &'a str,
        sign: &'a str,
    }

    let (transaction_id, amount) = (transaction_id.to_string(), amount.to_string());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let words = SignedWords { store_id: &settings.store_id, transaction_id: &transaction_id, account, amount: &amount };
    let key = settings.api_keys.first().cloned().unwrap_or_else(|| Secret::new(""));
    let body = Body {
        store_id: words.store_id,
        transaction_id: words.transaction_id,
        transaction_time: &now_ms,
        amount: words.amount,
        account: words.account,
        sign: &sign::signature(settings.sign_algorithm, words, &key),
    };
    // A struct of strings always serializes; an empty body would be refused by its reader.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The fields that are read. All others in a body are ignored.
const READ: [&str; 6] = ["store_id", "transaction_id", "account", "invoice", "amount", "sign"];

/// The four signed fields. `account` was once called `invoice`; the `invoice` of a body that has both comes second
/// where it says something else.
fn signed_words<'a>(fields: &'a CallFields<'_>) -> Option<(SignedWords<'a>, Option<&'a str>)> {
    let (account, invoice) = (fields.text("account"), fields.text("invoice"));
    let words = SignedWords {
        store_id: fields.text("store_id")?,
        transaction_id: fields.text("transaction_id")?,
        account: account.or(invoice)?,
        amount: fields.text("amount")?,
    };
    Some((words, invoice.filter(|invoice| *invoice != words.account)))
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
