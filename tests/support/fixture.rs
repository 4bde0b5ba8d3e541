//! A database for one test, on SQLite or PostgreSQL, with the acts of workers, the gateway and people on its orders.

use domain::callback_verdict::CallbackVerdict;
use std::path::Path;
use std::time::Duration;

use domain::id::{JobId, TransactionId};
use domain::job::{ClaimedJob, Job, QueueName};
use domain::order::{GatewayIdentity, NewOrder, Order, example};
use domain::secret::Secret;
use domain::transaction::Callback;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use store::DatabaseUrl;
use store::callbacks::{self, ReceivedBody, Sender};
use store::kinds;
use store::orders::{self, Created, NewLink};
use store::{Store, jobs};

use super::servers;

pub(crate) mod calling;
pub(crate) mod refunding;
pub(crate) mod reviewing;
pub(crate) mod settling;

/// Makes a test of each function, once per database: `sqlite::name` and `postgres::name`. A further database needs an
/// entry here and a constructor of [`Fixture`].
macro_rules! on_every_database {
    (@ $database:ident $($(#[$attribute:meta])* $name:ident)+) => {
        mod $database {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::support::fixture::Fixture::$database().await).await; })+
        }
    };
    ($($tests:tt)+) => {
        $crate::support::fixture::on_every_database! { @ sqlite $($tests)+ }
        $crate::support::fixture::on_every_database! { @ postgres $($tests)+ }
    };
}
pub(crate) use on_every_database;

/// A migrated, empty database.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    url: DatabaseUrl,
    _folder: Option<tempfile::TempDir>,
}

/// How long after a yes Atmos may debit.
pub(crate) const DEBIT_WITHIN: Duration = Duration::from_secs(600);

pub(crate) const PAYMENT_TTL_MS: i64 = 1_800_000;

