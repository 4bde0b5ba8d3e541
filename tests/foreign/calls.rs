//! Random Prepares and Completes of Click.

use std::collections::BTreeMap;

use domain::money::Tiyin;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::orders::number;

/// What became of a call between the library that signed it and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alteration {
    Nothing,
    /// A digit slides from the order's number to the amount. There is no separator between them, so the signature still fits.
    SlidDigit,
    /// This signed field has another value.
    Field(&'static str),
    /// One digit of the signature is another.
    Signature,
    /// It was signed with another key.
    Key,
}

/// A call, as it was signed and as it is sent.
#[derive(Debug)]
pub(super) struct RandomCall {
    /// The secret key of the service.
    pub(super) key: String,
    /// The signed fields, as they are sent.
    pub(super) sent: BTreeMap<&'static str, String>,
    signed: BTreeMap<&'static str, String>,
    signature: String,
    alteration: Alteration,
    is_json: bool,
}

impl RandomCall {
    /// This many; every second one is a Complete.
    pub(super) fn some(random: &mut StdRng, count: usize) -> Vec<RandomCall> {
        (0..count).map(|place| RandomCall::draw(random, place % 2 == 1)).collect()
    }

    fn draw(random: &mut StdRng, is_complete: bool) -> RandomCall {
        let mut signed = BTreeMap::from([
            ("click_trans_id", number(random, i64::MAX - 1).to_string()),
            ("service_id", number(random, 999_999_999_999_999_999).to_string()),
            ("merchant_trans_id", number(random, i64::MAX - 1).to_string()),
            ("amount", amount(random)),
            ("action", i32::from(is_complete).to_string()),
            ("sign_time", time(random)),
        ]);
        if is_complete {
            signed.insert("merchant_prepare_id", number(random, i64::MAX - 1).to_string());
        }
        let changes = [
            Alteration::SlidDigit,
            Alteration::Field("click_trans_id"),
            Alteration::Field("merchant_trans_id"),
            Alteration::Field("amount"),
            Alteration::Field("sign_time"),
            Alteration::Field("merchant_prepare_id"),
            Alteration::Signature,
            Alteration::Key,
        ];
        let change = *changes.choose(random).unwrap();
        let alteration = match random.random_bool(0.5) && sent(&signed, change).is_some() {
            true => change,
            false => Alteration::Nothing,
        };
        RandomCall {
            key: key(random),
            sent: sent(&signed, alteration).unwrap(),
            signed,
            signature: String::new(),
            alteration,
            is_json: random.random(),
        }
    }

    /// For the library that signs.
    pub(super) fn question_for_signature(&self) -> Value {
        let key = match self.alteration {
            Alteration::Key => format!("{}x", self.key),
            _ => self.key.clone(),
        };
        json!({ "question": "click_signature", "key": key, "fields": self.signed })
    }

    /// Takes the library's signature.
    pub(super) fn sign(&mut self, signature: &str) {
        self.signature = match self.alteration {
            Alteration::Signature => {
                let (first, rest) = signature.split_at(1);
                format!("{}{rest}", if first == "0" { "1" } else { "0" })
            }
            _ => signature.to_owned(),
        };
    }

    /// For the library that judges.
    pub(super) fn question_for_judgement(&self) -> Value {
        json!({ "question": "click_is_signed", "key": self.key, "fields": self.sent, "sign_string": self.signature })
    }

    /// Whether the signature is meant to fit what is sent.
    pub(super) fn is_signed(&self) -> bool {
        matches!(self.alteration, Alteration::Nothing | Alteration::SlidDigit)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.sent["action"] == "1"
    }

    /// The body as Click sends it: a form, or JSON with the same fields.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut fields: BTreeMap<&str, &str> = self.sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.extend([("error", "0"), ("error_note", "Success"), ("click_paydoc_id", "1")]);
        fields.insert("sign_string", &self.signature);
        match self.is_json {
            true => serde_json::to_vec(&fields).unwrap(),
            false => Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes(),
        }
    }
}

/// The fields after this alteration; `None` where it cannot be made.
fn sent(signed: &BTreeMap<&'static str, String>, alteration: Alteration) -> Option<BTreeMap<&'static str, String>> {
    let mut sent = signed.clone();
    match alteration {
        Alteration::Nothing | Alteration::Signature | Alteration::Key => (),
        Alteration::SlidDigit => {
            let (rest, digit) = signed["merchant_trans_id"].split_at(signed["merchant_trans_id"].len() - 1);
            let slid = format!("{digit}{}", signed["amount"]);
            // Complete has another field between the two, and an amount begins with no 0.
            if rest.is_empty() || digit == "0" || signed.contains_key("merchant_prepare_id") {
                return None;
            }
            sent.insert("merchant_trans_id", rest.to_owned());
            sent.insert("amount", slid);
        }
        Alteration::Field("sign_time") => {
            sent.insert("sign_time", "2001-01-01 00:00:00".to_owned());
        }
        Alteration::Field("amount") => {
            // Another amount that can be read, even at the largest.
            sent.insert("amount", format!("1{}", signed["amount"]));
        }
        Alteration::Field(name) => {
            let number: i64 = signed.get(name)?.parse().unwrap();
            sent.insert(name, (number + 1).to_string());
        }
    }
    Some(sent)
}

/// Soʻm in each way in which Click was seen to write them.
fn amount(random: &mut StdRng) -> String {
    let tiyin = number(random, Tiyin::MAX.get());
    let (whole, rest) = (tiyin / 100, tiyin % 100);
    match rest {
        0 => (*[format!("{whole}"), format!("{whole}.0"), format!("{whole}.00")].choose(random).unwrap()).clone(),
        10.. if rest % 10 == 0 && random.random() => format!("{whole}.{}", rest / 10),
        _ => format!("{whole}.{rest:02}"),
    }
}

fn time(random: &mut StdRng) -> String {
    let mut two = |from, to| format!("{:02}", random.random_range(from..to));
    format!("20{}-{}-{} {}:{}:{}", two(20, 99), two(1, 13), two(1, 29), two(0, 24), two(0, 60), two(0, 60))
}

/// A key of printable characters, also of those that a form must escape.
fn key(random: &mut StdRng) -> String {
    let length = random.random_range(1..=40);
    (0..length).map(|_| char::from(random.random_range(b'!'..=b'~'))).collect()
}
