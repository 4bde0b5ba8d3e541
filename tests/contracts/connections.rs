//! Connections to PostgreSQL: used again without a test, and never with a transaction left open.

use std::time::{Duration, Instant};

use domain::id::CallbackId;
use domain::job::{Job, QueueName};
use futures_util::future::join_all;
use sqlx::{Connection, Executor, PgConnection};
use store::jobs::{self, Finish};
use store::{Store, StoreError};
use tokio::time::timeout;

use crate::support::fixture::{Fixture, on_every_database};
use crate::support::forwarder::Forwarder;
use crate::support::servers::PrivatePostgres;
use crate::support::wait::{PATIENCE, wait_until};

/// Fewer than a process has connections.
const AT_ONCE: i64 = 4;

/// Our sessions at the server.
const SESSIONS: &str = "select count(*) from pg_stat_activity where application_name like 'tasdiq %'";

fn a_job(number: i64) -> Job {
    Job::ProcessCallback { callback_id: CallbackId(number) }
}

async fn number(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

/// Stages this many jobs at once, each on its own connection, and returns how many were staged.
async fn stage(store: &Store, first: i64) -> usize {
    let staged = join_all((first..first + AT_ONCE).map(|number| jobs::stage_now(store, a_job(number)))).await;
    staged.iter().filter(|staged| staged.is_ok()).count()
}

/// Begins transactions while the server hangs. Returns whether their connections were closed afterwards; `None` if the
/// machine was so slow that idle connections were tested first, and no transaction began.
async fn are_closed(postgres: &mut PrivatePostgres, f: &Fixture, beside: &mut PgConnection) -> Option<bool> {
    wait_until("as many connections as will be needed", PATIENCE, async || {
        assert_eq!(stage(&f.store, 0).await, 4);
        (number(beside, SESSIONS).await >= AT_ONCE).then_some(())
    })
    .await;
    let before = number(beside, SESSIONS).await;
    assert_eq!(stage(&f.store, 0).await, 4);
    let used = Instant::now();
    postgres.pause();
    // Read when every caller has asked for its connection once.
    let staging = async { tokio::join!(stage(&f.store, 100), async { used.elapsed() > Duration::from_millis(150) }) };
    let (stuck, was_slow) =
        timeout(Duration::from_secs(12), staging).await.expect("no caller waits for a server that hangs");
    postgres.resume();

    assert_eq!(stuck, 0, "no caller is told that a server that hangs has done anything");
    let resumed = Instant::now();
    while resumed.elapsed() < Duration::from_secs(5) {
        if number(beside, SESSIONS).await <= before - AT_ONCE {
            return Some(true);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (!was_slow).then_some(false)
}

/// Shows: DATABASE-1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_server_begins_after_its_caller_has_gone_is_ended_with_its_connection() {
    let mut postgres = PrivatePostgres::start().await;
    let f = Fixture::on_postgres(postgres.url()).await;
    let mut beside = f.connection().await;
    // Left open, they would hold their rows for 15 s, and the next user of such a connection would commit nothing.
    let mut closed = None;
    for _ in 0..3 {
        closed = are_closed(&mut postgres, &f, &mut beside).await;
        if closed.is_some() {
            break;
        }
    }

    assert_eq!(closed, Some(true));
    let open = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    assert_eq!(number(&mut beside, open).await, 0);
    assert_eq!(stage(&f.store, 200).await, 4);
    assert_eq!(number(&mut beside, "select count(*) from jobs where subject_id >= 100").await, AT_ONCE);
}

/// A server, a forwarder to it that can stop all traffic, and a store behind the forwarder.
async fn behind_a_forwarder() -> (PrivatePostgres, Forwarder, Fixture) {
    let postgres = PrivatePostgres::start().await;
    let forwarder = Forwarder::start(postgres.port()).await;
    let url = postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{}/", forwarder.port()));
    let f = Fixture::on_postgres(url).await;
    (postgres, forwarder, f)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_host_that_has_vanished_are_replaced_when_it_is_back() {
    let (_postgres, forwarder, f) = behind_a_forwarder().await;
    // All connections that a process may have, each with a statement on its way when the server stops answering.
    let all = join_all((0..16).map(|number| jobs::stage_now(&f.store, a_job(number)))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    forwarder.silence();
    let asked = timeout(Duration::from_secs(15), join_all((0..16).map(|_| f.store.ping()))).await.expect("an end");
    assert!(asked.iter().all(Result::is_err), "{asked:?}");
    forwarder.speak();

    let began = Instant::now();
    while !join_all((0..16).map(|number| jobs::stage_now(&f.store, a_job(number)))).await.iter().all(Result::is_ok) {
        assert!(began.elapsed() < PATIENCE, "connections without an answer are still in the way");
    }
}

/// TCP would wait a quarter of an hour for a vanished host, and so would the job whose lease is renewed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_ends_soon_whose_server_vanishes_in_the_midst_of_it() {
    let (postgres, forwarder, f) = behind_a_forwarder().await;
    jobs::stage_now(&f.store, a_job(1)).await.unwrap();
    let mut beside = PgConnection::connect(&postgres.url()).await.unwrap();
    beside.execute("begin; update jobs set attempt = attempt").await.unwrap();
    let mut watching = PgConnection::connect(&postgres.url()).await.unwrap();
    let staging = tokio::spawn({
        let store = f.store.clone();
        async move { jobs::stage_now(&store, a_job(1)).await }
    });
    let waiting =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'tasdiq %'";
    // After 3 s the server ends the wait.
    wait_until("a statement that waits for the row", Duration::from_secs(3), async || {
        (number(&mut watching, waiting).await == 1).then_some(())
    })
    .await;

    forwarder.silence();
    let staged = timeout(Duration::from_secs(15), staging).await.expect("an end").unwrap();

    assert!(matches!(staged, Err(StoreError::Unavailable(_))), "{staged:?}");
    forwarder.speak();
    wait_until("a connection that is answered", PATIENCE, async || jobs::stage_now(&f.store, a_job(2)).await.ok())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enqueuing_claims_and_renewals_do_not_wait_for_the_disk_and_the_end_of_a_run_does() {
    let postgres = PrivatePostgres::start().await;
    let f = Fixture::on_postgres(postgres.url()).await;
    jobs::stage_now(&f.store, a_job(1)).await.unwrap();
    postgres.execute("create table probe (number bigint)").await;
    // A commit that waits for the server's own disk also waits for this standby, which does not exist.
    postgres.execute("alter system set synchronous_standby_names = 'missing'").await;
    postgres.execute("select pg_reload_conf()").await;
    wait_until("commits that wait", PATIENCE, async || {
        let mut probe = f.connection().await;
        let committing = sqlx::query("insert into probe values (1)").execute(&mut probe);
        timeout(Duration::from_millis(200), committing).await.is_err().then_some(())
    })
    .await;

    let ids = timeout(PATIENCE, jobs::enqueue(&f.store, QueueName::Settle, 100)).await.expect("ids to push").unwrap();
    let claimed = timeout(PATIENCE, jobs::claim(&f.store, &ids)).await.expect("a claim").unwrap();
    let lease = claimed[0].lease;
    let renewed = timeout(PATIENCE, jobs::renew(&f.store, &[lease])).await.expect("a renewal").unwrap();
    let ended = timeout(Duration::from_secs(1), jobs::finish_alone(&f.store, &lease, &Finish::Complete)).await;

    assert_eq!(renewed, [lease.job_id]);
    assert!(ended.is_err(), "the end of a run was told before it was safe: {ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_closed_leaves_no_connection() {
    let postgres = PrivatePostgres::start().await;
    let f = Fixture::on_postgres(postgres.url()).await;
    let mut beside = f.connection().await;
    assert_eq!(stage(&f.store, 0).await, 4);
    assert!(number(&mut beside, SESSIONS).await > 0);

    f.store.close().await;

    wait_until("the end of all connections", PATIENCE, async || {
        (number(&mut beside, SESSIONS).await == 0).then_some(())
    })
    .await;
    assert!(jobs::stage_now(&f.store, a_job(9)).await.is_err());
}

/// A failover whose name follows some seconds later: until then every new connection reaches the demoted server, which
/// still answers reads.
/// Shows: DATABASE-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_demoted_is_left_as_soon_as_its_name_leads_elsewhere() {
    let (mut demoted, forwarder, f) = behind_a_forwarder().await;
    assert_eq!(stage(&f.store, 0).await, 4);
    let promoted = demoted.hand_over().await;
    wait_until("a demoted server that turns us away", PATIENCE, async || {
        let staged = jobs::stage_now(&f.store, a_job(10)).await;
        assert!(staged.is_err(), "a standby takes no writes");
        matches!(staged, Err(StoreError::Unavailable(_))).then_some(())
    })
    .await;
    let asked = Instant::now();
    assert!(matches!(jobs::stage_now(&f.store, a_job(11)).await, Err(StoreError::Unavailable(_))));
    assert!(f.store.ping().await.is_err(), "what it answers is old");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());

    forwarder.lead_new_ones_to(promoted.port());

    wait_until("writes at the server that took over", Duration::from_secs(5), async || {
        jobs::stage_now(&f.store, a_job(12)).await.ok()
    })
    .await;
    let all = join_all((20..36).map(|number| jobs::stage_now(&f.store, a_job(number)))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

/// How a database may end a transaction, and how this test imitates it: a failure that ends the transaction by itself,
/// as SQLite does when its disk is full, and a commit that fails.
const FAILURES: [[&str; 2]; 2] = [
    [
        "create trigger breaks before insert on jobs begin select raise(rollback, 'the disk is full'); end",
        "drop trigger breaks",
    ],
    ["create trigger breaks after insert on jobs begin insert into of_nobody values (1); end", "drop trigger breaks"],
];

const FAILURES_OF_POSTGRES: [[&str; 2]; 2] = [
    [
        "create or replace function breaks() returns trigger language plpgsql as
            $$ begin raise exception 'the disk is full' using errcode = '53100'; end $$;
        create trigger breaks before insert on jobs for each row execute function breaks()",
        "drop trigger breaks on jobs",
    ],
    [
        "create constraint trigger breaks after insert on jobs deferrable initially deferred
            for each row execute function breaks()",
        "drop trigger breaks on jobs",
    ],
];

on_every_database! {
    a_transaction_that_failed_leaves_nothing_behind_on_its_connection
}

/// Shows: DATABASE-1
async fn a_transaction_that_failed_leaves_nothing_behind_on_its_connection(f: Fixture) {
    let failures = match f.file() {
        Some(_) => {
            let of_nobody = "create table of_nobody (id bigint references orders (id) deferrable initially deferred)";
            f.execute(&[of_nobody.to_owned()]).await;
            FAILURES
        }
        None => FAILURES_OF_POSTGRES,
    };
    for (number, [breaks, mends]) in (0_i64..).zip(failures) {
        let first = number * 100;
        f.execute(&breaks.split(";\n").map(str::to_owned).collect::<Vec<_>>()).await;
        assert_eq!(stage(&f.store, first).await, 0, "{breaks}");

        f.execute(&[mends.to_owned()]).await;

        let staged = jobs::stage_now(&f.store, a_job(first + 50)).await;
        assert!(staged.is_ok(), "after {breaks}: {staged:?}");
        assert_eq!(stage(&f.store, first + 60).await, 4);
    }
}

/// Jobs that wait for each other's connections must not lose their leases.
/// Shows: DATABASE-3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_renewed_and_runs_ended_while_work_has_every_connection() {
    let f = Fixture::postgres().await;
    for number in 0..3 {
        jobs::stage_now(&f.store, a_job(number)).await.unwrap();
    }
    let claimed = f.claim(QueueName::Settle).await;
    jobs::stage_now(&f.store, a_job(9)).await.unwrap();
    let mut beside = f.connection().await;
    beside.execute("begin; update jobs set attempt = attempt where subject_id = 9").await.unwrap();
    let work: Vec<_> = (0..32)
        .map(|_| {
            let store = f.store.clone();
            tokio::spawn(async move { jobs::stage_now(&store, a_job(9)).await })
        })
        .collect();
    let mut watching = f.connection().await;
    let waiting =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    wait_until("work on every connection", PATIENCE, async || {
        (number(&mut watching, waiting).await >= 13).then_some(())
    })
    .await;

    let began = Instant::now();
    let renewed = jobs::renew(&f.store, &[claimed[0].lease, claimed[1].lease]).await.unwrap();
    jobs::finish_alone(&f.store, &claimed[2].lease, &Finish::Complete).await.unwrap();
    jobs::earliest_due(&f.store, true).await.unwrap();
    let took = began.elapsed();

    assert_eq!(renewed.len(), 2);
    assert!(took < Duration::from_secs(1), "they waited for those who work: {took:?}");
    beside.execute("rollback").await.unwrap();
    for work in work {
        let _ = work.await.unwrap();
    }
}
