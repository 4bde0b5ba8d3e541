//! How the single values are spelled. Complaints read on from the variable's name: `TASDIQ_LOG` "is no …".

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Url;

use super::ApiKey;
use crate::gateway::atmos::SignAlgorithm;
use crate::secret::Secret;
use crate::store::DatabaseUrl;
use crate::telemetry::{self, LogFormat};
use crate::web_address;

pub(super) fn database(text: &str) -> Result<DatabaseUrl, String> {
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" => Err("names no file; write sqlite://path/to/tasdiq.db".to_owned()),
            _ if path.contains(":memory:") => {
                Err("is in memory, where a restart loses every payment; name a file: sqlite://path/to/tasdiq.db".into())
            }
            _ if path.contains('?') => Err("has options after the file's name, which are not supported".to_owned()),
            _ => Ok(DatabaseUrl::Sqlite(PathBuf::from(path))),
        };
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return match Url::parse(text) {
            Ok(url) if has_torn_password(&url) => Err(TORN_PASSWORD.to_owned()),
            Ok(_) => Ok(DatabaseUrl::Postgres(Secret::new(text))),
            Err(error) => Err(format!(
                "cannot be read as a URL ({error}); in user and password, write signs such as @ / # % as %40 %2F %23 %25"
            )),
        };
    }
    Err("is neither postgres://user:password@host/name nor sqlite://path/to/tasdiq.db".to_owned())
}

/// An unescaped / ? or # in a password ends the host there, and the rest with its @ stands in what follows.
fn has_torn_password(url: &Url) -> bool {
    url.fragment().is_some() || url.path().contains('@') || url.query().is_some_and(|query| query.contains('@'))
}

const TORN_PASSWORD: &str = "has a # or an @ behind the host, as when a password is not escaped; in user and password, write \
                             signs such as @ / ? # % as %40 %2F %3F %23 %25";

/// Connections of one process; four are what keeps jobs alive and one for work.
pub(super) fn database_connections(text: &str) -> Result<u32, String> {
    let connections = text.parse().ok().filter(|connections| (4..=200).contains(connections));
    connections.ok_or_else(|| "is not a whole number from 4 to 200".to_owned())
}

pub(super) fn redis_url(text: &str) -> Result<Secret, String> {
    if text.starts_with("rediss://") {
        return Err(
            "asks for TLS, which this build does not speak to Redis; use redis:// inside a private network, or \
                    a TLS tunnel on this machine"
                .to_owned(),
        );
    }
    if !text.starts_with("redis://") {
        return Err("does not begin with redis://; write redis://host:6379".to_owned());
    }
    let url = Url::parse(text).map_err(|error| {
        format!("cannot be read as a URL ({error}); in the password, write signs such as @ / # % as %40 %2F %23 %25")
    })?;
    if has_torn_password(&url) {
        return Err(TORN_PASSWORD.to_owned());
    }
    let database = url.path().trim_matches('/');
    if url.host_str().is_none_or(str::is_empty) {
        Err("names no host; write redis://host:6379".to_owned())
    } else if !database.is_empty() && database.parse::<u32>().is_err() {
        Err("has a database that is not a number; write redis://host:6379/0".to_owned())
    } else {
        Ok(Secret::new(text))
    }
}

/// An http or https URL without credentials, query or fragment.
fn web_url(text: &str, example: &str) -> Result<Url, String> {
    let url = web_address::parse(text).map_err(|fault| format!("{fault}; write {example}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        Err(format!("has a part after ? or #; write {example}"))
    } else {
        Ok(url)
    }
}

/// Scheme and host of a gateway's service; we add the path.
pub(super) fn gateway_url(text: &str, example: &str) -> Result<Url, String> {
    let url = web_url(text, example)?;
    if url.path() == "/" { Ok(url) } else { Err(format!("has a path, which we add ourselves; write {example}")) }
}

pub(super) fn public_url(text: &str) -> Result<Url, String> {
    web_url(text.trim_end_matches('/'), "https://pay.example.uz")
}

pub(super) fn proxy_url(text: &str) -> Result<Url, String> {
    // The URL may hold the proxy's password, so nothing of it is repeated.
    match web_address::parse_with_credentials(text) {
        Ok((url, _)) => Ok(url),
        Err(fault) => Err(format!("{fault}; write http://host:3128 (SOCKS is not supported)")),
    }
}

pub(super) fn sign_algorithm(text: &str) -> Result<SignAlgorithm, String> {
    match text {
        "md5" => Ok(SignAlgorithm::Md5),
        "sha256" => Ok(SignAlgorithm::Sha256),
        _ => Err("is neither md5 nor sha256".to_owned()),
    }
}

/// The most networks a list may have; each request is compared with every one.
const MAX_NETWORKS: usize = 100;

/// `92.63.207.0/24,10.0.0.7`: networks and single addresses. Complaints count the entries.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let mut networks = Vec::new();
    for (index, entry) in text.split(',').map(str::trim).enumerate() {
        let number = index + 1;
        let network = entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        match network.map(plain_network) {
            Some(network) if holds_all(&network) => {
                return Err(format!("has an entry {number} that holds every address, which is no list"));
            }
            Some(network) => networks.push(network),
            None => {
                return Err(format!(
                    "has an entry {number} that is no network such as 92.63.207.0/24, and no address such as 10.0.0.7"
                ));
            }
        }
    }
    if networks.len() > MAX_NETWORKS {
        return Err(format!("has more than {MAX_NETWORKS} entries"));
    }
    // `0.0.0.0/1,128.0.0.0/1`, or any other set of parts.
    match IpNet::aggregate(&networks).iter().any(holds_all) {
        true => Err("has entries that together hold every address, which is no list".to_owned()),
        false => Ok(networks),
    }
}

