use std::os::unix::fs::PermissionsExt;

use ::gateway::coordination::Obstacle;
use ::gateway::{AnswerFault, GatewayError};
use domain::order::PaymentType;
use domain::shop::ShopName;
use store::callbacks::Proofs;

use super::database::look_for_open_files;
use super::gateway::{tell_of_gateway, tell_of_page};
use super::gateway_place::{GatewayPlace, Reachability};
use super::processes::{compare_redis_instances, look_at_logs, look_for_silence};
use super::work::tell_of_callbacks;
use super::*;

fn process(role: &str, queues: &str, redis_instance_id: Option<&str>) -> Process {
    Process {
        id: "1".to_owned(),
        role: role.to_owned(),
        version: "0.1.0".to_owned(),
        slots: if queues.is_empty() { 0 } else { 64 },
        queues: queues.to_owned(),
        redis_instance_id: redis_instance_id.map(str::to_owned),
        started_at_ms: 0,
        heartbeat_at_ms: 0,
        queue_heard_at_ms: None,
        admission: None,
        weather: None,
        log_fault: None,
        gateway: None,
        accounts: None,
    }
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The results, in lines such as `Fault configuration`.
fn lines(results: &CheckResults) -> Vec<String> {
    results.0.iter().map(|result| format!("{:?} {}", result.state, result.what)).collect()
}

const REAL_GATEWAY: [(&str, &str); 4] = [
    ("ATMOS_CONSUMER_KEY", "a-real-key"),
    ("ATMOS_CONSUMER_SECRET", "a-real-secret"),
    ("ATMOS_STORE_ID", "417"),
    ("ATMOS_API_KEY", "a-real-callback-key"),
];

#[test]
fn api_keys_that_a_real_gateway_needs_are_missed_before_the_api_is_started() {
    let servers = [("DATABASE_URL", "postgres://db/x"), ("REDIS_URL", "redis://redis")];
    let variables = variables(&[&REAL_GATEWAY[..], &servers[..]].concat());
    let roles = ReadableEnvironment::read(&variables).unwrap().roles(&[]);
    let mut results = CheckResults::default();

    look_at_configuration(&roles, &variables, &mut results);

    let faults: Vec<&str> =
        results.0.iter().filter(|result| result.state == Health::Fault).map(|result| result.says.as_str()).collect();
    assert!(matches!(faults.as_slice(), [fault] if fault.starts_with("TASDIQ_API_KEYS is missing")), "{faults:?}");
    assert!(lines(&results).contains(&"Ok configuration".to_owned()), "the worker would start");
}

#[test]
fn an_environment_with_both_servers_is_judged_by_the_rules_of_what_runs_there() {
    let servers = variables(&[("DATABASE_URL", "postgres://db/x"), ("REDIS_URL", "redis://redis")]);
    let environment = ReadableEnvironment::read(&servers).unwrap();
    let [up, api, worker] = ["up", "api", "worker"].map(|role| process(role, "settle", None));

    assert_eq!(environment.roles(&[]), [Role::Api, Role::Worker]);
    assert_eq!(environment.roles(&[api.clone(), worker.clone()]), [Role::Api, Role::Worker]);
    assert_eq!(environment.roles(std::slice::from_ref(&up)), [Role::Up]);
    assert_eq!(environment.roles(&[up, worker]), [Role::Up, Role::Api, Role::Worker]);
}

#[tokio::test]
async fn one_bad_variable_and_a_database_that_is_away_hide_nothing_else() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut results = CheckResults::default();
    let variables = variables(&[
        ("DATABASE_URL", "postgres://127.0.0.1:1/x"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("TASDIQ_SETTLE_SCHEDULE", "never"),
        ("TASDIQ_GATEWAY_RATE", "fast"),
        ("TASDIQ_SANDBOX_LISTEN", "127.0.0.1:1"),
    ]);

    look(&variables, &mut results).await;

    let lines = lines(&results);
    for line in ["Fault database", "Fault redis", "Fault gateway"] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    for variable in ["TASDIQ_SETTLE_SCHEDULE", "TASDIQ_GATEWAY_RATE"] {
        let told = results.0.iter().filter(|result| result.says.starts_with(variable)).count();
        assert_eq!(told, 1, "{variable}: {}", results.text());
    }
}

#[test]
fn what_a_bad_variable_led_to_is_not_looked_for_elsewhere() {
    let read = |name, value| ReadableEnvironment::read(&variables(&[(name, value)])).unwrap();

    assert!(!read("DATABASE_URL", "mysql://x").knows_database());
    assert!(read("DATABASE_URL", "mysql://x").knows_gateway());
    assert!(!read("ATMOS_STORE_ID", "417").knows_gateway());
    assert!(!read("TASDIQ_SANDBOX_LISTEN", "x").knows_gateway());
}

#[test]
fn a_database_file_that_cannot_be_opened_for_writing_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let state = |path: &std::path::Path| {
        let url = format!("sqlite://{}", path.display());
        let config = ReadableEnvironment::read(&variables(&[("DATABASE_URL", &url)])).unwrap().config;
        let mut results = CheckResults::default();
        look_at_data_dir(&config, &mut results);
        results.0[0].state
    };
    let (file, missing) = (folder.path().join("file"), folder.path().join("missing"));
    std::fs::write(&file, "").unwrap();

    assert_eq!(state(&file), Health::Ok);
    assert_eq!(state(&missing), Health::Warn);
    assert!(!missing.exists(), "looking makes nothing");
    assert_eq!(state(folder.path()), Health::Fault, "not even root writes a directory, whatever its bits say");
}

