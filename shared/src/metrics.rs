//! What we count about ourselves, all of it in prometheus' default registry, under names that begin `tasdiq_`.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::coordination::{State, View};
use crate::job::{JobKind, QueueName};
use crate::queue::Queue;
use crate::refund::RefundState;
use crate::store::{Store, StoreError, jobs, orders, processes};
use crate::telemetry::{self, causes};

/// From a gateway in the next room to one that answers only just before the call times out.
const CALL_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

static GATEWAY_CALLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_gateway_calls_total",
        "Requests to the gateway, by operation and by what came back.",
        &["operation", "outcome"],
    )
});

static GATEWAY_CALL_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "tasdiq_gateway_call_seconds",
        "How long requests to the gateway took, by operation and by what came back.",
        &["operation", "outcome"],
        CALL_BUCKETS,
    )
});

/// Requests to the gateway. Labels: `operation` (`token`, `create`, `look`, `reverse`, `ledger`) and `outcome` (`ok`, `unreachable`,
/// `unknown`, `throttled`, `not_admitted`, `refused`). What we kept back ourselves is counted in
/// [`gateway_calls_held_back`].
pub fn gateway_calls() -> &'static IntCounterVec {
    &GATEWAY_CALLS
}

/// How long those requests took, with the same labels.
pub fn gateway_call_seconds() -> &'static HistogramVec {
    &GATEWAY_CALL_SECONDS
}

static GATEWAY_CALLS_HELD_BACK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let held_back = counter_vec(
        "tasdiq_gateway_calls_held_back_total",
        "Calls to the gateway that did not leave, by what held them back.",
        &["by"],
    );
    for by in ["budget", "retry_after", "breaker", "operator"] {
        held_back.with_label_values(&[by]);
    }
    held_back
});

/// Calls that did not leave, by what held them back: `budget`, `retry_after`, `breaker`, `operator`. A job's work is then
/// done later, so one piece of work may be counted many times.
pub fn gateway_calls_held_back() -> &'static IntCounterVec {
    &GATEWAY_CALLS_HELD_BACK
}

static GATEWAY_BREAKER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_breaker",
        "1 for the state that the gateway's breaker is in, as this process sees it.",
        &["state"],
    )
});

static GATEWAY_BUDGET: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_budget",
        "The budget of gateway calls in force: calls per second, and at once; nothing if it is unlimited.",
        &["part"],
    )
});

static GATEWAY_CLOSED: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("tasdiq_gateway_closed", "1 while an operator lets no call to the gateway leave.", &[]));

static GATEWAY_PATIENCE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec("tasdiq_gateway_retry_after_seconds", "How long the gateway's wish for patience holds yet.", &[])
});

/// Tells the weather at the gateway as this process sees it.
pub fn gauge_weather(view: &View) {
    let none: [&str; 0] = [];
    for state in State::ALL {
        GATEWAY_BREAKER.with_label_values(&[state.as_str()]).set((view.breaker.state == state).into());
    }
    match view.rate {
        Some(rate) => {
            GATEWAY_BUDGET.with_label_values(&["per_second"]).set(rate.per_second.into());
            GATEWAY_BUDGET.with_label_values(&["burst"]).set(rate.burst.into());
        }
        None => GATEWAY_BUDGET.reset(),
    }
    GATEWAY_CLOSED.with_label_values(&none).set(view.is_closed.into());
    let told_for = view.told_for.map_or(0, |told_for| told_for.as_millis().div_ceil(1_000));
    GATEWAY_PATIENCE.with_label_values(&none).set(i64::try_from(told_for).unwrap_or(i64::MAX));
}

static ORDER_TRANSITIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_order_transitions_total", "Orders that entered a status, by this process.", &["status"])
});

/// Orders that entered a status, by this process. Statuses that are not left again are counted only here: a table
/// that grows is not scanned at every scrape.
pub fn order_transitions() -> &'static IntCounterVec {
    &ORDER_TRANSITIONS
}

static REFUNDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let refunds = counter_vec("tasdiq_refunds_total", "Refunds that entered a state, by this process.", &["state"]);
    for state in RefundState::ALL {
        refunds.with_label_values(&[state.as_str()]);
    }
    refunds
});

/// Refunds that entered a state, by this process: `open` (asked for), `done`, `refused`, `review`.
pub fn refunds() -> &'static IntCounterVec {
    &REFUNDS
}

static JOB_CRASHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let crashes = counter_vec(
        "tasdiq_job_crashes_total",
        "Leases that ran out with their worker, as counted by this process's relay.",
        &["kind"],
    );
    // An alert on a rate needs series that begin at zero.
    for kind in JobKind::ALL {
        crashes.with_label_values(&[kind.as_str()]);
    }
    crashes
});

/// Leases that ran out, by the job's kind. Each is counted by the one relay that found it.
pub fn job_crashes() -> &'static IntCounterVec {
    &JOB_CRASHES
}

static LOG_LINES_DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_log_lines_dropped_total",
        "Log lines of this process that were lost, by cause: no room for them, or the system did not write them.",
        &["cause"],
    )
});

/// Brings the counter of lost lines to what the log itself has counted; it counts without us, as it must never wait.
fn count_lost_lines() {
    let lost = telemetry::lost();
    for (cause, lines) in [("no_room", lost.no_room), ("not_written", lost.not_written)] {
        let counter = LOG_LINES_DROPPED.with_label_values(&[cause]);
        counter.inc_by(lines.saturating_sub(counter.get()));
    }
}

static CLOCK_STEPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let steps = counter_vec(
        "tasdiq_clock_steps_total",
        "Steps of the database's clock that this process has seen: it was set.",
        &["direction"],
    );
    // An alert on a rate needs series that begin at zero.
    for direction in ["forward", "back"] {
        steps.with_label_values(&[direction]);
    }
    steps
});

