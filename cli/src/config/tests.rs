use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use ::gateway::atmos::SignAlgorithm;
use api::AddressCheck;
use domain::gateway_rate::GatewayRate;
use domain::secret::Secret;
use telemetry::LogFormat;
use worker::InquirySchedule;

use super::*;

mod files;
mod reference;
mod shops;

/// Reads the variables of `lines`, one `NAME=value` a line.
fn config(role: Role, lines: &str) -> Result<Config, ConfigFaults> {
    Config::from_variables(role, &lines.lines().filter_map(variable).collect())
}

fn variable(line: &str) -> Option<(OsString, OsString)> {
    let (name, value) = line.trim().split_once('=')?;
    Some((name.into(), value.into()))
}

fn faulty_variables(role: Role, lines: &str) -> Vec<String> {
    match config(role, lines) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| fault.variable.clone()).collect(),
    }
}

const REAL: &str = "
    ATMOS_CONSUMER_KEY=real-key
    ATMOS_CONSUMER_SECRET=real-secret
    ATMOS_STORE_ID=417
    ATMOS_API_KEY=real-api-key-of-atmos
    TASDIQ_API_KEYS=shop:0123456789abcdef
";
const SANDBOX: &str = "
    ATMOS_CONSUMER_KEY=sandbox-key
    ATMOS_CONSUMER_SECRET=sandbox-secret
    ATMOS_STORE_ID=1234
    ATMOS_API_KEY=sandbox-api-key
";
const SERVERS: &str = "
    DATABASE_URL=postgres://tasdiq:secret@db/tasdiq
    REDIS_URL=redis://redis:6379
";

#[test]
fn an_empty_environment_is_the_sandbox_with_everything_embedded() {
    let config = Config::from_environment(Role::Up, |_| None).unwrap();

    assert!(config.starts_sandbox());
    assert_eq!(
        account_names(&config),
        ["sandbox:1234", "sandbox-payme:64a1f0c2b7e8d9034f5a6b7c", "sandbox-click:22222"]
    );
    assert_eq!(config.atmos.consumer_secret, Secret::new("sandbox-secret"));
    assert_eq!(config.atmos.api_keys, [Secret::new("sandbox-api-key")]);
    assert_eq!(config.atmos.terminal_id.as_deref(), Some("1"));
    assert_eq!(config.atmos.base_url.as_str(), "http://127.0.0.1:8100/");
    assert_eq!(config.atmos.checkout_url, config.atmos.base_url);
    assert_eq!(config.payme.checkout_url.as_str(), "http://127.0.0.1:8100/payme");
    assert_eq!(config.click.pay_url.as_str(), "http://127.0.0.1:8100/click");
    assert_eq!(config.click.api_url, config.click.pay_url);
    assert_eq!(config.database.url, DatabaseUrl::Sqlite("./tasdiq-data/tasdiq.db".into()));
    assert_eq!(config.redis.url, None);
    assert_eq!(config.address.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.worker.listen.to_string(), "127.0.0.1:8001");
    assert_eq!(config.address.public_url.as_str(), "http://127.0.0.1:8000");
    assert_eq!(config.atmos.rate, None);
    let schedule = [250, 500, 1_000, 1_500, 2_000, 3_000, 4_000, 6_000, 8_000, 10_000, 12_000, 15_000];
    let slower = [20_000, 30_000, 60_000, 120_000, 300_000, 600_000];
    let schedule: Vec<Duration> = schedule.into_iter().chain(slower).map(Duration::from_millis).collect();
    assert_eq!(config.worker.inquiry_schedule, InquirySchedule::new(&schedule));
    assert_eq!(config.api.link_wait, Duration::from_secs(3));
    assert_eq!(config.payment_time.link_ttl, Duration::from_secs(86_400));
    assert_eq!(config.payment_time.payment_ttl, Duration::from_secs(1_800));
    assert!(config.warnings.iter().any(|warning| warning.contains("open")), "an open API is said aloud");
}

/// The accounts of the default shop: all of the sandbox where none is described, and otherwise those alone.
#[test]
fn the_accounts_that_are_described_are_the_only_ones() {
    let payme = "PAYME_ID=64a1f0c2b7e8d9034f5a6b7c\nPAYME_KEY=sandbox-payme-key\n";
    let click = "CLICK_SERVICE_ID=22222\nCLICK_MERCHANT_ID=11111\nCLICK_MERCHANT_USER_ID=33333\n\
                 CLICK_SECRET_KEY=sandbox-click-secret\n";
    let (of_atmos, of_payme) = ("sandbox:1234", "sandbox-payme:64a1f0c2b7e8d9034f5a6b7c");
    let of_click = "sandbox-click:22222";
    let all = [of_atmos, of_payme, of_click];
    for (lines, accounts) in [
        ("TASDIQ_LINK_WAIT_MS=1".to_owned(), &all[..]),
        ("TASDIQ_SANDBOX_LISTEN=127.0.0.1:9100\nATMOS_BASE_URL=http://localhost:9100".to_owned(), &all),
        ("ATMOS_BASE_URL=http://127.0.0.1:9100".to_owned(), &[of_atmos]),
        (SANDBOX.to_owned(), &[of_atmos]),
        (payme.to_owned(), &[of_payme]),
        (click.to_owned(), &[of_click]),
        (format!("{payme}{click}"), &[of_payme, of_click]),
        (format!("{SANDBOX}{click}"), &[of_atmos, of_click]),
        (REAL.to_owned(), &["atmos:417"]),
    ] {
        for role in [Role::Up, Role::Operator] {
            assert_eq!(account_names(&config(role, &lines).unwrap()), accounts, "{lines}");
        }
    }
}

