//! A payment link, from the address of the page or from its form.

use url::{Url, form_urlencoded};

use crate::click::payment::LinkedPayment;
use crate::click::soum;
use crate::click::state::MERCHANT_ID;
use crate::click::words::PageLanguage;

/// What a payer types, which belongs to no link.
const TYPED: [&str; 3] = ["card_number", "expiry", "phone"];
/// The longest order number that is accepted; Click's own limit is not published.
const ACCOUNT_BYTES: usize = 255;

/// A payment link. Nothing of it is signed: amount and order are the payer's to change (Click documents, payment link).
pub(crate) struct PaymentLink {
    payment: LinkedPayment,
    return_url: Option<String>,
    /// The link's own fields.
    fields: Vec<(String, String)>,
    typed: Vec<(String, String)>,
}

impl PaymentLink {
    /// Reads the query of a link to this service, or the fields of a form.
    ///
    /// # Errors
    /// What is wrong with the link, for a person.
    pub(crate) fn read(service_id: &str, encoded: &[u8]) -> Result<Self, String> {
        let all = form_urlencoded::parse(encoded).into_owned();
        let (typed, fields): (Vec<_>, Vec<_>) = all.partition(|(name, _)| TYPED.contains(&name.as_str()));
        let field = |name: &str| value(&fields, name);
        let required = |name: &str| match field(name) {
            "" => Err(format!("This link is incomplete: {name} is missing.")),
            value => Ok(value),
        };
        if required("service_id")? != service_id || required("merchant_id")? != MERCHANT_ID {
            return Err(format!(
                "This link is wrong: the sandbox has service_id {service_id} and merchant_id {MERCHANT_ID}."
            ));
        }
        let amount_tiyin = soum::read_tiyin(required("amount")?)
            .ok_or("This link is wrong: amount is in soʻm, such as 1000.00, and above 0.")?;
        let account = required("transaction_param")?.to_owned();
        if account.len() > ACCOUNT_BYTES {
            return Err("This link is wrong: transaction_param is too long.".to_owned());
        }
        if !matches!(field("card_type"), "" | "uzcard" | "humo") {
            return Err("This link is wrong: card_type is uzcard or humo.".to_owned());
        }
        let return_url = match field("return_url") {
            "" => None,
            text => Some(web_page(text).ok_or("This link is wrong: return_url must begin with http:// or https://.")?),
        };
        Ok(PaymentLink { payment: LinkedPayment { account, amount_tiyin }, return_url, fields, typed })
    }

    /// What the link asks for.
    pub(crate) fn payment(&self) -> LinkedPayment {
        self.payment.clone()
    }

    pub(super) fn return_url(&self) -> Option<&str> {
        self.return_url.as_deref()
    }

    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// What the payer typed in a field.
    pub(super) fn typed(&self, name: &str) -> &str {
        value(&self.typed, name)
    }

    pub(super) fn language(&self, accepted: &str) -> PageLanguage {
        PageLanguage::of(value(&self.fields, "lang"), accepted)
    }

    /// The address of this page in another language, relative to itself.
    pub(super) fn address_in(&self, language: PageLanguage) -> String {
        let fields = self.fields.iter().filter(|(name, _)| name != "lang");
        let mut query = form_urlencoded::Serializer::new(String::from("pay?"));
        query.extend_pairs(fields).append_pair("lang", language.code());
        query.finish()
    }
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str())
}

/// The address of a web page, as the shop wrote it; what Click appends to it is not documented, so nothing is.
fn web_page(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    Some(if is_plain { text.to_owned() } else { url.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "service_id=22222&merchant_id=11111&amount=1000.00&transaction_param=71";

    #[test]
    fn a_link_is_read_as_click_documents_it() {
        let text =
            format!("{LINK}&return_url=https%3A%2F%2Fshop.test%2Fback%3Fa%3D1&card_type=humo&merchant_user_id=3");

        let link = PaymentLink::read("22222", text.as_bytes()).expect("a link");

        assert_eq!((link.payment.account.as_str(), link.payment.amount_tiyin), ("71", 100_000));
        assert_eq!(link.return_url(), Some("https://shop.test/back?a=1"));
        assert!(link.address_in(PageLanguage::Russian).ends_with("&merchant_user_id=3&lang=ru"));
        let address = link.address_in(PageLanguage::English);
        assert!(PaymentLink::read("22222", address.trim_start_matches("pay?").as_bytes()).is_ok());
    }

    #[test]
    fn a_wrong_link_is_told_what_is_wrong() {
        for (link, names) in [
            ("", "service_id"),
            ("service_id=1&merchant_id=11111&amount=1&transaction_param=7", "22222"),
            ("service_id=22222&merchant_id=11111&transaction_param=7", "amount"),
            ("service_id=22222&merchant_id=11111&amount=1,5&transaction_param=7", "amount"),
            ("service_id=22222&merchant_id=11111&amount=1", "transaction_param"),
            (&format!("{LINK}&return_url=javascript:alert(1)"), "return_url"),
            (&format!("{LINK}&card_type=visa"), "card_type"),
        ] {
            let problem = PaymentLink::read("22222", link.as_bytes()).err().expect("a wrong link");

            assert!(problem.contains(names), "{link}: {problem}");
        }
    }
}
