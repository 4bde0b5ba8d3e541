//! Suspects run in child processes, outside the worker's slots. A suspect that ends its process ends only the jobs of
//! its group, and no other job waits for it.
//!
//! The worker takes the ids and sorts them into groups. The process of a group claims its jobs, runs them to their end,
//! and ends. It reads the settings and its group from its standard input, and writes to its standard output that it has
//! begun. Its input stays open as long as the worker lives. When the worker ends, the process hands its jobs back and
//! ends, too: the kill of the worker alone counts as no crash of its suspects, and the kill of all its processes does.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use domain::job::QueueName;
use domain::secret::Secret;
use queue::{Queue, Taker};
use store::jobs::{self, SuspectGroup};
use store::{Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::WorkerContext;
use crate::account_places::AccountPlaces;
use crate::attempt::{self, Attempts};
use crate::lease::LeaseKeeper;
use crate::source::{MAX_CLAIM, TAKE_WAIT, Take, TakeError};

/// The most processes of suspects at a time. Each has its own store and gateway client.
const PLACES: usize = 4;

/// Jobs that crashed together become suspects one after the other, within about this time. They share a process then.
const GATHERED_FOR: Duration = Duration::from_millis(250);

/// How long the second take waits: more suspects of the same moment are there at once, or not at all.
const GATHERED_WAIT: Duration = Duration::from_millis(20);

/// A process that runs longer is stuck: this is more than any job's deadline and the longest outage to wait out.
const LONGEST_RUN: Duration = Duration::from_secs(900);

/// The word that the process writes once its jobs are claimed.
const BEGUN: &str = "begun";

/// The program that runs a group of suspects: this one, with a command of its own.
#[derive(Clone, Debug)]
pub struct SuspectProgram {
    /// Its file.
    pub file: PathBuf,
    /// The command and its arguments.
    pub arguments: Vec<String>,
    /// The first line of its input: the settings of this process. Their files may have changed since it started.
    pub settings: Secret,
}

/// Takes suspects and starts their processes.
pub(crate) struct SuspectTaker {
    processes: Processes,
    taker: Taker,
    places: Arc<Semaphore>,
    /// The processes that run.
    children: TaskTracker,
}

#[derive(Clone)]
struct Processes {
    store: Store,
    program: SuspectProgram,
    stop: CancellationToken,
}

impl SuspectTaker {
    pub(crate) fn new(
        store: &Store,
        queue: &Queue,
        program: SuspectProgram,
        children: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        SuspectTaker {
            processes: Processes { store: store.clone(), program, stop: stop.clone() },
            taker: queue.taker(),
            places: Arc::new(Semaphore::new(PLACES)),
            children: children.clone(),
        }
    }
}

impl Take for SuspectTaker {
    async fn take(&mut self) -> Result<(), TakeError> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return Ok(()) };
        let mut ids = self.taker.take(&[QueueName::Suspect], MAX_CLAIM, TAKE_WAIT).await?;
        if ids.is_empty() {
            return Ok(());
        }
        if ids.len() < MAX_CLAIM {
            sleep(GATHERED_FOR).await;
            ids.extend(self.taker.take(&[QueueName::Suspect], MAX_CLAIM - ids.len(), GATHERED_WAIT).await?);
        }
        let mut place = Some(place);
        for group in jobs::group_suspects(&self.processes.store, &ids).await? {
            let (processes, places, place) = (self.processes.clone(), Arc::clone(&self.places), place.take());
            self.children.spawn(async move {
                let _place = match place {
                    Some(place) => place,
                    None => match processes.place_in(places).await {
                        Some(place) => place,
                        // The ids of the group are enqueued again after their grace.
                        None => return,
                    },
                };
                processes.run(&group).await;
            });
        }
        Ok(())
    }
}

impl Processes {
    /// The input of the process: the settings and its group, one line each.
    fn input(&self, group: &SuspectGroup) -> serde_json::Result<String> {
        Ok(format!("{}\n{}\n", self.program.settings.expose(), serde_json::to_string(group)?))
    }