fn account_names(config: &Config) -> Vec<String> {
    config.accounts().iter().map(|account| account.identity().0).collect()
}

/// An open API makes orders for every caller, so no account of it may lead to another machine.
#[test]
fn an_account_of_a_sandbox_elsewhere_needs_api_keys_like_the_one_of_atmos() {
    for line in ["PAYME_CHECKOUT_URL=http://sandbox:8100/payme", "CLICK_API_URL=http://sandbox:8100/click"] {
        assert_eq!(faulty_variables(Role::Up, line), ["TASDIQ_API_KEYS"], "{line}");
        assert!(config(Role::Up, &format!("{line}\nTASDIQ_API_KEYS=shop:demo-key")).is_ok(), "{line}");
    }
}

#[test]
fn an_empty_value_counts_as_unset() {
    let config = Config::from_environment(Role::Up, |_| Some(" \n".to_owned())).unwrap();

    assert!(config.starts_sandbox());
}

#[test]
fn the_full_set_of_the_real_gateway_starts_no_sandbox() {
    let config = config(Role::Up, REAL).unwrap();

    assert!(!config.starts_sandbox());
    assert_eq!(config.atmos.identity().0, "atmos:417");
    assert_eq!(config.atmos.base_url.as_str(), "https://partner.atmos.uz/");
    assert_eq!(config.atmos.checkout_url.as_str(), "https://checkout.pays.uz/");
    assert_eq!(config.atmos.rate, Some(GatewayRate { per_second: 20, burst: 40 }));
    assert!(config.warnings[0].contains("TASDIQ_PUBLIC_URL"), "no other machine reaches loopback");
}

/// Merchants move between hosts; whose money it is does not change with them.
/// Shows: MONEY-14
#[test]
fn a_gateways_identity_is_its_store_and_never_its_host() {
    let identity = |lines: &str| config(Role::Up, lines).unwrap().atmos.identity().0;

    assert_eq!(identity(SANDBOX), "sandbox:1234");
    assert_eq!(identity(REAL), "atmos:417");
    assert_eq!(identity(&format!("{REAL}\nATMOS_BASE_URL=https://apigw.atmos.uz")), "atmos:417");
}

#[test]
fn test_mode_chooses_the_payment_page_as_the_django_guide_writes_it() {
    for (mode, page) in [
        ("True", "https://test-checkout.pays.uz/"),
        ("true", "https://test-checkout.pays.uz/"),
        ("1", "https://test-checkout.pays.uz/"),
        ("False", "https://checkout.pays.uz/"),
        ("false", "https://checkout.pays.uz/"),
        ("0", "https://checkout.pays.uz/"),
        ("", "https://checkout.pays.uz/"),
    ] {
        let config = config(Role::Up, &format!("{REAL}\nATMOS_TEST_MODE={mode}")).unwrap();

        assert_eq!(config.atmos.checkout_url.as_str(), page, "{mode}");
    }
    assert_eq!(faulty_variables(Role::Up, &format!("{REAL}\nATMOS_TEST_MODE=yes")), ["ATMOS_TEST_MODE"]);
}

/// The cases without a secret key for callbacks: the words of the reference, and the values.
const UNSIGNED: [(&str, &[Option<&str>]); 3] = [
    ("`ATMOS_API_KEY` is missing", &[None]),
    ("`ATMOS_API_KEY` is empty, or blank", &[Some(""), Some(" ")]),
    ("`ATMOS_API_KEY` has an empty second key", &[Some("key,")]),
];

/// With such a key any sender could sign.
#[test]
fn without_a_key_that_signs_callbacks_nothing_starts() {
    for key in UNSIGNED.iter().flat_map(|(_, keys)| *keys) {
        for role in [Role::Up, Role::Api, Role::Worker] {
            let line = "ATMOS_API_KEY=real-api-key-of-atmos";
            let lines = format!("{REAL}{SERVERS}");
            assert!(lines.contains(line), "{lines}");
            let lines = lines.replace(line, &key.map_or(String::new(), |key| format!("ATMOS_API_KEY={key}")));

            let faults = config(role, &lines).unwrap_err();

            assert!(faults.to_string().contains("ATMOS_API_KEY"), "{key:?}: {faults}");
        }
    }
}

#[test]
fn a_half_set_gateway_names_each_missing_variable() {
    for (lines, missing) in [
        ("ATMOS_STORE_ID=417", vec!["ATMOS_CONSUMER_KEY", "ATMOS_CONSUMER_SECRET", "ATMOS_API_KEY"]),
        ("ATMOS_TERMINAL_ID=1\nATMOS_CONSUMER_KEY=k", vec!["ATMOS_CONSUMER_SECRET", "ATMOS_STORE_ID", "ATMOS_API_KEY"]),
        (
            "ATMOS_CONSUMER_SECRET=\nATMOS_API_KEY=a\nATMOS_CONSUMER_KEY=k\nATMOS_STORE_ID=1",
            vec!["ATMOS_CONSUMER_SECRET"],
        ),
        (
            "ATMOS_BASE_URL=https://apigw.atmos.uz",
            vec!["ATMOS_CONSUMER_KEY", "ATMOS_CONSUMER_SECRET", "ATMOS_STORE_ID", "ATMOS_API_KEY"],
        ),
    ] {
        let lines = format!("{lines}\nTASDIQ_API_KEYS=shop:0123456789abcdef");

        assert_eq!(faulty_variables(Role::Up, &lines), missing, "{lines}");
    }
}

