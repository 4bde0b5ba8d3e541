//! Deletes rows whose retention time is over.

use std::time::{Duration, Instant};

use super::{ATTEMPTS_MS, DEAD_AND_CALLBACKS_MS, FINISHED_JOBS_MS, UNPROVEN_MS};
use crate::idempotency::IDEMPOTENCY_KEY_MS;
use crate::statement::Statement;
use crate::{Store, StoreError};

/// How long the row of a process without heartbeats is kept.
const PROCESSES_MS: i64 = 24 * 3_600_000;

/// Rows deleted in one commit.
const BATCH: u32 = 1_000;

const JOBS: Statement = Statement {
    sqlite: "-- prune_jobs
        delete from jobs where rowid in (
            select rowid from jobs where state in ('completed', 'canceled') and finished_at_ms < $1
            order by finished_at_ms limit $2)",
    postgres: "-- prune_jobs
        delete from jobs where ctid = any(array(
            select ctid from jobs where state in ('completed', 'canceled') and finished_at_ms < $1
            order by finished_at_ms limit $2))",
};

const DEAD_LETTERS: Statement = Statement {
    sqlite: "-- prune_dead_letters
        delete from jobs where rowid in (
            select rowid from jobs where state = 'dead' and finished_at_ms < $1 order by finished_at_ms limit $2)",
    postgres: "-- prune_dead_letters
        delete from jobs where ctid = any(array(
            select ctid from jobs where state = 'dead' and finished_at_ms < $1 order by finished_at_ms limit $2))",
};

const ATTEMPTS: Statement = Statement {
    sqlite: "-- prune_attempts
        delete from job_attempts where rowid in (
            select rowid from job_attempts where ended_at_ms < $1 order by ended_at_ms limit $2)",
    postgres: "-- prune_attempts
        delete from job_attempts where ctid = any(array(
            select ctid from job_attempts where ended_at_ms < $1 order by ended_at_ms limit $2))",
};

const UNPROVEN: Statement = Statement {
    sqlite: "-- prune_unproven
        delete from callbacks where rowid in (
            select rowid from callbacks where verdict in ('unreadable', 'badly_signed') and received_at_ms < $1
            order by received_at_ms limit $2)",
    postgres: "-- prune_unproven
        delete from callbacks where ctid = any(array(
            select ctid from callbacks where verdict in ('unreadable', 'badly_signed') and received_at_ms < $1
            order by received_at_ms limit $2))",
};

const UNPROVEN_OF_GATEWAYS: Statement = Statement {
    sqlite: "-- prune_unproven_of_gateways
        delete from unproven_of_gateways where rowid in (
            select rowid from unproven_of_gateways where day_ms < $1 order by day_ms limit $2)",
    postgres: "-- prune_unproven_of_gateways
        delete from unproven_of_gateways where ctid = any(array(
            select ctid from unproven_of_gateways where day_ms < $1 order by day_ms limit $2))",
};

/// Written by older releases alone.
const UNPROVEN_DAYS: Statement = Statement {
    sqlite: "-- prune_unproven_days
        delete from unproven_days where rowid in (
            select rowid from unproven_days where day_ms < $1 order by day_ms limit $2)",
    postgres: "-- prune_unproven_days
        delete from unproven_days where ctid = any(array(
            select ctid from unproven_days where day_ms < $1 order by day_ms limit $2))",
};

const CALLBACKS: Statement = Statement {
    sqlite: "-- prune_callbacks
        delete from callbacks where rowid in (
            select rowid from callbacks where received_at_ms < $1 order by received_at_ms limit $2)",
    postgres: "-- prune_callbacks
        delete from callbacks where ctid = any(array(
            select ctid from callbacks where received_at_ms < $1 order by received_at_ms limit $2))",
};

const IDEMPOTENCY_KEYS: Statement = Statement {
    sqlite: "-- prune_idempotency_keys
        delete from idempotency_keys where rowid in (
            select rowid from idempotency_keys where created_at_ms < $1 order by created_at_ms limit $2)",
    postgres: "-- prune_idempotency_keys
        delete from idempotency_keys where ctid = any(array(
            select ctid from idempotency_keys where created_at_ms < $1 order by created_at_ms limit $2))",
};

const PROCESSES: Statement = Statement {
    sqlite: "-- prune_processes
        delete from processes where rowid in (
            select rowid from processes where heartbeat_at_ms < $1 order by heartbeat_at_ms limit $2)",
    postgres: "-- prune_processes
        delete from processes where ctid = any(array(
            select ctid from processes where heartbeat_at_ms < $1 order by heartbeat_at_ms limit $2))",
};

/// Deletes rows whose retention time is over, some rows per commit, until none is left or `time_limit` is over. The
/// next sweep continues.
///
/// # Errors
/// [`StoreError`] when the database did not do it; deleted rows stay deleted.
pub async fn prune(store: &Store, time_limit: Duration) -> Result<u64, StoreError> {
    let began = Instant::now();
    let now_ms = store.now_ms();
    let mut pruned = 0;
    for (statement, kept_ms) in [
        (JOBS, FINISHED_JOBS_MS),
        (DEAD_LETTERS, DEAD_AND_CALLBACKS_MS),
        (ATTEMPTS, ATTEMPTS_MS),
        (UNPROVEN, UNPROVEN_MS),
        (UNPROVEN_OF_GATEWAYS, UNPROVEN_MS),
        (UNPROVEN_DAYS, UNPROVEN_MS),
        (CALLBACKS, DEAD_AND_CALLBACKS_MS),
        (IDEMPOTENCY_KEYS, IDEMPOTENCY_KEY_MS),
        (PROCESSES, PROCESSES_MS),
    ] {
        while began.elapsed() < time_limit {
            let deleting = sqlx::query(statement.on(store.database())).bind(now_ms - kept_ms).bind(i64::from(BATCH));
            let deleted = deleting.execute(store.writer()).await?.rows_affected();
            pruned += deleted;
            if deleted < u64::from(BATCH) {
                break;
            }
        }
    }
    Ok(pruned)
}
