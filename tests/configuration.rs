//! Wrong configurations: at its start the real program names all faults at once, says what to do, and ends with exit
//! code 78, after which supervisors do not restart it.

use std::fs;

use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::RunningRole;
use crate::support::servers::{FakeRedis, PrivateRedis, fresh_database};
use crate::support::wait::PATIENCE;

/// Exit code `EX_CONFIG`.
const CONFIGURATION: i32 = 78;

/// Free ports, for tests that need no fixed one.
const ANYWHERE: [(&str, &str); 3] = [
    ("TASDIQ_LISTEN", "127.0.0.1:0"),
    ("TASDIQ_SANDBOX_LISTEN", "127.0.0.1:0"),
    ("TASDIQ_WORKER_LISTEN", "127.0.0.1:0"),
];

/// All variables of a real gateway, with the API keys that it requires.
const REAL_GATEWAY: [(&str, &str); 5] = [
    ("ATMOS_CONSUMER_KEY", "a-real-consumer-key"),
    ("ATMOS_CONSUMER_SECRET", "a-real-consumer-secret"),
    ("ATMOS_STORE_ID", "417"),
    ("ATMOS_API_KEY", "a-real-callback-key"),
    ("TASDIQ_API_KEYS", "shop:a-real-order-api-key"),
];

/// All variables of the sandbox, for the roles that need them.
const SANDBOX: [(&str, &str); 5] = [
    ("ATMOS_CONSUMER_KEY", "sandbox-key"),
    ("ATMOS_CONSUMER_SECRET", "sandbox-secret"),
    ("ATMOS_STORE_ID", "1234"),
    ("ATMOS_API_KEY", "sandbox-api-key"),
    ("ATMOS_BASE_URL", "http://127.0.0.1:1"),
];

/// `all` with the variables in `changed` replaced; an empty value removes one.
fn environment<'a>(all: &[(&'a str, &'a str)], changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = ANYWHERE.iter().chain(all).filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    kept.chain(changed).copied().collect()
}

/// Starts the program, which must refuse to run, and returns its output.
async fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut program = Program::start(arguments, environment);
    let exit_status = program.wait_exit(PATIENCE).await;
    let output = program.output();
    assert_eq!(exit_status.code(), Some(CONFIGURATION), "{arguments:?}: {output}");
    assert!(!output.contains("panicked"), "{output}");
    output
}