#[test]
fn scaled_out_roles_need_both_servers_and_the_whole_gateway() {
    let needed = ["ATMOS_CONSUMER_KEY", "ATMOS_CONSUMER_SECRET", "ATMOS_STORE_ID", "ATMOS_API_KEY"];
    for (role, others) in [
        (Role::Api, vec!["TASDIQ_API_KEYS", "DATABASE_URL", "REDIS_URL"]),
        (Role::Worker, vec!["DATABASE_URL", "REDIS_URL"]),
    ] {
        assert_eq!(faulty_variables(role, ""), [needed.to_vec(), others].concat());
        assert!(config(role, &format!("{REAL}{SERVERS}")).is_ok());
    }
    let sqlite = format!("{REAL}\nDATABASE_URL=sqlite://x.db\nREDIS_URL=redis://redis");
    assert_eq!(faulty_variables(Role::Api, &sqlite), ["DATABASE_URL"]);
}

#[test]
fn each_other_role_starts_with_what_it_needs() {
    assert!(config(Role::Sandbox, "ATMOS_STORE_ID=half\nDATABASE_URL=nonsense\nTASDIQ_LINK_WAIT_MS=x").is_ok());
    assert!(config(Role::Migrate, "DATABASE_URL=postgres://db/x\nATMOS_STORE_ID=half\nREDIS_URL=nonsense").is_ok());
    assert_eq!(faulty_variables(Role::Migrate, ""), ["DATABASE_URL"]);
    assert_eq!(config(Role::Operator, "").unwrap().database.url, DatabaseUrl::Sqlite("./tasdiq-data/tasdiq.db".into()));
    assert!(config(Role::Operator, &format!("{REAL}{SERVERS}")).unwrap().api.keys.is_empty());
    let bad = "TASDIQ_SETTLE_SCHEDULE=never\nTASDIQ_LISTEN=x\nTASDIQ_PUBLIC_URL=x\nTASDIQ_PAYMENT_TTL_MINUTES=x";
    assert!(config(Role::Operator, bad).is_ok(), "an operator must get in when the processes do not start");
}

/// A fault in the settings of other processes does not keep this one from starting; `doctor` reports all settings.
#[test]
fn a_process_reads_the_settings_of_what_it_runs() {
    let jobs = "TASDIQ_SWEEP_SECONDS=x\nTASDIQ_SETTLE_SCHEDULE=x\nTASDIQ_LINK_TTL_HOURS=x";
    let http = "TASDIQ_LINK_WAIT_MS=x\nTASDIQ_WEBHOOK_LISTEN=x";
    for (role, faulty) in [
        (Role::Api, vec!["TASDIQ_LINK_TTL_HOURS", "TASDIQ_WEBHOOK_LISTEN", "TASDIQ_LINK_WAIT_MS"]),
        (Role::Worker, vec!["TASDIQ_LINK_TTL_HOURS", "TASDIQ_SETTLE_SCHEDULE", "TASDIQ_SWEEP_SECONDS"]),
        (Role::Operator, vec![]),
        (Role::Sandbox, vec![]),
    ] {
        assert_eq!(faulty_variables(role, &format!("{REAL}{SERVERS}{jobs}\n{http}")), faulty, "{role:?}");
    }
}

#[test]
fn the_order_api_is_open_only_with_the_sandbox_on_this_machine() {
    let elsewhere = format!("{SANDBOX}\nATMOS_BASE_URL=http://sandbox:8100");
    for (lines, is_fault) in [
        (String::new(), false),
        (SANDBOX.to_owned(), false),
        (format!("{SANDBOX}\nATMOS_BASE_URL=http://localhost:9999"), false),
        (format!("{SANDBOX}\nATMOS_BASE_URL=http://[::1]:9999"), false),
        (elsewhere.clone(), true),
        (format!("{elsewhere}\nTASDIQ_API_KEYS=shop:12345678"), false),
        (format!("{elsewhere}\nTASDIQ_API_KEYS=shop:1234567"), true),
        (format!("{SANDBOX}\nATMOS_BASE_URL=http://127.0.0.1.evil.example:8100"), true),
        (REAL.replace("TASDIQ_API_KEYS=shop:0123456789abcdef", ""), true),
        (REAL.replace("shop:0123456789abcdef", "shop:0123456789abcde"), true),
        (REAL.to_owned(), false),
        ("TASDIQ_LISTEN=0.0.0.0:8000".to_owned(), true),
        ("TASDIQ_LISTEN=[::]:8000".to_owned(), true),
        ("TASDIQ_LISTEN=192.168.1.7:8000".to_owned(), true),
        ("TASDIQ_LISTEN=0.0.0.0:8000\nTASDIQ_API_KEYS=demo:demo-key".to_owned(), false),
        ("TASDIQ_LISTEN=127.0.0.2:8000".to_owned(), false),
        ("TASDIQ_LISTEN=[::1]:8000".to_owned(), false),
        ("TASDIQ_LISTEN=[::ffff:127.0.0.1]:8000".to_owned(), false),
    ] {
        let expected: &[&str] = if is_fault { &["TASDIQ_API_KEYS"] } else { &[] };

        assert_eq!(faulty_variables(Role::Up, &lines), expected, "{lines}");
        assert!(!faulty_variables(Role::Worker, &format!("{lines}{SERVERS}")).contains(&"TASDIQ_API_KEYS".into()));
    }
}

