//! The fields sent by a merchant's server: names, types and checks.

use serde_json::{Map, Value};

use crate::atmos::codes::{Code, ResultLanguage};
use crate::atmos::state::AtmosSandbox;

/// The longest account that is accepted; Atmos' own limit is not published.
const ACCOUNT_BYTES: usize = 255;

/// The JSON object of a call; any other body counts as an object without fields.
pub(super) struct AtmosCallFields(Map<String, Value>);

impl AtmosCallFields {
    pub(super) fn read(bytes: &[u8]) -> Self {
        AtmosCallFields(serde_json::from_slice(bytes).unwrap_or_default())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text or a whole number: Atmos accepts ids and codes in both forms.
    pub(super) fn text_or_number(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        }
    }

    pub(super) fn id(&self, name: &str) -> Option<i64> {
        self.text_or_number(name)?.parse().ok()
    }

    /// Whether the field is present and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn language(&self) -> ResultLanguage {
        self.text("lang").and_then(ResultLanguage::read).unwrap_or_default()
    }

    /// Checks the store, which most calls must name.
    pub(super) fn check_store(&self, state: &AtmosSandbox) -> Result<(), Code> {
        match self.text_or_number("store_id") {
            Some(store_id) if store_id == state.common.config.store_id => Ok(()),
            Some(_) => Err(Code::NotFound),
            None => Err(Code::WrongParameters),
        }
    }

    /// The transaction named by a call; its store is checked first.
    pub(super) fn transaction_id(&self, state: &AtmosSandbox) -> Result<i64, Code> {
        self.check_store(state)?;
        self.id("transaction_id").ok_or(Code::WrongParameters)
    }
}

/// The draft requested by a call.
pub(super) struct NewDraft<'a> {
    pub(super) account: &'a str,
    pub(super) amount_tiyin: i64,
    pub(super) details: Option<&'a str>,
    /// As it was sent; known to be a language.
    pub(super) lang: Option<&'a str>,
}

impl<'a> NewDraft<'a> {
    pub(super) fn read(state: &AtmosSandbox, fields: &'a AtmosCallFields, with_receipt: bool) -> Result<Self, Code> {
        fields.check_store(state)?;
        let amount = fields.0.get("amount").and_then(Value::as_i64).filter(|amount| *amount > 0);
        let account = fields.text("account").filter(|account| !account.is_empty() && account.len() <= ACCOUNT_BYTES);
        let language_is_known =
            !fields.has("lang") || fields.text("lang").is_some_and(|lang| ResultLanguage::read(lang).is_some());
        let details = fields.text("details");
        let (Some(amount_tiyin), Some(account), true) = (amount, account, language_is_known) else {
            return Err(Code::WrongParameters);
        };
        if (fields.has("details") && details.is_none()) || (with_receipt && !receipt_lines_are_whole(fields)) {
            return Err(Code::WrongParameters);
        }
        if fields.has("terminal_id")
            && fields.text_or_number("terminal_id").as_ref() != Some(&state.common.config.terminal_id)
        {
            return Err(Code::NotFound);
        }
        Ok(NewDraft { account, amount_tiyin, details, lang: fields.text("lang") })
    }
}

/// Each line of the fiscal receipt needs a code, a name and an amount (Atmos API, field `ofd_items`).
fn receipt_lines_are_whole(fields: &AtmosCallFields) -> bool {
    let lines = fields.0.get("ofd_items").and_then(Value::as_array);
    lines.is_some_and(|lines| {
        !lines.is_empty()
            && lines.iter().all(|line| {
                let has_text = |name| line.get(name).is_some_and(|value| value.is_string());
                let amount = line.get("amount").and_then(Value::as_i64);
                has_text("ofd_code") && has_text("name") && amount.is_some_and(|amount| amount > 0)
            })
    })
}