/// The place of the only account of this configuration.
fn place_in(config: &crate::config::Config) -> GatewayPlace {
    GatewayPlace::of(&config.accounts()[0], &ShopName::default())
}

fn place_of(pairs: &[(&str, &str)]) -> GatewayPlace {
    place_in(&ReadableEnvironment::read(&variables(pairs)).unwrap().config)
}

const CLICK: [(&str, &str); 4] = [
    ("CLICK_SERVICE_ID", "31337"),
    ("CLICK_MERCHANT_ID", "21337"),
    ("CLICK_MERCHANT_USER_ID", "41337"),
    ("CLICK_SECRET_KEY", "the-key-of-a-service"),
];

#[test]
fn each_account_is_looked_for_at_its_own_gateway_and_has_its_gateways_advice() {
    let place = place_of(&CLICK);
    let mut results = CheckResults::default();
    let refused = GatewayError::NotAdmitted { what: "HTTP 401".to_owned() };
    tell_of_gateway("click:31337", &place, None, Err(refused), &mut results);

    assert_eq!(place.address.as_str(), "https://api.click.uz/");
    let act = results.0[0].act.as_deref().unwrap();
    assert!(act.contains("CLICK_SECRET_KEY") && act.contains("ask Click"), "{act}");

    let of_file = GatewayPlace::of(
        &ReadableEnvironment::read(&variables(&CLICK)).unwrap().config.accounts()[0],
        &ShopName::parse("tea").unwrap(),
    );
    assert!(
        of_file.credentials.contains("click_secret_key of the shop tea in TASDIQ_CONFIG"),
        "{}",
        of_file.credentials
    );
}

/// Customers go to Payme's page, and Payme calls us.
#[tokio::test]
async fn of_payme_its_page_is_tried() {
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/payme", listening.local_addr().unwrap());
    let place =
        place_of(&[("PAYME_ID", "5e730e8e0b852a417aa49ceb"), ("PAYME_KEY", "a-key"), ("PAYME_CHECKOUT_URL", &url)]);
    let mut results = CheckResults::default();

    tell_of_page("payme", &place.look_at_connection().await, &mut results);
    drop(listening);
    let away = place.look_at_connection().await;
    tell_of_page("payme", &away, &mut results);

    assert!(matches!(&away, Reachability::NoConnection { setting, .. } if setting == "PAYME_CHECKOUT_URL"), "{away:?}");
    assert_eq!(lines(&results), ["Ok gateway", "Warn gateway"]);
}

#[test]
fn a_result_code_nobody_knows_shows_that_the_gateway_lets_us_in() {
    let state = |fault: AnswerFault| {
        let mut results = CheckResults::default();
        tell_of_gateway("atmos:417", &place_of(&[]), None, Err(fault.into()), &mut results);
        results.0[0].state
    };

    assert_eq!(state(AnswerFault::Code("STPIMS-ERR-777".to_owned())), Health::Warn);
    assert_eq!(state(AnswerFault::HttpStatus(503)), Health::Fault);
}

/// A server that knows nothing of Click answers 404 to each question, and Click may refuse us by a code.
#[test]
fn neither_a_wrong_address_nor_an_unknown_code_shows_that_click_lets_us_in() {
    let place = place_of(&CLICK);
    let told = |fault: AnswerFault| {
        let mut results = CheckResults::default();
        tell_of_gateway("click:31337", &place, None, Err(fault.into()), &mut results);
        (results.0[0].state, results.0[0].says.clone(), results.0[0].act.clone().unwrap())
    };

    let (state, says, act) = told(AnswerFault::HttpStatus(404));
    assert_eq!(state, Health::Fault, "{says}");
    assert!(act.contains("CLICK_API_URL"), "{act}");
    let (state, says, act) = told(AnswerFault::Code("-1".to_owned()));
    assert_eq!(state, Health::Warn, "{says}");
    assert!(!says.contains("lets us in") && act.contains("CLICK_SECRET_KEY"), "{says} -> {act}");
    assert!(act.contains("CLICK_NOT_FOUND_CODES"), "{act}");
}

