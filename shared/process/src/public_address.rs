//! The address at which an installation is reached from outside.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use config::values;
use url::Url;

config::settings! {
    /// The address at which an installation is reached from outside.
    #[derive(Clone, Debug)]
    pub struct AddressSettings {
        /// The address on which the API listens.
        #[env("TASDIQ_LISTEN", default = "127.0.0.1:8000", check = values::listen(8000))]
        pub listen: SocketAddr,

        /// The address that customers' browsers and Atmos reach, such as `https://pay.example.uz`.
        #[env(
            "TASDIQ_PUBLIC_URL",
            default = "http://127.0.0.1:8000",
            shown = "from `TASDIQ_LISTEN`",
            check = str::parse
        )]
        pub public_url: PublicUrl,
    }
}

/// The address that customers' browsers and the gateway reach. It prints without a last slash, so that `/pay/…` can be
/// added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// As a URL, whose path is `/` where it has none.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// As text, without a last slash.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        values::web_url(text.trim_end_matches('/'), "https://pay.example.uz").map(PublicUrl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_has_no_last_slash() {
        for (given, printed) in [
            ("https://pay.example.uz", "https://pay.example.uz"),
            ("https://pay.example.uz/", "https://pay.example.uz"),
            ("https://example.uz/shop//", "https://example.uz/shop"),
        ] {
            assert_eq!(given.parse::<PublicUrl>().unwrap().to_string(), printed);
        }
        assert!("https://pay.example.uz/?x=1".parse::<PublicUrl>().is_err());
    }
}
