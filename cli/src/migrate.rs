//! `tasdiq migrate`: brings the tables to this release.

use shared::config::Config;
use shared::store::Store;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::installation::until_answered;
use crate::output::print;

/// Migrates, waiting for the database to come up.
///
/// # Errors
/// The database stays away for 30 s, or refuses.
pub(crate) async fn run(config: &Config, stop: &CancellationToken) -> Result<(), Exit> {
    let migrate = async || {
        let store = Store::open(&config.database).await?;
        store.migrate().await?;
        Ok(store)
    };
    let store = tokio::select! {
        migrated = until_answered(migrate) => migrated?,
        () = stop.cancelled() => return Ok(()),
    };
    store.close().await;
    Ok(print("the database has the tables of this release")?)
}
