//! Metrics of the HTTP side. [`process::scrape::render`] writes `/metrics` itself.

use std::sync::LazyLock;
use std::time::Duration;

use domain::callback_verdict::CallbackVerdict;
use domain::order::PaymentType;
use gateway::Gateways;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec, histogram_vec};

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

static CALLBACKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_callbacks_total", "Callbacks of gateways, by gateway and verdict.", &["gateway", "verdict"])
});

static UNLISTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_callbacks_unlisted_total",
        "Correctly signed callbacks from an unlisted address, by gateway and outcome.",
        &["gateway", "outcome"],
    )
});

static BADLY_SIGNED_IN_A_ROW: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_callbacks_badly_signed_in_a_row",
        "Wrongly signed callbacks of a gateway since the last correctly signed one: a high value means that the key is wrong.",
        &["gateway"],
    )
});

static UNKEPT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_callbacks_unkept_total",
        "Callbacks without a valid signature that were only counted: incomplete, too large, or above the limit of the minute or of the day.",
        &["gateway"],
    )
});

static CALLBACK_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "tasdiq_callback_seconds",
        "Time until a callback was answered, by gateway and verdict.",
        &["gateway", "verdict"],
        SECONDS,
    )
});

static PAYME_CALLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_payme_calls_total",
        "Calls of Payme, by method and outcome. Those that decide about a payment are also in `tasdiq_callbacks_total`.",
        &["method", "outcome"],
    )
});

static PAYME_CALL_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "tasdiq_payme_call_seconds",
        "Time until a call of Payme was answered, by method.",
        &["method"],
        SECONDS,
    )
});

/// The methods that are counted; `unknown` is a call that was not read, or has no key of ours or no method of Payme's.
const PAYME_METHODS: [&str; 8] = [
    "CheckPerformTransaction",
    "CreateTransaction",
    "PerformTransaction",
    "CancelTransaction",
    "CheckTransaction",
    "GetStatement",
    "SetFiscalData",
    UNKNOWN_METHOD,
];

const UNKNOWN_METHOD: &str = "unknown";

/// How a call of Payme was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PaymeOutcome {
    /// With a result.
    Done,
    /// With an error that decides.
    Refused,
    /// With a system error: nothing is decided, and Payme calls again.
    SystemError,
}

impl PaymeOutcome {
    const ALL: [PaymeOutcome; 3] = [PaymeOutcome::Done, PaymeOutcome::Refused, PaymeOutcome::SystemError];

    fn as_str(self) -> &'static str {
        match self {
            PaymeOutcome::Done => "done",
            PaymeOutcome::Refused => "refused",
            PaymeOutcome::SystemError => "system_error",
        }
    }
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_http_requests_total", "Requests, by route and status code.", &["route", "status"])
});

static REQUEST_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec("tasdiq_http_request_seconds", "Time until the response to a request began.", &["route"], SECONDS)
});

/// Creates all series, so that the first scrape shows them: an alert on a rate needs series that begin at zero.
pub(crate) fn register(gateways: &Gateways) {
    for gateway in gateways.iter().map(|gateway| gateway.payment_type().as_str()) {
        for verdict in CallbackVerdict::ALL {
            CALLBACKS.with_label_values(&[gateway, verdict.as_str()]);
        }
        for outcome in ["watched", "refused"] {
            UNLISTED.with_label_values(&[gateway, outcome]);
        }
        UNKEPT.with_label_values(&[gateway]);
        BADLY_SIGNED_IN_A_ROW.with_label_values(&[gateway]);
    }
    if gateways.iter().any(|gateway| gateway.payment_type() == PaymentType::Payme) {
        for method in PAYME_METHODS {
            for outcome in PaymeOutcome::ALL {
                PAYME_CALLS.with_label_values(&[method, outcome.as_str()]);
            }
        }
    }
    LazyLock::force(&CALLBACK_SECONDS);
    LazyLock::force(&REQUESTS);
    LazyLock::force(&REQUEST_SECONDS);
}

/// Counts an answered request.
pub(crate) fn count_request(route: &str, status: u16, taken: Duration) {
    REQUESTS.with_label_values(&[route, &status.to_string()]).inc();
    REQUEST_SECONDS.with_label_values(&[route]).observe(taken.as_secs_f64());
}

/// Counts an answered callback of this gateway.
pub(crate) fn count_callback(gateway: PaymentType, verdict: CallbackVerdict, taken: Duration) {
    let labels = [gateway.as_str(), verdict.as_str()];
    CALLBACKS.with_label_values(&labels).inc();
    CALLBACK_SECONDS.with_label_values(&labels).observe(taken.as_secs_f64());
    let in_a_row = BADLY_SIGNED_IN_A_ROW.with_label_values(&[gateway.as_str()]);
    match verdict {
        CallbackVerdict::BadlySigned => in_a_row.inc(),
        // It tells nothing about the key.
        CallbackVerdict::Unreadable => (),
        _ => in_a_row.set(0),
    }
}

/// Counts an answered call of Payme; `method` is one of Payme's, of a call with a key of ours.
pub(crate) fn count_payme_call(method: Option<&'static str>, outcome: PaymeOutcome, taken: Duration) {
    let method = method.unwrap_or(UNKNOWN_METHOD);
    PAYME_CALLS.with_label_values(&[method, outcome.as_str()]).inc();
    PAYME_CALL_SECONDS.with_label_values(&[method]).observe(taken.as_secs_f64());
}

/// Counts a callback without a valid signature that was not stored.
pub(crate) fn count_unkept(gateway: PaymentType) {
    UNKEPT.with_label_values(&[gateway.as_str()]).inc();
}

/// Counts a correctly signed callback from an unlisted address.
pub(crate) fn count_unlisted(gateway: PaymentType, is_refused: bool) {
    UNLISTED.with_label_values(&[gateway.as_str(), if is_refused { "refused" } else { "watched" }]).inc();
}
