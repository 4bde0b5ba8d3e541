//! The checkout link, read as Payme reads it: nothing in it is signed, so a payer may have changed any of it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use url::Url;

use super::words::PayerLanguage;

/// How padding is read is not documented, so both ways are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How long a paid page stays before the payer returns (Payme documents, `ct`: milliseconds, "default 15").
const RETURN_AFTER_MS: u64 = 15;

/// The most tiyin of one payment. Payme's own limit is not published.
const MOST_TIYIN: i64 = 100_000_000_000_000;

/// What a payer is about to pay, as the link in the browser says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckoutOrder {
    /// The cashbox's id, key `m`.
    pub(crate) cashbox: String,
    /// The account's fields, keys `ac.…`.
    pub(crate) account: BTreeMap<String, String>,
    /// Key `a`; above zero.
    pub(crate) amount_tiyin: i64,
    /// Key `l`.
    pub(crate) language: PayerLanguage,
    /// The web page to which the payer returns, key `c`.
    pub(crate) return_url: Option<Url>,
    /// Key `ct`.
    pub(crate) return_after_ms: u64,
}

/// Why a link cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkProblem {
    #[error("the link is not base64 of key=value pairs with ; between them")]
    Unreadable,
    #[error("the link has no cashbox: m=…")]
    NoCashbox,
    #[error("the link has no account field: ac.order_id=…")]
    NoAccount,
    #[error("the link's amount is not a whole number of tiyin above 0: a=…")]
    Amount,
    #[error("the link's return address is not a web page: c=http…")]
    ReturnAddress,
}

impl CheckoutOrder {
    /// Reads the part of the address behind the host (Payme documents, checkout by GET).
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn read(encoded: &str) -> Result<Self, LinkProblem> {
        let bytes = BASE64.decode(encoded.trim_matches('/')).map_err(|_| LinkProblem::Unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| LinkProblem::Unreadable)?;
        let pairs = text.split(';').filter(|pair| !pair.is_empty());
        let pairs: Vec<(&str, &str)> =
            pairs.map(|pair| pair.split_once('=')).collect::<Option<_>>().ok_or(LinkProblem::Unreadable)?;
        let find = |key: &str| pairs.iter().find(|(other, _)| *other == key).map(|(_, value)| *value);
        let account: BTreeMap<String, String> = pairs
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("ac.")?.to_owned(), (*value).to_owned())))
            .collect();
        if account.is_empty() {
            return Err(LinkProblem::NoAccount);
        }
        let amount = find("a").filter(|amount| amount.bytes().all(|byte| byte.is_ascii_digit()));
        let amount_tiyin = amount.and_then(|amount| amount.parse().ok()).ok_or(LinkProblem::Amount)?;
        if !(1..=MOST_TIYIN).contains(&amount_tiyin) {
            return Err(LinkProblem::Amount);
        }
        let return_url = find("c").filter(|address| !address.is_empty());
        Ok(CheckoutOrder {
            cashbox: find("m").filter(|id| !id.is_empty()).ok_or(LinkProblem::NoCashbox)?.to_owned(),
            account,
            amount_tiyin,
            language: PayerLanguage::find(find("l").unwrap_or_default()),
            return_url: return_url.map(|address| web_page(address).ok_or(LinkProblem::ReturnAddress)).transpose()?,
            return_after_ms: find("ct").and_then(|text| text.parse().ok()).unwrap_or(RETURN_AFTER_MS),
        })
    }

    /// The link's part behind the host.
    pub(crate) fn write(&self) -> String {
        let mut pairs = vec![format!("m={}", self.cashbox)];
        pairs.extend(self.account.iter().map(|(field, value)| format!("ac.{field}={value}")));
        pairs.push(format!("a={}", self.amount_tiyin));
        pairs.push(format!("l={}", self.language.code()));
        if let Some(url) = &self.return_url {
            pairs.push(format!("c={}", url.as_str().replace(';', "%3B")));
            pairs.push(format!("ct={}", self.return_after_ms));
        }
        BASE64.encode(pairs.join(";"))
    }

    /// The address to which the payer returns, with the placeholders filled in (Payme documents, checkout, `callback`).
    pub(crate) fn return_address(&self, receipt_id: &str) -> Option<String> {
        let mut address = self.return_url.as_ref()?.as_str().replace(":transaction", receipt_id);
        for (field, value) in &self.account {
            address = address.replace(&format!(":account.{field}"), value);
        }
        Some(address)
    }

    /// The value of the account, for faults and lists; the first field if there are several.
    pub(crate) fn account_value(&self) -> &str {
        self.account.values().next().map_or("", String::as_str)
    }
}

