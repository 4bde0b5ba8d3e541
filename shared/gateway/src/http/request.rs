//! The kinds of requests to the gateway.

/// The longest answer that is read; usual ones have about 1 KiB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// The sandbox's ledger has about 130 bytes a transaction; this is enough for four million.
const LONGEST_LEDGER: usize = 512 * 1024 * 1024;

/// The operation of a request, as in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Token,
    Create,
    Inquiry,
    Reverse,
    Ledger,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Token => "token",
            Operation::Create => "create",
            Operation::Inquiry => "inquiry",
            Operation::Reverse => "reverse",
            Operation::Ledger => "ledger",
        }
    }

    /// Whether its answers show how the gateway works. The sandbox's ledger is no part of the gateway.
    pub(crate) fn is_gateways(self) -> bool {
        match self {
            Operation::Token | Operation::Create | Operation::Inquiry | Operation::Reverse => true,
            Operation::Ledger => false,
        }
    }

    pub(crate) fn longest_answer(self) -> usize {
        match self {
            Operation::Token | Operation::Create | Operation::Inquiry | Operation::Reverse => LONGEST_ANSWER,
            Operation::Ledger => LONGEST_LEDGER,
        }
    }
}

/// The credential that a request carries. It decides what a 401 says about the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialAge {
    /// No credential.
    None,
    /// An access token that the gateway may have replaced by now: a 401 says nothing yet.
    MayBeOld,
    /// A new access token, made because the old one was refused: a 401 says that the gateway admits no call.
    Fresh,
    /// Credentials of our settings, which nothing renews: a 401 says that the gateway admits no call.
    Lasting,
}

/// The connection that a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestConnection {
    /// An open connection of an earlier request, if there is one. The other side may have closed it meanwhile.
    Kept,
    /// A connection that is opened for this request.
    Fresh,
}
