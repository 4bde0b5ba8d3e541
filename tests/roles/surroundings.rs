//! Settings of server, database and host. The program works with them, or every role says at its start what must be
//! changed, or `/readyz` reports it.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use url::Url;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::command;
use crate::support::doors::tea;
use crate::support::forwarder::Forwarder;
use crate::support::installation::{RunningInstallation, SANDBOX_CREDENTIALS};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::{client, id};
use crate::support::servers::{FakePooler, PrivatePostgres, fresh_database, postgres_url};
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

/// The exit code for supervisors: a new start changes nothing.
const CONFIGURATION: i32 = 78;

/// Far less than the 30 s for which a process waits for a database that is away.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Checks that every role refuses this database at once, and gives the reason in one line with these words.
async fn is_refused_by_every_role(database_url: &str, says: &str) {
    let redis_url = format!("redis://127.0.0.1:{}", free_port());
    let mut environment = SANDBOX_CREDENTIALS.to_vec();
    environment.extend([
        ("ATMOS_BASE_URL", "http://127.0.0.1:1"),
        ("DATABASE_URL", database_url),
        ("REDIS_URL", &redis_url),
        ("TASDIQ_LISTEN", "127.0.0.1:0"),
        ("TASDIQ_WORKER_LISTEN", "127.0.0.1:0"),
        ("TASDIQ_SANDBOX_LISTEN", "127.0.0.1:0"),
    ]);
    let began = Instant::now();
    let mut programs = ["up", "api", "worker", "migrate"].map(|role| (role, Program::start(&[role], &environment)));
    for (role, program) in &mut programs {
        let status = program.wait_exit(PATIENCE).await;
        let output = program.output();
        assert_eq!(status.code(), Some(CONFIGURATION), "tasdiq {role}: {output}");
        assert!(output.contains(says), "tasdiq {role} does not say {says:?}: {output}");
        assert!(!output.contains("hunter2"), "the password stays out of the log: {output}");
    }
    assert!(began.elapsed() < AT_ONCE, "nothing comes by waiting: {:?}", began.elapsed());
    let doctor = command::run(&["doctor"], &environment).await;
    assert!(doctor.said.contains(says), "{doctor:?}");
}

/// Shows: DATABASE-5
#[tokio::test]
async fn a_pooler_that_shares_sessions_is_named_and_refused() {
    is_refused_by_every_role(&FakePooler::start().url(), "pooler").await;
}

/// Shows: DATABASE-5
#[tokio::test]
async fn a_database_that_cannot_hold_every_name_is_refused() {
    let url = fresh_database().await;
    let name = url.rsplit('/').next().unwrap();
    let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
    let latin = format!("create database {name}_latin encoding 'LATIN1' locale 'C' template template0");
    connection.execute(AssertSqlSafe(latin)).await.unwrap();

    is_refused_by_every_role(&format!("{url}_latin"), "LATIN1").await;
}

/// Shows: DATABASE-5
#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    is_refused_by_every_role(&format!("{}?sslmode=require", fresh_database().await), "sslmode").await;
}

/// Shows: DATABASE-5
#[tokio::test]
async fn a_root_certificate_that_is_not_there_is_named() {
    let url = format!("{}?sslmode=verify-full&sslrootcert=/nowhere/root.crt", fresh_database().await);

    is_refused_by_every_role(&url, "/nowhere/root.crt").await;
}

/// Shows: DATABASE-5
#[tokio::test]
async fn a_password_that_was_not_escaped_is_told() {
    for torn in ["postgres://shop:12#hunter2@db.test/shop", "postgres://shop:12/hunter2@db.test/shop"] {
        is_refused_by_every_role(torn, "%23").await;
    }
}

on_both_kinds! {
    a_database_that_takes_no_writes_makes_its_processes_unready
}