/// All IPv4 addresses as IPv6 writes them, `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// Without bits beyond its prefix, and in IPv4's own words where IPv6's mean such addresses: a sender's address is compared
/// in those.
fn plain_network(network: IpNet) -> IpNet {
    let network = network.trunc();
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().filter(|_| MAPPED.contains(&network)),
        IpNet::V4(_) => None,
    };
    let plain = mapped.and_then(|address| Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok());
    plain.map_or(network, IpNet::V4)
}

/// Whether it holds every IPv4 or every IPv6 address.
fn holds_all(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() == 0,
        IpNet::V6(network) => network.contains(&MAPPED),
    }
}

/// `True`, `true`, `1` and their opposites, as the Django guide writes them.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "True" | "true" | "1" => Ok(true),
        "False" | "false" | "0" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// A store or terminal as the gateway names it, mostly with a number; it stands in page addresses and signatures.
pub(super) fn gateway_number(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=20).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("is not written as the gateway gives it: 1 to 20 letters, digits, - or _".to_owned())
    }
}

/// A credential that travels in a header, hence printable and without blanks.
pub(super) fn credential(text: &str) -> Result<String, String> {
    if text.len() <= 500 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("holds blanks or signs that no credential has; copy it again".to_owned())
    }
}

/// The key that signs callbacks, and a second one during a rotation.
pub(super) fn callback_keys(text: &str) -> Result<Vec<Secret>, String> {
    let keys: Vec<&str> = text.split(',').map(str::trim).collect();
    if keys.len() > 2 {
        Err("holds more than two keys; one serves, and a second one during a rotation".to_owned())
    } else if keys.iter().any(|key| key.is_empty()) {
        Err("holds an empty key; take the comma away".to_owned())
    } else {
        keys.into_iter().map(|key| credential(key).map(Secret::new)).collect()
    }
}

/// The most callers that may be configured; each request is compared with every one.
const MAX_API_KEYS: usize = 100;

/// A name has one key, and a second one while keys are changed.
const KEYS_PER_NAME: usize = 2;

/// What a key of the order API must have at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyStrength {
    /// How many characters.
    pub(super) characters: usize,
    /// How many of them that differ: `aaaaaaaaaaaaaaaa` is long, and the first guess.
    pub(super) different: usize,
}

impl KeyStrength {
    /// Whether a key is too easily guessed.
    pub(super) fn is_weak(self, key: &str) -> bool {
        let different: BTreeSet<u8> = key.bytes().collect();
        key.len() < self.characters || different.len() < self.different
    }
}

/// `name:key,name2:key2`. Complaints count the entries, for a name may be a key that lost its name; all of them are told.
pub(super) fn api_keys(text: &str, strength: KeyStrength) -> Result<Vec<ApiKey>, String> {
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    for (index, entry) in text.split(',').map(str::trim).enumerate() {
        match api_key(entry, strength, &keys) {
            Ok(key) => keys.push(key),
            Err(what) => faults.push(format!("has an entry {} {what}", index + 1)),
        }
    }
    if keys.len() > MAX_API_KEYS {
        faults.push(format!("has more than {MAX_API_KEYS} entries"));
    }
    if faults.is_empty() { Ok(keys) } else { Err(faults.join("; ")) }
}

fn api_key(entry: &str, strength: KeyStrength, earlier: &[ApiKey]) -> Result<ApiKey, String> {
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
        true => Ok(ApiKey { name: name.to_owned(), key: Secret::new(key) }),
        false => Err(faults.join(", and ")),
    }
}

/// The most steps a look schedule may have.
const MAX_STEPS: usize = 24;
/// The longest wait between two looks: a day.
const MAX_STEP_MS: u64 = 86_400_000;

/// Seconds with up to three decimals, comma-separated. Read without floats.
pub(super) fn schedule(text: &str) -> Result<Vec<Duration>, String> {
    let steps: Option<Vec<Duration>> = text.split(',').map(|step| seconds(step.trim())).collect();
    match steps {
        Some(steps) if steps.len() <= MAX_STEPS => Ok(steps),
        Some(_) => Err(format!("has more than {MAX_STEPS} steps")),
        None => {
            Err("is not a list of seconds such as 0.25,1,5,30, each above 0 and at most 86400, with at most three \
                     decimals"
                .to_owned())
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 5 || fraction.len() > 3 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let ms = format!("{whole}{fraction:0<3}").parse().ok().filter(|ms| (1..=MAX_STEP_MS).contains(ms))?;
    Some(Duration::from_millis(ms))
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    if telemetry::is_filter(text) {
        Ok(text.to_owned())
    } else {
        Err("is no log filter; write error, warn, info, debug, trace or off, or part=level pairs such as \
             info,worker=debug"
            .to_owned())
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is neither text nor json".to_owned()),
    }
}
