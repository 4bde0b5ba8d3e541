//! Click with workers: what it tells late, never, twice or falsely, and what a person does about it.

use std::ops::Deref;
use std::time::Duration;

use domain::id::OrderId;
use domain::money::Tiyin;
use reqwest::Method;
use serde_json::{Value, json};
use store::refunds::{self, NewRefund, Requested};

use super::gateways::{ACCOUNTS, act, order_of};
use super::reviews::{agrees, the_waiting, type_suggested};
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::click_call::Call;
use crate::support::doors::TEA_TIYIN;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_failure_that_is_sent_again_as_a_success_pays_nothing
    a_told_debit_that_click_does_not_show_is_a_persons_after_ten_minutes
    an_audit_goes_on_beside_debits_that_click_does_not_show
    a_complete_that_never_comes_is_found_by_an_inquiry
    a_debit_that_is_never_told_is_found_although_its_attempt_was_closed
    a_closed_attempt_keeps_the_number_of_its_payment
    a_complete_after_the_end_of_its_order_is_answered_0_and_the_money_goes_back
    values_that_slid_over_a_boundary_are_refused
    a_failed_payment_frees_its_order_and_the_second_try_pays
    a_failure_that_click_does_not_find_frees_its_order_within_seconds
    a_debit_on_the_day_after_its_first_prepare_is_found
    a_code_for_no_such_payment_holds_an_order_until_an_operator_names_it
    a_payment_whose_month_is_over_is_given_back_by_other_means
    doctor_takes_no_other_server_for_click
}

/// Two inquiries, a second apart, and a slow machine. Click itself may debit for an hour after Prepare.
const FREED_WITHIN: Duration = Duration::from_secs(20);

const DAYS_70_MS: i64 = 70 * 86_400_000;

/// An installation with an account at each gateway, and Click's side of it.
pub(crate) struct ClickApp {
    pub(crate) app: TestApp,
    page: String,
}

impl Deref for ClickApp {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

impl ClickApp {
    pub(crate) async fn start_with(kind: Kind, variables: &[(&str, &str)]) -> ClickApp {
        let variables: Vec<(&str, &str)> = ACCOUNTS.into_iter().chain(variables.iter().copied()).collect();
        let app = TestApp::start_with(kind, &variables).await;
        let page = format!("{}/click/", app.sandbox_url);
        ClickApp { app, page }
    }

    async fn start(kind: Kind) -> ClickApp {
        ClickApp::start_with(kind, &[]).await
    }

    /// An order of 50 soʻm.
    pub(crate) async fn click_order(&self) -> i64 {
        order_of(&self.app, "click").await.0
    }

    async fn sim(&self, path: &str, body: &Value) -> Value {
        act(&self.page, &format!("/click/_sim/{path}"), body).await
    }

    async fn click_fault(&self, fault: &str) {
        self.sim("faults", &json!({ "fault": fault })).await;
    }

    async fn clear_click_faults(&self) {
        let answer = self.open_with(Method::DELETE, "faults").await;
        assert_eq!(answer["active"], json!([]));
    }

