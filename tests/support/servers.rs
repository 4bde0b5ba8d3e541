//! PostgreSQL and Redis: the shared ones of `tests/run`, and private ones that a test may kill, stop and wipe.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::ports::free_port;
use super::process::Process;
use super::wait::{PATIENCE, wait_until};

// ---- the shared servers ---------------------------------------------------------------------------------------------

/// The shared PostgreSQL server. Tests use a database of their own on it, see [`fresh_database`].
pub(crate) fn postgres_url() -> String {
    set_by_the_test_command("TASDIQ_TEST_POSTGRES_URL")
}

/// The shared Redis. Installations on it never meet, for their keys begin with the id of their database.
pub(crate) fn redis_url() -> String {
    set_by_the_test_command("TASDIQ_TEST_REDIS_URL")
}

fn set_by_the_test_command(variable: &str) -> String {
    // A missing server must not turn a test into a silent success.
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests through tests/run"))
}

/// The URL of a new, empty database on the shared server.
pub(crate) async fn fresh_database() -> String {
    let server = postgres_url();
    let name = format!("test_{:016x}", rand::random::<u64>());
    // From template0, to which nobody can be connected: template1 cannot be copied while somebody is.
    let create = format!("create database {name} template template0");
    wait_until("a fresh database", PATIENCE, async || {
        let mut connection = PgConnection::connect(&server).await.ok()?;
        let created = connection.execute(AssertSqlSafe(create.as_str())).await;
        connection.close().await.ok();
        match created {
            Ok(_) => Some(()),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(OBJECT_IN_USE) => None,
            Err(e) => panic!("could not create a database: {e}"),
        }
    })
    .await;

    let (server, _) = server.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{name}")
}

/// PostgreSQL's answer when two sessions copy one template at the same time.
const OBJECT_IN_USE: &str = "55006";

// ---- a private Redis ------------------------------------------------------------------------------------------------

/// A Redis of the test's own, without persistence unless it is started with it. It ends when dropped.
pub(crate) struct PrivateRedis {
    process: Process,
    arguments: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl PrivateRedis {
    /// Starts a Redis as the program wants it: it evicts nothing.
    pub(crate) async fn start() -> PrivateRedis {
        PrivateRedis::start_with(&[]).await
    }

    /// Starts a Redis with further arguments, which win over the usual ones:
    /// `&["--maxmemory-policy", "allkeys-lru"]`, `&["--appendonly", "yes"]`.
    pub(crate) async fn start_with(arguments: &[&str]) -> PrivateRedis {
        let folder = tempfile::Builder::new().prefix("redis.").tempdir().unwrap();
        let port = free_port();
        let usual = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"];
        let arguments: Vec<String> = usual.iter().chain(arguments).map(|&part| part.to_owned()).collect();
        let mut process = spawn_redis(&arguments, port, folder.path());
        redis_ready(&mut process, port).await;
        PrivateRedis { process, arguments, port, folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the server at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill_family();
    }

    /// Starts the server again on the same port and folder, after killing it if it still runs. Without persistence it
    /// comes back empty.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = spawn_redis(&self.arguments, self.port, self.folder.path());
        redis_ready(&mut self.process, self.port).await;
    }

    /// Lets the server hang: connections stay open, and nothing answers.
    pub(crate) fn pause(&mut self) {
        self.process.signal("STOP");
    }

    /// Ends [`PrivateRedis::pause`].
    pub(crate) fn resume(&mut self) {
        self.process.signal("CONT");
    }

    /// Changes a setting of the running server: `("maxmemory", "1mb")`.
    pub(crate) async fn set(&self, setting: &str, value: &str) {
        let () = self.command(&["CONFIG", "SET", setting, value]).await;
    }

    /// Closes all connections of clients; they may make new ones.
    pub(crate) async fn disconnect_all(&self) {
        let _: i64 = self.command(&["CLIENT", "KILL", "SKIPME", "yes"]).await;
    }

    /// What the server answers to a command, on a connection of its own.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        command(&self.url(), words).await
    }

