//! How many statements and transactions each operation takes, alone and with others of its kind. No noise moves these.

use futures_util::future::join_all;
use shared::id::TransactionId;
use shared::job::{ClaimedJob, Lease, QueueName};
use shared::order::Order;
use shared::store::callbacks::{self, Verdict};
use shared::store::jobs::{Finish, InHand};
use shared::store::orders::{self, Created, Transition};
use shared::store::settlement::{self, Settlement};
use shared::store::transactions::{Seen, StoredState};
use shared::store::{Store, jobs};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link, new_order};
use crate::support::servers::PrivatePostgres;

/// As many as wait at a busy moment.
const TOGETHER: i64 = 64;

/// What the database was asked since the last count: statements of ours, and transactions.
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
        // Ids come in blocks, now and then; connections are made and tested now and then; and a process asks once whether the
        // server tells its history.
        let ours = "query like '-- %' and query not like '-- take_ids%' and query not like '-- set_up_session%'
            and query not like '-- test_connection%' and query not like '-- present_history%'";
        let statements = count(&mut self.0, ours).await;
        let transactions = count(&mut self.0, "query ilike 'commit'").await;
        sqlx::query("select pg_stat_statements_reset()").execute(&mut self.0).await.unwrap();
        (statements, transactions)
    }

    /// One alone takes exactly so much, and many at once no more than three times that: the first goes alone, the others
    /// go with the next, and whoever comes in between with the one after.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_takes_as_many_statements_and_transactions_as_it_should() {
    let postgres = PrivatePostgres::start_with(&["shared_preload_libraries=pg_stat_statements"]).await;
    let f = Fixture::on_postgres(postgres.url()).await;
    let mut counter = Counter::open(&postgres.url()).await;
    walk(&f, &mut counter, 1).await; // connections, ids, prepared statements
    walk(&f, &mut counter, 1).await;
    walk(&f, &mut counter, TOGETHER).await;
}

/// So many orders at once, each step of them at the same time.
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

    let ids = jobs::offer(store, QueueName::Links, 100).await.unwrap();
    counter.expect("offer", false, 1, 0).await;
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
    counter.expect("store a link", together, 5, 1).await;

    let answers = join_all(orders.iter().map(|order| f.ask(order, 7_000 + order.id.0))).await;
    assert!(answers.iter().all(|answer| *answer == Verdict::Allowed));
    counter.expect("answer a callback", together, 6, 1).await;

    let ids = jobs::offer(store, QueueName::Settle, 100).await.unwrap();
    let waking = jobs::claim(store, &ids).await.unwrap();
    assert_eq!(waking.len(), orders.len());
    counter.take().await;
    let woken = join_all(waking.iter().map(|job| wake(store, job.lease, job.job.as_ref().unwrap().subject_id()))).await;
    // Read, then the look staged and claimed, and this run ended.
    counter.expect("process a callback", together, 3, 1).await;

    let looks: Vec<ClaimedJob> = woken.into_iter().flat_map(InHand::take).collect();
    assert_eq!(looks.len(), orders.len());
    join_all(looks.iter().map(|job| async {
        let order_id = job.job.as_ref().unwrap().subject_id();
        let order = orders.iter().find(|order| order.id.0 == order_id).unwrap();
        let transaction_id = TransactionId(7_000 + order_id);
        let (state, success_transaction_id) = (StoredState::Debited, Some(TransactionId(9_000 + order_id)));
        let seen = [Seen { transaction_id, state, success_transaction_id, amount: Some(5_000) }];
        let finish = Finish::Snooze { until_ms: store.now_ms() + 600_000, queue: QueueName::Background };
        let paid = Settlement::Paid { transaction_id };
        let settled = settlement::settle(store, &job.lease, order, store.now_ms(), &seen, &paid, &finish).await;
        assert_eq!(settled.unwrap(), Transition::Made);
    }))
    .await;
    counter.expect("write paid", together, 5, 1).await;
}

async fn wake(store: &Store, lease: Lease, callback_id: i64) -> InHand {
    let callback = callbacks::find(store, shared::id::CallbackId(callback_id)).await.unwrap().unwrap();
    let woken = callbacks::wake_settlement(store, &lease, callback.order_id.unwrap()).await.unwrap();
    woken.expect("nobody runs the look")
}
