//! How a connection to the database is made and set up.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};

use super::{Database, StoreError};
use crate::config::DatabaseUrl;

/// How long a request waits for a free connection before the database counts as unavailable. A server that refuses
/// connections is noticed sooner.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long PostgreSQL lets a statement of ours run; as in the settings of each connection.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn pool_of(connections: u32, database: Database) -> AnyPoolOptions {
    AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
        move |connection, _| {
            Box::pin(async move {
                match database {
                    Database::Sqlite => {
                        // FULL: a commit that was answered survives a power cut.
                        for pragma in [
                            "pragma journal_mode = wal",
                            "pragma synchronous = full",
                            "pragma busy_timeout = 5000",
                            "pragma foreign_keys = on",
                        ] {
                            connection.execute(pragma).await?;
                        }
                    }
                    Database::Postgres => {
                        // With the client's address the process's number tells in `pg_stat_activity` whose session this is.
                        let name = format!("set application_name = 'tasdiq {}'", std::process::id());
                        connection.execute(AssertSqlSafe(name)).await?;
                        for setting in [
                            // A request never waits longer for a lock than its caller waits for an answer.
                            "set lock_timeout = '3s'",
                            "set statement_timeout = '10s'",
                            "set idle_in_transaction_session_timeout = '15s'",
                            // Every row is found by an index. A plan that was made while a table was small would read it
                            // whole, and go on so while it grows.
                            "set enable_seqscan = off",
                            // What that makes look dear is never worth being compiled.
                            "set jit = off",
                        ] {
                            connection.execute(setting).await?;
                        }
                    }
                }
                Ok(())
            })
        },
    )
}

pub(super) fn sqlite_options(path: &Path) -> Result<AnyConnectOptions, StoreError> {
    let absolute = std::path::absolute(path).map_err(sqlx::Error::Io)?;
    let mut url = url::Url::from_file_path(&absolute)
        .map_err(|()| sqlx::Error::Configuration("the database file has no usable path".into()))?
        .to_string()
        .replacen("file://", "sqlite://", 1);
    url.push_str("?mode=rwc");
    Ok(url.parse()?)
}

/// Whether a connection can be used at all, for `doctor`: opens one, asks, closes.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn probe(url: &DatabaseUrl) -> Result<(), StoreError> {
    sqlx::any::install_default_drivers();
    let options = match url {
        DatabaseUrl::Sqlite(path) => sqlite_options(path)?,
        DatabaseUrl::Postgres(url) => url.expose().parse()?,
    };
    let mut connection = AnyConnection::connect_with(&options).await?;
    connection.execute("select 1").await?;
    connection.close().await?;
    Ok(())
}
