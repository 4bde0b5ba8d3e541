//! An installation beside a sandbox of its own, so that one can be stopped and spoiled while the other goes on.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;

use sandbox::{Sandbox, SandboxConfig};
use serde_json::Value;
use sqlx::any::install_default_drivers;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};
use tempfile::TempDir;

use crate::support::app::{Kind, TestApp};
use crate::support::command::CommandResult;
use crate::support::doors::{Doors, Linked};
use crate::support::ports::free_port;
use crate::support::wait::{PATIENCE, wait_until};

/// The environment of a merchant of a real gateway. The sandbox that plays the gateway knows the same values.
const MERCHANT: [(&str, &str); 5] = [
    ("ATMOS_CONSUMER_KEY", "a-merchant"),
    ("ATMOS_CONSUMER_SECRET", "a-merchants-secret"),
    ("ATMOS_STORE_ID", "417"),
    ("ATMOS_API_KEY", "a-merchants-callback-key"),
    ("TASDIQ_API_KEYS", "shop:the-key-of-the-shop-itself"),
];

/// An installation and its gateway.
pub(super) struct Scene {
    pub(super) app: TestApp,
    doors: Doors,
    sandbox: Option<Sandbox>,
    config: SandboxConfig,
    folder: TempDir,
}

/// The interfaces of the installation, with the sandbox of the scene.
impl Deref for Scene {
    type Target = Doors;

    fn deref(&self) -> &Doors {
        &self.doors
    }
}

impl Scene {
    /// An installation whose gateway is the sandbox, with its book.
    pub(super) async fn start(kind: Kind) -> Scene {
        Scene::start_with(kind, &[]).await
    }

    /// An installation that takes the sandbox for Atmos: it shows no book, and answers about one transaction at a time.
    pub(super) async fn start_as_merchant(kind: Kind) -> Scene {
        Scene::start_with(kind, &MERCHANT).await
    }

    async fn start_with(kind: Kind, variables: &[(&str, &str)]) -> Scene {
        let folder = tempfile::Builder::new().prefix("book.").tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let gateway = format!("http://{address}");
        // No sweep must repair rows during the test.
        let usual = [("ATMOS_BASE_URL", gateway.as_str()), ("TASDIQ_SWEEP_SECONDS", "3600")];
        let app = TestApp::start_with(kind, &[&usual[..], variables].concat()).await;
        let callback_url = format!("{}/atmos/webhook/", app.url).parse().unwrap();
        let mut config = SandboxConfig::new(address.parse().unwrap(), folder.path().to_owned(), Some(callback_url));
        let mut doors = Doors::new(app.url.clone(), gateway);
        if variables.iter().any(|(name, _)| *name == "ATMOS_CONSUMER_KEY") {
            let [key, secret, store, api_key, _] = MERCHANT.map(|(_, value)| value.to_owned());
            (config.consumer_key, config.consumer_secret, config.store_id, config.api_key) =
                (key, secret, store, api_key);
            doors = doors.with_key("the-key-of-the-shop-itself");
        }
        let sandbox = Some(Sandbox::start(config.clone()).await.unwrap());
        Scene { app, doors, sandbox, config, folder }
    }

    /// An order with a link, and a second draft that we do not know because the gateway's answer was lost.
    pub(super) async fn order_with_lost_draft(&self) -> (Linked, i64) {
        self.fault(serde_json::json!({ "fault": "answer-lost", "path": "/merchant/pay/create", "next": 1 })).await;
        let order = self.order_with_link().await;
        let drafts = self.ledger_of(order.id).await;
        let lost = drafts.iter().find(|line| line.transaction_id != order.transaction_id);
        (order, lost.expect("a draft whose answer was lost").transaction_id)
    }

    /// Debits without a callback.
    pub(super) async fn pay_in_silence(&self, transaction_id: i64) {
        self.fault(serde_json::json!({ "fault": "callback-never", "next": 1 })).await;
        assert_eq!(self.pay(transaction_id).await, "debited");
    }

