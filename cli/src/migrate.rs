//! `tasdiq migrate`: brings the tables to this release.

use store::DatabaseUrl;
use store::Store;

use crate::config::Config;
use crate::data_dir::close_database_to_others;
use crate::database::{migrate, until_answered};
use crate::exit::Exit;
use crate::output::print;

/// Migrates, waiting for the database to come up and for locks on its tables.
///
/// # Errors
/// The database stays away for 30 s, or refuses; a lock is held for 10 min.
pub(crate) async fn run(config: &Config) -> Result<(), Exit> {
    if let DatabaseUrl::Sqlite(file) = &config.database.url {
        close_database_to_others(file);
    }
    let store = until_answered(config, async || Store::open(&config.database.url).await).await?;
    migrate(config, &store).await?;
    store.close().await;
    Ok(print("the database has the tables of this release")?)
}
