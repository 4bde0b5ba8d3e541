//! The two signatures of Click, written from its documentation alone.

use md5::Md5;
use sha1::{Digest, Sha1};

/// The signature of a call of SHOP-API: MD5 over the joined values, in lower-case hex (Click documents, `sign_string`).
///
/// Each value is taken as it stands in the call. `merchant_prepare_id` is empty for Prepare.
pub(crate) struct SignedValues<'a> {
    pub(crate) click_trans_id: &'a str,
    pub(crate) service_id: &'a str,
    pub(crate) merchant_trans_id: &'a str,
    pub(crate) merchant_prepare_id: &'a str,
    pub(crate) amount: &'a str,
    pub(crate) action: &'a str,
    pub(crate) sign_time: &'a str,
}

impl SignedValues<'_> {
    pub(crate) fn sign(&self, secret_key: &str) -> String {
        let mut hash = Md5::new();
        for value in [
            self.click_trans_id,
            self.service_id,
            secret_key,
            self.merchant_trans_id,
            self.merchant_prepare_id,
            self.amount,
            self.action,
            self.sign_time,
        ] {
            hash.update(value);
        }
        hex::encode(hash.finalize())
    }
}

/// The digest in the header `Auth` of the Merchant API: SHA-1 over timestamp and key (Click documents, Merchant API).
pub(crate) fn auth_digest(timestamp: &str, secret_key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(timestamp);
    hash.update(secret_key);
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREPARE: SignedValues<'_> = SignedValues {
        click_trans_id: "3737503",
        service_id: "12345",
        merchant_trans_id: "order_9001",
        merchant_prepare_id: "",
        amount: "1000.00",
        action: "0",
        sign_time: "2026-08-22 14:03:11",
    };

    #[test]
    fn a_call_is_signed_as_click_documents_it() {
        let complete =
            SignedValues { merchant_prepare_id: "778", action: "1", sign_time: "2026-08-22 14:03:19", ..PREPARE };

        assert_eq!(PREPARE.sign("SECRET123"), "9f73df6a589039c3afde3e2039720e46");
        assert_eq!(complete.sign("SECRET123"), "a55a9138d88a9f9ee6fa86bece724e0b");
    }

    #[test]
    fn values_that_slide_over_a_boundary_are_signed_alike() {
        let slid = SignedValues { merchant_trans_id: "order_900", amount: "11000.00", ..PREPARE };

        assert_eq!(slid.sign("SECRET123"), PREPARE.sign("SECRET123"));
    }

    #[test]
    fn the_merchant_api_is_signed_as_click_documents_it() {
        assert_eq!(auth_digest("1712345678", "SECRET123"), "4d3f62489dbc19114297581bcfa0d906f84df0cd");
    }
}
