//! The operator's commands on a running installation: their output, and the exit codes for scripts.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::click_call::Call;
use crate::support::command::{CommandResult, run};
use crate::support::ports::free_port;
use crate::support::role::{client, id};
use crate::support::servers::{fresh_database, redis_url};
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

/// A running `tasdiq up` in which requests wait only briefly for a link.
async fn start_up() -> Up {
    Up::start(&[("TASDIQ_LINK_WAIT_MS", "1000")]).await
}

/// Runs a command on that installation.
async fn command(up: &Up, arguments: &[&str]) -> CommandResult {
    run(arguments, &up.environment()).await
}

/// Makes an order and debits it without a callback, so no inquiry follows soon.
async fn order_paid_in_silence(up: &Up) -> Value {
    let order = up.api.create_order().await;
    up.sandbox.fault(&json!({ "fault": "callback-never" })).await;
    assert_eq!(up.sandbox.pay(transaction_id(&order)).await, "debited");
    order
}

/// The number of the newest job of this kind.
async fn newest_job(up: &Up, kind: &str) -> String {
    let jobs = command(up, &["jobs", "list", "--kind", kind, "--json"]).await.json();
    jobs[0]["id"].to_string()
}

fn transaction_id(order: &Value) -> i64 {
    order["transaction_id"].as_i64().unwrap()
}

fn number(order: &Value) -> String {
    id(order).to_string()
}

/// A script that asks for JSON gets errors as JSON too.
#[tokio::test]
async fn with_json_a_failure_is_told_as_json() {
    let up = start_up().await;

    for (line, code, part) in [
        ("orders show 999", 1, "no order 999"),
        ("orders reconcile 999", 1, "no order 999"),
        ("orders refund 999 --by ann --reason broken", 1, "no order 999"),
        ("orders cancel 999 --by ann --reason broken", 1, "no order 999"),
        ("orders resolve 999 paid --by ann --reason seen", 1, "no order 999"),
        ("orders resolve 999 pad --by ann --reason seen", 2, "pad"),
        ("jobs show 999", 1, "no job 999"),
        ("audit --order 999", 1, "no order 999"),
        ("orders show", 2, "required"),
    ] {
        let arguments: Vec<&str> = line.split(' ').chain(["--json"]).collect();
        let failed = command(&up, &arguments).await;

        assert_eq!(failed.code, Some(code), "{line}: {failed:?}");
        let document: Value = serde_json::from_str(&failed.complained).unwrap();
        assert_eq!(document["exit_code"], code, "{line}: {document}");
        assert!(document["error"].as_str().unwrap().contains(part), "{line}: {document}");
    }
    let nowhere = run(&["jobs", "list", "--json"], &[("DATABASE_URL", "mysql://x")]).await;
    let document: Value = serde_json::from_str(&nowhere.complained).unwrap();
    assert_eq!((nowhere.code, &document["exit_code"]), (Some(78), &json!(78)));
}

/// Only existing names are listed, and an order of an unknown key belongs to no listed one.
/// Shows: PERSON-8
#[tokio::test]
async fn what_a_person_types_wrong_is_told_with_what_is_right() {
    let up = start_up().await;
    let body = json!({ "product_name": "tea", "amount": "50.00", "payment_type": "atmos", "reference": "SHOP-77" });
    let made = client().post(format!("{}/api/orders/create", up.api.role.url)).json(&body).send().await.unwrap();
    let order: Value = made.json().await.unwrap();

    let shown = command(&up, &["orders", "show", &number(&order)]).await;
    let wrong = command(&up, &["orders", "resolve", "1", "pad", "--by", "ann", "--reason", "seen"]).await;
    let forged = command(&up, &["orders", "cancel", "1", "--by", "a\u{202e}nn", "--reason", "sold out"]).await;

    assert!(shown.said.lines().any(|line| line.trim_end() == "  reference  SHOP-77"), "{shown:?}");
    let told = format!("{wrong:?}");
    assert!(told.contains("refunded") && !told.contains("pending") && !told.contains("confirming"), "{told}");
    assert!(forged.code == Some(2) && format!("{forged:?}").contains("direction"), "{forged:?}");
}

