//! PostgreSQL dies or hangs while Payme and Click call. Each is told in its own way that nothing was decided, in time, and the
//! repeat of the call passes.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::click::ClickApp;
use super::gateways::order_of;
use crate::support::app::Kind;
use crate::support::click_call::Call;
use crate::support::servers::PrivatePostgres;
use crate::support::wait::{PATIENCE, wait_until};

/// The longest wait of a gateway while the database refuses connections.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The longest wait of a gateway while the database hangs: the 5 s of the decision tables, and a slow machine.
const SOON: Duration = Duration::from_secs(7);

const FIRST: &str = "5305e3bab097f420a62ced0b";
const SECOND: &str = "5305e3bab097f420a62ced0c";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_down_payme_and_click_are_told_so_and_their_repeats_pass() {
    let mut postgres = PrivatePostgres::start().await;
    let house = Calls::start(&postgres).await;

    postgres.kill();
    house.check_that_nothing_is_decided(AT_ONCE).await;
    postgres.restart().await;

    house.check_that_repeats_pass().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_hangs_payme_and_click_are_told_so_and_their_repeats_pass() {
    let mut postgres = PrivatePostgres::start().await;
    let house = Calls::start(&postgres).await;

    postgres.pause();
    house.check_that_nothing_is_decided(SOON).await;
    postgres.resume();

    house.check_that_repeats_pass().await;
}

/// Orders of both gateways, one of each with a transaction that is begun, and the rows that there are.
struct Calls {
    app: ClickApp,
    /// An order on which Click begins while the database is away.
    to_prepare: i64,
    /// An order whose payment Click tells while the database is away.
    to_complete: i64,
    prepare_id: Value,
    to_create: i64,
    to_perform: i64,
    time_ms: i64,
    rows: [i64; 3],
}

impl Calls {
    async fn start(postgres: &PrivatePostgres) -> Calls {
        let app = ClickApp::start_with(Kind::Servers, &[("DATABASE_URL", &postgres.url())]).await;
        let (to_prepare, to_complete) = (app.click_order().await, app.click_order().await);
        let (to_create, to_perform) = (order_of(&app, "payme").await.0, order_of(&app, "payme").await.0);
        let time_ms = now_ms();
        let mut calls = Calls {
            app,
            to_prepare,
            to_complete,
            prepare_id: Value::Null,
            to_create,
            to_perform,
            time_ms,
            rows: Default::default(),
        };
        let (status, prepared, _) = timed(calls.click(&calls.prepare(to_complete))).await;
        assert_eq!((status, &prepared["error"]), (200, &json!(0)), "{prepared}");
        calls.prepare_id = prepared["merchant_prepare_id"].clone();
        let (_, created, _) = timed(calls.payme("CreateTransaction", calls.create(FIRST, to_perform))).await;
        assert_eq!(created["result"]["state"], 1, "{created}");
        calls.rows = calls.rows().await;
        calls
    }

    /// The transactions, the kept callbacks and the history lines of all orders.
    async fn rows(&self) -> [i64; 3] {
        [
            self.app.number("select count(*) from transactions").await,
            self.app.number("select count(*) from callbacks").await,
            self.app.number("select count(*) from order_history").await,
        ]
    }

    fn prepare(&self, id: i64) -> Call {
        Call::prepare_of("22222", id, "50.00", 3_737_500 + id)
    }

    fn complete(&self) -> Call {
        self.prepare(self.to_complete).complete(&self.prepare_id, 0)
    }

    fn create(&self, transaction: &str, id: i64) -> Value {
        let account = json!({ "order_id": id.to_string() });
        json!({ "id": transaction, "time": self.time_ms, "amount": 5_000, "account": account })
    }

    fn click(&self, call: &Call) -> RequestBuilder {
        let request = self.app.request(Method::POST, "/click/webhook/");
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        request.body(call.clone().signed_with("sandbox-click-secret").form())
    }

    fn payme(&self, method: &str, params: Value) -> RequestBuilder {
        let credentials = BASE64_STANDARD.encode("Paycom:sandbox-payme-key");
        let request = self.app.request(Method::POST, "/payme/webhook/");
        let request = request.header("Authorization", format!("Basic {credentials}"));
        request.json(&json!({ "method": method, "params": params, "id": 7 }))
    }

    async fn check_that_nothing_is_decided(&self, soon: Duration) {
        let may_pay = json!({ "amount": 5_000, "account": { "order_id": self.to_create.to_string() } });
        let prepare = self.prepare(self.to_prepare);
        let (prepared, completed, checked, created, performed, inspected, listed) = tokio::join!(
            timed(self.click(&prepare)),
            timed(self.click(&self.complete())),
            timed(self.payme("CheckPerformTransaction", may_pay)),
            timed(self.payme("CreateTransaction", self.create(SECOND, self.to_create))),
            timed(self.payme("PerformTransaction", json!({ "id": FIRST }))),
            timed(self.payme("CheckTransaction", json!({ "id": FIRST }))),
            timed(self.payme("GetStatement", json!({ "from": 0, "to": self.time_ms }))),
        );

        // Before a debit the answer says that we could not write: Click debits nothing.
        assert_eq!((prepared.0, &prepared.1["error"]), (200, &json!(-7)), "{prepared:?}");
        assert_eq!(prepared.1["merchant_prepare_id"], Value::Null, "{prepared:?}");
        // After it no answer of Click's table is true, so that Click must tell it again.
        assert_eq!((completed.0, &completed.1["error"]), (503, &Value::Null), "{completed:?}");
        for (what, answer) in [
            ("CheckPerformTransaction", &checked),
            ("CreateTransaction", &created),
            ("PerformTransaction", &performed),
            ("CheckTransaction", &inspected),
            ("GetStatement", &listed),
        ] {
            assert_eq!((answer.0, &answer.1["error"]["code"]), (200, &json!(-32_400)), "{what}: {answer:?}");
            assert_eq!(answer.1["result"], Value::Null, "{what}: {answer:?}");
        }
        for (what, (_, answer, waited)) in [
            ("Prepare", &prepared),
            ("Complete", &completed),
            ("CheckPerformTransaction", &checked),
            ("CreateTransaction", &created),
            ("PerformTransaction", &performed),
            ("CheckTransaction", &inspected),
            ("GetStatement", &listed),
        ] {
            assert!(*waited < soon, "{what} was answered after {waited:?}: {answer}");
        }
    }

    async fn check_that_repeats_pass(&self) {
        wait_until("the program to be ready", PATIENCE, async || {
            (self.app.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        assert_eq!(self.rows().await, self.rows, "nothing was written");

        let (_, prepared, _) = timed(self.click(&self.prepare(self.to_prepare))).await;
        assert_eq!(prepared["error"], 0, "{prepared}");
        let (_, completed, _) = timed(self.click(&self.complete())).await;
        assert_eq!((&completed["error"], &completed["merchant_confirm_id"]), (&json!(0), &self.prepare_id));
        let (_, created, _) = timed(self.payme("CreateTransaction", self.create(SECOND, self.to_create))).await;
        assert_eq!(created["result"]["state"], 1, "{created}");
        for (id, at) in [(FIRST, self.to_perform), (SECOND, self.to_create)] {
            let (_, performed, _) = timed(self.payme("PerformTransaction", json!({ "id": id }))).await;
            assert_eq!(performed["result"]["state"], 2, "{performed}");
            self.app.wait_for_within(at, "paid", Duration::from_secs(60)).await;
        }
        self.app.debit_in_secret(self.to_complete).await;
        self.app.wait_for_within(self.to_complete, "paid", Duration::from_secs(60)).await;
        for id in [self.to_complete, self.to_perform, self.to_create] {
            let history = self.app.history(id).await;
            assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (1, 1), "{history}");
        }
    }
}

/// The status and the body of an answer, and how long the gateway waited for it.
async fn timed(request: RequestBuilder) -> (u16, Value, Duration) {
    let begun = Instant::now();
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap(), begun.elapsed())
}

fn now_ms() -> i64 {
    i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap()
}
