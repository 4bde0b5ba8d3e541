//! What a shop of the file is, once it is read; and the setting that names the file.

use domain::shops::Shop;
use gateway::AccountSettings;

config::settings! {
    /// The file with more shops.
    #[derive(Clone, Debug)]
    pub(crate) struct ShopsFileSettings {
        /// A file in TOML with [more shops](../run/shops.md), such as `tasdiq.toml`. The variables describe the shop
        /// `default`.
        #[env("TASDIQ_CONFIG", default = none, check = |path| Ok::<_, String>(path.to_owned()))]
        pub(crate) path: Option<String>,
    }
}

/// One shop of the file.
#[derive(Clone, Debug)]
pub(crate) struct FileShop {
    /// The shop, with its accounts.
    pub(crate) shop: Shop,
    /// The settings of its accounts.
    pub(crate) accounts: Vec<AccountSettings>,
}
