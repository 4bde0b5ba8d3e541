//! A stand-in for Atmos: the merchant API, the payment page, callbacks, and a ledger.

pub(crate) mod callback;
pub(crate) mod cards;
pub(crate) mod codes;
pub(crate) mod ledger;
pub(crate) mod merchant;
pub(crate) mod page;
pub(crate) mod payment;
pub(crate) mod sim;
pub(crate) mod token;
pub(crate) mod transaction;
pub(crate) mod wire;
