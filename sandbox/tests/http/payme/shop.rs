//! A merchant of Payme, written apart from everything else here, that can make the mistakes which merchants make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use poem::http::{StatusCode, header};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{Body, EndpointExt, Request, Response, Route, Server, handler};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use url::Url;

use crate::support::TestShop;

/// What every order of this merchant costs, in tiyin. Its orders are 1 to 99.
pub(crate) const PRICE: i64 = 5_000_000;

/// A mistake in a merchant's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    CreateTimeNowOnRepeat,
    PerformTimeNowOnRepeat,
    CancelTimeNowOnRepeat,
    BadKeyAs401,
    ErrorsAs400,
    TakesEveryKey,
    MessageAsText,
    MessageWithoutUzbek,
    NoData,
    ForgetsCallId,
    TakesEveryAmount,
    AmountFromFloats,
    TakesEveryAccount,
    NotFoundForUnknownAccount,
    NeverBusy,
    BusyBySameTransaction,
    SecondsInsteadOfMilliseconds,
    TransactionAsNumber,
    PerformStaysCreated,
    NeverRefunds,
    RefundIsMinusOne,
    ForgetsReason,
    PerformTimeOfUnperformed,
    CheckNeedsTransaction,
    AnswersHtml,
}

#[derive(Clone, Debug)]
struct Transaction {
    number: i64,
    account: String,
    amount: i64,
    account_fields: Value,
    time: i64,
    state: i64,
    create_time: i64,
    perform_time: i64,
    cancel_time: i64,
    reason: Option<i64>,
}

/// A call that came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) content_type: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
struct Inside {
    mistake: Option<Mistake>,
    busy_code: Option<i64>,
    transactions: HashMap<String, Transaction>,
    came: Vec<Came>,
    /// How many calls of a method are done and answered with HTTP 500.
    silent: HashMap<String, u32>,
    /// Methods whose calls are done, and answered once there is a permit.
    held: HashMap<String, Arc<Semaphore>>,
}

/// The merchant's server.
#[derive(Clone)]
pub(crate) struct PaymeShop {
    pub(crate) url: Url,
    inside: Arc<Mutex<Inside>>,
}

impl PaymeShop {
    pub(crate) async fn start() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn with(mistake: Option<Mistake>) -> Self {
        let inside = Arc::new(Mutex::new(Inside { mistake, ..Inside::default() }));
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a port");
        let address = acceptor.local_addr().remove(0).0.to_string();
        let port = address.rsplit(':').next().expect("a port").to_owned();
        let routes = Route::new().at("/payme", post_call.data(inside.clone()));
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        PaymeShop { url: Url::parse(&format!("http://127.0.0.1:{port}/payme")).expect("a URL"), inside }
    }

    /// Answers a busy order with this code.
    pub(crate) fn set_busy_code(&self, code: i64) {
        self.inside.lock().expect("the state").busy_code = Some(code);
    }

    /// Does the next calls of this method, and answers them with HTTP 500.
    pub(crate) fn be_silent(&self, method: &str, calls: u32) {
        self.inside.lock().expect("the state").silent.insert(method.to_owned(), calls);
    }

    /// Does the calls of this method, and answers them once the semaphore has permits.
    pub(crate) fn hold(&self, method: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.inside.lock().expect("the state").held.insert(method.to_owned(), Arc::clone(&gate));
        gate
    }

    /// Every call that came.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.inside.lock().expect("the state").came.clone()
    }

    /// The parameters of each call of a method.
    pub(crate) fn params(&self, method: &str) -> Vec<Value> {
        self.came()
            .into_iter()
            .filter(|came| came.body["method"] == method)
            .map(|came| came.body["params"].clone())
            .collect()
    }

    /// The states of this order's transactions.
    pub(crate) fn states(&self, account: &str) -> Vec<i64> {
        let inside = self.inside.lock().expect("the state");
        inside.transactions.values().filter(|made| made.account == account).map(|made| made.state).collect()
    }
}

