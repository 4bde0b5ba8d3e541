//! The documents: the parts that are made from the code.

mod limits;
mod manual;
mod metrics;
mod reference;
