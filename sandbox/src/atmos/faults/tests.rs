use std::time::Duration;

use super::AtmosFault;
use crate::faults::{FaultRequest, FaultTarget, Faults, Strike};

const ANYTHING: FaultTarget<'_> = FaultTarget { call: None, account: None };

fn request(json: &str) -> FaultRequest {
    serde_json::from_str(json).expect("a request")
}

#[test]
fn a_fault_for_the_next_two_calls_strikes_twice() {
    let faults = Faults::<AtmosFault>::default();
    faults.add(request(r#"{"fault":"callback-never","next":2}"#)).expect("a fault");

    let strikes = (0..5).filter(|_| faults.strikes(AtmosFault::CallbackNever, ANYTHING).is_some()).count();

    assert_eq!(strikes, 2);
    assert!(faults.active().is_empty());
}

#[test]
fn a_fault_for_one_account_spares_the_others() {
    let faults = Faults::<AtmosFault>::default();
    faults.add(request(r#"{"fault":"lapsed","account":"7"}"#)).expect("a fault");
    let target = |account| FaultTarget { call: None, account: Some(account) };

    assert!(faults.strikes(AtmosFault::Lapsed, target("7")).is_some());
    assert!(faults.strikes(AtmosFault::Lapsed, target("8")).is_none());
    assert!(faults.strikes(AtmosFault::Lapsed, ANYTHING).is_none());
    assert!(faults.strikes(AtmosFault::Latency, target("7")).is_none());
}

#[test]
fn a_fault_for_a_prefix_strikes_every_account_that_begins_so() {
    let faults = Faults::<AtmosFault>::default();
    faults.add(request(r#"{"fault":"lapsed","account":"sim-*"}"#)).expect("a fault");
    let strikes =
        |account| faults.strikes(AtmosFault::Lapsed, FaultTarget { call: None, account: Some(account) }).is_some();

    assert!(strikes("sim-1") && strikes("sim-"));
    assert!(!strikes("sim") && !strikes("7") && !strikes("a-sim-1"));
    assert!(faults.strikes(AtmosFault::Lapsed, ANYTHING).is_none());
}

#[test]
fn a_fault_for_one_path_spares_the_others() {
    let faults = Faults::<AtmosFault>::default();
    faults.add(request(r#"{"fault":"latency","path":"/merchant/pay/get","milliseconds":5}"#)).expect("a fault");
    let target = |path| FaultTarget { call: Some(path), account: None };

    assert_eq!(
        faults.strikes(AtmosFault::Latency, target("/merchant/pay/get")),
        Some(Strike { delay: Duration::from_millis(5), times: 3 })
    );
    assert!(faults.strikes(AtmosFault::Latency, target("/merchant/pay/create")).is_none());
}

#[test]
fn a_share_strikes_some_calls_and_spares_some() {
    let faults = Faults::<AtmosFault>::default();
    faults.add(request(r#"{"fault":"lapsed","share":0.5}"#)).expect("a fault");

    let strikes = (0..1_000).filter(|_| faults.strikes(AtmosFault::Lapsed, ANYTHING).is_some()).count();

    assert!((350..650).contains(&strikes), "{strikes} of 1000");
}

#[test]
fn nonsense_is_refused_and_the_known_names_are_told() {
    let faults = Faults::<AtmosFault>::default();

    let error = faults.add(request(r#"{"fault":"calback-never"}"#)).expect_err("no such fault").to_string();
    assert!(error.contains("callback-never") && error.contains("latency"), "{error}");

    for nonsense in [
        r#"{"fault":"latency","share":1.5}"#,
        r#"{"fault":"latency","next":0}"#,
        r#"{"fault":"latency","path":"/nowhere"}"#,
        r#"{"fault":"lapsed","path":"/merchant/pay/get"}"#,
        r#"{"fault":"token-slow","account":"7"}"#,
        r#"{"fault":"callback-repeated","times":0}"#,
        r#"{"fault":"callback-repeated","times":101}"#,
    ] {
        assert!(faults.add(request(nonsense)).is_err(), "{nonsense}");
    }
    assert!(faults.active().is_empty());
}

#[test]
fn a_cleared_fault_strikes_no_more() {
    let faults = Faults::<AtmosFault>::default();
    faults.add(request(r#"{"fault":"latency"}"#)).expect("a fault");

    faults.clear();

    assert!(faults.strikes(AtmosFault::Latency, ANYTHING).is_none());
}
