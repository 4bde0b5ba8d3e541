//! The real program, started like by an operator.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use super::process::ChildProcess;
use super::wait::wait_until;

/// A running `tasdiq`. Dropping it kills it, and prints its output if the test is failing.
pub(crate) struct Program {
    process: ChildProcess,
    folder: TempDir,
}

impl Program {
    /// The path of the binary.
    pub(crate) const FILE: &str = env!("CARGO_BIN_EXE_tasdiq");

    /// Starts `tasdiq` with these arguments and only these variables, in a new empty folder.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        Program::start_file(Program::FILE, arguments, environment)
    }

    /// Like [`Program::start`], with a shell redirection after the command: `2>/dev/full`, `2>&-`.
    pub(crate) fn start_redirected(redirection: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let script = format!(r#"exec "$0" "$@" {redirection}"#);
        let arguments = [&["-c", &script, Program::FILE], arguments].concat();
        Program::start_file("sh", &arguments, environment)
    }

    /// Like [`Program::start`], with a limit of the shell's `ulimit`: `-n 1024`, or `-S -n 256` for a soft limit.
    pub(crate) fn start_limited(limit: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let script = format!(r#"ulimit {limit}; exec "$0" "$@""#);
        let arguments = [&["-c", &script, Program::FILE], arguments].concat();
        Program::start_file("sh", &arguments, environment)
    }

    /// Like [`Program::start`], with these lines in a file `.env` in its working directory.
    pub(crate) fn start_with_dotenv(lines: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let script = format!("cat >.env <<'END'\n{lines}\nEND\nexec \"$0\" \"$@\"");
        let arguments = [&["-c", &script, Program::FILE], arguments].concat();
        Program::start_file("sh", &arguments, environment)
    }

    fn start_file(file: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let folder = tempfile::Builder::new().prefix("program.").tempdir().unwrap();
        let mut command = Command::new(file);
        command.args(arguments).current_dir(folder.path()).env_clear().env("HOME", folder.path());
        for kept in ["PATH", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        command.envs(environment.iter().copied());
        let name = format!("tasdiq {}", arguments.join(" "));
        let process = ChildProcess::start(&name, &mut command, &folder.path().join("output.log"));
        Program { process, folder }
    }

    /// The working directory of the program.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The processor time used so far, to 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        self.process.processor_time()
    }

    /// The output so far, of both streams.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Waits for a line that contains `part`, and returns it.
    pub(crate) async fn wait_for_line(&mut self, part: &str, deadline: Duration) -> String {
        let what = format!("a line with {part:?}");
        wait_until(&what, deadline, async || {
            // Asked before the output is read: lines from before the end must still be found.
            let exit_status = self.process.exit_status();
            let output = self.process.output();
            // The last line may be incomplete.
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            if let Some(line) = whole.lines().find(|line| line.contains(part)) {
                return Some(line.to_owned());
            }
            assert!(exit_status.is_none(), "the program ended ({exit_status:?}) without a line with {part:?}");
            None
        })
        .await
    }

    /// Sends a signal by its name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&mut self, signal: &str) {
        self.process.signal(signal);
    }

    /// Sends a signal to the program and its child processes.
    pub(crate) fn signal_family(&mut self, signal: &str) {
        self.process.signal_family(signal);
    }

    /// The exit status, or `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Waits for the program to end by itself or by a signal sent before.
    pub(crate) async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        self.process.wait_exit(deadline).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::super::wait::PATIENCE;
    use super::*;

    fn shell(script: &str, environment: &[(&str, &str)]) -> Program {
        Program::start_file("sh", &["-c", script], environment)
    }

    #[tokio::test]
    async fn the_program_explains_itself() {
        let mut program = Program::start(&["--help"], &[]);

        assert!(program.wait_exit(PATIENCE).await.success(), "{}", program.output());
    }

    #[tokio::test]
    async fn a_line_is_found_on_either_output_and_the_program_obeys_signals() {
        let mut program = shell("echo one; echo two to read >&2; exec sleep 60", &[]);

        assert_eq!(program.wait_for_line("two", PATIENCE).await, "two to read");
        program.signal("TERM");

        assert_eq!(program.wait_exit(PATIENCE).await.signal(), Some(15));
    }

    #[tokio::test]
    async fn a_program_sees_the_variables_it_was_given_and_none_of_ours() {
        let mut program = shell("echo variables: $TASDIQ_LISTEN,$TASDIQ_TEST_REDIS_URL.", &[("TASDIQ_LISTEN", "here")]);

        assert_eq!(program.wait_for_line("variables", PATIENCE).await, "variables: here,.");
    }

    #[tokio::test]
    #[should_panic(expected = "the program ended")]
    async fn waiting_for_a_line_of_a_program_that_has_ended_fails_at_once() {
        shell("echo something else; exit 3", &[]).wait_for_line("ready", PATIENCE).await;
    }
}
