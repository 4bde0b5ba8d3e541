//! `tasdiq up`: everything in one process. For a newcomer the sandbox is each gateway; a small shop sets
//! the variables of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ::sandbox::{Sandbox, SandboxConfig};
use anyhow::Context;
use domain::order::PaymentType;
use gateway::AccountSettings;
use http_server::ConnectionLimits;
use store::DatabaseUrl;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::arguments::WorkerArguments;
use crate::config::Config;
use crate::data_dir::{DataDir, Lock, close_database_to_others};
use crate::exit::Exit;
use crate::installation::{Installation, ProcessParts, Tables};
use crate::local_address::local_base;
use crate::{api, sandbox, worker};

/// Runs everything until `stop`.
///
/// # Errors
/// The data directory is held or not writable, an address is taken, the database refuses.
pub(crate) async fn run(mut config: Config, stop: &CancellationToken) -> Result<(), Exit> {
    let data_dir = DataDir::open(&config.data_dir.path, config.role.command())?;
    let _database = lock_database(&config)?;
    let options = worker::options(&config, &WorkerArguments::default());
    let introduction = worker::introduction("up", &options);

    // Listening first gives the sandbox an address to call back to; nothing is taken before all is ready.
    let listeners = api::listen_for_requests(&mut config).await?;
    let sandbox = start_sandbox(&mut config, &data_dir).await?;
    let opened = tokio::select! {
        opened = Installation::open(&config, Tables::Made, introduction) => opened,
        () = stop.cancelled() => return Ok(()),
    };
    let installation = opened?;
    let mut parts = ProcessParts::default();
    let worker = worker::start(&mut parts, &config, &installation, options, stop);
    api::start(&mut parts, &config, &installation, listeners, Some(worker), stop);
    telemetry::show(&welcome(&config, &data_dir));
    let ended = installation.run(parts, stop).await;
    if let Some(sandbox) = sandbox {
        // Last, for the jobs that are finished during a stop still talk to it.
        sandbox.stop().await;
    }
    ended
}

/// A database file has one `up`, which takes every lease in it for dead. The lock lies beside the file, wherever that
/// is: another `up` may lead to the same file with another data directory.
fn lock_database(config: &Config) -> Result<Option<Lock>, Exit> {
    let DatabaseUrl::Sqlite(path) = &config.database.url else { return Ok(None) };
    let file = real_path(path).map_err(|error| {
        Exit::configuration(format!(
            "cannot use the database {} ({error}); set {} to a path whose directory is there",
            path.display(),
            config.database_variable()
        ))
    })?;
    let mut lock = file.clone().into_os_string();
    lock.push(".lock");
    let lock = Lock::take(lock.as_ref(), &file, config.role.command(), config.database_variable())?;
    close_database_to_others(&file);
    Ok(Some(lock))
}

/// The one path of a file, by whatever way it is named; the file itself need not be there yet.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let full = std::path::absolute(path)?;
    match (full.parent(), full.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => Ok(full),
    }
}

/// Starts the sandbox where this configuration has one, with calls to our own webhooks.
async fn start_sandbox(config: &mut Config, data_dir: &DataDir) -> Result<Option<Sandbox>, Exit> {
    if !config.starts_sandbox() {
        return Ok(None);
    }
    let base = local_base(config.address.listen);
    let webhook = |gateway| Url::parse(&format!("{base}/{gateway}/webhook/")).context("no webhook address");
    let mut options = SandboxConfig::new(config.sandbox.listen, data_dir.path().to_owned(), Some(webhook("atmos")?));
    options.payme_webhook = Some(webhook("payme")?);
    options.click_prepare = Some(webhook("click")?);
    options.click_complete = Some(webhook("click")?);
    options.sign_algorithm = sandbox::sign_algorithm(config);
    options.max_connections = ConnectionLimits::of_this_process().sandbox;
    if config.sandbox.listen.port() != 0 {
        options.public_url = Some(config.atmos.checkout_url.clone());
    }
    let sandbox = sandbox::start(options).await?;
    config.sandbox_listens_at(sandbox.address());
    Ok(Some(sandbox))
}

/// The accounts, in words.
fn real_accounts(config: &Config) -> String {
    let account = |settings: AccountSettings| {
        let name = gateway_name(settings.payment_type());
        match settings {
            AccountSettings::Atmos(atmos) => format!("{name}, store {}", atmos.store_id),
            AccountSettings::Payme(payme) => format!("{name}, cashbox {}", payme.cashbox_id),
            AccountSettings::Click(click) => format!("{name}, service {}", click.service_id),
        }
    };
    config.accounts().into_iter().map(account).collect::<Vec<_>>().join("; ")
}

/// The gateways of the accounts, each with the address that is called, or to which the customer is sent where none is.
fn gateways(config: &Config) -> BTreeMap<PaymentType, String> {
    let address = |account: AccountSettings| {
        let payment_type = account.payment_type();
        let url = match account {
            AccountSettings::Atmos(atmos) => atmos.base_url,
            AccountSettings::Payme(payme) => payme.checkout_url,
            AccountSettings::Click(click) => click.api_url,
        };
        (payment_type, url.as_str().trim_end_matches('/').to_owned())
    };
    config.accounts().into_iter().map(address).collect()
}

