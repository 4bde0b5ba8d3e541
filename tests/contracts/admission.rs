use domain::gateway_rate::GatewayRate;
use store::admission::{self, AdmissionSettings};
use store::{StoreError, processes};

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    an_operators_settings_are_stored_for_all_processes
    a_reset_of_the_breaker_changes_nothing_else
    a_heartbeat_of_an_older_release_is_still_read
    a_setting_that_this_release_cannot_read_is_reported_and_not_guessed
    a_heartbeat_reports_the_admission_as_the_process_sees_it
}

async fn an_operators_settings_are_stored_for_all_processes(f: Fixture) {
    let other = f.another_process().await;
    assert_eq!(admission::settings(&other).await.unwrap(), AdmissionSettings::default());

    let rate = GatewayRate { per_second: 10, burst: 20 };
    admission::set_rate(&f.store, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
    admission::set_rate(&f.store, Some(rate)).await.unwrap();
    admission::pause(&f.store).await.unwrap();
    let paused = admission::settings(&other).await.unwrap();
    admission::pause(&f.store).await.unwrap();

    assert_eq!((paused.rate, paused.breaker_reset_at_ms), (Some(rate), None));
    assert!(paused.paused_at_ms.is_some());
    assert_eq!(admission::settings(&other).await.unwrap(), paused, "to pause again keeps the first time");

    admission::resume(&f.store, false).await.unwrap();
    let resumed = admission::settings(&other).await.unwrap();
    assert_eq!((resumed.rate, resumed.paused_at_ms), (Some(rate), None), "the rate limit stays");
    assert!(resumed.breaker_reset_at_ms >= paused.paused_at_ms);

    admission::set_rate(&f.store, None).await.unwrap();
    assert_eq!(admission::settings(&other).await.unwrap().rate, None);
}

async fn a_reset_of_the_breaker_changes_nothing_else(f: Fixture) {
    admission::set_rate(&f.store, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
    admission::pause(&f.store).await.unwrap();
    let before = admission::settings(&f.store).await.unwrap();

    admission::reset_breaker(&f.store).await.unwrap();

    let after = admission::settings(&f.store).await.unwrap();
    assert!(after.breaker_reset_at_ms.is_some());
    assert_eq!(after, AdmissionSettings { breaker_reset_at_ms: after.breaker_reset_at_ms, ..before });
}

/// A process of an older release knows neither the column `admission` nor our names.
async fn a_heartbeat_of_an_older_release_is_still_read(f: Fixture) {
    let now_ms = f.store.now_ms();
    f.execute(&[format!(
        "insert into processes (id, role, version, slots, queues, started_at_ms, heartbeat_at_ms, weather)
        values ('old', 'worker', '0', 1, 'links', {now_ms}, {now_ms}, 'as it wrote it')"
    )])
    .await;

    let alive = processes::alive(&f.store).await.unwrap();

    assert_eq!((&alive[0].admission, alive[0].weather.as_deref()), (&None, Some("as it wrote it")));
}

async fn a_setting_that_this_release_cannot_read_is_reported_and_not_guessed(f: Fixture) {
    f.execute(&["insert into installation (name, value) values ('gateway_rate', 'tides')".to_owned()]).await;

    let settings = admission::settings(&f.store).await;

    assert!(matches!(&settings, Err(StoreError::UnknownValue { value, .. }) if value == "tides"), "{settings:?}");
    admission::set_rate(&f.store, None).await.unwrap();
    assert!(admission::settings(&f.store).await.is_ok(), "it can be taken back");
}

async fn a_heartbeat_reports_the_admission_as_the_process_sees_it(f: Fixture) {
    let mut process = processes::Process {
        id: "a".into(),
        role: "worker".into(),
        version: "1".into(),
        slots: 1,
        queues: "links".into(),
        redis_instance_id: None,
        started_at_ms: f.store.now_ms(),
        heartbeat_at_ms: f.store.now_ms(),
        queue_heard_at_ms: None,
        admission: Some("{}".into()),
        weather: Some("older".into()),
        log_fault: None,
        gateway: None,
    };
    processes::write_heartbeat(&f.store, &process).await.unwrap();
    assert_eq!(processes::alive(&f.store).await.unwrap()[0].admission.as_deref(), Some("{}"));

    process.admission = Some("[]".into());
    process.weather = Some("old".into());
    process.log_fault = Some("its disk is full".into());
    processes::write_heartbeat(&f.store, &process).await.unwrap();

    let told = processes::alive(&f.store).await.unwrap();
    assert_eq!((told[0].admission.as_deref(), told[0].weather.as_deref()), (Some("[]"), Some("old")));
    assert_eq!(told[0].log_fault.as_deref(), Some("its disk is full"));
}
