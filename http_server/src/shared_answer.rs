//! One answer for all who ask while the one before it is made.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What is dear to make and the same for every caller, such as metrics: it is made once at a time, and those who have
/// asked before it was begun share it. None is older than the question.
#[derive(Debug)]
pub struct SharedAnswer<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T> Default for SharedAnswer<T> {
    fn default() -> Self {
        SharedAnswer(Arc::default())
    }
}

impl<T> Clone for SharedAnswer<T> {
    fn clone(&self) -> Self {
        SharedAnswer(Arc::clone(&self.0))
    }
}

impl<T: Clone> SharedAnswer<T> {
    /// The answer, which `make` makes unless another caller's was begun after this call.
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
    async fn however_many_ask_at_once_two_answers_are_made() {
        let (shared, made) = (SharedAnswer::default(), Arc::new(AtomicUsize::new(0)));
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

        // The first one's, and one for all who came while it was made.
        assert!(made.load(Ordering::Relaxed) <= 2, "{made:?}");
    }

    #[tokio::test]
    async fn an_answer_is_never_older_than_its_question() {
        let shared = SharedAnswer::default();

        for number in 0..3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(shared.get(async { number }).await, number);
        }
    }

    #[tokio::test]
    async fn a_caller_who_leaves_keeps_nobody_waiting() {
        let shared = SharedAnswer::default();
        let left = tokio::time::timeout(Duration::from_millis(10), shared.get(std::future::pending::<u8>())).await;
        assert!(left.is_err());

        assert_eq!(shared.get(async { 7 }).await, 7);
    }
}
