//! Lines to a stream that may be full, stuck or gone. A line is taken at once, and a separate thread writes it. A line that
//! finds no room or cannot be written is counted. The caller never waits and never fails.
//!
//! The crate `tracing-appender` does nearly the same. But it limits the number of lines and not of bytes, and does not count
//! lines whose writing failed. When it cannot flush at the end it prints to standard output, and panics where that is gone.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most bytes that wait to be written: some seconds of a busy process, and little memory.
const WAITING_BYTES: usize = 2 * 1024 * 1024;

/// The most bytes of one system call, unless a single line is longer.
const BATCH_BYTES: usize = 64 * 1024;

/// A stream that was made non-blocking by another process is asked again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A write that takes longer is reported: the reader is there and does not read.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// How long a lost line is reported.
const REPORTED_FOR: Duration = Duration::from_secs(300);

/// A stream for lines. Cheap to clone; all clones share one thread.
#[derive(Clone, Debug)]
pub struct LossyLines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<BufferState>,
    /// There is something to write.
    came: Condvar,
    /// Something was written, or lost.
    went: Condvar,
    waiting_bytes: usize,
}

#[derive(Debug, Default)]
struct BufferState {
    waiting: VecDeque<Vec<u8>>,
    /// The bytes of the lines that wait or are being written.
    bytes: usize,
    /// The number of lines taken so far, and of those that were then written or lost.
    taken: u64,
    done: u64,
    /// Since when one write has been under way.
    writing_since: Option<Instant>,
    lost: Lost,
    last_loss: Option<(Instant, String)>,
    has_no_thread: bool,
}

/// How many lines were lost, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lines for which there was no room, as the stream takes too little.
    pub no_room: u64,
    /// Lines that the system refused to write: a full disk, a reader that is gone.
    pub not_written: u64,
}

impl Lost {
    fn total(self) -> u64 {
        self.no_room + self.not_written
    }
}

impl LossyLines {
    /// Starts the thread `name`, which writes to `stream`.
    pub fn new(name: &str, stream: impl Write + Send + 'static) -> Self {
        Self::bounded(name, stream, WAITING_BYTES)
    }

    fn bounded(name: &str, stream: impl Write + Send + 'static, waiting_bytes: usize) -> Self {
        let shared =
            Arc::new(Shared { state: Mutex::default(), came: Condvar::new(), went: Condvar::new(), waiting_bytes });
        let lines = LossyLines(Arc::clone(&shared));
        let writing = thread::Builder::new().name(name.to_owned()).spawn(move || write_lines(&shared, stream));
        // On a system without room for a thread the process starts without a log, and `fault` reports it.
        lines.0.lock().has_no_thread = writing.is_err();
        lines
    }