#[test]
fn published_credentials_never_meet_the_real_gateway() {
    for role in [Role::Up, Role::Api, Role::Worker] {
        let lines = format!("{REAL}{SERVERS}");
        let secret = lines.replace("real-secret", "sandbox-secret");
        assert_eq!(faulty_variables(role, &secret), ["ATMOS_CONSUMER_SECRET"]);

        let api_key = lines.replace("real-api-key-of-atmos", "real-api-key-of-atmos,sandbox-api-key");
        assert_eq!(faulty_variables(role, &api_key), ["ATMOS_API_KEY"]);
    }
}

#[test]
fn credentials_never_travel_in_clear_text_to_the_real_gateway() {
    for (line, fault) in [
        ("ATMOS_BASE_URL=http://partner.atmos.uz", Some("ATMOS_BASE_URL")),
        ("ATMOS_CHECKOUT_URL=http://checkout.pays.uz", Some("ATMOS_CHECKOUT_URL")),
        ("ATMOS_BASE_URL=https://apigw.atmos.uz", None),
        ("ATMOS_BASE_URL=http://127.0.0.1:9000", None),
    ] {
        assert_eq!(faulty_variables(Role::Up, &format!("{REAL}\n{line}")), fault.as_slice(), "{line}");
    }
    assert!(
        config(Role::Worker, &format!("{SANDBOX}{SERVERS}\nATMOS_BASE_URL=http://sandbox:8100")).is_ok(),
        "nothing of worth travels to the sandbox"
    );
}

/// Each reads something else from such an address: the operator one host, a browser another.
#[test]
fn an_address_that_leads_elsewhere_than_it_seems_is_refused() {
    for url in ["https://shop.uz@evil.com", r"https://shop.uz\@evil.com", "https:evil.com", "https:/evil.com"] {
        for name in ["TASDIQ_PUBLIC_URL", "ATMOS_BASE_URL", "ATMOS_CHECKOUT_URL"] {
            let lines = format!("{SANDBOX}{SERVERS}\nTASDIQ_API_KEYS=shop:12345678\n{name}={url}");
            assert_eq!(faulty_variables(Role::Api, &lines), [name], "{name} {url}");
        }
    }
}

/// Atmos would show the customer whatever payment of a stranger has the number that the sandbox gave to ours.
#[test]
fn the_sandboxs_transactions_are_never_shown_on_the_page_of_atmos() {
    for (url, is_fault) in [
        ("https://checkout.pays.uz", true),
        ("https://test-checkout.pays.uz", true),
        ("https://CHECKOUT.PAYS.UZ.", true),
        ("https://pays.uz", true),
        ("https://partner.atmos.uz", true),
        ("https://paymo.uz", true),
        ("https://notpays.uz", false),
        ("https://pays.uz.example.com", false),
        ("https://sandbox.example.uz", false),
        ("http://127.0.0.1:9999", false),
    ] {
        for name in ["ATMOS_CHECKOUT_URL", "ATMOS_BASE_URL"] {
            let expected: &[&str] = if is_fault { &[name] } else { &[] };
            let lines = format!("{SANDBOX}{SERVERS}\nTASDIQ_API_KEYS=shop:12345678\n{name}={url}");
            for role in [Role::Up, Role::Api, Role::Worker] {
                assert_eq!(faulty_variables(role, &lines), expected, "{name} {url}");
            }
        }
    }
    assert_eq!(faulty_variables(Role::Up, "ATMOS_CHECKOUT_URL=https://checkout.pays.uz"), ["ATMOS_CHECKOUT_URL"]);
}

#[test]
fn a_payment_page_on_this_machine_is_warned_about_where_money_is_real() {
    let own = "ATMOS_CHECKOUT_URL=http://127.0.0.1:9000";
    let warns = |lines: &str| {
        let warnings = config(Role::Up, lines).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("ATMOS_CHECKOUT_URL"))
    };

    assert!(warns(&format!("{REAL}\n{own}")));
    assert!(!warns(REAL));
    assert!(!warns(&format!("{SANDBOX}\n{own}")));
}

#[test]
fn up_starts_its_sandbox_unless_it_is_elsewhere() {
    for (lines, starts) in [
        (SANDBOX.to_owned(), true),
        (format!("{SANDBOX}\nATMOS_BASE_URL=http://localhost:8100"), true),
        (format!("{SANDBOX}\nATMOS_BASE_URL=http://127.0.0.1:8200"), false),
        ("ATMOS_BASE_URL=http://127.0.0.1:8200".to_owned(), false),
        ("TASDIQ_SANDBOX_LISTEN=0.0.0.0:8200".to_owned(), true),
        ("TASDIQ_SANDBOX_LISTEN=127.0.0.1:0".to_owned(), true),
    ] {
        assert_eq!(config(Role::Up, &lines).unwrap().starts_sandbox(), starts, "{lines}");
    }
    assert!(!config(Role::Operator, "").unwrap().starts_sandbox());
}

