//! The file of shops.

use domain::order::{GatewayIdentity, PaymentType};
use domain::shop::ShopName;
use domain::shops::Shop;

use super::*;

/// Reads these lines as the file of shops, and these variables beside it.
fn with_file(role: Role, text: &str, lines: &str) -> Result<Config, ConfigFaults> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasdiq.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("rice.key"), "0123456789fedcba\n").unwrap();
    let file = [(OsString::from("TASDIQ_CONFIG"), path.into_os_string())];
    Config::from_variables(role, &lines.lines().filter_map(variable).chain(file).collect())
}

/// The faults, each after the file's name, and without the folder.
fn faults(role: Role, text: &str, lines: &str) -> Vec<String> {
    let Err(faults) = with_file(role, text, lines) else { return Vec::new() };
    let short = |fault: String| match fault.split_once("/tasdiq.toml") {
        Some((_, rest)) => format!("tasdiq.toml{rest}"),
        None => fault,
    };
    faults.iter().map(|fault| short(fault.to_string())).collect()
}

const TWO_SHOPS: &str = r#"
[shops.tea]
api_keys = "tea:0123456789abcdef"
shop_name_uz = "Choyxona"
shop_name_ru = "Чайхана"
shop_support = "+998 71 200 00 00"
shop_logo_url = "https://tea.uz/logo.png"
return_hosts = ["tea.uz", "www.tea.uz"]

[shops.tea.atmos]
atmos_consumer_key = "tea-key"
atmos_consumer_secret = "tea-secret"
atmos_store_id = 417
atmos_api_key = "api-key-of-tea-house"
gateway_rate = "5/10"

[shops.rice]
api_keys = ["rice:fedcba9876543210", { file = "rice.key" }]

[shops.rice.payme]
payme_id = "5e730e8e0b852a417aa49ceb"
payme_key = "a-key-of-payme"
payme_test_mode = true
"#;

#[test]
fn shops_of_a_file_have_their_keys_words_hosts_and_accounts() {
    let text = TWO_SHOPS.replace("{ file = \"rice.key\" }", "\"field:0123456789fedcba\"");
    let config =
        with_file(Role::Up, &text, "TASDIQ_PUBLIC_URL=https://pay.uz\nTASDIQ_TRUSTED_PROXIES=10.0.0.7").unwrap();

    let shops = config.shops();
    let shop = |name: &str| shops.get(&ShopName::parse(name).unwrap()).unwrap().clone();
    let account = |name: &str| GatewayIdentity(name.to_owned());
    let tea = shop("tea");
    assert_eq!(tea.accounts.into_iter().collect::<Vec<_>>(), [(PaymentType::Atmos, account("atmos:417"))]);
    assert_eq!((tea.words.name_ru.as_deref(), tea.words.name_en), (Some("Чайхана"), None));
    assert_eq!(tea.return_hosts, ["tea.uz", "www.tea.uz"]);
    let payme = account("payme:5e730e8e0b852a417aa49ceb");
    assert_eq!(shop("rice").accounts.into_iter().collect::<Vec<_>>(), [(PaymentType::Payme, payme)]);
    assert_eq!(shop("default"), Shop::default(), "the variables describe no account");
    let keys: Vec<(&str, &str)> = config.api.keys.iter().map(|key| (key.shop.as_str(), key.name.as_str())).collect();
    assert_eq!(keys, [("tea", "tea"), ("rice", "rice"), ("rice", "field")]);
    let rates: Vec<_> = config.accounts().iter().map(::gateway::AccountSettings::rate).collect();
    assert_eq!(rates, [Some(GatewayRate { per_second: 5, burst: 10 }), None]);
    assert!(!config.starts_sandbox());
    assert_eq!(config.warnings, [""; 0]);
}

/// As container platforms give secrets; the path begins at the file's own folder.
#[test]
fn a_secret_of_a_file_may_stand_in_a_file_of_its_own() {
    let text = TWO_SHOPS.replace("atmos_api_key = \"api-key-of-tea-house\"", "atmos_api_key = { file = \"rice.key\" }");
    let text = text.replace(", { file = \"rice.key\" }", "");

    let config = with_file(Role::Worker, &text, SERVERS).unwrap();

    let ::gateway::AccountSettings::Atmos(tea) = &config.accounts()[0] else { panic!("it is of Atmos") };
    assert_eq!(tea.api_keys, [Secret::new("0123456789fedcba")]);
}

