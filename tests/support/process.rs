//! Child processes that end with their owner and whose output is at hand when a test fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wait::wait_until;

/// A running child. Dropping it kills it; if the test is failing, what it wrote is printed.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with both its outputs appended to the file `output`.
    pub(crate) fn start(name: &str, command: &mut Command, output: &Path) -> Process {
        let file = File::options().create(true).append(true).open(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("could not start {name} ({}): {e}", command.get_program().display()));
        Process { name: name.to_owned(), child, output: output.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`, to the process alone.
    pub(crate) fn signal(&mut self, signal: &str) {
        // Once it has ended and been waited for, its number may be somebody else's.
        if self.exit_status().is_none() {
            send(signal, &[self.id()]);
        }
    }

    /// Sends a signal to the process and its children. PostgreSQL's connections, for one, are served by children.
    pub(crate) fn signal_family(&mut self, signal: &str) {
        if self.exit_status().is_none() {
            let mut family = children_of(self.id());
            family.push(self.id());
            send(signal, &family);
        }
    }

    /// Ends the process and its children as a power cut would, if it still runs, and waits until it is gone.
    pub(crate) fn kill_family(&mut self) {
        self.signal("STOP"); // so that it has no further children while they are listed
        self.signal_family("KILL");
        self.child.wait().unwrap();
    }

    /// How long the process has kept a processor busy so far, to 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        // `id (name) state …`; the 14th and 15th words are its own time and the kernel's, in hundredths of a second.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let (_, words) = stat.rsplit_once(')').unwrap();
        let hundredths: u64 = words.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
        Duration::from_millis(hundredths * 10)
    }

    /// The process, its children, and theirs: PostgreSQL's connections, for one, are served by children.
    pub(crate) fn family(&self) -> Vec<u32> {
        family_of(self.id())
    }

    /// How the process ended, or nothing while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        wait_until(&what, deadline, async || self.exit_status()).await
    }

    /// All that the process has written so far.
    pub(crate) fn output(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended before; there is nothing left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- output of {} ----\n{}---- end of {} ----", self.name, self.output(), self.name);
        }
    }
}

/// Sends a signal; processes that have ended in the meantime are no failure.
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

/// The processes started by the process `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    running().filter(|id| parent_of(*id) == Some(parent)).collect()
}

/// A process with all that descend from it.
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

/// The processes on whose command line `part` occurs. (Only with a name that is ours alone, such as a temporary folder.)
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

/// `/proc/<id>/stat` is `id (name) state parent …`, and the name may hold blanks and brackets.
fn parent_of(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