    async fn place_in(&self, places: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        self.stop.run_until_cancelled(places.acquire_owned()).await?.ok()
    }

    /// Runs a group in a process. If the process did not come to its end, hands its jobs back or ends their leases.
    async fn run(&self, group: &SuspectGroup) {
        let (jobs, crashes) = (group.jobs.len(), group.crashes);
        info!(jobs, crashes, "{jobs} jobs that crashed {crashes} times run in a process of their own");
        let mut child = match self.start() {
            Ok(child) => child,
            Err(trouble) => {
                warn!(error = %trouble, "a process for suspects cannot be started; they are enqueued again: {trouble}");
                return;
            }
        };
        // Open until the process has ended. Otherwise a process that is killed for running too long could hand its jobs
        // back first.
        let mut input = child.stdin.take();
        let mut said = Vec::new();
        let status = match timeout(LONGEST_RUN, listen(&mut child, &mut input, self.input(group), &mut said)).await {
            Ok(Ok(status)) => Some(status),
            Ok(Err(trouble)) => {
                warn!(error = %trouble, "a process of suspects cannot be followed, and is ended: {trouble}");
                None
            }
            Err(_) => {
                warn!("a process of suspects ran for {} s, and is ended", LONGEST_RUN.as_secs());
                None
            }
        };
        if status.is_some_and(|status| status.success()) {
            debug!(jobs, "a process of suspects has done its work");
            return;
        }
        // The process must have ended for certain before other workers run its jobs.
        let _ = child.kill().await;
        let how = status.map_or_else(|| "by us".to_owned(), |status| status.to_string());
        let seen_to = if String::from_utf8_lossy(&said).contains(BEGUN) {
            warn!(jobs, crashes, "the process of {jobs} suspects has died ({how})");
            jobs::end_leases_of_suspects(&self.store, group).await.map(drop)
        } else {
            warn!(jobs, "a process of suspects ended before it ran any ({how}); they are enqueued again");
            jobs::hand_back_suspects(&self.store, group).await
        };
        if let Err(trouble) = seen_to {
            debug!(error = %trouble, "the leases of suspects end by themselves");
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        Command::new(&self.program.file)
            .arg0("tasdiq")
            .args(&self.program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Writes these lines to the process and reads its output, until it ends.
async fn listen(
    child: &mut Child,
    input: &mut Option<ChildStdin>,
    lines: serde_json::Result<String>,
    said: &mut Vec<u8>,
) -> std::io::Result<ExitStatus> {
    if let Some(input) = input {
        let lines = lines.map_err(std::io::Error::other)?;
        // A process that has ended already shows it by its status.
        let _ = input.write_all(lines.as_bytes()).await;
    }
    if let Some(mut output) = child.stdout.take() {
        output.read_to_end(said).await?;
    }
    child.wait().await
}

/// Runs a group of suspects to its end, in a process that does nothing else. Once the jobs are claimed, `begun` is
/// called with the word to write to the worker.
///
/// # Errors
/// [`StoreError`] when the jobs could not be claimed. Then none has run.
pub async fn run_suspects(
    context: WorkerContext,
    group: &SuspectGroup,
    begun: impl FnOnce(&str),
) -> Result<(), StoreError> {
    let store = context.store.clone();
    let jobs = jobs::claim_suspects(&store, group).await?;
    begun(BEGUN);
    let (keeper, ended) = (LeaseKeeper::default(), CancellationToken::new());
    let renewing = tokio::spawn(keeper.clone().run(store, ended.clone()));
    let attempts = Arc::new(Attempts { context, keeper, places: AccountPlaces::default() });
    let mut running = JoinSet::new();
    for job in jobs {
        let attempts = Arc::clone(&attempts);
        running.spawn(async move { attempt::run_once(&attempts, job).await });
    }
    while running.join_next().await.is_some() {}
    ended.cancel();
    // A renewal may hang in a database call, and its result no longer matters.
    renewing.abort();
    Ok(())
}
