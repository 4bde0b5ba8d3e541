//! The settings of the log.

use super::{LogFormat, is_filter};

config::settings! {
    /// The settings of the log.
    #[derive(Clone, Debug)]
    pub struct TelemetrySettings {
        /// `error`, `warn`, `info`, `debug`, or parts: `info,worker=debug`.
        #[env("TASDIQ_LOG", default = "info", check = log_filter)]
        pub filter: String,

        /// `text`, or `json` for machines. Lines go to standard error.
        #[env("TASDIQ_LOG_FORMAT", default = "text", check = log_format)]
        pub format: LogFormat,
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    if is_filter(text) {
        Ok(text.to_owned())
    } else {
        Err("is no log filter; write error, warn, info, debug, trace or off, or part=level pairs such as \
             info,worker=debug"
            .to_owned())
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is neither text nor json".to_owned()),
    }
}