/// A wrong key refuses every payment, and only the callbacks show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_tells_of_a_wrong_callback_key_and_callbacks_are_listed() {
    let app = crate::support::app::TestApp::start(crate::support::app::Kind::Embedded).await;
    let order = app.order_with_link().await;
    let signed = app.sign(order.transaction_id, order.id, "50.00").await;
    for number in 0..3 {
        let forged = signed.replace("\"sign\":\"", &format!("\"sign\":\"{number}"));
        assert_eq!(app.deliver(forged).await.callback_status(), 0);
    }

    let wrong_key = app.request(Method::POST, "/payme/webhook/").basic_auth("Paycom", Some("another key"));
    wrong_key.json(&json!({ "method": "CheckTransaction", "params": { "id": "1" }, "id": 1 })).send().await.unwrap();
    let wrong_sign = Call::prepare_of("22222", order.id, "50.00", 7).signed_with("another key").form();
    app.post("/click/webhook/", "application/x-www-form-urlencoded", wrong_sign).await;

    let doctor = app.run_with(&["doctor"], &[]).await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.said.contains("atmos: 3 of the last 3 callbacks prove nothing"), "{doctor:?}");
    assert!(doctor.said.contains("compare ATMOS_API_KEY"), "{doctor:?}");
    for (webhook, key) in [("payme", "PAYME_KEY"), ("click", "CLICK_SECRET_KEY")] {
        assert!(doctor.said.contains(&format!("{webhook}: 1 of the last 1 callbacks prove nothing")), "{doctor:?}");
        assert!(doctor.said.contains(&format!("compare {key}")), "{doctor:?}");
        let listed = app.command(&["callbacks", "list"]).await;
        assert!(listed.lines().any(|line| line.contains("badly_signed") && line.contains(webhook)), "{listed}");
        let listed = app.run(&["callbacks", "list", "--json"]).await.json();
        let of_webhook = listed.as_array().unwrap().iter().find(|kept| kept["webhook"] == webhook);
        assert_eq!(of_webhook.map(|kept| &kept["gateway"]), Some(&Value::Null), "no account's key proves it: {listed}");
    }
    assert_eq!(app.metric(r#"tasdiq_callbacks_badly_signed_in_a_row{gateway="atmos"}"#).await, 3);

    for _ in 0..2 {
        assert_eq!(app.deliver(signed.clone()).await.callback_status(), 1);
    }
    assert_eq!(app.metric(r#"tasdiq_callbacks_badly_signed_in_a_row{gateway="atmos"}"#).await, 0);
    let id = order.id.to_string();
    for (filter, verdicts) in [
        (&[][..], &["allowed", "badly_signed", "badly_signed", "badly_signed", "badly_signed", "badly_signed"][..]),
        (&["--verdict", "badly_signed", "--limit", "2"], &["badly_signed", "badly_signed"]),
        (&["--order", id.as_str(), "--since", "1h"], &["allowed"]),
        (&["--order", id.as_str(), "--verdict", "late"], &[]),
    ] {
        let listed = app.run_with(&[&["callbacks", "list", "--json"], filter].concat(), &[]).await.json();
        let found: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["verdict"].as_str().unwrap()).collect();
        assert_eq!(found, verdicts, "{filter:?}");
    }
    let table = app.run_with(&["callbacks", "list", "--verdict", "allowed"], &[]).await.said;
    assert!(table.contains("allowed") && table.contains("times"), "{table}");
}

#[tokio::test]
async fn doctor_finds_a_running_installation_well() {
    let up = start_up().await;

    let machine = command(&up, &["doctor", "--json"]).await.json();
    let person = command(&up, &["doctor"]).await;

    assert_eq!(machine["ok"], true, "{machine:#}");
    let looked_at: Vec<&str> =
        machine["findings"].as_array().unwrap().iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    for what in ["configuration", "database", "gateway", "processes", "jobs"] {
        assert!(looked_at.contains(&what), "doctor says nothing of {what}: {looked_at:?}");
        assert!(person.said.contains(what), "{person:?}");
    }
    assert_eq!(person.code, Some(0), "{person:?}");
    assert!(!person.said.contains("FAULT"), "{person:?}");
}

/// Both servers and no variables of a gateway: `tasdiq up` can run so, but neither `api` nor `worker` can.
#[tokio::test]
async fn doctor_finds_an_up_on_servers_well() {
    let servers = [("DATABASE_URL", &*fresh_database().await), ("REDIS_URL", &*redis_url())];
    let up = Up::start(&servers).await;
    let doctor = async || run(&["doctor"], &[&up.environment()[..], &servers[..]].concat()).await;

    // Its row in the database shows that it runs.
    let well = async || Some(doctor().await).filter(|ended| ended.said.contains("tasdiq up;"));
    let ended = wait_until("doctor to judge it by the rules of up", PATIENCE, well).await;

    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.said.contains("FAULT"), "{ended:?}");
}

#[tokio::test]
async fn doctor_tells_each_fault_with_what_to_do_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let away = format!("postgres://tasdiq:hunter2@127.0.0.1:{}/tasdiq", free_port());
    let gateway = format!("http://127.0.0.1:{}", free_port());
    let variables =
        [("TASDIQ_DATA_DIR", folder.path().to_str().unwrap()), ("DATABASE_URL", &away), ("ATMOS_BASE_URL", &gateway)];

    let machine = run(&["doctor", "--json"], &variables).await;
    let person = run(&["doctor"], &variables).await;

    assert_eq!((machine.code, person.code), (Some(1), Some(1)), "{machine:?} {person:?}");
    let findings: Value = serde_json::from_str(&machine.said).unwrap();
    assert_eq!(findings["ok"], false);
    for what in ["database", "gateway"] {
        let findings = findings["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["what"] == what && finding["state"] == "fault");
        let finding = finding.unwrap_or_else(|| panic!("no fault of the {what}: {findings:#?}"));
        assert!(finding["act"].as_str().is_some_and(|act| !act.is_empty()), "{finding}");
    }
    assert!(person.said.contains("FAULT"), "{person:?}");
    assert!(!format!("{machine:?}{person:?}").contains("hunter2"), "{machine:?}");
}

#[tokio::test]
async fn an_operator_refunds_and_cancels_with_name_and_reason() {
    let up = start_up().await;
    let order = up.api.create_order().await;
    let unpaid = up.api.create_order().await;
    let because = ["--reason", "it was broken", "--by", "ann"];
    let order_command = async |verb: &str, order: &Value, more: &[&str]| {
        let id = number(order);
        command(&up, &[&["orders", verb, &id], &because[..], more].concat()).await
    };

    let too_early = order_command("refund", &order, &[]).await;
    assert_eq!(too_early.code, Some(1), "{too_early:?}");
    assert!(too_early.complained.contains("orders cancel"), "it says what to do instead: {too_early:?}");
    assert_eq!(up.sandbox.pay(transaction_id(&order)).await, "debited");
    up.api.wait_for(id(&order), "paid").await;
    let paid = order_command("cancel", &order, &[]).await;
    assert!(paid.code == Some(1) && paid.complained.contains("orders refund"), "{paid:?}");

    let refund = order_command("refund", &order, &["--json"]).await.json();
    assert_eq!(
        (&refund["order_id"], &refund["amount"], &refund["requested_by"]),
        (&order["order_id"], &json!("50.00"), &json!("ann"))
    );
    up.api.wait_for(id(&order), "refunded").await;
    let again = order_command("refund", &order, &[]).await;
    assert!(again.code == Some(1) && again.complained.contains("refunded already"), "{again:?}");

    let canceled = order_command("cancel", &unpaid, &["--json"]).await.json();
    assert_eq!(canceled, json!({ "order_id": unpaid["order_id"], "status": "canceled" }));
    let person = order_command("cancel", &unpaid, &[]).await;
    assert!(person.code == Some(0) && person.said.contains("is canceled"), "{person:?}");
    for verb in ["refund", "cancel"] {
        let nothing = order_command(verb, &json!({ "order_id": 999 }), &[]).await;
        assert!(nothing.code == Some(1) && nothing.complained.contains("no order 999"), "{nothing:?}");
    }

    let story = command(&up, &["orders", "show", &number(&order), "--json"]).await.json();
    assert_eq!(
        (&story["refunds"][0]["state"], &story["refunds"][0]["reason"]),
        (&json!("done"), &json!("it was broken"))
    );
    assert!(story["jobs"].as_array().unwrap().iter().any(|job| job["kind"] == "settle_order"), "{story:#}");
    let shown = command(&up, &["orders", "show", &number(&order)]).await;
    assert!(shown.said.contains("it was broken") && shown.said.contains("settle_order"), "{shown:?}");
    let history = command(&up, &["orders", "show", &number(&unpaid)]).await;
    assert!(history.said.contains("an operator canceled it (ann): it was broken"), "{history:?}");
    assert_eq!(story["refunds"].as_array().unwrap().len(), 1, "{story:#}");
    let jobs = command(&up, &["jobs", "list", "--kind", "refund_order", "--json"]).await.json();
    assert_eq!(jobs, json!([]), "it is done");
}

#[tokio::test]
async fn doctor_tells_the_faults_of_the_environment_too() {
    let machine = run(&["doctor", "--json"], &[("DATABASE_URL", "mysql://x"), ("ATMOS_STORE_ID", "417")]).await;

    assert_eq!(machine.code, Some(1), "{machine:?}");
    assert!(machine.said.contains("DATABASE_URL") && machine.said.contains("ATMOS_CONSUMER_KEY"), "{machine:?}");
}

#[tokio::test]
async fn an_orders_whole_story_is_shown() {
    let up = start_up().await;
    let order = up.api.create_order().await;
    assert_eq!(up.sandbox.pay(transaction_id(&order)).await, "debited");
    up.api.wait_for(id(&order), "paid").await;

    let story = command(&up, &["orders", "show", &number(&order), "--json"]).await.json();
    let person = command(&up, &["orders", "show", &number(&order)]).await;

    assert_eq!(story["order"]["status"], "paid");
    let steps: Vec<&str> =
        story["history"].as_array().unwrap().iter().map(|line| line["to"].as_str().unwrap()).collect();
    assert_eq!(steps, ["pending", "pending", "confirming", "paid"], "made, linked, asked for, paid");
    assert!(
        story["history"]
            .as_array()
            .unwrap()
            .iter()
            .all(|line| line["cause"].as_str().is_some_and(|cause| !cause.is_empty()))
    );
    assert_eq!(story["transactions"][0]["state"], "debited");
    assert_eq!(story["callbacks"][0]["verdict"], "allowed");
    assert!(story["jobs"].as_array().unwrap().iter().any(|job| job["kind"] == "settle_order"));
    assert_eq!(person.code, Some(0));
    for part in ["paid", "confirming", "debited", "allowed", "settle_order"] {
        assert!(person.said.contains(part), "{part} is missing: {person:?}");
    }
    let token = order["order_token"].as_str().unwrap();
    assert!(!person.said.contains(token) && !story.to_string().contains(token), "the token opens the order's pages");
}

/// Without a callback, inquiries find the debit after minutes; an operator who knows of it can ask at once.
#[tokio::test]
async fn reconcile_asks_the_gateway_at_once() {
    let up = start_up().await;
    let order = order_paid_in_silence(&up).await;

    let answer = command(&up, &["orders", "reconcile", &number(&order), "--json"]).await.json();

    assert_eq!((&answer["order_id"], &answer["staged"]), (&order["order_id"], &json!("settle_order")));
    up.api.wait_for(id(&order), "paid").await;
}

#[tokio::test]
async fn jobs_are_listed_and_shown() {
    let up = start_up().await;
    let order = up.api.create_order().await;

    let all = command(&up, &["jobs", "list", "--json"]).await.json();
    let inquiries =
        command(&up, &["jobs", "list", "--state", "available", "--kind", "settle_order", "--json"]).await.json();
    let one = command(&up, &["jobs", "show", &inquiries[0]["id"].to_string(), "--json"]).await.json();
    let gone = command(&up, &["jobs", "show", "999999"]).await;
    let dead = command(&up, &["jobs", "list", "--state", "dead", "--json"]).await.json();
    let person = command(&up, &["jobs", "list"]).await;

    let kinds: Vec<&str> = all.as_array().unwrap().iter().map(|job| job["kind"].as_str().unwrap()).collect();
    for kind in ["settle_order", "sweep"] {
        assert!(kinds.contains(&kind), "{kind} is missing: {kinds:?}");
        assert!(person.said.contains(kind), "{person:?}");
    }
    assert_eq!(inquiries.as_array().unwrap().len(), 1);
    assert_eq!(one["failed_attempts"], json!([]));
    assert_eq!((&one["id"], &one["due_at"]), (&inquiries[0]["id"], &inquiries[0]["due_at"]));
    assert_eq!(
        (&one["subject_id"], &one["attempt"], &one["state"]),
        (&order["order_id"], &json!(0), &json!("available"))
    );
    assert!(gone.refusal().contains("completed and left the table"), "{gone:?}");
    assert_eq!(dead, json!([]));
}

/// Money may have moved that only these jobs will notice.
#[tokio::test]
async fn jobs_that_watch_over_money_cannot_be_canceled() {
    let up = start_up().await;
    up.api.create_order().await;

    for kind in ["settle_order", "sweep"] {
        let job = newest_job(&up, kind).await;
        let ended = command(&up, &["jobs", "cancel", &job]).await;

        assert!(ended.refusal().contains("never canceled"), "{ended:?}");
        let state = command(&up, &["jobs", "show", &job, "--json"]).await.json()["state"].clone();
        assert!(state != "canceled", "{kind} is {state}");
    }
}

#[tokio::test]
async fn canceling_a_payment_link_cancels_its_order() {
    let up = start_up().await;
    up.sandbox.fault(&json!({ "fault": "unavailable" })).await;
    let order = up.api.create_order().await;
    let job = newest_job(&up, "create_payment_link").await;

    // It can be canceled while it waits for its next attempt, which is most of the time.
    let canceled = wait_until("the job to be canceled", PATIENCE, async || {
        let ended = command(&up, &["jobs", "cancel", &job, "--json"]).await;
        (ended.code == Some(0)).then(|| ended.json())
    })
    .await;

    assert_eq!(canceled["state"], "canceled");
    up.api.wait_for(id(&order), "canceled").await;
    for act in ["cancel", "retry"] {
        let again = command(&up, &["jobs", act, &job]).await;
        assert!(again.refusal().contains("the job is canceled"), "{act}: {again:?}");
    }
}

/// The questions after an incident: which host, which process, when, and which error.
#[tokio::test]
async fn an_attempt_that_failed_is_shown_with_its_worker() {
    let up = start_up().await;
    up.sandbox.fault(&json!({ "fault": "unavailable" })).await;
    let order = up.api.create_order().await;
    let job = newest_job(&up, "create_payment_link").await;

    let shown = wait_until("a failed attempt", PATIENCE, async || {
        let shown = command(&up, &["jobs", "show", &job, "--json"]).await.json();
        shown["failed_attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()).then_some(shown)
    })
    .await;
    let person = command(&up, &["jobs", "show", &job]).await;

    let attempt = shown["failed_attempts"].as_array().unwrap().last().unwrap();
    assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&json!(1), &json!("failed")));
    assert_eq!((&attempt["kind"], &attempt["subject_id"]), (&json!("create_payment_link"), &order["order_id"]));
    assert!(attempt["worker_pid"].is_i64() && attempt["worker_host"].is_string(), "{attempt}");
    assert!(
        attempt["took_ms"].as_i64().is_some_and(|took_ms| took_ms >= 0) && attempt["error"].is_string(),
        "{attempt}"
    );
    let host = attempt["worker_host"].as_str().unwrap();
    assert!(person.said.contains("attempts that did not go well") && person.said.contains(host), "{person:?}");
}

