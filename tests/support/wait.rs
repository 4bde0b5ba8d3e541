//! Waits for a condition with a deadline: the only kind of waiting in tests.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine, short enough that a hanging test is noticed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Repeats a question until there is an answer and returns it; panics after `deadline`, naming `what`.
pub(crate) async fn wait_until<T>(what: &str, deadline: Duration, mut answer: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    // Short pauses at first, because most conditions are nearly met; then longer ones, to leave the processor to
    // others.
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
