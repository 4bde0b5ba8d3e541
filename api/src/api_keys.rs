//! API keys: the callers that may use the order API.

use std::collections::BTreeSet;

use domain::secret::Secret;
use domain::shop::ShopName;

/// One caller of the order API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The shop whose orders it sees.
    pub shop: ShopName,
    /// Stored with the orders made with this key.
    pub name: String,
    /// Sent by the caller as bearer token.
    pub key: Secret,
}

/// The minimum strength of a key, so that it cannot be guessed.
#[derive(Clone, Copy, Debug)]
pub struct KeyStrength {
    /// The minimum number of characters.
    pub characters: usize,
    /// The minimum number of different characters: `aaaaaaaaaaaaaaaa` is long but easy to guess.
    pub different: usize,
}

impl KeyStrength {
    /// Whether a key is too easy to guess.
    pub fn is_weak(self, key: &str) -> bool {
        let different: BTreeSet<u8> = key.bytes().collect();
        key.len() < self.characters || different.len() < self.different
    }
}

/// The most keys that may be configured; each request is compared with every one.
pub const MAX_API_KEYS: usize = 100;

/// A name has one key, and a second one while the key is being changed.
const KEYS_PER_NAME: usize = 2;

/// Parses `name:key,name2:key2`, the keys of this shop. Error texts name entries by their number, because a "name" may be a key
/// without its name. All faults are reported at once.
pub(crate) fn api_keys(text: &str, shop: &ShopName, strength: KeyStrength) -> Result<Vec<ApiKey>, String> {
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    for (index, entry) in text.split(',').map(str::trim).enumerate() {
        match api_key(entry, shop, strength, &keys) {
            Ok(key) => keys.push(key),
            Err(what) => faults.push(format!("has an entry {} {what}", index + 1)),
        }
    }
    if keys.len() > MAX_API_KEYS {
        faults.push(format!("has more than {MAX_API_KEYS} entries"));
    }
    if faults.is_empty() { Ok(keys) } else { Err(faults.join("; ")) }
}

fn api_key(entry: &str, shop: &ShopName, strength: KeyStrength, earlier: &[ApiKey]) -> Result<ApiKey, String> {
    let KeyStrength { characters, different } = strength;
    let Some((name, key)) = entry.split_once(':') else { return Err("that is not name:key".to_owned()) };
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let mut faults = Vec::new();
    if !(1..=32).contains(&name.len()) || !name.bytes().all(is_name) {
        faults.push("whose name is not 1 to 32 of a-z, 0-9, - and _".to_owned());
    }
    if !(characters..=200).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.push(format!("whose key is not {characters} to 200 printable signs without blanks"));
    } else if strength.is_weak(key) {
        faults.push(format!("whose key has fewer than {different} different signs; take a random one"));
    }
    if earlier.iter().filter(|other| other.name == name).count() >= KEYS_PER_NAME {
        faults.push(format!(
            "with a name that {KEYS_PER_NAME} earlier ones have; a name has a second key only while keys are changed"
        ));
    }
    if earlier.iter().any(|other| other.key == Secret::new(key)) {
        faults.push("with the key of an earlier one; keys must differ".to_owned());
    }
    match faults.is_empty() {
        true => Ok(ApiKey { shop: shop.clone(), name: name.to_owned(), key: Secret::new(key) }),
        false => Err(faults.join(", and ")),
    }
}