/// Asserts that the output contains all of `parts`.
fn assert_says(output: &str, parts: &[&str]) {
    for part in parts {
        assert!(output.contains(part), "nothing is said about {part:?}:\n{output}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_named_with_what_to_write_instead() {
    for (role, name, value, advice) in [
        ("up", "DATABASE_URL", "mysql://user:hunter2@db/shop", "postgres://"),
        ("up", "DATABASE_URL", "hunter2", "postgres://"),
        ("up", "REDIS_URL", "http://:hunter2@redis", "redis://"),
        ("up", "TASDIQ_PUBLIC_URL", "pay.example.uz/hunter2", "https://"),
        ("up", "ATMOS_BASE_URL", "partner.atmos.uz/hunter2", "https://"),
        ("migrate", "DATABASE_URL", "mysql://user:hunter2@db/shop", "postgres://"),
    ] {
        let output = refusal(&[role], &environment(&[], &[(name, value)])).await;

        assert_says(&output, &[name, advice]);
        assert!(!output.contains("hunter2"), "a value may be a secret and is never repeated: {output}");
    }
}

#[tokio::test]
async fn half_of_the_gateways_variables_are_refused_with_the_names_of_the_others() {
    let half = [("ATMOS_CONSUMER_KEY", "k"), ("ATMOS_STORE_ID", "417")];

    let output = refusal(&["up"], &environment(&[], &half)).await;

    assert_says(&output, &["ATMOS_CONSUMER_SECRET", "ATMOS_API_KEY", "missing"]);
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Root may write everywhere, but even root cannot create a directory below a file.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("data");

    for command in ["up", "sandbox"] {
        let output = refusal(&[command], &environment(&[], &[("TASDIQ_DATA_DIR", below.to_str().unwrap())])).await;

        assert_says(&output, &[below.to_str().unwrap(), "TASDIQ_DATA_DIR"]);
    }
}

#[tokio::test]
async fn a_second_up_on_one_data_directory_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = [("TASDIQ_DATA_DIR", folder.path().to_str().unwrap())];
    let mut first = Program::start(&["up"], &environment(&[], &data_dir));
    first.wait_for_line("Tasdiq is up", PATIENCE).await;

    for command in ["up", "sandbox"] {
        let output = refusal(&[command], &environment(&[], &data_dir)).await;

        assert_says(&output, &[&format!("process {}", first.id()), folder.path().to_str().unwrap(), "TASDIQ_DATA_DIR"]);
    }
    assert!(first.exit_status().is_none(), "the first goes on");
    first.signal("KILL");
    first.wait_exit(PATIENCE).await;
    let mut next = Program::start(&["up"], &environment(&[], &data_dir));
    next.wait_for_line("Tasdiq is up", PATIENCE).await;
}

#[tokio::test]
async fn a_redis_before_version_7_is_refused() {
    let redis = FakeRedis::start("6.2.14");
    let (database_url, redis_url) = (migrated_database().await, redis.url());
    let servers = [("DATABASE_URL", database_url.as_str()), ("REDIS_URL", &redis_url)];

    for role in ["up", "api", "worker"] {
        let output = refusal(&[role], &environment(sandbox_of(role), &servers)).await;

        assert_says(&output, &["REDIS_URL", "6.2.14", "Redis 7"]);
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused() {
    let redis = PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let (database_url, redis_url) = (migrated_database().await, redis.url());
    let servers = [("DATABASE_URL", database_url.as_str()), ("REDIS_URL", &redis_url)];

    for role in ["up", "api", "worker"] {
        let output = refusal(&[role], &environment(sandbox_of(role), &servers)).await;

        assert_says(&output, &["REDIS_URL", "allkeys-lru", "maxmemory-policy noeviction"]);
    }
}

/// `up` has its own sandbox; the other roles need its address.
fn sandbox_of(role: &str) -> &'static [(&'static str, &'static str)] {
    if role == "up" { &[] } else { &SANDBOX }
}

async fn migrated_database() -> String {
    let database_url = fresh_database().await;
    let mut migrate = Program::start(&["migrate"], &[("DATABASE_URL", &database_url)]);
    assert!(migrate.wait_exit(PATIENCE).await.success(), "{}", migrate.output());
    database_url
}

/// Otherwise anyone who finds the port could make orders in the shop's name.
#[tokio::test]
async fn a_real_gateway_without_api_keys_is_refused() {
    let servers = [("DATABASE_URL", "postgres://db/shop"), ("REDIS_URL", "redis://redis"), ("TASDIQ_API_KEYS", "")];

    for role in ["up", "api"] {
        let output = refusal(&[role], &environment(&REAL_GATEWAY, &servers)).await;

        assert_says(&output, &["TASDIQ_API_KEYS", "name:key"]);
    }
}

/// The sandbox's secrets are public, and the API key signs callbacks.
#[tokio::test]
async fn a_real_gateway_with_the_sandboxs_secrets_is_refused() {
    for (name, value) in [("ATMOS_CONSUMER_SECRET", "sandbox-secret"), ("ATMOS_API_KEY", "sandbox-api-key")] {
        for role in ["up", "api", "worker"] {
            let servers = [("DATABASE_URL", "postgres://db/shop"), ("REDIS_URL", "redis://redis"), (name, value)];

            let output = refusal(&[role], &environment(&REAL_GATEWAY, &servers)).await;

            assert_says(&output, &[name, "sandbox"]);
        }
    }
}

/// Otherwise anyone in the same network could make orders in the shop's name.
#[tokio::test]
async fn an_order_api_that_other_machines_reach_wants_api_keys() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let output = refusal(&["up"], &environment(&[], &[("TASDIQ_LISTEN", listen)])).await;

        assert_says(&output, &["TASDIQ_API_KEYS", "TASDIQ_LISTEN", "name:key"]);
    }
    let keys = [("TASDIQ_LISTEN", "0.0.0.0:0"), ("TASDIQ_API_KEYS", "demo:demo-key")];
    let mut program = Program::start(&["up"], &environment(&[], &keys));
    program.wait_for_line("Tasdiq is up", PATIENCE).await;
}

