//! Callbacks: reading the gateway's question, byte by byte where the signature needs it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use domain::body_coding::without_byte_order_mark;
use domain::id::TransactionId;
use domain::secret::Secret;
use domain::transaction::{Callback, CallbackFault};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::AtmosSettings;
use super::sign::{self, SignedWords};
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
    let fields = CallbackFields::read(body).ok_or(CallbackFault::Unreadable)?;
    let (words, contradiction) = fields.signed_words().ok_or(CallbackFault::Unreadable)?;
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

/// The fields of [`READ`] in a JSON object or form, their values as written.
struct CallbackFields<'a>(HashMap<Cow<'a, str>, CallbackValue<'a>>);

enum CallbackValue<'a> {
    /// A string, decoded, or a number with the digits it was written with.
    Text(Cow<'a, str>),
    /// `true`, `false` or `null`; no signature covers these.
    Other,
}

impl<'a> CallbackFields<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let body = without_byte_order_mark(body);
        if let Ok(fields) = serde_json::from_slice(body) {
            return Some(fields);
        }
        let pairs: Vec<_> = url::form_urlencoded::parse(body).collect();
        if let [(name, value)] = pairs.as_slice() {
            let document = if value.is_empty() { name } else { value };
            let document = without_byte_order_mark(document.as_bytes());
            return serde_json::from_slice::<CallbackFields<'_>>(document).ok().map(CallbackFields::into_owned);
        }
        let mut fields = HashMap::new();
        for (name, value) in pairs.into_iter().filter(|(name, _)| is_read(name)) {
            if fields.insert(name, CallbackValue::Text(value)).is_some() {
                return None;
            }
        }
        Some(CallbackFields(fields))
    }

    fn into_owned<'b>(self) -> CallbackFields<'b> {
        let owned = self.0.into_iter().map(|(name, scalar)| {
            let scalar = match scalar {
                CallbackValue::Text(text) => CallbackValue::Text(Cow::Owned(text.into_owned())),
                CallbackValue::Other => CallbackValue::Other,
            };
            (Cow::Owned(name.into_owned()), scalar)
        });
        CallbackFields(owned.collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            CallbackValue::Text(text) => Some(text),
            CallbackValue::Other => None,
        }
    }

    /// The four signed fields. `account` was once called `invoice`; the `invoice` of a body that has both comes second
    /// where it says something else.
    fn signed_words(&self) -> Option<(SignedWords<'_>, Option<&str>)> {
        let (account, invoice) = (self.text("account"), self.text("invoice"));
        let words = SignedWords {
            store_id: self.text("store_id")?,
            transaction_id: self.text("transaction_id")?,
            account: account.or(invoice)?,
            amount: self.text("amount")?,
        };
        Some((words, invoice.filter(|invoice| *invoice != words.account)))
    }
}

impl<'de> Deserialize<'de> for CallbackFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlatObject;

        impl<'de> Visitor<'de> for FlatObject {
            type Value = CallbackFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = HashMap::new();
                while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                    let Some(scalar) = scalar(&name, raw)? else { continue };
                    // Two readers of a doubled name may see two different payments.
                    if fields.insert(Cow::Owned(name), scalar).is_some() {
                        return Err(A::Error::custom("a doubled name"));
                    }
                }
                Ok(CallbackFields(fields))
            }
        }

        deserializer.deserialize_map(FlatObject)
    }
}

fn is_read(name: &str) -> bool {
    READ.contains(&name)
}

/// The value of a field; `None` where that is not one of [`READ`]. A nested value of such a field could not be signed, so it is
/// an error.
fn scalar<'a, E: Error>(name: &str, raw: &'a RawValue) -> Result<Option<CallbackValue<'a>>, E> {
    let text = raw.get();
    let scalar = match text.as_bytes().first() {
        Some(b'"') => CallbackValue::Text(Cow::Owned(serde_json::from_str(text).map_err(E::custom)?)),
        Some(b'{' | b'[') if is_read(name) => return Err(E::custom("a nested value")),
        Some(b'{' | b'[' | b't' | b'f' | b'n') | None => CallbackValue::Other,
        Some(_) => CallbackValue::Text(Cow::Borrowed(text)),
    };
    Ok(is_read(name).then_some(scalar))
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
