//! Runs a command of the real program to its end.

use serde_json::Value;

/// The result of a command.
#[derive(Debug)]
pub(crate) struct CommandResult {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) said: String,
    /// Its standard error.
    pub(crate) complained: String,
}

impl CommandResult {
    /// Its output as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.said).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the command failed with one line on standard error and nothing on standard output; returns the
    /// line.
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.said, "", "{self:?}");
        assert_eq!(self.complained.lines().count(), 1, "{self:?}");
        &self.complained
    }
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> CommandResult {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tasdiq"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    CommandResult { code: output.status.code(), said: text(output.stdout), complained: text(output.stderr) }
}
