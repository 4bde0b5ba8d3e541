use domain::gateway_rate::GatewayRate;
use domain::order::GatewayIdentity;
use store::admission::{self, AdmissionSettings, SettingsRows};
use store::{Store, StoreError, processes};

use crate::support::fixture::{Fixture, on_every_database};

on_every_database! {
    an_operators_settings_are_stored_for_all_processes
    a_reset_of_the_breaker_changes_nothing_else
    the_settings_of_one_account_are_not_those_of_another
    a_release_with_one_account_and_this_one_obey_each_others_settings
    a_setting_that_was_made_without_knowing_the_account_is_obeyed_and_taken_back
    a_heartbeat_of_an_older_release_is_still_read
    a_setting_that_this_release_cannot_read_is_reported_and_not_guessed
    a_heartbeat_reports_the_admission_as_the_process_sees_it
    a_worker_of_one_of_several_accounts_is_found
}

/// The rows of this account.
fn rows(account: &str) -> SettingsRows {
    SettingsRows::of(&GatewayIdentity(account.to_owned()))
}

async fn settings(store: &Store, rows: &SettingsRows) -> AdmissionSettings {
    admission::settings(store).await.unwrap().of(rows).unwrap()
}

async fn an_operators_settings_are_stored_for_all_processes(f: Fixture) {
    for rows in [rows("click:1"), SettingsRows::with_older(&GatewayIdentity("atmos:1".into()))] {
        let other = f.another_process().await;
        let seen = async || settings(&other, &rows).await;
        assert_eq!(seen().await, AdmissionSettings::default());

        let rate = GatewayRate { per_second: 10, burst: 20 };
        admission::set_rate(&f.store, &rows, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
        admission::set_rate(&f.store, &rows, Some(rate)).await.unwrap();
        admission::pause(&f.store, &rows).await.unwrap();
        let paused = seen().await;
        admission::pause(&f.store, &rows).await.unwrap();

        assert_eq!((paused.rate, paused.breaker_reset_at_ms), (Some(rate), None));
        assert!(paused.paused_at_ms.is_some());
        assert_eq!(seen().await, paused, "to pause again keeps the first time");

        admission::resume(&f.store, &rows, false).await.unwrap();
        let resumed = seen().await;
        assert_eq!((resumed.rate, resumed.paused_at_ms), (Some(rate), None), "the rate limit stays");
        assert!(resumed.breaker_reset_at_ms >= paused.paused_at_ms);

        admission::set_rate(&f.store, &rows, None).await.unwrap();
        assert_eq!(seen().await.rate, None);
    }
}

async fn a_reset_of_the_breaker_changes_nothing_else(f: Fixture) {
    let rows = rows("atmos:1");
    admission::set_rate(&f.store, &rows, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
    admission::pause(&f.store, &rows).await.unwrap();
    let before = settings(&f.store, &rows).await;

    admission::reset_breaker(&f.store, &rows).await.unwrap();

    let after = settings(&f.store, &rows).await;
    assert!(after.breaker_reset_at_ms.is_some());
    assert_eq!(after, AdmissionSettings { breaker_reset_at_ms: after.breaker_reset_at_ms, ..before });
}

/// Shows: ADMISSION-19
async fn the_settings_of_one_account_are_not_those_of_another(f: Fixture) {
    let accounts = [
        SettingsRows::with_older(&GatewayIdentity("atmos:1".into())),
        rows("atmos:11"),
        rows("click:1"),
        rows("payme:a"),
    ];
    for account in &accounts {
        admission::pause(&f.store, account).await.unwrap();
        admission::set_rate(&f.store, account, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
        admission::resume(&f.store, account, true).await.unwrap();
        admission::pause(&f.store, account).await.unwrap();

        for other in accounts.iter().filter(|other| *other != account) {
            assert_eq!(settings(&f.store, other).await, AdmissionSettings::default(), "{account:?} {other:?}");
        }
        admission::resume(&f.store, account, false).await.unwrap();
        f.execute(&["delete from installation where name like 'gateway%'".to_owned()]).await;
    }
}

/// A roll-out: both releases run, and an operator types a command of either. What the older one writes is written by hand.
/// Shows: ADMISSION-20
async fn a_release_with_one_account_and_this_one_obey_each_others_settings(f: Fixture) {
    let ours = SettingsRows::with_older(&GatewayIdentity("atmos:1".into()));
    let older = async |sql: &str| f.execute(&[sql.to_owned()]).await;
    let name = "select count(*) from installation where name in ('gateway_closed_at_ms', 'gateway_rate')";

    older("insert into installation (name, value) values ('gateway_closed_at_ms', '5'), ('gateway_rate', '3/4')").await;
    older("insert into installation (name, value) values ('gateway_opened_at_ms', '6')").await;
    older("insert into installation (name, value) values ('gateway_patience_overridden_at_ms', '7')").await;
    let expected = AdmissionSettings {
        rate: Some(GatewayRate { per_second: 3, burst: 4 }),
        paused_at_ms: Some(5),
        breaker_reset_at_ms: Some(6),
        retry_after_overridden_at_ms: Some(7),
    };
    assert_eq!(settings(&f.store, &ours).await, expected, "what the older release wrote is obeyed");
    assert_eq!(settings(&f.store, &rows("atmos:2")).await, AdmissionSettings::default(), "by this account alone");

    admission::resume(&f.store, &ours, false).await.unwrap();
    admission::set_rate(&f.store, &ours, None).await.unwrap();
    assert_eq!(f.number(name).await, 0, "the older release sees that calls may leave, at its own rate limit");

    admission::pause(&f.store, &ours).await.unwrap();
    admission::set_rate(&f.store, &ours, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
    assert_eq!(f.number(name).await, 2, "it sees the pause and the rate limit");
    older("delete from installation where name = 'gateway_closed_at_ms'").await;
    assert_eq!(settings(&f.store, &ours).await.paused_at_ms, None, "its `resume` ends our pause");
}

/// An operator's shell need not know which account a release with one account had.
/// Shows: ADMISSION-20
async fn a_setting_that_was_made_without_knowing_the_account_is_obeyed_and_taken_back(f: Fixture) {
    let ours = SettingsRows::with_older(&GatewayIdentity("atmos:1".into()));
    let unknowing = rows("atmos:1");

    admission::pause(&f.store, &unknowing).await.unwrap();
    admission::set_rate(&f.store, &unknowing, Some(GatewayRate { per_second: 1, burst: 1 })).await.unwrap();
    admission::reset_breaker(&f.store, &unknowing).await.unwrap();
    assert_eq!(settings(&f.store, &ours).await, settings(&f.store, &unknowing).await);

    admission::resume(&f.store, &ours, false).await.unwrap();
    admission::set_rate(&f.store, &ours, None).await.unwrap();
    let AdmissionSettings { rate, paused_at_ms, .. } = settings(&f.store, &ours).await;
    assert_eq!((rate, paused_at_ms), (None, None));
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
    f.execute(&["insert into installation (name, value) values ('gateway_rate:atmos:1', 'tides')".to_owned()]).await;
    let read = async |account| admission::settings(&f.store).await.unwrap().of(&rows(account));

    let settings = read("atmos:1").await;

    assert!(matches!(&settings, Err(StoreError::UnknownValue { value, .. }) if value == "tides"), "{settings:?}");
    assert!(read("atmos:2").await.is_ok(), "another account's can be read");
    admission::set_rate(&f.store, &rows("atmos:1"), None).await.unwrap();
    assert!(read("atmos:1").await.is_ok(), "it can be taken back");
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
        accounts: None,
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

/// The column of a release with one account names one of them.
async fn a_worker_of_one_of_several_accounts_is_found(f: Fixture) {
    let now_ms = f.store.now_ms();
    f.execute(&[format!(
        "insert into processes (id, role, version, slots, queues, started_at_ms, heartbeat_at_ms, gateway, accounts) values
            ('old', 'worker', '0', 1, 'links', {now_ms}, {now_ms}, 'atmos:1', null),
            ('api', 'api', '1', 0, '', {now_ms}, {now_ms}, null, '{{\"payme:a\":{{}}}}'),
            ('new', 'worker', '1', 1, 'links', {now_ms}, {now_ms}, 'atmos:2', '{{\"atmos:2\":{{}},\"click:3\":{{}}}}')"
    )])
    .await;

    for (account, has_worker) in
        [("atmos:1", true), ("atmos:2", true), ("click:3", true), ("payme:a", false), ("click:33", false)]
    {
        let found = processes::has_worker_of(&f.store, &GatewayIdentity(account.to_owned())).await.unwrap();
        assert_eq!(found, has_worker, "{account}");
    }
    let alive = processes::alive(&f.store).await.unwrap();
    let accounts: Vec<Vec<String>> = alive
        .iter()
        .map(|process| process.account_identities().into_iter().map(|account| account.0).collect())
        .collect();
    assert_eq!(accounts.iter().flatten().count(), 4, "{accounts:?}");
    assert!(accounts.contains(&vec!["atmos:2".to_owned(), "click:3".to_owned()]), "{accounts:?}");
}
