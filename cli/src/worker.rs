//! `tasdiq worker`: runs jobs; start more of them for more work.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::worker::health;
use ::worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};
use domain::job::QueueName;
use gateway::Gateways;
use process::consumption_check::ConsumptionCheck;
use process::heartbeat::Introduction;
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::arguments::WorkerArguments;
use crate::config::{Config, Role};
use crate::exit::Exit;
use crate::installation::{Installation, ProcessParts, Tables, listen};

/// Works until `stop`.
///
/// # Errors
/// The database stays away, Redis may not carry the queue, or the address of its health is taken.
pub(crate) async fn run(config: &Config, arguments: &WorkerArguments, stop: &CancellationToken) -> Result<(), Exit> {
    let options = options(config, arguments);
    let installation = tokio::select! {
        opened = Installation::open(config, Tables::Awaited, introduction("worker", &options)) => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    let (listener, bound) = listen(config.worker.listen, "TASDIQ_WORKER_LISTEN").await?;
    let worker = job_worker(config, &installation, options);

    let mut parts = ProcessParts::default();
    let drained = CancellationToken::new();
    let serving = health::serve(
        listener,
        installation.store.clone(),
        installation.queue.clone(),
        worker.consumption_check(),
        stop.clone(),
        drained.clone(),
    );
    parts.start("health server", async move {
        serving.await;
        Ok(())
    });
    let work = worker.run(stop.clone());
    parts.start("worker", async move {
        work.await;
        drained.cancel();
        Ok(())
    });
    tell(bound, arguments);
    installation.run(parts, stop).await
}

/// The worker of a process that does other things besides.
#[derive(Debug)]
pub(crate) struct OwnWorker {
    /// Shows whether it works.
    pub(crate) consumption_check: ConsumptionCheck,
    /// Cancelled once it has ended.
    pub(crate) ended: CancellationToken,
}

/// Starts a worker as a part of this process.
pub(crate) fn start(
    parts: &mut ProcessParts,
    config: &Config,
    installation: &Installation,
    options: WorkerOptions,
    stop: &CancellationToken,
) -> OwnWorker {
    let worker = job_worker(config, installation, options);
    let own = OwnWorker { consumption_check: worker.consumption_check(), ended: CancellationToken::new() };
    let ended = own.ended.clone().drop_guard();
    let work = worker.run(stop.clone());
    parts.start("worker", async move {
        let _ended = ended;
        // A job that did not end in time runs again on the next worker.
        work.await;
        Ok(())
    });
    own
}

/// How much this process takes on.
pub(crate) fn options(config: &Config, arguments: &WorkerArguments) -> WorkerOptions {
    // In order of urgency, whatever the order in which they were named.
    let queues: Vec<QueueName> = WorkerOptions::ALL_QUEUES
        .into_iter()
        .filter(|queue| arguments.queues.is_empty() || arguments.queues.contains(queue))
        .collect();
    WorkerOptions { slots: arguments.concurrency.into(), queues, stop_grace: config.shutdown.grace }
}

/// The description of this process for `doctor` and for those who scale.
pub(crate) fn introduction(role: &'static str, options: &WorkerOptions) -> Introduction {
    let queues: Vec<&str> = options.queues.iter().map(|queue| queue.as_str()).collect();
    Introduction { role, slots: options.slots, queues: queues.join(",") }
}

fn job_worker(config: &Config, installation: &Installation, options: WorkerOptions) -> JobWorker {
    let context = context(config, installation.store.clone(), installation.gateways.clone());
    JobWorker::new(context, installation.queue.clone(), options, suspect_program(config))
}

/// The context of the jobs, by this configuration.
pub(crate) fn context(config: &Config, store: Store, gateways: Gateways) -> WorkerContext {
    WorkerContext {
        store,
        gateways,
        public_url: config.address.public_url.clone(),
        settings: config.worker.clone(),
        payment_ttl: config.payment_time.payment_ttl,
        link_ttl: config.payment_time.link_ttl,
    }
}

/// This very program, also where its file has been replaced since it was started. It gets the settings of this process, and
/// what came of port 0.
fn suspect_program(config: &Config) -> SuspectProgram {
    let itself = PathBuf::from("/proc/self/exe");
    let file = if itself.exists() { itself } else { std::env::current_exe().unwrap_or_else(|_| "tasdiq".into()) };
    let is_embedded = config.role == Role::Up;
    let mut arguments = vec!["suspects".to_owned(), "--public-url".to_owned(), config.address.public_url.to_string()];
    if is_embedded {
        arguments.push("--embedded".to_owned());
    }
    if config.starts_sandbox() {
        arguments.extend(["--sandbox".to_owned(), config.sandbox.listen.to_string()]);
    }
    SuspectProgram { file, arguments, settings: config.variables.to_line() }
}

fn tell(health: SocketAddr, arguments: &WorkerArguments) {
    info!(slots = arguments.concurrency, "the worker runs {} jobs at once; health on {health}", arguments.concurrency);
}
