//! Makes and sets up connections to the database, and checks that its server is suitable.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};
use tokio::time::timeout;
use url::{Host, Url};

use super::error::{StoreError, Unsuitable};
use super::pool::Server;
use domain::secret::Secret;

/// How long a request waits for a free connection before the database counts as unavailable. A server that refuses
/// connections is noticed earlier.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long PostgreSQL lets one of our statements run. Each connection sets this.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a PostgreSQL session that must not depend on the defaults of server, database and role. They are one
/// text, because each statement would cost a round trip.
const SESSION: &str = concat!(
    "-- set_up_session\n",
    // A request never waits longer for a lock than its caller waits for the answer.
    "set lock_timeout = '3s'; ",
    "set statement_timeout = '10s'; ",
    "set idle_in_transaction_session_timeout = '15s'; ",
    // Each guard is one statement, and relies on reading all that was committed before it.
    "set default_transaction_isolation = 'read committed'; ",
    "set default_transaction_read_only = off; ",
    "set default_transaction_deferrable = off; ",
    "set standard_conforming_strings = on; ",
    // Each of our statements can find its rows by an index. A plan made while a table was small would read the whole
    // table, and would stay so as the table grows.
    "set enable_seqscan = off; ",
    // That setting makes plans look expensive; compiling them is never worth it.
    "set jit = off; ",
    // An answered commit survives a power failure of the server.
    "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'; ",
    // These timeouts end sessions that we keep open. Older servers do not have all of them.
    "select set_config(name, '0', false) from pg_settings ",
    "where name in ('idle_session_timeout', 'transaction_timeout') and setting <> '0'; ",
);

/// Connections to a SQLite file.
pub(super) fn pool_of_file(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
        |connection, _| {
            Box::pin(async move {
                // FULL: an answered commit survives a power failure.
                for pragma in [
                    "pragma journal_mode = wal",
                    "pragma synchronous = full",
                    "pragma busy_timeout = 5000",
                    "pragma foreign_keys = on",
                ] {
                    connection.execute(pragma).await?;
                }
                Ok(())
            })
        },
    )
}

/// Connections to this server. The pool tests each one before use.
pub(super) fn pool_of_server(connections: u32, server: &Arc<Server>) -> AnyPoolOptions {
    let server = Arc::clone(server);
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |_, meta| {
            let is_good = server.is_of_this_era(meta.age);
            Box::pin(async move { Ok(is_good) })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                // The client's address and this process id tell in `pg_stat_activity` whose session it is.
                let name = format!("set application_name = 'tasdiq {}'", std::process::id());
                connection.execute(sqlx::raw_sql(AssertSqlSafe(SESSION.to_owned() + &name))).await?;
                Ok(())
            })
        })
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

pub(super) fn postgres_options(url: &Secret) -> Result<AnyConnectOptions, StoreError> {
    let mut url = Url::parse(url.expose()).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    for (name, value) in url.query_pairs() {
        let names_a_file = matches!(
            name.as_ref(),
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey" | "ssl-key"
        );
        if names_a_file
            && !value.trim_start().starts_with("-----BEGIN")
            && let Err(error) = std::fs::File::open(value.as_ref())
        {
            let (parameter, file) = (name.into_owned(), value.into_owned());
            return Err(StoreError::Unsuitable(Unsuitable::File { parameter, file, error: Arc::new(error) }));
        }
    }
    let is_elsewhere = url.query_pairs().any(|(name, _)| matches!(name.as_ref(), "host" | "hostaddr"));
    if let Some(Host::Ipv6(address)) = url.host()
        && !is_elsewhere
    {
        // Without this sqlx would read the brackets as part of a name.
        url.query_pairs_mut().append_pair("host", &address.to_string());
    }
    Ok(url.as_str().parse()?)
}

/// The oldest PostgreSQL that the tests have run on, in the server's own numbering.
const OLDEST: i32 = 140_000;

/// How often to ask for the session. A pooler that gives each transaction another session shows it at once while its
/// connections are idle. If they are busy, one of these questions shows it.
const POOLER_ASKED: usize = 3;

/// The examination takes about twelve round trips, on a network that may be slow.
const EXAMINED_WITHIN: Duration = Duration::from_secs(15);

/// Examines the server over two connections. It uses the simple protocol, which leaves nothing behind in a session that
/// may be shared. Returns the shortest round trip.
///
/// # Errors
/// [`StoreError::Unsuitable`], or the error that kept us from asking.
pub(super) async fn examine(options: &AnyConnectOptions) -> Result<Duration, StoreError> {
    timeout(EXAMINED_WITHIN, async {
        let connect = || AnyConnection::connect_with(options);
        let (mut first, mut second) = tokio::try_join!(connect(), connect())?;
        let server = sqlx::raw_sql(
            "-- server\nselect current_setting('server_encoding') as encoding,
                cast(current_setting('server_version_num') as int) as number, current_setting('server_version') as version",
        );
        let server = server.fetch_one(&mut first).await?;
        if server.try_get::<i32, _>("number")? < OLDEST {
            return Err(StoreError::Unsuitable(Unsuitable::TooOld { version: server.try_get("version")? }));
        }
        let encoding: String = server.try_get("encoding")?;
        if encoding != "UTF8" {
            return Err(StoreError::Unsuitable(Unsuitable::Encoding { encoding }));
        }
        let (mut ours, mut theirs) = (session(&mut first).await?, session(&mut second).await?);
        let mut round_trip = Duration::MAX;
        for _ in 0..POOLER_ASKED {
            let (before, asked) = ((ours, theirs), Instant::now());
            (ours, theirs) = (session(&mut first).await?, session(&mut second).await?);
            round_trip = round_trip.min(asked.elapsed() / 2);
            if ours == theirs || before != (ours, theirs) {
                return Err(StoreError::Unsuitable(Unsuitable::Pooler));
            }
        }
        let _ = tokio::join!(first.close(), second.close());
        Ok(round_trip)
    })
    .await
    .unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()))
}

/// The server process that runs this connection's statements.
async fn session(connection: &mut AnyConnection) -> Result<i32, StoreError> {
    let row = sqlx::raw_sql("-- session\nselect pg_backend_pid() as session").fetch_one(connection).await?;
    Ok(row.try_get("session")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_reached_without_its_brackets() {
        let url = |text: &str| postgres_options(&Secret::new(text)).unwrap().database_url.to_string();

        assert_eq!(url("postgres://u@[::1]:6000/x"), "postgres://u@[::1]:6000/x?host=%3A%3A1");
        for as_it_is in ["postgres://u:p@db.test/x?sslmode=require", "postgres://u@[::1]/x?host=db.test"] {
            assert_eq!(url(as_it_is), as_it_is);
        }
    }
}
