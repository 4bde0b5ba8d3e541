//! The number of statements and transactions of each operation, alone and in a batch. They do not depend on the
//! machine.

use domain::callback_verdict::CallbackVerdict;
use domain::id::{CallbackId, TransactionId};
use domain::job::{ClaimedJob, QueueName};
use domain::order::Order;
use domain::transaction::StoredState;
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::callbacks;
use store::jobs::Finish;
use store::orders::{self, Created, Transition};
use store::settlement::{self, Settlement};
use store::transactions::SeenTransaction;
use store::{Store, jobs};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link, new_order};
use crate::support::servers::PrivatePostgres;

/// As many as wait at a busy moment.
const TOGETHER: i64 = 64;

/// Counts the statements of ours and the transactions that the database ran since the last count.
struct Counter(PgConnection);

impl Counter {
    async fn open(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query("create extension pg_stat_statements").execute(&mut connection).await.unwrap();
        Counter(connection)
    }

    async fn take(&mut self) -> (i64, i64) {
        let count = async |connection: &mut PgConnection, which: &str| -> i64 {
            let sql = format!("select coalesce(sum(calls), 0)::bigint from pg_stat_statements where {which}");
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
        };
        // Left out because they come only now and then: ids taken in blocks, connections made and tested, and the one
        // question whether the server tells its history.
        let ours = "query like '-- %' and query not like '-- take_ids%' and query not like '-- set_up_session%'
            and query not like '-- test_connection%' and query not like '-- present_history%'";
        let statements = count(&mut self.0, ours).await;
        let transactions = count(&mut self.0, "query ilike 'commit'").await;
        sqlx::query("select pg_stat_statements_reset()").execute(&mut self.0).await.unwrap();
        (statements, transactions)
    }

    /// A single operation takes exactly this many. Many at once take at most three times as many: the first goes alone,
    /// the others in the next batch, and late ones in the one after.
    async fn expect(&mut self, what: &str, together: bool, statements: i64, transactions: i64) {
        let counted = self.take().await;
        match together {
            false => assert_eq!(counted, (statements, transactions), "{what}"),
            true => assert!(
                counted.0 <= 3 * statements && counted.1 <= 3 * transactions,
                "{what}: {TOGETHER} at once took {counted:?}"
            ),
        }
    }
}

/// Shows: PROMISE-9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_takes_as_many_statements_and_transactions_as_it_should() {
    let postgres = PrivatePostgres::start_with(&["shared_preload_libraries=pg_stat_statements"]).await;
    let f = Fixture::on_postgres(postgres.url()).await;
    let mut counter = Counter::open(&postgres.url()).await;
    walk(&f, &mut counter, 1).await; // connections, ids, prepared statements
    walk(&f, &mut counter, 1).await;
    walk(&f, &mut counter, TOGETHER).await;
}

/// This many orders, with each step of all of them at the same time.
async fn walk(f: &Fixture, counter: &mut Counter, count: i64) {
    let (store, together) = (&f.store, count > 1);
    counter.take().await;

    let made = join_all((0..count).map(|_| async { orders::create(store, &new_order(), None).await.unwrap() })).await;
    counter.expect("create", together, 3, 1).await;
    let orders: Vec<Order> = made
        .into_iter()
        .map(|made| match made {
            Created::New(order) => order,
            other => panic!("{other:?}"),
        })
        .collect();

    let found = join_all(orders.iter().map(|order| orders::find(store, order.id))).await;
    assert!(found.iter().all(|found| matches!(found, Ok(Some(_)))));
    counter.expect("find", together, 1, 0).await;

    let ids = jobs::enqueue(store, QueueName::Links, 100).await.unwrap();
    counter.expect("enqueue", false, 1, 0).await;
    let links = jobs::claim(store, &ids).await.unwrap();
    assert_eq!(links.len(), orders.len());
    counter.expect("claim, shared by all", false, 1, 0).await;

    let linked = join_all(links.iter().map(|job| async {
        let order_id = job.job.as_ref().unwrap().subject_id();
        let order = orders.iter().find(|order| order.id.0 == order_id).unwrap();
        let link = new_link(7_000 + order_id);
        orders::store_link(store, &job.lease, order, &link, PAYMENT_TTL_MS, store.now_ms() + 600_000).await.unwrap()
    }))
    .await;
    assert!(linked.iter().all(|linked| *linked == Transition::Made));
    counter.expect("store a link", together, 4, 1).await;

    let answers = join_all(orders.iter().map(|order| f.ask(order, 7_000 + order.id.0))).await;
    assert!(answers.iter().all(|answer| *answer == CallbackVerdict::Allowed));
    counter.expect("answer a callback", together, 6, 1).await;

    let ids = jobs::enqueue(store, QueueName::Settle, 100).await.unwrap();
    let inquiries = jobs::claim(store, &ids).await.unwrap();
    assert_eq!(inquiries.len(), orders.len());
    counter.take().await;
    let woken_by = inquiries.iter().map(|inquiry| callbacks::find(store, CallbackId(inquiry.woken_by[0])));
    assert!(join_all(woken_by).await.iter().all(|found| matches!(found, Ok(Some(_)))));
    counter.expect("read the callbacks that woke the inquiries", together, 1, 0).await;

    join_all(inquiries.iter().map(|job| async {
        let order_id = job.job.as_ref().unwrap().subject_id();
        settle_as_paid(store, job, orders.iter().find(|order| order.id.0 == order_id).unwrap()).await;
    }))
    .await;
    counter.expect("write paid", together, 5, 1).await;
}

