//! Release 0.1 running beside the tables of this one: its statements still run, what it writes is carried on by this release,
//! and what this release writes can be read by it.
//!
//! A test writes as 0.1 did: its own texts, unchanged, with the rows that its functions put into them.

use domain::callback_verdict::CallbackVerdict;
use domain::id::{JobId, OrderId, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::{NewOrder, Order, OrderStatus};
use domain::shop::ShopName;
use domain::transaction::{StoredState, StoredTransaction, TransactionState};
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row, SqlSafeStr, SqliteConnection};
use store::idempotency::IdempotencyKey;
use store::jobs::{self, Finish};
use store::orders::{self, Chosen, Created, Transition};
use store::settlement::{self, Settlement};
use store::{kinds, refunds, sweeping};

use super::choosing::{atmos, done};
use super::interleaving::{audit_finds_nothing, inquire};
use crate::support::fixture::calling::{asked, telling, told};
use crate::support::fixture::refunding::{seen, success_id};
use crate::support::fixture::{Fixture, gateway, new_link, new_order, on_every_database};

on_every_database! {
    every_statement_of_0_1_is_read_by_the_tables_of_this_release
    orders_of_0_1_are_carried_on_whatever_0_1_has_done_about_them
    a_permission_of_0_1_keeps_its_order_from_expiring
    rows_of_this_release_are_read_by_0_1
    an_order_without_an_account_is_left_alone_by_0_1
}

const TEXTS: &str = include_str!("older_release/0.1.sql.txt");

/// As 0.1 bounds the numbers of the callbacks that woke a job.
const LONGEST_WOKEN_BY: i64 = 500;

/// A parameter of a statement.
enum Given {
    Rows(Value),
    Number(i64),
    Text(String),
    Nothing,
}

use Given::{Nothing, Number, Rows, Text};

/// A connection of a process of release 0.1.
struct OlderRelease {
    connection: AnyConnection,
    database: &'static str,
    now_ms: i64,
}

impl OlderRelease {
    async fn beside(f: &Fixture) -> Self {
        let database = if f.file().is_some() { "sqlite" } else { "postgres" };
        OlderRelease { connection: f.any_connection().await, database, now_ms: f.store.now_ms() }
    }

