//! The sandbox's Click, over real HTTP.

mod api;
mod faults;
mod page;
mod payment;
mod shop;
mod tester;
