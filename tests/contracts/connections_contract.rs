//! Connections to PostgreSQL: lent again as they are, and never with anything left open.

use std::time::Duration;

use futures_util::future::join_all;
use shared::id::CallbackId;
use shared::job::{Job, QueueName};
use shared::store::jobs::{self, Finish};
use tokio::time::timeout;

use super::Fixture;
use crate::support::servers::PrivatePostgres;
use crate::support::wait::{PATIENCE, wait_until};

/// Fewer than a process has connections.
const AT_ONCE: i64 = 4;

/// Our sessions at the server.
const SESSIONS: &str = "select count(*) from pg_stat_activity where application_name like 'tasdiq %'";

fn a_job(number: i64) -> Job {
    Job::ProcessCallback { callback_id: CallbackId(number) }
}

async fn number(f: &Fixture, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&mut f.connection().await).await.unwrap()
}

async fn stage(f: &Fixture, first: i64) -> usize {
    let staged = join_all((first..first + AT_ONCE).map(|number| jobs::stage_now(&f.store, a_job(number)))).await;
    staged.iter().filter(|staged| staged.is_ok()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_server_begins_after_its_caller_has_gone_is_ended_with_its_connection() {
    let mut postgres = PrivatePostgres::start().await;
    let f = Fixture::on_postgres(postgres.url()).await;
    // As many connections as will be needed, each used a moment ago.
    wait_until("connections", PATIENCE, async || {
        assert_eq!(stage(&f, 0).await, 4);
        (number(&f, SESSIONS).await >= AT_ONCE).then_some(())
    })
    .await;
    assert_eq!(stage(&f, 0).await, 4);
    let before = number(&f, SESSIONS).await;

    postgres.pause();
    let stuck = timeout(Duration::from_secs(10), stage(&f, 100)).await;
    postgres.resume();

    assert_eq!(stuck, Ok(0), "nobody waits for a server that hangs, or is told that it has done anything");
    // Left open, they would hold their rows for 15 s, and whoever is lent such a connection would commit nothing.
    wait_until("the end of the connections that were beginning", Duration::from_secs(5), async || {
        (number(&f, SESSIONS).await <= before - AT_ONCE).then_some(())
    })
    .await;
    assert_eq!(number(&f, "select count(*) from pg_stat_activity where state like 'idle in transaction%'").await, 0);
    assert_eq!(stage(&f, 200).await, 4);
    assert_eq!(number(&f, "select count(*) from jobs where subject_id >= 100").await, AT_ONCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_claims_and_renewals_do_not_wait_for_the_disk_and_the_end_of_a_run_does() {
    let postgres = PrivatePostgres::start().await;
    let f = Fixture::on_postgres(postgres.url()).await;
    jobs::stage_now(&f.store, a_job(1)).await.unwrap();
    // A commit that waits for its own disk waits for this other server's, too, which is not there.
    postgres.execute("alter system set synchronous_standby_names = 'nobody'").await;
    postgres.execute("select pg_reload_conf()").await;
    wait_until("the setting", PATIENCE, async || {
        let waits = number(&f, "select count(*) from pg_settings where setting = 'nobody'").await;
        (waits == 1).then_some(())
    })
    .await;

    let ids = timeout(PATIENCE, jobs::offer(&f.store, QueueName::Settle, 100)).await.expect("an offer").unwrap();
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
    assert_eq!(stage(&f, 0).await, 4);
    assert!(number(&f, SESSIONS).await > 0);

    f.store.close().await;

    wait_until("the end of all connections", PATIENCE, async || (number(&f, SESSIONS).await == 0).then_some(())).await;
    assert!(jobs::stage_now(&f.store, a_job(9)).await.is_err());
}
