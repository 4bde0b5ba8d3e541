//! Tests of `tasdiq audit`: a sound installation passes, and each kind of difference is made on purpose and found.

mod asking;
mod clean;
mod differences;
mod information;
mod scene;
