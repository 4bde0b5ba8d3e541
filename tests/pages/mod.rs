//! The documents: their links, and the parts that are made from the code.

mod limits;
mod links;
mod manual;
mod metrics;
mod reference;
