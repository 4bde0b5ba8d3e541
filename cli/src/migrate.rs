//! `tasdiq migrate`: brings the tables to this release.

use shared::config::Config;
use shared::store::Store;

use crate::database::{migrate, until_answered};
use crate::exit::Exit;
use crate::output::print;

/// Migrates, waiting for the database to come up and for locks on its tables.
///
/// # Errors
/// The database stays away for 30 s, or refuses; a lock is held for 10 min.
pub(crate) async fn run(config: &Config) -> Result<(), Exit> {
    let store = until_answered(config, async || Store::open(&config.database).await).await?;
    migrate(config, &store).await?;
    store.close().await;
    Ok(print("the database has the tables of this release")?)
}
