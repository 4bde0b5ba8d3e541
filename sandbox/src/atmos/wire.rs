//! The JSON of the merchant API: names, types and nulls as Atmos sends them.

use md5::{Digest, Md5};
use serde::Serialize;

use crate::atmos::codes::{Code, ResultLanguage};
use crate::atmos::transaction::{PaymentState, Transaction};
use crate::config::SandboxConfig;

/// An answer of `/merchant/pay/*` (Atmos API, answers of create, apply, get and reverse).
#[derive(Debug, Serialize)]
pub(crate) struct ApiAnswer {
    pub(crate) result: ResultBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transaction_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_transaction: Option<StoreTransaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ofd_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ofd_url_commission: Option<String>,
}

/// The result of a call (Atmos API, object `result`).
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ResultBody {
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
}

impl ResultBody {
    pub(crate) fn new(code: Code, language: ResultLanguage) -> Self {
        ResultBody { code: code.text(), description: code.description(language) }
    }
}

impl ApiAnswer {
    /// An answer with only the result.
    pub(crate) fn bare(code: Code, language: ResultLanguage) -> Self {
        ApiAnswer {
            result: ResultBody::new(code, language),
            transaction_id: None,
            store_transaction: None,
            ofd_url: None,
            ofd_url_commission: None,
        }
    }
}

/// A transaction as JSON (Atmos API, object `store_transaction`). Times are epoch milliseconds, amounts are tiyin.
#[derive(Debug, Serialize)]
pub(crate) struct StoreTransaction {
    success_trans_id: Option<i64>,
    trans_id: i64,
    store: WireStore,
    /// Null until a card is entered.
    terminal_id: Option<String>,
    account: String,
    pub(crate) amount: i64,
    /// True after the debit, and still true after a reversal.
    confirmed: bool,
    prepay_time: Option<i64>,
    confirm_time: Option<i64>,
    label: Label,
    details: Option<String>,
    commission_value: &'static str,
    commission_type: &'static str,
    pub(crate) total: i64,
    /// A token of the card; null until the debit.
    card_id: Option<String>,
    /// Null: no debit was made. "0": debited. "-20": reversed.
    pub(crate) status_code: Option<&'static str>,
    pub(crate) status_message: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct WireStore {
    id: NumberOrText,
    name: &'static str,
    desc: &'static str,
    logo: Option<&'static str>,
    ga_id: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Label {
    type_id: i64,
    label_ru: &'static str,
    label_uz: &'static str,
    label_en: &'static str,
}

/// A JSON number if the text can be read as one without losing a character, otherwise a text.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum NumberOrText {
    Number(i64),
    Text(String),
}

impl NumberOrText {
    pub(crate) fn new(text: &str) -> Self {
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => NumberOrText::Number(number),
            _ => NumberOrText::Text(text.to_owned()),
        }
    }
}

impl StoreTransaction {
    pub(crate) fn new(transaction: &Transaction, config: &SandboxConfig) -> Self {
        let (confirmed, status_code, status_message) = match transaction.state {
            PaymentState::Draft | PaymentState::Prepaid | PaymentState::Closed => (false, None, None),
            PaymentState::Debited => (true, Some("0"), Some("Success")),
            PaymentState::Reversed => (true, Some("-20"), Some("Canceled")),
        };
        StoreTransaction {
            success_trans_id: transaction.success_trans_id,
            trans_id: transaction.id,
            store: WireStore {
                id: NumberOrText::new(&config.store_id),
                name: "SANDBOX",
                desc: "",
                logo: None,
                ga_id: None,
            },
            terminal_id: transaction.card.as_ref().map(|_| config.terminal_id.clone()),
            account: transaction.account.clone(),
            amount: transaction.amount_tiyin,
            confirmed,
            prepay_time: transaction.prepaid_at_ms,
            confirm_time: transaction.debited_at_ms,
            label: Label {
                type_id: 49,
                label_ru: "Номер инвойса",
                label_uz: "Invoys raqami",
                label_en: "Invoice number",
            },
            details: transaction.details.clone(),
            commission_value: "0",
            commission_type: "0",
            total: transaction.amount_tiyin,
            card_id: confirmed.then(|| card_token(transaction.id)),
            status_code,
            status_message,
        }
    }
}

/// A token that stands for the card of this transaction and reveals nothing about it.
fn card_token(transaction_id: i64) -> String {
    hex(&Md5::digest(format!("sandbox card of {transaction_id}")))
}

/// Lowercase hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes
        .iter()
        .flat_map(|byte| [usize::from(byte >> 4), usize::from(byte & 15)])
        .filter_map(|nibble| DIGITS.get(nibble))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The keys and nulls of a real draft (Atmos API, answer of create).
    #[test]
    fn a_draft_has_every_key_of_a_real_one() {
        let config = SandboxConfig::new(([127, 0, 0, 1], 0).into(), "unused".into(), None);
        let draft = Transaction::draft(14_500_001, "333".into(), 10_200, Some("333".into()));

        let wire = serde_json::to_value(StoreTransaction::new(&draft, &config)).expect("JSON");

        assert_eq!(
            wire,
            json!({"success_trans_id":null,"trans_id":14_500_001,
                "store":{"id":1234,"name":"SANDBOX","desc":"","logo":null,"ga_id":null},
                "terminal_id":null,"account":"333","amount":10_200,"confirmed":false,
                "prepay_time":null,"confirm_time":null,
                "label":{"type_id":49,"label_ru":"Номер инвойса","label_uz":"Invoys raqami","label_en":"Invoice number"},
                "details":"333","commission_value":"0","commission_type":"0","total":10_200,
                "card_id":null,"status_code":null,"status_message":null})
        );
    }

    #[test]
    fn a_value_stays_text_when_a_number_would_lose_a_character() {
        assert_eq!(NumberOrText::new("1234"), NumberOrText::Number(1234));
        for text in ["0123", "+1", "1.0", "", "shop", "99999999999999999999"] {
            assert_eq!(NumberOrText::new(text), NumberOrText::Text(text.to_owned()));
        }
    }
}
