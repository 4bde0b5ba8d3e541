//! Opens the database. A process that is to run waits for it; a command tries once.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use gateway::AccountSettings;
use store::DatabaseUrl;
use store::{Store, StoreError};
use telemetry::causes;
use tracing::warn;

use crate::config::Config;
use crate::exit::Exit;

/// How long a process waits at the start for a database that is away. Then it ends, and its supervisor starts it again.
const DATABASE_WAIT: Duration = Duration::from_secs(30);

/// The pause between two tries.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// Opens the database for one command of an operator, and checks that it has the tables of this release.
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

/// Keeps the numbers of new orders apart from those that earlier installations used, where an account needs that.
pub(crate) fn keep_order_numbers_apart(config: &Config, store: &Store) {
    if config.accounts().iter().any(AccountSettings::needs_unused_order_numbers) {
        store.number_orders_by_the_clock();
    }
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
        // A single question takes long if the network loses our packets.
        let left = DATABASE_WAIT.saturating_sub(began.elapsed());
        let trouble = match tokio::time::timeout(left, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(trouble)) => sorted(config, trouble)?,
            Err(_) => anyhow!("it does not answer"),
        };
        if began.elapsed() + DATABASE_PAUSE >= DATABASE_WAIT {
            let waited = format!("waited {} s for the database", DATABASE_WAIT.as_secs());
            return Err(Exit::DatabaseAway(trouble.context(waited)));
        }
        if !was_told {
            was_told = true;
            warn!(error = causes(trouble.as_ref()), "waiting for the database, {} s at most", DATABASE_WAIT.as_secs());
        }
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
}

/// How long a migration waits for a lock of another session. Then the process ends, and its supervisor starts it again. A dump
/// or a vacuum of large tables may take minutes.
const LOCK_WAIT: Duration = Duration::from_secs(600);

/// The pause between two tries, so that requests which waited behind one are done before the next.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// How often the log names the session that a migration waits for.
const LOCK_TOLD_EVERY: Duration = Duration::from_secs(30);

/// Brings the tables to this release, however long that takes. While another session holds a lock it tries again and again: each
/// try is so short that no request fails behind it.
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
                if began.elapsed() >= LOCK_WAIT {
                    let waited = format!("waited {} s for a lock: {holder}", LOCK_WAIT.as_secs());
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
        if away_since.get_or_insert_with(Instant::now).elapsed() >= DATABASE_WAIT {
            let waited = format!("waited {} s for the database", DATABASE_WAIT.as_secs());
            return Err(Exit::DatabaseAway(trouble.context(waited)));
        }
        tokio::time::sleep(DATABASE_PAUSE).await;
    }
}

/// Returns an error that waiting may solve; any other error ends the process.
fn sorted(config: &Config, trouble: StoreError) -> Result<anyhow::Error, Exit> {
    let is_file = matches!(config.database.url, DatabaseUrl::Sqlite(_));
    match trouble {
        trouble if is_file => {
            // Only this process opens the file, so waiting does not help.
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
