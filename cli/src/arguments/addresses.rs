//! Web addresses on the command line.

use domain::web_address;
use url::Url;

/// A program is called there.
pub(super) fn web_address(text: &str) -> Result<Url, String> {
    web_address::parse(text).map_err(|fault| format!("it {fault}"))
}

/// A link is made of it, which a browser must be able to open.
pub(super) fn base_address(text: &str) -> Result<Url, String> {
    match web_address(text)? {
        url if url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err("it has neither ? nor #".to_owned()),
    }
}
