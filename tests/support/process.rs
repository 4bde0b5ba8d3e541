//! Child processes that end with their owner, and whose output is shown if a test fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wait::wait_until;

/// A running child process. Dropping it kills it, and prints its output if the test is failing.
pub(crate) struct ChildProcess {
    name: String,
    child: Child,
    output: PathBuf,
}

impl ChildProcess {
    /// Starts `command` and appends both its outputs to the file `output`.
    pub(crate) fn start(name: &str, command: &mut Command, output: &Path) -> ChildProcess {
        let file = File::options().create(true).append(true).open(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("could not start {name} ({}): {e}", command.get_program().display()));
        ChildProcess { name: name.to_owned(), child, output: output.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`, to the process only.
    pub(crate) fn signal(&mut self, signal: &str) {
        // After it has ended and been waited for, another process may have its id.
        if self.exit_status().is_none() {
            send(signal, &[self.id()]);
        }
    }

    /// Sends a signal to the process and its children; PostgreSQL serves its connections in child processes.
    pub(crate) fn signal_family(&mut self, signal: &str) {
        if self.exit_status().is_none() {
            let mut family = children_of(self.id());
            family.push(self.id());
            send(signal, &family);
        }
    }

    /// Kills the process and its children like a power cut, and waits until it is gone.
    pub(crate) fn kill_family(&mut self) {
        self.signal("STOP"); // so that it has no further children while they are listed
        self.signal_family("KILL");
        self.child.wait().unwrap();
    }

    /// The processor time used so far, to 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        // `id (name) state …`; words 14 and 15 are user and kernel time in hundredths of a second.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let (_, words) = stat.rsplit_once(')').unwrap();
        let hundredths: u64 = words.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
        Duration::from_millis(hundredths * 10)
    }

    /// The process and all its descendants; PostgreSQL serves its connections in child processes.
    pub(crate) fn family(&self) -> Vec<u32> {
        family_of(self.id())
    }

    /// The exit status, or `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        wait_until(&what, deadline, async || self.exit_status()).await
    }

    /// The output so far.
    pub(crate) fn output(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Errors mean that it has ended already, so nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- output of {} ----\n{}---- end of {} ----", self.name, self.output(), self.name);
        }
    }
}

/// Sends a signal; a process that has ended meanwhile is no failure.
pub(crate) fn send(signal: &str, ids: &[u32]) {
    if ids.is_empty() {
        return;
    }
    // The shell's own `kill`: small systems have no program of that name, and a call to the C library would be unsafe.
    let ids = ids.iter().map(u32::to_string);
    Command::new("sh")
        .args(["-c", r#"kill -s "$@""#, "sh", signal])
        .args(ids)
        .stderr(Stdio::null())
        .status()
        .expect("sh starts");
}

/// The children of the process `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    running().filter(|id| parent_of(*id) == Some(parent)).collect()
}

/// A process and all its descendants.
pub(crate) fn family_of(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = running().filter_map(|id| Some((id, parent_of(id)?))).collect();
    let mut family = vec![ancestor];
    let mut place = 0;
    while let Some(parent) = family.get(place).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        place += 1;
    }
    family
}

/// The processes with `part` on their command line. (Only for a unique name, such as a temporary folder.)
pub(crate) fn mentioning(part: &Path) -> Vec<u32> {
    let part = part.to_string_lossy();
    running()
        .filter(|id| {
            fs::read(format!("/proc/{id}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(part.as_ref()))
        })
        .collect()
}

/// The ids of all processes.
fn running() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `/proc/<id>/stat` is `id (name) state parent …`; the name may contain blanks and brackets.
fn parent_of(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
