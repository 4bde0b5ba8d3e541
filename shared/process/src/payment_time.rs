//! How long customers have to pay.

use std::time::Duration;

use config::values;

config::settings! {
    /// How long customers have to pay. All workers and APIs count the same times.
    #[derive(Clone, Copy, Debug)]
    pub struct PaymentTime {
        /// How long an order can be paid, from its first link on, in minutes; 1 to 10080.
        #[env("TASDIQ_PAYMENT_TTL_MINUTES", default = "30", check = values::minutes(1..=10_080))]
        pub payment_ttl: Duration,

        /// How long an order lives without a link, in hours; 1 to 720. A customer who chooses how to pay has as long for it.
        #[env("TASDIQ_LINK_TTL_HOURS", default = "24", check = values::hours(1..=720))]
        pub link_ttl: Duration,
    }
}
