//! What a user of the whole program would notice. `tests/run` starts the servers these tests need.

mod support;