#[test]
fn our_own_sandbox_wants_its_own_credentials() {
    let lines = SANDBOX.replace("sandbox-secret", "other").replace("1234", "99").replace("sandbox-api-key", "other");

    assert_eq!(faulty_variables(Role::Up, &lines), ["ATMOS_CONSUMER_SECRET", "ATMOS_STORE_ID", "ATMOS_API_KEY"]);
}

#[test]
fn all_faults_are_reported_in_one_numbered_message() {
    let faults = config(Role::Up, "TASDIQ_LISTEN=8000\nTASDIQ_LINK_WAIT_MS=25001\nTASDIQ_LOG=inf").unwrap_err();

    let message = faults.to_string();
    assert!(
        message.starts_with("the configuration has 3 faults:\n  1. TASDIQ_LISTEN is not an IP address"),
        "{message}"
    );
    assert!(message.contains("\n  2. TASDIQ_LINK_WAIT_MS is not a whole number from 0 to 25000"), "{message}");
    assert!(message.contains("\n  3. TASDIQ_LOG is no log filter"), "{message}");
}

/// While a shop changes its key, the old one and the new one must both open its orders.
#[test]
fn a_name_may_have_two_keys_while_they_are_changed_and_no_third() {
    let keys = |keys: &str| config(Role::Up, &REAL.replace("shop:0123456789abcdef", keys));

    let rotating = keys("shop:0123456789abcdef,shop:fedcba9876543210,till:0011223344556677").unwrap();
    let names: Vec<&str> = rotating.api.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["shop", "shop", "till"]);
    let third = keys("a:0123456789abcdef,a:fedcba9876543210,a:0011223344556677").unwrap_err().to_string();
    assert!(third.contains("has an entry 3 with a name that 2 earlier ones have"), "{third}");
}

#[test]
fn every_fault_of_every_key_is_told_and_no_key() {
    let keys = "Shop:short,till:aaaaaaaaaaaaaaaa,0123456789abcdef,web:hunter2hunter2hunter2";

    let faults = config(Role::Up, &REAL.replace("shop:0123456789abcdef", keys)).unwrap_err().to_string();

    for fault in [
        "an entry 1 whose name is not 1 to 32 of a-z, 0-9, - and _, and whose key is not 16 to 200",
        "an entry 2 whose key has fewer than 8 different signs",
        "an entry 3 that is not name:key",
        "an entry 4 whose key has fewer than 8 different signs",
    ] {
        assert!(faults.contains(fault), "{fault}: {faults}");
    }
    assert!(!faults.contains("short") && !faults.contains("hunter2"), "{faults}");
}

/// The gateway gives this key, so that refusing it would refuse the shop.
#[test]
fn a_weak_key_for_callbacks_is_warned_about_where_money_is_real() {
    let warns = |key: &str| {
        let warnings = config(Role::Up, &REAL.replace("real-api-key-of-atmos", key)).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("ATMOS_API_KEY"))
    };

    for weak in ["a", "fifteen-letters", "abababababababababab", "strong-0123456789abcdef,weak"] {
        assert!(warns(weak), "{weak}");
    }
    assert!(!warns("strong-0123456789abcdef"));
    assert!(config(Role::Up, "").unwrap().warnings.iter().all(|warning| !warning.contains("ATMOS_API_KEY")));
}

