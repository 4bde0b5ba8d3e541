//! Checks of values that several components have. Each error continues the sentence after the variable's name: `TASDIQ_LOG` "is
//! no …".

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use domain::web_address;
use url::Url;

/// A whole number within bounds.
pub fn whole_number(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Milliseconds, a whole number within bounds.
pub fn milliseconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    let number = whole_number(range);
    move |text| number(text).map(Duration::from_millis)
}

/// Seconds, a whole number within bounds.
pub fn seconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    let number = whole_number(range);
    move |text| number(text).map(Duration::from_secs)
}

/// Minutes, a whole number within bounds.
pub fn minutes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    let number = whole_number(range);
    move |text| number(text).map(|minutes| Duration::from_secs(60 * minutes))
}

/// Hours, a whole number within bounds.
pub fn hours(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    let number = whole_number(range);
    move |text| number(text).map(|hours| Duration::from_secs(3_600 * hours))
}

/// An address to listen at; the port is an example.
pub fn listen(port: u16) -> impl Fn(&str) -> Result<SocketAddr, String> {
    move |text| {
        text.parse().map_err(|_| {
            format!("is not an IP address with a port, such as 127.0.0.1:{port} (or 0.0.0.0:{port} for every one)")
        })
    }
}

/// `True`, `true`, `1` and their opposites, as the Django guide writes them.
///
/// # Errors
/// The text is none of them.
pub fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "True" | "true" | "1" => Ok(true),
        "False" | "false" | "0" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// An http or https URL without credentials, query or fragment.
///
/// # Errors
/// The text is no such URL. The sentence ends with `example`.
pub fn web_url(text: &str, example: &str) -> Result<Url, String> {
    let url = web_address::parse(text).map_err(|fault| format!("{fault}; write {example}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        Err(format!("has a part after ? or #; write {example}"))
    } else {
        Ok(url)
    }
}

/// The address of a server, if its password is escaped.
///
/// An unescaped / ? or # in a password ends the host there, and the rest with its @ becomes a part of the path or query.
///
/// # Errors
/// A hint how to write the password.
pub fn whole_password(url: Url) -> Result<Url, String> {
    let is_torn =
        url.fragment().is_some() || url.path().contains('@') || url.query().is_some_and(|query| query.contains('@'));
    match is_torn {
        true => Err(
            "has a # or an @ behind the host, as when a password is not escaped; in user and password, write signs \
                     such as @ / ? # % as %40 %2F %3F %23 %25"
                .to_owned(),
        ),
        false => Ok(url),
    }
}
