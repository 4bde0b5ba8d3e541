//! The tables of rules in `docs/internals` name the tests that show each rule. A test says so itself, above its name:
//! `/// Shows: MONEY-3`.
//!
//! `TASDIQ_UPDATE_REFERENCE=1` writes the last column of the tables.

use std::collections::BTreeMap;
use std::fs;

use ::documents::{UPDATE, top};

use super::collect;

const MARKER: &str = "/// Shows: ";

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_head = before.split(' ').all(|word| ["", "pub", "pub(crate)", "async"].contains(&word));
    is_head.then(|| rest.split(['(', '<']).next())?
}

/// Whether a function is run: by its own attribute, or by a macro that lists its name.
fn is_test(attributes: &[&str], name: &str, text: &str) -> bool {
    attributes.iter().any(|attribute| attribute.contains("test")) || text.matches(name).count() > 1
}

/// The tests of a source file that have a marker, each with the ids of the rules.
///
/// # Panics
/// A marker stands above no test.
fn marked<'text>(path: &str, text: &'text str) -> Vec<(&'text str, Vec<&'text str>)> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(ids) = line.strip_prefix(MARKER) else { continue };
        let mut between = Vec::new();
        let name = lines.by_ref().find_map(|line| {
            let name = function(line);
            if name.is_none() {
                between.push(line);
            }
            name
        });
        let is_above = |line: &&str| line.starts_with("#[") || line.starts_with("///");
        let name = name.filter(|_| between.iter().all(is_above));
        let name = name.unwrap_or_else(|| panic!("{path}: {ids} stands above no test"));
        assert!(is_test(&between, name, text), "{path}: {name} shows {ids} and is no test");
        found.push((name, ids.split(", ").collect()));
    }
    found
}

/// The tests that show each rule: the rule's id, then file and name of each test, in the order of the files.
fn shown() -> BTreeMap<String, Vec<(String, String)>> {
    let top = top();
    let mut files = Vec::new();
    for part in ["api", "cli", "http_server", "sandbox", "shared", "worker", "tests"] {
        collect(&top.join(part), &mut files);
    }
    files.sort();
    let mut shown = BTreeMap::<String, Vec<_>>::new();
    for file in files.iter().filter(|file| !file.ends_with("rules/shown.rs")) {
        let path = file.strip_prefix(&top).unwrap().to_string_lossy().into_owned();
        for (name, ids) in marked(&path, &fs::read_to_string(file).unwrap()) {
            for id in ids {
                shown.entry(id.to_owned()).or_default().push((path.clone(), name.to_owned()));
            }
        }
    }
    shown
}

/// A rule's tests as its table tells them: each file once.
fn cell(tests: &[(String, String)]) -> String {
    let mut by_file: Vec<(&str, Vec<String>)> = Vec::new();
    for (file, name) in tests {
        match by_file.last_mut() {
            Some((last, names)) if last == file => names.push(format!("`{name}`")),
            _ => by_file.push((file, vec![format!("`{name}`")])),
        }
    }
    let files = by_file.into_iter().map(|(file, names)| format!("`{file}`: {}", names.join(", ")));
    files.collect::<Vec<_>>().join("; ")
}

/// A page with the last column of its tables of rules made by `tests_of`, which is given each rule's id.
fn rewritten(page: &str, mut tests_of: impl FnMut(&str) -> String) -> String {
    let mut is_table = false;
    let lines = page.lines().map(|line| {
        if !line.starts_with('|') {
            is_table = false;
        } else if line.starts_with("| id |") && line.ends_with("| shown by |") {
            is_table = true;
        } else if is_table && !line.starts_with("|---") {
            let mut cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let tests = tests_of(cells[0]);
            *cells.last_mut().unwrap() = &tests;
            return format!("| {} |\n", cells.join(" | "));
        }
        format!("{line}\n")
    });
    lines.collect()
}

#[test]
fn the_reference_of_rules_names_the_tests_that_show_each() {
    let shown = shown();
    let mut rules: Vec<String> = Vec::new();
    let mut unshown = Vec::new();
    let mut differ = Vec::new();
    for page in fs::read_dir(top().join("docs/internals")).unwrap() {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap();
        let written = rewritten(&text, |id| {
            rules.push(id.to_owned());
            let tests = shown.get(id).map(|tests| cell(tests));
            tests.unwrap_or_else(|| {
                unshown.push(id.to_owned());
                String::new()
            })
        });
        if written != text && std::env::var_os(UPDATE).is_some() {
            fs::write(&page, &written).unwrap();
        } else if written != text {
            let lines = text.lines().zip(written.lines()).filter(|(is, should)| is != should);
            let ids = lines.filter_map(|(line, _)| line.split(" | ").next());
            differ.push(format!("{}: {}", page.display(), ids.collect::<String>()));
        }
    }
    let unknown: Vec<_> = shown.iter().filter(|(id, _)| !rules.contains(id)).collect();
    let mut once = rules.clone();
    once.sort();
    once.dedup();

    assert_eq!(unshown, [""; 0], "rules that no test shows");
    assert!(
        unknown.is_empty(),
        "ids that no table has: {unknown:?}; correct the marker, or add the rule to a table in docs/internals"
    );
    assert_eq!(once.len(), rules.len(), "an id that two rules have");
    assert!(rules.len() > 150, "{} rules", rules.len());
    assert_eq!(differ, [""; 0], "`{UPDATE}=1 tests/run reference` writes them");
}

#[test]
fn a_marker_belongs_to_the_test_below_it() {
    let text = "on_both! { a_b }\n\n/// Why.\n/// Shows: A-1, B-2\nasync fn a_b(f: Fixture) {}\n\n/// Shows: A-1\n#[test]\n\
                fn c_d() {}\n";

    assert_eq!(marked("x.rs", text), [("a_b", vec!["A-1", "B-2"]), ("c_d", vec!["A-1"])]);
}

#[test]
#[should_panic(expected = "A-1 stands above no test")]
fn a_marker_above_no_function_is_told() {
    marked("x.rs", "/// Shows: A-1\nconst X: u8 = 1;\n#[test]\nfn a_b() {}\n");
}

#[test]
#[should_panic(expected = "a_b shows A-1 and is no test")]
fn a_marker_above_a_function_that_nothing_runs_is_told() {
    marked("x.rs", "/// Shows: A-1\nfn a_b() {}\n");
}

#[test]
fn only_the_last_column_of_a_table_of_rules_is_written() {
    let page = "text\n\n| id | rule | shown by |\n|---|---|---|\n| A-1 | it holds | |\n\n| id | other |\n|---|---|\n| A-1 | x |\n";

    let written = rewritten(page, |id| format!("tests of {id}"));

    assert_eq!(written, page.replace("| it holds | |", "| it holds | tests of A-1 |"));
}
