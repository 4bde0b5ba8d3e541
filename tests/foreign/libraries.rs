//! The foreign libraries, in a Python process of their own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The answers of `libraries.py` to these questions, in their order; one process answers all.
///
/// `tests/run` has prepared the environment; without it the first test does, which takes a quarter of a minute.
pub(super) fn answers(questions: impl Iterator<Item = Value>) -> Vec<Value> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let prepared = Command::new(workspace.join("tests/foreign/prepare")).output().unwrap();
    assert!(prepared.status.success(), "tests/foreign/prepare:\n{}", String::from_utf8_lossy(&prepared.stderr));

    let asked: Vec<String> = questions.map(|question| format!("{question}\n")).collect();
    let mut python = Command::new(workspace.join("target/foreign/bin/python"))
        .args(["-I", "-B", "-X", "utf8"])
        .arg(workspace.join("tests/foreign/libraries.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    let text = asked.concat();
    // Beside the reading, otherwise both pipes could be full.
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = python.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "libraries.py: {complaint}");
    writing.join().unwrap().unwrap();

    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), asked.len(), "{complaint}");
    answers
}
