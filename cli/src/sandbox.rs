//! `tasdiq sandbox`: the stand-in for the gateway, alone.

use std::time::Duration;

use ::sandbox::{Sandbox, SandboxConfig, SandboxError};
use gateway::atmos::SignAlgorithm;
use tokio_util::sync::CancellationToken;

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
    let asked = options.callback_url.as_ref().map_or_else(
        || "no merchant (give --callback-url, and the merchant is asked before each debit)".to_owned(),
        |url| url.to_string(),
    );
    let store = options.store_id.clone();
    let sandbox = start(options).await?;
    telemetry::show(&format!(
        "The sandbox listens on {}. No money is real here.\n  asks before a debit  {asked}\n  \
         credentials          key sandbox-key, secret sandbox-secret, store {store}, API key sandbox-api-key\n  \
         test card            8600 4907 4431 3347, any month, code 111111\n  ledger               {}\n  \
         end it with Ctrl-C",
        sandbox.base_url(),
        data_dir.path().display(),
    ));
    stop.cancelled().await;
    sandbox.stop().await;
    Ok(())
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