/// Published keys would open an order API that other machines can reach.
#[tokio::test]
async fn a_sandbox_on_another_machine_without_api_keys_is_refused() {
    let servers = [
        ("DATABASE_URL", "postgres://db/shop"),
        ("REDIS_URL", "redis://redis"),
        ("ATMOS_BASE_URL", "http://sandbox:8100"),
    ];

    let output = refusal(&["api"], &environment(&SANDBOX, &servers)).await;

    assert_says(&output, &["TASDIQ_API_KEYS", "name:key"]);
}

#[tokio::test]
async fn api_and_worker_are_refused_with_a_database_for_one_process() {
    for role in ["api", "worker"] {
        let servers = [("DATABASE_URL", "sqlite:///tmp/shop.db"), ("REDIS_URL", "redis://redis")];

        let output = refusal(&[role], &environment(&SANDBOX, &servers)).await;

        assert_says(&output, &["DATABASE_URL", "SQLite", "postgres://"]);
    }
}

#[tokio::test]
async fn api_and_worker_name_everything_that_they_lack() {
    for role in ["api", "worker"] {
        let output = refusal(&[role], &ANYWHERE).await;

        assert_says(
            &output,
            &[
                "DATABASE_URL",
                "REDIS_URL",
                "ATMOS_CONSUMER_KEY",
                "ATMOS_CONSUMER_SECRET",
                "ATMOS_STORE_ID",
                "ATMOS_API_KEY",
            ],
        );
        assert!(!output.contains("ATMOS_TERMINAL_ID is"), "a terminal is optional: {output}");
    }
}

#[tokio::test]
async fn several_faults_are_told_at_once_and_no_value_is_repeated() {
    const SECRET: &str = "hunter2";
    let faults = [
        ("DATABASE_URL", "mysql://user:hunter2@db/shop"),
        ("REDIS_URL", "hunter2"),
        ("TASDIQ_LISTEN", "hunter2"),
        ("TASDIQ_LINK_WAIT_MS", "-1"),
        ("TASDIQ_GATEWAY_RATE", "hunter2"),
        ("TASDIQ_LOG_FORMAT", "hunter2"),
        ("TASDIQ_API_KEYS", "hunter2"),
        ("ATMOS_SIGN_ALGORITHM", "hunter2"),
        ("ATMOS_TEST_MODE", "hunter2"),
        ("ATMOS_API_KEY", "sandbox-api-key"),
    ];

    let output = refusal(&["up"], &environment(&REAL_GATEWAY, &faults)).await;

    assert_says(&output, &["10 faults"]);
    assert_says(&output, &faults.map(|(name, _)| name));
    for (name, value) in REAL_GATEWAY.iter().filter(|(name, _)| name.contains("SECRET") || name.contains("KEY")) {
        assert!(!output.contains(value), "the value of {name} is repeated: {output}");
    }
    assert!(!output.contains(SECRET), "a value is repeated: {output}");
}

const NO_ROOTS: [(&str, &str); 2] = [("SSL_CERT_FILE", "/nowhere.pem"), ("SSL_CERT_DIR", "/nowhere")];

/// No call there uses TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_root_certificates_runs_the_sandbox() {
    let app = crate::support::app::TestApp::start_with(crate::support::app::Kind::Embedded, &NO_ROOTS).await;
    let order = app.order_with_link().await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;
    let doctor = app.run_with(&["doctor"], &NO_ROOTS).await;
    assert!(doctor.said.contains("lets us in"), "{doctor:?}");
}

#[tokio::test]
async fn root_certificates_that_a_gateway_over_tls_needs_are_asked_for_by_name() {
    let output = refusal(&["up"], &environment(&REAL_GATEWAY, &NO_ROOTS)).await;

    assert_says(&output, &["no root certificates", "ca-certificates", "SSL_CERT_FILE"]);
    assert!(!output.contains("ATMOS_PROXY_URL"), "{output}");
}

