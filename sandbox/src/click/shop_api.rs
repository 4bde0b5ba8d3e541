//! The calls of SHOP-API, Prepare and Complete: their fields as Click writes them.

use serde_json::value::RawValue;
use url::form_urlencoded;

use super::signature::SignedValues;

/// `error` of a Complete for a payment that failed or was canceled; the one number that integrators have seen.
pub(crate) const PAYMENT_FAILED: i64 = -5017;

/// Fields that Click documents as numbers; JSON writes them without quotation marks.
const NUMBERS: [&str; 7] =
    ["click_trans_id", "service_id", "click_paydoc_id", "merchant_prepare_id", "amount", "action", "error"];

/// One call to a merchant, each value as it is sent (Click documents, SHOP-API).
#[derive(Clone, Debug)]
pub(crate) struct ShopApiCall {
    pub(crate) click_trans_id: String,
    pub(crate) service_id: String,
    pub(crate) click_paydoc_id: String,
    pub(crate) merchant_trans_id: String,
    /// Only of Complete.
    pub(crate) merchant_prepare_id: Option<String>,
    pub(crate) amount: String,
    /// `0` is Prepare, `1` is Complete.
    pub(crate) action: String,
    pub(crate) error: String,
    pub(crate) error_note: String,
    pub(crate) sign_time: String,
    /// `None` leaves the field out.
    pub(crate) sign_string: Option<String>,
    /// A field that is left out although it belongs there.
    pub(crate) without: Option<&'static str>,
    /// Whether a field is added that no documentation has.
    pub(crate) has_more: bool,
}

/// The form of a call's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallBody {
    /// As all samples and testers take it.
    Form,
    /// The same fields as JSON; Click does not say that it sends them so.
    Json,
}

impl CallBody {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            CallBody::Form => "application/x-www-form-urlencoded",
            CallBody::Json => "application/json",
        }
    }
}

impl ShopApiCall {
    /// Whether it goes to the address for Prepare, whatever `action` says.
    pub(crate) fn is_prepare(&self) -> bool {
        self.merchant_prepare_id.is_none()
    }

