//! A command of the real program, run to its end.

use serde_json::Value;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) said: String,
    /// What it wrote to standard error.
    pub(crate) complained: String,
}

impl Ended {
    /// What it printed, as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.said).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The command failed and said why, in one line on standard error and nothing on standard output.
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.said, "", "{self:?}");
        assert_eq!(self.complained.lines().count(), 1, "{self:?}");
        &self.complained
    }
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tasdiq"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), said: text(output.stdout), complained: text(output.stderr) }
}
