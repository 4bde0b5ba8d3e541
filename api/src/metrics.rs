//! Metrics of the HTTP side. [`process::scrape::render`] writes `/metrics` itself.

use domain::callback_verdict::CallbackVerdict;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec, histogram_vec};

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

static CALLBACKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let callbacks = counter_vec("tasdiq_callbacks_total", "Callbacks of the gateway, by verdict.", &["verdict"]);
    // An alert on a rate needs series that begin at zero.
    for verdict in CallbackVerdict::ALL {
        callbacks.with_label_values(&[verdict.as_str()]);
    }
    callbacks
});

static UNLISTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let unlisted = counter_vec(
        "tasdiq_callbacks_unlisted_total",
        "Correctly signed callbacks from an unlisted address, by outcome.",
        &["outcome"],
    );
    for outcome in ["watched", "refused"] {
        unlisted.with_label_values(&[outcome]);
    }
    unlisted
});

static BADLY_SIGNED_IN_A_ROW: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let in_a_row = gauge_vec(
        "tasdiq_callbacks_badly_signed_in_a_row",
        "Wrongly signed callbacks since the last correctly signed one: a high value means that the key is wrong.",
        &[],
    );
    let none: [&str; 0] = [];
    in_a_row.with_label_values(&none).set(0);
    in_a_row
});

static UNKEPT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let unkept = counter_vec(
        "tasdiq_callbacks_unkept_total",
        "Callbacks without a valid signature that were only counted: incomplete, too large, or above the limit of the minute or of the day.",
        &[],
    );
    let none: [&str; 0] = [];
    unkept.with_label_values(&none);
    unkept
});

static CALLBACK_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec("tasdiq_callback_seconds", "Time until a callback was answered, by verdict.", &["verdict"], SECONDS)
});

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_http_requests_total", "Requests, by route and status code.", &["route", "status"])
});

static REQUEST_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec("tasdiq_http_request_seconds", "Time until the response to a request began.", &["route"], SECONDS)
});

/// Creates all series, so that the first scrape shows them.
pub(crate) fn register() {
    LazyLock::force(&CALLBACKS);
    LazyLock::force(&CALLBACK_SECONDS);
    LazyLock::force(&UNLISTED);
    LazyLock::force(&UNKEPT);
    LazyLock::force(&BADLY_SIGNED_IN_A_ROW);
    LazyLock::force(&REQUESTS);
    LazyLock::force(&REQUEST_SECONDS);
}

/// Counts an answered request.
pub(crate) fn count_request(route: &str, status: u16, taken: Duration) {
    REQUESTS.with_label_values(&[route, &status.to_string()]).inc();
    REQUEST_SECONDS.with_label_values(&[route]).observe(taken.as_secs_f64());
}

/// Counts an answered callback.
pub(crate) fn count_callback(verdict: CallbackVerdict, taken: Duration) {
    CALLBACKS.with_label_values(&[verdict.as_str()]).inc();
    CALLBACK_SECONDS.with_label_values(&[verdict.as_str()]).observe(taken.as_secs_f64());
    let none: [&str; 0] = [];
    let in_a_row = BADLY_SIGNED_IN_A_ROW.with_label_values(&none);
    match verdict {
        CallbackVerdict::BadlySigned => in_a_row.inc(),
        // It tells nothing about the key.
        CallbackVerdict::Unreadable => (),
        _ => in_a_row.set(0),
    }
}

/// Counts a callback without a valid signature that was not stored.
pub(crate) fn count_unkept() {
    let none: [&str; 0] = [];
    UNKEPT.with_label_values(&none).inc();
}

/// Counts a correctly signed callback from an unlisted address.
pub(crate) fn count_unlisted(is_refused: bool) {
    UNLISTED.with_label_values(&[if is_refused { "refused" } else { "watched" }]).inc();
}
