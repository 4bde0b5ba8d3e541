//! The whole program with its sandbox, as a shop, a paying customer and an operator meet it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shared::config::DatabaseUrl;
use shared::secret::Secret;
use shared::store::Store;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::command::{self, Ended};
use super::ports::free_port;
use super::program::Program;
use super::servers;
use super::wait::{PATIENCE, wait_until};
use crate::roles::installation::SANDBOX_CREDENTIALS;

/// What the program stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SQLite and a queue in the process: what a first command starts.
    Embedded,
    /// A fresh PostgreSQL database, and the shared Redis.
    Servers,
}

/// Makes a test of each function, once per [`Kind`]: `embedded::name` and `servers::name`.
macro_rules! on_both_kinds {
    ($($(#[$attribute:meta])* $name:ident)+) => {
        mod embedded {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::support::app::Kind::Embedded).await; })+
        }
        mod servers {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::support::app::Kind::Servers).await; })+
        }
    };
}
pub(crate) use on_both_kinds;

// ---- the doors --------------------------------------------------------------------------------------------------------

/// The addresses of an installation and of its sandbox, and what may be asked there.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// Where the API listens, without a last slash.
    pub(crate) url: String,
    /// Where the sandbox listens, without a last slash.
    pub(crate) sandbox_url: String,
    /// What orders are made and read with, if the installation asks for a key.
    api_key: Option<String>,
    client: Client,
}

/// An order that can be paid.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) id: i64,
    pub(crate) token: String,
    pub(crate) transaction_id: i64,
    pub(crate) payment_url: String,
}

/// An order of 50 soʻm, as the README makes one.
pub(crate) fn tea() -> Value {
    json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" })
}

/// [`tea`] in tiyin, as the gateway counts.
pub(crate) const TEA_TIYIN: i64 = 5_000;

impl Doors {
    pub(crate) fn new(url: String, sandbox_url: String) -> Doors {
        // reqwest wants one before its first client, even for plain HTTP. An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let no_redirects = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().redirect(no_redirects).timeout(PATIENCE).build().unwrap();
        Doors { url, sandbox_url, api_key: None, client }
    }

    /// The same doors for a shop with this key.
    pub(crate) fn with_key(&self, key: &str) -> Doors {
        Doors { api_key: Some(key.to_owned()), ..self.clone() }
    }

    // ---- the shop ----

    /// Asks for an order.
    pub(crate) async fn create_order(&self, body: &Value) -> Answer {
        send(self.request(Method::POST, "/api/orders/create").json(body)).await
    }

