//! Programs that are restarted when they end, as by a supervisor.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use failpoint::Point;

use super::program::Program;

/// A program that is restarted whenever it ends.
pub(crate) struct Supervised {
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The value of `FAILPOINTS` for the next starts; `None` once it has been used.
    armings: VecDeque<String>,
    /// Points at which it dies, one after the other: each stays until it has struck.
    deaths: VecDeque<Point>,
    program: Program,
    endings: Vec<RunEnd>,
}

/// The end of one run of a program.
#[derive(Clone, Debug)]
pub(crate) struct RunEnd {
    pub(crate) process: u32,
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

impl RunEnd {
    /// Whether a failpoint ended it by aborting.
    pub(crate) fn is_by_failpoint(&self, point: &str) -> bool {
        self.status.signal() == Some(6) && self.output.contains(&format!("failpoint {point}: this process ends here"))
    }
}

impl Supervised {
    /// Starts the program for the first time.
    pub(crate) fn start(
        name: &str,
        arguments: &[&str],
        environment: &[(String, String)],
        armings: impl IntoIterator<Item = String>,
    ) -> Supervised {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut armings: VecDeque<String> = armings.into_iter().collect();
        let program = start(&arguments, environment, armings.pop_front());
        let (name, environment) = (name.to_owned(), environment.to_vec());
        Supervised { name, arguments, environment, armings, deaths: VecDeque::new(), program, endings: Vec::new() }
    }

    /// From its next start on it dies at the first of these points, and once that has struck, at the next, and so on.
    pub(crate) fn dies_at(&mut self, points: impl IntoIterator<Item = Point>) {
        self.deaths = points.into_iter().collect();
    }

    /// Its variables from its next start on.
    pub(crate) fn begins_with(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The id of the running process.
    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    /// Restarts the program if it has ended; returns how it ended.
    pub(crate) fn look(&mut self) -> Option<&RunEnd> {
        let status = self.program.exit_status()?;
        let process = self.program.id();
        let ending = RunEnd { process, status, output: self.program.output() };
        if self.deaths.front().is_some_and(|point| ending.is_by_failpoint(point.as_str())) {
            self.deaths.pop_front();
        }
        self.endings.push(ending);
        let death = || self.deaths.front().map(|point| format!("{point}=kill"));
        let arming = self.armings.pop_front().or_else(death);
        self.program = start(&self.arguments, &self.environment, arming);
        self.endings.last()
    }

    /// Kills the process and returns its id; the next check starts its successor. `None` if it has just ended.
    pub(crate) fn kill(&mut self) -> Option<u32> {
        if self.program.exit_status().is_some() {
            return None;
        }
        self.program.signal("KILL");
        Some(self.program.id())
    }

    /// Sends a signal to the running process.
    pub(crate) fn signal(&mut self, signal: &str) {
        self.program.signal(signal);
    }

    /// The ends of its earlier runs.
    pub(crate) fn endings(&self) -> &[RunEnd] {
        &self.endings
    }

    /// The output of the current run.
    pub(crate) fn output(&self) -> String {
        self.program.output()
    }
}

/// Restarts the programs as needed until `done` is complete, and returns its result.
pub(crate) async fn supervise<T>(programs: &mut [Supervised], done: impl Future<Output = T>) -> T {
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            result = &mut done => return result,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                for program in programs.iter_mut() {
                    program.look();
                }
            }
        }
    }
}

fn start(arguments: &[String], environment: &[(String, String)], arming: Option<String>) -> Program {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if let Some(arming) = &arming {
        environment.push(("FAILPOINTS", arming));
    }
    Program::start(&arguments, &environment)
}
