//! Signatures of Click's calls: a hash over the call's own words and the secret key.

use domain::secret::Secret;
use md5::{Digest, Md5};
use subtle::{Choice, ConstantTimeEq};

/// The words that a signature covers, each as it came: numbers as written, strings decoded.
///
/// There is no separator, so `merchant_trans_id` `71` with amount `1000.00` has the signature of `7` with `11000.00`. The
/// caller must therefore compare each of the words with our own rows. `error` is not covered at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedFields<'a> {
    pub(super) click_trans_id: &'a str,
    pub(super) service_id: &'a str,
    pub(super) merchant_trans_id: &'a str,
    /// Only in Complete.
    pub(super) merchant_prepare_id: Option<&'a str>,
    pub(super) amount: &'a str,
    pub(super) action: &'a str,
    pub(super) sign_time: &'a str,
}

/// The signature in lower-case hex: md5 over `click_trans_id + service_id + SECRET_KEY + merchant_trans_id +
/// (merchant_prepare_id) + amount + action + sign_time` (Click documents, Prepare and Complete).
pub(super) fn signature(fields: SignedFields<'_>, key: &Secret) -> String {
    let text = [
        fields.click_trans_id,
        fields.service_id,
        key.expose(),
        fields.merchant_trans_id,
        fields.merchant_prepare_id.unwrap_or_default(),
        fields.amount,
        fields.action,
        fields.sign_time,
    ];
    hex::encode(Md5::digest(text.concat()))
}

/// Whether `claimed` is the signature by one of `keys`; its hex digits may be upper case. An empty key is not used: it
/// is no secret.
pub(super) fn fits(fields: SignedFields<'_>, keys: &[Secret], claimed: &str) -> bool {
    let claimed = claimed.to_ascii_lowercase();
    // Every key is tried, so that the time does not show which one it was.
    let known = keys.iter().filter(|key| !key.expose().is_empty());
    let fits =
        known.fold(Choice::from(0), |fits, key| fits | signature(fields, key).as_bytes().ct_eq(claimed.as_bytes()));
    fits.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREPARE: SignedFields<'static> = SignedFields {
        click_trans_id: "3737503",
        service_id: "12345",
        merchant_trans_id: "order_9001",
        merchant_prepare_id: None,
        amount: "1000.00",
        action: "0",
        sign_time: "2026-08-22 14:03:11",
    };
    const COMPLETE: SignedFields<'static> =
        SignedFields { merchant_prepare_id: Some("778"), action: "1", sign_time: "2026-08-22 14:03:19", ..PREPARE };

    fn key() -> Secret {
        Secret::new("SECRET123")
    }

    #[test]
    fn signatures_are_those_of_known_integrations() {
        assert_eq!(signature(PREPARE, &key()), "9f73df6a589039c3afde3e2039720e46");
        assert_eq!(signature(COMPLETE, &key()), "a55a9138d88a9f9ee6fa86bece724e0b");
    }

    /// This is why a correct signature is not enough: account, amount and the rest must equal our own rows.
    #[test]
    fn sliding_a_digit_from_account_to_amount_keeps_the_signature() {
        let honest = SignedFields { merchant_trans_id: "71", amount: "1000.00", ..PREPARE };
        let slid = SignedFields { merchant_trans_id: "7", amount: "11000.00", ..PREPARE };

        assert_eq!(signature(honest, &key()), signature(slid, &key()));
    }

    #[test]
    fn a_key_serves_until_it_is_removed_and_hex_may_be_upper_case() {
        let claimed = "9F73DF6A589039C3AFDE3E2039720E46";
        let fits = |keys: &[&str]| {
            let keys: Vec<Secret> = keys.iter().map(|key| Secret::new(*key)).collect();
            super::fits(PREPARE, &keys, claimed)
        };

        assert!(fits(&["SECRET123"]));
        assert!(fits(&["new", "SECRET123"]));
        assert!(fits(&["SECRET123", "new"]));
        assert!(!fits(&["new"]));
        assert!(!fits(&[]));
    }

    #[test]
    fn an_empty_key_signs_nothing() {
        assert!(!fits(PREPARE, &[Secret::new("")], &signature(PREPARE, &Secret::new(""))));
    }
}