/// Each line is taken alone, on top of a sound environment of the real gateway.
#[test]
fn a_value_that_cannot_be_read_is_a_fault_of_its_variable() {
    for line in [
        "ATMOS_API_KEY=a,b,c",
        "ATMOS_API_KEY=a,",
        "ATMOS_API_KEY=two words",
        "ATMOS_BASE_URL=partner.atmos.uz",
        "ATMOS_BASE_URL=ftp://partner.atmos.uz",
        "ATMOS_BASE_URL=https://partner.atmos.uz/v1",
        "ATMOS_BASE_URL=https://user:password@partner.atmos.uz",
        "ATMOS_CALLBACK_ADDRESSES=92.63.207.0/33",
        "ATMOS_CALLBACK_ADDRESSES=92.63.207",
        "ATMOS_CALLBACK_ADDRESSES=92.63.207.0/24,",
        "ATMOS_CALLBACK_ADDRESSES=0.0.0.0/0",
        "ATMOS_CALLBACK_ADDRESSES=0.0.0.0/1,128.0.0.0/1",
        "ATMOS_CALLBACK_ADDRESSES=92.63.207.0/24,128.0.0.0/1,64.0.0.0/2,0.0.0.0/2",
        "ATMOS_CALLBACK_ADDRESSES=::/1,8000::/1",
        "ATMOS_CALLBACK_ADDRESSES=::ffff:0.0.0.0/96",
        "ATMOS_CALLBACK_ADDRESSES=::ffff:0.0.0.0/97,::ffff:128.0.0.0/97",
        "ATMOS_CALLBACK_ADDRESSES=::/80",
        "TASDIQ_TRUSTED_PROXIES=0.0.0.0/1,128.0.0.0/1",
        "ATMOS_CALLBACK_ADDRESS_CHECK=on",
        "ATMOS_CHECKOUT_URL=https://checkout.pays.uz/invoice/get",
        "ATMOS_CONSUMER_KEY=key:secret",
        "ATMOS_CONSUMER_SECRET=\"quoted\"",
        "ATMOS_PROXY_URL=socks5://proxy:1080",
        "ATMOS_PROXY_URL=proxy:3128",
        "ATMOS_SIGN_ALGORITHM=sha1",
        "ATMOS_SIGN_ALGORITHM=MD5",
        "ATMOS_STORE_ID=123456789012345678901",
        "ATMOS_STORE_ID=1&2",
        "ATMOS_TERMINAL_ID=a b",
        "DATABASE_URL=mysql://db/x",
        "DATABASE_URL=sqlite://",
        "DATABASE_URL=sqlite::memory:",
        "DATABASE_URL=sqlite://x.db?mode=ro",
        "DATABASE_URL=postgres://user:pass/word@db:port/x",
        "DATABASE_URL=x.db",
        "REDIS_URL=rediss://redis:6379",
        "REDIS_URL=redis:6379",
        "REDIS_URL=redis://",
        "REDIS_URL=redis://redis/zero",
        "TASDIQ_API_KEYS=0123456789abcdef",
        "TASDIQ_API_KEYS=Shop:0123456789abcdef",
        "TASDIQ_API_KEYS=:0123456789abcdef",
        "TASDIQ_API_KEYS=a:0123456789abcdef,a:0123456789abcdeg,a:0123456789abcdeh",
        "TASDIQ_API_KEYS=a:aaaaaaaaaaaaaaaa",
        "TASDIQ_API_KEYS=a:0123456012345601234560123456",
        "TASDIQ_API_KEYS=a:0123456789abcdef,b:0123456789abcdef",
        "TASDIQ_API_KEYS=a:0123456789abcdef,",
        "TASDIQ_API_KEYS=a:0123456789 abcdef",
        "TASDIQ_GATEWAY_RATE=20",
        "TASDIQ_GATEWAY_RATE=0/40",
        "TASDIQ_GATEWAY_RATE=20/10001",
        "TASDIQ_LINK_TTL_HOURS=0",
        "TASDIQ_LINK_TTL_HOURS=721",
        "TASDIQ_LINK_WAIT_MS=-1",
        "TASDIQ_LINK_WAIT_MS=3s",
        "TASDIQ_LISTEN=localhost:8000",
        "TASDIQ_LOG=info,worker=loud",
        "TASDIQ_LOG_FORMAT=JSON",
        "TASDIQ_PAYMENT_TTL_MINUTES=0",
        "TASDIQ_PAYMENT_TTL_MINUTES=10081",
        "TASDIQ_PUBLIC_URL=pay.example.uz",
        "TASDIQ_PUBLIC_URL=https://pay.example.uz?x=1",
        "TASDIQ_SETTLE_SCHEDULE=1,0",
        "TASDIQ_SETTLE_SCHEDULE=1,,2",
        "TASDIQ_SETTLE_SCHEDULE=0.0001",
        "TASDIQ_SETTLE_SCHEDULE=1.",
        "TASDIQ_SETTLE_SCHEDULE=.5",
        "TASDIQ_SETTLE_SCHEDULE=1e3",
        "TASDIQ_SETTLE_SCHEDULE=86401",
        "TASDIQ_SETTLE_SCHEDULE=86400.001",
        "TASDIQ_SETTLE_SCHEDULE=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
        "TASDIQ_STOP_GRACE_SECONDS=601",
        "TASDIQ_SWEEP_SECONDS=0",
        "TASDIQ_TRUSTED_PROXIES=nginx",
        "TASDIQ_TRUSTED_PROXIES=::/0",
    ] {
        let (name, _) = line.split_once('=').unwrap();

        // The first line of a name counts, hence in front.
        assert_eq!(faulty_variables(Role::Up, &format!("{line}\n{REAL}")), [name], "{line}");
    }
}

#[test]
fn values_are_read_as_they_are_meant() {
    let config = config(
        Role::Up,
        &format!(
            "{REAL}
            ATMOS_PROXY_URL=http://user:pass@proxy:3128
            ATMOS_SIGN_ALGORITHM=sha256
            DATABASE_URL=sqlite:///var/lib/tasdiq/t.db
            REDIS_URL=redis://:pass@redis:6379/2
            TASDIQ_LISTEN=[::]:80
            TASDIQ_SETTLE_SCHEDULE=0.05, 1.5 ,86400
            TASDIQ_GATEWAY_RATE=5/5
            TASDIQ_LOG=info,worker=debug
            TASDIQ_LOG_FORMAT=json"
        )
        .replace("ATMOS_API_KEY=real-api-key-of-atmos", "ATMOS_API_KEY=new-key, old-key")
        .replace("shop:0123456789abcdef", "shop:0123456789:abcdef,till_2:fedcba9876543210"),
    )
    .unwrap();

    assert_eq!(config.atmos.api_keys, [Secret::new("new-key"), Secret::new("old-key")]);
    assert_eq!(config.atmos.proxy_url.unwrap().port(), Some(3128));
    assert_eq!(config.atmos.sign_algorithm, SignAlgorithm::Sha256);
    assert_eq!(config.database.url, DatabaseUrl::Sqlite("/var/lib/tasdiq/t.db".into()));
    assert_eq!(config.redis.url, Some(Secret::new("redis://:pass@redis:6379/2")));
    assert_eq!(config.address.public_url.url().as_str(), "http://[::1]/", "every address is reached at loopback");
    assert_eq!(
        config.worker.inquiry_schedule,
        InquirySchedule::new(&[50, 1_500, 86_400_000].map(Duration::from_millis))
    );
    assert_eq!(config.atmos.rate, Some(GatewayRate { per_second: 5, burst: 5 }));
    assert_eq!(config.telemetry.filter, "info,worker=debug");
    assert_eq!(config.telemetry.format, LogFormat::Json);
    let names: Vec<&str> = config.api.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["shop", "till_2"]);
    assert_eq!(config.api.keys[0].key, Secret::new("0123456789:abcdef"), "a key may hold a colon");
}

