//! A scaled-out installation of real programs: APIs, workers and a sandbox around one Redis and one database.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::ports::free_port;
use super::program::Program;
use super::role::{RunningApi, RunningRole};
use super::sandbox::RunningSandbox;
use super::servers::{self, PrivateRedis};
use super::wait::{PATIENCE, wait_until};

/// The servers of one installation, its sandbox, and the settings of its processes.
///
/// Callbacks go to the first API, which also has the public address.
pub(crate) struct RunningInstallation {
    pub(crate) redis: PrivateRedis,
    pub(crate) sandbox: RunningSandbox,
    database_url: String,
    redis_url: String,
    api_ports: [u16; 2],
    settings: Vec<(&'static str, &'static str)>,
}

impl RunningInstallation {
    /// Servers and sandbox on a database without tables; nothing else runs. `settings` go to every process.
    pub(crate) async fn without_tables(settings: &[(&'static str, &'static str)]) -> Self {
        Self::on_database(servers::fresh_database().await, settings).await
    }

    /// Servers and sandbox on a database with its tables.
    pub(crate) async fn start(settings: &[(&'static str, &'static str)]) -> Self {
        let installation = Self::without_tables(settings).await;
        installation.migrate().await;
        installation
    }

    /// Like [`RunningInstallation::without_tables`], on the caller's database.
    pub(crate) async fn on_database(database_url: String, settings: &[(&'static str, &'static str)]) -> Self {
        Self::on(database_url, PrivateRedis::start().await, settings).await
    }

    /// Like [`RunningInstallation::on_database`], with the caller's Redis too.
    pub(crate) async fn on(
        database_url: String,
        redis: PrivateRedis,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        let api_ports = [free_port(), free_port()];
        RunningInstallation {
            redis_url: redis.url(),
            redis,
            sandbox: RunningSandbox::start(&format!("http://127.0.0.1:{}", api_ports[0])).await,
            database_url,
            api_ports,
            settings: settings.to_vec(),
        }
    }

    /// Processes started from now on use Redis at this address.
    pub(crate) fn redis_is_reached_at(&mut self, url: String) {
        self.redis_url = url;
    }

    /// The output of an operator's command, whatever its exit code.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Program::start(arguments, &self.environment());
        command.wait_exit(PATIENCE).await;
        command.output()
    }

    /// The variables by which a command finds this installation.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        let mut environment = SANDBOX_CREDENTIALS.to_vec();
        environment.extend([
            ("ATMOS_BASE_URL", self.sandbox.url.as_str()),
            ("DATABASE_URL", &self.database_url),
            ("REDIS_URL", &self.redis_url),
        ]);
        environment
    }

    /// The URL of the database.
    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Runs `tasdiq migrate` to its end.
    pub(crate) async fn migrate(&self) {
        let mut migrate = Program::start(&["migrate"], &[("DATABASE_URL", &self.database_url)]);
        assert!(migrate.wait_exit(PATIENCE).await.success(), "{}", migrate.output());
    }

    /// Starts the first or second API and waits until it is ready.
    pub(crate) async fn api(&self, which: usize) -> RunningApi {
        let mut api = self.begin_api(which);
        api.role.ready().await;
        api
    }

    /// Starts the first or second API without waiting.
    pub(crate) fn begin_api(&self, which: usize) -> RunningApi {
        let port = self.api_ports[which];
        RunningApi::new(self.begin(&["api"], "TASDIQ_LISTEN", port, &[]))
    }

    /// Starts a worker with this number of slots, and waits until it is ready.
    pub(crate) async fn worker(&self, concurrency: usize) -> RunningRole {
        self.worker_with(&["--concurrency", &concurrency.to_string()]).await
    }

    /// Starts a worker with these arguments and waits until it is ready.
    pub(crate) async fn worker_with(&self, arguments: &[&str]) -> RunningRole {
        let mut worker = self.begin_worker(arguments, &[]);
        worker.ready().await;
        worker
    }

    /// Starts a worker with these arguments and further variables, without waiting.
    pub(crate) fn begin_worker(&self, arguments: &[&str], further: &[(&str, &str)]) -> RunningRole {
        let arguments: Vec<&str> = ["worker"].iter().chain(arguments).copied().collect();
        self.begin(&arguments, "TASDIQ_WORKER_LISTEN", free_port(), further)
    }

    fn begin(&self, arguments: &[&str], listen: &str, port: u16, further: &[(&str, &str)]) -> RunningRole {
        let address = format!("127.0.0.1:{port}");
        let public_url = format!("http://127.0.0.1:{}", self.api_ports[0]);
        let mut environment = SANDBOX_CREDENTIALS.to_vec();
        environment.extend([
            ("ATMOS_BASE_URL", self.sandbox.url.as_str()),
            ("DATABASE_URL", &self.database_url),
            ("REDIS_URL", &self.redis_url),
            ("TASDIQ_PUBLIC_URL", &public_url),
            (listen, &address),
        ]);
        environment.extend_from_slice(&self.settings);
        environment.extend_from_slice(further);
        RunningRole::new(Program::start(arguments, &environment), &address)
    }

    /// The ports of the first and the second API.
    pub(crate) fn api_ports(&self) -> [u16; 2] {
        self.api_ports
    }

    /// The number returned by a query.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.database_url).await.unwrap();
        let number = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    /// The text returned by a query.
    pub(crate) async fn text(&self, query: &str) -> String {
        let mut connection = PgConnection::connect(&self.database_url).await.unwrap();
        let text = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        text
    }

    /// Executes statements in the database.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.database_url).await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Waits until a query returns a matching number.
    pub(crate) async fn wait_for_number(&self, query: &'static str, deadline: Duration, fits: impl Fn(i64) -> bool) {
        wait_until(query, deadline, async || fits(self.number(query).await).then_some(())).await;
    }

    /// Waits until every order has its payment link.
    pub(crate) async fn wait_for_links(&self, deadline: Duration) {
        self.wait_for_number(ORDERS_WITHOUT_LINK, deadline, |orders| orders == 0).await;
    }
}

/// The number of orders without a payment link.
pub(crate) const ORDERS_WITHOUT_LINK: &str = "select count(*) from orders where payment_url is null";

/// The sandbox's credentials, which are public.
pub(crate) const SANDBOX_CREDENTIALS: [(&str, &str); 4] = [
    ("ATMOS_CONSUMER_KEY", "sandbox-key"),
    ("ATMOS_CONSUMER_SECRET", "sandbox-secret"),
    ("ATMOS_STORE_ID", "1234"),
    ("ATMOS_API_KEY", "sandbox-api-key"),
];
