//! The address of Redis.

use config::values;
use domain::secret::Secret;
use url::Url;

config::settings! {
    /// The address of Redis.
    #[derive(Clone, Debug)]
    pub struct RedisSettings {
        /// `redis://host:6379`. No TLS (`rediss://`): use a private network or a tunnel.
        #[env("REDIS_URL", default = none, shown = "a queue in the process", check = redis_url, secret)]
        pub url: Option<Secret>,
    }
}

fn redis_url(text: &str) -> Result<Secret, String> {
    if text.starts_with("rediss://") {
        return Err(
            "asks for TLS, which this build does not speak to Redis; use redis:// inside a private network, or \
                    a TLS tunnel on this machine"
                .to_owned(),
        );
    }
    if !text.starts_with("redis://") {
        return Err("does not begin with redis://; write redis://host:6379".to_owned());
    }
    let url = Url::parse(text).map_err(|error| {
        format!("cannot be read as a URL ({error}); in the password, write signs such as @ / # % as %40 %2F %23 %25")
    })?;
    let url = values::whole_password(url)?;
    let database = url.path().trim_matches('/');
    if url.host_str().is_none_or(str::is_empty) {
        Err("names no host; write redis://host:6379".to_owned())
    } else if !database.is_empty() && database.parse::<u32>().is_err() {
        Err("has a database that is not a number; write redis://host:6379/0".to_owned())
    } else {
        Ok(Secret::new(text))
    }
}