#[test]
fn a_budget_that_is_used_up_is_no_reason_to_lower_it() {
    let act = |trouble| {
        let mut results = CheckResults::default();
        tell_of_gateway("atmos:417", &place_of(&[]), None, Err(trouble), &mut results);
        format!("{}: {}", results.0[0].says, results.0[0].act.as_deref().unwrap_or_default())
    };
    let retry_after = std::time::Duration::from_millis(100);

    let over_rate_limit = act(GatewayError::HeldBack { obstacle: Obstacle::RateLimit, retry_after });
    let throttled = act(GatewayError::Throttled { retry_after });

    assert!(over_rate_limit.contains("rate limit of gateway calls is reached"), "{over_rate_limit}");
    assert!(over_rate_limit.contains("raise it"), "{over_rate_limit}");
    assert!(throttled.contains("asked us to wait 1 s"), "{throttled}");
    assert!(throttled.contains("lower rate"), "{throttled}");
}

#[test]
fn a_process_that_hangs_and_a_consumer_that_hears_nothing_are_told_apart() {
    let told = |told_ago_ms: i64, heard_ago_ms: i64| {
        let mut results = CheckResults::default();
        let seen = Process {
            heartbeat_at_ms: 100_000 - told_ago_ms,
            queue_heard_at_ms: Some(100_000 - heard_ago_ms),
            ..process("worker", "settle", None)
        };
        look_for_silence([&seen].into_iter(), 100_000, &mut results);
        lines(&results)
    };

    assert_eq!(told(5_000, 9_000), [] as [String; 0]);
    assert_eq!(told(3_000, 11_000), ["Fault processes"]);
    assert_eq!(told(9_000, 13_000), [] as [String; 0], "it may have been killed");
    assert_eq!(told(12_000, 14_000), ["Warn processes"]);
}

fn instance_states(alive: &[Process]) -> Vec<Health> {
    let mut results = CheckResults::default();
    compare_redis_instances(alive, None, &mut results);
    results.0.iter().map(|result| result.state).collect()
}

#[test]
fn two_redis_servers_on_one_database_are_a_fault() {
    let [a, b] = ["a", "b"].map(|id| process("worker", "settle", Some(id)));

    assert_eq!(instance_states(&[a.clone(), b]), [Health::Fault]);
    assert_eq!(instance_states(&[a.clone(), a.clone()]), []);
    assert_eq!(instance_states(&[a, process("api", "", None)]), [Health::Warn]);
}

#[test]
fn files_that_other_users_may_read_are_told_with_the_command_that_closes_them() {
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let database = folder.path().join("tasdiq.db");
    let told = |mode: u32, file: &str| {
        std::fs::write(folder.path().join(file), "").unwrap();
        std::fs::set_permissions(folder.path().join(file), std::fs::Permissions::from_mode(mode)).unwrap();
        let variables = variables(&[("TASDIQ_DATA_DIR", folder.path().to_str().unwrap())]);
        let mut results = CheckResults::default();
        look_for_open_files(&ReadableEnvironment::read(&variables).unwrap().config, &database, &mut results);
        results.0.into_iter().map(|result| result.act.unwrap()).collect::<Vec<_>>()
    };

    assert_eq!(told(0o600, "tasdiq.db"), [""; 0]);
    assert_eq!(told(0o640, "tasdiq.db-wal"), [format!("`chmod go= {}-wal`", database.display())]);
    told(0o600, "tasdiq.db-wal");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(told(0o600, "tasdiq.db"), [format!("`chmod go= {}`", folder.path().display())]);
}

#[test]
fn a_process_whose_log_is_lost_is_told_of() {
    let fault = "9 lines lost since the start, the last 2 s ago: No space left on device";
    let lossy = Process { log_fault: Some(fault.to_owned()), ..process("api", "", None) };
    let mut results = CheckResults::default();

    look_at_logs(&[lossy, process("worker", "settle", None)], &mut results);

    assert_eq!(lines(&results), ["Warn log"]);
    assert_eq!(results.0[0].says, format!("api 1: {fault}"));
}

#[test]
fn the_connections_that_there_may_be_are_told() {
    let mut results = CheckResults::default();

    look_at_descriptors(&mut results);

    let told = results.0.first().expect("a result");
    assert!(told.what == "connections" && told.says.contains("gives an API"), "{}", told.says);
}