/// A sandbox that calls this merchant.
pub(crate) struct PaymeScene {
    pub(crate) shop: PaymeShop,
    pub(crate) sandbox: TestShop,
}

impl PaymeScene {
    pub(crate) async fn start() -> Self {
        Self::with(PaymeShop::start().await).await
    }

    pub(crate) async fn with(shop: PaymeShop) -> Self {
        Self::in_directory(shop, tempfile::tempdir().expect("a directory")).await
    }

    pub(crate) async fn in_directory(shop: PaymeShop, directory: TempDir) -> Self {
        let url = shop.url.clone();
        let sandbox = TestShop::in_directory(directory, |config| {
            config.payme_webhook = Some(url);
            config.callback_timeout = Duration::from_secs(5);
        });
        PaymeScene { shop, sandbox: sandbox.await }
    }

    /// A POST below `/payme/_sim/` that is answered with 200.
    pub(crate) async fn sim(&self, path: &str, body: Value) -> Value {
        let response = self.sandbox.post(&format!("/payme/_sim/{path}")).json(&body).send().await.expect("an answer");
        let status = response.status();
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    /// Pays an order like a customer.
    pub(crate) async fn pay(&self, account: &str) -> Value {
        self.sim(&format!("pay/{account}"), json!({"amount": PRICE})).await
    }

    pub(crate) async fn fault(&self, fault: Value) {
        self.sim("faults", fault).await;
    }

    /// The ledger's receipts, oldest first.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let answer = self.sandbox.get("/payme/_sim/ledger").send().await.expect("the ledger");
        let book: Value = answer.json().await.expect("JSON");
        book["receipts"].as_array().expect("receipts").clone()
    }

    /// The only receipt.
    pub(crate) async fn receipt(&self) -> Value {
        let mut receipts = self.ledger().await;
        assert_eq!(receipts.len(), 1);
        receipts.remove(0)
    }

    /// Waits until the only receipt is in this state of a transaction.
    pub(crate) async fn wait_for(&self, state: i64) -> Value {
        self.wait_until("state", state).await
    }

