//! Brings the tables to this release, while other processes use them and sessions may hold locks for hours.

use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Executor, Row};

use super::pool::Pool;
use super::{Database, StoreError};

/// How long a migration waits for a lock. A statement that changes a table waits for all that use it, and all later
/// ones wait behind it. The limit is half of the time that a request waits for a lock. An autovacuum gives way after
/// one second.
const WAITS: &str = "set statement_timeout = 0; set lock_timeout = '1500ms'";

/// Settings of tables: the table, the setting as PostgreSQL stores it, and the statement that sets it.
///
/// Job rows are written and deleted quickly; with the default of a fifth the index would fill with dead entries. An
/// order's row is written again soon after it was made; if its page has room, no index must be written.
const TUNED: [(&str, &str, &str); 2] = [
    ("jobs", "autovacuum_vacuum_scale_factor=0.01", "alter table jobs set (autovacuum_vacuum_scale_factor = 0.01)"),
    ("orders", "fillfactor=70", "alter table orders set (fillfactor = 70)"),
];

pub(super) async fn run(
    connection: &mut AnyConnection,
    database: Database,
    migrations: &Migrator,
) -> Result<(), StoreError> {
    if database == Database::Sqlite {
        return Ok(migrations.run(connection).await?);
    }
    connection.execute(sqlx::raw_sql(WAITS)).await?;
    migrations.run(&mut *connection).await?;
    for (table, setting, statement) in TUNED {
        // The statement takes a lock, so it runs only if the setting is missing.
        let set = sqlx::query(
            "-- table_setting\nselect 1 as is_set from pg_class where oid = cast($1 as regclass) and $2 = any(reloptions)",
        );
        if set.bind(table).bind(setting).fetch_optional(&mut *connection).await?.is_none() {
            connection.execute(statement).await?;
        }
    }
    Ok(())
}

/// The session that has held locks on our tables for the longest time. Our own sessions are left out: their
/// transactions are short.
pub(super) async fn blocked_by(pool: &Pool) -> Result<Option<String>, StoreError> {
    let row = sqlx::query(
        "-- migration_blocked_by
        select cast(held.pid as bigint) as session, coalesce(other.backend_type, 'a session') as what,
            coalesce(other.application_name, '') as name,
            coalesce(cast(extract(epoch from clock_timestamp() - other.xact_start) as bigint), 0) as held_for_s
        from pg_locks held
        join pg_class on pg_class.oid = held.relation
        left join pg_stat_activity other on other.pid = held.pid
        where held.granted and held.pid <> pg_backend_pid()
            and held.database = (select oid from pg_database where datname = current_database())
            and relname in ('orders', 'jobs', 'callbacks', 'transactions', 'refunds', 'order_history', 'idempotency_keys',
                'review_findings', 'processes', 'installation', 'id_blocks', 'unproven_of_gateways')
            and coalesce(other.application_name, '') not like 'tasdiq %'
        order by other.xact_start nulls last limit 1",
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (session, held_for_s): (i64, i64) = (row.try_get("session")?, row.try_get("held_for_s")?);
    let (what, name): (String, String) = (row.try_get("what")?, row.try_get("name")?);
    let who = if name.is_empty() { what } else { format!("{what}, {name}") };
    Ok(Some(format!("session {session} ({who}) has held locks on our tables for {held_for_s} s")))
}
