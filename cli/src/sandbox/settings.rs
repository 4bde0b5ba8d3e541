//! How the sandbox is set. Its crate knows no settings of ours.

use std::net::SocketAddr;

use config::values;
use gateway::atmos::SignAlgorithm;

config::settings! {
    /// How the sandbox is set.
    #[derive(Clone, Debug)]
    pub(crate) struct SandboxSettings {
        /// Where the sandbox listens.
        #[env("TASDIQ_SANDBOX_LISTEN", default = "127.0.0.1:8100", check = values::listen(8100))]
        pub(crate) listen: SocketAddr,

        /// `md5` or `sha256`: the hash of callbacks' signatures.
        #[env("ATMOS_SIGN_ALGORITHM", default = "md5", check = SignAlgorithm::parse)]
        pub(crate) sign_algorithm: SignAlgorithm,
    }
}
