//! `tasdiq gateways`, as an operator types it while everything runs; and its older name `tasdiq weather`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::counted_way::CountedWay;
use crate::support::app::{Kind, TestApp};
use crate::support::command::{CommandResult, run};
use crate::support::doors::tea;
use crate::support::installation::RunningInstallation;
use crate::support::ports::free_port;
use crate::support::role::{RunningApi, RunningRole, id};
use crate::support::sandbox::RunningSandbox;
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// A running installation with one order API and a worker somewhere, and the way to its gateway.
struct Scene<'a> {
    api: &'a RunningApi,
    way: &'a CountedWay,
    /// The process that runs the jobs and counts the calls that are held back.
    worker: &'a RunningRole,
    environment: Vec<(&'a str, &'a str)>,
}

/// Shows: ADMISSION-17, ADMISSION-18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_on_sqlite_obeys_an_operator_within_a_second() {
    let sandbox = RunningSandbox::start("http://127.0.0.1:1").await;
    let way = CountedWay::start(sandbox.port()).await;
    let url = way.url();
    let up = Up::start(&[("TASDIQ_LINK_WAIT_MS", "0"), ("ATMOS_BASE_URL", &url)]).await;
    let mut environment = up.environment().to_vec();
    environment.push(("ATMOS_BASE_URL", &url));
    let scene = Scene { api: &up.api, way: &way, worker: &up.api.role, environment };

    scene.play().await;
}

/// Shows: ADMISSION-17, ADMISSION-18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_on_postgres_and_redis_obeys_an_operator_within_a_second() {
    let installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let way = CountedWay::start(installation.sandbox.port()).await;
    let url = way.url();
    let api = installation.api(0).await;
    let mut worker = installation.begin_worker(&[], &[("ATMOS_BASE_URL", &url)]);
    worker.ready().await;
    let scene = Scene { api: &api, way: &way, worker: &worker, environment: installation.environment() };

    scene.play().await;
}

