//! Shops: one installation may serve many.

use std::fmt;

use serde::Serialize;

/// The name of a shop: 1 to 32 of `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ShopName(String);

impl ShopName {
    /// The name of the shop that the environment describes.
    pub const DEFAULT: &str = "default";

    /// Reads a name.
    ///
    /// # Errors
    /// What a name must be like.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        match (1..=32).contains(&text.len()) && text.bytes().all(is_sign) {
            true => Ok(ShopName(text.to_owned())),
            false => Err("is not 1 to 32 of a-z, 0-9, - and _"),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ShopName {
    fn default() -> Self {
        ShopName(ShopName::DEFAULT.to_owned())
    }
}

impl fmt::Display for ShopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_has_a_short_plain_name() {
        let longest = "a".repeat(32);
        for name in ["a", "default", "tea-house_2", longest.as_str()] {
            assert_eq!(ShopName::parse(name).map(|shop| shop.to_string()), Ok(name.to_owned()));
        }
        let too_long = "a".repeat(33);
        for name in ["", "Tea", "tea house", "чой", "tea/", too_long.as_str()] {
            assert!(ShopName::parse(name).is_err(), "{name}");
        }
    }
}
