//! A PostgreSQL for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::support::ports::free_port;
use crate::support::process::ChildProcess;
use crate::support::wait::{PATIENCE, wait_until};

/// A PostgreSQL server for one test. It ends when dropped.
///
/// By default it does not wait for the disk (`fsync=off`): that matters only if a machine loses power, and in tests
/// only processes die.
pub(crate) struct PrivatePostgres {
    process: ChildProcess,
    settings: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl PrivatePostgres {
    /// Starts a PostgreSQL for tests.
    pub(crate) async fn start() -> PrivatePostgres {
        PrivatePostgres::start_with(&[]).await
    }

    /// Starts a PostgreSQL with further settings, which override the defaults: `&["fsync=on"]`.
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

    /// Executes statements in the server's only database.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        connection.execute(AssertSqlSafe(statements)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The URL of the server's only database, which is empty at first.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The server's log so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Kills the server like a power cut. Committed data is there after [`PrivatePostgres::restart`].
    pub(crate) fn kill(&mut self) {
        self.process.kill_family();
    }

    /// Starts the server again on the same port and data; kills it first if it still runs.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = spawn_postgres(&self.settings, self.port, self.folder.path()).await;
    }

    /// A failover: another server with the same data takes over, and this one comes back as its read-only standby.
    pub(crate) async fn hand_over(&mut self) -> PrivatePostgres {
        self.kill();
        let folder = tempfile::Builder::new().prefix("postgres.").tempdir().unwrap();
        give_to_postgres(folder.path());
        let mut copy = Command::new("cp");
        copy.args(["--archive"]).arg(data(self.folder.path())).arg(data(folder.path()));
        assert!(copy.status().unwrap().success());
        let _ = fs::remove_file(data(folder.path()).join("postmaster.pid"));
        let port = free_port();
        let process = spawn_postgres(&self.settings, port, folder.path()).await;
        fs::write(data(self.folder.path()).join("standby.signal"), "").unwrap();
        self.process = spawn_postgres(&self.settings, self.port, self.folder.path()).await;
        PrivatePostgres { process, settings: self.settings.clone(), port, folder }
    }

    /// Pauses the server: connections stay open, and nothing answers.
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
        // A killed server leaves a small block of shared memory, which it would remove at its next start. The number of
        // such blocks is limited on every machine.
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

async fn spawn_postgres(settings: &[String], port: u16, folder: &Path) -> ChildProcess {
    let output = folder.join("output.log");
    let mut command = postgres_command("postgres");
    command.arg("-D").arg(data(folder)).args(["-p", &port.to_string()]).current_dir(folder);
    for setting in settings {
        command.args(["-c", setting]);
    }
    let mut process = ChildProcess::start("postgres", &mut command, &output);
    let pid_file = data(folder).join("postmaster.pid");
    wait_until("PostgreSQL to be ready", PATIENCE, async || {
        if process.exit_status().is_some() {
            // Remains of a killed server can keep its successor from starting for a moment.
            process = ChildProcess::start("postgres", &mut command, &output);
        }
        // The server's own report. The file of its predecessor, with another id, may still be there.
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

/// A program of PostgreSQL, run as user `postgres` if we are root, which PostgreSQL refuses.
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

/// Whether we are root, so that our folders belong to root.
fn we_are_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Debian keeps PostgreSQL's servers out of PATH, one folder per version; the newest is used.
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
