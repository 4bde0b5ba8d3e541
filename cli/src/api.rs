//! `tasdiq api`: the HTTP side of a scaled-out installation.

use ::api::{ApiContext, Listeners};
use process::heartbeat::Introduction;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
use crate::exit::Exit;
use crate::installation::{Installation, ProcessParts, Tables, listen};
use crate::worker::OwnWorker;

/// Serves until `stop`.
///
/// # Errors
/// The database stays away, Redis may not carry the queue, or the address is taken.
pub(crate) async fn run(mut config: Config, stop: &CancellationToken) -> Result<(), Exit> {
    let introduction = Introduction { role: "api", slots: 0, queues: String::new() };
    let installation = tokio::select! {
        opened = Installation::open(&config, Tables::Awaited, introduction) => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    // Last, so that a connection is only taken by a process that can answer it.
    let listeners = listen_for_requests(&mut config).await?;
    let mut parts = ProcessParts::default();
    start(&mut parts, &config, &installation, listeners, None, stop);
    info!("the order API listens on {}", config.address.listen);
    installation.run(parts, stop).await
}

/// Listens where the configuration says, and puts into it where that is.
///
/// # Errors
/// An address is taken, or is not this machine's.
pub(crate) async fn listen_for_requests(config: &mut Config) -> Result<Listeners, Exit> {
    let (all, bound) = listen(config.address.listen, "TASDIQ_LISTEN").await?;
    config.api_listens_at(bound);
    let webhook = match config.api.webhook_listen {
        Some(address) => {
            let (listener, bound) = listen(address, "TASDIQ_WEBHOOK_LISTEN").await?;
            config.api.webhook_listen = Some(bound);
            info!("callbacks are taken on {bound}, too, where nothing else is");
            Some(listener)
        }
        None => None,
    };
    Ok(Listeners { all, webhook })
}

/// Starts the API as a part of this process, which may have a worker, too.
pub(crate) fn start(
    parts: &mut ProcessParts,
    config: &Config,
    installation: &Installation,
    listeners: Listeners,
    worker: Option<OwnWorker>,
    stop: &CancellationToken,
) {
    let (consumption_check, work_ended) = worker.map(|worker| (worker.consumption_check, worker.ended)).unzip();
    let context = ApiContext {
        store: installation.store.clone(),
        shops: config.shops(),
        gateways: installation.gateways.clone(),
        notice: installation.notice.clone(),
        queue: installation.queue.clone(),
        role: if consumption_check.is_some() { "up" } else { "api" },
        consumption_check,
        settings: config.api.clone(),
        callback_addresses: config.callback_addresses.clone(),
        public_url: config.address.public_url.clone(),
        payment_ttl: config.payment_time.payment_ttl,
        link_ttl: config.payment_time.link_ttl,
    };
    let serving = ::api::serve(context, listeners, stop.clone(), work_ended, config.shutdown.grace);
    parts.start("order API", async move {
        serving.await;
        Ok(())
    });
}