    async fn open_with(&self, method: Method, path: &str) -> Value {
        let request = self.request(method, &format!("{}_sim/{path}", self.page));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The payer pays the order's 50 soʻm, as the faults say.
    async fn pay_click(&self, id: i64) -> Value {
        self.sim(&format!("pay/{id}"), &json!({ "amount": "50.00" })).await
    }

    /// Click's book: the attempts of an order, oldest first.
    pub(crate) async fn click_book(&self, id: i64) -> Vec<Value> {
        let book = self.open_with(Method::GET, "ledger").await;
        let lines = book["transactions"].as_array().unwrap().clone();
        let account = id.to_string();
        lines.into_iter().filter(|line| line["account"] == account).collect()
    }

    /// Click's calls about an order, oldest first, with the fault of each and our answer's code.
    async fn calls(&self, id: i64) -> Vec<(String, Option<String>, i64)> {
        let calls = self.open_with(Method::GET, "calls").await;
        let of_order = calls["calls"].as_array().unwrap().clone();
        let account = id.to_string();
        let of_order = of_order.into_iter().filter(|call| call["account"] == account);
        let told = |call: Value| {
            let fault = call["fault"].as_str().map(str::to_owned);
            (call["call"].as_str().unwrap().to_lowercase(), fault, call["answer"]["error"].as_i64().unwrap())
        };
        of_order.map(told).collect()
    }

    /// Click debits an order of which it tells nothing, and shows it when it is asked.
    pub(crate) async fn debit_in_secret(&self, id: i64) {
        self.sim("faults", &json!({ "fault": "prepare-never", "account": id.to_string() })).await;
        assert_eq!(self.pay_click(id).await["outcome"], "debited");
        self.reconcile(id).await;
    }

    /// Sends a call that the test made, with Click's key.
    pub(crate) async fn send(&self, call: &Call) -> Option<String> {
        let request = self.request(Method::POST, "/click/webhook/");
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.body(call.clone().signed_with("sandbox-click-secret").form()).send().await.ok()?;
        assert_eq!(answer.status(), 200);
        answer.text().await.ok()
    }

    /// A failure of the order's first attempt, of which Click knows nothing, and our answer's code.
    async fn tell_failure(&self, id: i64) -> i64 {
        let attempt = &self.click_book(id).await[0];
        let call = Call::prepare_of("22222", id, "50.00", &attempt["click_trans_id"]);
        let answer = self.send(&call.complete(&attempt["merchant_prepare_id"], -5_017)).await.unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()["error"].as_i64().unwrap()
    }

    /// Tells a debit of the order's first attempt, although no money moved.
    async fn tell_debit(&self, id: i64) {
        let attempt = &self.click_book(id).await[0];
        let call = Call::prepare_of("22222", id, "50.00", &attempt["click_trans_id"]);
        let answer = self.send(&call.complete(&attempt["merchant_prepare_id"], 0)).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["error"], 0, "{answer}");
    }

    /// Lets ten minutes pass since the order's debit was told, and has it asked about.
    async fn ten_minutes_after_the_debit(&self, id: i64) {
        let told = "debited_at_ms = debited_at_ms - 600000";
        self.execute(&format!("update transactions set {told} where order_id = {id}")).await;
        self.reconcile(id).await;
    }

    /// An order whose payment failed, and of which Click says with a code that it has no payment.
    async fn declined_and_not_found(&self) -> i64 {
        let id = self.click_order().await;
        self.click_fault("mti-nothing").await;
        self.click_fault("debit-declined").await;
        assert_eq!(self.pay_click(id).await["outcome"], "declined");
        id
    }

    /// Moves the times of an order back until it is over, and has it asked about.
    async fn let_expire(&self, id: i64) {
        let times = "expires_at_ms = 1, allowed_until_ms = 1, last_allowed_at_ms = 1";
        self.execute(&format!("update orders set {times} where id = {id}")).await;
        self.reconcile(id).await;
        self.wait_for(id, "expired").await;
    }

    async fn reconcile(&self, id: i64) {
        self.command(&["orders", "reconcile", &id.to_string()]).await;
    }

    async fn wait_for_findings(&self, id: i64) -> Value {
        wait_until("a finding", PATIENCE, async || {
            let order = self.order(id).await;
            (order["findings"].as_array()?.len() == 1).then_some(order)
        })
        .await
    }

