//! Why a sandbox does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Somebody else listens there. Stop them, or choose another address.
    #[error("cannot listen on {address}: the address is in use")]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address does not belong to this machine, or may not be used.
    #[error("cannot listen on {address}")]
    CannotBind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The ledger cannot be kept there. Choose another directory, or mend its permissions.
    #[error("cannot write the sandbox's ledger {}", path.display())]
    DataDirNotWritable {
        /// The ledger's file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another sandbox keeps its ledger there. Choose another directory, or stop it.
    #[error("another sandbox uses the ledger {}", path.display())]
    LedgerInUse {
        /// The ledger's file.
        path: PathBuf,
    },
    /// Somebody edited the ledger. Mend the line, or move the file away to start afresh.
    #[error("line {line} of the sandbox's ledger {} is unreadable: {reason}", path.display())]
    LedgerUnreadable {
        /// The ledger's file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The client for callbacks could not be made.
    #[error("could not prepare the sending of callbacks")]
    CallbackClient(#[source] reqwest::Error),
}