#[test]
fn addresses_of_callbacks_are_looked_at_only_where_that_was_asked_for() {
    let addresses = |lines: &str| config(Role::Up, &format!("{REAL}{lines}")).unwrap().callback_addresses;
    let ip = |text: &str| Some(text.parse().unwrap());

    assert_eq!(addresses("").check, AddressCheck::Off);
    let documented = addresses("ATMOS_CALLBACK_ADDRESS_CHECK=watch");
    assert_eq!(documented.check, AddressCheck::Watch);
    assert!(documented.lists(ip("92.63.207.255")) && documented.lists(ip("::ffff:92.63.207.1")));
    assert!(!documented.lists(ip("92.63.208.0")) && !documented.lists(None));
    let own = addresses(
        "ATMOS_CALLBACK_ADDRESS_CHECK=refuse
        ATMOS_CALLBACK_ADDRESSES=203.0.113.9/24, 2001:db8::7
        TASDIQ_TRUSTED_PROXIES=10.0.0.0/8",
    );
    assert_eq!(own.check, AddressCheck::Refuse);
    assert!(own.lists(ip("203.0.113.1")) && own.lists(ip("2001:db8::7")));
    assert!(!own.lists(ip("2001:db8::8")) && !own.lists(ip("92.63.207.1")));
    assert!(own.trusts([10, 1, 2, 3].into()) && !own.trusts([11, 0, 0, 1].into()));
    assert_eq!(
        own.describe(),
        "callbacks from other addresses than 203.0.113.0/24, 2001:db8::7/128 are refused, also if correctly signed; \
         X-Forwarded-For is trusted from 10.0.0.0/8"
    );
}

/// A sender's address is compared in IPv4 notation, so a list must be converted to it.
#[test]
fn ipv4_networks_in_ipv6_notation_are_read_as_ipv4() {
    let written = "ATMOS_CALLBACK_ADDRESS_CHECK=refuse\nATMOS_CALLBACK_ADDRESSES=::ffff:92.63.207.0/120";
    let addresses = config(Role::Up, &format!("{REAL}{written}")).unwrap().callback_addresses;
    assert!(addresses.lists(Some([92, 63, 207, 14].into())) && !addresses.lists(Some([92, 63, 208, 14].into())));
}

/// The day a proxy went in front, a shop refused all its payments.
#[test]
fn a_proxy_that_nobody_listed_is_told_before_it_refuses_every_payment() {
    let warns = |lines: &str| {
        let warnings = config(Role::Up, &format!("{REAL}{lines}")).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("TASDIQ_TRUSTED_PROXIES"))
    };
    let public = "TASDIQ_PUBLIC_URL=https://pay.example.uz";
    let refuse = "ATMOS_CALLBACK_ADDRESS_CHECK=refuse";

    assert!(warns(&format!("{public}\n{refuse}")));
    assert!(warns(public), "all customers are one caller");
    assert!(!warns(&format!("{public}\nTASDIQ_TRUSTED_PROXIES=10.0.0.7")));
    assert!(!warns(&format!("{public}\n{refuse}\nTASDIQ_TRUSTED_PROXIES=10.0.0.7")));
    assert!(!warns(&format!("TASDIQ_PUBLIC_URL=http://pay.example.uz\n{refuse}")));
}

#[test]
fn a_list_that_nobody_looks_at_is_warned_about() {
    let warnings = config(Role::Up, &format!("{REAL}ATMOS_CALLBACK_ADDRESSES=92.63.207.0/24")).unwrap().warnings;

    assert!(warnings.iter().any(|warning| warning.contains("ATMOS_CALLBACK_ADDRESS_CHECK is off")), "{warnings:?}");
}

/// A command must get in, and a worker start, when the API would not.
#[test]
fn addresses_of_callbacks_are_the_apis_alone() {
    let broken = "ATMOS_CALLBACK_ADDRESSES=x\nATMOS_CALLBACK_ADDRESS_CHECK=x\nTASDIQ_TRUSTED_PROXIES=x\n";
    let names = ["ATMOS_CALLBACK_ADDRESS_CHECK", "ATMOS_CALLBACK_ADDRESSES", "TASDIQ_TRUSTED_PROXIES"];
    let lines = format!("{broken}{REAL}{SERVERS}");

    assert_eq!(faulty_variables(Role::Api, &lines), names, "all at once");
    assert_eq!(faulty_variables(Role::Worker, &lines), [""; 0]);
    assert_eq!(faulty_variables(Role::Operator, &lines), [""; 0]);
}

