//! `tasdiq migrate`: brings the tables to this release.

use shared::config::Config;
use shared::store::Store;

use crate::database::until_answered;
use crate::exit::Exit;
use crate::output::print;

/// Migrates, waiting for the database to come up.
///
/// # Errors
/// The database stays away for 30 s, or refuses.
pub(crate) async fn run(config: &Config) -> Result<(), Exit> {
    let migrate = async || {
        let store = Store::open(&config.database).await?;
        store.migrate().await?;
        Ok(store)
    };
    let store = until_answered(config, migrate).await?;
    store.close().await;
    Ok(print("the database has the tables of this release")?)
}
