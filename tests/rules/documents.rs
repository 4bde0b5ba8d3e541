//! ARCHITECTURE.md names the files that there are.

use std::fs;
use std::path::Path;

use super::collect;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn architecture() -> String {
    fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `orders/{review,resolve}.rs` are two paths.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, (inner, after))) =
        path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![path.to_owned()];
    };
    inner.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

/// The first column of the tables whose head names their folder.
#[test]
fn the_code_map_names_files_that_exist() {
    let text = architecture();
    let map = text.split("\n## Code map\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let (mut folder, mut seen, mut missing) = ("", 0, Vec::new());
    for line in map.lines() {
        let column = line.strip_prefix('|').and_then(|line| line.split('|').next()).unwrap_or_default();
        if column.starts_with(" file in ") {
            folder = quoted(column).next().unwrap();
            continue;
        }
        for path in quoted(column).flat_map(expanded) {
            seen += 1;
            if !top().join(folder).join(&path).exists() {
                missing.push(format!("{folder}{path}"));
            }
        }
    }
    assert!(seen > 150, "{seen} files");
    assert_eq!(missing, [""; 0]);
}

/// Elsewhere a file is named by its whole path, by that of its crate (`store/jobs.rs`), or by its name alone.
#[test]
fn whatever_file_the_architecture_names_exists() {
    let mut files = Vec::new();
    for part in ["api", "cli", "http_server", "sandbox", "shared", "worker", "tests"] {
        collect(&top().join(part), &mut files);
    }
    let files: Vec<String> =
        files.iter().map(|file| format!("/{}", file.strip_prefix(top()).unwrap().to_string_lossy())).collect();
    let exists = |path: &str| {
        let in_crate = path.split_once('/').map(|(first, rest)| format!("/{first}/src/{rest}"));
        let whole = format!("/{path}");
        files.iter().any(|file| {
            file.ends_with(&whole) || in_crate.as_ref().is_some_and(|in_crate| file.ends_with(in_crate.as_str()))
        })
    };
    let text = architecture();
    let named = text.lines().flat_map(quoted).filter(|word| word.ends_with(".rs") && !word.contains(['<', ' ']));
    let named: Vec<String> = named.flat_map(expanded).collect();

    let missing: Vec<&String> = named.iter().filter(|path| !exists(path)).collect();

    assert!(named.len() > 200, "{} files", named.len());
    assert_eq!(missing, [""; 0]);
}
