//! Several accounts of one installation, and the account that it shares with a release that has one.

use futures_util::future::join_all;

use super::*;

const RATE: Option<GatewayRate> = Some(GatewayRate { per_second: 1, burst: 1 });

async fn fail(from: &Coordination) {
    for _ in 0..breaker::FAILURES {
        let permit = from.admit(Urgency::Now).await.unwrap();
        from.settle(permit, CallOutcome::Failed("HTTP 503")).await;
    }
}

/// Two accounts of one process, and two of processes on one Redis.
fn pairs(rate: Option<GatewayRate>) -> [[Coordination; 2]; 2] {
    let server = an_installation();
    let accounts = || [account_of("1").with_older_names(), account_of("2")];
    let shared = accounts().map(|account| Coordination::redis(account, server.clone(), rate));
    [accounts().map(|account| Coordination::local(account, rate)), shared]
}

/// Shows: ADMISSION-19
#[tokio::test]
async fn the_breaker_of_one_account_holds_up_no_call_of_another() {
    for [silent, well] in pairs(None) {
        fail(&silent).await;

        assert!(matches!(silent.admit(Urgency::Now).await, Err(HeldBack { obstacle: Obstacle::Breaker { .. }, .. })));
        let permit = well.admit(Urgency::Now).await.unwrap();
        assert!(!permit.is_probe());
        well.settle(permit, CallOutcome::Answered).await;
        well.refresh().await;
        assert_eq!(well.view().breaker.state, BreakerState::Closed);
        silent.refresh().await;
        assert_ne!(silent.view().breaker.state, BreakerState::Closed, "nor does its answer close the other's");
    }
}

/// Shows: ADMISSION-19
#[tokio::test]
async fn a_retry_after_for_one_account_is_kept_by_no_other() {
    for [told, other] in pairs(None) {
        told.begin_retry_after(SECOND * 60).await;

        assert_eq!(told.admit(Urgency::Now).await.unwrap_err().obstacle, Obstacle::RetryAfter);
        assert!(other.admit(Urgency::Now).await.is_ok());
        assert_eq!(other.view().retry_after, None);
    }
}

/// Shows: ADMISSION-19
#[tokio::test]
async fn calls_of_one_account_use_up_no_rate_limit_of_another() {
    for [busy, other] in pairs(RATE) {
        let admitted = join_all((0..8).map(|_| busy.admit(Urgency::Now))).await;
        assert!(admitted.iter().any(Result::is_err), "its rate limit is used up");

        let began = Instant::now();
        assert!(other.admit(Urgency::Now).await.is_ok());
        assert!(began.elapsed() < SECOND / 2, "its first call waited {:?}", began.elapsed());
    }
}

/// Shows: ADMISSION-19
#[tokio::test]
async fn an_operators_pause_and_reset_are_for_one_account() {
    for [first, second] in pairs(None) {
        fail(&first).await;
        fail(&second).await;
        first.apply(OperatorSettings { is_paused: true, ..OperatorSettings::default() }, true).await;

        second.apply(OperatorSettings { breaker_reset_at_ms: Some(1), ..OperatorSettings::default() }, false).await;

        assert_eq!(first.admit(Urgency::Now).await.unwrap_err().obstacle, Obstacle::Operator);
        assert!(second.admit(Urgency::Now).await.is_ok());
        first.refresh().await;
        assert_ne!(first.view().breaker.state, BreakerState::Closed);
    }
}

/// The hash of a process that runs a release with one account, written and read by hand.
/// Shows: ADMISSION-20
#[tokio::test]
async fn a_release_with_one_account_shares_the_breaker_of_the_account_that_both_have() {
    let server = an_installation();
    let ours = Coordination::redis(account_of("1").with_older_names(), server.clone(), None);
    let other = Coordination::redis(account_of("2"), server.clone(), None);
    let (key, mut commands) = (server.key("gateway-weather"), server.commands());

    let far = "9000000000000000";
    let fields = &["failures", "5", "opened_at", "1", "open_until", far, "cause", "HTTP 503"];
    let _: i64 = ::redis::cmd("HSET").arg(&key).arg(fields).query_async(&mut commands).await.unwrap();
    assert!(matches!(ours.admit(Urgency::Now).await, Err(HeldBack { obstacle: Obstacle::Breaker { .. }, .. })));
    assert!(other.admit(Urgency::Now).await.is_ok(), "it is one account's");

    let _: i64 = ::redis::cmd("DEL").arg(&key).query_async(&mut commands).await.unwrap();
    fail(&ours).await;
    let failures: String = ::redis::cmd("HGET").arg(&key).arg("failures").query_async(&mut commands).await.unwrap();
    let opened_at: u64 = ::redis::cmd("HGET").arg(&key).arg("opened_at").query_async(&mut commands).await.unwrap();
    assert_eq!(failures, "5");
    assert!(opened_at > 0, "the older process sees an open breaker");
}

/// The labels of two accounts of one gateway.
#[tokio::test]
async fn the_gauges_tell_accounts_apart() {
    let first = Coordination::local(account_of("gauge-1"), RATE);
    let second = Coordination::local(account_of("gauge-2"), RATE);
    fail_without_limit(&first).await;
    let line = |name: &str, rest: &str| {
        let text = prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap();
        let start = format!("{name}{{account=\"sandbox:{rest}");
        text.lines().find_map(|line| line.strip_prefix(start.as_str()).map(str::to_owned))
    };
    first.gauge();
    second.gauge();

    let closed =
        |account: &str| line("tasdiq_gateway_breaker", &format!("{account}\",gateway=\"atmos\",state=\"closed\"}} "));
    assert_eq!((closed("gauge-1").as_deref(), closed("gauge-2").as_deref()), (Some("0"), Some("1")));
    let burst =
        |account: &str| line("tasdiq_gateway_rate_limit", &format!("{account}\",gateway=\"atmos\",part=\"burst\"}} "));
    assert_eq!(burst("gauge-2").as_deref(), Some("1"));
    assert!(burst("gauge-1").is_some());
}

/// Opens the breaker of an account whose rate limit admits few calls.
async fn fail_without_limit(from: &Coordination) {
    from.apply(
        OperatorSettings { rate: Some(GatewayRate { per_second: 100, burst: 100 }), ..OperatorSettings::default() },
        true,
    )
    .await;
    fail(from).await;
}