    async fn transactions(&self, id: i64) -> Vec<Value> {
        self.story(id).await["transactions"].as_array().unwrap().clone()
    }
}

fn call(name: &str, fault: Option<&str>, code: i64) -> (String, Option<String>, i64) {
    (name.to_owned(), fault.map(str::to_owned), code)
}

/// What `tasdiq orders review` says about an order, of those that wait for a person.
async fn waiting_order(app: &TestApp, id: i64) -> Value {
    let listed: Value = serde_json::from_str(&app.command(&["orders", "review", "--json"]).await).unwrap();
    let waiting = listed.as_array().unwrap().iter().find(|waiting| waiting["order_id"] == id);
    waiting.unwrap_or_else(|| panic!("order {id} waits for no person: {listed:#}")).clone()
}

/// No signature covers `error`: a sender who has seen a Complete can alter it.
async fn a_failure_that_is_sent_again_as_a_success_pays_nothing(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let (paying, expiring) = (app.click_order().await, app.click_order().await);
    app.click_fault("debit-declined").await;
    app.click_fault("complete-altered").await;

    for id in [paying, expiring] {
        assert_eq!(app.pay_click(id).await["outcome"], "declined");

        let altered = call("complete", Some("complete-altered"), 0);
        assert_eq!(app.calls(id).await, [call("prepare", None, 0), call("complete", None, -9), altered]);
        app.wait_for(id, "pending").await;
        assert_eq!(app.history(id).await.times_entered("paid"), 0);
    }
    app.clear_click_faults().await;

    app.let_expire(expiring).await;
    assert_eq!(app.order(expiring).await["needs_review"], false);
    agrees(&app, expiring).await;

    assert_eq!(app.pay_click(paying).await["outcome"], "debited");
    let paid = app.wait_for(paying, "paid").await;
    let rows = app.transactions(paying).await;
    let [failed, payer] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(paid["transaction_id"], payer["transaction_id"]);
    assert_eq!(payer["state"], "debited");
    // Click told a debit that it does not show beside the payment: a person looks, and no money moves meanwhile.
    let told = app.wait_for_findings(paying).await;
    assert_eq!((&told["status"], &told["findings"][0]["kind"]), (&json!("paid"), &json!("unclear_answer")));
    assert_eq!(told["findings"][0]["transaction_id"], failed["transaction_id"]);
    type_suggested(&app, &the_waiting(&app).await, "paid").await;
    assert_eq!(app.order(paying).await["needs_review"], false);
    let book = app.click_book(paying).await;
    let moved: Vec<_> = book.iter().map(|line| (&line["state"], &line["debits"], &line["reversals_asked"])).collect();
    assert_eq!(moved, [(&json!("closed"), &json!(0), &json!(0)), (&json!("debited"), &json!(1), &json!(0))]);
    assert_eq!(app.history(paying).await.times_entered("paid"), 1);
}

/// Whether Click answers HTTP 404 or a code of its own where it finds nothing is not documented.
async fn a_code_for_no_such_payment_holds_an_order_until_an_operator_names_it(kind: Kind) {
    let unknowing = ClickApp::start(kind).await;
    let held = unknowing.declined_and_not_found().await;
    let knowing = ClickApp::start_with(kind, &[("CLICK_NOT_FOUND_CODES", "-16,-404")]).await;
    let freed = knowing.declined_and_not_found().await;

    knowing.wait_for_within(freed, "pending", FREED_WITHIN).await;
    knowing.clear_click_faults().await;
    assert_eq!(knowing.pay_click(freed).await["outcome"], "debited");
    knowing.wait_for(freed, "paid").await;
    agrees(&knowing, freed).await;

    // The other one was told of the failure as long ago; it may be trouble of Click's.
    unknowing.reconcile(held).await;
    assert_eq!(unknowing.status(held).await, "confirming");
    assert_eq!(unknowing.transactions(held).await[0]["state"], "open");
    let doctor = unknowing.run_with(&["doctor"], &[]).await;
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    unknowing.clear_click_faults().await;
    unknowing.reconcile(held).await;
    unknowing.wait_for(held, "pending").await;
}

/// The payer pressed the button again after midnight: Prepare was repeated, and allowed the debit anew.
async fn a_debit_on_the_day_after_its_first_prepare_is_found(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let id = app.click_order().await;
    app.click_fault("complete-never").await;
    app.click_fault("mti-not-found").await;
    assert_eq!(app.pay_click(id).await["outcome"], "debited");
    app.wait_for(id, "confirming").await;
    app.execute(&format!("update transactions set created_at_ms = created_at_ms - 86400000 where order_id = {id}"))
        .await;
    // Click finds no payment, and may debit still.
    app.reconcile(id).await;
    assert_eq!(app.transactions(id).await[0]["state"], "open");

    app.clear_click_faults().await;
    app.reconcile(id).await;

    app.wait_for(id, "paid").await;
    agrees(&app, id).await;
}

/// A server that knows nothing of Click answers 404, as Click does to a question about no payment.
async fn doctor_takes_no_other_server_for_click(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let elsewhere = format!("{}/elsewhere", app.sandbox_url);

    let doctor = app.run_with(&["doctor"], &[("CLICK_API_URL", &elsewhere)]).await;
    let well = app.run_with(&["doctor"], &[]).await;

    let of_click = |said: &str| said.lines().filter(|line| line.contains("sandbox-click:22222 at")).collect::<String>();
    assert!(of_click(&doctor.said).contains("HTTP 404") && doctor.said.contains("compare CLICK_API_URL"), "{doctor:?}");
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(of_click(&well.said).contains("lets us in"), "{well:?}");
}

/// Only Click's answer pays an order, and here it contradicts what Click told: a customer may have paid.
async fn a_told_debit_that_click_does_not_show_is_a_persons_after_ten_minutes(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let (debited, unpaid) = (app.click_order().await, app.click_order().await);
    app.click_fault("mti-not-found").await;
    app.sim("faults", &json!({ "fault": "payer-leaves", "account": unpaid.to_string() })).await;
    assert_eq!(app.pay_click(debited).await["outcome"], "debited");
    app.pay_click(unpaid).await;
    app.tell_debit(unpaid).await;
    for id in [debited, unpaid] {
        assert_eq!(app.calls(id).await[0], call("prepare", None, 0));
        app.reconcile(id).await;
        assert_eq!(app.status(id).await, "confirming", "Click may show it in a moment");
    }

    for id in [debited, unpaid] {
        app.ten_minutes_after_the_debit(id).await;
    }

    for id in [debited, unpaid] {
        let order = app.wait_for(id, "review").await;
        assert_eq!(order["findings"][0]["kind"], "unclear_answer", "{order}");
        let waiting = waiting_order(&app, id).await;
        let reason = waiting["reason"].as_str().unwrap();
        assert!(reason.contains("was told") && reason.contains("is not found"), "{waiting}");
        assert_eq!(waiting["suggested_act"], "ask_gateway");
        assert_eq!(app.pay_click(id).await["outcome"], "refused", "it cannot be paid again meanwhile");
        assert_eq!(app.transactions(id).await[0]["state"], "open");
        agrees(&app, id).await;
    }

    // A person's word alone pays nothing while Click does not show the debit.
    resolve_as_paid(&app, debited).await;
    wait_until("Click's answer to the decision", PATIENCE, async || {
        app.history(debited).await.to_string().contains("is not paid by transaction").then_some(())
    })
    .await;
    assert_eq!(app.status(debited).await, "review");
    app.clear_click_faults().await;
    resolve_as_paid(&app, debited).await;
    app.wait_for(debited, "paid").await;
    assert_eq!(app.history(debited).await.times_entered("paid"), 1);
    agrees(&app, debited).await;

    type_suggested(&app, &waiting_order(&app, unpaid).await, "canceled").await;
    app.click_fault("mti-not-found").await;
    app.reconcile(unpaid).await;
    let order = app.order(unpaid).await;
    assert_eq!((&order["status"], &order["needs_review"]), (&json!("canceled"), &json!(false)), "a person knows of it");
    agrees(&app, unpaid).await;
}

/// A person says that the order's only transaction is the payment.
async fn resolve_as_paid(app: &ClickApp, id: i64) {
    let payer = app.transactions(id).await[0]["transaction_id"].to_string();
    let order = id.to_string();
    let who = ["--by", "Olim", "--reason", "seen in the cabinet", "--transaction-id", &payer];
    app.command(&[&["orders", "resolve", &order, "paid"], &who[..]].concat()).await;
}

/// A transaction that alone is not answered says nothing about the gateway.
async fn an_audit_goes_on_beside_debits_that_click_does_not_show(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let paid = [app.click_order().await, app.click_order().await];
    for id in paid {
        assert_eq!(app.pay_click(id).await["outcome"], "debited");
        app.wait_for(id, "paid").await;
    }
    let told = [app.click_order().await, app.click_order().await, app.click_order().await];
    for id in told {
        app.sim("faults", &json!({ "fault": "mti-not-found", "account": id.to_string() })).await;
        assert_eq!(app.pay_click(id).await["outcome"], "debited");
    }
    let audit = async || {
        let ended = app.run(&["audit", "--json"]).await;
        let document: Value = serde_json::from_str(&ended.said).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        let differences = document["differences"].as_array().unwrap().clone();
        let kinds = differences.into_iter().map(|found| (found["kind"].clone(), found["order_id"].clone()));
        (ended.code, kinds.collect::<Vec<_>>(), document["audited"]["orders"].clone())
    };

    let early = audit().await;
    for id in told {
        app.ten_minutes_after_the_debit(id).await;
        app.wait_for(id, "review").await;
    }
    let late = audit().await;

    let not_asked = told.map(|id| (json!("not-asked"), json!(id)));
    assert_eq!(early, (Some(1), not_asked.to_vec(), json!(5)));
    assert_eq!(late, (Some(0), Vec::new(), json!(5)), "a person has them");
}

async fn a_complete_that_never_comes_is_found_by_an_inquiry(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let id = app.click_order().await;
    app.click_fault("complete-never").await;

    let attempt = app.pay_click(id).await;

    assert_eq!((&attempt["outcome"], &attempt["completion"]), (&json!("debited"), &json!("open")));
    app.wait_for(id, "paid").await;
    assert_eq!(app.calls(id).await, [call("prepare", None, 0)]);
    // A person at Click looks at it: "already paid" ends it there, too.
    let resumed = app.sim(&format!("resume/{}", attempt["click_trans_id"]), &json!({})).await;
    assert_eq!(resumed["completion"], "answered");
    assert_eq!(app.calls(id).await[1..], [call("prepare", None, -4)]);
    let history = app.history(id).await;
    assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (1, 1), "{history}");
    agrees(&app, id).await;
}

