//! The gateways' own testers, as the sandbox plays them, against our own webhooks.

use serde_json::Value;

use super::gateways::{ACCOUNTS, order_of};
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::command::run;

on_both_kinds! {
    each_gateways_tester_finds_nothing_wrong_with_us
}

async fn each_gateways_tester_finds_nothing_wrong_with_us(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;

    for (gateway, key, scenarios) in
        [("click", ["--secret-key", "sandbox-click-secret"], 30), ("payme", ["--key", "sandbox-payme-key"], 28)]
    {
        let [first, second] =
            [order_of(&app, gateway).await.0, order_of(&app, gateway).await.0].map(|id| id.to_string());
        let url = format!("{}/{gateway}/webhook/", app.url);
        let of_orders = ["--account", &first, "--account", &second, "--amount", "50", "--json"];
        let service: &[&str] = if gateway == "click" { &["--service-id", "22222"] } else { &[] };
        let arguments = [&["sandbox", "check", gateway, &url][..], &of_orders, &key, service].concat();

        let checked = run(&arguments, &[]).await;

        let list: Value = serde_json::from_str(&checked.said).unwrap_or_else(|error| panic!("{error}: {checked:?}"));
        let lines = list["lines"].as_array().unwrap();
        let red: Vec<&Value> = lines.iter().filter(|line| line["is_green"] != true).collect();
        assert!(red.is_empty(), "{gateway}: {red:#?}");
        assert_eq!((lines.len(), checked.code), (scenarios, Some(0)), "{gateway}");
    }
}