    /// Its statements for this database.
    fn statements(&self) -> impl Iterator<Item = &'static str> {
        let database = self.database;
        TEXTS.split("=== ").skip(1).filter_map(move |part| {
            let (only, sql) = part.split_once('\n').unwrap();
            (only == "both" || only == database).then_some(sql.trim_end())
        })
    }

    async fn run(&mut self, name: &str, given: Vec<Given>) -> Vec<AnyRow> {
        let opening = format!("-- {name}\n");
        let sql = self.statements().find(|sql| sql.starts_with(&opening)).unwrap_or_else(|| panic!("no {name}"));
        let mut query = sqlx::query(sql);
        for given in given {
            query = match given {
                Rows(rows) => query.bind(rows.to_string()),
                Number(number) => query.bind(number),
                Text(text) => query.bind(text),
                Nothing => query.bind(None::<i64>),
            };
        }
        query.fetch_all(&mut self.connection).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    async fn tell(&mut self, id: i64, from: Option<&str>, to: &str) {
        let line = json!([{ "order_id": id, "from_status": from, "to_status": to, "cause": format!("0.1: {to}") }]);
        self.run("add_history_lines", vec![Rows(line), Number(self.now_ms)]).await;
    }

    /// Stages a job as one that is enqueued at once. Its number is made from its subject.
    async fn stage(&mut self, kind: &str, field: &str, subject: i64, queue: &str) {
        let payload = json!({ "kind": kind, field: subject }).to_string();
        let job = json!([{ "id": job_of(subject), "queue": queue, "kind": kind, "subject_id": subject, "payload": payload,
            "state": "enqueued", "due_at_ms": self.now_ms + 60_000, "waiting_since_ms": self.now_ms, "woken_by": null }]);
        self.run("stage_jobs", vec![Rows(job), Number(self.now_ms), Number(LONGEST_WOKEN_BY)]).await;
    }

    /// Claims the order's job, and returns its number and lease.
    async fn claim(&mut self, id: i64) -> (i64, i64) {
        let (job, token) = (job_of(id), 77);
        let given = vec![
            Number(token),
            Number(self.now_ms + 8_000),
            Rows(json!([job])),
            Nothing,
            Number(self.now_ms),
            Text("host".into()),
            Number(7),
        ];
        assert_eq!(self.run("claim_jobs", given).await.len(), 1, "the job of order {id} is enqueued");
        (job, token)
    }

    /// An order as 0.1 makes it.
    async fn create(&mut self, id: i64) {
        let order = json!([{ "id": id, "token": format!("{id:032}"), "api_key_name": "shop",
            "reference": format!("old {id}"), "product_name": "Tea", "amount": 5_000, "payment_type": "atmos",
            "return_url": null, "language": "uz", "gateway": "sandbox:1234" }]);
        let key = json!([{ "api_key_name": "shop", "key": format!("key {id}"), "body_digest": "digest",
            "order_id": id, "refund_id": null }]);
        let now_ms = self.now_ms;
        assert_eq!(self.run("keep_idempotency_keys", vec![Rows(key), Number(now_ms)]).await.len(), 1);
        assert_eq!(self.run("create_orders", vec![Rows(order), Number(now_ms)]).await.len(), 1);
        self.tell(id, None, "pending").await;
        self.stage("create_payment_link", "order_id", id, "links").await;
    }

    /// Its draft and link; the job becomes the first inquiry.
    async fn link(&mut self, id: i64) {
        let ((job, token), now_ms) = (self.claim(id).await, self.now_ms);
        let next = json!([{ "id": job, "lease_token": token, "kind": "settle_order", "queue": "settle",
            "payload": json!({ "kind": "settle_order", "order_id": id }).to_string(), "due_at_ms": now_ms + 60_000 }]);
        assert_eq!(self.run("turn_jobs", vec![Rows(next), Number(now_ms)]).await.len(), 1);
        let draft =
            json!([{ "gateway": "sandbox:1234", "transaction_id": draft_of(id), "order_id": id, "amount": 5_000 }]);
        assert_eq!(self.run("record_drafts", vec![Rows(draft), Number(now_ms)]).await.len(), 1);
        let link = json!([{ "id": id, "transaction_id": draft_of(id), "payment_url": "http://gateway/",
            "expires_at_ms": now_ms + 1_800_000 }]);
        assert_eq!(self.run("store_links", vec![Rows(link), Number(now_ms)]).await.len(), 1);
        self.tell(id, Some("pending"), "pending").await;
    }

    /// A callback that it answers with a yes.
    async fn allow(&mut self, id: i64) {
        let now_ms = self.now_ms;
        let locked = self.run("lock_orders_asked_about", vec![Rows(json!([id])), Text("settle_order".into())]).await;
        assert_eq!(locked[0].get::<String, _>("status"), "pending");
        let drafts = self.run("find_drafts", vec![Rows(json!([draft_of(id)])), Text("sandbox:1234".into())]).await;
        assert_eq!(drafts[0].get::<i64, _>("order_id"), id);
        let asked = json!([{ "id": id, "allowed_transaction_id": draft_of(id) }]);
        assert_eq!(self.run("allow_drafts", vec![Rows(asked), Number(now_ms)]).await.len(), 1);
        let kept = json!([{ "id": 500_000 + id, "digest": format!("digest {id}"), "body": "{}", "verdict": "allowed",
            "order_id": id, "transaction_id": draft_of(id), "address": null }]);
        assert_eq!(self.run("keep_callbacks", vec![Rows(kept), Number(now_ms), Number(10_000)]).await.len(), 1);
        let hint = json!([{ "id": id, "last_hint_at_ms": now_ms + 1 }]);
        self.run("hint_from_callbacks", vec![Rows(hint)]).await;
        self.tell(id, Some("pending"), "confirming").await;
        self.stage("settle_order", "order_id", id, "settle").await;
    }

    /// A worker gives back a job of an order whose account it does not have.
    async fn give_back(&mut self, job: i64, token: i64) {
        let run = json!([{ "id": job, "lease_token": token, "wakes": 0, "how": "snooze", "queue": "links",
            "due_at_ms": self.now_ms + 5_000, "last_error": null }]);
        let queues = json!({ "settle_order": "settle", "create_payment_link": "links" });
        let given = vec![Rows(run), Number(self.now_ms), Rows(queues), Number(1)];
        assert_eq!(self.run("finish_jobs", given).await.len(), 1);
    }

    /// The inquiry that showed the debit.
    async fn pay(&mut self, id: i64) {
        let ((job, token), now_ms) = (self.claim(id).await, self.now_ms);
        let run = json!([{ "id": job, "lease_token": token, "wakes": 0, "how": "snooze", "queue": "background",
            "due_at_ms": now_ms + 86_400_000, "last_error": null }]);
        let queues = json!({ "settle_order": "settle" });
        let given = vec![Rows(run), Number(now_ms), Rows(queues), Number(1)];
        assert_eq!(self.run("finish_jobs", given).await.len(), 1);
        self.run("lock_orders", vec![Rows(json!([id]))]).await;
        let payment = json!([{ "id": id, "transaction_id": draft_of(id) }]);
        assert_eq!(self.run("mark_paid", vec![Rows(payment), Number(now_ms)]).await.len(), 1);
        let debit = json!([{ "order_id": id, "gateway": "sandbox:1234", "transaction_id": draft_of(id),
            "state": "debited", "success_transaction_id": success_id(draft_of(id)), "seen_amount": 5_000 }]);
        self.run("keep_seen", vec![Rows(debit), Number(now_ms)]).await;
        self.tell(id, Some("confirming"), "paid").await;
    }

    /// A refund that the shop has asked it for.
    async fn request_refund(&mut self, id: i64, refund: i64) {
        let reserved = self.run("reserve_refund", vec![Number(id), Number(5_000)]).await;
        let (gateway, draft) = (reserved[0].get::<String, _>("gateway"), reserved[0].get::<i64, _>("transaction_id"));
        let debit = self.run("debit_to_refund", vec![Text(gateway), Number(draft)]).await;
        let success: i64 = debit[0].get("success_transaction_id");
        let reason = Text("it was broken".into());
        let (by, at) = (Text("shop".into()), Number(self.now_ms));
        let new = vec![Number(refund), Number(id), Number(5_000), Number(draft), Number(success), by, reason, at];
        assert_eq!(self.run("request_refund", new).await.len(), 1);
        self.stage("refund_order", "refund_id", refund, "settle").await;
    }
}