impl Scene<'_> {
    async fn play(&self) {
        self.pausing_stops_calls_within_a_second_and_resuming_lets_them_leave().await;
        self.a_rate_limit_holds_within_a_second_and_is_taken_back().await;
        self.a_reset_closes_a_breaker_that_has_opened_by_itself().await;
        self.a_retry_after_is_shown_with_its_end_and_only_override_ends_it().await;
    }

    async fn command(&self, arguments: &[&str]) -> CommandResult {
        let ended = run(&[&["gateways"], arguments].concat(), &self.environment).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// The JSON of `show`, once it fits for every living process.
    async fn shown(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, PATIENCE, async || {
            let shown = self.command(&["show", "--json"]).await.json();
            let processes = shown["processes"].as_array().unwrap();
            (!processes.is_empty() && processes.iter().all(&fits)).then(|| shown.clone())
        })
        .await
    }

    async fn order(&self) -> i64 {
        id(&self.api.create_order().await)
    }

    async fn pausing_stops_calls_within_a_second_and_resuming_lets_them_leave(&self) {
        self.api.wait_for_link(self.order().await).await;

        let paused = self.command(&["pause"]).await;
        tokio::time::sleep(SECOND).await; // not for luck: this is what is promised
        let calls = self.way.calls().len();
        let waiting = self.order().await;
        let held_back = wait_until("a call to be held back", PATIENCE, async || {
            let held_back = self.worker.metric("tasdiq_gateway_calls_held_back_total", r#"by="operator""#).await;
            (held_back > 0).then_some(held_back)
        })
        .await;

        assert!(paused.said.contains("no call leaves") && paused.said.contains("gateways resume"), "{paused:?}");
        assert!(held_back > 0);
        assert_eq!(self.way.calls().len(), calls, "no call passed");
        assert_eq!(self.api.order(waiting).await["transaction_id"], Value::Null);
        self.shown("all processes to report the pause", |process| process["is_paused"] == true).await;
        assert!(self.command(&["show"]).await.said.contains("PAUSED"));
        assert_eq!(self.worker.metric("tasdiq_gateway_paused", "").await, 1);
        let (ready, said) = self.worker.get("/readyz").await;
        assert!(ready.is_success(), "{said}");
        let doctor = run(&["doctor"], &self.environment).await;
        assert!(doctor.said.contains("an operator has paused calls to sandbox:1234"), "{doctor:?}");
        assert!(doctor.said.contains("tasdiq gateways resume"), "{doctor:?}");
        assert_eq!(self.way.calls().len(), calls, "nor did doctor's");
        let reset = self.command(&["reset"]).await.said;
        assert!(reset.contains("NO CALL LEAVES") && reset.contains("gateways resume"), "{reset}");
        let account = &self.command(&["list", "--json"]).await.json()[0];
        assert_eq!(
            (&account["calls_leave"], &account["held_back_by"]),
            (&json!(false), &json!("operator")),
            "{account}"
        );
        assert!(self.command(&["list"]).await.said.contains("PAUSED by an operator since 20"));

        self.command(&["resume", "atmos"]).await;
        self.api.wait_for_link_within(waiting, SECOND * 8).await;
        let shown =
            self.shown("all processes to report that calls may leave", |process| process["is_paused"] == false).await;
        assert_eq!((&shown["gateway"], &shown["operator"]["is_paused"]), (&json!("atmos"), &json!(false)));
        let account = &self.command(&["list", "--json"]).await.json()[0];
        assert_eq!((&account["gateway"], &account["account"]), (&json!("atmos"), &json!("sandbox:1234")), "{account}");
        assert_eq!(account["calls_leave"], true, "{account}");
    }

    async fn a_rate_limit_holds_within_a_second_and_is_taken_back(&self) {
        let set = self.command(&["rate", "atmos", "4/2"]).await;
        assert!(set.said.contains("4 calls per second and 2 at once"), "{set:?}");
        tokio::time::sleep(SECOND).await; // as above
        let (calls, began) = (self.way.calls().len(), Instant::now());

        let orders = self.api.create_orders(16).await;
        for order in &orders {
            self.api.wait_for_link(id(order)).await;
        }

        let (made, took) = (self.way.calls().len() - calls, began.elapsed());
        assert!(took >= Duration::from_millis(3_000), "{made} calls at 4 a second took {took:?}");
        let shown = self.shown("all to report the rate limit", |process| process["rate_limit"] == "4/2").await;
        assert_eq!(shown["operator"]["rate_limit"], "4/2");
        assert_eq!(self.worker.metric("tasdiq_gateway_rate_limit", "burst").await, 2);
        let back = self.command(&["rate", "configured", "--json"]).await.json();
        assert_eq!(back["operator"]["rate_limit"], Value::Null);
        let process = &back["processes"][0];
        assert_eq!(
            process["rate_limit"], process["configured"],
            "a program gets the new state, not the old one: {back}"
        );
        self.shown("all to report the configured limit", |process| process["rate_limit"] == process["configured"])
            .await;
    }

    /// `reset` does it and nothing else; `resume` does it as well.
    async fn a_reset_closes_a_breaker_that_has_opened_by_itself(&self) {
        let sandbox = RunningSandbox::at(self.way.url().strip_prefix("http://").unwrap());
        for (command, message) in [("reset", "all calls leave"), ("resume", "calls to sandbox:1234 leave again")] {
            sandbox.fault(&json!({ "fault": "forbidden" })).await;
            self.api.create_orders(6).await;

            let shown = self.shown("all to report the breaker", |process| process["breaker"] != "closed").await;

            let cause = shown["processes"][0]["cause"].as_str().unwrap();
            assert!(cause.contains("HTTP 403"), "{cause}");
            assert_eq!(self.worker.metric("tasdiq_gateway_breaker", "\"closed\"").await, 0);
            let account = &self.command(&["list", "--json"]).await.json()[0];
            assert_eq!(account["held_back_by"], "breaker", "{account}");
            let text = self.command(&["show"]).await.said;
            assert!(text.contains("calls       only probes leave: the circuit breaker is open since 20"), "{text}");
            let doctor = run(&["doctor"], &self.environment).await;
            assert!(doctor.said.contains("the circuit breaker is open since"), "{doctor:?}");
            assert!(doctor.said.contains("HTTP 403"), "it asks the gateway itself: {doctor:?}");
            sandbox.clear_faults().await;
            let done = self.command(&[command]).await.said;
            assert!(done.contains(message), "{done}");
            self.shown("all to report that calls leave", |process| process["breaker"] == "closed").await;
        }
        self.doctor_with_another_address_holds_no_call_back().await;
        let order = self.order().await;
        self.api.wait_for_link_within(order, SECOND * 8).await;
    }
}

