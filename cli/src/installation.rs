//! Opening the parts of an installation, in the order in which each may be trusted, and closing them again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use domain::time::rfc3339;
use gateway::coordination::Coordination;
use gateway::{AccountSettings, Gateway, Gateways};
use process::admission;
use process::heartbeat::{self, Introduction};
use process::notice::Notice;
use process::relay::Relay;
use queue::{LocalQueue, Queue, RedisQueue};
use redis_server::RedisServer;
use store::sole::SoleProcess;
use store::{Database, Store, StoreError, jobs, orders, processes};
use telemetry::causes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::{Config, Role};
use crate::database::{keep_order_numbers_apart, migrate, until_answered};
use crate::exit::Exit;

/// How long the parts may take to close once all work has ended.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The way in which the tables are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// This process.
    Made,
    /// `tasdiq migrate`, which is waited for.
    Awaited,
}

/// Everything that API and worker need, with what every process does beside its work: relay, notices, heartbeat, admission.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) gateways: Gateways,
    pub(crate) notice: Notice,
    beside: JoinSet<()>,
    ended: CancellationToken,
}

impl Installation {
    /// Opens the parts and starts what runs beside the work.
    ///
    /// # Errors
    /// The database stays away or refuses; Redis answers and may not carry the queue; the gateway's client cannot be
    /// made.
    pub(crate) async fn open(config: &Config, tables: Tables, introduction: Introduction) -> Result<Self, Exit> {
        let store = until_answered(config, async || {
            let store = match (config.pool.connections, config.role) {
                (Some(connections), _) => Store::open_with_connections(&config.database.url, connections).await?,
                (None, Role::Worker) => Store::open_for_worker(&config.database.url).await?,
                (None, Role::Up | Role::Api | Role::Sandbox | Role::Migrate | Role::Operator) => {
                    Store::open(&config.database.url).await?
                }
            };
            if tables == Tables::Awaited {
                store.check_migrated().await?;
            }
            Ok(store)
        })
        .await?;
        keep_order_numbers_apart(config, &store);
        if tables == Tables::Made {
            migrate(config, &store).await?;
        }
        let database_id = until_answered(config, async || store.database_id().await).await?;
        let redis = redis_server(config, &database_id)?;
        let queue = match &redis {
            Some(server) => Queue::Redis(checked(RedisQueue::new(server.clone())).await?),
            None => Queue::Local(LocalQueue::default()),
        };
        let is_alone = store.database() == Database::Sqlite;
        let sole = match (&redis, store.database()) {
            (None, Database::Postgres) => Some(sole_process(&store).await?),
            (None, Database::Sqlite) | (Some(_), _) => None,
        };
        if is_alone {
            // We hold the lock, so the process that held these leases is dead. Its jobs need not wait for the leases' end.
            until_answered(config, async || jobs::end_all_leases(&store).await).await?;
        }
        if redis.is_none() {
            until_answered(config, async || jobs::enqueue_all_again(&store).await).await?;
        }
        let gateways = gateways(config, redis.clone())?;
        until_answered(config, async || admission::apply_settings(&store, &gateways).await).await?;
        until_answered(config, async || tell_of_orders_elsewhere(&store, &gateways).await).await?;

        let ended = CancellationToken::new();
        let notice = Notice::start(&store, redis, &ended);
        let mut beside = JoinSet::new();
        if let Some(sole) = sole {
            beside.spawn(sole.keep(ended.clone()));
        }
        beside.spawn(Relay::new(store.clone(), queue.clone(), is_alone).run(ended.clone()));
        beside.spawn(heartbeat::keep(store.clone(), queue.clone(), gateways.clone(), introduction, ended.clone()));
        beside.spawn(admission::follow(store.clone(), gateways.clone(), ended.clone()));
        Ok(Installation { store, queue, gateways, notice, beside, ended })
    }

    /// Waits for the parts, which all end with `stop`. A part that ends before is a failure and stops the others.
    /// Then closes the installation.
    ///
    /// # Errors
    /// The error of the part that failed.
    pub(crate) async fn run(mut self, mut parts: ProcessParts, stop: &CancellationToken) -> Result<(), Exit> {
        let mut failure = None;
        loop {
            let ended = tokio::select! {
                ended = parts.0.join_next() => match ended {
                    Some(ended) => ended,
                    None => break,
                },
                // Without its relay this process would look healthy, and no worker would see its orders.
                Some(ended) = self.beside.join_next() => ended.map(|()| ("relay, heartbeat, admission or lock of the database", Ok(()))),
            };
            let trouble = match ended {
                Ok((_, Ok(()))) if stop.is_cancelled() => continue,
                Ok((name, Ok(()))) => anyhow!("the {name} ended by itself"),
                Ok((name, Err(trouble))) => trouble.context(format!("the {name} failed")),
                Err(panicked) => anyhow!(panicked).context("a part failed"),
            };
            stop.cancel();
            error!(error = causes(trouble.as_ref()), "stopping, as a part of this process has ended");
            failure.get_or_insert(trouble);
        }
        self.ended.cancel();
        let closing = async {
            while self.beside.join_next().await.is_some() {}
            self.store.close().await;
        };
        if tokio::time::timeout(CLOSE_WITHIN, closing).await.is_err() {
            warn!("the database's connections did not close in time and are dropped");
        }
        failure.map_or(Ok(()), |trouble| Err(Exit::Unavailable(trouble)))
    }
}

