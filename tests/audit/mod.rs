//! `tasdiq audit`, judged: what is sound passes, and each kind of difference is made to happen and told by its name.

mod asking;
mod clean;
mod differences;
mod information;
mod scene;
