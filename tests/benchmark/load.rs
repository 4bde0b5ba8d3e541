//! Loads, and their figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// The times of single pieces of work, and the time of the whole.
pub(super) struct Figures {
    sorted: Vec<Duration>,
    took: Option<Duration>,
}

impl Figures {
    /// Figures from these times, without a rate.
    pub(super) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = times.into_iter().collect();
        sorted.sort_unstable();
        Figures { sorted, took: None }
    }

    /// Figures of work that took this many milliseconds in all.
    #[cfg(test)]
    #[allow(dead_code, reason = "the benchmark itself has no use for it")]
    pub(super) fn in_time(times: Vec<Duration>, milliseconds: u64) -> Self {
        Figures { took: Some(Duration::from_millis(milliseconds)), ..Figures::of(times) }
    }

    pub(super) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Pieces of work per second, if a rate was measured.
    pub(super) fn per_second(&self) -> Option<u128> {
        Some(self.count() as u128 * 1_000 / self.took?.as_millis().max(1))
    }

    /// The time within which this many percent of the pieces were done, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: usize) -> String {
        match self.percentile(percent) {
            Some(time) => format!("{}.{}", time.as_millis(), time.as_micros() % 1_000 / 100),
            None => "–".to_owned(),
        }
    }

    /// The time within which this many percent of the pieces were done; `None` without pieces.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        // The nearest rank: a time that really occurred.
        let rank = (self.count() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied()
    }
}

/// Runs this many clients at once until the time is over or `limit` pieces were begun. Each client begins its next
/// piece of work when its last has ended. `work` gets the number of each piece. The results come in no particular
/// order.
pub(super) async fn closed_loop<T, W, F>(clients: usize, time: Duration, limit: usize, work: W) -> (Figures, Vec<T>)
where
    T: Send + 'static,
    W: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = T> + Send,
{
    let (work, next) = (Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (work, next) = (Arc::clone(&work), Arc::clone(&next));
        running.spawn(async move {
            let mut done = Vec::new();
            while began.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= limit {
                    break;
                }
                let begun = Instant::now();
                let answer = work(number).await;
                done.push((begun.elapsed(), answer));
            }
            done
        });
    }
    let done = running.join_all().await.into_iter().flatten();
    let took = began.elapsed();
    let (times, answers): (Vec<Duration>, Vec<T>) = done.unzip();
    (Figures { took: Some(took), ..Figures::of(times) }, answers)
}

/// Begins this many pieces of work each second, whether the last ones have ended or not.
pub(super) async fn at_a_rate<T, W, F>(per_second: u32, count: usize, work: W) -> Vec<T>
where
    T: Send + 'static,
    W: Fn(usize) -> F,
    F: Future<Output = T> + Send + 'static,
{
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut running = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        running.spawn(work(number));
    }
    running.join_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let figures = Figures::of((1..=200).rev().map(Duration::from_millis));

        assert_eq!((figures.percentile_ms(50), figures.percentile_ms(99)), ("100.0".to_owned(), "198.0".to_owned()));
    }

    #[tokio::test]
    async fn every_piece_of_work_is_done_once() {
        let (figures, mut numbers) = closed_loop(4, Duration::MAX, 100, |number| async move { number }).await;

        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert_eq!(figures.count(), 100);
    }
}
