//! Opening the database: patiently for a process that is to run, once for a command.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use store::DatabaseUrl;
use store::{Store, StoreError};
use telemetry::causes;
use tracing::warn;

use crate::config::Config;
use crate::exit::Exit;

/// So long a database may be away at the start before a supervisor is asked to start us again.
const DATABASE_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked meanwhile.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// Opens the database for one command of an operator, and looks whether it has the tables of this release.
///
/// # Errors
/// There is none yet, it is away, or it lacks the tables.
pub(crate) async fn open_store(config: &Config) -> Result<Store, Exit> {
    if let DatabaseUrl::Sqlite(path) = &config.database.url
        && !path.exists()
    {
        // Opening would make an empty one.
        return Err(Exit::failed(format!(
            "there is no database at {}; set DATABASE_URL or TASDIQ_DATA_DIR to the installation's, or start it with \
             `tasdiq up`",
            path.display()
        )));
    }
    let store = Store::open(&config.database.url).await?;
    store.check_migrated().await?;
    Ok(store)
}

/// Repeats `ask` until the database answers, for 30 s at most.
///
/// A database that lacks its tables is waited for, too: `tasdiq migrate` may still be at work.
///
/// # Errors
/// It stayed away, or it refused, which waiting does not mend.
pub(crate) async fn until_answered<T>(
    config: &Config,
    ask: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, Exit> {
    let began = Instant::now();
    let mut was_told = false;
    loop {
        // Asking takes long by itself where the network swallows what we send.
        let left = DATABASE_PATIENCE.saturating_sub(began.elapsed());
        let trouble = match tokio::time::timeout(left, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(trouble)) => sorted(config, trouble)?,
            Err(_) => anyhow!("it does not answer"),
        };
        if began.elapsed() + DATABASE_PAUSE >= DATABASE_PATIENCE {
            let waited = format!("waited {} s for the database", DATABASE_PATIENCE.as_secs());
            return Err(Exit::DatabaseAway(trouble.context(waited)));
        }
        if !was_told {
            was_told = true;
            warn!(
                error = causes(trouble.as_ref()),
                "waiting for the database, {} s at most",
                DATABASE_PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
}

/// So long somebody may hold a lock that a migration needs before a supervisor is asked to start us again. A dump or a vacuum
/// of large tables takes its time.
const LOCK_PATIENCE: Duration = Duration::from_secs(600);

/// Between two tries, so that requests which waited behind one are done before the next.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// So often it is told what a migration waits for.
const LOCK_TOLD_EVERY: Duration = Duration::from_secs(30);

/// Brings the tables to this release, whatever time that takes. Where somebody holds a lock it is tried again and again: each
/// try waits so briefly that no request fails behind it.
///
/// # Errors
/// The lock was held for 10 min, the database was away for 30 s, or a migration cannot be made.
pub(crate) async fn migrate(config: &Config, store: &Store) -> Result<(), Exit> {
    let began = Instant::now();
    let mut told: Option<Instant> = None;
    let mut away_since: Option<Instant> = None;
    loop {
        let trouble = match store.migrate().await {
            Ok(()) => return Ok(()),
            Err(trouble @ StoreError::Conflict(_)) => {
                away_since = None;
                let holder = store.migration_blocked_by().await.ok().flatten();
                let holder = holder.unwrap_or_else(|| "the one that holds it does not show".to_owned());
                if began.elapsed() >= LOCK_PATIENCE {
                    let waited = format!("waited {} s for a lock: {holder}", LOCK_PATIENCE.as_secs());
                    return Err(Exit::DatabaseAway(anyhow::Error::new(trouble).context(waited)));
                }
                if told.is_none_or(|told| told.elapsed() >= LOCK_TOLD_EVERY) {
                    told = Some(Instant::now());
                    warn!("the migration waits for a lock, and is tried again and again: {holder}");
                }
                tokio::time::sleep(LOCK_PAUSE).await;
                continue;
            }
            Err(trouble) => sorted(config, trouble)?,
        };
        if away_since.get_or_insert_with(Instant::now).elapsed() >= DATABASE_PATIENCE {
            let waited = format!("waited {} s for the database", DATABASE_PATIENCE.as_secs());
            return Err(Exit::DatabaseAway(trouble.context(waited)));
        }
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
}

/// Trouble that time may mend, or the end.
fn sorted(config: &Config, trouble: StoreError) -> Result<anyhow::Error, Exit> {
    let is_file = matches!(config.database.url, DatabaseUrl::Sqlite(_));
    match trouble {
        trouble if is_file => {
            // Nobody but us opens it, so nothing comes by waiting.
            let what = "cannot use the database's file; look at its directory's permissions and space";
            Err(Exit::Configuration(anyhow::Error::new(trouble).context(what)))
        }
        // A wrong password, an unknown database, no TLS there or none that may be trusted: the server is there and says no.
        trouble @ StoreError::Refused(_) => {
            let what = "the database is there, and does not take us with what DATABASE_URL says (password, name of the \
                        database, sslmode, sslrootcert)";
            Err(Exit::Configuration(anyhow::Error::new(trouble).context(what)))
        }
        trouble if trouble.is_passing() || matches!(trouble, StoreError::NotMigrated) => Ok(trouble.into()),
        trouble @ StoreError::Statement(_) => {
            Err(Exit::Configuration(anyhow::Error::new(trouble).context("the database refuses what DATABASE_URL says")))
        }
        trouble => Err(trouble.into()),
    }
}