/// Click debits an attempt that it told as failed and did not show, and its Complete never comes.
async fn a_debit_that_is_never_told_is_found_although_its_attempt_was_closed(kind: Kind) {
    let app = ClickApp::start(kind).await;
    app.click_fault("complete-never").await;
    app.click_fault("mti-not-found").await;
    let [ending, expired, canceled, paid] = [(); 4].map(|()| app.click_order());
    let orders = [ending.await, expired.await, canceled.await, paid.await];
    for id in orders {
        assert_eq!(app.pay_click(id).await["outcome"], "debited");
        assert_eq!(app.tell_failure(id).await, -9);
    }
    for id in orders {
        app.wait_for_within(id, "pending", FREED_WITHIN).await;
        assert_eq!(app.transactions(id).await[0]["state"], "closed");
    }
    let [ending, expired, canceled, paid] = orders;
    app.let_expire(expired).await;
    assert_eq!(app.cancel(canceled).await.status, 200);
    app.clear_click_faults().await;
    assert_eq!(app.pay_click(paid).await["outcome"], "debited");
    app.wait_for(paid, "paid").await;

    // The inquiry at its end, before it would expire.
    app.execute(&format!("update orders set expires_at_ms = 1 where id = {ending}")).await;
    app.reconcile(ending).await;
    let order = app.wait_for(ending, "paid").await;
    assert_eq!((&order["needs_review"], app.history(ending).await.times_entered("paid")), (&json!(false), 1));

    // The late inquiries after the end of the others, which are due by themselves. Click shows the older attempt, too.
    app.sim("faults", &json!({ "fault": "mti-another-attempt", "account": paid.to_string() })).await;
    let late = format!(
        "update jobs set due_at_ms = 1 where kind = 'settle_order' and state = 'available' and subject_id in ({expired}, {canceled}, {paid})"
    );
    for id in [expired, canceled] {
        // A job that runs just then is due again later.
        wait_until("the late inquiry found the payment", PATIENCE, async || {
            app.execute(&late).await;
            (app.status(id).await == "review").then_some(())
        })
        .await;
        assert_eq!(waiting_order(&app, id).await["suggested_act"], "return_late_payment");
    }
    let told = app.wait_for_findings(paid).await;
    let finding = &told["findings"][0];
    assert_eq!((&told["status"], &finding["kind"]), (&json!("paid"), &json!("second_payment")));
    assert_ne!(finding["transaction_id"], told["transaction_id"], "the payment is not the one in doubt");

    // The money goes back by our call.
    app.command(&["orders", "resolve", &expired.to_string(), "paid", "--by", "Olim", "--reason", "seen"]).await;
    app.wait_for(expired, "paid").await;
    app.refund(expired, "late", &json!({ "reason": "it came too late" })).await;
    app.wait_for(expired, "refunded").await;
    let book = app.click_book(expired).await;
    let line = (&book[0]["state"], &book[0]["returned"], &book[0]["reversals_asked"]);
    assert_eq!((book.len(), line), (1, (&json!("reversed"), &json!(TEA_TIYIN), &json!(1))));
    for id in orders {
        let calls = app.calls(id).await;
        assert!(calls.iter().all(|(call, ..)| call == "prepare" || id == paid), "no debit of it was told: {calls:?}");
    }
}

