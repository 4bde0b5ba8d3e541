//! The documents name only files that exist.

use std::fs;
use std::path::{Path, PathBuf};

use super::{collect, top};

/// Folders without documents of ours, or with generated ones.
const NO_DOCUMENTS: [&str; 4] = ["target", "docs/reference", "node_modules", ".git"];

/// All documents, by their paths from the top folder.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    find_documents(top(), &mut found);
    found.sort();
    found
}

fn find_documents(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let from_top = path.strip_prefix(top()).unwrap().to_string_lossy().into_owned();
        if NO_DOCUMENTS.contains(&from_top.as_str()) || from_top.starts_with("tasdiq-data") {
            continue;
        }
        if path.is_dir() {
            find_documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(from_top);
        }
    }
}

/// The texts between backticks.
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

/// The folders of our crates, from the top folder.
fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    members.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The first column of the table of files in the README.md of each crate.
#[test]
fn each_crates_readme_names_files_that_exist() {
    let (mut seen, mut missing) = (0, Vec::new());
    for folder in crates() {
        let crate_folder = top().join(&folder);
        let text = fs::read_to_string(crate_folder.join("README.md"))
            .unwrap_or_else(|error| panic!("{folder}/README.md tells what the crate is: {error}"));
        let columns = text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
        for path in columns.flat_map(quoted).flat_map(expanded) {
            seen += 1;
            if !crate_folder.join("src").join(&path).exists() && !crate_folder.join(&path).exists() {
                missing.push(format!("{folder}/src/{path}"));
            }
        }
    }
    assert!(seen > 150, "{seen} files");
    assert_eq!(missing, [""; 0]);
}

/// In a crate's README.md a file is named by its path within the crate. Elsewhere by its whole path, by that of its crate
/// (`store/jobs.rs`), or by its name alone.
#[test]
fn whatever_file_a_document_names_exists() {
    let mut files: Vec<PathBuf> = Vec::new();
    for part in ["api", "cli", "http_server", "sandbox", "shared", "worker", "tests"] {
        collect(&top().join(part), &mut files);
    }
    let files: Vec<String> =
        files.iter().map(|file| format!("/{}", file.strip_prefix(top()).unwrap().to_string_lossy())).collect();
    let exists = |path: &str| {
        let in_crate = path.split_once('/').map(|(first, rest)| format!("/{first}/src/{rest}"));
        let whole = format!("/{}", path.trim_start_matches("../"));
        files.iter().any(|file| {
            file.ends_with(&whole) || in_crate.as_ref().is_some_and(|in_crate| file.ends_with(in_crate.as_str()))
        })
    };
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents() {
        let text = fs::read_to_string(top().join(&document)).unwrap();
        let named =
            text.lines().flat_map(quoted).filter(|word| word.ends_with(".rs") && !word.contains(['<', ' ', '…']));
        for path in named.flat_map(expanded) {
            seen += 1;
            if !exists(&path) {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(seen > 500, "{seen} files");
    assert_eq!(missing, [""; 0]);
}
