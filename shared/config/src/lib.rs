//! Settings: a component defines its own, and they are read from the environment with all faults at once.
//!
//! A setting is one field of its component's `Settings` struct ([`settings!`](crate::settings)): its doc comment, name,
//! default and check are there. The list of known names, the files of secrets and the page `docs/reference/settings.md` derive
//! from it.

mod contract;
mod definition;
mod environment;
mod fault;
mod section;
mod settings;
mod toml_file;
pub mod values;
mod variables;

pub use contract::Contract;
pub use definition::Definition;
pub use environment::Environment;
pub use fault::{ConfigFault, ConfigFaults};
pub use section::{Section, key_of};
pub use settings::{Settings, defaults};
pub use toml_file::Table;
pub use variables::{FileSettings, Variables};