    /// Takes a line with its end, or counts it as lost. Never waits for the stream.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.has_no_thread {
            return state.lose_for_lack_of_room("no thread could be started for it");
        }
        if state.bytes + line.len() > self.0.waiting_bytes {
            return state.lose_for_lack_of_room("it is not read, or written too slowly");
        }
        state.bytes += line.len();
        state.taken += 1;
        state.waiting.push_back(line.to_vec());
        drop(state);
        self.0.came.notify_one();
    }

    /// Waits until the lines taken so far are written or lost, for `timeout` at most. Answers whether they are.
    pub fn flush(&self, timeout: Duration) -> bool {
        let state = self.0.lock();
        let taken = state.taken;
        let waiting = self.0.went.wait_timeout_while(state, timeout, |state| state.done < taken);
        !waiting.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many lines were lost since the start.
    pub fn lost(&self) -> Lost {
        self.0.lock().lost
    }

    /// The trouble of the stream, for people: lines were lost within the last 5 min, or a write does not end.
    pub fn fault(&self) -> Option<String> {
        let state = self.0.lock();
        if let Some((at, why)) = &state.last_loss
            && at.elapsed() < REPORTED_FOR
        {
            let ago = at.elapsed().as_secs();
            return Some(format!("{} lines lost since the start, the last {ago} s ago: {why}", state.lost.total()));
        }
        let stuck = state.writing_since.map(|since| since.elapsed()).filter(|stuck| *stuck > STUCK_AFTER)?;
        Some(format!("nothing was taken from us for {} s; lines wait", stuck.as_secs()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferState {
    fn lose_for_lack_of_room(&mut self, why: &str) {
        self.lost.no_room += 1;
        self.last_loss = Some((Instant::now(), why.to_owned()));
    }
}

/// Writes lines for as long as the process lives.
fn write_lines(shared: &Shared, mut stream: impl Write) {
    let mut batch = Vec::new();
    let mut ends = Vec::new();
    // A line that was cut off by a failure must not run into the next one.
    let mut is_torn = false;
    let mut told = 0;
    loop {
        take_batch(shared, &mut batch, &mut ends);
        let written = match is_torn.then(|| write_whole(&mut stream, b"\n")) {
            Some((_, Err(trouble))) => (0, Err(trouble)),
            None | Some((_, Ok(()))) => write_whole(&mut stream, &batch),
        };
        is_torn = match &written {
            (0, Err(_)) => is_torn,
            (bytes, Err(_)) => !ends.contains(bytes),
            (_, Ok(())) => false,
        };
        let lost = finish_batch(shared, &batch, &ends, &written);
        if written.1.is_ok() && lost > told {
            // Reported only when the stream takes lines again.
            tracing::warn!(lines = lost - told, "{} log lines were lost", lost - told);
            told = lost;
        }
    }
}

/// Waits for lines, and moves as many of them into `batch` as are written at once; `ends` has where each ends.
fn take_batch(shared: &Shared, batch: &mut Vec<u8>, ends: &mut Vec<usize>) {
    batch.clear();
    ends.clear();
    let waiting = shared.came.wait_while(shared.lock(), |state| state.waiting.is_empty());
    let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
    while let Some(line) =
        state.waiting.pop_front_if(|line| batch.is_empty() || batch.len() + line.len() <= BATCH_BYTES)
    {
        batch.extend_from_slice(&line);
        ends.push(batch.len());
    }
    state.writing_since = Some(Instant::now());
}

/// Counts the written and the lost lines of a batch, and answers how many lines were lost since the start.
fn finish_batch(shared: &Shared, batch: &[u8], ends: &[usize], written: &(usize, io::Result<()>)) -> u64 {
    let mut state = shared.lock();
    state.bytes -= batch.len();
    state.done += u64::try_from(ends.len()).unwrap_or(u64::MAX);
    state.writing_since = None;
    if let (bytes, Err(trouble)) = written {
        let lost = ends.iter().filter(|end| *end > bytes).count();
        state.lost.not_written += u64::try_from(lost).unwrap_or(u64::MAX);
        state.last_loss = Some((Instant::now(), trouble.to_string()));
    }
    let lost = state.lost.total();
    drop(state);
    shared.went.notify_all();
    lost
}

/// Writes all bytes, however long that takes. Answers how many were written, all of them or up to a failure.
fn write_whole(stream: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(trouble) if trouble.kind() == io::ErrorKind::Interrupted => (),
            Err(trouble) if trouble.kind() == io::ErrorKind::WouldBlock => thread::sleep(ASK_AGAIN_AFTER),
            Err(trouble) => return (written, Err(trouble)),
        }
    }
    (written, stream.flush())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A stream that takes what it is told to: each answer is how many bytes it takes, or why it takes none.
    struct Scripted {
        answers: VecDeque<Result<usize, io::ErrorKind>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = Result<usize, io::ErrorKind>>) -> (Self, Arc<Mutex<Vec<u8>>>) {
            let taken = Arc::default();
            (Scripted { answers: answers.into_iter().collect(), taken: Arc::clone(&taken) }, taken)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.answers.pop_front().unwrap_or(Ok(usize::MAX))?;
            let taken = bytes.len().min(most);
            self.taken.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text(taken: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(taken.lock().unwrap().clone()).unwrap()
    }

    /// A stream whose reader lives and does not read.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_arrive_whole_and_in_their_order() {
        let (stream, taken) = Scripted::new([Ok(3), Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::WouldBlock)]);
        let lines = LossyLines::new("test", stream);

        for line in ["one\n", "two\n", "three\n"] {
            lines.push(line.as_bytes());
        }

        assert!(lines.flush(SOON));
        assert_eq!(text(&taken), "one\ntwo\nthree\n");
        assert_eq!((lines.lost(), lines.fault()), (Lost::default(), None));
    }

    #[test]
    fn a_stream_that_takes_nothing_holds_nobody_up_and_what_had_no_room_is_counted() {
        let (read, reads) = mpsc::channel();
        let lines = LossyLines::bounded("test", Stuck(reads), 100);
        let began = Instant::now();

        for _ in 0..1_000 {
            lines.push(b"0123456789");
        }

        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(lines.lost(), Lost { no_room: 990, not_written: 0 });
        assert!(lines.fault().unwrap().contains("990 lines lost"), "{:?}", lines.fault());
        assert!(!lines.flush(Duration::from_millis(20)), "it is stuck");
        drop(read); // read at last
        assert!(lines.flush(SOON));
    }

    #[test]
    fn a_disk_that_was_full_gets_whole_lines_again_once_there_is_room() {
        let full = io::ErrorKind::StorageFull;
        let (stream, taken) = Scripted::new([Err(full), Ok(2), Err(full)]);
        let lines = LossyLines::new("test", stream);

        for line in ["lost\n", "torn\n", "whole\n"] {
            lines.push(line.as_bytes());
            assert!(lines.flush(SOON));
        }

        assert_eq!(text(&taken), "to\nwhole\n");
        assert_eq!(lines.lost(), Lost { no_room: 0, not_written: 2 });
        assert!(lines.fault().unwrap().contains("2 lines lost"), "{:?}", lines.fault());
    }
}
