//! What a request to the gateway is, whatever it carries.

/// An answer of the gateway has about 1 KiB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// The sandbox's whole book has about 130 bytes a transaction; this is room for four millions.
const LONGEST_LEDGER: usize = 512 * 1024 * 1024;

/// What we ask the gateway for, as in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Token,
    Create,
    Inquiry,
    Reverse,
    Ledger,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Token => "token",
            Operation::Create => "create",
            Operation::Inquiry => "inquiry",
            Operation::Reverse => "reverse",
            Operation::Ledger => "ledger",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Operation::Token => "/token",
            Operation::Create => "/merchant/pay/create",
            Operation::Inquiry => "/merchant/pay/get",
            Operation::Reverse => "/merchant/pay/reverse",
            Operation::Ledger => "/_sim/ledger",
        }
    }

    /// Whether its answers tell how the gateway is. The sandbox's book is no part of the gateway.
    pub(super) fn is_gateways(self) -> bool {
        match self {
            Operation::Token | Operation::Create | Operation::Inquiry | Operation::Reverse => true,
            Operation::Ledger => false,
        }
    }

    pub(super) fn longest_answer(self) -> usize {
        match self {
            Operation::Token | Operation::Create | Operation::Inquiry | Operation::Reverse => LONGEST_ANSWER,
            Operation::Ledger => LONGEST_LEDGER,
        }
    }
}

/// The access token that a request carries, and so what a 401 says of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    /// It carries none.
    None,
    /// One that another may have taken the place of: nothing yet.
    MayBeOld,
    /// One got because another was refused: the gateway lets nobody in.
    Fresh,
}

/// Which connection a request leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// One that an earlier request has left open, where there is one. The other side may have closed it meanwhile.
    Kept,
    /// One that is opened for this request.
    Fresh,
}
