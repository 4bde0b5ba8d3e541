//! Checks of values that the settings of several gateways have. Each error continues the sentence after the variable's name.

use domain::secret::Secret;
use domain::web_address;
use url::Url;

/// A credential that travels in a header, hence printable and without blanks.
///
/// # Errors
/// It is too long, or has blanks or other signs.
pub(crate) fn credential(text: &str) -> Result<String, String> {
    if text.len() <= 500 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("holds blanks or signs that no credential has; copy it again".to_owned())
    }
}

/// The key that signs callbacks, and a second one during a rotation.
///
/// # Errors
/// More than two keys, an empty one, or one that is no credential.
pub(crate) fn callback_keys(text: &str) -> Result<Vec<Secret>, String> {
    let keys: Vec<&str> = text.split(',').map(str::trim).collect();
    if keys.len() > 2 {
        Err("holds more than two keys; one serves, and a second one during a rotation".to_owned())
    } else if keys.iter().any(|key| key.is_empty()) {
        Err("holds an empty key; take the comma away".to_owned())
    } else {
        keys.into_iter().map(|key| credential(key).map(Secret::new)).collect()
    }
}

/// An HTTP proxy, with or without its credentials.
///
/// # Errors
/// No such URL; the sentence repeats nothing of it.
pub(crate) fn proxy_url(text: &str) -> Result<Url, String> {
    // The URL may hold the proxy's password, so nothing of it is repeated.
    match web_address::parse_with_credentials(text) {
        Ok((url, _)) => Ok(url),
        Err(fault) => Err(format!("{fault}; write http://host:3128 (SOCKS is not supported)")),
    }
}