/// Shows: DATABASE-6
async fn a_database_that_takes_no_writes_makes_its_processes_unready(kind: Kind) {
    let app = TestApp::start(kind).await;
    let breaks = match kind {
        Kind::Embedded => "create trigger disk_full before update on processes begin select raise(abort, 'full'); end",
        Kind::Servers => {
            app.execute(
                "create function refuse() returns trigger language plpgsql as
                    $$ begin raise exception 'full' using errcode = '53100'; end $$",
            )
            .await;
            "create trigger disk_full before update on processes for each row execute function refuse()"
        }
    };
    app.execute(breaks).await;

    let ready = async || {
        let answer = app.get("/readyz").await;
        (answer.status, answer.json())
    };
    let checks = wait_until("a red /readyz", PATIENCE, async || {
        let (status, body) = ready().await;
        (status == 503).then(|| body["checks"].clone())
    })
    .await;
    assert_eq!(checks["database"], "takes no writes");
    app.execute(if kind == Kind::Embedded { "drop trigger disk_full" } else { "drop trigger disk_full on processes" })
        .await;

    wait_until("a green /readyz", PATIENCE, async || (ready().await.0 == 200).then_some(())).await;
    let metrics = app.get("/metrics").await;
    assert!(metrics.text.contains("tasdiq_database_writable 1"), "{}", metrics.text);
}