fn gateway_name(payment_type: PaymentType) -> &'static str {
    match payment_type {
        PaymentType::Atmos => "Atmos",
        PaymentType::Payme => "Payme",
        PaymentType::Click => "Click",
    }
}

/// The text that a person sees once everything listens: the addresses, and the first thing to try.
fn welcome(config: &Config, data_dir: &DataDir) -> String {
    let here = local_base(config.address.listen);
    let is_sandbox = config.is_sandbox();
    let mut lines = vec![
        match is_sandbox {
            true => "Tasdiq is up. The gateways are sandboxes: no money is real.".to_owned(),
            false => format!("Tasdiq is up and takes REAL money through {}.", real_accounts(config)),
        },
        String::new(),
        format!("  order API   {here}/api/orders/create"),
        format!("  reference   {here}/docs"),
    ];
    let gateways = gateways(config);
    for (payment_type, address) in &gateways {
        let webhook = format!("{}/{payment_type}/webhook/", config.address.public_url);
        lines.push(format!("  {:<10}  {address}, calls {webhook}", gateway_name(*payment_type)));
    }
    lines.push(format!("  data        {}", data_dir.path().display()));
    if matches!(config.database.url, DatabaseUrl::Postgres(_)) {
        lines.push("  database    PostgreSQL, from DATABASE_URL".to_owned());
    }
    if let Some(address) = config.api.webhook_listen {
        lines.push(format!("  callbacks   {}, for gateways' calls alone", local_base(address)));
    }
    if config.redis.url.is_some() {
        lines.push("  queue       Redis, from REDIS_URL".to_owned());
    }
    if is_sandbox {
        let card = |gateway: &PaymentType| {
            format!("  test card   {}: {}", gateway_name(*gateway), sandbox::test_card(*gateway))
        };
        lines.extend(gateways.keys().map(card));
    }
    let key = if config.api.keys.is_empty() { "" } else { "  -H 'Authorization: Bearer YOUR-API-KEY' \\\n" };
    let mut types = gateways.keys();
    let first = types.next().copied().unwrap_or(PaymentType::Atmos);
    lines.push(format!(
        "\nMake an order, and open its payment_url:\n\n  curl -s {here}/api/orders/create \\\n{key}  \
         -H 'Content-Type: application/json' \\\n  \
         -d '{{\"product_name\":\"Green tea\",\"amount\":\"50.00\",\"payment_type\":\"{first}\"}}'\n"
    ));
    let others: Vec<String> = types.map(|payment_type| format!("\"{payment_type}\"")).collect();
    if !others.is_empty() {
        lines.push(format!("\"payment_type\" may also be {}; left out, the customer chooses.\n", others.join(" or ")));
    }
    lines.push("Ctrl-C ends it; what was under way goes on at the next start.".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use crate::config::Role;

    use super::*;

    fn config(lines: &[(&str, &str)]) -> Config {
        let get = |name: &str| Some(lines.iter().find(|(given, _)| *given == name)?.1.to_owned());
        Config::from_environment(Role::Up, get).unwrap()
    }

    /// The configuration fault of an `up` that may not have the database.
    fn refusal(config: &Config) -> String {
        match lock_database(config) {
            Err(Exit::Configuration(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_database_file_has_one_up_by_whatever_way_each_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let [x, y, link] = ["x", "y", "link"].map(|name| folder.path().join(name));
        let _x = DataDir::open(&x, "tasdiq up").unwrap();
        std::os::unix::fs::symlink(&x, &link).unwrap();
        let embedded = config(&[("TASDIQ_DATA_DIR", x.to_str().unwrap())]);
        let held = lock_database(&embedded).unwrap();
        assert!(held.is_some());

        for way in [&x, &link] {
            let named = format!("sqlite://{}/tasdiq.db", way.display());
            let other = config(&[("TASDIQ_DATA_DIR", y.to_str().unwrap()), ("DATABASE_URL", &named)]);

            let message = refusal(&other);

            assert!(message.contains(&format!("tasdiq up (process {}", std::process::id())), "{message}");
            assert!(message.contains("set DATABASE_URL") && !message.contains("TASDIQ_DATA_DIR"), "{message}");
        }
        assert!(refusal(&embedded).contains("set TASDIQ_DATA_DIR"), "DATABASE_URL is not set here");
        drop(held);
        assert!(lock_database(&embedded).unwrap().is_some());
    }

    #[test]
    fn a_database_in_a_directory_that_is_not_there_is_a_fault_of_its_variable() {
        let missing = config(&[("DATABASE_URL", "sqlite:///nowhere-at-all/shop.db")]);

        assert!(refusal(&missing).contains("DATABASE_URL"));
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
        for gateway in ["atmos", "payme", "click"] {
            assert!(newcomer.contains(&format!("http://127.0.0.1:8000/{gateway}/webhook/")), "{newcomer}");
            assert!(newcomer.contains(&format!("\"{gateway}\"")), "{newcomer}");
        }
        assert!(!newcomer.contains("Authorization"), "{newcomer}");
        assert!(shop.contains("REAL money") && !shop.contains("test card"), "{shop}");
        assert!(shop.contains("/atmos/webhook/") && !shop.contains("Payme") && !shop.contains("Click"), "{shop}");
        assert!(shop.contains("Authorization") && !shop.contains(keys.1), "{shop}");
    }
}
