//! The settings of the database: which one, and how many connections.

use std::path::{Path, PathBuf};

use url::Url;

use super::DatabaseUrl;
use config::values;
use domain::secret::Secret;

/// The name of the embedded database in the data directory.
const DATABASE_FILE: &str = "tasdiq.db";

config::settings! {
    /// Which database.
    #[derive(Clone, Debug)]
    pub struct DatabaseSettings {
        /// `postgres://user:password@host/name` or `sqlite://path/to/file`.
        #[env(
            "DATABASE_URL",
            default = "sqlite://./tasdiq-data/tasdiq.db",
            shown = "SQLite in the data directory",
            check = database, secret
        )]
        pub url: DatabaseUrl,
    }
}

config::settings! {
    /// How a long-running process uses its database.
    #[derive(Clone, Debug)]
    pub struct PoolSettings {
        /// Connections of one process to PostgreSQL, 4 to 200; three of them are for leases, ends of jobs, the relay and
        /// heartbeats. Give workers more where the database is far (`tasdiq doctor` tells the round trip).
        #[env(
            "TASDIQ_DATABASE_CONNECTIONS",
            default = none,
            shown = "16; a worker: processors + 4, from 6 to 16, and 16 where a round trip takes 10 ms",
            check = connections
        )]
        pub connections: Option<u32>,
    }
}

impl DatabaseUrl {
    /// The SQLite database in a data directory.
    pub fn embedded(data_dir: &Path) -> Self {
        DatabaseUrl::Sqlite(data_dir.join(DATABASE_FILE))
    }
}

fn database(text: &str) -> Result<DatabaseUrl, String> {
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" => Err("names no file; write sqlite://path/to/tasdiq.db".to_owned()),
            _ if path.contains(":memory:") => {
                Err("is in memory, where a restart loses every payment; name a file: sqlite://path/to/tasdiq.db".into())
            }
            _ if path.contains('?') => Err("has options after the file's name, which are not supported".to_owned()),
            _ => Ok(DatabaseUrl::Sqlite(PathBuf::from(path))),
        };
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return match Url::parse(text) {
            Ok(url) => values::whole_password(url).map(|_| DatabaseUrl::Postgres(Secret::new(text))),
            Err(error) => Err(format!(
                "cannot be read as a URL ({error}); in user and password, write signs such as @ / # % as %40 %2F %23 %25"
            )),
        };
    }
    Err("is neither postgres://user:password@host/name nor sqlite://path/to/tasdiq.db".to_owned())
}

/// The smallest number is four: three for leases, ends of runs, the relay and heartbeats, and one for work.
fn connections(text: &str) -> Result<u32, String> {
    let connections = text.parse().ok().filter(|connections| (4..=200).contains(connections));
    connections.ok_or_else(|| "is not a whole number from 4 to 200".to_owned())
}
