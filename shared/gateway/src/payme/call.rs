//! Reading a call of Payme's Merchant API: JSON-RPC, whatever its content type, with or without the member `jsonrpc`.

use std::collections::HashMap;
use std::fmt;

use domain::body_coding::without_byte_order_mark;
use domain::fiscal::FiscalKind;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::PaymeFault;

/// The longest id of a call, of a transaction or of a receipt, and the longest name of a method that is repeated, bytes. Payme's
/// ids have 24 (Payme documents, data types).
const LONGEST_ID: usize = 64;

/// The longest `account`, bytes. It is kept with the transaction, and each statement repeats it.
const LONGEST_ACCOUNT: usize = 1_000;

/// Timestamps have 13 digits: milliseconds since 1970 (Payme documents, data types).
const TIMESTAMPS: std::ops::RangeInclusive<i64> = 1_000_000_000_000..=9_999_999_999_999;

/// One call.
#[derive(Clone, Debug)]
pub struct PaymeCall {
    /// Repeated in the answer.
    pub id: CallId,
    /// What it asks, or why that cannot be read.
    pub request: Result<PaymeRequest, PaymeFault>,
}

/// The `id` of a call, as it was written: a number or a string; else `null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallId(String);

impl Default for CallId {
    fn default() -> Self {
        CallId("null".to_owned())
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a call asks, by its method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymeRequest {
    /// `CheckPerformTransaction`: may this be paid?
    CheckPerform(AskedPayment),
    /// `CreateTransaction`: a transaction is born, and holds the order.
    Create {
        /// Payme's id of the transaction.
        external_id: String,
        /// When Payme created it, epoch milliseconds of Payme's clock.
        gateway_at_ms: i64,
        /// What is to be paid.
        payment: AskedPayment,
    },
    /// `PerformTransaction`: the money was taken.
    Perform {
        /// Payme's id of the transaction.
        external_id: String,
    },
    /// `CancelTransaction`: the payment failed, or its money goes back.
    Cancel {
        /// Payme's id of the transaction.
        external_id: String,
        /// Payme's number for why.
        reason: i64,
    },
    /// `CheckTransaction`: how does it stand?
    Check {
        /// Payme's id of the transaction.
        external_id: String,
    },
    /// `GetStatement`: all transactions that Payme created from one moment to another, both included.
    Statement {
        /// The first moment, epoch milliseconds of Payme's clock.
        from_ms: i64,
        /// The last one.
        to_ms: i64,
    },
    /// `SetFiscalData`: the fiscal receipt exists, or could not be made.
    SetFiscalData {
        /// Payme's id of the receipt.
        external_id: String,
        /// Whether it is the payment's or the refund's.
        kind: FiscalKind,
        /// The receipt's data, a JSON object as it came.
        data: String,
    },
}

/// What is to be paid, as the call says. It came from a link that the customer can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPayment {
    /// What it is for.
    pub account: PaymeAccount,
    /// The amount in tiyin; `None` if that is no whole number, and can be the amount of no order.
    pub amount: Option<i64>,
}

/// The `account` of a call: a JSON object with the fields that the cashbox defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymeAccount {
    text: String,
}

impl PaymeAccount {
    /// The object as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a field, a string or a number as it was written. `None` if it is missing, there twice, or something else.
    pub fn value(&self, field: &str) -> Option<String> {
        let fields: Fields<'_> = serde_json::from_str(&self.text).ok()?;
        fields.text(field).or_else(|| fields.number(field).map(str::to_owned))
    }
}

impl PaymeCall {
    /// Reads a body.
    ///
    /// # Errors
    /// [`PaymeFault::NotJson`]. Every other fault is in [`PaymeCall::request`], because it is told after the keys were compared.
    pub fn read(body: &[u8]) -> Result<Self, PaymeFault> {
        let json: &RawValue =
            serde_json::from_slice(without_byte_order_mark(body)).map_err(|_not_json| PaymeFault::NotJson)?;
        let Ok(call) = serde_json::from_str::<Fields<'_>>(json.get()) else {
            return Ok(PaymeCall { id: CallId::default(), request: Err(PaymeFault::Malformed) });
        };
        Ok(PaymeCall { id: call.id(), request: request(&call).map_err(|fault| fault.unwrap_or(PaymeFault::Malformed)) })
    }
}

