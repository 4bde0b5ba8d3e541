//! Waiting for a condition with a deadline: the only kind of waiting a test does.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine, short enough that a hanging test is noticed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer and gives it, or panics after `deadline` with `what` was waited for.
pub(crate) async fn wait_until<T>(what: &str, deadline: Duration, mut answer: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    // Soon at first, because most things are nearly there; then rarely, because the others need the processor.
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = answer().await {
            return answer;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