/// Shows: INVARIANT-18
#[test]
fn all_faults_of_a_file_are_told_at_once_each_with_its_line_and_no_value() {
    let text = r#"colour = "hunter2"
[shops.tea]
api_keys = "tea:hunter2"
shop_nam_uz = "hunter2"
return_hosts = "https://hunter2"
shop_support = 1.5
[shops.tea.atmos]
atmos_consumer_key = "hunter2-key"
atmos_consumer_secret = "sandbox-secret"
atmos_store_id = "hunter 2"
atmos_base_url = "http://hunter2.uz"
[shops.tea.paypal]
key = "hunter2"
[shops.Rice.atmos]
atmos_consumer_key = "hunter2"
[shops.rice.payme]
payme_key = { file = "hunter2.missing" }
[shops.rice.payme.more]
[shops.default]
"#;

    let told = faults(Role::Up, text, "TASDIQ_LINK_WAIT_MS=x");

    let expected = [
        "TASDIQ_LINK_WAIT_MS is not a whole number from 0 to 25000; without the variable it is 3000",
        "tasdiq.toml:1: colour is no setting; here may stand shops",
        "tasdiq.toml:10: shops.tea.atmos.atmos_store_id is not written as the gateway gives it: 1 to 20 letters, digits, - or _",
        "tasdiq.toml:7: shops.tea.atmos.atmos_api_key is missing; the account needs all of atmos_consumer_key, \
         atmos_consumer_secret, atmos_store_id and atmos_api_key",
        "tasdiq.toml:9: shops.tea.atmos.atmos_consumer_secret is the sandbox's, which is published; set the one of your \
         store, or atmos_consumer_key to sandbox-key",
        "tasdiq.toml:11: shops.tea.atmos.atmos_base_url is http, so credentials and payments would travel in clear text; use \
         https",
        "tasdiq.toml:14: shops.Rice has a name that is not 1 to 32 of a-z, 0-9, - and _",
        "tasdiq.toml:18: shops.rice.payme.more is no setting; here may stand",
        "tasdiq.toml:17: shops.rice.payme.payme_key must name a file with the secret, and that file cannot be read",
        "tasdiq.toml:16: shops.rice.payme.payme_id is missing; the account needs both of payme_id and payme_key",
        "tasdiq.toml:19: shops.default is the shop that the variables describe; give this one another name",
        "tasdiq.toml:4: shops.tea.shop_nam_uz is no setting; did you mean shop_name_uz?",
        "tasdiq.toml:6: shops.tea.shop_support is a float, which no setting is; write it in quotes",
        "tasdiq.toml:12: shops.tea.paypal is no setting; did you mean payme?",
        "tasdiq.toml:3: shops.tea.api_keys has an entry 1 whose key is not",
        "tasdiq.toml:5: shops.tea.return_hosts holds an entry that is no host",
    ];
    for expected in expected {
        assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}\n{told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    assert!(!told.iter().any(|told| told.to_lowercase().contains("hunter")), "{told:#?}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_every_line_that_cannot_be_read() {
    let told = faults(Role::Up, "[shops.tea]\napi_keys = hunter2\n[shops.tea.atmos\natmos_store_id = \"1\"\n", "");

    assert!(told.iter().any(|told| told.starts_with("tasdiq.toml:2 cannot be read as TOML")), "{told:#?}");
    assert!(told.iter().any(|told| told.starts_with("tasdiq.toml:3 cannot be read as TOML")), "{told:#?}");
    assert!(!told.iter().any(|told| told.contains("hunter2")), "{told:#?}");
    for path in ["/nowhere/tasdiq.toml", "/"] {
        assert_eq!(faulty_variables(Role::Up, &format!("TASDIQ_CONFIG={path}")), ["TASDIQ_CONFIG"]);
    }
}

#[test]
fn an_account_and_a_key_belong_to_one_shop() {
    let text =
        TWO_SHOPS.replace("rice:fedcba9876543210", "tea:fedcba9876543210").replace(", { file = \"rice.key\" }", "");
    let twice = format!(
        "{text}\n[shops.till.atmos]\natmos_consumer_key = \"k\"\natmos_consumer_secret = \"s\"\natmos_store_id = \"417\"\n\
         atmos_api_key = \"api-key-of-tea-house\"\n"
    );

    let told = faults(Role::Up, &twice, "");

    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains(": shops.till.atmos is the account of the shop tea, too"), "{told:#?}");
    assert!(told[1].contains(": shops.rice has an API key whose name, or which itself, another shop has"), "{told:#?}");
    let own = faults(Role::Up, &TWO_SHOPS.replace(", { file = \"rice.key\" }", ""), REAL);
    assert!(own[0].contains("shops.tea.atmos is the account of the shop default, too"), "{own:#?}");
}

/// Payme's calls name no cashbox: their key alone says whose they are. Click's and Atmos's name the account.
#[test]
fn two_cashboxes_have_no_key_in_common_and_no_account_stands_twice() {
    let text = TWO_SHOPS.replace(", { file = \"rice.key\" }", "");
    let payme = |id: &str, key: &str| format!("[shops.till.payme]\npayme_id = \"{id}\"\npayme_key = \"{key}\"\n");
    let click = |shop: &str, service: u32| {
        format!(
            "[shops.{shop}.click]\nclick_service_id = {service}\nclick_merchant_id = 1\nclick_merchant_user_id = 2\n\
             click_secret_key = \"a-secret-of-click\"\n"
        )
    };
    let told = |more: &str| {
        let told = faults(Role::Up, &format!("{text}{more}"), "");
        assert!(!told.iter().any(|told| told.contains("a-key-of") || told.contains("a-secret-of")), "{told:#?}");
        told
    };
    let other = "64a1f0c2b7e8d9034f5a6b70";

    for keys in ["a-key-of-payme", "a-key-of-till,a-key-of-payme"] {
        let told = told(&payme(other, keys));
        let expected = "shops.till.payme has a payme_key that the account of the shop rice has, too";
        assert!(told.len() == 1 && told[0].starts_with("tasdiq.toml:24: ") && told[0].contains(expected), "{told:#?}");
    }
    let same = told(&payme("5e730e8e0b852a417aa49ceb", "a-key-of-till"));
    assert!(same.len() == 1 && same[0].contains("shops.till.payme is the account of the shop rice, too"), "{same:#?}");
    let same = told(&(click("tea", 31337) + &click("rice", 31337)));
    assert!(same.len() == 1 && same[0].contains(" is the account of the shop "), "{same:#?}");
    assert_eq!(told(&payme(other, "a-key-of-till")), [""; 0]);
    assert_eq!(told(&(click("tea", 31337) + &click("rice", 31338))), [""; 0], "their signatures hold the service");
    let own = faults(Role::Up, &text, "PAYME_ID=64a1f0c2b7e8d9034f5a6b70\nPAYME_KEY=a-key-of-payme");
    assert!(
        own.iter().any(|told| told.contains("shops.rice.payme has a payme_key that the account of the shop default"))
    );
}

#[test]
fn sandbox_and_real_money_are_never_together() {
    let text = TWO_SHOPS.replace(", { file = \"rice.key\" }", "");

    let told = faults(Role::Up, &text, SANDBOX);

    assert!(told.iter().any(|told| told.contains("sandbox beside a real one")), "{told:#?}");
}

#[test]
fn shops_without_api_keys_do_not_start() {
    let text = "[shops.tea.atmos]\natmos_consumer_key = \"sandbox-key\"\natmos_consumer_secret = \"sandbox-secret\"\n\
                atmos_store_id = \"1234\"\natmos_api_key = \"sandbox-api-key\"\n";

    let told = faults(Role::Up, text, "");

    assert_eq!(
        told,
        ["TASDIQ_CONFIG names shops and no API key, so that callers could not be told apart; give each shop api_keys"]
    );
    assert_eq!(faults(Role::Worker, text, SERVERS), [""; 0], "a worker has no callers");
}

/// A worker must start, and a command get in, when the order API would not.
#[test]
fn keys_words_and_hosts_of_a_file_are_the_apis_alone() {
    let text = TWO_SHOPS.replace("tea:0123456789abcdef", "x").replace("https://tea.uz/logo.png", "x");

    assert_eq!(faults(Role::Api, &text, SERVERS).len(), 3, "and the file without a name for its key");
    assert_eq!(faults(Role::Worker, &text, SERVERS), [""; 0]);
    assert_eq!(faults(Role::Operator, &text, ""), [""; 0]);
}

/// The example of the page is whole.
#[test]
fn the_example_of_the_page_is_a_file_that_can_be_read() {
    let page = documents::text("docs/run/shops.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for (place, rest) in example.split("file = \"").skip(1).enumerate() {
        let path = rest.split('"').next().unwrap();
        let secret =
            format!("key{place}:0123456789abcdef{place}").replace(':', if path.contains("atmos") { "-" } else { ":" });
        std::fs::write(folder.path().join(path), secret).unwrap();
    }
    let path = folder.path().join("tasdiq.toml");
    std::fs::write(&path, example).unwrap();

    let file = [(OsString::from("TASDIQ_CONFIG"), path.into_os_string())];
    let config =
        Config::from_variables(Role::Api, &SERVERS.lines().filter_map(variable).chain(file).collect()).unwrap();

    let accounts: Vec<String> = config.accounts().iter().map(|account| account.identity().0).collect();
    assert_eq!(accounts, ["atmos:417", "payme:5e730e8e0b852a417aa49ceb", "atmos:418", "click:31337"]);
    assert_eq!(config.api.keys.len(), 3);
}