/// The number of orders that are measured one after the other.
const ALONE: i64 = 200;

/// The most rows that an operation may write.
const ROWS_OF_AN_ORDER: i64 = 8;
const ROWS_OF_A_PAYMENT: i64 = 9;

/// The rows of tables and the bytes of PostgreSQL's log of changes that were written so far.
struct Ledger(PgConnection);

impl Ledger {
    async fn read(&mut self) -> (i64, i64) {
        // The insert position and the statistics must be current after each statement.
        let sql = "select (select coalesce(sum(rows), 0)::bigint from pg_stat_statements
                where query ~ '^-- ' and query !~ '^-- take_ids' and query ~ '(insert into|delete from|update \\w+ set)'),
            (pg_current_wal_insert_lsn() - '0/0')::bigint";
        sqlx::query_as(sql).fetch_one(&mut self.0).await.unwrap()
    }
}

/// Every row written must be worth its cost: one order with its link, and one payment from the webhook's answer to
/// *paid*.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_and_its_payment_write_no_more_rows_than_they_need() {
    let settings = ["shared_preload_libraries=pg_stat_statements", "autovacuum=off", "checkpoint_timeout=1h"];
    let postgres = PrivatePostgres::start_with(&settings).await;
    let f = Fixture::on_postgres(postgres.url()).await;
    f.store.enqueue_when_staged(vec![QueueName::Links, QueueName::Settle]);
    let mut ledger = Ledger(Counter::open(&postgres.url()).await.0);
    let mut orders = Vec::new();
    for _ in 0..ALONE {
        orders.push(order_with_link(&f).await); // pages, connections, ids, prepared statements
    }
    for order in orders.drain(..) {
        pay(&f, &order).await;
    }

    sqlx::query("checkpoint").execute(&mut ledger.0).await.unwrap();
    let before = ledger.read().await;
    for _ in 0..ALONE {
        orders.push(order_with_link(&f).await);
    }
    let between = ledger.read().await;
    for order in &orders {
        pay(&f, order).await;
    }
    let after = ledger.read().await;

    let each = |from: (i64, i64), to: (i64, i64)| ((to.0 - from.0) as f64 / ALONE as f64, (to.1 - from.1) / ALONE);
    let (order, payment) = (each(before, between), each(between, after));
    println!("an order with its link: {} rows, {} bytes of WAL", order.0, order.1);
    println!("a payment: {} rows, {} bytes of WAL", payment.0, payment.1);
    assert!(order.0 <= ROWS_OF_AN_ORDER as f64, "an order with its link writes {} rows", order.0);
    assert!(payment.0 <= ROWS_OF_A_PAYMENT as f64, "a payment writes {} rows", payment.0);
}

async fn order_with_link(f: &Fixture) -> Order {
    let store = &f.store;
    let Created::New(order) = orders::create(store, &new_order(), None).await.unwrap() else { panic!("it is new") };
    let job = f.claim_recent(QueueName::Links).await;
    let link = new_link(7_000 + order.id.0);
    let linked = orders::store_link(store, &job.lease, &order, &link, PAYMENT_TTL_MS, store.now_ms() + 600_000).await;
    assert_eq!(linked.unwrap(), Transition::Made);
    order
}

async fn pay(f: &Fixture, order: &Order) {
    let transaction_id = 7_000 + order.id.0;
    assert_eq!(f.ask(order, transaction_id).await, CallbackVerdict::Allowed);
    let inquiry = f.claim_recent(QueueName::Settle).await;
    assert_eq!(inquiry.woken_by.len(), 1);
    settle_as_paid(&f.store, &inquiry, order).await;
}

/// The writes of the inquiry that shows the debit.
pub(super) async fn settle_as_paid(store: &Store, inquiry: &ClaimedJob, order: &Order) {
    let transaction_id = TransactionId(7_000 + order.id.0);
    let (state, success_transaction_id) = (StoredState::Debited, Some(TransactionId(9_000 + order.id.0)));
    let seen = [SeenTransaction { transaction_id, state, success_transaction_id, amount: Some(5_000) }];
    let finish = Finish::Snooze { until_ms: store.now_ms() + 600_000, queue: QueueName::Background };
    let paid = Settlement::Paid { transaction_id };
    let settled = settlement::settle(store, &inquiry.lease, order, store.now_ms(), &seen, &paid, &finish).await;
    assert_eq!(settled.unwrap(), Transition::Made);
}
