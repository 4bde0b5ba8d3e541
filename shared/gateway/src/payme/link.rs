//! The checkout link: the address of Payme's page, which says what is to be paid. Building it makes no call.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::Language;

use super::settings::PaymeSettings;

/// The customer sees Payme's receipt for this long before the page sends them back, in milliseconds.
const RETURN_AFTER_MS: u32 = 5_000;

/// The link of an order: the page's address, then `key=value` pairs between semicolons, in Base64 (Payme documents, payment by
/// GET). It is not signed: a customer can change all that it says, so nothing of it is believed later.
pub(super) fn of_order(
    settings: &PaymeSettings,
    order_id: OrderId,
    amount: Tiyin,
    language: Language,
    return_url: &str,
) -> String {
    let PaymeSettings { cashbox_id, account_field, .. } = settings;
    let order_id = order_id.0.to_string();
    let said = [
        ("m", cashbox_id.as_str()),
        (&format!("ac.{account_field}"), order_id.as_str()),
        ("a", &amount.get().to_string()),
        ("l", language.as_str()),
        // A semicolon would end the address.
        ("c", &return_url.replace(';', "%3B")),
        ("ct", &RETURN_AFTER_MS.to_string()),
    ];
    with_parameters(settings, &said)
}

fn with_parameters(settings: &PaymeSettings, said: &[(&str, &str)]) -> String {
    let said: Vec<String> = said.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let page = settings.checkout_url.as_str().trim_end_matches('/');
    format!("{page}/{}", BASE64_STANDARD.encode(said.join(";")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn settings() -> PaymeSettings {
        let settings: PaymeSettings = config::defaults().unwrap();
        let checkout_url = "https://checkout.paycom.uz".parse().unwrap();
        PaymeSettings { checkout_url, cashbox_id: "587f72c72cac0d162c722ae2".into(), ..settings }
    }

    fn said(link: &str) -> String {
        let coded = link.strip_prefix("https://checkout.paycom.uz/").unwrap();
        String::from_utf8(BASE64_STANDARD.decode(coded).unwrap()).unwrap()
    }

    /// The first is Payme's own example (Payme documents, payment by GET).
    #[test]
    fn a_link_is_coded_as_payme_codes_it() {
        let link = |order_id: &str, amount: &str| {
            let said = [("m", "587f72c72cac0d162c722ae2"), ("ac.order_id", order_id), ("a", amount)];
            with_parameters(&settings(), &said)
        };

        assert_eq!(
            link("197", "500"),
            "https://checkout.paycom.uz/bT01ODdmNzJjNzJjYWMwZDE2MmM3MjJhZTI7YWMub3JkZXJfaWQ9MTk3O2E9NTAw"
        );
        assert_eq!(
            link("1", "500000"),
            "https://checkout.paycom.uz/bT01ODdmNzJjNzJjYWMwZDE2MmM3MjJhZTI7YWMub3JkZXJfaWQ9MTthPTUwMDAwMA=="
        );
    }

    #[test]
    fn a_link_names_cashbox_order_amount_language_and_the_way_back() {
        let amount = Tiyin::new(500_000).unwrap();

        let link = of_order(&settings(), OrderId(197), amount, Language::Uz, "https://pay.example.uz/pay/ab12/return");

        assert_eq!(
            said(&link),
            "m=587f72c72cac0d162c722ae2;ac.order_id=197;a=500000;l=uz;c=https://pay.example.uz/pay/ab12/return;ct=5000"
        );
    }

    /// Libraries that leave it as it is send the customer to half an address.
    #[test]
    fn a_semicolon_in_the_return_address_does_not_end_it() {
        let amount = Tiyin::new(1).unwrap();

        let link = of_order(&settings(), OrderId(1), amount, Language::Ru, "https://pay.example.uz/a;b;c");

        assert!(said(&link).contains(";c=https://pay.example.uz/a%3Bb%3Bc;ct="), "{}", said(&link));
    }

    #[test]
    fn the_page_of_a_link_may_have_a_path() {
        let sandbox: PaymeSettings = config::defaults().unwrap();
        let with_slash = PaymeSettings { checkout_url: "https://test.paycom.uz/".parse().unwrap(), ..sandbox.clone() };

        assert_eq!(with_parameters(&sandbox, &[("a", "1")]), "http://127.0.0.1:8100/payme/YT0x");
        assert_eq!(with_parameters(&with_slash, &[("a", "1")]), "https://test.paycom.uz/YT0x");
    }
}