/// By it Click is asked about the attempt again, and it is no other attempt's.
async fn a_closed_attempt_keeps_the_number_of_its_payment(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let id = app.click_order().await;
    app.click_fault("debit-declined").await;
    assert_eq!(app.pay_click(id).await["outcome"], "declined");
    app.wait_for_within(id, "pending", FREED_WITHIN).await;
    app.clear_click_faults().await;

    assert_eq!(app.pay_click(id).await["outcome"], "debited");
    app.wait_for(id, "paid").await;

    let (rows, book) = (app.transactions(id).await, app.click_book(id).await);
    let kept = |rows: &[Value], name| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(kept(&rows, "state"), ["closed", "debited"]);
    assert_eq!(kept(&rows, "success_transaction_id"), kept(&book, "payment_id"));
    agrees(&app, id).await;
}

/// Click has the money and cannot be refused; the order is over.
async fn a_complete_after_the_end_of_its_order_is_answered_0_and_the_money_goes_back(kind: Kind) {
    let app = ClickApp::start(kind).await;
    app.click_fault("complete-never").await;
    app.click_fault("mti-not-found").await;
    let (expired, canceled) = (app.click_order().await, app.click_order().await);
    let mut attempts = Vec::new();
    for id in [expired, canceled] {
        let attempt = app.pay_click(id).await;
        assert_eq!(attempt["outcome"], "debited");
        attempts.push(attempt["click_trans_id"].clone());
    }
    app.let_expire(expired).await;
    assert_eq!(app.tell_failure(canceled).await, -9);
    app.wait_for_within(canceled, "pending", FREED_WITHIN).await;
    assert_eq!(app.cancel(canceled).await.status, 200);

    for (id, attempt) in [expired, canceled].into_iter().zip(&attempts) {
        let resumed = app.sim(&format!("resume/{attempt}"), &json!({})).await;
        assert_eq!(resumed["completion"], "answered", "{resumed}");
        let calls = app.calls(id).await;
        assert_eq!(calls[1..], [call("prepare", None, -9), call("complete", None, 0)]);
    }
    app.clear_click_faults().await;

    // The first one is paid by a person's word and Click's, and refunded from there by our call.
    app.reconcile(expired).await;
    app.wait_for(expired, "review").await;
    assert_eq!(waiting_order(&app, expired).await["suggested_act"], "return_late_payment");
    app.command(&["orders", "resolve", &expired.to_string(), "paid", "--by", "Olim", "--reason", "seen"]).await;
    app.wait_for(expired, "paid").await;
    app.refund(expired, "late", &json!({ "reason": "it came too late" })).await;
    app.wait_for(expired, "refunded").await;
    let book = app.click_book(expired).await;
    let line = (&book[0]["state"], &book[0]["returned"], &book[0]["reversals_asked"]);
    assert_eq!((book.len(), line), (1, (&json!("reversed"), &json!(TEA_TIYIN), &json!(1))));

    // The second one's money goes back in Click's cabinet.
    app.reconcile(canceled).await;
    app.wait_for(canceled, "review").await;
    let waiting = waiting_order(&app, canceled).await;
    assert_eq!(waiting["suggested_act"], "return_late_payment");
    let payment = app.click_book(canceled).await[0]["payment_id"].clone();
    assert_eq!(app.sim(&format!("reverse/{payment}"), &json!({})).await["state"], "reversed");
    type_suggested(&app, &waiting, "refunded").await;
    assert_eq!(app.status(canceled).await, "refunded");
    for id in [expired, canceled] {
        assert_eq!(app.order(id).await["refunded_amount"], "50.00");
    }
}

