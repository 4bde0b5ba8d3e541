//! The text that Prometheus reads: the counts of this process, and the state of the installation.

use std::time::Duration;

use domain::job::QueueName;
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};
use queue::Queue;
use store::{Store, StoreError, jobs, orders, processes};
use telemetry::{causes, count_lost_lines};

/// The longest time that a scrape waits for the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(1);

/// The longest time that a scrape waits for the queue, which answers at once or is away.
const QUEUE_PATIENCE: Duration = Duration::from_millis(300);

/// All metrics in Prometheus' text format: the counts of this process, and the state of the installation as the
/// database and the queue have it now. Takes about a second at most; a part that does not answer is left out.
pub async fn render(store: &Store, queue: &Queue) -> String {
    let state = Registry::new();
    gauge_line(&state, store);
    // At the same time: one of them may be away while the other has much to tell.
    let (database, ()) = tokio::join!(
        tokio::time::timeout(DATABASE_PATIENCE, gauge_database(&state, store)),
        gauge_queue(&state, queue),
    );
    match database {
        Ok(Ok(())) => (),
        Ok(Err(trouble)) => {
            tracing::debug!(error = causes(&trouble), "the state of the database is missing from this scrape");
        }
        Err(_) => tracing::debug!("the database did not answer this scrape in time"),
    }
    count_lost_lines();
    let mut families = prometheus::gather();
    families.extend(state.gather());
    let mut text = Vec::new();
    let _ = TextEncoder::new().encode(&families, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// The facts about the database that this process knows without asking it.
fn gauge_line(state: &Registry, store: &Store) {
    let none: [&str; 0] = [];
    let line = gauges(
        state,
        "tasdiq_database_round_trip_microseconds",
        "How long the database took when this process last asked it for its time.",
        &[],
    );
    line.with_label_values(&none).set(i64::try_from(store.round_trip().as_micros()).unwrap_or(i64::MAX));
    let writable =
        gauges(state, "tasdiq_database_writable", "1 while this process's heartbeat, which is a write, succeeds.", &[]);
    writable.with_label_values(&none).set(store.write_fault().is_none().into());
}

/// Each gauge appears once its value is known: a zero in its place would silence an alarm.
async fn gauge_database(state: &Registry, store: &Store) -> Result<(), StoreError> {
    let none: [&str; 0] = [];
    let age_ms = jobs::oldest_due_age_ms(store, QueueName::ALL).await?;
    let age = gauges(state, "tasdiq_oldest_due_job_seconds", "How long the longest waiting due job has waited.", &[]);
    age.with_label_values(&none).set(age_ms / 1_000);

    let dead_letters = jobs::count_dead(store).await?;
    let dead = gauges(state, "tasdiq_dead_letters", "Jobs that will not run again until a person says so.", &[]);
    dead.with_label_values(&none).set(dead_letters);

    let counts = orders::count_open(store).await?;
    let open = gauges(
        state,
        "tasdiq_orders",
        "Orders by status, of those that are still on their way; for review and needs_review: tasdiq orders review.",
        &["status"],
    );
    for status in ["pending", "confirming", "review", "needs_review"] {
        open.with_label_values(&[status]).set(0);
    }
    for (status, count) in counts {
        open.with_label_values(&[&status]).set(count);
    }

    gauge_processes(state, store).await
}

async fn gauge_processes(state: &Registry, store: &Store) -> Result<(), StoreError> {
    let processes = processes::recent(store).await?;
    let now_ms = store.now_ms();
    let alive = gauges(state, "tasdiq_processes", "Processes that are alive.", &["role"]);
    let silent = gauges(
        state,
        "tasdiq_silent_processes",
        "Processes without a heartbeat for 10 s that did not end in good order: they hang, or were killed.",
        &["role"],
    );
    let silent_consumers = gauges(
        state,
        "tasdiq_silent_consumers",
        "Processes whose queue has not answered their consumer for 10 s, hanging processes included.",
        &["role"],
    );
    for role in ["up", "api", "worker"] {
        silent.with_label_values(&[role]).set(0);
    }
    for role in ["up", "worker"] {
        silent_consumers.with_label_values(&[role]).set(0);
    }
    for process in processes {
        let role = [process.role.as_str()];
        alive.with_label_values(&role).add(process.is_alive(now_ms).into());
        silent.with_label_values(&role).add(process.is_silent(now_ms).into());
        if process.queue_heard_at_ms.is_some() {
            silent_consumers.with_label_values(&role).add(process.has_silent_consumer(now_ms).into());
        }
    }
    Ok(())
}

async fn gauge_queue(state: &Registry, queue: &Queue) {
    let depth = gauges(state, "tasdiq_queue_depth", "Job ids that wait in a queue.", &["queue"]);
    let lengths = QueueName::ALL.iter().map(async |name| {
        if let Ok(Ok(waiting)) = tokio::time::timeout(QUEUE_PATIENCE, queue.len(*name)).await {
            depth.with_label_values(&[name.as_str()]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    });
    futures_util::future::join_all(lengths).await;
}

#[expect(clippy::panic, reason = "a misspelt constant, found by the first scrape in a test")]
fn gauges(registry: &Registry, name: &'static str, help: &'static str, labels: &[&str]) -> IntGaugeVec {
    match IntGaugeVec::new(Opts::new(name, help), labels) {
        Ok(gauges) => {
            let _ = registry.register(Box::new(gauges.clone()));
            gauges
        }
        Err(error) => panic!("{name} is no metric: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Instant;

    use super::*;
    use queue::{LocalQueue, RedisQueue};
    use redis_server::RedisServer;
    use store::DatabaseUrl;

    #[tokio::test]
    async fn a_redis_that_hangs_hides_nothing_of_what_the_database_tells() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(folder.path().join("t.db"))).await.unwrap();
        store.migrate().await.unwrap();
        // It takes connections and never answers.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("redis://{}", silent.local_addr().unwrap());
        let queue = Queue::Redis(RedisQueue::new(RedisServer::new(&url, "test").unwrap()));
        let began = Instant::now();

        let text = render(&store, &queue).await;

        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        for name in ["tasdiq_oldest_due_job_seconds", "tasdiq_dead_letters", "tasdiq_orders{status=\"review\"}"] {
            assert!(text.contains(&format!("\n{name} 0\n")), "{name}: {text}");
        }
        assert!(!text.contains("tasdiq_queue_depth{"), "{text}");
    }

    #[tokio::test]
    async fn what_the_database_does_not_tell_is_no_zero() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(folder.path().join("t.db"))).await.unwrap();

        let text = render(&store, &Queue::Local(LocalQueue::default())).await;

        for name in ["tasdiq_oldest_due_job_seconds", "tasdiq_dead_letters", "tasdiq_orders{"] {
            assert!(!text.contains(&format!("\n{name}")), "{name}: {text}");
        }
        assert!(text.contains("tasdiq_queue_depth{queue=\"settle\"} 0"), "{text}");
    }
}