/// An address of a web page; it may be percent-encoded as a whole, for a `;` in it would end it.
fn web_page(text: &str) -> Option<Url> {
    let is_encoded = text.get(..8).is_some_and(|head| head.to_ascii_lowercase().contains("%3a"));
    let decoded = match is_encoded {
        true => {
            url::form_urlencoded::parse(format!("c={}", text.replace('+', "%2B")).as_bytes()).next()?.1.into_owned()
        }
        false => text.to_owned(),
    };
    Url::parse(&decoded).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        BASE64.encode(text)
    }

    /// The link of Payme's documentation.
    #[test]
    fn the_documented_link_is_read() {
        let read = CheckoutOrder::read("bT01ODdmNzJjNzJjYWMwZDE2MmM3MjJhZTI7YWMub3JkZXJfaWQ9MTk3O2E9NTAw");

        let order = read.expect("a link");
        assert_eq!(order.cashbox, "587f72c72cac0d162c722ae2");
        assert_eq!(order.account_value(), "197");
        assert_eq!(order.amount_tiyin, 500);
        assert_eq!(order.language, PayerLanguage::Russian);
        assert_eq!((order.return_url, order.return_after_ms), (None, 15));
    }

    #[test]
    fn padding_may_be_there_or_not() {
        let padded = "bT01ODdmNzJjNzJjYWMwZDE2MmM3MjJhZTI7YWMub3JkZXJfaWQ9MTthPTUwMDAwMA==";

        assert_eq!(CheckoutOrder::read(padded), CheckoutOrder::read(padded.trim_end_matches('=')));
        assert_eq!(CheckoutOrder::read(padded).expect("a link").amount_tiyin, 500_000);
    }

    #[test]
    fn the_return_address_may_be_encoded_and_its_placeholders_are_filled_in() {
        for address in [
            "https://shop.test/back?t=:transaction&o=:account.order_id&x=1%3B2",
            "https%3A%2F%2Fshop.test%2Fback%3Ft%3D%3Atransaction%26o%3D%3Aaccount.order_id%26x%3D1%253B2",
        ] {
            let order = CheckoutOrder::read(&encoded(&format!("m=1;ac.order_id=7;a=1;c={address};ct=5000;l=uz")));

            let order = order.expect("a link");
            assert_eq!(order.return_address("abc").as_deref(), Some("https://shop.test/back?t=abc&o=7&x=1%3B2"));
            assert_eq!((order.return_after_ms, order.language), (5_000, PayerLanguage::Uzbek));
        }
    }

    #[test]
    fn an_altered_link_is_written_as_it_is_read() {
        let order =
            CheckoutOrder::read(&encoded("m=1;ac.order_id=7;ac.shop=2;a=1;c=http://s.test/;l=en")).expect("a link");

        let altered = CheckoutOrder { amount_tiyin: 99, ..order };

        assert_eq!(CheckoutOrder::read(&altered.write()), Ok(altered));
    }

    #[test]
    fn each_fault_of_a_link_is_named() {
        for (text, problem) in [
            ("m", LinkProblem::Unreadable),
            ("ac.order_id=1;a=1", LinkProblem::NoCashbox),
            ("m=1;a=1", LinkProblem::NoAccount),
            ("m=1;ac.order_id=1", LinkProblem::Amount),
            ("m=1;ac.order_id=1;a=0", LinkProblem::Amount),
            ("m=1;ac.order_id=1;a=-5", LinkProblem::Amount),
            ("m=1;ac.order_id=1;a=5.0", LinkProblem::Amount),
            ("m=1;ac.order_id=1;a=99999999999999999999", LinkProblem::Amount),
            ("m=1;ac.order_id=1;a=1;c=javascript:alert(1)", LinkProblem::ReturnAddress),
        ] {
            assert_eq!(CheckoutOrder::read(&encoded(text)), Err(problem), "{text}");
        }
        assert_eq!(CheckoutOrder::read("%%%"), Err(LinkProblem::Unreadable));
    }
}
