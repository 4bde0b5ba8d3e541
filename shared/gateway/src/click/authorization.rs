//! The header with which we call the Merchant API.

use sha1::{Digest, Sha1};

use domain::secret::Secret;

/// The value of the header `Auth`: `merchant_user_id:digest:timestamp`, where the digest is sha1 over timestamp and secret key, and
/// the timestamp Unix seconds (Click documents, Merchant API, authentication).
pub(super) fn auth(merchant_user_id: &str, key: &Secret, unix_seconds: u64) -> String {
    let digest = hex::encode(Sha1::digest(format!("{unix_seconds}{}", key.expose())));
    format!("{merchant_user_id}:{digest}:{unix_seconds}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_known_integrations() {
        assert_eq!(
            auth("3333", &Secret::new("SECRET123"), 1_712_345_678),
            "3333:4d3f62489dbc19114297581bcfa0d906f84df0cd:1712345678"
        );
    }
}
