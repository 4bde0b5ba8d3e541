//! Settings of the HTTP side.

use std::net::SocketAddr;
use std::time::Duration;

use config::{Environment, values};
use domain::shop::ShopName;

use crate::api_keys::{ApiKey, KeyStrength, api_keys};

config::settings! {
    /// Settings of the HTTP side.
    #[derive(Clone, Debug)]
    pub struct ApiSettings {
        /// A second listener, for callbacks, health and metrics only, such as `127.0.0.1:8002`;
        /// it has [connections](limits.md#connections) of its own.
        #[env("TASDIQ_WEBHOOK_LISTEN", default = none, check = values::listen(8002))]
        pub webhook_listen: Option<SocketAddr>,

        /// `name:key,name2:key2`, sent as `Authorization: Bearer <key>`; at least 16 characters each, 8 of them different
        /// (with the sandbox 8 and 4). Each sees the orders of its shop. A name may have two keys, so that a key can be changed: add
        /// the new key, change the shop, remove the old key. May be left out only with a sandbox on this machine, and
        /// `TASDIQ_LISTEN` on this machine too.
        #[env("TASDIQ_API_KEYS", default = "", shown = "none: open", check = read_later, secret)]
        pub keys: Vec<ApiKey>,

        // Below the 30 s after which a request is too slow: the order exists by then, so `create` must return it.
        /// How long `create` waits for the payment link, in milliseconds; 0 to 25000.
        #[env("TASDIQ_LINK_WAIT_MS", default = "3000", check = values::milliseconds(0..=25_000))]
        pub link_wait: Duration,
    }
}

/// The variable of the API keys.
pub const API_KEYS: &str = "TASDIQ_API_KEYS";

/// The required strength depends on the gateway; [`ApiSettings::read_keys`] reads the keys once that is known.
fn read_later(_keys: &str) -> Result<Vec<ApiKey>, String> {
    Ok(Vec::new())
}

impl ApiSettings {
    /// Reads the keys of a shop, which must have this strength; faults are recorded in `env`.
    pub fn read_keys(env: &mut Environment<'_>, shop: &ShopName, strength: KeyStrength) -> Vec<ApiKey> {
        env.parsed(API_KEYS, |text| api_keys(text, shop, strength)).unwrap_or_default()
    }
}