/// The fields are joined without a separator, so that a moved digit leaves the signature right.
async fn values_that_slid_over_a_boundary_are_refused(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let (of_prepare, of_complete) = (app.click_order().await, app.click_order().await);

    app.sim("faults", &json!({ "fault": "slid", "path": "prepare" })).await;
    assert_eq!(app.pay_click(of_prepare).await["outcome"], "refused");
    app.clear_click_faults().await;
    assert_eq!(app.status(of_prepare).await, "pending");
    assert!(app.transactions(of_prepare).await.is_empty());

    app.sim("faults", &json!({ "fault": "slid", "path": "complete" })).await;
    let attempt = app.pay_click(of_complete).await;
    assert_eq!((&attempt["outcome"], &attempt["completion"]), (&json!("debited"), &json!("hangs")));
    let code = attempt["complete"]["error"].as_i64().unwrap();
    assert!([-2, -5, -6, -8].contains(&code), "{attempt}");
    // It is paid by Click's own answer.
    app.wait_for(of_complete, "paid").await;
    agrees(&app, of_complete).await;
}

async fn a_failed_payment_frees_its_order_and_the_second_try_pays(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let id = app.click_order().await;
    app.click_fault("debit-declined").await;
    assert_eq!(app.pay_click(id).await["outcome"], "declined");
    app.wait_for_within(id, "pending", FREED_WITHIN).await;
    app.clear_click_faults().await;

    assert_eq!(app.pay_click(id).await["outcome"], "debited");

    let paid = app.wait_for(id, "paid").await;
    assert_eq!((&paid["needs_review"], &paid["reason"]), (&json!(false), &Value::Null));
    let history = app.history(id).await;
    assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (2, 1), "{history}");
    let rows = app.transactions(id).await;
    let states: Vec<&Value> = rows.iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["closed", "debited"]);
    agrees(&app, id).await;
}