/// Shows: INVARIANT-18, PROMISE-13
#[test]
fn no_fault_and_no_debug_output_repeats_a_value() {
    let value = "Hunter2Hunter2Hunter2";
    for role in [Role::Up, Role::Api, Role::Worker, Role::Operator] {
        let faults = Config::from_environment(role, |_| Some(value.to_owned())).unwrap_err();
        assert!(!faults.to_string().contains(value), "{faults}");
        for url in ["postgres", "redis", "http", "sqlite"] {
            let value = format!("{url}://{value}:{value}@{value}:{value}/{value}");
            let faults = Config::from_environment(role, |_| Some(value.clone())).unwrap_err();
            assert!(!faults.to_string().to_lowercase().contains("hunter2"), "{faults}");
        }
    }

    let config = config(Role::Up, &format!("{REAL}{SERVERS}")).unwrap();
    let printed = format!("{config:?}");
    for secret in ["real-secret", "real-api-key-of-atmos", "0123456789abcdef", "secret@db"] {
        assert!(!printed.contains(secret), "{secret}");
    }
}

#[test]
fn a_misspelled_variable_is_told_with_the_name_that_was_meant() {
    let warnings =
        config(Role::Up, "TASDIQ_API_KEY=shop:0123456789abcdef\nATMOS_STOREID=1\nATMOS_WEBHOOK=x\nATMOS_CHECKOUT=y")
            .unwrap()
            .warnings;

    assert!(warnings[0].contains("TASDIQ_API_KEY is set") && warnings[0].contains("did you mean TASDIQ_API_KEYS"));
    assert!(warnings[1].contains("ATMOS_STORE_ID"), "{}", warnings[1]);
    assert!(warnings[2].ends_with("nothing reads it"), "{}", warnings[2]);
    assert!(warnings[3].contains("ATMOS_CHECKOUT_URL"), "{}", warnings[3]);
    assert!(!warnings.iter().any(|warning| warning.contains("0123456789abcdef")));
}

#[test]
fn names_that_kubernetes_sets_for_a_service_are_no_slips() {
    let lines =
        "TASDIQ_API_SERVICE_HOST=10.0.0.1\nTASDIQ_API_PORT=tcp://10.0.0.1:80\nTASDIQ_API_PORT_80_TCP_ADDR=10.0.0.1";

    assert_eq!(config(Role::Migrate, &format!("DATABASE_URL=postgres://db/x\n{lines}")).unwrap().warnings, [""; 0]);
}

#[test]
fn what_is_left_without_the_faulty_variables_can_be_read() {
    let lines = "DATABASE_URL=mysql://x\nTASDIQ_LOG=inf\nREDIS_URL=redis://redis";
    let variables: Variables = lines.lines().filter_map(variable).collect();
    let faults = Config::from_variables(Role::Operator, &variables).unwrap_err();

    let config = Config::from_variables(Role::Operator, &variables.without(&faults)).unwrap();

    assert_eq!(config.redis.url, Some(Secret::new("redis://redis")));
}

#[test]
fn a_value_that_is_no_text_is_one_fault_of_its_variable() {
    let variables = [(OsString::from("TASDIQ_LINK_WAIT_MS"), OsString::from_vec(vec![b'3', 0xff]))];

    let faults = Config::from_variables(Role::Up, &variables.into_iter().collect()).unwrap_err();

    assert_eq!(faults.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>(), ["is not UTF-8 text; set it again"]);
}

#[test]
fn after_port_zero_the_real_ports_stand_in_the_addresses() {
    let mut config = config(Role::Up, "TASDIQ_LISTEN=127.0.0.1:0\nTASDIQ_SANDBOX_LISTEN=127.0.0.1:0").unwrap();

    config.api_listens_at(SocketAddr::from(([127, 0, 0, 1], 4001)));
    config.sandbox_listens_at(SocketAddr::from(([127, 0, 0, 1], 4002)));

    assert_eq!(config.address.public_url.as_str(), "http://127.0.0.1:4001");
    assert_eq!(config.atmos.base_url.as_str(), "http://127.0.0.1:4002/");
    assert_eq!(config.atmos.checkout_url, config.atmos.base_url);
    assert!(config.starts_sandbox());
}

#[test]
fn a_public_address_that_was_given_stays() {
    let mut config = config(Role::Up, "TASDIQ_PUBLIC_URL=https://pay.example.uz/atmos/").unwrap();

    config.api_listens_at(SocketAddr::from(([127, 0, 0, 1], 4001)));

    assert_eq!(config.address.public_url.as_str(), "https://pay.example.uz/atmos");
}

#[test]
fn the_webhook_has_a_listener_of_its_own_where_one_is_named_and_that_is_no_other() {
    assert_eq!(config(Role::Up, "").unwrap().api.webhook_listen, None);
    let named = config(Role::Up, "TASDIQ_WEBHOOK_LISTEN=127.0.0.1:8002").unwrap();
    assert_eq!(named.api.webhook_listen, Some(([127, 0, 0, 1], 8_002).into()));

    for other in ["TASDIQ_LISTEN", "TASDIQ_SANDBOX_LISTEN"] {
        let same = format!("{other}=127.0.0.1:9\nTASDIQ_WEBHOOK_LISTEN=127.0.0.1:9");
        assert_eq!(faulty_variables(Role::Up, &same), ["TASDIQ_WEBHOOK_LISTEN"], "{other}");
    }
    let any_ports = "TASDIQ_LISTEN=127.0.0.1:0\nTASDIQ_WEBHOOK_LISTEN=127.0.0.1:0";
    assert!(config(Role::Up, any_ports).is_ok());
}