fn job_of(subject: i64) -> i64 {
    100_000 + subject
}

fn draft_of(order: i64) -> i64 {
    700_000 + order
}

/// Shows that nothing was taken away that it needs.
async fn every_statement_of_0_1_is_read_by_the_tables_of_this_release(f: Fixture) {
    let statements: Vec<&str> = OlderRelease::beside(&f).await.statements().collect();
    assert!(statements.len() > 150, "{} statements", statements.len());
    match f.file() {
        Some(path) => {
            let options = SqliteConnectOptions::new().filename(path);
            prepare_all(SqliteConnection::connect_with(&options).await.unwrap(), &statements).await;
        }
        None => prepare_all(f.connection().await, &statements).await,
    }
}

async fn prepare_all<C: Connection>(mut connection: C, statements: &[&'static str])
where
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
{
    let mut faults = Vec::new();
    for sql in statements {
        if let Err(error) = connection.prepare(AssertSqlSafe(*sql).into_sql_str()).await {
            faults.push(format!("{sql}: {error}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

async fn the_order(f: &Fixture, id: i64) -> Order {
    orders::find(&f.store, OrderId(id)).await.unwrap().expect("0.1 has made it")
}

async fn orders_of_0_1_are_carried_on_whatever_0_1_has_done_about_them(f: Fixture) {
    // So that a job can be claimed by its number.
    f.store.enqueue_when_staged(vec![QueueName::Settle]);
    let mut older = OlderRelease::beside(&f).await;
    let [made, linked, allowed, paid, refunding] = [901, 902, 903, 904, 905];
    for id in [made, linked, allowed, paid, refunding] {
        older.create(id).await;
    }
    for id in [linked, allowed, paid, refunding] {
        older.link(id).await;
    }
    for id in [allowed, paid, refunding] {
        older.allow(id).await;
    }
    for id in [paid, refunding] {
        older.pay(id).await;
    }
    older.request_refund(refunding, 950).await;

    for id in [made, linked, allowed, paid, refunding] {
        let order = the_order(&f, id).await;
        assert_eq!((&order.shop, order.allowed_until_ms), (&ShopName::default(), None), "{order:?}");
        // A name that 0.1 has given is taken, and a key that it has kept is known.
        let again = NewOrder { reference: order.reference.clone(), ..new_order() };
        let taken = orders::create(&f.store, &again, None).await.unwrap();
        assert!(matches!(taken, Created::ReferenceTaken(other) if other.0 == id), "{taken:?}");
        let key = IdempotencyKey { key: format!("key {id}"), body_digest: "digest".into() };
        let repeated = orders::create(&f.store, &again, Some(&key)).await.unwrap();
        assert!(matches!(&repeated, Created::Repeated(other) if other.id.0 == id), "{repeated:?}");
    }
    // The link's job is taken up where 0.1 has left it.
    let jobs = jobs::claim(&f.store, &[JobId(job_of(made))]).await.unwrap();
    let link = new_link(draft_of(made));
    let order = the_order(&f, made).await;
    let stored = orders::store_link(&f.store, &jobs[0].lease, &order, &link, 1_800_000, older.now_ms);
    assert_eq!(stored.await.unwrap(), Transition::Made);
    for id in [made, linked, allowed] {
        let order = the_order(&f, id).await;
        assert_eq!(f.ask(&order, draft_of(id)).await, CallbackVerdict::Allowed, "order {id}");
        settle_as_paid(&f, id).await;
    }
    let order = the_order(&f, paid).await;
    assert_eq!(f.ask(&order, draft_of(paid)).await, CallbackVerdict::AlreadyPaid);
    f.refund(&order).await;
    for id in [paid, refunding] {
        give_back(&f, id).await;
    }
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap(), sweeping::Swept::default());
    audit_finds_nothing(&f, &gateway(), shown).await;
}

async fn open_job(f: &Fixture, id: i64, kind: &str) -> JobId {
    let jobs = kinds::jobs_of_order(&f.store, OrderId(id)).await.unwrap();
    jobs.iter().find(|job| job.kind == kind && job.state.is_open()).unwrap_or_else(|| panic!("{kind}: {jobs:?}")).id
}

async fn settle_as_paid(f: &Fixture, id: i64) {
    let jobs = jobs::claim(&f.store, &[open_job(f, id, "settle_order").await]).await.unwrap();
    let debit = [seen(draft_of(id), StoredState::Debited)];
    let paid = Settlement::Paid { transaction_id: TransactionId(draft_of(id)) };
    let later = Finish::Snooze { until_ms: f.store.now_ms() + 86_400_000, queue: QueueName::Background };
    let order = the_order(f, id).await;
    let settled = settlement::settle(&f.store, &jobs[0].lease, &order, f.store.now_ms(), &debit, &paid, &later).await;
    assert_eq!(settled.unwrap(), Transition::Made);
    assert_eq!(the_order(f, id).await.status, OrderStatus::Paid);
}

/// The run of an order's refund at the gateway, by this release.
async fn give_back(f: &Fixture, id: i64) {
    let refund = refunds::of_order(&f.store, OrderId(id)).await.unwrap().remove(0);
    let job = open_job(f, id, "refund_order").await;
    let jobs = jobs::claim(&f.store, &[job]).await.unwrap();
    assert!(refunds::begin_sending(&f.store, &jobs[0].lease, refund.id).await.is_ok());
    let order = the_order(f, id).await;
    let made = refunds::close_as_done(&f.store, &jobs[0].lease, &order, &refund).await.unwrap();
    assert_eq!(made, Transition::Made);
    assert_eq!(the_order(f, id).await.status, OrderStatus::Refunded);
}

/// What the gateway shows, once everything has come to rest.
fn shown(row: &StoredTransaction) -> TransactionState {
    match row.state {
        StoredState::Open => TransactionState::Open,
        StoredState::Closed => TransactionState::Closed,
        StoredState::Debited => TransactionState::Debited { success_transaction_id: success_id(row.transaction_id.0) },
        StoredState::Reversed => {
            TransactionState::Reversed { success_transaction_id: Some(success_id(row.transaction_id.0)) }
        }
    }
}

/// 0.1 does not write until when a debit may come.
async fn a_permission_of_0_1_keeps_its_order_from_expiring(f: Fixture) {
    f.store.enqueue_when_staged(vec![QueueName::Settle]);
    let mut older = OlderRelease::beside(&f).await;
    older.create(901).await;
    older.link(901).await;
    let over =
        |what: &str, minutes: i64| format!("update orders set {what} = {what} - {} where id = 901", minutes * 60_000);
    older.allow(901).await;
    f.execute(&[over("expires_at_ms", 41)]).await;

    let order = the_order(&f, 901).await;
    let early = inquire(&f, &order, &[], &Settlement::Expired).await;
    f.execute(&[over("last_allowed_at_ms", 11)]).await;
    let late = inquire(&f, &order, &[], &Settlement::Expired).await;

    assert_eq!((early, late), (Transition::Refused, Transition::Made));
    assert_eq!(the_order(&f, 901).await.status, OrderStatus::Expired);
}

async fn rows_of_this_release_are_read_by_0_1(f: Fixture) {
    let mut ids = Vec::new();
    for (number, status) in (1..).zip(OrderStatus::ALL.iter().copied()) {
        ids.push(f.order_in(status, 7_000 + number).await.id);
    }
    let refunded = f.paid_order(8_000).await;
    f.refund(&refunded).await;
    ids.push(refunded.id);
    // Orders of other gateways, which 0.1 knows by name, and gives back to the processes that have their accounts.
    for account in [telling(), asked()] {
        let order = f.local_order(&account).await;
        f.begin_on(&account, &order, "1").await;
        f.debited(&account, &told("1")).await;
        ids.push(order.id);
    }
    // Its customer has not chosen an account.
    ids.push(f.unchosen().await.id);
    let mut older = OlderRelease::beside(&f).await;

    let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let orders = older.run("find_orders", vec![Rows(json!(numbers))]).await;
    assert_eq!(orders.len(), ids.len());
    for row in &orders {
        let text = |column: &str| row.get::<String, _>(column);
        let number = |column: &str| row.get::<i64, _>(column);
        assert!(STATUSES.contains(&text("status").as_str()), "{}", text("status"));
        assert!(["payme", "click", "atmos"].contains(&text("payment_type").as_str()), "{}", text("payment_type"));
        assert!(["uz", "ru", "en"].contains(&text("language").as_str()));
        assert_eq!((text("token").len(), number("amount"), text("api_key_name")), (32, 5_000, "shop".into()));
        for column in ["created_at_ms", "pending_since_ms", "refunded_amount", "refund_reserved", "links_made"] {
            number(column);
        }
        let (id, token) = (number("id"), text("token"));
        assert_eq!(older.run("find_order_by_token", vec![Text(token)]).await.len(), 1);
        for line in older.run("order_history", vec![Number(id)]).await {
            assert!(STATUSES.contains(&line.get::<String, _>("to_status").as_str()));
        }
        let kinds = ["create_payment_link", "settle_order"];
        let jobs = vec![Number(id), Rows(json!(kinds)), Rows(json!(["refund_order"]))];
        for job in older.run("jobs_of_order", jobs).await {
            let kind = job.get::<String, _>("kind");
            assert!(kinds.contains(&kind.as_str()) || kind == "refund_order", "{kind}");
        }
        older.run("callbacks_of_order", vec![Number(id)]).await;
        for refund in older.run("refunds_of_order", vec![Number(id)]).await {
            assert_eq!(refund.get::<String, _>("state"), "open");
        }
    }
    let drafts = older.run("transactions_of_orders", vec![Rows(json!(numbers))]).await;
    assert!(drafts.len() >= ids.len() - 3, "{} transactions", drafts.len());
    for row in drafts {
        let state = row.get::<String, _>("state");
        assert!(["open", "closed", "debited", "reversed"].contains(&state.as_str()), "{state}");
    }
    assert_eq!(older.run("audit_next_orders", vec![Number(0), Number(100)]).await.len(), ids.len());
    let accounts = older.run("open_orders_by_account", vec![]).await;
    let of_atmos = accounts.iter().any(|row| row.get::<String, _>("gateway") == "sandbox:1234");
    assert!(of_atmos, "{} accounts", accounts.len());
}

/// 0.1 does not know that a customer may choose: it reads an order of an account that is not its own. What it does about such
/// an order (its sweep misses the link's job, its workers give jobs back, its API cancels) neither changes it nor keeps its
/// customer from choosing.
async fn an_order_without_an_account_is_left_alone_by_0_1(f: Fixture) {
    f.store.enqueue_when_staged(vec![QueueName::Settle, QueueName::Links, QueueName::Background]);
    let (chosen, canceled) = (f.unchosen().await, f.unchosen().await);
    let mut older = OlderRelease::beside(&f).await;
    let now_ms = older.now_ms;

    let missed = vec![Text("create_payment_link".into()), Number(now_ms), Number(100)];
    let missed = older.run("orders_without_link_job", missed).await;
    assert_eq!(missed.len(), 2, "0.1 misses their links");
    older.stage("create_payment_link", "order_id", chosen.id.0, "links").await;
    let link = older.claim(chosen.id.0).await;
    let inquiry = open_job(&f, chosen.id.0, "settle_order").await;
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: chosen.id }).await.unwrap();
    let claiming = vec![
        Number(78),
        Number(now_ms + 8_000),
        Rows(json!([inquiry.0])),
        Nothing,
        Number(now_ms),
        Text("host".into()),
        Number(7),
    ];
    assert_eq!(older.run("claim_jobs", claiming).await.len(), 1);
    for (job, token) in [link, (inquiry.0, 78)] {
        older.give_back(job, token).await;
    }
    assert_eq!(format!("{:?}", f.find(&chosen).await), format!("{chosen:?}"));
    assert_eq!(f.history(&chosen).await.len(), 1, "nothing is told");

    // The customer chooses a draft's gateway: the job that 0.1 has staged makes the link, and is the only one.
    let order = done(f.choose(&chosen, &atmos()).await);
    let links = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    assert_eq!(links.iter().filter(|job| job.kind == "create_payment_link" && job.state.is_open()).count(), 1);
    let claimed = jobs::claim(&f.store, &[JobId(link.0)]).await.unwrap();
    let stored = orders::store_link(&f.store, &claimed[0].lease, &order, &new_link(7), 1_800_000, now_ms).await;
    assert_eq!(stored.unwrap(), Transition::Made);
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);
    let debit = [seen(7, StoredState::Debited)];
    let paid = Settlement::Paid { transaction_id: TransactionId(7) };
    assert_eq!(inquire(&f, &f.find(&order).await, &debit, &paid).await, Transition::Made);

    // 0.1's API cancels the other one.
    assert_eq!(older.run("cancel_order", vec![Number(canceled.id.0), Number(now_ms)]).await.len(), 0);
    older.tell(canceled.id.0, Some("pending"), "canceled").await;
    let now = f.find(&canceled).await;
    assert_eq!((now.status, &now.account), (OrderStatus::Canceled, &None));
    assert!(matches!(f.choose(&canceled, &atmos()).await, Chosen::Refused(_)));
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap(), sweeping::Swept::default());
    audit_finds_nothing(&f, &gateway(), shown).await;
}

/// The statuses that 0.1 knows.
const STATUSES: [&str; 8] = ["pending", "confirming", "paid", "refunded", "expired", "canceled", "failed", "review"];