    /// `Prepare` or `Complete`.
    pub(crate) fn name(&self) -> &'static str {
        if self.is_prepare() { "Prepare" } else { "Complete" }
    }

    /// Signs the values as they stand.
    pub(crate) fn signed(mut self, secret_key: &str) -> Self {
        let values = SignedValues {
            click_trans_id: &self.click_trans_id,
            service_id: &self.service_id,
            merchant_trans_id: &self.merchant_trans_id,
            merchant_prepare_id: self.merchant_prepare_id.as_deref().unwrap_or_default(),
            amount: &self.amount,
            action: &self.action,
            sign_time: &self.sign_time,
        };
        self.sign_string = Some(values.sign(secret_key));
        self
    }

    /// Moves a digit over the boundary between two signed values, which leaves the signature as it is. `None` if no
    /// digit can move.
    ///
    /// Prepare: from the order's number to the amount, or back if the number has one digit. Complete: from
    /// `merchant_prepare_id` to the amount.
    pub(crate) fn slid(mut self) -> Option<Self> {
        let giving = match &mut self.merchant_prepare_id {
            Some(prepare_id) => prepare_id,
            None => &mut self.merchant_trans_id,
        };
        match giving.pop() {
            // A zero in front changes no amount.
            Some(digit @ '1'..='9') if !giving.is_empty() => self.amount.insert(0, digit),
            Some(last) => {
                giving.push(last);
                // A zero behind the boundary would change no amount.
                let digit = self.amount.chars().next().filter(|digit| matches!(digit, '1'..='9'))?;
                self.amount.remove(0);
                giving.push(digit);
                if !self.amount.starts_with(|digit: char| digit.is_ascii_digit()) {
                    return None;
                }
            }
            None => return None,
        }
        Some(self)
    }

    /// The fields in the order in which Click documents them.
    pub(crate) fn fields(&self) -> Vec<(&'static str, &str)> {
        let fields = [
            ("click_trans_id", Some(self.click_trans_id.as_str())),
            ("service_id", Some(self.service_id.as_str())),
            ("click_paydoc_id", Some(self.click_paydoc_id.as_str())),
            ("merchant_trans_id", Some(self.merchant_trans_id.as_str())),
            ("merchant_prepare_id", self.merchant_prepare_id.as_deref()),
            ("amount", Some(self.amount.as_str())),
            ("action", Some(self.action.as_str())),
            ("error", Some(self.error.as_str())),
            ("error_note", Some(self.error_note.as_str())),
            ("sign_time", Some(self.sign_time.as_str())),
            ("sign_string", self.sign_string.as_deref()),
            ("click_extra", self.has_more.then_some("new")),
        ];
        let sent = fields.into_iter().filter(|(name, _)| Some(*name) != self.without);
        sent.filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The body as it is sent.
    pub(crate) fn written(&self, body: CallBody) -> String {
        match body {
            CallBody::Form => form_urlencoded::Serializer::new(String::new()).extend_pairs(self.fields()).finish(),
            CallBody::Json => {
                let fields = self.fields().into_iter().map(|(name, value)| format!("\"{name}\":{}", json(name, value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// A value as JSON: `1000.00` stays so, because the signature is over these very digits.
fn json(name: &str, value: &str) -> String {
    let is_number = NUMBERS.contains(&name) && value.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    let raw = is_number.then(|| RawValue::from_string(value.to_owned()).ok()).flatten();
    match raw {
        Some(raw) => raw.get().to_owned(),
        None => serde_json::Value::from(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::click::soum;

    proptest! {
        /// A merchant that checks the signature alone is deceived by each of them.
        #[test]
        fn slid_values_are_signed_alike_and_ask_for_another_amount(
            account in "[0-9]{1,6}", tiyin in 1..1_000_000_000_i64, prepare_id in proptest::option::of("[1-9][0-9]{0,5}"),
        ) {
            let amount = soum::with_decimals(tiyin);
            let honest = ShopApiCall { merchant_trans_id: account, merchant_prepare_id: prepare_id, amount, ..call() };
            let honest = honest.signed("S");
            if let Some(slid) = honest.clone().slid() {
                prop_assert_eq!(&slid.clone().signed("S").sign_string, &honest.sign_string);
                prop_assert_ne!(soum::read_tiyin(&slid.amount), Some(tiyin));
            }
        }
    }

    fn call() -> ShopApiCall {
        ShopApiCall {
            click_trans_id: "3737503".to_owned(),
            service_id: "12345".to_owned(),
            click_paydoc_id: "99".to_owned(),
            merchant_trans_id: "71".to_owned(),
            merchant_prepare_id: None,
            amount: "1000.00".to_owned(),
            action: "0".to_owned(),
            error: "0".to_owned(),
            error_note: "Success".to_owned(),
            sign_time: "2026-08-22 14:03:11".to_owned(),
            sign_string: None,
            without: None,
            has_more: false,
        }
    }

    #[test]
    fn a_form_and_json_carry_the_same_signed_digits() {
        let call = call().signed("SECRET123");

        let form = call.written(CallBody::Form);
        let json = call.written(CallBody::Json);

        assert!(form.contains("amount=1000.00&action=0"), "{form}");
        assert!(form.contains("sign_time=2026-08-22+14%3A03%3A11"), "{form}");
        assert!(json.contains(r#""amount":1000.00,"action":0,"error":0,"error_note":"Success""#), "{json}");
        assert!(json.contains(r#""merchant_trans_id":"71""#), "{json}");
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    }

    #[test]
    fn slid_values_keep_their_signature_and_change_the_amount() {
        let honest = call().signed("SECRET123");
        let complete =
            ShopApiCall { merchant_prepare_id: Some("778".to_owned()), action: "1".to_owned(), ..call() }.signed("S");

        let slid = honest.clone().slid().expect("a digit");
        let slid_complete = complete.clone().slid().expect("a digit");
        let short = ShopApiCall { merchant_trans_id: "7".to_owned(), ..call() }.slid().expect("a digit");

        assert_eq!((slid.merchant_trans_id.as_str(), slid.amount.as_str()), ("7", "11000.00"));
        assert_eq!(slid.signed("SECRET123").sign_string, honest.sign_string);
        assert_eq!(slid_complete.merchant_prepare_id.as_deref(), Some("77"));
        assert_eq!(slid_complete.amount, "81000.00");
        assert_eq!(slid_complete.signed("S").sign_string, complete.sign_string);
        assert_eq!((short.merchant_trans_id.as_str(), short.amount.as_str()), ("71", "000.00"));
    }

    #[test]
    fn a_field_can_be_left_out_or_added() {
        let call = ShopApiCall { without: Some("amount"), has_more: true, ..call() };

        let form = call.written(CallBody::Form);

        assert!(!form.contains("amount="), "{form}");
        assert!(form.ends_with("click_extra=new"), "{form}");
    }
}