/// The payer's card was declined; Click knows of no payment, and its payer must not wait for the hour in which it may debit
/// after a Prepare. Should it debit all the same, a person hears of it.
async fn a_failure_that_click_does_not_find_frees_its_order_within_seconds(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let (shown, hidden) = (app.click_order().await, app.click_order().await);
    app.click_fault("mti-not-found").await;
    app.click_fault("complete-never").await;
    let mut attempts = Vec::new();
    for id in [shown, hidden] {
        attempts.push(app.pay_click(id).await["click_trans_id"].clone());
        assert_eq!(app.tell_failure(id).await, -9);
    }
    for id in [shown, hidden] {
        app.wait_for_within(id, "pending", FREED_WITHIN).await;
    }

    // The second try pays while Click still does not show the first one's debit.
    app.clear_click_faults().await;
    app.click_fault("mti-not-found").await;
    for id in [shown, hidden] {
        assert_eq!(app.pay_click(id).await["outcome"], "debited");
    }
    app.clear_click_faults().await;
    let mut payers = Vec::new();
    for id in [shown, hidden] {
        app.reconcile(id).await;
        payers.push(app.wait_for(id, "paid").await["transaction_id"].clone());
    }

    // Now Click says that the first one was debited, too.
    app.sim("faults", &json!({ "fault": "mti-another-attempt", "account": shown.to_string() })).await;
    for (id, attempt) in [shown, hidden].into_iter().zip(&attempts) {
        let resumed = app.sim(&format!("resume/{attempt}"), &json!({})).await;
        assert_eq!(resumed["complete"]["error"], 0, "{resumed}");
        assert_eq!(app.click_book(id).await.iter().filter(|line| line["debits"] == 1).count(), 2);
    }
    for ((id, payer), kind) in [shown, hidden].into_iter().zip(payers).zip(["second_payment", "unclear_answer"]) {
        let told = app.wait_for_findings(id).await;
        let finding = &told["findings"][0];
        assert_eq!(
            (&told["status"], &told["transaction_id"], &finding["kind"]),
            (&json!("paid"), &payer, &json!(kind))
        );
        assert_ne!(finding["transaction_id"], payer, "the payment is not the one in doubt");
    }
    // Its money goes back in Click's cabinet.
    let payment = app.click_book(shown).await[0]["payment_id"].clone();
    app.sim(&format!("reverse/{payment}"), &json!({})).await;
    app.command(&["orders", "resolve", &shown.to_string(), "paid", "--by", "Olim", "--reason", "seen"]).await;
    let order = app.order(shown).await;
    assert_eq!((&order["status"], &order["needs_review"]), (&json!("paid"), &json!(false)));
}

