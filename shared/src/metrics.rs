//! What we count about ourselves, all of it in prometheus' default registry, under names that begin `tasdiq_`.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::job::QueueName;
use crate::queue::Queue;
use crate::store::{Store, StoreError, jobs, orders, processes};

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

/// Requests to the gateway. Labels: `operation` (`token`, `create`, `look`) and `outcome` (`ok`, `unreachable`,
/// `unknown`, `throttled`, `not_admitted`, `refused`; `over_budget` for one that our own budget kept back).
pub fn gateway_calls() -> &'static IntCounterVec {
    &GATEWAY_CALLS
}

/// How long those requests took, with the same labels.
pub fn gateway_call_seconds() -> &'static HistogramVec {
    &GATEWAY_CALL_SECONDS
}

static ORDER_TRANSITIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_order_transitions_total", "Orders that entered a status, by this process.", &["status"])
});

/// Orders that entered a status, by this process. Statuses that are not left again are counted only here: a table
/// that grows is not scanned at every scrape.
pub fn order_transitions() -> &'static IntCounterVec {
    &ORDER_TRANSITIONS
}

/// Everything in the text format that Prometheus reads: what this process counts, and the state of the installation
/// as the database and the queue have it now. What cannot be asked is left out.
pub async fn render(store: &Store, queue: &Queue) -> String {
    let state = Registry::new();
    // A scrape waits no longer than this for a database that is away.
    let asked = tokio::time::timeout(Duration::from_secs(2), gauge_state(&state, store, queue)).await;
    if let Ok(Err(trouble)) = &asked {
        tracing::debug!(error = %trouble, "the state of the installation is missing from this scrape");
    }
    let mut families = prometheus::gather();
    families.extend(state.gather());
    let mut text = Vec::new();
    let _ = TextEncoder::new().encode(&families, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

async fn gauge_state(state: &Registry, store: &Store, queue: &Queue) -> Result<(), StoreError> {
    let depth = gauges(state, "tasdiq_queue_depth", "Job ids that wait in a queue.", &["queue"]);
    for name in QueueName::ALL {
        if let Ok(waiting) = queue.len(*name).await {
            depth.with_label_values(&[name.as_str()]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }
    let none: [&str; 0] = [];
    let age = gauges(state, "tasdiq_oldest_due_job_seconds", "How long the longest waiting due job has waited.", &[]);
    age.with_label_values(&none).set(jobs::oldest_due_age_ms(store, QueueName::ALL).await? / 1_000);
    let dead = gauges(state, "tasdiq_dead_letters", "Jobs that will not run again until a person says so.", &[]);
    dead.with_label_values(&none).set(jobs::count_dead(store).await?);
    let open = gauges(state, "tasdiq_orders", "Orders by status, of those that are still on their way.", &["status"]);
    for status in ["pending", "confirming", "review", "needs_review"] {
        open.with_label_values(&[status]).set(0);
    }
    for (status, count) in orders::count_open(store).await? {
        open.with_label_values(&[&status]).set(count);
    }
    let alive = gauges(state, "tasdiq_processes", "Processes that are alive.", &["role"]);
    for process in processes::alive(store).await? {
        alive.with_label_values(&[&process.role]).inc();
    }
    Ok(())
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
    use super::*;

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