    /// The receipt, once this field of it has this value.
    pub(crate) async fn wait_until(&self, field: &str, value: i64) -> Value {
        for _ in 0..1_000 {
            let receipt = self.receipt().await;
            if receipt[field] == value {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("its {field} never came to be {value}: {}", self.receipt().await);
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("a time")
}

#[handler]
async fn post_call(request: &Request, payload: Body, Data(inside): Data<&Arc<Mutex<Inside>>>) -> Response {
    let text = |name| request.header(name).unwrap_or_default().to_owned();
    let (content_type, authorization) = (text(header::CONTENT_TYPE), text(header::AUTHORIZATION));
    let Ok(body) = payload.into_json::<Value>().await else {
        return Response::builder().status(StatusCode::BAD_REQUEST).finish();
    };
    // `Paycom:sandbox-payme-key`, encoded by hand.
    let is_right = authorization == "Basic UGF5Y29tOnNhbmRib3gtcGF5bWUta2V5";
    let (gate, response) = {
        let mut inside = inside.lock().expect("the state");
        inside.came.push(Came { content_type, authorization, body: body.clone() });
        let gate = body["method"].as_str().and_then(|method| inside.held.get(method).cloned());
        (gate, respond(&mut inside, is_right, &body))
    };
    if let Some(gate) = gate {
        drop(gate.acquire().await);
    }
    response
}

fn respond(inside: &mut Inside, is_right: bool, body: &Value) -> Response {
    let mistake = inside.mistake;
    if mistake == Some(Mistake::AnswersHtml) {
        return Response::builder().body("<html>It works!</html>");
    }
    if !is_right && mistake != Some(Mistake::TakesEveryKey) {
        if mistake == Some(Mistake::BadKeyAs401) {
            return Response::builder().status(StatusCode::UNAUTHORIZED).finish();
        }
        return answered(mistake, body, Err((-32_504, "no rights")));
    }
    let method = body["method"].as_str().unwrap_or_default().to_owned();
    let answer = answer(inside, &method, &body["params"]);
    if let Some(left) = inside.silent.get_mut(&method).filter(|left| **left > 0) {
        *left -= 1;
        return Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body("oops");
    }
    answered(mistake, body, answer)
}

fn answered(mistake: Option<Mistake>, call: &Value, answer: Result<Value, (i64, &str)>) -> Response {
    let id = if mistake == Some(Mistake::ForgetsCallId) { Value::Null } else { call["id"].clone() };
    let (status, body) = match answer {
        Ok(result) => (StatusCode::OK, json!({"result": result, "id": id})),
        Err((code, why)) => {
            let message = match mistake {
                Some(Mistake::MessageAsText) => json!(why),
                Some(Mistake::MessageWithoutUzbek) => json!({"ru": why, "en": why}),
                _ => json!({"ru": why, "uz": why, "en": why}),
            };
            let data = (mistake != Some(Mistake::NoData)).then_some("order_id");
            let status = match mistake {
                Some(Mistake::ErrorsAs400) => StatusCode::BAD_REQUEST,
                _ => StatusCode::OK,
            };
            (status, json!({"error": {"code": code, "message": message, "data": data}, "id": id}))
        }
    };
    Response::builder().status(status).content_type("application/json").body(body.to_string())
}

fn answer(inside: &mut Inside, method: &str, params: &Value) -> Result<Value, (i64, &'static str)> {
    match method {
        "CheckPerformTransaction" => payable(inside, params, None).map(|_| json!({"allow": true})),
        "CreateTransaction" => create(inside, params),
        "PerformTransaction" => perform(inside, params),
        "CancelTransaction" => cancel(inside, params),
        "CheckTransaction" => {
            let mistake = inside.mistake;
            let made = find(inside, params)?;
            let mut shown = shown(made);
            if mistake == Some(Mistake::ForgetsReason) {
                shown["reason"] = Value::Null;
            }
            if mistake == Some(Mistake::PerformTimeOfUnperformed) && made.state == -1 {
                shown["perform_time"] = json!(made.cancel_time);
            }
            Ok(shown)
        }
        "GetStatement" => {
            let window = params["from"].as_i64().unwrap_or_default()..=params["to"].as_i64().unwrap_or_default();
            let mut made: Vec<_> = inside.transactions.iter().filter(|(_, made)| window.contains(&made.time)).collect();
            made.sort_by_key(|(_, made)| made.time);
            let rows = made.into_iter().map(|(id, made)| {
                let mut row = shown(made);
                row["id"] = json!(id);
                row["time"] = json!(made.time);
                row["amount"] = json!(made.amount);
                row["account"] = made.account_fields.clone();
                row
            });
            Ok(json!({"transactions": rows.collect::<Vec<_>>()}))
        }
        "SetFiscalData" => Ok(json!({"success": true})),
        _ => Err((-32_601, "no such method")),
    }
}

/// The account, if it can be paid by this transaction.
fn payable(inside: &Inside, params: &Value, id: Option<&str>) -> Result<String, (i64, &'static str)> {
    let account = match &params["account"]["order_id"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err((-31_050, "no order_id")),
    };
    let mistake = inside.mistake;
    let exists = matches!(account.parse::<i64>(), Ok(1..=99));
    if !exists && mistake != Some(Mistake::TakesEveryAccount) {
        let code = if mistake == Some(Mistake::NotFoundForUnknownAccount) { -31_003 } else { -31_050 };
        return Err((code, "no such order"));
    }
    let price = if mistake == Some(Mistake::AmountFromFloats) { PRICE - 1 } else { PRICE };
    if params["amount"] != price && mistake != Some(Mistake::TakesEveryAmount) {
        return Err((-31_001, "another amount"));
    }
    let others =
        || inside.transactions.iter().filter(|(other, made)| Some(other.as_str()) != id && made.account == account);
    if others().any(|(_, made)| made.state == 2) {
        return Err((-31_051, "paid already"));
    }
    if others().any(|(_, made)| made.state == 1) && mistake != Some(Mistake::NeverBusy) {
        return Err((inside.busy_code.unwrap_or(-31_052), "another payment is under way"));
    }
    Ok(account)
}

fn create(inside: &mut Inside, params: &Value) -> Result<Value, (i64, &'static str)> {
    let id = params["id"].as_str().ok_or((-32_600, "no id"))?.to_owned();
    let mistake = inside.mistake;
    if let Some(made) = inside.transactions.get_mut(&id) {
        if mistake == Some(Mistake::BusyBySameTransaction) {
            return Err((-31_052, "another payment is under way"));
        }
        if made.state != 1 {
            return Err((-31_008, "it has ended"));
        }
        if mistake == Some(Mistake::CreateTimeNowOnRepeat) {
            made.create_time = now();
        }
        return Ok(created(mistake, made));
    }
    let account = payable(inside, params, Some(&id))?;
    let made = Transaction {
        number: i64::try_from(inside.transactions.len()).expect("few") + 1,
        account,
        amount: params["amount"].as_i64().unwrap_or_default(),
        account_fields: params["account"].clone(),
        time: params["time"].as_i64().unwrap_or_default(),
        state: 1,
        create_time: now(),
        perform_time: 0,
        cancel_time: 0,
        reason: None,
    };
    let answer = created(mistake, &made);
    inside.transactions.insert(id, made);
    Ok(answer)
}

fn created(mistake: Option<Mistake>, made: &Transaction) -> Value {
    let create_time = match mistake {
        Some(Mistake::SecondsInsteadOfMilliseconds) => made.create_time / 1000,
        _ => made.create_time,
    };
    let transaction = match mistake {
        Some(Mistake::TransactionAsNumber) => json!(made.number),
        _ => json!(made.number.to_string()),
    };
    json!({"create_time": create_time, "transaction": transaction, "state": 1})
}

fn perform(inside: &mut Inside, params: &Value) -> Result<Value, (i64, &'static str)> {
    let mistake = inside.mistake;
    let made = find(inside, params)?;
    match made.state {
        1 => {
            made.perform_time = now();
            made.state = 2;
        }
        2 if mistake == Some(Mistake::PerformTimeNowOnRepeat) => made.perform_time = now(),
        2 => (),
        _ => return Err((-31_008, "it was cancelled")),
    }
    let state = if mistake == Some(Mistake::PerformStaysCreated) { 1 } else { 2 };
    Ok(json!({"transaction": made.number.to_string(), "perform_time": made.perform_time, "state": state}))
}

fn cancel(inside: &mut Inside, params: &Value) -> Result<Value, (i64, &'static str)> {
    let mistake = inside.mistake;
    let made = find(inside, params)?;
    match made.state {
        2 if mistake == Some(Mistake::NeverRefunds) => return Err((-31_007, "delivered")),
        state @ (1 | 2) => {
            made.state = if mistake == Some(Mistake::RefundIsMinusOne) { -1 } else { -state };
            made.cancel_time = now();
            made.reason = params["reason"].as_i64();
        }
        _ if mistake == Some(Mistake::CancelTimeNowOnRepeat) => made.cancel_time = now(),
        _ => (),
    }
    Ok(json!({"transaction": made.number.to_string(), "cancel_time": made.cancel_time, "state": made.state}))
}

fn find<'a>(inside: &'a mut Inside, params: &Value) -> Result<&'a mut Transaction, (i64, &'static str)> {
    let id = params["id"].as_str().ok_or((-32_600, "no id"))?;
    let code = if inside.mistake == Some(Mistake::CheckNeedsTransaction) { -31_001 } else { -31_003 };
    let is_hidden = inside.mistake == Some(Mistake::CheckNeedsTransaction);
    inside.transactions.get_mut(id).filter(|_| !is_hidden).ok_or((code, "no such transaction"))
}

fn shown(made: &Transaction) -> Value {
    json!({"create_time": made.create_time, "perform_time": made.perform_time, "cancel_time": made.cancel_time,
        "transaction": made.number.to_string(), "state": made.state, "reason": made.reason})
}