    /// Asks for an order under an idempotency key.
    pub(crate) async fn create_with_key(&self, key: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, "/api/orders/create").header("Idempotency-Key", key).json(body)).await
    }

    /// Asks for a refund of an order under an idempotency key.
    pub(crate) async fn refund(&self, id: i64, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, &format!("/api/orders/{id}/refund"));
        send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// Calls an order off.
    pub(crate) async fn cancel(&self, id: i64) -> Answer {
        send(self.request(Method::POST, &format!("/api/orders/{id}/cancel"))).await
    }

    /// The order's refunds, oldest first.
    pub(crate) async fn refunds(&self, id: i64) -> Vec<Value> {
        let answer = self.get(&format!("/api/orders/{id}/refunds")).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["refunds"].as_array().unwrap().clone()
    }

    /// An order that is paid.
    pub(crate) async fn paid_order(&self) -> Linked {
        let order = self.order_with_link().await;
        assert_eq!(self.pay(order.transaction_id).await, "debited");
        self.wait_for(order.id, "paid").await;
        order
    }

    /// Makes an order and waits for its payment link.
    pub(crate) async fn order_with_link(&self) -> Linked {
        self.linked_order_of(&tea()).await
    }

    /// Makes this order and waits for its payment link.
    pub(crate) async fn linked_order_of(&self, body: &Value) -> Linked {
        let created = self.create_order(body).await;
        assert_eq!(created.status, 201, "{created}");
        self.wait_for_link(created.json()["order_id"].as_i64().unwrap()).await
    }

    /// Waits until the order has a payment link at the gateway.
    pub(crate) async fn wait_for_link(&self, id: i64) -> Linked {
        let what = format!("a payment link for order {id}");
        wait_until(&what, PATIENCE, async || {
            let order = self.order(id).await;
            Some(Linked {
                id,
                token: order["order_token"].as_str()?.to_owned(),
                transaction_id: order["transaction_id"].as_i64()?,
                payment_url: order["payment_url"].as_str()?.to_owned(),
            })
        })
        .await
    }

    /// The order as it is now.
    pub(crate) async fn order(&self, id: i64) -> Value {
        let answer = self.get(&format!("/api/orders/{id}")).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// The order's status as it is now.
    pub(crate) async fn status(&self, id: i64) -> String {
        self.order(id).await["status"].as_str().unwrap().to_owned()
    }

    /// What has become of the order, step by step.
    pub(crate) async fn history(&self, id: i64) -> History {
        let answer = self.get(&format!("/api/orders/{id}/history")).await;
        assert_eq!(answer.status, 200, "{answer}");
        History::read(&answer.json()["history"])
    }

    /// Waits until the order has this status, and gives it.
    pub(crate) async fn wait_for(&self, id: i64, status: &str) -> Value {
        self.wait_for_within(id, status, PATIENCE).await
    }

    /// As [`Doors::wait_for`], for those who must be quicker or may be slower.
    pub(crate) async fn wait_for_within(&self, id: i64, status: &str, deadline: Duration) -> Value {
        let mut last = String::new();
        let mut order = Value::Null;
        let begun = std::time::Instant::now();
        while begun.elapsed() < deadline {
            order = self.order(id).await;
            order["status"].as_str().unwrap().clone_into(&mut last);
            if last == status {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("order {id} is still {last} and not {status} after {deadline:?}: {order}");
    }

    /// GETs an address of the API.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// POSTs bytes to an address of the API.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(Method::POST, path).header(CONTENT_TYPE, content_type).body(body)).await
    }

    /// A request to the API with the key in it; a path or a whole URL.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        let request = self.client.request(method, url);
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    // ---- the customer ----

    /// GETs a page as a browser would: a whole URL, without any key.
    pub(crate) async fn open(&self, url: &str) -> Answer {
        send(self.client.get(url)).await
    }

    /// The customer comes back from the gateway's page.
    pub(crate) async fn open_return_page(&self, order: &Linked) -> Answer {
        let answer = self.open(&format!("{}/pay/{}/return", self.url, order.token)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer
    }

    /// The customer pays with a card that works. Gives how that ended: `debited`, `refused`, `declined`, `closed`.
    pub(crate) async fn pay(&self, transaction_id: i64) -> String {
        let url = format!("{}/_sim/pay/{transaction_id}", self.sandbox_url);
        let answer = send(self.client.post(url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["outcome"].as_str().unwrap().to_owned()
    }

    // ---- the gateway ----

    /// Sends a callback's body to the webhook, as the gateway would.
    pub(crate) async fn deliver(&self, body: impl Into<reqwest::Body>) -> Answer {
        let url = format!("{}/atmos/webhook/", self.url);
        send(self.client.post(url).header(CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Switches a fault on: `{"fault": "callback-never", "next": 1}`.
    pub(crate) async fn fault(&self, wish: Value) {
        let answer = send(self.client.post(format!("{}/_sim/faults", self.sandbox_url)).json(&wish)).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Switches every fault off.
    pub(crate) async fn clear_faults(&self) {
        let answer = send(self.client.delete(format!("{}/_sim/faults", self.sandbox_url))).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// The gateway does something else to a transaction: `close`, `reverse`.
    pub(crate) async fn sim(&self, act: &str, transaction_id: i64) -> Value {
        let answer = send(self.client.post(format!("{}/_sim/{act}/{transaction_id}", self.sandbox_url))).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// The gateway's own book: every transaction it has made.
    pub(crate) async fn ledger(&self) -> Vec<BookLine> {
        let answer = self.open(&format!("{}/_sim/ledger", self.sandbox_url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        let book = answer.json();
        book["transactions"].as_array().unwrap().iter().map(BookLine::read).collect()
    }

    /// The lines of the gateway's book about one order.
    pub(crate) async fn ledger_of(&self, id: i64) -> Vec<BookLine> {
        self.ledger().await.into_iter().filter(|line| line.account == id.to_string()).collect()
    }

    /// The callbacks that the sandbox has sent for a transaction, with our answers.
    pub(crate) async fn sent_callbacks(&self, transaction_id: i64) -> Vec<Value> {
        let answer = self.open(&format!("{}/_sim/callbacks", self.sandbox_url)).await;
        let sent = answer.json()["callbacks"].as_array().unwrap().clone();
        sent.into_iter().filter(|callback| callback["transaction_id"] == transaction_id).collect()
    }

    /// Compares the gateway's book with these orders: wherever money moved, the order is paid by that transaction, once,
    /// or before a person; and none is paid without.
    pub(crate) async fn audit(&self, ids: &[i64]) {
        let mut debits: BTreeMap<i64, Vec<BookLine>> = BTreeMap::new();
        for line in self.ledger().await {
            assert!(line.debits <= 1, "transaction {} was debited {} times", line.transaction_id, line.debits);
            if line.state == "debited" {
                let id = line.account.parse().unwrap();
                assert!(ids.contains(&id), "money moved for order {id}, which the audit was not told of");
                debits.entry(id).or_default().push(line);
            }
        }
        for id in ids {
            let order = self.order(*id).await;
            let history = self.history(*id).await;
            let moved = debits.remove(id).unwrap_or_default();
            let with_a_person = order["status"] == "review" || order["needs_review"] == true;
            assert!(history.times_entered("paid") <= 1, "order {id} was paid more than once: {history}");
            if order["status"] == "paid" {
                let payer = moved.iter().find(|line| order["transaction_id"] == line.transaction_id);
                assert!(payer.is_some(), "order {id} is paid, and its transaction was not debited: {order}, {moved:?}");
                assert_eq!(history.times_entered("paid"), 1, "{history}");
                assert!(moved.len() == 1 || with_a_person, "order {id} was paid twice and nobody was told: {moved:?}");
            } else if !moved.is_empty() {
                assert!(with_a_person, "money moved for order {id}, and it is {order}");
            }
            if with_a_person {
                assert!(
                    order["reason"].is_string(),
                    "a person is to look at order {id} without being told why: {order}"
                );
            }
        }
    }

    // ---- the operator ----

    /// Everything the process counts, in Prometheus' text format.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.open(&format!("{}/metrics", self.url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.text
    }

    /// One series of the metrics by its name with labels, as it stands in the text; 0 where there is none.
    pub(crate) async fn metric(&self, series: &str) -> i64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<i64>().ok());
        value.unwrap_or_default()
    }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap_or_else(|error| panic!("half an answer: {error:?}"));
    Answer { status, headers, text }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// A header's value, empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where the answer sends the browser.
    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// The `status` of the webhook's answer, which must be HTTP 200 whatever was sent.
    pub(crate) fn callback_status(&self) -> i64 {
        assert_eq!(self.status, 200, "{self}");
        let body = self.json();
        assert!(body["message"].is_string(), "{self}");
        body["status"].as_i64().unwrap()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {} {}", self.status, self.text)
    }
}

/// A transaction in the gateway's book.
#[derive(Clone, Debug)]
pub(crate) struct BookLine {
    pub(crate) transaction_id: i64,
    pub(crate) account: String,
    pub(crate) amount: i64,
    pub(crate) state: String,
    /// How often money was taken.
    pub(crate) debits: i64,
    /// How often we asked for it to be given back.
    pub(crate) reversals_asked: i64,
}

impl BookLine {
    fn read(line: &Value) -> BookLine {
        BookLine {
            transaction_id: line["transaction_id"].as_i64().unwrap(),
            account: line["account"].as_str().unwrap().to_owned(),
            amount: line["amount"].as_i64().unwrap(),
            state: line["state"].as_str().unwrap().to_owned(),
            debits: line["debits"].as_i64().unwrap(),
            reversals_asked: line["reversals_asked"].as_i64().unwrap(),
        }
    }
}

/// An order's history, oldest line first.
#[derive(Clone, Debug)]
pub(crate) struct History(Vec<HistoryStep>);

#[derive(Clone, Debug)]
pub(crate) struct HistoryStep {
    pub(crate) at: String,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) cause: String,
}

impl History {
    fn read(lines: &Value) -> History {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let step = |line: &Value| HistoryStep {
            at: text(&line["at"]).unwrap(),
            from: text(&line["from"]),
            to: text(&line["to"]).unwrap(),
            cause: text(&line["cause"]).unwrap(),
        };
        History(lines.as_array().unwrap().iter().map(step).collect())
    }

    pub(crate) fn steps(&self) -> &[HistoryStep] {
        &self.0
    }

    /// The statuses after each step.
    pub(crate) fn statuses(&self) -> Vec<&str> {
        self.0.iter().map(|step| step.to.as_str()).collect()
    }

    /// How often the order came into this status from another one.
    pub(crate) fn times_entered(&self, status: &str) -> usize {
        self.0.iter().filter(|step| step.to == status && step.from.as_deref() != Some(status)).count()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            writeln!(f, "{} {} -> {}: {}", step.at, step.from.as_deref().unwrap_or("-"), step.to, step.cause)?;
        }
        Ok(())
    }
}

// ---- the program ------------------------------------------------------------------------------------------------------

/// A running `tasdiq up` with its sandbox. Dropping it kills it; if the test is failing, what it wrote is printed.
pub(crate) struct TestApp {
    program: Program,
    doors: Doors,
    environment: Vec<(String, String)>,
    data_dir: TempDir,
}

impl Deref for TestApp {
    type Target = Doors;

    fn deref(&self) -> &Doors {
        &self.doors
    }
}

impl TestApp {
    /// Starts the program and waits until it is ready.
    pub(crate) async fn start(kind: Kind) -> TestApp {
        TestApp::start_with(kind, &[]).await
    }

    /// Starts the program with further variables, which win over ours, and waits until it is ready.
    pub(crate) async fn start_with(kind: Kind, variables: &[(&str, &str)]) -> TestApp {
        let data_dir = tempfile::Builder::new().prefix("data.").tempdir().unwrap();
        let (listen, sandbox_listen) = (free_address(), free_address());
        let mut environment = vec![
            ("TASDIQ_DATA_DIR".to_owned(), data_dir.path().to_str().unwrap().to_owned()),
            ("TASDIQ_LISTEN".to_owned(), listen.clone()),
            ("TASDIQ_SANDBOX_LISTEN".to_owned(), sandbox_listen.clone()),
            ("TASDIQ_WORKER_LISTEN".to_owned(), free_address()),
        ];
        if kind == Kind::Servers {
            environment.push(("DATABASE_URL".to_owned(), servers::fresh_database().await));
            environment.push(("REDIS_URL".to_owned(), servers::redis_url()));
        }
        environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let program = start_program(&environment);
        let doors = Doors::new(format!("http://{listen}"), format!("http://{sandbox_listen}"));
        let mut app = TestApp { program, doors, environment, data_dir };
        app.wait_until_ready().await;
        app
    }

    /// Ends the program as a supervisor would, and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Ends the program as a power cut would, and starts it again on the same data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.start_again().await;
    }

    /// Ends the program as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.program.signal("KILL");
        self.program.wait_exit(PATIENCE).await;
    }

    /// Starts the program that has ended again, on the same data.
    pub(crate) async fn start_again(&mut self) {
        self.program = start_program(&self.environment);
        self.wait_until_ready().await;
    }

    /// Asks the program to end and waits until it has, in good order.
    pub(crate) async fn stop(&mut self) {
        self.program.signal("TERM");
        let status = self.program.wait_exit(PATIENCE).await;
        assert!(status.success(), "{status}");
    }

    async fn wait_until_ready(&mut self) {
        wait_until_ready(&mut self.program, &self.doors).await;
    }

    /// All that the program has written since it was started last.
    pub(crate) fn output(&self) -> String {
        self.program.output()
    }

    /// Where the embedded parts keep their files.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.data_dir.path()
    }

    /// Runs a command of the operator's against this installation, to whatever end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[]).await
    }

    /// As [`TestApp::run`], with further variables, which win over the installation's.
    pub(crate) async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let environment = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        command::run(arguments, &environment.chain(variables.iter().copied()).collect::<Vec<_>>()).await
    }

    /// Runs a command of the operator's against this installation, and gives what it printed.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "tasdiq {}: {ended:?}", arguments.join(" "));
        ended.said
    }

    /// The database of this installation, as sqlx is told.
    pub(crate) fn database_url(&self) -> String {
        let given = self.environment.iter().rev().find(|(name, _)| name == "DATABASE_URL");
        let embedded = || format!("sqlite://{}", self.data_dir().join("tasdiq.db").display());
        given.map_or_else(embedded, |(_, url)| url.clone())
    }

    /// Starts one API more beside the program, on the same servers and the same sandbox, and waits until it is ready.
    pub(crate) async fn another_api(&self) -> (Program, Doors) {
        let listen = free_address();
        let shared = self.environment.iter().filter(|(name, _)| ["DATABASE_URL", "REDIS_URL"].contains(&name.as_str()));
        let mut environment: Vec<(&str, &str)> = SANDBOX_CREDENTIALS.to_vec();
        environment.extend(shared.map(|(name, value)| (name.as_str(), value.as_str())));
        environment.extend([
            ("ATMOS_BASE_URL", self.sandbox_url.as_str()),
            ("TASDIQ_PUBLIC_URL", &self.url),
            ("TASDIQ_LISTEN", &listen),
        ]);
        let mut program = Program::start(&["api"], &environment);
        let doors = Doors::new(format!("http://{listen}"), self.sandbox_url.clone());
        wait_until_ready(&mut program, &doors).await;
        (program, doors)
    }

    /// The database as another process sees it.
    pub(crate) async fn store(&self) -> Store {
        let url = match self.variable("DATABASE_URL") {
            Some(url) => DatabaseUrl::Postgres(Secret::new(url)),
            None => DatabaseUrl::Sqlite(self.data_dir.path().join("tasdiq.db")),
        };
        Store::open(&url).await.unwrap()
    }

    /// Runs a statement on the database behind the program's back.
    pub(crate) async fn execute(&self, statement: &str) {
        sqlx::any::install_default_drivers();
        let sqlite = format!("sqlite://{}", self.data_dir.path().join("tasdiq.db").display());
        let url = self.variable("DATABASE_URL").map_or(sqlite, str::to_owned);
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The number that a query returns; for a program on servers.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        let url = self.variable("DATABASE_URL").expect("SQLite has one writer, and nothing of this kind to tell");
        let mut connection = PgConnection::connect(url).await.unwrap();
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A rightly signed callback body, as an operator makes one by hand. The amount is in soʻm: `50.00`.
    pub(crate) async fn sign(&self, transaction_id: i64, account: i64, amount: &str) -> String {
        self.sign_as("account", transaction_id, account, amount).await
    }

    /// As [`TestApp::sign`], with the account under this name: `account` or `invoice`.
    pub(crate) async fn sign_as(&self, field: &str, transaction_id: i64, account: i64, amount: &str) -> String {
        let (transaction_id, account) = (transaction_id.to_string(), account.to_string());
        let arguments = ["callback", "sign", "--transaction-id", &transaction_id, "--account", &account];
        let arguments = [&arguments[..], &["--amount", amount, "--field", field]].concat();
        self.command(&arguments).await.trim().to_owned()
    }

    /// The order's whole story as `tasdiq orders show` prints it: `order`, `history`, `transactions`, `callbacks`, `jobs`.
    pub(crate) async fn story(&self, id: i64) -> Value {
        serde_json::from_str(&self.command(&["orders", "show", &id.to_string(), "--json"]).await).unwrap()
    }

    /// The verdicts on the order's callbacks, oldest first, and how often each was seen.
    pub(crate) async fn verdicts(&self, id: i64) -> Vec<(String, i64)> {
        let story = self.story(id).await;
        let verdict = |callback: &Value| {
            (callback["verdict"].as_str().unwrap().to_owned(), callback["seen_count"].as_i64().unwrap())
        };
        story["callbacks"].as_array().unwrap().iter().map(verdict).collect()
    }
}

fn start_program(environment: &[(String, String)]) -> Program {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Program::start(&["up"], &environment)
}

async fn wait_until_ready(program: &mut Program, doors: &Doors) {
    let url = format!("{}/readyz", doors.url);
    wait_until("the program to be ready", PATIENCE, async || {
        assert!(program.exit_status().is_none(), "the program ended at its start");
        let ready = doors.client.get(&url).send().await.ok()?;
        ready.status().is_success().then_some(())
    })
    .await;
}

fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}