impl PaymeRequest {
    /// The name of its method.
    pub fn method(&self) -> &'static str {
        match self {
            PaymeRequest::CheckPerform(_) => "CheckPerformTransaction",
            PaymeRequest::Create { .. } => "CreateTransaction",
            PaymeRequest::Perform { .. } => "PerformTransaction",
            PaymeRequest::Cancel { .. } => "CancelTransaction",
            PaymeRequest::Check { .. } => "CheckTransaction",
            PaymeRequest::Statement { .. } => "GetStatement",
            PaymeRequest::SetFiscalData { .. } => "SetFiscalData",
        }
    }
}

/// The request; without a fault of its own an error means [`PaymeFault::Malformed`].
fn request(call: &Fields<'_>) -> Result<PaymeRequest, Option<PaymeFault>> {
    let method = call.text("method").ok_or(None)?;
    let read = match method.as_str() {
        "CheckPerformTransaction" => |params: &Fields<'_>| Some(PaymeRequest::CheckPerform(params.payment()?)),
        "CreateTransaction" => |params: &Fields<'_>| {
            let gateway_at_ms = params.timestamp("time")?;
            Some(PaymeRequest::Create { external_id: params.external_id()?, gateway_at_ms, payment: params.payment()? })
        },
        "PerformTransaction" => {
            |params: &Fields<'_>| Some(PaymeRequest::Perform { external_id: params.external_id()? })
        }
        "CancelTransaction" => |params: &Fields<'_>| {
            Some(PaymeRequest::Cancel { external_id: params.external_id()?, reason: params.whole_number("reason")? })
        },
        "CheckTransaction" => |params: &Fields<'_>| Some(PaymeRequest::Check { external_id: params.external_id()? }),
        "GetStatement" => |params: &Fields<'_>| {
            // A window may begin at 0.
            let [from_ms, to_ms] = ["from", "to"].map(|name| params.whole_number(name));
            let (from_ms, to_ms) = (from_ms?, to_ms?);
            (from_ms <= to_ms).then_some(PaymeRequest::Statement { from_ms, to_ms })
        },
        "SetFiscalData" => |params: &Fields<'_>| {
            let (external_id, kind) = (params.external_id()?, FiscalKind::parse(&params.text("type")?)?);
            Some(PaymeRequest::SetFiscalData { external_id, kind, data: params.object("fiscal_data")?.to_owned() })
        },
        _ => {
            let known_length = method.floor_char_boundary(LONGEST_ID);
            return Err(Some(PaymeFault::UnknownMethod(method[..known_length].to_owned())));
        }
    };
    let unreadable = || (method == "SetFiscalData").then_some(PaymeFault::BadFiscalData);
    let params = call.object("params").and_then(|params| serde_json::from_str(params).ok());
    params.and_then(|params| read(&params)).ok_or_else(unreadable)
}

/// The members of a JSON object, each once, with their values as written.
struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn id(&self) -> CallId {
        let id = self.0.get("id").filter(|id| {
            let begin = id.get().as_bytes().first();
            id.get().len() <= LONGEST_ID && begin.is_some_and(|sign| matches!(sign, b'"' | b'-' | b'0'..=b'9'))
        });
        id.map_or_else(CallId::default, |id| CallId(id.get().to_owned()))
    }

    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    fn number(&self, name: &str) -> Option<&'a str> {
        let written = self.0.get(name)?.get();
        written.starts_with(|sign: char| sign == '-' || sign.is_ascii_digit()).then_some(written)
    }

    fn whole_number(&self, name: &str) -> Option<i64> {
        self.number(name)?.parse().ok()
    }

    fn timestamp(&self, name: &str) -> Option<i64> {
        self.whole_number(name).filter(|at_ms| TIMESTAMPS.contains(at_ms))
    }

    fn object(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get()).filter(|value| value.starts_with('{'))
    }

    fn external_id(&self) -> Option<String> {
        let is_id =
            |id: &String| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|sign| sign.is_ascii_graphic());
        self.text("id").filter(is_id)
    }

    fn payment(&self) -> Option<AskedPayment> {
        let account = self.object("account").filter(|account| account.len() <= LONGEST_ACCOUNT)?;
        self.number("amount")?;
        Some(AskedPayment { account: PaymeAccount { text: account.to_owned() }, amount: self.whole_number("amount") })
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = HashMap::new();
                let mut doubled = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    // Two readers of a doubled name may see two different payments, so this one sees none.
                    if fields.insert(name.clone(), value).is_some() {
                        doubled.push(name);
                    }
                }
                fields.retain(|name, _| !doubled.contains(name));
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