#[tokio::test]
async fn a_waiting_job_is_run_at_once_and_a_finished_one_is_not_run_again() {
    let up = start_up().await;
    let order = order_paid_in_silence(&up).await;
    let waiting = newest_job(&up, "settle_order").await;

    let retried = command(&up, &["jobs", "retry", &waiting]).await;

    assert_eq!(retried.code, Some(0), "{retried:?}");
    up.api.wait_for(id(&order), "paid").await;
    // The job of a refund leaves the table when it is done.
    up.sandbox.delay_answers(Duration::from_secs(3)).await;
    command(&up, &["orders", "refund", &number(&order), "--by", "ann", "--reason", "it was broken"]).await;
    let finished = newest_job(&up, "refund_order").await;
    up.api.wait_for(id(&order), "refunded").await;
    wait_until("the job to be done", PATIENCE, async || {
        (command(&up, &["jobs", "show", &finished]).await.code == Some(1)).then_some(())
    })
    .await;
    let refused = command(&up, &["jobs", "retry", &finished]).await;
    assert!(refused.refusal().contains("completed"), "{refused:?}");
}

#[tokio::test]
async fn a_callback_signed_by_hand_is_answered_1_and_makes_the_order_confirming() {
    let up = start_up().await;

    for field in ["account", "invoice"] {
        let order = up.api.create_order().await;
        let arguments = [
            "callback",
            "sign",
            "--transaction-id",
            &order["transaction_id"].to_string(),
            "--account",
            &number(&order),
            "--amount",
            "50.00",
            "--field",
            field,
        ];
        let signed = command(&up, &arguments).await;
        assert_eq!(signed.json()[field], number(&order), "{signed:?}");

        let webhook = format!("{}/atmos/webhook/", up.api.role.url);
        let answer = client().post(webhook).body(signed.said).send().await.unwrap();

        assert_eq!(answer.status(), StatusCode::OK);
        let verdict: Value = answer.json().await.unwrap();
        assert_eq!(verdict["status"], 1, "{verdict}");
        up.api.wait_for(id(&order), "confirming").await;
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_to_be_unknown() {
    let up = start_up().await;

    for (arguments, part) in [
        (["jobs", "show", "999999"], "there is no job 999999"),
        (["jobs", "retry", "999999"], "there is no job 999999"),
        (["jobs", "cancel", "999999"], "there is no job 999999"),
        (["orders", "show", "999999"], "there is no order 999999"),
        (["orders", "reconcile", "999999"], "there is no order 999999"),
    ] {
        let ended = command(&up, &arguments).await;
        assert!(ended.refusal().contains(part), "{ended:?}");

        let ended = command(&up, &[arguments.as_slice(), &["--json"]].concat()).await;
        assert!(ended.refusal().contains(part), "{ended:?}");
    }
}

/// A mistyped directory must not become an empty installation that looks healthy.
#[tokio::test]
async fn commands_make_no_installation_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let variables = [("TASDIQ_DATA_DIR", nowhere.to_str().unwrap())];

    for arguments in [&["jobs", "list"][..], &["orders", "show", "1"], &["audit"]] {
        let ended = run(arguments, &variables).await;

        assert!(ended.refusal().contains("TASDIQ_DATA_DIR"), "{ended:?}");
    }
    assert!(!nowhere.exists());
}