/// Under its right name the variable would have closed the order API, so a silent start would be dangerous.
#[tokio::test]
async fn a_variable_that_nothing_reads_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("TASDIQ_DATA_DIR", folder.path().to_str().unwrap()), ("TASDIQ_API_KEY", "shop:hunter2-hunter2")];

    let mut program = Program::start(&["up"], &environment(&[], &variables));
    let line = program.wait_for_line("TASDIQ_API_KEY ", PATIENCE).await;
    program.wait_for_line("Tasdiq is up", PATIENCE).await;

    assert_says(&line, &["nothing reads it", "did you mean TASDIQ_API_KEYS"]);
    assert!(!program.output().contains("hunter2"), "{}", program.output());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let address = format!("127.0.0.1:{port}");

    for name in ["TASDIQ_LISTEN", "TASDIQ_SANDBOX_LISTEN"] {
        let variables = [("TASDIQ_DATA_DIR", folder.path().to_str().unwrap()), (name, &address)];
        let mut program = Program::start(&["up"], &environment(&[], &variables));
        let exit_status = program.wait_exit(PATIENCE).await;

        // The other program may stop listening, so this is no configuration fault.
        assert_eq!(exit_status.code(), Some(69), "{}", program.output());
        assert_says(&program.output(), &[name, &address]);
    }
}

/// A file of another program, or a wrong one, must be avoidable.
#[tokio::test]
async fn a_file_of_settings_can_be_named_or_left_out() {
    let bad = "TASDIQ_LOG=inf\nTASDIQ_LISTEN=127.0.0.1:0\nTASDIQ_SANDBOX_LISTEN=127.0.0.1:0";
    for (path, says) in
        [("", None), (".env", Some("TASDIQ_LOG is no log filter")), ("nowhere", Some("TASDIQ_ENV_FILE names no"))]
    {
        let mut program = Program::start_with_dotenv(
            bad,
            &["callback", "sign", "--transaction-id", "1", "--account", "1", "--amount", "1.00"],
            &[("TASDIQ_ENV_FILE", path)],
        );
        let exit_status = program.wait_exit(PATIENCE).await;
        let output = program.output();
        match says {
            Some(says) => {
                assert!(exit_status.code() == Some(CONFIGURATION) && output.contains(says), "{path}: {output}")
            }
            None => assert!(exit_status.success() && !output.contains("TASDIQ_LOG"), "{output}"),
        }
    }
}

/// Developers keep their settings in a file, container platforms their secrets.
#[tokio::test]
async fn settings_may_stand_in_a_file_of_the_working_directory_and_secrets_in_files() {
    let address = format!("127.0.0.1:{}", free_port());
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::write(&keys, "shop:a-key-of-the-shop\n").unwrap();
    let lines = format!("TASDIQ_LISTEN={address}\nTASDIQ_API_KEYS_FILE={}", keys.display());
    let others = [("TASDIQ_SANDBOX_LISTEN", "127.0.0.1:0")];

    let mut role = RunningRole::new(Program::start_with_dotenv(&lines, &[], &others), &address);
    role.ready().await;

    let said = role.program.output();
    assert_says(&said, &["settings from .env: TASDIQ_LISTEN, TASDIQ_API_KEYS_FILE"]);
    let (status, _) = role.get("/api/orders/1").await;
    assert_eq!(status, 401, "the key of the file is asked for");
    assert!(!role.program.output().contains("a-key-of-the-shop"));
}

#[tokio::test]
async fn what_is_wrong_with_files_is_said_with_the_rest() {
    let mut program = Program::start_with_dotenv(
        "TASDIQ_LOG=inf\nATMOS_API_KEY_FILE=/nowhere",
        &[],
        &[("DATABASE_URL", "mysql://x")],
    );
    let exit_status = program.wait_exit(PATIENCE).await;

    assert_eq!(exit_status.code(), Some(CONFIGURATION), "{}", program.output());
    assert_says(
        &program.output(),
        &["ATMOS_API_KEY_FILE must name a file", "DATABASE_URL is neither", "TASDIQ_LOG is no log filter"],
    );
}
