//! The documents: their links, the parts that are made from the code, and their commands.

mod answers;
mod blocks;
mod commands;
mod limits;
mod links;
mod manual;
mod metrics;
mod reference;
mod runbook;
mod terms;
