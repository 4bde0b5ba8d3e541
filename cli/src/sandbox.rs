//! `tasdiq sandbox`: the stand-ins for the gateways, alone.

use std::time::Duration;

use ::sandbox::{Sandbox, SandboxConfig, SandboxError};
use domain::order::PaymentType;
use gateway::atmos::SignAlgorithm;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::arguments::{SandboxArguments, TokenModeArgument};
use crate::config::Config;
use crate::data_dir::{DataDir, is_out_of_room};
use crate::exit::Exit;

pub(crate) mod check;
pub(crate) mod settings;

/// Runs the sandbox until `stop`.
///
/// # Errors
/// The data directory is held or not writable, or the address is taken.
pub(crate) async fn run(config: &Config, arguments: SandboxArguments, stop: &CancellationToken) -> Result<(), Exit> {
    let data_dir = DataDir::open(&config.data_dir.path, config.role.command())?;
    let listen = arguments.listen.unwrap_or(config.sandbox.listen);
    let mut options = SandboxConfig::new(listen, data_dir.path().to_owned(), arguments.callback_url);
    options.payme_webhook = arguments.payme_webhook;
    options.payme_id = arguments.payme_id.unwrap_or(options.payme_id);
    options.payme_key = arguments.payme_key.unwrap_or(options.payme_key);
    options.click_service_id = arguments.click_service.map_or(options.click_service_id, |number| number.to_string());
    options.store_id = arguments.atmos_store.unwrap_or(options.store_id);
    options.click_complete = arguments.click_complete.or_else(|| arguments.click_prepare.clone());
    options.click_prepare = arguments.click_prepare;
    options.sign_algorithm = sign_algorithm(config);
    options.public_url = arguments.public_url;
    options.token_mode = match arguments.token_mode {
        TokenModeArgument::Reuse => ::sandbox::TokenMode::Reuse,
        TokenModeArgument::RevokePrevious => ::sandbox::TokenMode::RevokePrevious,
    };
    options.token_lifetime = Duration::from_secs(arguments.token_lifetime.into());
    options.draft_lifetime = Duration::from_secs(arguments.draft_lifetime.into());
    let address = |url: &Option<Url>, argument: &str, without: &str| match url {
        Some(url) => url.to_string(),
        None => format!("no program ({argument} names one; {without})"),
    };
    let asks = address(&options.callback_url, "--callback-url", "without it payments go through unasked");
    let calls = address(&options.payme_webhook, "--payme-webhook", "without it nothing can be paid");
    let prepares = address(&options.click_prepare, "--click-prepare", "without it nothing can be paid");
    let (store, cashbox, key) = (options.store_id.clone(), options.payme_id.clone(), options.payme_key.clone());
    let service = options.click_service_id.clone();
    let sandbox = start(options).await?;
    let (base, ledger) = (sandbox.base_url(), data_dir.path().display());
    let [atmos, payme, click] = [PaymentType::Atmos, PaymentType::Payme, PaymentType::Click].map(test_card);
    telemetry::show(&format!(
        "The sandbox listens on {base}. No money is real here.\n\n  \
         Atmos       {base}, asks {asks}\n              \
         key sandbox-key, secret sandbox-secret, store {store}, API key sandbox-api-key\n              \
         test card {atmos}\n  \
         Payme       {base}/payme, calls {calls}\n              \
         cashbox {cashbox}, key {key}\n              \
         test card {payme}\n  \
         Click       {base}/click, calls {prepares}\n              \
         service {service}, merchant 11111, user 33333, secret key sandbox-click-secret\n              \
         test card {click}\n  \
         ledgers     {ledger}\n\n\
         Ctrl-C ends it.",
    ));
    stop.cancelled().await;
    sandbox.stop().await;
    Ok(())
}

/// A card that pays at the sandbox's gateway of this payment type.
pub(crate) fn test_card(payment_type: PaymentType) -> &'static str {
    match payment_type {
        PaymentType::Atmos => "8600 4907 4431 3347, any month, code 111111",
        PaymentType::Payme => "8600 0691 9540 6311, 03/99, code 666666",
        PaymentType::Click => "8600 4907 4431 3347, any month",
    }
}

/// Starts a sandbox; its errors sorted by what to do.
///
/// # Errors
/// [`Exit::Unavailable`] for a taken address, [`Exit::Configuration`] for the rest.
pub(crate) async fn start(options: SandboxConfig) -> Result<Sandbox, Exit> {
    Sandbox::start(options).await.map_err(|error| match error {
        SandboxError::AddressInUse { .. } => Exit::Unavailable(
            anyhow::Error::new(error).context("stop what listens there, or choose another TASDIQ_SANDBOX_LISTEN"),
        ),
        SandboxError::DataDirNotWritable { ref source, .. } if is_out_of_room(source) => {
            Exit::Unavailable(error.into())
        }
        SandboxError::CannotBind { .. }
        | SandboxError::DataDirNotWritable { .. }
        | SandboxError::LedgerInUse { .. }
        | SandboxError::LedgerUnreadable { .. } => Exit::Configuration(error.into()),
        SandboxError::CallbackClient(_) => Exit::Failed(error.into()),
    })
}

/// The sandbox signs as we check. The two are written apart, hence two types.
pub(crate) fn sign_algorithm(config: &Config) -> ::sandbox::CallbackHash {
    match config.sandbox.sign_algorithm {
        SignAlgorithm::Md5 => ::sandbox::CallbackHash::Md5,
        SignAlgorithm::Sha256 => ::sandbox::CallbackHash::Sha256,
    }
}
