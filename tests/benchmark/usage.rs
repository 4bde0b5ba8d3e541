//! The cost of work: processor time and memory of the processes that do it.

use std::fs;
use std::time::Duration;

use crate::support::process::family_of;

/// The kind of a process: our own roles, and the servers that work for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Api,
    Worker,
    Up,
    Postgres,
    Redis,
    /// Not counted as ours: the gateway runs on another machine.
    Sandbox,
    /// The load, which is not counted either.
    Load,
}

impl Who {
    pub(super) fn name(self) -> &'static str {
        match self {
            Who::Api => "API",
            Who::Worker => "workers",
            Who::Up => "`tasdiq up`",
            Who::Postgres => "PostgreSQL",
            Who::Redis => "Redis",
            Who::Sandbox => "sandbox",
            Who::Load => "load",
        }
    }

    /// Whether this process runs on a shop's own server.
    pub(super) fn is_ours(self) -> bool {
        !matches!(self, Who::Sandbox | Who::Load)
    }
}

/// The processor time of each process so far.
#[derive(Clone, Debug)]
pub(super) struct Usage(Vec<(Who, Duration)>);

impl Usage {
    /// The use so far of these processes with their children.
    pub(super) fn now(processes: &[(Who, u32)]) -> Self {
        // The other processes are descendants of the load.
        let family = |who, id| if who == Who::Load { vec![id] } else { family_of(id) };
        Usage(processes.iter().map(|(who, id)| (*who, processor_time(&family(*who, *id)))).collect())
    }

    /// The use since `earlier` by the same processes, summed for each kind.
    pub(super) fn since(&self, earlier: &Usage) -> Vec<(Who, Duration)> {
        let mut used: Vec<(Who, Duration)> = Vec::new();
        for ((who, now), (_, before)) in self.0.iter().zip(&earlier.0) {
            let share = now.saturating_sub(*before);
            match used.iter_mut().find(|(known, _)| known == who) {
                Some((_, sum)) => *sum += share,
                None => used.push((*who, share)),
            }
        }
        used
    }
}

/// How long these processes and their ended children have kept processors busy, to 10 ms each.
fn processor_time(family: &[u32]) -> Duration {
    let hundredths = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let words = stat.rsplit_once(')').map(|(_, words)| words.to_owned()).unwrap_or_default();
        // From the 14th word on: user and kernel time of the process, and the same of its ended children.
        words.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>()
    };
    Duration::from_millis(family.iter().map(hundredths).sum::<u64>() * 10)
}

/// KiB as MiB, to one place.
pub(super) fn mib(kib: u64) -> String {
    format!("{}.{}", kib / 1_024, kib % 1_024 * 10 / 1_024)
}

/// The memory of a process and its descendants in KiB, each page that several share counted once among them (PSS).
pub(super) fn memory_kib(id: u32) -> u64 {
    let of = |id: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    family_of(id).iter().map(of).sum()
}
