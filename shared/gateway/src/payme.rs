//! Payme: its checkout link, and the calls of its Merchant API.

mod settings;

pub use self::settings::{CancelPolicy, PaymeSettings, SANDBOX_KEY};
