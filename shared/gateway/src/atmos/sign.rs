//! Signatures of callbacks: a hash over the callback's own words and a secret key.

use domain::secret::Secret;
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::SignAlgorithm;

/// The words that a signature covers, each as in the JSON: numbers as written, strings decoded.
///
/// There is no separator, so account `12345` with amount `5000000` has the signature of account `1234` with amount
/// `55000000`. The reader of a callback must therefore compare each of the four words with our own rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedWords<'a> {
    pub(super) store_id: &'a str,
    pub(super) transaction_id: &'a str,
    /// `account`, in older descriptions `invoice`.
    pub(super) account: &'a str,
    pub(super) amount: &'a str,
}

/// The signature in lower-case hex: `hash(store_id + transaction_id + account + amount + api_key)` (Atmos
/// documents, callback; they give the concatenation and never name the hash).
pub(super) fn signature(algorithm: SignAlgorithm, words: SignedWords<'_>, key: &Secret) -> String {
    let SignedWords { store_id, transaction_id, account, amount } = words;
    let text = [store_id, transaction_id, account, amount, key.expose()].concat();
    match algorithm {
        SignAlgorithm::Md5 => hex::encode(Md5::digest(text)),
        SignAlgorithm::Sha256 => hex::encode(Sha256::digest(text)),
    }
}

/// Whether `claimed` is the signature by one of `keys`; its hex digits may be upper case. An empty key is
/// not used: it is no secret.
pub(super) fn fits(algorithm: SignAlgorithm, words: SignedWords<'_>, keys: &[Secret], claimed: &str) -> bool {
    let claimed = claimed.to_ascii_lowercase();
    // Every key is tried, so that the time does not show which one it was.
    let known = keys.iter().filter(|key| !key.expose().is_empty());
    let fits = known.fold(Choice::from(0), |fits, key| {
        fits | signature(algorithm, words, key).as_bytes().ct_eq(claimed.as_bytes())
    });
    fits.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>([store_id, transaction_id, account, amount]: [&'a str; 4]) -> SignedWords<'a> {
        SignedWords { store_id, transaction_id, account, amount }
    }

    fn key() -> Secret {
        Secret::new("test_api_key")
    }

    #[test]
    fn signatures_are_those_of_known_integrations() {
        use SignAlgorithm::{Md5, Sha256};
        for (algorithm, signed, expected) in [
            (Md5, ["1234", "202072", "12345", "5000000"], "81cf2d62ac965a94cda887ae406d37d4"),
            (Md5, ["1234", "202072", "12345", "5000000.0"], "fbacee95c46195f0573d7e34177d5b91"),
            (Md5, ["1234", "123456", "1", "5000"], "90768594b7b10865eb1dbc62d44afe37"),
            (Md5, ["test_store", "123456", "12345", "5000000"], "0eeeebc613e6d252edc1ab051a106460"),
            (
                Sha256,
                ["1234", "202072", "12345", "5000000"],
                "7a045b5f5900ed628205e466a68d65043d4a818a277193e9fd09d310833f2fee",
            ),
        ] {
            assert_eq!(signature(algorithm, words(signed), &key()), expected, "{signed:?}");
        }
    }

    /// This is why a correct signature is not enough: account, amount and the rest must equal our own rows.
    #[test]
    fn sliding_a_digit_from_account_to_amount_keeps_the_signature() {
        let honest = signature(SignAlgorithm::Md5, words(["1234", "202072", "12345", "5000000"]), &key());
        let slid = signature(SignAlgorithm::Md5, words(["1234", "202072", "1234", "55000000"]), &key());

        assert_eq!(honest, slid);
    }

    #[test]
    fn a_key_serves_until_it_is_removed() {
        let signed = words(["1234", "202072", "12345", "5000000"]);
        let sign = signature(SignAlgorithm::Md5, signed, &key());
        let fits = |keys: &[&str]| {
            let keys: Vec<Secret> = keys.iter().map(|key| Secret::new(*key)).collect();
            super::fits(SignAlgorithm::Md5, signed, &keys, &sign)
        };

        assert!(fits(&["test_api_key"]));
        assert!(fits(&["new_key", "test_api_key"]));
        assert!(fits(&["test_api_key", "new_key"]));
        assert!(!fits(&["new_key"]));
        assert!(!fits(&[]));
    }

    #[test]
    fn an_empty_key_signs_nothing() {
        let signed = words(["1234", "202072", "12345", "5000000"]);
        let sign = signature(SignAlgorithm::Md5, signed, &Secret::new(""));

        assert!(!fits(SignAlgorithm::Md5, signed, &[Secret::new("")], &sign));
    }
}
