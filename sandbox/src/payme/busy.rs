//! The code for an order that another transaction holds. Payme's documents and those who ran its sandbox disagree.

use std::fmt;

/// Which code is right for a busy order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyCode {
    /// Any from -31099 to -31050, with the account field's name in `data`: as those report who ran Payme's sandbox.
    #[default]
    OfAccount,
    /// Exactly this one, such as -31008: as the text of Payme's sandbox page says.
    Exactly(i64),
}

impl BusyCode {
    /// Whether this is the right code.
    pub fn accepts(self, code: i64) -> bool {
        match self {
            BusyCode::OfAccount => is_of_account(code),
            BusyCode::Exactly(expected) => code == expected,
        }
    }
}

impl fmt::Display for BusyCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusyCode::OfAccount => formatter.write_str("-31099 to -31050"),
            BusyCode::Exactly(code) => write!(formatter, "{code}"),
        }
    }
}

/// Whether a code is about the payer's input in `account` (Payme documents, errors).
pub(crate) fn is_of_account(code: i64) -> bool {
    (-31_099..=-31_050).contains(&code)
}
