//! The rate limit of calls to the gateway.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Calls to the gateway per second and in a burst, for all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayRate {
    /// Sustained calls per second.
    pub per_second: u32,
    /// The most calls at once.
    pub burst: u32,
}

/// As in `TASDIQ_GATEWAY_RATE`: `20/40`.
impl fmt::Display for GatewayRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.per_second, self.burst)
    }
}

impl FromStr for GatewayRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.trim().parse().ok().filter(|number| (1..=10_000).contains(number));
        let rate = text.split_once('/').and_then(|(per_second, burst)| {
            Some(GatewayRate { per_second: number(per_second)?, burst: number(burst)? })
        });
        rate.ok_or_else(|| "is not calls per second and burst such as 20/40, each from 1 to 10000".to_owned())
    }
}

impl Serialize for GatewayRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GatewayRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
