//! Servers and processes may start in any order.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};

use crate::support::installation::{RunningInstallation, SANDBOX_CREDENTIALS};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::id;
use crate::support::servers::PrivatePostgres;
use crate::support::wait::PATIENCE;

#[tokio::test]
async fn api_and_worker_started_before_migrate_wait_for_it() {
    let installation = RunningInstallation::without_tables(&[]).await;
    let mut api = installation.begin_api(0);
    let mut worker = installation.begin_worker(&[], &[]);
    for program in [&mut api.role.program, &mut worker.program] {
        program.wait_for_line("waiting for the database", PATIENCE).await;
    }

    installation.migrate().await;
    tokio::join!(api.role.ready(), worker.ready());

    let order = api.create_order().await;
    api.wait_for_link(id(&order)).await;
}

#[tokio::test]
async fn api_and_worker_wait_for_a_postgres_that_is_still_starting() {
    let mut postgres = PrivatePostgres::start().await;
    let installation = RunningInstallation::on_database(postgres.url(), &[]).await;
    installation.migrate().await;
    postgres.kill();
    let mut api = installation.begin_api(0);
    let mut worker = installation.begin_worker(&[], &[]);
    for program in [&mut api.role.program, &mut worker.program] {
        program.wait_for_line("waiting for the database", PATIENCE).await;
    }

    postgres.restart().await;
    tokio::join!(api.role.ready(), worker.ready());

    let order = api.create_order().await;
    api.wait_for_link(id(&order)).await;
}

/// On exit code 75 supervisors start the process again; on 78 they would not.
#[tokio::test]
async fn a_postgres_that_stays_away_for_30_s_is_exit_code_75() {
    let database_url = format!("postgres://tasdiq:hunter2@127.0.0.1:{}/tasdiq", free_port());
    let redis_url = format!("redis://127.0.0.1:{}", free_port());
    let mut environment = SANDBOX_CREDENTIALS.to_vec();
    environment.extend([
        ("ATMOS_BASE_URL", "http://127.0.0.1:1"),
        ("DATABASE_URL", database_url.as_str()),
        ("REDIS_URL", &redis_url),
        ("TASDIQ_LISTEN", "127.0.0.1:0"),
        ("TASDIQ_WORKER_LISTEN", "127.0.0.1:0"),
    ]);
    let began = Instant::now();

    let mut programs = ["api", "worker", "migrate"].map(|role| Program::start(&[role], &environment));

    for program in &mut programs {
        let exit_status = program.wait_exit(Duration::from_secs(60)).await;
        let (waited, output) = (began.elapsed(), program.output());
        assert_eq!(exit_status.code(), Some(75), "{output}");
        assert!(waited > Duration::from_secs(25), "it gave up after {waited:?}");
        assert!(waited < Duration::from_secs(45), "it gave up after {waited:?} only");
        assert!(output.contains("database"), "{output}");
        assert!(!output.contains("hunter2"), "the password stays out of the log: {output}");
    }
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_told_and_never_fatal() {
    let mut installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "200")]).await;
    installation.redis.kill();
    let mut api = installation.begin_api(0);
    let mut worker = installation.begin_worker(&[], &[]);
    tokio::join!(api.role.ready(), worker.ready());

    for program in [&mut api.role.program, &mut worker.program] {
        program.wait_for_line("Redis", PATIENCE).await;
    }
    let (status, text) = api.role.get("/readyz").await;
    let order = api.create_order().await;

    assert_eq!(status, StatusCode::OK);
    let health: Value = serde_json::from_str(&text).unwrap();
    assert!(health["checks"]["queue"].as_str().unwrap().contains("Redis"), "{text}");
    assert!(order["payment_url"].as_str().unwrap().starts_with(&format!("{}/pay/", api.role.url)), "{order}");

    installation.redis.restart().await;
    api.wait_for_link(id(&order)).await;
}

/// Each process of a roll-out may run `migrate`, and a later one finds orders in the tables.
#[tokio::test]
async fn migrating_beside_another_or_again_is_harmless() {
    let installation = RunningInstallation::without_tables(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;

    tokio::join!(installation.migrate(), installation.migrate(), installation.migrate());
    let api = installation.api(0).await;
    let order = api.create_order().await;
    installation.migrate().await;

    assert_eq!(api.order(id(&order)).await["status"], "pending");
}

/// A migration that changes a table waits for a dump, and every later statement waits behind the migration.
/// Shows: DATABASE-7
#[tokio::test]
async fn a_migration_beside_a_dump_says_what_it_waits_for_and_lets_requests_pass() {
    let installation = RunningInstallation::start(&[]).await;
    let address =
        "select count(*) from information_schema.columns where table_name = 'callbacks' and column_name = 'address'";
    installation
        .execute("alter table callbacks drop column address; delete from _sqlx_migrations where version = 6")
        .await;
    let mut dump = PgConnection::connect(installation.database_url()).await.unwrap();
    dump.execute("set application_name = 'pg_dump'; begin; lock table callbacks in access share mode").await.unwrap();
    let mut request = PgConnection::connect(installation.database_url()).await.unwrap();
    request.execute("set lock_timeout = '3s'").await.unwrap();

    let mut migrate = Program::start(&["migrate"], &[("DATABASE_URL", installation.database_url())]);
    let told = migrate.wait_for_line("waits for a lock", PATIENCE).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        let asked = request.execute("select count(*) from callbacks").await;
        assert!(asked.is_ok(), "a request failed behind the migration: {asked:?}");
    }
    assert!(migrate.exit_status().is_none(), "{}", migrate.output());
    dump.execute("commit").await.unwrap();

    assert!(migrate.wait_exit(PATIENCE).await.success(), "{}", migrate.output());
    assert!(told.contains("pg_dump"), "{told}");
    assert_eq!(installation.number(address).await, 1);
}

/// A migration waits for a vacuum only if it must change the table that the vacuum has locked.
/// Shows: DATABASE-7
#[tokio::test]
async fn a_database_that_is_migrated_already_needs_no_lock() {
    let installation = RunningInstallation::start(&[]).await;
    let mut vacuum = PgConnection::connect(installation.database_url()).await.unwrap();
    vacuum.execute("begin; lock table jobs, orders in share update exclusive mode").await.unwrap();
    let began = Instant::now();

    installation.migrate().await;

    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