    /// How many keys the server holds.
    pub(crate) async fn keys(&self) -> u64 {
        self.command(&["DBSIZE"]).await
    }

    /// How many bytes its keys take. The server's own sum of its data counts the buffers of connections now and then.
    pub(crate) async fn data_bytes(&self) -> u64 {
        let keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        let mut bytes = 0;
        for key in &keys {
            let of_the_key: Option<u64> = self.command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).await;
            bytes += of_the_key.unwrap_or_default();
        }
        bytes
    }

    /// Deletes everything the server holds.
    pub(crate) async fn wipe(&self) {
        assert_eq!(redis_answer(self.port, "FLUSHALL").as_deref(), Some("+OK"));
    }
}

/// What the Redis at an address answers to a command, on a connection of its own.
pub(crate) async fn command<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut connection).await.unwrap()
}

fn spawn_redis(arguments: &[String], port: u16, folder: &Path) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).args(arguments).current_dir(folder);
    Process::start("redis-server", &mut command, &folder.join("output.log"))
}

async fn redis_ready(process: &mut Process, port: u16) {
    wait_until("Redis to answer", PATIENCE, async || {
        assert!(process.exit_status().is_none(), "Redis ended at its start");
        redis_answer(port, "PING").filter(|answer| answer == "+PONG")
    })
    .await;
}

/// The first line of Redis's answer to a command without arguments, or nothing if it does not answer.
fn redis_answer(port: u16, command: &str) -> Option<String> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(connection, "{command}\r\n").ok()?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).ok()?;
    Some(answer.trim_end().to_owned())
}

// ---- a private PostgreSQL -------------------------------------------------------------------------------------------

/// A PostgreSQL server of the test's own. It ends when dropped.
///
/// Unless it is told otherwise it does not wait for the disk (`fsync=off`): that matters when a machine loses power, and
/// in tests only processes die.
pub(crate) struct PrivatePostgres {
    process: Process,
    settings: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl PrivatePostgres {
    /// Starts a PostgreSQL for tests.
    pub(crate) async fn start() -> PrivatePostgres {
        PrivatePostgres::start_with(&[]).await
    }

    /// Starts a PostgreSQL with further settings, which win over the usual ones: `&["fsync=on"]`.
    pub(crate) async fn start_with(settings: &[&str]) -> PrivatePostgres {
        let folder = tempfile::Builder::new().prefix("postgres.").tempdir().unwrap();
        give_to_postgres(folder.path());
        let initdb = postgres_command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(data(folder.path()))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(initdb.status.success(), "initdb failed: {}", String::from_utf8_lossy(&initdb.stderr));
        let port = free_port();
        let usual = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "fsync=off",
            "full_page_writes=off",
        ];
        let settings: Vec<String> = usual.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
        let process = spawn_postgres(&settings, port, folder.path()).await;
        PrivatePostgres { process, settings, port, folder }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Executes statements in the server's one database.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        connection.execute(AssertSqlSafe(statements)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The URL of the server's one database, which is empty at first.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// All that the server has written to its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Ends the server at once, as a power cut would. What was committed is there after [`PrivatePostgres::restart`].
    pub(crate) fn kill(&mut self) {
        self.process.kill_family();
    }

    /// Starts the server again on the same port and data, after killing it if it still runs.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = spawn_postgres(&self.settings, self.port, self.folder.path()).await;
    }

    /// Lets the server hang: connections stay open, and nothing answers.
    pub(crate) fn pause(&mut self) {
        self.process.signal("STOP"); // so that it has no further children while they are listed
        self.process.signal_family("STOP");
    }

