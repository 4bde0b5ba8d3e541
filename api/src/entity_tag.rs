//! Entity tags: names of a content, by which a caller asks only for what it does not have yet (RFC 9110 §8.8.3).

use poem::http::{HeaderMap, header};

use crate::digest::sha256_hex;

/// How many digits of the digest name a content.
const DIGITS: usize = 32;

/// The strong tag of a body.
pub(crate) fn of_body(body: &str) -> String {
    format!("\"{}\"", &sha256_hex(body)[..DIGITS])
}

/// Whether the caller has the content with this tag.
pub(crate) fn has(headers: &HeaderMap, tag: &str) -> bool {
    listed(headers, header::IF_NONE_MATCH).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

/// The entries of a header, over all its lines.
pub(crate) fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim))
}
