//! Who calls: Payme proves itself with the key of a cashbox.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::settings::{PaymeSettings, is_sandbox_key};

/// The login of every cashbox, as Payme's own sample and every integration have it.
const LOGIN: &str = "Paycom";

/// No header of ours is longer; a key has 36 characters.
const LONGEST_HEADER: usize = 2_000;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The digests of an account's keys: all have one length, so comparing them tells nothing of a key's.
#[derive(Clone)]
pub(super) struct KeyDigests(Vec<[u8; 32]>);

impl KeyDigests {
    /// An empty key opens nothing, and the published one nothing but the sandbox.
    pub(super) fn of(settings: &PaymeSettings) -> Self {
        let keys = settings.keys.iter().map(|key| key.expose());
        let valid = keys.filter(|key| !key.is_empty() && (!is_sandbox_key(key) || settings.is_sandbox()));
        KeyDigests(valid.map(digest).collect())
    }

    fn contain(&self, password: &[u8; 32]) -> Choice {
        self.0.iter().fold(Choice::from(0), |found, key| found | key.as_slice().ct_eq(password.as_slice()))
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// The first of these accounts whose key the header `Authorization` holds: `Basic`, then `Paycom:key` in Base64 (Payme
/// documents, request format). Every key of every account is compared, so the time tells nothing of them.
pub(super) fn authenticated<'a, T>(
    header: Option<&[u8]>,
    accounts: impl IntoIterator<Item = (T, &'a KeyDigests)>,
) -> Option<T> {
    let password = header.and_then(password);
    let claimed = digest(password.as_deref().unwrap_or_default());
    let mut first = None;
    for (account, keys) in accounts {
        if bool::from(keys.contain(&claimed)) && first.is_none() {
            first = Some(account);
        }
    }
    first.filter(|_| password.is_some())
}

/// The password behind the first colon; it may hold colons itself.
fn password(header: &[u8]) -> Option<String> {
    let header = std::str::from_utf8(header).ok().filter(|header| header.len() <= LONGEST_HEADER)?;
    let (scheme, coded) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(coded.trim()).ok()?).ok()?;
    let (login, password) = decoded.split_once(':')?;
    (login == LOGIN && !password.is_empty()).then(|| password.to_owned())
}