/// Shows: DATABASE-6
#[tokio::test]
async fn a_worker_whose_database_takes_no_writes_is_unready() {
    let installation = RunningInstallation::start(&[]).await;
    let worker = installation.worker(4).await;
    installation
        .execute(
            "create function refuse() returns trigger language plpgsql as
                $$ begin raise exception 'full' using errcode = '53100'; end $$;
            create trigger disk_full before update on processes for each row execute function refuse()",
        )
        .await;

    wait_until("a red /readyz", PATIENCE, async || {
        let (status, text) = worker.get("/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE && text.contains("takes no writes")).then_some(())
    })
    .await;
}

/// An operator changes a password on the server first, or in the configuration first.
/// Shows: DATABASE-5
#[tokio::test]
async fn a_login_that_is_refused_while_we_run_is_an_outage_and_no_defect() {
    let url = fresh_database().await;
    let role = url.rsplit('/').next().unwrap().to_owned();
    let mut owner = PgConnection::connect(&url).await.unwrap();
    owner.execute(AssertSqlSafe(format!("create role {role} login superuser"))).await.unwrap();
    let mut as_role = Url::parse(&url).unwrap();
    as_role.set_username(&role).unwrap();
    let installation = RunningInstallation::on_database(as_role.to_string(), &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    installation.migrate().await;
    let api = installation.api(0).await;
    let signed = installation
        .command(&["callback", "sign", "--transaction-id", "7", "--account", "1", "--amount", "50.00"])
        .await;

    owner.execute(AssertSqlSafe(format!("alter role {role} nologin"))).await.unwrap();
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = $1";
    sqlx::query(end).bind(&role).execute(&mut owner).await.unwrap();

    // The first requests lose their connections, and the later ones get no new connection.
    for path in ["/api/orders/create", "/atmos/webhook/"].repeat(10) {
        let body = if path == "/atmos/webhook/" { signed.clone() } else { tea().to_string() };
        let request = client().post(format!("{}{path}", api.role.url)).header("Content-Type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.text().await.unwrap());
    }
    owner.execute(AssertSqlSafe(format!("alter role {role} login"))).await.unwrap();
    wait_until("orders again", PATIENCE, async || {
        let request = client().post(format!("{}/api/orders/create", api.role.url)).json(&tea());
        (request.send().await.unwrap().status() == StatusCode::CREATED).then_some(())
    })
    .await;
}

/// Session settings of server, database and role must not decide whether a guard holds.
/// Shows: DATABASE-4
#[tokio::test]
async fn defaults_of_the_database_do_not_reach_our_sessions() {
    let url = fresh_database().await;
    let name = url.rsplit('/').next().unwrap().to_owned();
    let mut owner = PgConnection::connect(&postgres_url()).await.unwrap();
    for default in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "statement_timeout = '1ms'",
        "synchronous_commit = off",
        "timezone = 'Asia/Tashkent'",
        "datestyle = 'German'",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
        "idle_session_timeout = '300ms'",
    ] {
        owner.execute(AssertSqlSafe(format!("alter database {name} set {default}"))).await.unwrap();
    }
    let installation = RunningInstallation::on_database(url, &[]).await;
    installation.migrate().await;
    let (api, _worker) = tokio::join!(installation.api(0), installation.worker(4));

    let orders = api.create_orders(8).await;
    for order in &orders {
        installation.sandbox.pay(api.wait_for_link(id(order)).await).await;
    }

    for order in &orders {
        api.wait_for(id(order), "paid").await;
    }
}

/// Shows: DATABASE-4
#[tokio::test]
async fn a_server_that_may_lose_commits_is_told_by_doctor() {
    let postgres = PrivatePostgres::start_with(&["fsync=off", "full_page_writes=on"]).await;
    let url = postgres.url();
    let environment = [("DATABASE_URL", url.as_str())];
    assert_eq!(command::run(&["migrate"], &environment).await.code, Some(0));

    let doctor = command::run(&["doctor"], &environment).await;

    assert!(doctor.said.contains("fsync is off"), "{doctor:?}");
}

/// The worker is in another country than its database. A job makes some ten round trips, and its lease must outlast the
/// round trips that wait for a connection.
/// Shows: DATABASE-3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_at_the_end_of_a_slow_line_does_its_jobs_and_loses_no_lease() {
    let installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let mut url = Url::parse(installation.database_url()).unwrap();
    let line = Forwarder::start_slow(url.port().unwrap(), Duration::from_millis(200)).await;
    url.set_port(Some(line.port())).unwrap();
    let slow = [("DATABASE_URL", url.as_str())];
    let (api, mut worker) = tokio::join!(installation.api(0), async { installation.begin_worker(&[], &slow) });
    worker.ready().await;

    api.create_orders(64).await;
    installation.wait_for_links(Duration::from_secs(60)).await;

    for log in [worker.program.output(), api.role.program.output()] {
        assert!(!log.contains("ran out, crash"), "{log}");
    }
    assert!(worker.metric("tasdiq_database_round_trip_microseconds", "").await >= 400_000);
    let environment = [installation.environment().as_slice(), &slow].concat();
    let doctor = command::run(&["doctor"], &environment).await;
    assert!(doctor.said.contains("a round trip takes 4"), "{doctor:?}");
    assert!(doctor.said.contains("TASDIQ_DATABASE_CONNECTIONS"), "{doctor:?}");
}

/// A missing right must not be reported as a missing table: `migrate` would not help.
/// Shows: DATABASE-5
#[tokio::test]
async fn a_login_without_rights_is_told_and_not_waited_for() {
    let url = fresh_database().await;
    let role = format!("{}_no_rights", url.rsplit('/').next().unwrap());
    let installation = RunningInstallation::on_database(url.clone(), &[]).await;
    installation.migrate().await;
    installation.execute(&format!("create role {role} login")).await;
    let mut as_role = Url::parse(&url).unwrap();
    as_role.set_username(&role).unwrap();
    let environment = [SANDBOX_CREDENTIALS.as_slice(), &[("DATABASE_URL", as_role.as_str())]].concat();
    let environment =
        [environment.as_slice(), &[("REDIS_URL", "redis://127.0.0.1:1"), ("ATMOS_BASE_URL", "http://127.0.0.1:1")]]
            .concat();

    let mut api = Program::start(&["api"], &environment);
    let status = api.wait_exit(PATIENCE).await;

    assert_eq!(status.code(), Some(CONFIGURATION), "{}", api.output());
    assert!(api.output().contains("permission denied"), "{}", api.output());
}

/// Shows: DATABASE-8
#[tokio::test]
async fn of_two_that_hold_their_queue_in_memory_on_one_database_the_second_is_refused() {
    let url = fresh_database().await;
    let database = [("DATABASE_URL", url.as_str())];
    let mut first = Up::start(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let second = [
        ("DATABASE_URL", url.as_str()),
        ("TASDIQ_DATA_DIR", folder.path().to_str().unwrap()),
        ("TASDIQ_LISTEN", "127.0.0.1:0"),
        ("TASDIQ_SANDBOX_LISTEN", "127.0.0.1:0"),
    ];

    let mut refused = Program::start(&["up"], &second);
    let status = refused.wait_exit(PATIENCE).await;

    assert_eq!(status.code(), Some(CONFIGURATION), "{}", refused.output());
    assert!(refused.output().contains("another `tasdiq up`"), "{}", refused.output());

    first.api.role.program.signal("KILL");
    first.api.role.program.wait_exit(PATIENCE).await;
    let killed = Instant::now();
    let mut next = Program::start(&["up"], &second);
    next.wait_for_line("Tasdiq is up", PATIENCE).await;
    assert!(
        killed.elapsed() < Duration::from_secs(8),
        "the successor of a killed process need not wait: {:?}",
        killed.elapsed()
    );
}
