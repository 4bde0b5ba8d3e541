//! Addresses of web pages and services, as people and programs write them.

use url::Url;

/// Why a text is not a safe web address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebAddressFault {
    /// Another scheme, none, or a scheme without its two slashes.
    #[error("does not begin with http:// or https://")]
    NotWeb,
    /// Characters that browsers drop or read as others: a backslash is a slash to them, a line break nothing.
    #[error("holds a backslash, a blank or a control character")]
    Signs,
    /// The part before the host looks like a host: `https://shop.uz@evil.example`.
    #[error("holds a user or password before its host, or an @ there")]
    Credentials,
    /// It has no host, or none that can be read.
    #[error("names no host that can be read")]
    NoHost,
}

/// Parses an address that people, browsers and servers read in the same way: `http://` or `https://`, then a host.
///
/// The URL standard accepts much more (`https:host`, `https://a\@host`), and each reader takes it differently.
///
/// # Errors
/// [`WebAddressFault`]; its text continues a sentence that begins with the name of the address.
pub fn parse(text: &str) -> Result<Url, WebAddressFault> {
    let (url, has_credentials) = parse_with_credentials(text)?;
    if has_credentials { Err(WebAddressFault::Credentials) } else { Ok(url) }
}

/// As [`parse`], but a user and a password may stand before the host, as in a proxy's address. Returns whether they do.
///
/// # Errors
/// [`WebAddressFault`].
pub fn parse_with_credentials(text: &str) -> Result<(Url, bool), WebAddressFault> {
    if text.chars().any(|c| c == '\\' || c.is_control() || c.is_whitespace()) {
        return Err(WebAddressFault::Signs);
    }
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    let Some(scheme) = ["http://", "https://"].into_iter().find(|scheme| begins(scheme)) else {
        return Err(WebAddressFault::NotWeb);
    };
    let rest = text.get(scheme.len()..).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(WebAddressFault::NoHost);
    }
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok((url, authority.contains('@'))),
        _ => Err(WebAddressFault::NoHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_where_it_seems_to_lead() {
        for text in
            ["http://shop.uz", "HTTPS://Shop.uz:8443/a?b=c#d@e", "https://[::1]/x", "https://doʻkon.uz/@me?to=a@b.uz"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
        for (text, fault) in [
            ("https://shop.uz@evil.com/", WebAddressFault::Credentials),
            ("https://user:password@shop.uz/", WebAddressFault::Credentials),
            ("https://@evil.com/", WebAddressFault::Credentials),
            ("https://shop.uz\\@evil.com/", WebAddressFault::Signs),
            ("https:\\\\evil.com/", WebAddressFault::Signs),
            ("https://shop.uz/\nx", WebAddressFault::Signs),
            ("https:evil.com", WebAddressFault::NotWeb),
            ("https:/evil.com", WebAddressFault::NotWeb),
            ("//evil.com", WebAddressFault::NotWeb),
            ("javascript:alert(1)", WebAddressFault::NotWeb),
            ("https:///evil.com", WebAddressFault::NoHost),
            ("https://", WebAddressFault::NoHost),
            ("https://shop.uz%40evil.com/", WebAddressFault::NoHost),
        ] {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
        assert!(matches!(parse_with_credentials("http://user:p%40ss@proxy:3128"), Ok((_, true))));
    }
}
