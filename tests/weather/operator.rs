//! `tasdiq weather`, as an operator types it while everything runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::counted_way::CountedWay;
use crate::support::app::{Kind, TestApp};
use crate::support::command::{Ended, run};
use crate::support::doors::tea;
use crate::support::installation::Installation;
use crate::support::ports::free_port;
use crate::support::role::{Api, Role, id};
use crate::support::sandbox::Sandbox;
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// A running installation with one order API and a worker somewhere, and the way to its gateway.
struct Scene<'a> {
    api: &'a Api,
    way: &'a CountedWay,
    /// Who runs the jobs and counts what is held back.
    worker: &'a Role,
    environment: Vec<(&'a str, &'a str)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_on_sqlite_obeys_an_operator_within_a_second() {
    let sandbox = Sandbox::start("http://127.0.0.1:1").await;
    let way = CountedWay::start(sandbox.port()).await;
    let url = way.url();
    let up = Up::start(&[("TASDIQ_LINK_WAIT_MS", "0"), ("ATMOS_BASE_URL", &url)]).await;
    let mut environment = up.environment().to_vec();
    environment.push(("ATMOS_BASE_URL", &url));
    let scene = Scene { api: &up.api, way: &way, worker: &up.api.role, environment };

    scene.play().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_on_postgres_and_redis_obeys_an_operator_within_a_second() {
    let installation = Installation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
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
        self.closing_stops_calls_within_a_second_and_opening_lets_them_through().await;
        self.a_budget_holds_within_a_second_and_is_taken_back().await;
        self.opening_resets_a_breaker_that_has_opened_by_itself().await;
        self.patience_is_told_with_its_end_and_overridden_by_an_act_of_its_own().await;
    }

    async fn command(&self, arguments: &[&str]) -> Ended {
        let ended = run(&[&["weather"], arguments].concat(), &self.environment).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// The weather once every living process tells it so.
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

    async fn closing_stops_calls_within_a_second_and_opening_lets_them_through(&self) {
        self.api.wait_for_link(self.order().await).await;

        let closed = self.command(&["close"]).await;
        tokio::time::sleep(SECOND).await; // not for luck: this is what is promised
        let calls = self.way.calls().len();
        let waiting = self.order().await;
        let held_back = wait_until("a call to be held back", PATIENCE, async || {
            let held_back = self.worker.metric("tasdiq_gateway_calls_held_back_total", r#"by="operator""#).await;
            (held_back > 0).then_some(held_back)
        })
        .await;

        assert!(closed.said.contains("no call leaves") && closed.said.contains("weather open"), "{closed:?}");
        assert!(held_back > 0);
        assert_eq!(self.way.calls().len(), calls, "no call passed");
        assert_eq!(self.api.order(waiting).await["transaction_id"], Value::Null);
        self.shown("all processes to tell that it is closed", |process| process["is_closed_by_operator"] == true).await;
        assert!(self.command(&["show"]).await.said.contains("CLOSED"));
        assert_eq!(self.worker.metric("tasdiq_gateway_closed", "").await, 1);
        let (ready, said) = self.worker.get("/readyz").await;
        assert!(ready.is_success(), "{said}");
        let doctor = run(&["doctor"], &self.environment).await;
        assert!(doctor.said.contains("an operator has closed the gateway"), "{doctor:?}");
        assert!(doctor.said.contains("tasdiq weather open"), "{doctor:?}");
        assert_eq!(self.way.calls().len(), calls, "nor did doctor's");

        self.command(&["open"]).await;
        self.api.wait_for_link_within(waiting, SECOND * 8).await;
        let shown = self
            .shown("all processes to tell that it is open", |process| process["is_closed_by_operator"] == false)
            .await;
        assert_eq!(shown["operator"]["is_closed_by_operator"], false);
    }

    async fn a_budget_holds_within_a_second_and_is_taken_back(&self) {
        let set = self.command(&["set", "--rate", "4/2"]).await;
        assert!(set.said.contains("4 calls per second and 2 at once"), "{set:?}");
        tokio::time::sleep(SECOND).await; // as above
        let (calls, began) = (self.way.calls().len(), Instant::now());

        let orders = self.api.create_orders(16).await;
        for order in &orders {
            self.api.wait_for_link(id(order)).await;
        }

        let (made, took) = (self.way.calls().len() - calls, began.elapsed());
        assert!(took >= Duration::from_millis(3_000), "{made} calls at 4 a second took {took:?}");
        let shown = self.shown("all to tell the budget", |process| process["budget"] == "4/2").await;
        assert_eq!(shown["operator"]["budget"], "4/2");
        assert_eq!(self.worker.metric("tasdiq_gateway_budget", "burst").await, 2);
        let back = self.command(&["set", "--rate", "configured", "--json"]).await.json();
        assert_eq!(back["operator"]["budget"], Value::Null);
        let process = &back["processes"][0];
        assert_eq!(process["budget"], process["configured"], "a program is told what is, not what was: {back}");
        self.shown("all to tell the configured budget", |process| process["budget"] == process["configured"]).await;
    }

    async fn opening_resets_a_breaker_that_has_opened_by_itself(&self) {
        let sandbox = Sandbox::at(self.way.url().strip_prefix("http://").unwrap());
        sandbox.fault(&json!({ "fault": "forbidden" })).await;
        self.api.create_orders(6).await;

        let shown = self.shown("all to tell of the breaker", |process| process["breaker"] != "closed").await;

        let cause = shown["processes"][0]["cause"].as_str().unwrap();
        assert!(cause.contains("HTTP 403"), "{cause}");
        assert_eq!(self.worker.metric("tasdiq_gateway_breaker", "\"closed\"").await, 0);
        let doctor = run(&["doctor"], &self.environment).await;
        assert!(doctor.said.contains("the breaker keeps calls back since"), "{doctor:?}");
        assert!(doctor.said.contains("HTTP 403"), "it asks the gateway itself: {doctor:?}");
        sandbox.clear_faults().await;
        self.command(&["open"]).await;
        self.shown("all to tell that calls pass", |process| process["breaker"] == "closed").await;
        self.doctor_with_another_address_keeps_nobody_back().await;
        let order = self.order().await;
        self.api.wait_for_link_within(order, SECOND * 8).await;
    }
}

impl Scene<'_> {
    async fn doctor_with_another_address_keeps_nobody_back(&self) {
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
    async fn patience_is_told_with_its_end_and_overridden_by_an_act_of_its_own(&self) {
        let sandbox = Sandbox::at(self.way.url().strip_prefix("http://").unwrap());
        sandbox.fault(&json!({ "fault": "throttled", "next": 1, "milliseconds": 600_000 })).await;
        let first = self.order().await;
        self.shown("all to tell of the patience", |process| process["patience_until"] != Value::Null).await;
        let waiting = self.order().await;

        let opened = self.command(&["open"]).await.said;
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

        let opened = self.command(&["open", "--override"]).await.said;
        assert!(opened.contains("calls leave again"), "{opened}");
        self.shown("all to forget the patience", |process| process["patience_until"] == Value::Null).await;
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
        let shown = run(&["weather", "show", "--json"], &up.environment()).await.json();
        shown["processes"][0]["cause"].as_str().filter(|cause| !cause.is_empty()).map(str::to_owned)
    })
    .await;

    assert!(cause.contains("could not reach the gateway") && cause.contains("Connection refused"), "{cause}");
}

/// What an operator said is kept where `up` finds it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_closed_stays_closed_over_a_restart() {
    let mut app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    app.command(&["weather", "close"]).await;
    app.restart().await;

    let order = app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap();
    wait_until("a call to be held back", PATIENCE, async || {
        (app.metric(r#"tasdiq_gateway_calls_held_back_total{by="operator"}"#).await > 0).then_some(())
    })
    .await;

    assert!(app.ledger().await.is_empty(), "nobody has called the gateway");
    app.command(&["weather", "open"]).await;
    app.wait_for_link(order).await;
}

#[tokio::test]
async fn a_wish_that_cannot_be_meant_is_refused_with_what_could_be() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("TASDIQ_DATA_DIR", folder.path().to_str().unwrap())];
    for (arguments, part) in [
        (&["weather", "set"][..], "--rate"),
        (&["weather", "set", "--rate", "fast"], "such as 20/40"),
        (&["weather", "set", "--rate", "0/10"], "from 1 to 10000"),
        (&["weather", "set", "--rate", "10"], "`configured`"),
        (&["weather", "shut"], "subcommand"),
    ] {
        let ended = run(arguments, &variables).await;

        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.complained.contains(part), "{ended:?}");
    }
    for arguments in [&["weather", "show"][..], &["weather", "close"], &["weather", "set", "--rate", "1/1"]] {
        let ended = run(arguments, &variables).await;

        assert!(ended.refusal().contains("there is no database at"), "{ended:?}");
    }
}