/// The parts of a running process, each with its name for messages.
#[derive(Debug, Default)]
pub(crate) struct ProcessParts(JoinSet<(&'static str, anyhow::Result<()>)>);

impl ProcessParts {
    /// Starts a part.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.0.spawn(async move { (name, part.await) });
    }
}

/// A process that was killed leaves its heartbeat behind; one that lives tells of itself again within this.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(12);

/// Without Redis the queue is in the process, which must be the only one on its database: two would not know of each other's
/// jobs, nor share circuit breaker and rate limit.
///
/// # Errors
/// Another `up` without Redis lives.
async fn sole_process(store: &Store) -> Result<SoleProcess, Exit> {
    let began = Instant::now();
    let mut seen: HashMap<String, i64> = HashMap::new();
    loop {
        if let Some(sole) = SoleProcess::take(store).await? {
            return Ok(sole);
        }
        for process in processes::alive(store).await? {
            let beat_ms = *seen.entry(process.id.clone()).or_insert(process.heartbeat_at_ms);
            if process.role == "up" && process.heartbeat_at_ms > beat_ms {
                return Err(Exit::configuration(format!(
                    "another `tasdiq up` (process {}, since {}) runs on the database of DATABASE_URL; without Redis there can \
                     be one: stop it, or set REDIS_URL for both",
                    process.id,
                    rfc3339(process.started_at_ms)
                )));
            }
        }
        if began.elapsed() >= HEARTBEAT_WITHIN {
            // The session of a host that has vanished, which the server takes for open for hours.
            warn!("the lock of this database is held by a session of no living process; going on without it");
            return Ok(SoleProcess::believed(store));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The Redis of the configuration, not yet connected to.
///
/// # Errors
/// An address that the client cannot read.
pub(crate) fn redis_server(config: &Config, database_id: &str) -> Result<Option<RedisServer>, Exit> {
    let Some(url) = &config.redis.url else { return Ok(None) };
    let server = RedisServer::new(url.expose(), database_id).map_err(|_| {
        Exit::configuration("REDIS_URL cannot be read as the address of a Redis; write redis://host:6379")
    })?;
    Ok(Some(server))
}

/// A Redis that answers and may not carry the queue is fatal; one that does not answer is not, for it may come back,
/// and until then callbacks are answered all the same.
async fn checked(queue: RedisQueue) -> Result<RedisQueue, Exit> {
    match queue.check().await {
        Ok(checked) if checked.faults.is_empty() => {
            for untold in checked.untold {
                warn!("Redis does not tell {untold}; our user may ask for neither INFO nor CONFIG");
            }
            Ok(queue)
        }
        Ok(checked) => {
            let faults: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
            Err(Exit::configuration(format!("the Redis of REDIS_URL may not carry the queue: {}", faults.join("; "))))
        }
        Err(trouble) => {
            warn!(error = causes(&trouble), "Redis cannot be used now; jobs wait in the database until it can");
            Ok(queue)
        }
    }
}

/// The clients of all gateway accounts. Processes that share a Redis share an account's token and the admission of its
/// calls there.
///
/// # Errors
/// A proxy address that cannot be used.
pub(crate) fn gateways(config: &Config, redis: Option<RedisServer>) -> Result<Gateways, Exit> {
    let (accounts, older) = (config.accounts(), config.older_account());
    let gateways = accounts.iter().map(|account| {
        let has_older_names = older.as_ref() == Some(&account.identity());
        gateway(account, account.coordination(redis.clone(), has_older_names))
    });
    Ok(Gateways::new(gateways.collect::<Result<Vec<Gateway>, Exit>>()?))
}

/// The client of one account, for a command that only asks how its gateway is: the processes do not learn from its calls,
/// which may go elsewhere than theirs.
///
/// # Errors
/// As [`gateways`].
pub(crate) fn gateway_to_observe(
    config: &Config,
    account: &AccountSettings,
    redis: Option<RedisServer>,
) -> Result<Gateway, Exit> {
    let has_older_names = config.older_account() == Some(account.identity());
    gateway(account, account.coordination(redis, has_older_names).observer())
}

fn gateway(account: &AccountSettings, coordination: Coordination) -> Result<Gateway, Exit> {
    account.gateway(coordination).map_err(|error| {
        let what = format!("cannot prepare calls to {}", account.identity());
        Exit::Configuration(anyhow!(error).context(what))
    })
}

/// Orders of another gateway account stay as they are until that account is configured again, so an operator must know.
async fn tell_of_orders_elsewhere(store: &Store, gateways: &Gateways) -> Result<(), StoreError> {
    let ours = gateways.identities();
    let elsewhere = orders::open_elsewhere(store, &ours).await?;
    if !elsewhere.is_empty() {
        let orders: Vec<String> = elsewhere.iter().map(|(id, gateway)| format!("{id} of {gateway}")).take(20).collect();
        warn!(
            orders = orders.join(", "),
            "{} open orders belong to another gateway than {}, and this process cannot ask that one about them",
            elsewhere.len(),
            ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

/// Listens at an address that the variable `variable` gave.
///
/// # Errors
/// The address is taken, or is not this machine's.
pub(crate) async fn listen(address: SocketAddr, variable: &str) -> Result<(TcpListener, SocketAddr), Exit> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; stop what listens there, or set {variable}"))
        .map_err(Exit::Unavailable)?;
    let bound = listener.local_addr().context("cannot tell where we listen")?;
    Ok((listener, bound))
}
