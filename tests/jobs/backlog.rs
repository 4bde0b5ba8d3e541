//! How fast a small and a large backlog of due jobs are worked off.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Executor};
use tokio_util::sync::CancellationToken;

use super::{Behind, Installation};

/// A backlog that every installation has now and then.
pub(crate) const SMALL: u64 = 1_000;

/// No job is finished for this long: it hangs.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Jobs finished per second, of many small backlogs and of a large one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) small: u128,
    pub(crate) large: u128,
}

/// Works off this many small backlogs one after the other, half of them before the large one and half after it.
pub(crate) async fn measure(behind: Behind, slots: usize, large: u64, small_ones: u64) -> Rates {
    let mut installation = Installation::start(behind, slots).await;
    installation.drain(SMALL).await; // the first jobs of a process do not count
    let mut small = Drained::default();
    for _ in 0..small_ones / 2 {
        small.add(installation.drain(SMALL).await);
    }
    let large = installation.drain(large).await;
    for _ in 0..small_ones / 2 {
        small.add(installation.drain(SMALL).await);
    }
    Rates { small: small.per_second(), large: large.per_second() }
}

/// The number of jobs that ended in a time.
#[derive(Clone, Copy, Default)]
struct Drained {
    jobs: u64,
    took: Duration,
}

impl Drained {
    fn add(&mut self, more: Drained) {
        self.jobs += more.jobs;
        self.took += more.took;
    }

    fn per_second(self) -> u128 {
        u128::from(self.jobs) * 1_000 / self.took.as_millis().max(1)
    }
}

impl Installation {
    /// Fills in a backlog, starts a worker and a relay, and returns the jobs that ended between the first and the last
    /// end that is seen.
    async fn drain(&mut self, jobs: u64) -> Drained {
        self.fill(jobs).await;
        let stop = CancellationToken::new();
        let finished_before = finished();
        let mut parts = self.run(&stop);

        let (mut first, mut last, mut done, mut done_at_first) = (Instant::now(), Instant::now(), 0, 0);
        while done < jobs {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now_done = finished() - finished_before;
            if now_done > done {
                last = Instant::now();
                // Jobs end in groups, and the time before the first reading was not measured.
                (first, done_at_first) = if done == 0 { (last, now_done) } else { (first, done_at_first) };
            }
            done = now_done;
            assert!(last.elapsed() < STANDSTILL, "{done} of {jobs} jobs were finished, and then none any more");
        }
        stop.cancel();
        while parts.join_next().await.is_some() {}
        Drained { jobs: jobs - done_at_first, took: last - first }
    }

    async fn fill(&mut self, jobs: u64) {
        let (first, last) = (self.next_job, self.next_job + jobs - 1);
        self.next_job += jobs;
        let fill = format!(
            "insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
            with recursive counted(n) as (select cast({first} as bigint) union all select n + 1 from counted where n < {last})
            select n, 'settle', 'process_callback', n, '{{\"kind\":\"process_callback\",\"callback_id\":' || n || '}}',
                'available', n, 0 from counted"
        );
        self.filling.execute(AssertSqlSafe(fill)).await.unwrap();
    }
}

/// How many jobs of this process found nothing to do, by its own counter.
fn finished() -> u64 {
    let families = prometheus::gather();
    let jobs = families.iter().find(|family| family.name() == "tasdiq_jobs_total");
    let of_kind = jobs.into_iter().flat_map(|family| family.get_metric()).filter(|metric| {
        let values: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
        values == ["process_callback", "nothing_to_do"]
    });
    of_kind
        .map(|metric| metric.get_counter().get_value())
        .map(|number| number.to_string().parse::<u64>().unwrap())
        .sum()
}

#[cfg(test)]
#[allow(dead_code, reason = "the benchmark itself has no tests")]
mod tests {
    use super::*;

    /// The bound that is published is 0.8, for a hundred times as many jobs on a quiet machine (`docs/benchmarks/raw.md`). Another
    /// process that starts to compile halves either rate, so a low ratio is measured again; a real one comes each time.
    async fn check(behind: Behind) {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let rates = measure(behind, 64, 10 * SMALL, 6).await;
            println!("{behind:?}: {rates:?}");
            if rates.large * 10 >= rates.small * 7 {
                return;
            }
            seen.push(rates);
        }
        panic!("a large backlog drains at less than 0.7 of the rate of small ones: {seen:?}");
    }

    /// Shows: PROMISE-10
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_backlog_drains_as_fast_as_a_small_one_on_sqlite() {
        check(Behind::SqliteAndLocalQueue).await;
    }

    /// Shows: PROMISE-10
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_backlog_drains_as_fast_as_a_small_one_on_postgres_and_redis() {
        check(Behind::PostgresAndRedis).await;
    }
}
