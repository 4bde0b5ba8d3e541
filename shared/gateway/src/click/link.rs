//! The payment link: the address of Click's page, which says what is to be paid. Building it makes no call.

use domain::id::OrderId;
use domain::money::Tiyin;

use super::settings::ClickSettings;
use crate::http::{percent_encoded, with_path};

/// The link of an order (Click documents, payment by link). It is not signed: a customer can change all that it says, so nothing
/// of it is believed later.
pub(super) fn of_order(settings: &ClickSettings, order_id: OrderId, amount: Tiyin, return_url: &str) -> String {
    let ClickSettings { service_id, merchant_id, .. } = settings;
    let mut url = with_path(&settings.pay_url, "/services/pay");
    let return_url = percent_encoded(return_url);
    url.set_query(Some(&format!(
        "service_id={service_id}&merchant_id={merchant_id}&amount={amount}&transaction_param={order_id}\
         &return_url={return_url}"
    )));
    url.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn link(pay_url: &str, tiyin: i64) -> String {
        let settings: ClickSettings = config::defaults().unwrap();
        let settings = ClickSettings { pay_url: pay_url.parse().unwrap(), ..settings };
        of_order(&settings, OrderId(197), Tiyin::new(tiyin).unwrap(), "https://shop.uz/pay/a b/return?x=1&y=+#z")
    }

    #[test]
    fn a_link_says_what_is_to_be_paid_in_som_with_two_decimals() {
        let expected = "https://my.click.uz/services/pay?service_id=22222&merchant_id=11111&amount=1000.50\
            &transaction_param=197&return_url=https%3A%2F%2Fshop.uz%2Fpay%2Fa%20b%2Freturn%3Fx%3D1%26y%3D%2B%23z";

        assert_eq!(link("https://my.click.uz", 100_050), expected);
        assert!(link("https://my.click.uz", 100_000).contains("&amount=1000.00&"));
    }

    #[test]
    fn the_page_of_the_sandbox_lies_below_a_path() {
        assert!(link("http://127.0.0.1:8100/click", 1).starts_with("http://127.0.0.1:8100/click/services/pay?"));
    }
}
