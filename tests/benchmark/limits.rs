//! The limits of this machine, measured in the same run. The figures of the program are compared with them.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Route, Server, get, handler};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::load::closed_loop;
use crate::support::role::client;
use crate::support::servers::{PrivatePostgres, PrivateRedis, postgres_command};

/// The numbers of clients: one, and those of the program's own loads.
const CLIENTS: [usize; 3] = [1, 16, 64];

/// The measured limits.
pub(super) struct MachineLimits {
    /// Numbers of clients, and their one-row inserts a second. Each insert is a commit.
    inserts: Vec<(usize, u128)>,
    /// Redis commands a second: name and number.
    redis: Vec<(String, u128)>,
    /// Flushes of one file to the disk a second.
    flushes: u128,
    /// Answers a second of a poem handler that does nothing, to 64 clients.
    handler: u128,
}

impl MachineLimits {
    /// Measures each limit for this time.
    pub(super) async fn measure(time: Duration) -> Self {
        eprintln!("the limits of this machine");
        MachineLimits {
            inserts: inserts(time).await,
            redis: redis(time).await,
            flushes: flushes(time),
            handler: handler_alone(time).await,
        }
    }

    /// One-row inserts a second by 64 clients.
    pub(super) fn inserts(&self) -> Option<u128> {
        self.inserts.last().map(|(_, rate)| *rate)
    }

    pub(super) fn table(&self) -> String {
        let mut table = "| limit of this machine | per second |\n|---|---:|\n".to_owned();
        for (clients, rate) in &self.inserts {
            table.push_str(&format!("| `pgbench`, one-row insert, {clients} clients | {rate} |\n"));
        }
        for (name, rate) in &self.redis {
            table.push_str(&format!("| `redis-benchmark`, {name}, 64 clients | {rate} |\n"));
        }
        table.push_str(&format!("| flushes of a file to the disk (`fdatasync`) | {} |\n", self.flushes));
        table.push_str(&format!("| answers of a poem handler that does nothing, 64 clients | {} |\n", self.handler));
        table
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "one_row_inserts": self.inserts, "redis": self.redis, "flushes": self.flushes,
            "poem_handler": self.handler,
        })
    }
}

async fn inserts(time: Duration) -> Vec<(usize, u128)> {
    let one_row = OneRow::start(time).await;
    CLIENTS.map(|clients| (clients, one_row.inserts(clients))).to_vec()
}

/// A server of its own with a table for `pgbench`.
pub(super) struct OneRow {
    postgres: PrivatePostgres,
    script: NamedTempFile,
    /// The length of one measurement.
    time: Duration,
}

impl OneRow {
    pub(super) async fn start(time: Duration) -> Self {
        // The server must not vacuum by itself while another limit is measured.
        let postgres = PrivatePostgres::start_with(&["fsync=on", "full_page_writes=on", "autovacuum=off"]).await;
        postgres.execute("create table one_row (id bigserial primary key, said text not null)").await;
        let script = tempfile::Builder::new().suffix(".sql").tempfile().unwrap();
        let insert =
            "insert into one_row (said) values ('sixty-four letters, as many as a small row has in a shop of ours.');";
        script.as_file().write_all(insert.as_bytes()).unwrap();
        script.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        OneRow { postgres, script, time }
    }

    /// Inserts a second by this many clients. Each insert is a commit.
    pub(super) fn inserts(&self, clients: usize) -> u128 {
        let output = postgres_command("pgbench")
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &clients.to_string(), "--time"])
            .arg(self.time.as_secs().max(1).to_string())
            .arg("--file")
            .arg(self.script.path())
            .arg(self.postgres.url())
            .current_dir("/")
            .output()
            .expect("pgbench, which comes with PostgreSQL");
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")).and_then(whole);
        rate.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

async fn redis(time: Duration) -> Vec<(String, u128)> {
    let redis = PrivateRedis::start_with(&["--appendonly", "yes"]).await;
    let requests = time.as_millis().max(100) * 50;
    let output = Command::new("redis-benchmark")
        .args(["-p", &redis.port().to_string(), "-c", "64", "-t", "lpush,rpop", "--csv", "-n", &requests.to_string()])
        .output()
        .expect("redis-benchmark, which comes with Redis");
    let said = String::from_utf8_lossy(&output.stdout);
    // "LPUSH","76335.88","0.440",…
    let rates = said.lines().filter_map(|line| {
        let mut words = line.split(',').map(|word| word.trim_matches('"'));
        let name = words.next()?.to_owned();
        Some((name, whole(words.next()?)?))
    });
    rates.collect()
}

fn flushes(time: Duration) -> u128 {
    let mut file: File = tempfile::tempfile().unwrap();
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        file.write_all(&[7; 4_096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count * 1_000 / began.elapsed().as_millis().max(1)
}

#[handler]
fn nothing() -> &'static str {
    "nothing"
}

async fn handler_alone(time: Duration) -> u128 {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = acceptor.local_addr().remove(0).as_socket_addr().copied().unwrap();
    let server = tokio::spawn(Server::new_with_acceptor(acceptor).run(Route::new().at("/", get(nothing))));
    let (http, url) = (client(), format!("http://{address}/"));
    let ask = move |_| {
        let request = http.get(&url);
        async move { request.send().await.unwrap().text().await.unwrap().len() }
    };
    let (figures, _) = closed_loop(64, time, usize::MAX, ask).await;
    server.abort();
    figures.per_second().unwrap_or_default()
}

/// The whole part of a number.
fn whole(text: &str) -> Option<u128> {
    text.split(['.', ' ']).next()?.parse().ok()
}
