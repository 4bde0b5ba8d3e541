//! PostgreSQL and Redis: the shared ones of `tests/run`, and private ones that a test may kill, stop and wipe.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::wait::{PATIENCE, wait_until};

mod fake_pooler;
mod fake_redis;
mod private_postgres;
mod private_redis;

pub(crate) use fake_pooler::FakePooler;
pub(crate) use fake_redis::FakeRedis;
pub(crate) use private_postgres::{PrivatePostgres, postgres_command};
pub(crate) use private_redis::{PrivateRedis, command};

/// The shared PostgreSQL server. Each test has its own database on it, see [`fresh_database`].
pub(crate) fn postgres_url() -> String {
    set_by_the_test_command("TASDIQ_TEST_POSTGRES_URL")
}

/// The shared Redis. Installations on it never collide, because their keys begin with the id of their database.
pub(crate) fn redis_url() -> String {
    set_by_the_test_command("TASDIQ_TEST_REDIS_URL")
}

fn set_by_the_test_command(variable: &str) -> String {
    // A missing server must not turn a test into a silent success.
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests through tests/run"))
}

/// The URL of a new, empty database on the shared server.
pub(crate) async fn fresh_database() -> String {
    let server = postgres_url();
    let name = format!("test_{:016x}", rand::random::<u64>());
    // From template0, which accepts no connections: template1 cannot be copied while a session is connected to it.
    let create = format!("create database {name} template template0");
    wait_until("a fresh database", PATIENCE, async || {
        let mut connection = PgConnection::connect(&server).await.ok()?;
        let created = connection.execute(AssertSqlSafe(create.as_str())).await;
        connection.close().await.ok();
        match created {
            Ok(_) => Some(()),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(OBJECT_IN_USE) => None,
            Err(e) => panic!("could not create a database: {e}"),
        }
    })
    .await;

    let (server, _) = server.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{name}")
}

/// PostgreSQL's answer when two sessions copy one template at the same time.
const OBJECT_IN_USE: &str = "55006";

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    /// The number returned by a query on a new connection.
    async fn number(url: &str, query: &'static str) -> Result<i64, sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query_scalar(query).fetch_one(&mut connection).await
    }

    async fn redis(url: &str) -> redis::aio::MultiplexedConnection {
        redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    #[tokio::test]
    async fn databases_can_be_made_side_by_side_and_are_empty() {
        let urls = futures_util::future::join_all((0..8).map(|_| fresh_database())).await;

        for url in &urls {
            let tables = number(url, "select count(*) from pg_tables where schemaname = 'public'").await;
            assert_eq!(tables.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_killed_postgres_comes_back_with_what_was_committed() {
        let mut server = PrivatePostgres::start().await;
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        connection.execute("create table t as select 7::bigint as n").await.unwrap();

        server.kill();
        assert!(number(&server.url(), "select 1::bigint").await.is_err());
        server.restart().await;

        assert_eq!(number(&server.url(), "select n from t").await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_paused_postgres_answers_nothing_on_open_connections_until_it_is_resumed() {
        let mut server = PrivatePostgres::start().await;
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();

        server.pause();
        let mut answer = std::pin::pin!(connection.execute("select 1"));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut answer).await.is_err());
        server.resume();

        assert!(answer.await.is_ok());
    }

    #[tokio::test]
    async fn a_restarted_redis_is_empty_and_on_the_same_port() {
        let mut server = PrivateRedis::start().await;
        let () = redis::cmd("SET").arg("a").arg(1).query_async(&mut redis(&server.url()).await).await.unwrap();

        server.restart().await;

        let found: Option<i64> = redis::cmd("GET").arg("a").query_async(&mut redis(&server.url()).await).await.unwrap();
        assert_eq!(found, None);
    }

    #[tokio::test]
    async fn a_redis_can_be_started_with_a_policy_the_program_must_refuse() {
        let server = PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;

        let policy: Vec<String> = redis::cmd("CONFIG")
            .arg("GET")
            .arg("maxmemory-policy")
            .query_async(&mut redis(&server.url()).await)
            .await
            .unwrap();

        assert_eq!(policy, ["maxmemory-policy", "allkeys-lru"]);
    }

    #[tokio::test]
    async fn a_fake_redis_tells_the_version_it_was_given() {
        let server = FakeRedis::start("6.2.0");

        let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis(&server.url()).await).await.unwrap();

        assert!(info.contains("redis_version:6.2.0"), "{info}");
    }

    #[tokio::test]
    async fn a_dropped_server_is_gone() {
        let server = PrivateRedis::start().await;
        let port = server.port();

        drop(server);

        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }

    #[tokio::test]
    async fn the_shared_redis_is_as_the_program_wants_it() {
        let mut connection = redis(&redis_url()).await;

        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await.unwrap();

        assert!(info.contains("maxmemory_policy:noeviction"), "{info}");
    }
}
