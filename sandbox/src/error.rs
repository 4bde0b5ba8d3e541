//! Errors at the start of a sandbox.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Another program listens on this address. Stop it, or choose another address.
    #[error("cannot listen on {address}: the address is in use")]
    AddressInUse {
        /// The address from the configuration.
        address: SocketAddr,
    },
    /// The address does not belong to this machine, or may not be used.
    #[error("cannot listen on {address}")]
    CannotBind {
        /// The address from the configuration.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The ledger cannot be written there. Choose another directory, or correct its permissions.
    #[error("cannot write the sandbox's ledger {}", path.display())]
    DataDirNotWritable {
        /// The ledger's file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another sandbox uses this ledger. Choose another directory, or stop the other sandbox.
    #[error("another sandbox uses the ledger {}", path.display())]
    LedgerInUse {
        /// The ledger's file.
        path: PathBuf,
    },
    /// The ledger was edited. Correct the line, or move the file away to start with an empty ledger.
    #[error("line {line} of the sandbox's ledger {} is unreadable: {reason}", path.display())]
    LedgerUnreadable {
        /// The ledger's file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The fault of the line.
        reason: String,
    },
    /// The client for callbacks could not be made.
    #[error("could not prepare the sending of callbacks")]
    CallbackClient(#[source] reqwest::Error),
}
