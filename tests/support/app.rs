//! The whole program with its sandbox: starts, kills and restarts it, and runs an operator's commands.

use std::ops::Deref;

use domain::secret::Secret;
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use store::DatabaseUrl;
use store::Store;
use tempfile::TempDir;

use super::command::{self, CommandResult};
use super::doors::Doors;
use super::installation::SANDBOX_CREDENTIALS;
use super::ports::free_port;
use super::program::Program;
use super::servers;
use super::wait::{PATIENCE, wait_until};

/// The servers under the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SQLite, and a queue inside the process: the default of a first start.
    Embedded,
    /// A new PostgreSQL database, and the shared Redis.
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

/// A running `tasdiq up` with its sandbox. Dropping it kills it, and prints its output if the test is failing.
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

    /// Starts the program with further variables, which override the defaults, and waits until it is ready.
    pub(crate) async fn start_with(kind: Kind, variables: &[(&str, &str)]) -> TestApp {
        let data_dir = tempfile::Builder::new().prefix("data.").tempdir().unwrap();
        let named = |name| variables.iter().find(|(given, _)| *given == name).map(|(_, address)| (*address).to_owned());
        let [listen, sandbox_listen] =
            ["TASDIQ_LISTEN", "TASDIQ_SANDBOX_LISTEN"].map(|name| named(name).unwrap_or_else(free_address));
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

    /// Stops the program like a supervisor, and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Kills the program like a power cut, and starts it again on the same data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.start_again().await;
    }

    /// Kills the program like a power cut.
    pub(crate) async fn kill(&mut self) {
        self.program.signal("KILL");
        self.program.wait_exit(PATIENCE).await;
    }

    /// Waits until the dying program has ended, and starts it again on the same data, without a variable that it had.
    pub(crate) async fn start_again_without(&mut self, variable: &str) {
        self.program.wait_exit(PATIENCE).await;
        self.environment.retain(|(name, _)| name != variable);
        self.start_again().await;
    }

    /// Starts the ended program again on the same data.
    pub(crate) async fn start_again(&mut self) {
        self.program = start_program(&self.environment);
        self.wait_until_ready().await;
    }

    /// Stops the program and waits until it has ended without an error.
    pub(crate) async fn stop(&mut self) {
        self.program.signal("TERM");
        let status = self.program.wait_exit(PATIENCE).await;
        assert!(status.success(), "{status}");
    }

    async fn wait_until_ready(&mut self) {
        wait_until_ready(&mut self.program, &self.doors).await;
    }

    /// The program's output since its last start.
    pub(crate) fn output(&self) -> String {
        self.program.output()
    }

    /// The directory of the embedded parts' files.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.data_dir.path()
    }

    /// Runs an operator's command against this installation, whatever its exit code.
    pub(crate) async fn run(&self, arguments: &[&str]) -> CommandResult {
        self.run_with(arguments, &[]).await
    }

    /// Like [`TestApp::run`], with further variables, which override the installation's.
    pub(crate) async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandResult {
        let environment = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        command::run(arguments, &environment.chain(variables.iter().copied()).collect::<Vec<_>>()).await
    }

    /// Runs an operator's command against this installation, and returns its output.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "tasdiq {}: {ended:?}", arguments.join(" "));
        ended.said
    }

    /// The database of this installation, as a URL for sqlx.
    pub(crate) fn database_url(&self) -> String {
        let embedded = || format!("sqlite://{}", self.data_dir().join("tasdiq.db").display());
        self.variable("DATABASE_URL").map_or_else(embedded, str::to_owned)
    }

    /// Starts one more API beside the program, on the same servers and the same sandbox, and waits until it is ready.
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

    /// A connection to the database from this process.
    pub(crate) async fn store(&self) -> Store {
        let url = match self.variable("DATABASE_URL") {
            Some(url) => DatabaseUrl::Postgres(Secret::new(url)),
            None => DatabaseUrl::Sqlite(self.data_dir.path().join("tasdiq.db")),
        };
        Store::open(&url).await.unwrap()
    }

    /// Runs a statement on the database without the program's knowledge.
    pub(crate) async fn execute(&self, statement: &str) {
        let mut connection = self.database().await;
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The number returned by a query.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        let mut connection = self.database().await;
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    async fn database(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let sqlite = format!("sqlite://{}", self.data_dir.path().join("tasdiq.db").display());
        let url = self.variable("DATABASE_URL").map_or(sqlite, str::to_owned);
        AnyConnection::connect(&url).await.unwrap()
    }

    /// The last one counts, as for the program.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A correctly signed callback body, made with the operator's command. The amount is in soʻm: `50.00`.
    pub(crate) async fn sign(&self, transaction_id: i64, account: i64, amount: &str) -> String {
        self.sign_as("account", transaction_id, account, amount).await
    }

    /// Like [`TestApp::sign`], with the account under this name: `account` or `invoice`.
    pub(crate) async fn sign_as(&self, field: &str, transaction_id: i64, account: i64, amount: &str) -> String {
        let (transaction_id, account) = (transaction_id.to_string(), account.to_string());
        let arguments = ["callback", "sign", "--transaction-id", &transaction_id, "--account", &account];
        let arguments = [&arguments[..], &["--amount", amount, "--field", field]].concat();
        self.command(&arguments).await.trim().to_owned()
    }

    /// The order's story as `tasdiq orders show` prints it: `order`, `history`, `transactions`, `callbacks`, `jobs`.
    pub(crate) async fn story(&self, id: i64) -> Value {
        serde_json::from_str(&self.command(&["orders", "show", &id.to_string(), "--json"]).await).unwrap()
    }

    /// The verdicts on the order's callbacks, oldest first, with the number of times each was received.
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
