//! `tasdiq suspects`: one group of jobs that crashed their worker, in a process of its own. A worker starts it.

use std::io::{self, BufRead};
use std::time::Duration;

use anyhow::Context;
use config::Variables;
use gateway::coordination::rate_without_redis;
use process::admission;
use process::notice::Notice;
use store::Store;
use store::clock::MEASURED_EVERY;
use store::jobs::{self, SuspectGroup};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::arguments::SuspectsArguments;
use crate::config::{Config, Role};
use crate::exit::Exit;
use crate::installation::{gateways, redis_server};
use crate::output::print;
use crate::worker::context;

/// How long the last notices and the connections may take once the jobs have ended.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// How long the jobs may take to be handed back once the worker has ended.
const HAND_BACK_WITHIN: Duration = Duration::from_secs(1);

/// Connections to PostgreSQL; there may be some such processes beside the worker's own connections.
const CONNECTIONS: u32 = 6;

/// Runs the group that standard input names.
///
/// # Errors
/// The database or the configuration cannot be used; then no job has run.
pub(crate) async fn run(arguments: SuspectsArguments) -> Result<(), Exit> {
    // A supervisor may signal every process of a service. This one ends with its worker, which waits for it.
    let _signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let worker_ended = CancellationToken::new();
    let (settings, group) = read_input(worker_ended.clone())?;
    let config = configure(arguments, &settings)?;
    let store = Store::open_with_connections(&config.database.url, CONNECTIONS).await?;
    let redis = redis_server(&config, &store.database_id().await?)?;
    let gateways = gateways(&config, redis.clone())?;
    admission::apply_settings(&store, &gateways).await?;

    let ended = CancellationToken::new();
    let _notice = Notice::start(&store, redis, &ended);
    let following = admission::follow(store.clone(), gateways.clone(), ended.clone());
    let following = tokio::spawn(following);
    let clock = tokio::spawn(ended.clone().run_until_cancelled_owned(keep_clock(store.clone())));
    let running = worker::run_suspects(context(&config, store.clone(), gateways), &group, |word| {
        // The worker reads it; without a worker this process ends by itself.
        let _ = print(word);
    });
    match worker_ended.run_until_cancelled(running).await {
        Some(ran) => ran?,
        None => hand_back(&store, &group).await,
    }
    ended.cancel();
    let closing = async {
        let _ = (following.await, clock.await);
        store.close().await;
    };
    if tokio::time::timeout(CLOSE_WITHIN, closing).await.is_err() {
        warn!("the database's connections did not close in time and are dropped");
    }
    Ok(())
}

/// Reads the settings and the group; from then on this process ends when its worker does, which closes the other end.
/// `worker_ended` is cancelled first.
fn read_input(worker_ended: CancellationToken) -> Result<(Variables, SuspectGroup), Exit> {
    const NOT_A_WORKERS: &str = "standard input names no jobs; a worker starts this by itself";
    let mut lines = io::stdin().lock().lines();
    let mut line = || lines.next().transpose().context("cannot read standard input")?.context(NOT_A_WORKERS);
    let settings = Variables::from_line(&line()?).context(NOT_A_WORKERS)?;
    let group = serde_json::from_str(&line()?).context(NOT_A_WORKERS)?;
    drop(lines);
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        worker_ended.cancel();
        // From here, for a job may hold up all other threads. What is not handed back by then counts as a crash.
        std::thread::sleep(HAND_BACK_WITHIN);
        std::process::exit(1);
    });
    Ok((settings, group))
}

/// Hands the group back and ends this process: the worker was killed from outside, which is no fault of these jobs. Their
/// runs have been aborted. One that goes on until this process ends writes nothing any more: its lease's token is gone from
/// the row, so that every fence refuses it.
async fn hand_back(store: &Store, group: &SuspectGroup) -> ! {
    if let Err(trouble) = jobs::hand_back_suspects(store, group).await {
        warn!(error = %trouble, "suspects whose worker has ended cannot be handed back; their leases end by themselves");
    }
    std::process::exit(1)
}

/// The worker's own configuration. The worker has logged its warnings.
fn configure(arguments: SuspectsArguments, settings: &Variables) -> Result<Config, Exit> {
    let role = if arguments.embedded { Role::Up } else { Role::Worker };
    let mut config = Config::from_variables(role, settings)?;
    telemetry::init(&config.telemetry.filter, config.telemetry.format).context("cannot set up the log")?;
    config.address.public_url = arguments.public_url;
    if let Some(address) = arguments.sandbox {
        config.sandbox_listens_at(address);
    }
    if config.redis.url.is_none() {
        // The worker uses the rate limit, too, and this process cannot share it with the worker.
        config.change_rates(rate_without_redis);
    }
    Ok(config)
}

async fn keep_clock(store: Store) {
    loop {
        tokio::time::sleep(MEASURED_EVERY).await;
        // The code that needs the database reports its trouble.
        let _ = store.measure_clock().await;
    }
}
