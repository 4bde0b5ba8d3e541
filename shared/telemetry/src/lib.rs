//! The log: lines on standard error, as text for people or JSON for machines.
//!
//! The log must never stop the service. Every line, also those of the panic hook, goes through [`LossyLines`]. A line that
//! cannot be written is counted, and [`fault`], `/readyz`, `/metrics` and `doctor` report it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::{Level, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;

mod line_budget;
mod lossy_lines;
mod lost_lines;
pub mod metrics;
mod plain;
mod settings;

pub use line_budget::LineBudget;
pub use lossy_lines::{LossyLines, Lost};
pub use lost_lines::count_lost_lines;
pub use plain::plain;
pub use settings::TelemetrySettings;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Longer lines are cut. Our own messages are far shorter.
const LINE_BYTES: usize = 16 * 1024;

/// The characters that are left of each text in a line of JSON that is too long.
const CUT_CHARACTERS: usize = 500;

/// How long a panic that ends the process waits for its line to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

static STANDARD_ERROR: LazyLock<LossyLines> = LazyLock::new(|| LossyLines::new("log", io::stderr()));

static STANDARD_OUTPUT: LazyLock<LossyLines> = LazyLock::new(|| LossyLines::new("output", io::stdout()));

/// The reason why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a filter; `config` has checked the one of the environment.
    #[error("the log filter cannot be read")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// This process has set up logging already.
    #[error("logging is set up already")]
    AlreadySet(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Libraries whose lines below `warn` repeat ours, or contain statements, headers and bodies, which may hold secrets. A filter
/// that names one of them overrides this.
const QUIET: &[&str] = &[
    "h2=warn",
    "hyper=warn",
    "hyper_util=warn",
    "redis=warn",
    "reqwest=warn",
    "rustls=warn",
    "sqlx=warn",
    // Our own lines report start and stop.
    "apalis_core=warn",
    "poem=warn",
];

/// Sends the log lines of this process that pass `filter` to standard error.
///
/// # Errors
/// A filter that cannot be read, or a second call in one process.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(with_quiet_libraries(filter)).map_err(TelemetryError::Filter)?;
    // The library would write its own errors to standard error beside our writer, and panic where that is gone.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || LogLine { format })
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let fields = debug_fn(plain::write_field).delimited(" ");
            lines.fmt_fields(fields).with_ansi(colours).with_timer(ShortUtc).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    }
    .map_err(TelemetryError::AlreadySet)?;
    std::panic::set_hook(Box::new(tell_of_panic));
    Ok(())
}

/// Writes a line to standard error beside the log, such as a command's last message. It may be lost.
pub fn say(line: &str) {
    STANDARD_ERROR.push(format!("{line}\n").as_bytes());
}

/// Shows a text on standard output. It may be lost, because a server must not wait for a reader. A command whose output is its
/// result writes it itself.
pub fn show(text: &str) {
    STANDARD_OUTPUT.push(format!("{text}\n").as_bytes());
}

/// Waits until the lines so far are written, for `timeout` at most.
pub fn flush(timeout: Duration) {
    let began = Instant::now();
    STANDARD_ERROR.flush(timeout);
    STANDARD_OUTPUT.flush(timeout.saturating_sub(began.elapsed()));
}

/// Why log lines are lost or delayed, for people; `None` if they are not.
pub fn fault() -> Option<String> {
    STANDARD_ERROR.fault()
}

/// How many log lines this process has lost.
pub fn lost() -> Lost {
    STANDARD_ERROR.lost()
}

/// Takes the place of the standard hook, which writes to standard error itself and waits for a reader that does not read.
fn tell_of_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("-");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = panic.payload_as_str().unwrap_or("-");
    if tracing::enabled!(Level::ERROR) {
        error!(thread, place, "thread {thread} panicked: {what}");
    } else {
        say(&format!("thread {thread} panicked at {place}: {}", plain(what, CUT_CHARACTERS)));
    }
    // Only with RUST_BACKTRACE.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        say(&backtrace.to_string());
    }
    if thread == "main" {
        flush(LAST_WORDS);
    }
}

/// One line, as the formatter writes it.
struct LogLine {
    format: LogFormat,
}

impl io::Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.format {
            _ if line.len() <= LINE_BYTES => STANDARD_ERROR.push(line),
            LogFormat::Text => STANDARD_ERROR.push(&cut_text(line)),
            LogFormat::Json => STANDARD_ERROR.push(&cut_json(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cut_text(line: &[u8]) -> Vec<u8> {
    let mut cut = String::from_utf8_lossy(&line[..LINE_BYTES]).into_owned();
    cut.push_str("…\n");
    cut.into_bytes()
}

/// The same document with its texts cut; a machine could not read a document that ends in the middle.
fn cut_json(line: &[u8]) -> Vec<u8> {
    let document = serde_json::from_slice(line).unwrap_or_default();
    let mut cut = with_texts_cut(document).to_string();
    cut.push('\n');
    cut.into_bytes()
}

fn with_texts_cut(value: Value) -> Value {
    match value {
        Value::String(text) => plain(&text, CUT_CHARACTERS).into(),
        Value::Array(values) => values.into_iter().map(with_texts_cut).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, with_texts_cut(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Whether `text` is a filter such as `info` or `info,worker=debug`.
///
/// The library takes a single word that is no level for the name of a part, and logs nothing else. So `inf` is a typing error,
/// and no filter.
pub fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| word.eq_ignore_ascii_case("off") || word.parse::<Level>().is_ok();
    let parts_are_named = text.split(',').all(|part| part.contains('=') || is_level(part.trim()));
    parts_are_named && EnvFilter::try_new(text).is_ok()
}

/// An error and its causes in one line, each once: many libraries repeat the cause in their own message.
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
        // The whole name: a filter for `hyper_util` is no filter for `hyper`.
        let is_named = |part: &str| part.split('=').next().is_some_and(|name| name.trim() == library);
        if !filter.split(',').any(is_named) {
            whole.push_str(directive);
            whole.push(',');
        }
    }
    whole + filter
}

/// The time of day in UTC, to the millisecond; the program that collects the lines adds the date.
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
        for filter in ["info", "DEBUG", "off", "info,worker=debug", "warn,process::relay=trace", "sqlx=off,info"] {
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
    fn a_line_without_an_end_is_cut_and_stays_what_it_is() {
        let long = "x".repeat(400_000);

        let text = String::from_utf8(cut_text(format!("INFO {long}\n").as_bytes())).unwrap();
        let json = cut_json(format!("{{\"level\":\"INFO\",\"message\":\"{long}\"}}\n").as_bytes());

        assert!(text.len() < LINE_BYTES + 10 && text.ends_with("x…\n"), "{} bytes", text.len());
        let document: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(document["level"], "INFO");
        assert_eq!(document["message"].as_str().unwrap().chars().count(), CUT_CHARACTERS + 1);
        assert!(json.ends_with(b"}\n"));
    }

    #[test]
    fn logging_is_set_up_once_and_the_second_call_says_so() {
        init("off", LogFormat::Text).unwrap();

        assert!(matches!(init("off", LogFormat::Json), Err(TelemetryError::AlreadySet(_))));
    }
}