    /// Reverses a payment at the gateway without the program, as a second refund would.
    pub(super) async fn ask_back(&self, transaction_id: i64) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = |request: reqwest::RequestBuilder| async move {
            request.send().await.unwrap().json::<Value>().await.unwrap()
        };
        let token =
            client.post(format!("{}/token", self.sandbox_url)).basic_auth("sandbox-key", Some("sandbox-secret"));
        let token = ask(token.form(&[("grant_type", "client_credentials")])).await;
        let book = ask(client.get(format!("{}/_sim/ledger", self.sandbox_url))).await;
        let lines = book["transactions"].as_array().unwrap();
        let line = lines.iter().find(|line| line["transaction_id"] == transaction_id).unwrap();
        let reverse = client.post(format!("{}/merchant/pay/reverse", self.sandbox_url));
        let reverse = reverse.bearer_auth(token["access_token"].as_str().unwrap());
        ask(reverse.json(&serde_json::json!({ "transaction_id": line["success_trans_id"], "reason": "again" }))).await;
    }

    /// Changes the database. `{id}`, `{tx}` and `{now}` are replaced with the order's number, its transaction and the
    /// time.
    pub(super) async fn sql(&self, order: &Linked, statements: &str) {
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let statements = statements
            .replace("{id}", &order.id.to_string())
            .replace("{tx}", &order.transaction_id.to_string())
            .replace("{now}", &now_ms.to_string());
        let mut database = self.database().await;
        for statement in statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            let done = database.execute(AssertSqlSafe(statement)).await;
            done.unwrap_or_else(|error| panic!("{error}: {statement}"));
        }
        database.close().await.unwrap();
    }

    /// The number a query returns.
    pub(super) async fn number(&self, query: &'static str) -> i64 {
        let mut database = self.database().await;
        let number = sqlx::query(query).fetch_one(&mut database).await.unwrap().get(0);
        database.close().await.unwrap();
        number
    }

    async fn database(&self) -> AnyConnection {
        install_default_drivers();
        AnyConnection::connect(&self.app.database_url()).await.unwrap()
    }

    /// Stops the gateway.
    pub(super) async fn stop_gateway(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.stop().await;
        }
    }

    /// Rewrites the gateway's own book, line by line, and starts it again.
    pub(super) async fn rewrite_book(&mut self, rewrite: impl Fn(&str) -> Vec<String>) {
        self.stop_gateway().await;
        let path: PathBuf = self.folder.path().join("sandbox-ledger.jsonl");
        let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().flat_map(rewrite).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        self.sandbox = Some(Sandbox::start(self.config.clone()).await.unwrap());
    }

    /// Runs `tasdiq audit` with these arguments.
    pub(super) async fn audit(&self, arguments: &[&str]) -> CommandResult {
        self.app.run(&[&["audit"], arguments].concat()).await
    }

    /// Runs `tasdiq audit --json` with these arguments.
    pub(super) async fn findings(&self, arguments: &[&str]) -> AuditOutput {
        AuditOutput::read(self.audit(&[&["--json"], arguments].concat()).await)
    }

    /// Waits until no job runs and none is due soon: differences of this moment would stay.
    pub(super) async fn wait_until_quiet(&self) {
        const RUNNING: &str = "select count(*) from jobs where state in ('enqueued', 'running')";
        wait_until("no job to run", PATIENCE, async || (self.number(RUNNING).await == 0).then_some(())).await;
    }
}

/// The JSON output of an audit.
#[derive(Debug)]
pub(super) struct AuditOutput {
    pub(super) ended: CommandResult,
    pub(super) document: Value,
}

/// The subject of a difference: its kind, its order, its transaction.
pub(super) type Thing = (String, Option<i64>, Option<i64>);

impl AuditOutput {
    pub(super) fn read(ended: CommandResult) -> AuditOutput {
        let document = serde_json::from_str(&ended.said).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        AuditOutput { ended, document }
    }

    /// The differences.
    pub(super) fn differences(&self) -> BTreeSet<Thing> {
        self.things("differences")
    }

    /// The cases that are information and no differences.
    pub(super) fn information(&self) -> BTreeSet<Thing> {
        self.things("information")
    }

    fn things(&self, part: &str) -> BTreeSet<Thing> {
        let listed = self.document[part].as_array().unwrap();
        let things: BTreeSet<Thing> = listed
            .iter()
            .map(|finding| {
                for sentence in ["says", "act"] {
                    assert!(finding[sentence].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
                }
                let kind = finding["kind"].as_str().unwrap().to_owned();
                (kind, finding["order_id"].as_i64(), finding["transaction_id"].as_i64())
            })
            .collect();
        assert_eq!(things.len(), listed.len(), "a thing is told twice: {listed:#?}");
        things
    }

    pub(super) fn kinds(&self, part: &str) -> Vec<String> {
        self.things(part).into_iter().map(|(kind, ..)| kind).collect()
    }
}
