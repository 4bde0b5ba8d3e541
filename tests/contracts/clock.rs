use std::time::Duration;
use store::clock::Clock;

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    two_processes_have_one_time
}

/// Shows: TIME-1
async fn two_processes_have_one_time(f: Fixture) {
    let other = f.another_process().await;
    let skewed = Clock::starting_at(f.store.now_ms() + 60_000);

    skewed.set(other.now_ms(), Duration::ZERO);

    let apart = (f.store.now_ms() - other.now_ms()).abs();
    assert!(apart < 200, "{apart} ms apart");
    assert!((skewed.now_ms() - f.store.now_ms()).abs() < 200);
    assert!(other.clock().measured_ago().is_some_and(|ago| ago < Duration::from_secs(30)));
}
