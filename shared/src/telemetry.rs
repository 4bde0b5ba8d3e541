//! Where log lines go and how they look: standard error, as text for people or JSON for machines.

use std::fmt;
use std::io::IsTerminal;

use time::OffsetDateTime;
use time::macros::format_description;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::config::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a filter; `config` has checked the one of the environment.
    #[error("the log filter cannot be read")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Something in this process logs already.
    #[error("logging is set up already")]
    AlreadySet(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Libraries that below `warn` repeat us, or write statements, headers and bodies, and with them what must not be
/// logged. A filter that names one of them has its way.
const QUIET: &[&str] = &[
    "h2=warn",
    "hyper=warn",
    "hyper_util=warn",
    "redis=warn",
    "reqwest=warn",
    "rustls=warn",
    "sqlx=warn",
    // What they say of starting and stopping we say ourselves.
    "apalis_core=warn",
    "poem=warn",
];

/// Sends this process's log lines to standard error, those that `filter` lets through.
///
/// # Errors
/// A filter that cannot be read, or a second call in one process.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(with_quiet_libraries(filter)).map_err(TelemetryError::Filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colours).with_timer(ShortUtc).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    }
    .map_err(TelemetryError::AlreadySet)
}

/// Whether `text` is a filter such as `info` or `info,worker=debug`.
///
/// A bare word that is no level would be taken for the name of a part, and everything else would fall silent:
/// `inf` is a slip, hence no filter.
pub fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| word.eq_ignore_ascii_case("off") || word.parse::<Level>().is_ok();
    let parts_are_named = text.split(',').all(|part| part.contains('=') || is_level(part.trim()));
    parts_are_named && EnvFilter::try_new(text).is_ok()
}

/// An error and what caused it, in one line, each once: libraries like to repeat their cause in their own message.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let says = cause.to_string();
        if !text.contains(&says) {
            text.push_str(": ");
            text.push_str(&says);
        }
        next = cause.source();
    }
    text
}

fn with_quiet_libraries(filter: &str) -> String {
    let mut whole = String::new();
    for directive in QUIET {
        let library = directive.split('=').next().unwrap_or_default();
        // The whole name: who asks for `hyper_util` has not asked for `hyper`.
        let is_named = |part: &str| part.split('=').next().is_some_and(|name| name.trim() == library);
        if !filter.split(',').any(is_named) {
            whole.push_str(directive);
            whole.push(',');
        }
    }
    whole + filter
}

/// The time of day in UTC, to the millisecond; the date stands in whatever collects the lines.
struct ShortUtc;

impl FormatTime for ShortUtc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]Z");
        writer.write_str(&OffsetDateTime::now_utc().format(&format).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Trouble(&'static str, #[source] Option<Box<Trouble>>);

    #[test]
    fn an_error_tells_each_of_its_causes_once() {
        let refused = Trouble("connection refused", None);
        let repeats = Trouble("cannot connect: connection refused", Some(Box::new(refused)));

        assert_eq!(
            causes(&Trouble("Redis is away", Some(Box::new(repeats)))),
            "Redis is away: cannot connect: connection refused"
        );
    }

    #[test]
    fn levels_and_named_parts_are_filters() {
        for filter in ["info", "DEBUG", "off", "info,worker=debug", "warn,shared::relay=trace", "sqlx=off,info"] {
            assert!(is_filter(filter), "{filter}");
        }
    }

    #[test]
    fn a_misspelled_level_is_no_filter() {
        for filter in ["inf", "verbose", "info,debugg", "info,worker=loud", "worker=[", ""] {
            assert!(!is_filter(filter), "{filter}");
        }
    }

    #[test]
    fn statements_stay_out_of_the_log_unless_asked_for() {
        assert!(with_quiet_libraries("debug").contains("sqlx=warn"));
        assert!(!with_quiet_libraries("info,sqlx=debug").contains("sqlx=warn"));
        assert!(EnvFilter::try_new(with_quiet_libraries("debug")).is_ok());
    }

    #[test]
    fn a_library_stays_quiet_when_another_ones_name_begins_like_its_own() {
        let filter = with_quiet_libraries("info, hyper_util = debug");

        assert!(filter.contains("hyper=warn"), "{filter}");
        assert!(!filter.contains("hyper_util=warn"), "{filter}");
    }

    #[test]
    fn logging_is_set_up_once_and_the_second_call_says_so() {
        init("off", LogFormat::Text).unwrap();

        assert!(matches!(init("off", LogFormat::Json), Err(TelemetryError::AlreadySet(_))));
    }
}
