//! The output of commands on standard output: tables for people, JSON for machines.

use std::io::{self, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use domain::text;
use serde::Serialize;

/// Prints a text and a line end. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// Standard output cannot be written, on a full disk for example.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a value as one indented JSON document.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot write the answer as JSON")?)
}

/// Why a command failed, in a line for machines.
pub(crate) fn fault(why: &str, exit_code: u8) -> String {
    serde_json::json!({ "error": why, "exit_code": exit_code }).to_string()
}

/// An empty table with these columns.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(columns);
    table
}

/// The table as text, without blanks at the line ends.
pub(crate) fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Text from outside, fit for a terminal: control characters could move the cursor or forge lines, and other marks could
/// turn what is written around.
pub(crate) fn plain(text: &str) -> String {
    text::plain(text)
}

/// The first `most` characters, with a sign that there are more.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(short("soʻm", 3), "soʻ…");
        assert_eq!(short("soʻm", 4), "soʻm");
    }
}
