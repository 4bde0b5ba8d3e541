//! The real program as an operator runs it: all in one, or several APIs and workers on one Redis and one PostgreSQL.

mod accounts;
mod clock;
mod crowded;
mod following;
mod logging;
mod losses;
mod paying;
mod postgres_trouble;
mod private_files;
mod redis_trouble;
mod scaling;
mod silence;
mod starting;
mod stopping;
mod surroundings;
mod suspects;
mod tokens;
mod workers;