impl Scene<'_> {
    async fn doctor_with_another_address_holds_no_call_back(&self) {
        let nowhere = format!("http://127.0.0.1:{}", free_port());
        let mut elsewhere = self.environment.clone();
        elsewhere.retain(|(name, _)| *name != "ATMOS_BASE_URL");
        elsewhere.push(("ATMOS_BASE_URL", &nowhere));
        for _ in 0..3 {
            let doctor = run(&["doctor"], &elsewhere).await;
            assert!(doctor.said.contains(&nowhere), "{doctor:?}");
        }

        let shown = self.command(&["show", "--json"]).await.json();
        assert!(shown["processes"].as_array().unwrap().iter().all(|process| process["breaker"] == "closed"), "{shown}");
    }
}

/// Calls must not be said to leave while the gateway's `Retry-After` holds them back.
impl Scene<'_> {
    async fn a_retry_after_is_shown_with_its_end_and_only_override_ends_it(&self) {
        let sandbox = RunningSandbox::at(self.way.url().strip_prefix("http://").unwrap());
        sandbox.fault(&json!({ "fault": "throttled", "next": 1, "milliseconds": 600_000 })).await;
        let first = self.order().await;
        self.shown("all to report the Retry-After", |process| process["retry_after_until"] != Value::Null).await;
        let waiting = self.order().await;

        let account = &self.command(&["list", "--json"]).await.json()[0];
        assert_eq!(account["held_back_by"], "retry_after", "{account}");
        let opened = self.command(&["resume"]).await.said;
        assert!(opened.contains("NO CALL LEAVES until 20") && opened.contains("--override"), "{opened}");
        let shown = self.command(&["show"]).await.said;
        assert!(shown.contains("no call leaves until 20") && shown.contains("Retry-After"), "{shown}");
        let reason = wait_until("the reason of the waiting job", PATIENCE, async || {
            let jobs =
                run(&["jobs", "list", "--kind", "create_payment_link", "--json"], &self.environment).await.json();
            let jobs = jobs.as_array().unwrap().clone();
            let job = jobs.into_iter().find(|job| job["subject_id"] == waiting)?;
            job["last_error"].as_str().map(str::to_owned)
        })
        .await;
        assert!(reason.contains("the gateway asked us to wait"), "{reason}");

        let opened = self.command(&["resume", "--override"]).await.said;
        assert!(opened.contains("calls to sandbox:1234 leave again"), "{opened}");
        self.shown("all to forget the Retry-After", |process| process["retry_after_until"] == Value::Null).await;
        // They were told to come back in ten minutes.
        for order in [first, waiting] {
            self.api.wait_for_link_within(order, SECOND * 8).await;
        }
    }
}

/// Where nothing listens, a name is not found, or a certificate is not believed: the breaker keeps what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_tells_the_root_of_what_opened_it() {
    let nowhere = format!("http://127.0.0.1:{}", crate::support::ports::free_port());
    let up = Up::start(&[("TASDIQ_LINK_WAIT_MS", "0"), ("ATMOS_BASE_URL", &nowhere)]).await;
    up.api.create_orders(6).await;

    let cause = wait_until("the breaker to open", PATIENCE, async || {
        let shown = run(&["gateways", "show", "--json"], &up.environment()).await.json();
        shown["processes"][0]["cause"].as_str().filter(|cause| !cause.is_empty()).map(str::to_owned)
    })
    .await;

    assert!(cause.contains("could not reach the gateway") && cause.contains("Connection refused"), "{cause}");
}

