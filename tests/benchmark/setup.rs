//! The two measured ways to run the program.

use std::path::Path;

use futures_util::future::join_all;
use reqwest::Client;

use super::usage::Who;
use crate::support::installation::RunningInstallation;
use crate::support::role::{RunningApi, RunningRole, client};
use crate::support::sandbox::RunningSandbox;
use crate::support::servers::{PrivatePostgres, PrivateRedis};
use crate::support::up::Up;

/// A running installation. The users of a server are dropped before it.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Setup {
    /// `tasdiq up` alone.
    Embedded { up: Up, load: Client },
    /// One API, workers and a sandbox on Redis and PostgreSQL.
    Servers {
        api: RunningApi,
        workers: Vec<RunningRole>,
        installation: RunningInstallation,
        postgres: PrivatePostgres,
        load: Client,
    },
}

impl Setup {
    /// One process with all roles, as the first command of the README starts it.
    pub(super) async fn embedded() -> Self {
        Setup::Embedded { up: Up::start(&[]).await, load: client() }
    }

    /// An API and this many workers, on servers that keep their data through a power cut.
    pub(super) async fn servers(workers: usize) -> Self {
        let (postgres, installation) = safe_servers().await;
        Self::on_servers(postgres, installation, workers).await
    }

    /// The same as [`Setup::servers`], on running servers.
    pub(super) async fn on_servers(
        postgres: PrivatePostgres,
        installation: RunningInstallation,
        workers: usize,
    ) -> Self {
        let starting = (0..workers).map(|_| installation.worker_with(&[]));
        let (api, workers) = tokio::join!(installation.api(0), join_all(starting));
        Setup::Servers { api, workers, installation, postgres, load: client() }
    }

    /// Stops, lets `fill` write to the file of the database, and starts again on it.
    pub(super) async fn filled(self, fill: impl AsyncFnOnce(&Path)) -> Self {
        let Setup::Embedded { up, load } = self else { panic!("the roles have no file") };
        let up = up.started_anew(fill).await;
        Setup::Embedded { up, load }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Setup::Embedded { .. } => "`tasdiq up`: one process, SQLite, queue in the process",
            Setup::Servers { .. } => "1 API, workers, Redis with its file, PostgreSQL (`fsync=on`)",
        }
    }

    pub(super) fn api(&self) -> &RunningApi {
        match self {
            Setup::Embedded { up, .. } => &up.api,
            Setup::Servers { api, .. } => api,
        }
    }

    /// The client that sends the load.
    pub(super) fn load(&self) -> &Client {
        match self {
            Setup::Embedded { load, .. } | Setup::Servers { load, .. } => load,
        }
    }

    /// The installation of the roles.
    pub(super) fn installation(&self) -> &RunningInstallation {
        let Setup::Servers { installation, .. } = self else { panic!("`up` is started by itself") };
        installation
    }

    pub(super) fn sandbox(&self) -> &RunningSandbox {
        match self {
            Setup::Embedded { up, .. } => &up.sandbox,
            Setup::Servers { installation, .. } => &installation.sandbox,
        }
    }

    /// The processes that take part.
    pub(super) fn processes(&self) -> Vec<(Who, u32)> {
        let mut processes = vec![(Who::Load, std::process::id())];
        match self {
            Setup::Embedded { up, .. } => processes.push((Who::Up, up.api.role.program.id())),
            Setup::Servers { api, workers, installation, postgres, .. } => {
                processes.push((Who::Api, api.role.program.id()));
                processes.extend(workers.iter().map(|worker| (Who::Worker, worker.program.id())));
                processes.push((Who::Postgres, postgres.id()));
                processes.push((Who::Redis, installation.redis.id()));
                processes.extend(installation.sandbox.id().map(|id| (Who::Sandbox, id)));
            }
        }
        processes
    }

    /// Resets the statistics of statements in the database.
    pub(super) async fn forget_statements(&self) {
        if let Setup::Servers { installation, .. } = self {
            installation.number("select count(pg_stat_statements_reset())").await;
        }
    }

    /// Prints the statements on which the database has spent its time since then, as a help for optimization. `count`
    /// is the number of operations.
    pub(super) async fn tell_statements(&self, count: usize) {
        let statements = self.statements(count.max(1)).await;
        if !statements.is_empty() {
            eprintln!(
                "| statement | µs per operation | times per operation | µs each | rows each |\n|---|---:|---:|---:|---:|"
            );
            eprintln!("{statements}");
        }
    }

    /// The statements as rows in Markdown.
    async fn statements(&self, count: usize) -> String {
        let Setup::Servers { installation, .. } = self else { return String::new() };
        installation
            .text(&format!(
                "select coalesce(string_agg(line, '' order by spent desc), '') from (
                    select total_exec_time as spent, format(E'| %s | %s | %s | %s | %s |\n',
                        coalesce(substring(query from '^-- ([a-z_]+)'), left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 40)),
                        round((total_exec_time * 1000 / {count})::numeric, 1), round((calls::numeric / {count}), 3),
                        round((mean_exec_time * 1000)::numeric), round(rows::numeric / calls, 1)) as line
                    from pg_stat_statements order by total_exec_time desc limit 16) as lines"
            ))
            .await
    }
}

/// A PostgreSQL that survives a power cut, a Redis that keeps a file, and an installation on them with its tables.
pub(super) async fn safe_servers() -> (PrivatePostgres, RunningInstallation) {
    safe_servers_with(&[]).await
}

/// Like [`safe_servers`], with settings for every process of the installation.
pub(super) async fn safe_servers_with(
    of_processes: &[(&'static str, &'static str)],
) -> (PrivatePostgres, RunningInstallation) {
    let settings = ["fsync=on", "full_page_writes=on", "shared_preload_libraries=pg_stat_statements"];
    let postgres = PrivatePostgres::start_with(&settings).await;
    let redis = PrivateRedis::start_with(&["--appendonly", "yes"]).await;
    let installation = RunningInstallation::on(postgres.url(), redis, of_processes).await;
    installation.execute("create extension pg_stat_statements").await;
    installation.migrate().await;
    (postgres, installation)
}
