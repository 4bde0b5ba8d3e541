//! How long customers have to pay.

use std::time::Duration;

use config::values;

config::settings! {
    /// How long customers have to pay. A worker that makes a link and an API that writes one count the same time.
    #[derive(Clone, Copy, Debug)]
    pub struct PaymentTime {
        /// How long an order can be paid, from its first link on, in minutes; 1 to 10080.
        #[env("TASDIQ_PAYMENT_TTL_MINUTES", default = "30", check = values::minutes(1..=10_080))]
        pub payment_ttl: Duration,
    }
}
