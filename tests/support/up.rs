//! A running `tasdiq up`: everything in one process, with its own data directory.

use std::path::Path;

use tempfile::TempDir;

use super::ports::free_port;
use super::program::Program;
use super::role::{RunningApi, RunningRole};
use super::sandbox::RunningSandbox;
use super::wait::PATIENCE;

/// A running `tasdiq up` with its sandbox.
pub(crate) struct Up {
    pub(crate) api: RunningApi,
    pub(crate) sandbox: RunningSandbox,
    sandbox_address: String,
    data_dir: TempDir,
}

impl Up {
    /// Starts one with these settings and the addresses and directory of the test.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::Builder::new().prefix("data.").tempdir().unwrap(), settings).await
    }

    /// Stops it, changes the file of its database with `change`, and starts one on the same data.
    pub(crate) async fn started_anew(mut self, change: impl AsyncFnOnce(&Path)) -> Self {
        self.api.role.program.signal("TERM");
        self.api.role.program.wait_exit(PATIENCE).await;
        change(&self.data_dir.path().join("tasdiq.db")).await;
        Self::start_in(self.data_dir, &[]).await
    }

    /// Like [`Up::start`], in this data directory.
    pub(crate) async fn start_in(data_dir: TempDir, settings: &[(&str, &str)]) -> Self {
        Self::start_redirected_in(data_dir, "", settings).await
    }

    /// Like [`Up::start`], with a shell redirection after the command: `2>/dev/full`, `2>&-`.
    pub(crate) async fn start_redirected(redirection: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_redirected_in(tempfile::Builder::new().prefix("data.").tempdir().unwrap(), redirection, settings)
            .await
    }

    async fn start_redirected_in(data_dir: TempDir, redirection: &str, settings: &[(&str, &str)]) -> Self {
        let [mut address, sandbox_address] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        // A test can set the address beforehand, if it has given the address to others already.
        if let Some((_, own)) = settings.iter().rev().find(|(name, _)| *name == "TASDIQ_LISTEN") {
            (*own).clone_into(&mut address);
        }
        let mut environment = vec![
            ("TASDIQ_DATA_DIR", data_dir.path().to_str().unwrap()),
            ("TASDIQ_LISTEN", &address),
            ("TASDIQ_SANDBOX_LISTEN", &sandbox_address),
        ];
        environment.extend_from_slice(settings);
        let mut role = RunningRole::new(Program::start_redirected(redirection, &[], &environment), &address);
        role.ready().await;
        let api = RunningApi::new(role);
        Up { api, sandbox: RunningSandbox::at(&sandbox_address), sandbox_address, data_dir }
    }

    /// The variables by which a command finds this installation.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        let data_dir = self.data_dir.path().to_str().unwrap();
        [("TASDIQ_DATA_DIR", data_dir), ("TASDIQ_SANDBOX_LISTEN", &self.sandbox_address)]
    }

    /// The output of `tasdiq jobs list` with these further arguments, as JSON.
    pub(crate) async fn jobs(&self, arguments: &[&str]) -> String {
        self.command(&[&["jobs", "list", "--json"], arguments].concat()).await
    }

    /// The output of an operator's command.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Program::start(arguments, &self.environment());
        command.wait_exit(PATIENCE).await;
        command.output()
    }
}
