//! For tests: the parts of the documents that are made from the code.
//!
//! Such a part stands between `<!-- generated: NAME -->` and `<!-- end of generated: NAME -->`. A test makes the text from the
//! definitions and calls [`part`], which fails on a difference. The same test run with `TASDIQ_UPDATE_REFERENCE=1` writes
//! the part instead.
#![allow(clippy::expect_used, clippy::panic, reason = "a document that cannot be read fails the test that asks for it")]

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::iter::repeat;
use std::path::{Path, PathBuf};

/// With this variable set, the tests write the generated parts instead of checking them.
pub const UPDATE: &str = "TASDIQ_UPDATE_REFERENCE";

/// The top folder of the repository.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the top folder")
}

/// The text of a file, named from the top folder.
///
/// # Panics
/// The file cannot be read.
pub fn text(file: &str) -> String {
    fs::read_to_string(top().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every page of Markdown in the repository, named from the top folder.
pub fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    collect(&top(), "", &mut pages);
    pages.sort();
    pages
}

fn collect(folder: &Path, name: &str, pages: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{name}: {error}")).flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        // Built and hidden files are no documents.
        if file.starts_with('.') || file == "target" || file == "tasdiq-data" {
            continue;
        }
        let path = format!("{name}{file}");
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), pages);
        } else if path.ends_with(".md") {
            pages.push(path);
        }
    }
}

/// The generated part of this name in `page` (named from the top folder) is `expected`, or becomes so with [`UPDATE`].
///
/// # Panics
/// The page has another text there, or no such part.
pub fn part(page: &str, name: &str, expected: &str) {
    let begin = format!("<!-- generated: {name} -->\n");
    let end = format!("<!-- end of generated: {name} -->");
    between(page, &begin, &end, &format!("\n{}\n\n", expected.trim()));
}

/// As [`part`], for a file that has marks of its own, such as a comment in YAML.
///
/// # Panics
/// The file has another text between the marks, or lacks a mark.
pub fn between(file: &str, begin: &str, end: &str, expected: &str) {
    check(&top().join(file), begin, end, expected, std::env::var_os(UPDATE).is_some());
}

fn check(path: &Path, begin: &str, end: &str, expected: &str, writes: bool) {
    let name = path.display();
    let mut file =
        File::options().read(true).write(writes).open(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Several tests, each in a process of its own, may write parts of one page.
    file.lock().expect("a lock on the file");
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{name} has no {begin}"));
    let (written, after) = rest.split_once(end).unwrap_or_else(|| panic!("{name} has no {end}"));
    if written == expected {
        return;
    }
    if writes {
        let text = format!("{before}{begin}{expected}{end}{after}");
        file.rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(text.as_bytes()))
            .expect("it is written");
        return;
    }
    let (is, should) = first_difference(written, expected);
    panic!(
        "{name}: the code says otherwise; `{UPDATE}=1 tests/run reference` writes it.\nFirst difference\nin the page: {is}\n\
         by the code: {should}"
    );
}

/// The first lines that differ; for a text that ends before, words that say so.
fn first_difference<'text>(written: &'text str, expected: &'text str) -> (&'text str, &'text str) {
    let lines = written.lines().map(Some).chain(repeat(None)).zip(expected.lines().map(Some).chain(repeat(None)));
    let most = written.lines().count().max(expected.lines().count());
    let different = lines.take(most).find(|(is, should)| is != should);
    different.map_or(("the line ends", "other line ends"), |(is, should)| {
        (is.unwrap_or("no more lines"), should.unwrap_or("no more lines"))
    })
}

/// A table in Markdown: the names of its columns, and its rows.
pub fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(&columns.map(str::to_owned));
    table.push_str(&format!("|{}\n", "---|".repeat(N)));
    for row in rows {
        table.push_str(&line(&row.map(|cell| cell.replace('|', "\\|"))));
    }
    table
}

/// A name as code.
pub fn code(name: impl std::fmt::Display) -> String {
    format!("`{name}`")
}

/// Names as code, separated by commas.
pub fn codes<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(code).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_part_is_written_and_what_stands_around_it_stays() {
        let page = page("before\nBEGIN\nold, and longer than the new one\nEND\nafter\n");

        check(page.path(), "BEGIN\n", "END", "new\n", true);

        assert_eq!(fs::read_to_string(page.path()).unwrap(), "before\nBEGIN\nnew\nEND\nafter\n");
        check(page.path(), "BEGIN\n", "END", "new\n", false);
    }

    #[test]
    #[should_panic(expected = "the code says otherwise")]
    fn a_part_that_differs_fails_the_test() {
        check(page("BEGIN\nold\nEND").path(), "BEGIN\n", "END", "new\n", false);
    }

    #[test]
    fn the_first_difference_is_told_also_where_a_text_has_ended() {
        assert_eq!(first_difference("a\nb\n", "a\nc\nd\n"), ("b", "c"));
        assert_eq!(first_difference("a\n", "a\nb\n"), ("no more lines", "b"));
        assert_eq!(first_difference("a\nb\n", "a\n"), ("b", "no more lines"));
        assert_eq!(first_difference("a\n", "a"), ("the line ends", "other line ends"));
    }

    #[test]
    #[should_panic(expected = "has no END")]
    fn a_page_without_the_part_fails_the_test() {
        check(page("BEGIN\nold\n").path(), "BEGIN\n", "END", "new\n", true);
    }

    #[test]
    fn a_cell_may_hold_a_bar() {
        let table = table(["a", "b"], [["1|2".to_owned(), code("x")]]);

        assert_eq!(table, "| a | b |\n|---|---|\n| 1\\|2 | `x` |\n");
    }
}
