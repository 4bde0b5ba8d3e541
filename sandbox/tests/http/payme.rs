//! The sandbox's Payme, over real HTTP.

mod check;
mod faults;
mod page;
mod payment;
mod shop;