/// A script of an older release goes on: the commands, the options, and the names in the JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_name_weather_still_does_the_same() {
    let up = Up::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let weather = async |arguments: &[&str]| {
        let ended = run(&[&["weather"], arguments].concat(), &up.environment()).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };

    let closed = weather(&["close", "--json"]).await.json();
    assert_eq!(closed["operator"]["is_closed_by_operator"], true, "{closed}");
    assert_eq!(closed["processes"][0]["is_closed_by_operator"], true, "{closed}");
    assert!(closed["operator"]["closed_at"].is_string(), "{closed}");
    assert!(weather(&["show"]).await.said.contains("PAUSED"));
    let set = weather(&["set", "--rate", "3/7", "--json"]).await.json();
    assert_eq!((&set["operator"]["budget"], &set["processes"][0]["budget"]), (&json!("3/7"), &json!("3/7")), "{set}");
    weather(&["set", "--rate", "configured"]).await;
    weather(&["open", "--override"]).await;

    let shown = weather(&["show", "--json"]).await.json();
    assert_eq!(shown["operator"], json!({ "is_closed_by_operator": false, "closed_at": null, "budget": null }));
    assert!(shown["processes"][0].as_object().unwrap().contains_key("patience_until"), "{shown}");
    let help = run(&["--help"], &[]).await.said;
    assert!(help.contains("gateways") && !help.contains("weather"), "{help}");
}

/// The settings of an operator are stored where `up` finds them again.
/// Shows: ADMISSION-18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_were_paused_stay_paused_over_a_restart() {
    let mut app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    app.command(&["gateways", "pause", "atmos"]).await;
    app.restart().await;

    let order = app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap();
    wait_until("a call to be held back", PATIENCE, async || {
        (app.metric(r#"tasdiq_gateway_calls_held_back_total{by="operator",gateway="atmos"}"#).await > 0).then_some(())
    })
    .await;

    assert!(app.ledger().await.is_empty(), "no call has reached the gateway");
    app.command(&["gateways", "resume", "atmos"]).await;
    app.wait_for_link(order).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_meant_is_refused_with_what_could_be() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("TASDIQ_DATA_DIR", folder.path().to_str().unwrap())];
    for (arguments, part) in [
        (&["gateways", "rate"][..], "RATE"),
        (&["gateways", "rate", "fast"], "such as 20/40"),
        (&["gateways", "rate", "0/10"], "from 1 to 10000"),
        (&["gateways", "rate", "10"], "`configured`"),
        (&["gateways", "rate", "paypal", "10/20"], "nor a gateway: atmos, payme, click"),
        (&["gateways", "pause", "paypal"], "nor a gateway: atmos, payme, click"),
        (&["gateways", "pause", "paypal:1234"], "neither an account, such as atmos:1234"),
        (&["gateways", "shut"], "subcommand"),
        (&["weather", "set"], "--rate"),
        (&["weather", "set", "--rate", "fast"], "such as 20/40"),
        (&["weather", "set", "--rate", "0/10"], "from 1 to 10000"),
        (&["weather", "set", "--rate", "10"], "`configured`"),
        (&["weather", "shut"], "subcommand"),
    ] {
        let ended = run(arguments, &variables).await;

        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.complained.contains(part), "{ended:?}");
    }
    for arguments in [
        &["gateways", "list"][..],
        &["gateways", "show"],
        &["gateways", "pause"],
        &["gateways", "rate", "1/1"],
        &["gateways", "reset"],
        &["weather", "show"],
        &["weather", "close"],
        &["weather", "set", "--rate", "1/1"],
    ] {
        let ended = run(arguments, &variables).await;

        assert!(ended.refusal().contains("there is no database at"), "{ended:?}");
    }
}