/// Asks for a refund as an operator's program does, without the API's look at the gateway's terms.
async fn ask_for_refund(app: &ClickApp, id: i64) {
    let new = NewRefund {
        order_id: OrderId(id),
        amount: Tiyin::new(TEA_TIYIN).unwrap(),
        reason: None,
        requested_by: "Olim".to_owned(),
    };
    let store = app.store().await;
    assert!(matches!(refunds::request(&store, &new, None).await.unwrap(), Requested::New(_)));
}

async fn wait_for_refusal(app: &ClickApp, id: i64) -> Value {
    wait_until("the refund to be refused", PATIENCE, async || {
        app.refunds(id).await.into_iter().next().filter(|refund| refund["state"] == "refused")
    })
    .await
}

/// Click gives back only payments of its reporting month, and Payme none by a call.
async fn a_payment_whose_month_is_over_is_given_back_by_other_means(kind: Kind) {
    let app = ClickApp::start(kind).await;
    let (old, refused) = (app.click_order().await, app.click_order().await);
    let (of_payme, payme_page) = order_of(&app.app, "payme").await;
    act(&payme_page, &format!("/payme/_sim/pay/{of_payme}"), &json!({ "amount": TEA_TIYIN })).await;
    for id in [old, refused] {
        assert_eq!(app.pay_click(id).await["outcome"], "debited");
    }
    for id in [old, refused, of_payme] {
        app.wait_for(id, "paid").await;
    }
    app.execute(&format!(
        "update transactions set debited_at_ms = debited_at_ms - {DAYS_70_MS} where order_id = {old}"
    ))
    .await;

    for (id, problem) in [(old, "refund-month-over"), (of_payme, "refund-only-in-cabinet")] {
        let answer = app.refund(id, &format!("of-{id}"), &json!({ "reason": "the tea was cold" })).await;
        assert_eq!(answer.status, 422, "{answer}");
        assert!(answer.json()["type"].as_str().unwrap().ends_with(problem), "{answer}");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("gives")), "{answer}");
        assert_eq!(app.refunds(id).await, [] as [Value; 0]);
    }
    // The month can end, and the terms can change, between the request and its job.
    for (id, why) in [(old, "only payments of this month"), (of_payme, "only in its cabinet")] {
        ask_for_refund(&app, id).await;
        let told = wait_for_refusal(&app, id).await;
        assert!(told.to_string().contains(why), "{told}");
    }
    // Click's own clock decides in the end.
    app.sim("clock", &json!({ "advance_seconds": DAYS_70_MS / 1_000 })).await;
    app.refund(refused, "of-refused", &json!({ "reason": "the tea was cold" })).await;
    wait_for_refusal(&app, refused).await;

    for (id, asked) in [(old, 0), (refused, 1)] {
        let line = &app.click_book(id).await[0];
        assert_eq!((&line["state"], &line["reversals_asked"]), (&json!("debited"), &json!(asked)), "{line}");
    }
    for id in [old, refused, of_payme] {
        let order = app.order(id).await;
        assert_eq!((&order["status"], &order["refunded_amount"]), (&json!("paid"), &json!("0.00")));
    }
}
