//! How the HTTP side is set.

use std::net::SocketAddr;
use std::time::Duration;

use config::{Environment, values};

use crate::api_keys::{ApiKey, KeyStrength, api_keys};

config::settings! {
    /// How the HTTP side is set.
    #[derive(Clone, Debug)]
    pub struct ApiSettings {
        /// A listener for callbacks and health alone, beside `TASDIQ_LISTEN`, such as `127.0.0.1:8002`;
        /// [its connections](limits.md#connections) are its own.
        #[env("TASDIQ_WEBHOOK_LISTEN", default = none, check = values::listen(8002))]
        pub webhook_listen: Option<SocketAddr>,

        /// `name:key,name2:key2`, sent as `Authorization: Bearer <key>`; at least 16 characters each, 8 of them different
        /// (with the sandbox 8 and 4). A name sees the orders made under it, and may stand there twice, so that a key can be
        /// changed: add the new one, change the shop, take the old one away. May be left out only with a sandbox on this
        /// machine and `TASDIQ_LISTEN` on it, too.
        #[env("TASDIQ_API_KEYS", default = "", shown = "none: open", check = read_later, secret)]
        pub keys: Vec<ApiKey>,

        // Below the 30 s after which a request counts as too slow: the order is made, so `create` must tell of it.
        /// How long `create` waits for the payment link, in milliseconds; 0 to 25000.
        #[env("TASDIQ_LINK_WAIT_MS", default = "3000", check = values::milliseconds(0..=25_000))]
        pub link_wait: Duration,
    }
}

/// How strong a key must be depends on the gateway; [`ApiSettings::read_keys`] reads them once that is known.
fn read_later(_keys: &str) -> Result<Vec<ApiKey>, String> {
    Ok(Vec::new())
}

impl ApiSettings {
    /// Reads the keys, each of which must be so strong; what is wrong with them is a fault of `env`. Returns whether some
    /// were given, right or wrong.
    pub fn read_keys(&mut self, env: &mut Environment<'_>, strength: KeyStrength) -> bool {
        let keys = env.parsed("TASDIQ_API_KEYS", |text| api_keys(text, strength));
        self.keys = keys.unwrap_or_default();
        env.is_set("TASDIQ_API_KEYS")
    }
}
