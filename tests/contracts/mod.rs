//! Contracts of the database and the queue, tested on each of them: SQLite and PostgreSQL, in process and Redis.

mod admission;
mod attempts;
mod callbacks;
mod calls;
mod choosing;
mod click;
mod clock;
mod connections;
mod converting;
mod dead_letters;
mod findings;
mod group_commit;
mod heartbeat;
mod interleaving;
mod jobs;
mod kinds;
mod local_links;
mod numbers;
mod orders;
mod payme;
mod queue;
mod refunds;
mod reviewing;
mod rules;
mod settlement;
mod staging;
