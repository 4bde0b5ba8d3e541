//! Young tables: PostgreSQL has no statistics of them yet, and must find their rows by an index all the same.

use domain::callback_verdict::CallbackVerdict;
use std::collections::BTreeMap;

use domain::job::QueueName;
use domain::order::Order;
use futures_util::future::join_all;
use sqlx::{Connection, PgConnection};
use store::jobs;
use store::orders::{self, Created, Transition};

use super::counts::settle_as_paid;
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link, new_order};
use crate::support::servers::PrivatePostgres;

/// Orders that go through a step at the same time.
const AT_ONCE: usize = 64;

/// Orders that wait for their customers when the first measurement begins, and when the second one does.
const FEW: usize = 2 * AT_ONCE;
const MANY: usize = 24 * AT_ONCE;

/// An index of many rows is a little deeper, and pages get fuller. A table that is read as a whole has twelve times as many
/// pages.
const DEEPER: f64 = 3.0;

/// Pages that a statement may read for a row beyond that, however few it read before.
const SPARE: f64 = 8.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_use_their_indexes_before_there_are_statistics_of_the_tables() {
    // `autovacuum` is what gathers them.
    let settings = ["shared_preload_libraries=pg_stat_statements", "autovacuum=off"];
    let postgres = PrivatePostgres::start_with(&settings).await;
    let f = Fixture::on_postgres(postgres.url()).await;
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::query("create extension pg_stat_statements").execute(&mut connection).await.unwrap();

    let mut waiting = Vec::new();
    let mut pages = Vec::new();
    for level in [FEW, MANY] {
        while waiting.len() < level {
            waiting.extend(orders_with_links(&f).await);
        }
        sqlx::query("select pg_stat_statements_reset()").execute(&mut connection).await.unwrap();
        waiting.extend(orders_with_links(&f).await);
        pay(&f, waiting.drain(..AT_ONCE).collect()).await;
        pages.push(pages_for_a_row(&mut connection).await);
    }

    let (few, many) = (&pages[0], &pages[1]);
    assert!(many.len() > 12, "{} statements", many.len());
    for (name, many) in many {
        let few = few.get(name).copied().unwrap_or_default();
        assert!(
            *many <= DEEPER * few + SPARE,
            "{name} reads {many} pages for a row, and {few} where the table is small"
        );
    }
}

async fn orders_with_links(f: &Fixture) -> Vec<Order> {
    let store = &f.store;
    let made = join_all((0..AT_ONCE).map(|_| async {
        match orders::create(store, &new_order(), None).await.unwrap() {
            Created::New(order) => order,
            other => panic!("{other:?}"),
        }
    }))
    .await;
    let ids = jobs::enqueue(store, QueueName::Links, 100).await.unwrap();
    let links = jobs::claim(store, &ids).await.unwrap();
    assert_eq!(links.len(), made.len());
    let linked = join_all(links.iter().map(|job| async {
        let order_id = job.job.as_ref().unwrap().subject_id();
        let order = made.iter().find(|order| order.id.0 == order_id).unwrap();
        let link = new_link(7_000 + order_id);
        orders::store_link(store, &job.lease, order, &link, PAYMENT_TTL_MS, store.now_ms() + 600_000).await.unwrap()
    }));
    assert!(linked.await.iter().all(|linked| *linked == Transition::Made));
    made
}

async fn pay(f: &Fixture, orders: Vec<Order>) {
    let answers = join_all(orders.iter().map(|order| f.ask(order, 7_000 + order.id.0))).await;
    assert!(answers.iter().all(|answer| *answer == CallbackVerdict::Allowed));
    let ids = jobs::enqueue(&f.store, QueueName::Settle, 100).await.unwrap();
    let jobs = jobs::claim(&f.store, &ids).await.unwrap();
    assert_eq!(jobs.len(), orders.len());
    join_all(jobs.iter().map(|job| async {
        let order_id = job.job.as_ref().unwrap().subject_id();
        settle_as_paid(&f.store, job, orders.iter().find(|order| order.id.0 == order_id).unwrap()).await;
    }))
    .await;
}

/// How many pages each statement of ours has read since the last reset, for each row that it returned or wrote.
async fn pages_for_a_row(connection: &mut PgConnection) -> BTreeMap<String, f64> {
    let sql = "select substring(query from '^-- ([a-z_]+)') as name,
            (sum(shared_blks_hit + shared_blks_read) / greatest(sum(rows), sum(calls)))::double precision as pages
        from pg_stat_statements where query ~ '^-- [a-z_]+\\s' group by 1";
    let read: Vec<(String, f64)> = sqlx::query_as(sql).fetch_all(connection).await.unwrap();
    read.into_iter().collect()
}
