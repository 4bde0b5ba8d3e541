//! Click: its settings.

pub use self::settings::{ClickSettings, SANDBOX_SECRET};

mod settings;
