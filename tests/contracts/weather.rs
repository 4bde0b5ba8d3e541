use domain::gateway_rate::GatewayRate;
use store::weather::{self, KeptWord};
use store::{StoreError, processes};

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    what_an_operator_says_about_the_gateway_is_kept_for_all_processes
    a_word_that_this_release_cannot_read_is_told_and_not_guessed
    how_a_process_sees_the_weather_is_told_with_its_heartbeat
}

async fn what_an_operator_says_about_the_gateway_is_kept_for_all_processes(f: Fixture) {
    let other = f.another_process().await;
    assert_eq!(weather::word(&other).await.unwrap(), KeptWord::default());

    let rate = GatewayRate { per_second: 10, burst: 20 };
    weather::set_rate(&f.store, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
    weather::set_rate(&f.store, Some(rate)).await.unwrap();
    weather::close(&f.store).await.unwrap();
    let closed = weather::word(&other).await.unwrap();
    weather::close(&f.store).await.unwrap();

    assert_eq!((closed.rate, closed.opened_at_ms), (Some(rate), None));
    assert!(closed.closed_at_ms.is_some());
    assert_eq!(weather::word(&other).await.unwrap(), closed, "closing it again keeps the first moment");

    weather::open(&f.store, false).await.unwrap();
    let opened = weather::word(&other).await.unwrap();
    assert_eq!((opened.rate, opened.closed_at_ms), (Some(rate), None), "the budget stays");
    assert!(opened.opened_at_ms >= closed.closed_at_ms);

    weather::set_rate(&f.store, None).await.unwrap();
    assert_eq!(weather::word(&other).await.unwrap().rate, None);
}

async fn a_word_that_this_release_cannot_read_is_told_and_not_guessed(f: Fixture) {
    f.execute(&["insert into installation (name, value) values ('gateway_rate', 'tides')".to_owned()]).await;

    let word = weather::word(&f.store).await;

    assert!(matches!(&word, Err(StoreError::UnknownValue { value, .. }) if value == "tides"), "{word:?}");
    weather::set_rate(&f.store, None).await.unwrap();
    assert!(weather::word(&f.store).await.is_ok(), "it can be taken back");
}

async fn how_a_process_sees_the_weather_is_told_with_its_heartbeat(f: Fixture) {
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
        weather: Some("fair".into()),
        log_fault: None,
        gateway: None,
    };
    processes::write_heartbeat(&f.store, &process).await.unwrap();
    assert_eq!(processes::alive(&f.store).await.unwrap()[0].weather.as_deref(), Some("fair"));

    process.weather = Some("foul".into());
    process.log_fault = Some("its disk is full".into());
    processes::write_heartbeat(&f.store, &process).await.unwrap();

    let told = processes::alive(&f.store).await.unwrap();
    assert_eq!(told[0].weather.as_deref(), Some("foul"));
    assert_eq!(told[0].log_fault.as_deref(), Some("its disk is full"));
}
