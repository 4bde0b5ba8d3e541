//! The database: its file or its server, its clock, its numbers.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use domain::time::rfc3339;
use store::{Database, DatabaseUrl, Store, StoreError, clock_steps};
use telemetry::causes;

use super::check_results::CheckResults;
use crate::config::Config;
use crate::data_dir::{files_of_database, is_open_to_others};

pub(super) fn look_at_data_dir(config: &Config, results: &mut CheckResults) {
    let DatabaseUrl::Sqlite(path) = &config.database.url else { return };
    // Opened rather than judged by its permission bits, which say nothing of mounts, owners and root.
    match OpenOptions::new().write(true).open(path) {
        Ok(_) => results.ok("data", path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => results.warn(
            "data",
            format!("there is no {} yet", path.display()),
            "start `tasdiq up`, or set TASDIQ_DATA_DIR or DATABASE_URL to the installation's",
        ),
        Err(error) => results.fault(
            "data",
            format!("{} cannot be written ({error})", path.display()),
            "give it and its directory to the user that runs tasdiq",
        ),
    }
    look_for_open_files(config, path, results);
}

/// Orders' tokens and customers' addresses lie there. A directory that others made is theirs to close; the files are
/// closed by `tasdiq up`.
pub(super) fn look_for_open_files(config: &Config, database: &Path, results: &mut CheckResults) {
    let is_own_directory = database.parent() == Some(config.data_dir.path.as_path());
    let directory = is_own_directory.then(|| config.data_dir.path.clone());
    let open: Vec<String> = directory
        .into_iter()
        .chain(files_of_database(database))
        .filter(|path| is_open_to_others(path))
        .map(|path| path.display().to_string())
        .collect();
    if !open.is_empty() {
        results.warn(
            "data",
            format!("other users of this machine are let into {}", open.join(", ")),
            format!("`chmod go= {}`", open.join(" ")),
        );
    }
}

pub(super) async fn look_at_database(config: &Config, results: &mut CheckResults) -> Option<Store> {
    if let DatabaseUrl::Sqlite(path) = &config.database.url
        && !path.exists()
    {
        return None;
    }
    let store = match Store::open(&config.database.url).await {
        Ok(store) => store,
        Err(trouble) => {
            let act = match trouble {
                StoreError::Refused(_) | StoreError::Unsuitable(_) => {
                    "mend what DATABASE_URL says (password, name, sslmode, sslrootcert), or what it leads to"
                }
                _ => "start the database, or mend DATABASE_URL",
            };
            results.fault("database", causes(&trouble), act);
            return None;
        }
    };
    let name = match store.database() {
        Database::Sqlite => "SQLite",
        Database::Postgres => "PostgreSQL",
    };
    match store.check_migrated().await {
        Ok(()) => results.ok("database", format!("{name} answers and has the tables of this release")),
        Err(trouble) => {
            let act = match trouble {
                StoreError::NotMigrated => "run `tasdiq migrate`",
                _ => "start the release that the database belongs to, or mend the database",
            };
            results.fault("database", causes(&trouble), act);
            return None;
        }
    }
    look_at_line(&store, results);
    look_at_durability(&store, results).await;
    look_at_clock(&store, results);
    look_at_clock_steps(&store, results).await;
    look_at_numbers(&store, results).await;
    Some(store)
}

/// A job makes some ten round trips. From here on they take most of its time, and the workers need more connections.
const SLOW_LINE: Duration = Duration::from_millis(20);

fn look_at_line(store: &Store, results: &mut CheckResults) {
    if store.database() == Database::Sqlite {
        return;
    }
    let round_trip = store.round_trip();
    let says = format!("a round trip takes {}.{:01} ms", round_trip.as_millis(), round_trip.as_micros() / 100 % 10);
    if round_trip < SLOW_LINE {
        results.ok("database", says);
    } else {
        results.warn(
            "database",
            says,
            "move the processes nearer to it, or give the workers more connections (TASDIQ_DATABASE_CONNECTIONS)",
        );
    }
}

/// How long a jump of the numbers is reported.
const JUMP_IS_NEWS_MS: i64 = 72 * 3_600_000;

/// Numbers jump where the database has lost commits. The lost payments must then be found at the gateway.
async fn look_at_numbers(store: &Store, results: &mut CheckResults) {
    let since_ms = store.now_ms() - JUMP_IS_NEWS_MS;
    let jumped = match store.numbers().await {
        Ok(numbers) => numbers.into_iter().filter_map(|numbers| numbers.jumped_at_ms).max(),
        Err(trouble) => return results.fault("numbers", causes(&trouble), "mend the database"),
    };
    if let Some(at_ms) = jumped.filter(|at_ms| *at_ms > since_ms) {
        results.warn(
            "numbers",
            format!("all numbers jumped at {}: the database was restored, failed over, or moved", rfc3339(at_ms)),
            "run `tasdiq audit`, and look in the gateway's cabinet for payments of orders that are lost",
        );
    }
}

/// Checks settings of the server that an operator may have switched off for speed, and that payments need.
async fn look_at_durability(store: &Store, results: &mut CheckResults) {
    match store.unsafe_settings().await {
        Ok(settings) if settings.is_empty() => (),
        Ok(settings) => results.warn(
            "database",
            format!("{} is off there: with the server's power, paid orders may be lost", settings.join(" and ")),
            "switch it on in postgresql.conf; off is for tests",
        ),
        Err(trouble) => results.fault("database", causes(&trouble), "mend the database"),
    }
}

/// The database's time decides, so a wrong time of the host only makes logs hard to compare.
const CLOCK_SLACK_MS: i64 = 2_000;

fn look_at_clock(store: &Store, results: &mut CheckResults) {
    let ahead_ms = store.clock().host_ahead_ms();
    let says = format!("this host is {ahead_ms} ms ahead of the database");
    if ahead_ms.abs() <= CLOCK_SLACK_MS {
        results.ok("clock", says);
    } else {
        results.warn("clock", says, "set the host's clock (NTP); tasdiq itself goes by the database's");
    }
}

/// A step of the database's clock is reported for a day.
const STEP_TOLD_MS: i64 = 24 * 3_600_000;

async fn look_at_clock_steps(store: &Store, results: &mut CheckResults) {
    match clock_steps::last(store).await {
        Ok(Some(step)) if (store.now_ms() - step.at_ms).abs() <= STEP_TOLD_MS => results.warn(
            "clock",
            format!("the database's clock was set {:+} s at {}", clock_steps::seconds(step.by_ms), rfc3339(step.at_ms)),
            "see to the time service of the database's host: orders expire, and retention ends, by this clock",
        ),
        Ok(_) => (),
        Err(trouble) => results.fault("clock", causes(&trouble), "mend the database"),
    }
}
