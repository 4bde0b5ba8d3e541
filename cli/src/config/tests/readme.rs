//! The tables that are made from the definitions: README.md's settings, and what compose.yaml hands on.
//!
//! `TASDIQ_TEST_UPDATE=1` writes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The lines between `begin` and `end` in a file must be these, or become so where the tables are to be written.
fn holds(file: &str, begin: &str, end: &str, expected: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", file].iter().collect();
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{file} has no {begin}"));
    let (written, after) = rest.split_once(end).unwrap_or_else(|| panic!("{file} has no {end}"));
    if written != expected && std::env::var_os("TASDIQ_TEST_UPDATE").is_some() {
        fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(written, expected, "{file}; TASDIQ_TEST_UPDATE=1 writes it:\n{expected}");
}

#[test]
fn the_readme_lists_every_setting_with_its_default_and_meaning() {
    let rows = CONTRACT.definitions().into_iter().map(|definition| {
        let secret = if definition.is_secret { " *A secret.*" } else { "" };
        format!("| `{}` | {} | {}{secret} |\n", definition.name, definition.shown_default(), definition.meaning())
    });
    let table: String = rows.collect();

    holds("README.md", "| variable | default | meaning |\n|---|---|---|\n", "\n\n", table.trim_end());
}

/// A setting that was renamed or has gone must go from the documents, too.
#[test]
fn documents_name_no_setting_that_there_is_not() {
    for file in [
        "README.md",
        "docs/internals/callback-decisions.md",
        "docs/internals/order-statuses.md",
        "deploy/.env.example",
        "deploy/compose.yaml",
        "deploy/Dockerfile",
    ] {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", file].iter().collect();
        let text = fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        // `ATMOS_` alone stands for all that begin so, and tests have variables of their own.
        let names = words.filter(|word| {
            let is_ours = word.starts_with("TASDIQ_") || word.starts_with("ATMOS_");
            is_ours && !word.ends_with('_') && !word.starts_with("TASDIQ_TEST_")
        });

        let unknown: Vec<&str> = names.filter(|name| CONTRACT.known(name).is_none()).collect();

        assert_eq!(unknown, [""; 0], "{file}");
    }
}

/// Of a setting that two components read.
#[test]
fn a_variable_has_one_meaning_and_one_default() {
    for definition in CONTRACT.0.iter().copied().flatten() {
        let first = CONTRACT.definitions().into_iter().find(|first| first.name == definition.name);

        assert_eq!(Some(definition), first);
    }
}

/// What the parts embedded in `up`, and the sandbox, are set by. Where each runs in a container of its own, the image says
/// where its files are, and the compose file where the sandbox listens.
const OF_EMBEDDED_PARTS: [&str; 2] = ["TASDIQ_DATA_DIR", "TASDIQ_SANDBOX_LISTEN"];

/// The settings that these roles read and the compose file does not set itself.
fn handed_on(roles: &[Role], environment: &str) -> Vec<&'static str> {
    let lines = environment.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let has_value: BTreeSet<&str> = lines.filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    let read = CONTRACT.definitions().into_iter().map(|definition| definition.name);
    let is_read = |name: &&str| roles.iter().any(|role| reads(*role, name));
    read.filter(is_read).filter(|name| !has_value.contains(name) && !OF_EMBEDDED_PARTS.contains(name)).collect()
}

#[test]
fn compose_hands_on_every_setting_of_the_processes_it_starts() {
    let compose = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose.yaml")).unwrap();
    let environment = compose.split("x-environment: &environment\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let expected: String =
        handed_on(&[Role::Api, Role::Worker], environment).iter().map(|name| format!("  {name}:\n")).collect();

    holds("deploy/compose.yaml", "are set outside.\n", "\n\n", expected.trim_end());

    let environment = compose.split("    environment:\n      TASDIQ_SANDBOX_LISTEN: ").nth(1).unwrap();
    let environment = environment.split("    ports:").next().unwrap();
    let expected: String =
        handed_on(&[Role::Sandbox], environment).iter().map(|name| format!("      {name}:\n")).collect();

    holds("deploy/compose.yaml", "as above.\n", "    # Its page is", &expected);
}
