//! The machine of the measurement. Without it the figures mean nothing.

use std::fs;
use std::process::Command;

use sqlx::{Connection, SqliteConnection};

use crate::support::servers::postgres_command;

/// The machine and the versions as a list in Markdown.
pub(super) async fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let lines = [
        format!("processor: {cores} cores, {}", value("/proc/cpuinfo", "model name")),
        format!("memory: {} GiB", memory_gib()),
        format!(
            "system: {}, Linux {}",
            value("/etc/os-release", "PRETTY_NAME"),
            first_line("/proc/sys/kernel/osrelease")
        ),
        format!("Redis {}", word_after("v=", &said_by("redis-server", "--version"))),
        format!("PostgreSQL {}", postgres_version()),
        format!("SQLite {}", sqlite_version().await),
        said_by("rustc", "--version"),
        format!(
            "tasdiq {}, commit {}, {}",
            env!("CARGO_PKG_VERSION"),
            commit(),
            if cfg!(debug_assertions) { "NOT optimized" } else { "optimized" }
        ),
    ];
    lines.map(|line| format!("- {line}\n")).concat()
}

/// The value of a name in a file of `name : value` or `NAME="value"` lines.
fn value(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or_else(|| "unknown".to_owned(), |rest| rest.trim_matches([' ', '\t', ':', '=', '"']).to_owned())
}

fn first_line(file: &str) -> String {
    fs::read_to_string(file).ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

fn memory_gib() -> u64 {
    let kib = value("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
    kib.div_ceil(1_048_576) // the kernel does not count the memory that it keeps for itself
}

fn said_by(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(
        |_| format!("{program} unknown"),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The commit that this was built from.
fn commit() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let said = Command::new("git").args(["-C", folder, "describe", "--always", "--dirty"]).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if said.is_empty() { "unknown".to_owned() } else { said }
}

fn word_after(mark: &str, text: &str) -> String {
    text.split_whitespace().find_map(|word| word.strip_prefix(mark)).unwrap_or("unknown").to_owned()
}

fn postgres_version() -> String {
    // "postgres (PostgreSQL) 15.4 (Debian …)"
    let output = postgres_command("postgres").arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.split_whitespace().nth(2).unwrap_or("unknown").to_owned()
}

async fn sqlite_version() -> String {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::query_scalar("select sqlite_version()").fetch_one(&mut connection).await.unwrap()
}
