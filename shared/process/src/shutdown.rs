//! How a process stops.

use std::time::Duration;

use config::values;

config::settings! {
    /// How a process stops.
    #[derive(Clone, Debug)]
    pub struct ShutdownSettings {
        /// How long a stop waits for what runs; 1 to 600 seconds.
        #[env("TASDIQ_STOP_GRACE_SECONDS", default = "25", check = values::seconds(1..=600))]
        pub grace: Duration,
    }
}
