//! `tasdiq up`: everything in one process. For a newcomer the sandbox is the gateway; a small shop sets `ATMOS_*`.

use ::sandbox::{Sandbox, SandboxConfig};
use anyhow::Context;
use shared::config::{Config, DatabaseUrl, local_base};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::arguments::WorkerArguments;
use crate::data_dir::{DataDir, Lock};
use crate::exit::Exit;
use crate::installation::{Installation, Parts, Tables, listen};
use crate::output::print;
use crate::{api, sandbox, worker};

/// Runs everything until `stop`.
///
/// # Errors
/// The data directory is held or not writable, an address is taken, the database refuses.
pub(crate) async fn run(mut config: Config, stop: &CancellationToken) -> Result<(), Exit> {
    let data_dir = DataDir::open(&config.data_dir, config.role.command())?;
    let _database = lock_database(&config, &data_dir)?;
    let options = worker::options(&config, &WorkerArguments::default());
    let introduction = worker::introduction("up", &options);

    // Listening first gives the sandbox an address to call back to; nothing is taken before all is ready.
    let (listener, bound) = listen(config.listen, "TASDIQ_LISTEN").await?;
    config.api_listens_at(bound);
    let sandbox = start_sandbox(&mut config, &data_dir).await?;
    let opened = tokio::select! {
        opened = Installation::open(&config, Tables::Made, introduction) => opened,
        () = stop.cancelled() => return Ok(()),
    };
    let installation = opened?;
    let mut parts = Parts::default();
    api::start(&mut parts, "up", &config, &installation, listener, stop);
    worker::start(&mut parts, &config, &installation, options, stop);
    print(&welcome(&config, &data_dir))?;
    let ended = installation.run(parts, stop).await;
    if let Some(sandbox) = sandbox {
        // Last, for the jobs that are finished during a stop still talk to it.
        sandbox.stop().await;
    }
    ended
}

/// A database file outside the data directory needs a lock of its own: `up` takes every lease in it for dead.
fn lock_database(config: &Config, data_dir: &DataDir) -> Result<Option<Lock>, Exit> {
    let DatabaseUrl::Sqlite(path) = &config.database else { return Ok(None) };
    let full = std::path::absolute(path).context("DATABASE_URL names no usable path").map_err(Exit::Configuration)?;
    if full.parent().is_some_and(|parent| parent.canonicalize().is_ok_and(|parent| parent == data_dir.path())) {
        return Ok(None);
    }
    let mut lock = full.clone().into_os_string();
    lock.push(".lock");
    Lock::take(lock.as_ref(), &full, config.role.command()).map(Some)
}

/// Starts the sandbox where this configuration has one, with callbacks to our own webhook.
async fn start_sandbox(config: &mut Config, data_dir: &DataDir) -> Result<Option<Sandbox>, Exit> {
    if !config.starts_sandbox() {
        return Ok(None);
    }
    let webhook = Url::parse(&format!("{}/atmos/webhook/", local_base(config.listen))).context("no webhook address")?;
    let mut options = SandboxConfig::new(config.sandbox_listen, data_dir.path().to_owned(), Some(webhook));
    options.sign_algorithm = sandbox::sign_algorithm(config);
    if config.sandbox_listen.port() != 0 {
        options.public_url = Some(config.atmos.checkout_url.clone());
    }
    let sandbox = sandbox::start(options).await?;
    config.sandbox_listens_at(sandbox.address());
    Ok(Some(sandbox))
}

/// What a person sees once everything listens: where things are, and the first thing to try.
fn welcome(config: &Config, data_dir: &DataDir) -> String {
    let here = local_base(config.listen);
    let is_sandbox = config.atmos.is_sandbox();
    let mut lines = vec![
        match is_sandbox {
            true => "Tasdiq is up. The gateway is a sandbox: no money is real.".to_owned(),
            false => format!("Tasdiq is up and takes REAL money through Atmos, store {}.", config.atmos.store_id),
        },
        String::new(),
        format!("  order API   {here}/api/orders/create"),
        format!("  reference   {here}/docs"),
        format!("  webhook     {}/atmos/webhook/", config.public_base()),
        format!("  gateway     {}", config.atmos.base_url.as_str().trim_end_matches('/')),
        format!("  data        {}", data_dir.path().display()),
    ];
    if matches!(config.database, DatabaseUrl::Postgres(_)) {
        lines.push("  database    PostgreSQL, from DATABASE_URL".to_owned());
    }
    if config.redis_url.is_some() {
        lines.push("  queue       Redis, from REDIS_URL".to_owned());
    }
    if is_sandbox {
        lines.push("  test card   8600 4907 4431 3347, any month, code 111111".to_owned());
    }
    let key = if config.api_keys.is_empty() { "" } else { "  -H 'Authorization: Bearer YOUR-API-KEY' \\\n" };
    lines.push(format!(
        "\nMake an order, and open its payment_url:\n\n  curl -s {here}/api/orders/create \\\n{key}  \
         -H 'Content-Type: application/json' \\\n  \
         -d '{{\"product_name\":\"Green tea\",\"amount\":\"50.00\",\"payment_type\":\"atmos\"}}'\n\n\
         Ctrl-C ends it; what was under way goes on at the next start."
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use shared::config::Role;

    use super::*;

    fn config(lines: &[(&str, &str)]) -> Config {
        let get = |name: &str| Some(lines.iter().find(|(given, _)| *given == name)?.1.to_owned());
        Config::from_environment(Role::Up, get).unwrap()
    }

    #[test]
    fn a_database_outside_the_data_directory_is_held_by_one_process_too() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let outside = format!("sqlite://{}/shop.db", folder.path().display());
        let config = config(&[("TASDIQ_DATA_DIR", one.to_str().unwrap()), ("DATABASE_URL", &outside)]);
        let [one, other] = [one, other].map(|path| DataDir::open(&path, "tasdiq up").unwrap());

        let held = lock_database(&config, &one).unwrap();

        assert!(held.is_some());
        assert!(matches!(lock_database(&config, &other), Err(Exit::Configuration(_))));
    }

    #[test]
    fn the_embedded_database_is_guarded_by_the_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&[("TASDIQ_DATA_DIR", folder.path().to_str().unwrap())]);
        let data_dir = DataDir::open(&config.data_dir, "tasdiq up").unwrap();

        assert!(lock_database(&config, &data_dir).unwrap().is_none());
    }

    #[test]
    fn a_newcomer_is_told_that_no_money_is_real_and_a_shop_that_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path(), "tasdiq up").unwrap();
        let keys = ("TASDIQ_API_KEYS", "shop:0123456789abcdef");

        let newcomer = welcome(&config(&[]), &data_dir);
        let shop = welcome(
            &config(&[
                ("ATMOS_CONSUMER_KEY", "k"),
                ("ATMOS_CONSUMER_SECRET", "s"),
                ("ATMOS_STORE_ID", "417"),
                ("ATMOS_API_KEY", "a"),
                keys,
            ]),
            &data_dir,
        );

        assert!(newcomer.contains("no money is real") && newcomer.contains("test card"), "{newcomer}");
        assert!(!newcomer.contains("Authorization"), "{newcomer}");
        assert!(shop.contains("REAL money") && !shop.contains("test card"), "{shop}");
        assert!(shop.contains("Authorization") && !shop.contains(keys.1), "{shop}");
    }
}