impl Fixture {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("a folder with % and ?.db"));
        Self::open(url, Some(folder)).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = DatabaseUrl::Postgres(Secret::new(servers::fresh_database().await));
        Self::open(url, None).await
    }

    /// A database on a server that only this test uses.
    pub(crate) async fn on_postgres(url: String) -> Self {
        Self::open(DatabaseUrl::Postgres(Secret::new(url)), None).await
    }

    async fn open(url: DatabaseUrl, folder: Option<tempfile::TempDir>) -> Self {
        let store = Store::open(&url).await.unwrap();
        store.migrate().await.unwrap();
        Fixture { store, url, _folder: folder }
    }

    /// Another one, on the same kind of database.
    pub(crate) async fn of_the_same_kind(&self) -> Self {
        match &self.url {
            DatabaseUrl::Sqlite(_) => Self::sqlite().await,
            DatabaseUrl::Postgres(_) => Self::postgres().await,
        }
    }

    /// The same database, opened by another process.
    pub(crate) async fn another_process(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    /// The same database as it is for another process, with all that a test does on it.
    pub(crate) async fn beside(&self) -> Self {
        Fixture { store: self.another_process().await, url: self.url.clone(), _folder: None }
    }

    /// The database file, for SQLite.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => Some(path),
            DatabaseUrl::Postgres(_) => None,
        }
    }

    /// Runs statements directly, without the store's knowledge.
    pub(crate) async fn execute(&self, statements: &[String]) {
        match &self.url {
            DatabaseUrl::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                for statement in statements {
                    connection.execute(AssertSqlSafe(statement.as_str())).await.unwrap();
                }
            }
            DatabaseUrl::Postgres(_) => {
                let mut connection = self.connection().await;
                for statement in statements {
                    connection.execute(AssertSqlSafe(statement.as_str())).await.unwrap();
                }
            }
        }
    }

    /// Keeps every other connection from writing about orders, until this is dropped.
    pub(crate) async fn hold_writes(&self) -> Box<dyn std::any::Any> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                connection.execute("begin immediate").await.unwrap();
                Box::new(connection)
            }
            DatabaseUrl::Postgres(_) => {
                let mut connection = self.connection().await;
                connection.execute("begin").await.unwrap();
                connection.execute("lock table callbacks in exclusive mode").await.unwrap();
                Box::new(connection)
            }
        }
    }

    /// The number returned by a query.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.any_connection().await).await.unwrap()
    }

    /// The text returned by a query.
    pub(crate) async fn text(&self, query: &'static str) -> String {
        sqlx::query_scalar(query).fetch_one(&mut self.any_connection().await).await.unwrap()
    }

    /// A direct connection to this database, whichever it is.
    pub(crate) async fn any_connection(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = match &self.url {
            DatabaseUrl::Sqlite(path) => {
                let path = path.to_str().unwrap().replace('%', "%25").replace('?', "%3f").replace(' ', "%20");
                format!("sqlite://{path}")
            }
            DatabaseUrl::Postgres(url) => url.expose().to_owned(),
        };
        AnyConnection::connect(&url).await.unwrap()
    }

    /// A direct connection to this database, which must be PostgreSQL.
    pub(crate) async fn connection(&self) -> PgConnection {
        let DatabaseUrl::Postgres(url) = &self.url else { panic!("SQLite has one writer, so nothing to wait for") };
        PgConnection::connect(url.expose()).await.unwrap()
    }

    pub(crate) async fn order(&self) -> Order {
        match orders::create(&self.store, &new_order(), None).await.unwrap() {
            Created::New(order) => order,
            other => panic!("{other:?}"),
        }
    }

    /// Claims everything that is due on a queue, as a worker or as the process of a suspect.
    pub(crate) async fn claim(&self, queue: QueueName) -> Vec<ClaimedJob> {
        let ids = jobs::enqueue(&self.store, queue, 100).await.unwrap();
        if queue != QueueName::Suspect {
            return jobs::claim(&self.store, &ids).await.unwrap();
        }
        let mut claimed = Vec::new();
        for group in jobs::group_suspects(&self.store, &ids).await.unwrap() {
            claimed.extend(jobs::claim_suspects(&self.store, &group).await.unwrap());
        }
        claimed
    }

    /// Claims the one job that was enqueued in this process since the last call.
    pub(crate) async fn claim_recent(&self, queue: QueueName) -> ClaimedJob {
        let ids = self.store.take_recent().enqueued.remove(&queue).expect("it was enqueued where it was staged");
        let mut claimed = jobs::claim(&self.store, &ids).await.unwrap();
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }

    pub(crate) async fn claim_one(&self, queue: QueueName) -> ClaimedJob {
        let mut claimed = self.claim(queue).await;
        assert_eq!(claimed.len(), 1, "one job is due on {queue}");
        claimed.remove(0)
    }

    /// An order with a payment link on this draft.
    pub(crate) async fn order_with_link(&self, transaction_id: i64) -> Order {
        let order = self.order().await;
        self.link(&order, transaction_id, PAYMENT_TTL_MS).await;
        self.find(&order).await
    }

    /// Runs `create_payment_link` for the order like a worker.
    pub(crate) async fn link(&self, order: &Order, transaction_id: i64, ttl_ms: i64) {
        let job = self.claim_one(QueueName::Links).await;
        let first_inquiry_ms = self.store.now_ms() + 60_000;
        orders::store_link(&self.store, &job.lease, order, &new_link(transaction_id), ttl_ms, first_inquiry_ms)
            .await
            .unwrap();
    }

    pub(crate) async fn find(&self, order: &Order) -> Order {
        orders::find(&self.store, order.id).await.unwrap().unwrap()
    }

    /// Asks like the gateway whether this draft may debit the order's amount.
    pub(crate) async fn ask(&self, order: &Order, transaction_id: i64) -> CallbackVerdict {
        self.ask_with(&callback(order, transaction_id)).await
    }

    pub(crate) async fn ask_with(&self, callback: &Callback) -> CallbackVerdict {
        self.ask_as(callback, Sender::Heard).await
    }

    pub(crate) async fn ask_as(&self, callback: &Callback, sender: Sender) -> CallbackVerdict {
        let body = format!("{callback:?}");
        let received = ReceivedBody { bytes: body.as_bytes(), digest: &body, address: Some([92, 63, 207, 14].into()) };
        callbacks::answer(&self.store, &gateway(), "1234", DEBIT_WITHIN, callback, received, sender).await.unwrap()
    }

    /// Makes the order's open `settle_order` due and claims it.
    pub(crate) async fn settle_job(&self, order: &Order) -> ClaimedJob {
        let job = kinds::jobs_of_order(&self.store, order.id).await.unwrap();
        let open =
            job.iter().find(|job| job.kind == "settle_order" && job.finished_at_ms.is_none()).expect("an open inquiry");
        kinds::retry(&self.store, open.id).await.unwrap();
        let queue = QueueName::parse(&open.queue).unwrap();
        let claimed = self.claim(queue).await;
        claimed.into_iter().find(|job| job.lease.job_id == open.id).expect("the inquiry is due")
    }

    /// The causes of the order's history, oldest first.
    pub(crate) async fn history(&self, order: &Order) -> Vec<(Option<&'static str>, &'static str)> {
        let lines = orders::history(&self.store, order.id).await.unwrap();
        assert!(lines.iter().all(|line| !line.cause.is_empty()), "every line tells its cause");
        lines.iter().map(|line| (line.from.map(|from| from.as_str()), line.to.as_str())).collect()
    }

    /// Claims the job by which an older release processes the newest callback of an order.
    pub(crate) async fn older_callback_job(&self, order: &Order) -> ClaimedJob {
        let id = callbacks::of_order(&self.store, order.id).await.unwrap().pop().expect("a callback").id;
        let job = Job::ProcessCallback { callback_id: id };
        jobs::stage_now(&self.store, job).await.unwrap();
        let claimed = self.claim(QueueName::Settle).await;
        claimed.into_iter().find(|claimed| claimed.job == Ok(job)).expect("it is due")
    }

    /// Whether the job has completed and left the table.
    pub(crate) async fn is_complete(&self, id: JobId) -> bool {
        jobs::show(&self.store, id).await.unwrap().is_none()
    }

    pub(crate) async fn state_of(&self, id: JobId) -> (String, i64, String) {
        let job = jobs::show(&self.store, id).await.unwrap().unwrap();
        (job.state.to_string(), job.crashes, job.queue)
    }
}

pub(crate) fn gateway() -> GatewayIdentity {
    GatewayIdentity("sandbox:1234".into())
}

pub(crate) fn new_order() -> NewOrder {
    NewOrder { product_name: "Tea, \"green\" 'strong' ; drop table".into(), ..example::new_order() }
}

pub(crate) fn new_link(transaction_id: i64) -> NewLink {
    NewLink {
        transaction_id: TransactionId(transaction_id),
        payment_url: format!("http://gateway/?transactionId={transaction_id}"),
    }
}

pub(crate) fn callback(order: &Order, transaction_id: i64) -> Callback {
    Callback {
        signature: "signature".into(),
        store_id: "1234".into(),
        transaction_id: Some(TransactionId(transaction_id)),
        account: Some(order.id.to_string()),
        amount: Some(order.amount.get()),
    }
}