/// Steps of the database's clock: `forward`, `back`.
pub fn clock_steps() -> &'static IntCounterVec {
    &CLOCK_STEPS
}

/// So long a scrape waits for the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(1);

/// So long it waits for the queue, which answers at once or is away.
const QUEUE_PATIENCE: Duration = Duration::from_millis(300);

/// Everything in the text format that Prometheus reads: what this process counts, and the state of the installation
/// as the database and the queue have it now. What cannot be asked is left out, within about a second.
pub async fn render(store: &Store, queue: &Queue) -> String {
    let state = Registry::new();
    gauge_line(&state, store);
    // Side by side, for the one may be away while the other has much to tell.
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

/// What this process knows of the database without asking it.
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

/// Each gauge comes to be once its value is known: a zero in its place would silence an alarm.
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
    let processes = processes::spoken_of(store).await?;
    let now_ms = store.now_ms();
    let alive = gauges(state, "tasdiq_processes", "Processes that are alive.", &["role"]);
    let silent = gauges(
        state,
        "tasdiq_silent_processes",
        "Processes that have told nothing of themselves for 10 s and did not end in good order: they hang, or were killed.",
        &["role"],
    );
    let deaf = gauges(
        state,
        "tasdiq_silent_consumers",
        "Processes whose consumer has heard nothing from its queue for 10 s, those that hang included.",
        &["role"],
    );
    for role in ["up", "api", "worker"] {
        silent.with_label_values(&[role]).set(0);
    }
    for role in ["up", "worker"] {
        deaf.with_label_values(&[role]).set(0);
    }
    for process in processes {
        let role = [process.role.as_str()];
        alive.with_label_values(&role).add(process.is_alive(now_ms).into());
        silent.with_label_values(&role).add(process.is_silent(now_ms).into());
        if process.queue_heard_at_ms.is_some() {
            deaf.with_label_values(&role).add(process.has_silent_consumer(now_ms).into());
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

/// A family of counters, registered. One that cannot be registered (its name is taken) still counts, unseen: no
/// payment fails because of a metric.
///
/// # Panics
/// If `name` or a label is no prometheus name: keep them constants, and build each metric once in a test.
#[expect(clippy::panic, reason = "a misspelt constant, found by the first test that builds the metric")]
pub fn counter_vec(name: &'static str, help: &'static str, labels: &[&str]) -> IntCounterVec {
    match IntCounterVec::new(Opts::new(name, help), labels) {
        Ok(metric) => registered(name, metric),
        Err(error) => panic!("{name} is no metric: {error}"),
    }
}

/// A family of gauges, registered like [`counter_vec`].
///
/// # Panics
/// If `name` or a label is no prometheus name.
#[expect(clippy::panic, reason = "a misspelt constant, found by the first test that builds the metric")]
pub fn gauge_vec(name: &'static str, help: &'static str, labels: &[&str]) -> IntGaugeVec {
    match IntGaugeVec::new(Opts::new(name, help), labels) {
        Ok(metric) => registered(name, metric),
        Err(error) => panic!("{name} is no metric: {error}"),
    }
}

/// A family of histograms over the upper bounds `buckets`, registered like [`counter_vec`].
///
/// # Panics
/// If `name` or a label is no prometheus name, or the bounds do not grow.
#[expect(clippy::panic, reason = "a misspelt constant, found by the first test that builds the metric")]
pub fn histogram_vec(name: &'static str, help: &'static str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    match HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels) {
        Ok(metric) => registered(name, metric),
        Err(error) => panic!("{name} is no metric: {error}"),
    }
}

fn registered<M: prometheus::core::Collector + Clone + 'static>(name: &str, metric: M) -> M {
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::warn!(metric = name, error = %error, "metric {name} counts unseen: it could not be registered");
    }
    metric
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Instant;

    use super::*;
    use crate::config::DatabaseUrl;
    use crate::queue::RedisQueue;
    use crate::redis_server::RedisServer;

    #[tokio::test]
    async fn a_redis_that_hangs_hides_nothing_of_what_the_database_tells() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(folder.path().join("t.db"))).await.unwrap();
        store.migrate().await.unwrap();
        // It takes connections and never says a word.
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

        let text = render(&store, &Queue::Local(crate::queue::LocalQueue::default())).await;

        for name in ["tasdiq_oldest_due_job_seconds", "tasdiq_dead_letters", "tasdiq_orders{"] {
            assert!(!text.contains(&format!("\n{name}")), "{name}: {text}");
        }
        assert!(text.contains("tasdiq_queue_depth{queue=\"settle\"} 0"), "{text}");
    }

    #[test]
    fn a_gateway_call_is_seen_by_whoever_reads_the_registry() {
        gateway_calls().with_label_values(&["look", "ok"]).inc();
        gateway_call_seconds().with_label_values(&["look", "ok"]).observe(0.2);

        let names: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(names.contains(&"tasdiq_gateway_calls_total".to_owned()), "{names:?}");
        assert!(names.contains(&"tasdiq_gateway_call_seconds".to_owned()), "{names:?}");
    }

    #[test]
    fn a_metric_whose_name_is_taken_still_counts() {
        let first = counter_vec("tasdiq_twice_total", "A name used twice.", &["kind"]);
        let second = counter_vec("tasdiq_twice_total", "A name used twice.", &["kind"]);

        first.with_label_values(&["a"]).inc();
        second.with_label_values(&["a"]).inc();

        assert_eq!(second.with_label_values(&["a"]).get(), 1);
    }
}
