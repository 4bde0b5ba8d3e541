//! A Redis for one test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::ports::free_port;
use crate::support::process::ChildProcess;
use crate::support::wait::{PATIENCE, wait_until};

/// A Redis for one test, without persistence unless an argument says so. It ends when dropped.
pub(crate) struct PrivateRedis {
    process: ChildProcess,
    arguments: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl PrivateRedis {
    /// Starts a Redis as the program needs it: without eviction.
    pub(crate) async fn start() -> PrivateRedis {
        PrivateRedis::start_with(&[]).await
    }

    /// Starts a Redis with further arguments, which override the defaults: `&["--maxmemory-policy", "allkeys-lru"]`,
    /// `&["--appendonly", "yes"]`.
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

    /// Kills the server like a power cut.
    pub(crate) fn kill(&mut self) {
        self.process.kill_family();
    }

    /// Starts the server again on the same port and folder; kills it first if it still runs. Without persistence it is
    /// empty then.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = spawn_redis(&self.arguments, self.port, self.folder.path());
        redis_ready(&mut self.process, self.port).await;
    }

    /// Pauses the server: connections stay open, and nothing answers.
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

    /// Closes all client connections; clients may connect again.
    pub(crate) async fn disconnect_all(&self) {
        let _: i64 = self.command(&["CLIENT", "KILL", "SKIPME", "yes"]).await;
    }

    /// The server's answer to a command, on a new connection.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        command(&self.url(), words).await
    }

    /// The number of keys on the server.
    pub(crate) async fn keys(&self) -> u64 {
        self.command(&["DBSIZE"]).await
    }

    /// The number of bytes of its keys. The server's own sum sometimes includes the buffers of connections.
    pub(crate) async fn data_bytes(&self) -> u64 {
        let keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        let mut bytes = 0;
        for key in &keys {
            let of_the_key: Option<u64> = self.command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).await;
            bytes += of_the_key.unwrap_or_default();
        }
        bytes
    }

    /// Deletes everything on the server.
    pub(crate) async fn wipe(&self) {
        assert_eq!(redis_answer(self.port, "FLUSHALL").as_deref(), Some("+OK"));
    }
}

/// The answer of the Redis at an address to a command, on a new connection.
pub(crate) async fn command<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut connection).await.unwrap()
}

fn spawn_redis(arguments: &[String], port: u16, folder: &Path) -> ChildProcess {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).args(arguments).current_dir(folder);
    ChildProcess::start("redis-server", &mut command, &folder.join("output.log"))
}

async fn redis_ready(process: &mut ChildProcess, port: u16) {
    wait_until("Redis to answer", PATIENCE, async || {
        assert!(process.exit_status().is_none(), "Redis ended at its start");
        redis_answer(port, "PING").filter(|answer| answer == "+PONG")
    })
    .await;
}

/// The first line of Redis's answer to a command without arguments, or `None` if it does not answer.
fn redis_answer(port: u16, command: &str) -> Option<String> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(connection, "{command}\r\n").ok()?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).ok()?;
    Some(answer.trim_end().to_owned())
}
