//! Concurrent calls share one expensive computation.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Makes a value that is expensive and the same for every caller, such as the metrics, once at a time. Calls that
/// arrived before the computation started share its result, so a result is never older than the call.
#[derive(Debug)]
pub struct SingleFlight<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        SingleFlight(Arc::default())
    }
}

impl<T> Clone for SingleFlight<T> {
    fn clone(&self) -> Self {
        SingleFlight(Arc::clone(&self.0))
    }
}

impl<T: Clone> SingleFlight<T> {
    /// The value: from another call if that one started to make it after this call, otherwise from `make`.
    pub async fn get(&self, make: impl Future<Output = T>) -> T {
        let asked_at = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((begun_at, answer)) = &*last
            && *begun_at >= asked_at
        {
            return answer.clone();
        }
        let begun_at = Instant::now();
        let answer = make.await;
        *last = Some((begun_at, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn at_most_two_values_are_made_for_any_number_of_simultaneous_calls() {
        let (shared, made) = (SingleFlight::default(), Arc::new(AtomicUsize::new(0)));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (shared, made) = (shared.clone(), Arc::clone(&made));
            asking.spawn(async move {
                let making = async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    made.fetch_add(1, Ordering::Relaxed)
                };
                shared.get(making).await
            });
        }
        asking.join_all().await;

        // One for the first call, and one for all calls that came while it was made.
        assert!(made.load(Ordering::Relaxed) <= 2, "{made:?}");
    }

    #[tokio::test]
    async fn a_value_is_never_older_than_its_call() {
        let shared = SingleFlight::default();

        for number in 0..3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(shared.get(async { number }).await, number);
        }
    }

    #[tokio::test]
    async fn a_caller_that_leaves_blocks_no_other_caller() {
        let shared = SingleFlight::default();
        let left = tokio::time::timeout(Duration::from_millis(10), shared.get(std::future::pending::<u8>())).await;
        assert!(left.is_err());

        assert_eq!(shared.get(async { 7 }).await, 7);
    }
}
