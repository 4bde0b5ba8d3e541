//! A ledger's file: one JSON line for each change, appended and never rewritten.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::error::SandboxError;

/// The most bytes written with one system call.
const GROUP_BYTES: usize = 256 * 1024;

/// Why a change did not reach the file, and so was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("could not write the sandbox's ledger")]
    Write(#[source] Arc<io::Error>),
    #[error("the sandbox's ledger is closed")]
    Closed,
    #[error("could not encode a line of the sandbox's ledger")]
    Encode(#[source] Arc<serde_json::Error>),
}

/// The open file. One thread writes it, so that simultaneous changes share a system call.
#[derive(Debug)]
pub(crate) struct Journal {
    messages: mpsc::Sender<Message>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Append(PendingLine),
    Close,
}

struct PendingLine {
    line: Vec<u8>,
    written: oneshot::Sender<Result<(), JournalError>>,
}

impl Journal {
    /// Opens the file, passes every line to `replay`, and is then ready to append.
    ///
    /// An incomplete last line is cut off: it was being written when the process died, so no answer depends on it.
    pub(crate) fn open<Line: DeserializeOwned>(
        path: &Path,
        mut replay: impl FnMut(Line) -> Result<(), String>,
    ) -> Result<Self, SandboxError> {
        let unwritable = |source| SandboxError::DataDirNotWritable { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(unwritable)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        // The file shows who bought what, and the directory may be readable by other users.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(SandboxError::LedgerInUse { path: path.to_owned() });
            }
            // Without file locks the sandbox still works.
            Err(TryLockError::Error(cause)) => warn!(error = %cause, "could not lock the ledger"),
        }

        let mut reader = BufReader::with_capacity(GROUP_BYTES, &file);
        let mut good_bytes = 0_u64;
        let mut text = Vec::new();
        for number in 1_u64.. {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(unwritable)?;
            if read == 0 {
                break;
            }
            if text.last() != Some(&b'\n') {
                warn!(line = number, "cut off line {number} of the ledger, which was never finished");
                file.set_len(good_bytes).map_err(unwritable)?;
                break;
            }
            let unreadable =
                |reason: String| SandboxError::LedgerUnreadable { path: path.to_owned(), line: number, reason };
            let line = serde_json::from_slice(&text).map_err(|cause| unreadable(cause.to_string()))?;
            replay(line).map_err(unreadable)?;
            good_bytes = good_bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }

        let (messages, inbox) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("sandbox-ledger".to_owned())
            .spawn(move || write_lines(&file, good_bytes, &inbox))
            .map_err(unwritable)?;
        Ok(Journal { messages, writer: Mutex::new(Some(writer)) })
    }

    /// Appends a line; returns when the operating system has it.
    ///
    /// # Errors
    /// [`JournalError`] if the line is not in the file.
    pub(crate) async fn append(&self, line: &impl Serialize) -> Result<(), JournalError> {
        let mut text = serde_json::to_vec(line).map_err(|cause| JournalError::Encode(Arc::new(cause)))?;
        text.push(b'\n');
        let (written, answer) = oneshot::channel();
        let waiting = PendingLine { line: text, written };
        self.messages.send(Message::Append(waiting)).map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Writes all pending lines, then closes and unlocks the file; appending afterwards is an error.
    pub(crate) fn close(&self) {
        let writer = self.writer.lock().take();
        let Some(writer) = writer else {
            return;
        };
        // An error means that the writer has ended already.
        let _ = self.messages.send(Message::Close);
        if writer.join().is_err() {
            error!("the ledger's writer panicked");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Writes all pending lines with one call, then answers the callers.
fn write_lines(mut file: &File, mut good_bytes: u64, inbox: &mpsc::Receiver<Message>) {
    let mut group = Vec::new();
    let mut waiters = Vec::new();
    let mut open = true;
    while open && let Ok(first) = inbox.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Append(waiting) => {
                    group.extend_from_slice(&waiting.line);
                    waiters.push(waiting.written);
                }
                Message::Close => open = false,
            }
            next = (open && group.len() < GROUP_BYTES).then(|| inbox.try_recv().ok()).flatten();
        }
        let outcome = file.write_all(&group).map_err(|cause| {
            error!(error = %cause, "could not write the ledger");
            // Half a line in the middle would make the whole file unreadable at the next start.
            if let Err(cause) = file.set_len(good_bytes) {
                error!(error = %cause, "could not cut the half-written ledger");
            }
            JournalError::Write(Arc::new(cause))
        });
        if outcome.is_ok() {
            good_bytes = good_bytes.saturating_add(u64::try_from(group.len()).unwrap_or(u64::MAX));
        }
        for waiter in waiters.drain(..) {
            // The caller may be gone; the change is in the file all the same.
            let _ = waiter.send(outcome.clone());
        }
        group.clear();
    }
}
