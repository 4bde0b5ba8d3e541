//! No file has the marks that a merge leaves where two changes met. The compiler finds them in sources, and nothing finds
//! them in documents.

use std::fs;
use std::path::Path;

use super::top;

/// Folders without files of ours.
const NOT_OURS: [&str; 4] = [".git", "target", "node_modules", "tasdiq-data"];

/// The lines of a text that a merge has left, by their numbers. (A line of `=` alone may underline a heading.)
fn marks(text: &str) -> impl Iterator<Item = usize> {
    let is_mark = |line: &str| ["<<<<<<<", "|||||||", ">>>>>>>"].iter().any(|mark| line.starts_with(mark));
    text.lines().zip(1..).filter(move |(line, _)| is_mark(line)).map(|(_, number)| number)
}

fn find_marks(folder: &Path, read: &mut usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if NOT_OURS.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            find_marks(&path, read, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            // Pictures are no text.
            *read += 1;
            let file = path.strip_prefix(top()).unwrap().display();
            found.extend(marks(&text).map(|line| format!("{file}:{line}")));
        }
    }
}

#[test]
fn no_file_has_marks_of_a_merge() {
    let (mut read, mut found) = (0, Vec::new());
    find_marks(top(), &mut read, &mut found);

    assert_eq!(found, [""; 0], "a merge left its marks: write there what both changes mean, without the marks");
    assert!(read > 500, "{read} files");
}

#[test]
fn a_mark_is_seen_and_a_heading_is_none() {
    let text = ["Title", "=======", "<<<<<<< HEAD", "a", "=======", "b", ">>>>>>> other", "a <<<<<<< b"].join("\n");

    assert_eq!(marks(&text).collect::<Vec<_>>(), [3, 7]);
}