/// Every payment is refused, and the gateway lets us in all the same.
#[test]
fn a_key_that_fits_no_callback_is_a_fault_and_a_forger_among_many_is_none() {
    let told_of = |webhook, callbacks, badly_signed, unreadable, badly_signed_since| {
        let mut results = CheckResults::default();
        tell_of_callbacks(Proofs { webhook, callbacks, badly_signed, unreadable, badly_signed_since }, &mut results);
        results.0.remove(0)
    };
    let told_since = |callbacks, badly_signed, unreadable, badly_signed_since| {
        told_of(PaymentType::Atmos, callbacks, badly_signed, unreadable, badly_signed_since)
    };
    let told = |callbacks, badly_signed, unreadable| told_since(callbacks, badly_signed, unreadable, badly_signed);

    let fault = told(7, 5, 1);
    assert_eq!(fault.state, Health::Fault);
    assert!(fault.says.contains("5 of the last 7 callbacks prove nothing"), "{}", fault.says);
    assert!(fault.act.unwrap().contains("ATMOS_API_KEY"));
    assert_eq!(told(1, 1, 0).state, Health::Fault, "the first payment of a new shop");
    assert_eq!(told(100, 3, 0).state, Health::Warn);
    assert_eq!(told_since(66, 45, 0, 0).state, Health::Warn, "the key has proved right since");
    assert_eq!(told(5, 0, 4).state, Health::Warn);
    assert_eq!(told(100, 0, 4).state, Health::Ok);
    assert_eq!(told(1, 0, 0).state, Health::Ok);
    for (webhook, key) in [(PaymentType::Payme, "PAYME_KEY"), (PaymentType::Click, "CLICK_SECRET_KEY")] {
        let fault = told_of(webhook, 7, 5, 1, 5);
        assert!(fault.says.starts_with(webhook.as_str()), "{}", fault.says);
        let act = fault.act.unwrap();
        assert!(act.contains(key) && !act.contains("ATMOS"), "{act}");
    }
}

/// Each cause has an advice of its own: "start the sandbox" leads astray where it runs.
#[tokio::test]
async fn what_cannot_be_reached_is_told_by_how_far_the_way_goes() {
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listening.local_addr().unwrap().port();
    let reachability = |name: &'static str, address: String| async move {
        let environment = ReadableEnvironment::read(&variables(&[(name, &address)])).unwrap();
        assert!(environment.unread.is_empty(), "{:?}", environment.unread);
        place_in(&environment.config).look_at_connection().await
    };
    let way_of_shop = |name: &'static str, address: &'static str| async move {
        let credentials = [
            ("ATMOS_CONSUMER_KEY", "real-key"),
            ("ATMOS_CONSUMER_SECRET", "real-secret"),
            ("ATMOS_STORE_ID", "417"),
            ("ATMOS_API_KEY", "a-real-callback-key"),
        ];
        let environment =
            ReadableEnvironment::read(&variables(&[&credentials[..], &[(name, address)]].concat())).unwrap();
        place_in(&environment.config).look_at_connection().await
    };

    let connects = reachability("ATMOS_BASE_URL", format!("http://127.0.0.1:{port}")).await;
    let unknown = way_of_shop("ATMOS_BASE_URL", "https://nobody.invalid").await;
    let proxy = way_of_shop("ATMOS_PROXY_URL", "http://nobody.invalid:3128").await;
    drop(listening);
    let refused = reachability("ATMOS_BASE_URL", format!("http://127.0.0.1:{port}")).await;

    assert!(connects.act().contains("takes connections") && !connects.act().contains("sandbox"), "{connects:?}");
    assert!(unknown.act().contains("nobody.invalid is not known here: mend ATMOS_BASE_URL"), "{unknown:?}");
    assert!(proxy.act().contains("mend ATMOS_PROXY_URL"), "{proxy:?}");
    assert!(refused.act().contains("tasdiq sandbox"), "{refused:?}");
}

#[test]
fn a_gateway_that_hands_out_no_token_is_not_to_be_started() {
    let mut results = CheckResults::default();
    let token = GatewayError::from(AnswerFault::HttpStatus(500));

    let answer = Err(GatewayError::Unreachable(std::sync::Arc::new(token)));
    tell_of_gateway("sandbox:1234", &place_of(&[]), None, answer, &mut results);

    let (says, act) = (&results.0[0].says, results.0[0].act.as_deref().unwrap());
    assert!(says.contains("HTTP 500") && act.contains("it runs") && !act.contains("start"), "{says} -> {act}");
}
