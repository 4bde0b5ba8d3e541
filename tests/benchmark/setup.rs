//! The two ways of running the program that are measured.

use reqwest::Client;

use super::usage::Who;
use crate::roles::installation::Installation;
use crate::roles::role::{Api, Role, client};
use crate::roles::sandbox::Sandbox;
use crate::roles::up::Up;
use crate::support::servers::PrivatePostgres;

/// A running installation. What uses a server is dropped before it.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Setup {
    /// `tasdiq up` alone.
    Embedded { up: Up, load: Client },
    /// One API, two workers and a sandbox on Redis and PostgreSQL.
    Servers { api: Api, _workers: [Role; 2], installation: Installation, _postgres: PrivatePostgres, load: Client },
}

impl Setup {
    /// One process with everything, as the first command of the README starts it.
    pub(super) async fn embedded() -> Self {
        Setup::Embedded { up: Up::start(&[]).await, load: client() }
    }

    /// Four processes around servers that keep what they were told to keep.
    pub(super) async fn servers() -> Self {
        let settings = ["fsync=on", "full_page_writes=on", "shared_preload_libraries=pg_stat_statements"];
        let postgres = PrivatePostgres::start_with(&settings).await;
        let installation = Installation::on_database(postgres.url(), &[]).await;
        installation.execute("create extension pg_stat_statements").await;
        installation.migrate().await;
        let (api, first, second) =
            tokio::join!(installation.api(0), installation.worker_with(&[]), installation.worker_with(&[]));
        Setup::Servers { api, _workers: [first, second], installation, _postgres: postgres, load: client() }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Setup::Embedded { .. } => "`tasdiq up`: one process, SQLite, queue in the process",
            Setup::Servers { .. } => "1 API, 2 workers, Redis, PostgreSQL (`fsync=on`)",
        }
    }

    pub(super) fn api(&self) -> &Api {
        match self {
            Setup::Embedded { up, .. } => &up.api,
            Setup::Servers { api, .. } => api,
        }
    }

    /// What the load is sent with.
    pub(super) fn load(&self) -> &Client {
        match self {
            Setup::Embedded { load, .. } | Setup::Servers { load, .. } => load,
        }
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
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
            Setup::Servers { api, _workers: workers, installation, _postgres: postgres, .. } => {
                processes.push((Who::Api, api.role.program.id()));
                processes.extend(workers.iter().map(|worker| (Who::Worker, worker.program.id())));
                processes.push((Who::Postgres, postgres.id()));
                processes.push((Who::Redis, installation.redis.id()));
                processes.extend(installation.sandbox.id().map(|id| (Who::Sandbox, id)));
            }
        }
        processes
    }

    /// Forgets what the database has done so far.
    pub(super) async fn forget_statements(&self) {
        if let Setup::Servers { installation, .. } = self {
            installation.number("select count(pg_stat_statements_reset())").await;
        }
    }

    /// What the database has spent its time on since, as rows in Markdown: `count` operations were asked for.
    pub(super) async fn statements(&self, count: usize) -> String {
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

    /// Which PostgreSQL it runs on, if it does.
    pub(super) async fn postgres_version(&self) -> Option<String> {
        let Setup::Servers { installation, .. } = self else { return None };
        let version = installation.number("select current_setting('server_version_num')::bigint").await;
        Some(format!("{}.{}", version / 10_000, version % 10_000))
    }
}
