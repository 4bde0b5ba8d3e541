//! The directory of the embedded parts' files.

use std::path::PathBuf;

config::settings! {
    /// The directory of the embedded parts' files.
    #[derive(Clone, Debug)]
    pub(crate) struct DataDirSettings {
        /// The embedded database and the sandbox's ledger; only `up` and `sandbox` open it.
        #[env("TASDIQ_DATA_DIR", default = "./tasdiq-data", check = |path| Ok::<_, String>(PathBuf::from(path)))]
        pub(crate) path: PathBuf,
    }
}