    /// Ends [`PrivatePostgres::pause`].
    pub(crate) fn resume(&mut self) {
        self.process.signal_family("CONT");
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.process.kill_family();
        // A killed server leaves a small block of shared memory behind, which it would clear away at its next start.
        // The number of such blocks is limited on every machine.
        if let Some(block) = shared_memory_block(&data(self.folder.path())) {
            let _ = Command::new("ipcrm").args(["--shmem-id", &block]).output();
        }
    }
}

/// The seventh line of the server's pid file is `key id` of its shared memory.
fn shared_memory_block(data: &Path) -> Option<String> {
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    Some(pid_file.lines().nth(6)?.split_whitespace().nth(1)?.to_owned())
}

async fn spawn_postgres(settings: &[String], port: u16, folder: &Path) -> Process {
    let output = folder.join("output.log");
    let mut command = postgres_command("postgres");
    command.arg("-D").arg(data(folder)).args(["-p", &port.to_string()]).current_dir(folder);
    for setting in settings {
        command.args(["-c", setting]);
    }
    let mut process = Process::start("postgres", &mut command, &output);
    let pid_file = data(folder).join("postmaster.pid");
    wait_until("PostgreSQL to be ready", PATIENCE, async || {
        if process.exit_status().is_some() {
            // What a killed server left running for a moment keeps its successor from starting.
            process = Process::start("postgres", &mut command, &output);
        }
        // The server's own word for it. The file of its predecessor may still be there, with another id.
        let pid_file = fs::read_to_string(&pid_file).ok()?;
        let mut lines = pid_file.lines().map(str::trim);
        (lines.next() == Some(&process.id().to_string()) && lines.next_back() == Some("ready")).then_some(())
    })
    .await;
    process
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// One of PostgreSQL's own programs, run by the user `postgres` if we are root, which PostgreSQL refuses.
pub(crate) fn postgres_command(program: &str) -> Command {
    let program = postgres_program(program);
    if !we_are_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn give_to_postgres(folder: &Path) {
    if we_are_root() {
        let chown = Command::new("chown").arg("postgres").arg(folder).status().unwrap();
        assert!(chown.success(), "there is no user postgres to run the server as");
    }
}

/// Whether we are root: then the folders we make are root's.
fn we_are_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Debian keeps PostgreSQL's servers out of PATH, one folder per version; the newest wins.
fn postgres_program(name: &str) -> PathBuf {
    let in_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    in_path
        .or_else(|| {
            let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
            versions
                .map(|version| (version_number(&version), version.join("bin").join(name)))
                .filter(|(_, program)| program.is_file())
                .max()
                .map(|(_, program)| program)
        })
        .unwrap_or_else(|| panic!("PostgreSQL's {name} is not installed: run the tests through tests/run"))
}

fn version_number(folder: &Path) -> u32 {
    folder.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or_default()
}

// ---- a Redis that is not as it should be ----------------------------------------------------------------------------

/// Something that answers like a Redis of a given version and stores nothing. It ends with the test's process.
pub(crate) struct FakeRedis {
    port: u16,
}

impl FakeRedis {
    /// Starts one that calls itself `version`, such as `6.2.0`.
    pub(crate) fn start(version: &str) -> FakeRedis {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let version = version.to_owned();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let version = version.clone();
                std::thread::spawn(move || answer_like_redis(connection, &version));
            }
        });
        FakeRedis { port }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Answers until the other side goes, which is not a failure.
fn answer_like_redis(mut connection: TcpStream, version: &str) -> Option<()> {
    let mut requests = BufReader::new(connection.try_clone().ok()?);
    loop {
        let request = read_request(&mut requests)?;
        let words: Vec<&str> = request.iter().map(String::as_str).collect();
        let answer = match words.as_slice() {
            ["PING", ..] => "+PONG\r\n".to_owned(),
            ["INFO", ..] => bulk(&format!("# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n")),
            ["CONFIG", "GET", name] => format!("*2\r\n{}{}", bulk(name), bulk("noeviction")),
            ["BLMPOP", ..] => "-ERR unknown command 'BLMPOP'\r\n".to_owned(), // as before version 7
            _ => "+OK\r\n".to_owned(),
        };
        connection.write_all(answer.as_bytes()).ok()?;
    }
}

/// A request is an array of bulk strings: `*2 $4 PING $2 me`, each on its line. The command comes back in capitals.
fn read_request(requests: &mut impl BufRead) -> Option<Vec<String>> {
    let words = read_length(requests, '*')?;
    let mut request = Vec::new();
    for position in 0..words {
        let mut word = vec![0; read_length(requests, '$')? + 2]; // and the line's end
        requests.read_exact(&mut word).ok()?;
        let word = String::from_utf8_lossy(&word).trim_end().to_owned();
        let is_command = position == 0 || request.first().is_some_and(|first| first == "CONFIG") && position == 1;
        request.push(if is_command { word.to_uppercase() } else { word });
    }
    Some(request)
}

fn read_length(requests: &mut impl BufRead, mark: char) -> Option<usize> {
    let mut line = String::new();
    requests.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(mark)?.parse().ok()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that a query returns on a connection of its own.
    async fn number(url: &str, query: &'static str) -> Result<i64, sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query_scalar(query).fetch_one(&mut connection).await
    }

    async fn redis(url: &str) -> redis::aio::MultiplexedConnection {
        redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    #[tokio::test]
    async fn databases_can_be_made_side_by_side_and_are_empty() {
        let urls = futures_util::future::join_all((0..8).map(|_| fresh_database())).await;

        for url in &urls {
            let tables = number(url, "select count(*) from pg_tables where schemaname = 'public'").await;
            assert_eq!(tables.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_killed_postgres_comes_back_with_what_was_committed() {
        let mut server = PrivatePostgres::start().await;
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        connection.execute("create table t as select 7::bigint as n").await.unwrap();

        server.kill();
        assert!(number(&server.url(), "select 1::bigint").await.is_err());
        server.restart().await;

        assert_eq!(number(&server.url(), "select n from t").await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_paused_postgres_answers_nothing_on_open_connections_until_it_is_resumed() {
        let mut server = PrivatePostgres::start().await;
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();

        server.pause();
        let mut answer = std::pin::pin!(connection.execute("select 1"));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut answer).await.is_err());
        server.resume();

        assert!(answer.await.is_ok());
    }

    #[tokio::test]
    async fn a_restarted_redis_is_empty_and_on_the_same_port() {
        let mut server = PrivateRedis::start().await;
        let () = redis::cmd("SET").arg("a").arg(1).query_async(&mut redis(&server.url()).await).await.unwrap();

        server.restart().await;

        let found: Option<i64> = redis::cmd("GET").arg("a").query_async(&mut redis(&server.url()).await).await.unwrap();
        assert_eq!(found, None);
    }

    #[tokio::test]
    async fn a_redis_can_be_started_with_a_policy_the_program_must_refuse() {
        let server = PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;

        let policy: Vec<String> = redis::cmd("CONFIG")
            .arg("GET")
            .arg("maxmemory-policy")
            .query_async(&mut redis(&server.url()).await)
            .await
            .unwrap();

        assert_eq!(policy, ["maxmemory-policy", "allkeys-lru"]);
    }

    #[tokio::test]
    async fn a_fake_redis_tells_the_version_it_was_given() {
        let server = FakeRedis::start("6.2.0");

        let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis(&server.url()).await).await.unwrap();

        assert!(info.contains("redis_version:6.2.0"), "{info}");
    }

    #[tokio::test]
    async fn a_dropped_server_is_gone() {
        let server = PrivateRedis::start().await;
        let port = server.port();

        drop(server);

        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }

    #[tokio::test]
    async fn the_shared_redis_is_as_the_program_wants_it() {
        let mut connection = redis(&redis_url()).await;

        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await.unwrap();

        assert!(info.contains("maxmemory_policy:noeviction"), "{info}");
    }
}
