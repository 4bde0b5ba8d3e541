//! How long Payme and Click wait for the answers to their calls at a steady rate, while a worker does what follows; and what
//! a call costs that proves nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json, Path};
use poem::{EndpointExt, Route, Server, get, handler};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Extent;
use super::load::{Figures, closed_loop};
use super::report::Section;
use super::setup::safe_servers_with;
use super::shop::progress;
use super::usage::{Usage, Who};
use crate::support::gateway_calls::{CLICK_KEY, ClickStepCall, PAYME_KEY, payme_call, payme_create, payme_payment};
use crate::support::installation::RunningInstallation;
use crate::support::role::{RunningApi, client};
use crate::support::wait::wait_until;

/// A payment at each gateway: CheckPerformTransaction, CreateTransaction, PerformTransaction; Prepare, Complete.
const CALLS_OF_A_PAIR: u32 = 5;

/// The customer types a code meanwhile.
const UNTIL_CREATE: Duration = Duration::from_millis(200);
const UNTIL_COMPLETE: Duration = Duration::from_millis(1_000);
const UNTIL_PERFORM: Duration = Duration::from_millis(1_200);

/// The calls, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MeasuredCall {
    CheckPerform,
    Create,
    Perform,
    Prepare,
    Complete,
}

impl MeasuredCall {
    const ALL: [MeasuredCall; 5] = [
        MeasuredCall::CheckPerform,
        MeasuredCall::Create,
        MeasuredCall::Perform,
        MeasuredCall::Prepare,
        MeasuredCall::Complete,
    ];

    fn name(self) -> &'static str {
        match self {
            MeasuredCall::CheckPerform => "CheckPerformTransaction",
            MeasuredCall::Create => "CreateTransaction",
            MeasuredCall::Perform => "PerformTransaction",
            MeasuredCall::Prepare => "Prepare",
            MeasuredCall::Complete => "Complete",
        }
    }
}

/// A call that was answered: how long after its moment, and whether as it must be.
type AnsweredCall = (MeasuredCall, Duration, bool);

/// Measures each rate. Returns the tables, and a sentence for each value that is not as it must be.
pub(super) async fn measure(extent: Extent) -> (Vec<Section>, Vec<String>) {
    let mut table = "| calls | call | number | refused or wrong | p50 ms | p90 ms | p99 ms | longest ms |\n\
                     |---|---|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let (mut json, mut useless, mut faults) = (Vec::new(), None, Vec::new());
    for per_second in extent.rates {
        let click = ClickApi::start().await;
        // Once in a run of the benchmark.
        let click_url: &'static str = Box::leak(click.url.clone().into_boxed_str());
        let settings = [
            ("PAYME_ID", "64a1f0c2b7e8d9034f5a6b7c"),
            ("PAYME_KEY", PAYME_KEY),
            ("CLICK_SERVICE_ID", "22222"),
            ("CLICK_MERCHANT_ID", "11111"),
            ("CLICK_MERCHANT_USER_ID", "33333"),
            ("CLICK_SECRET_KEY", CLICK_KEY),
            ("CLICK_API_URL", click_url),
        ];
        let (_postgres, installation) = safe_servers_with(&settings).await;
        let (api, _worker) = tokio::join!(installation.api(0), installation.worker_with(&[]));
        let api = Arc::new(api);
        // The first requests are not measured.
        let warm_up = extent.webhook.min(Duration::from_secs(3));
        round(&installation, &api, &click, *per_second, warm_up).await;
        let answered = round(&installation, &api, &click, *per_second, extent.webhook).await;
        for call in MeasuredCall::ALL {
            let of_call = || answered.iter().filter(|(answered, ..)| *answered == call);
            let wrong = of_call().filter(|(_, _, is_right)| !is_right).count();
            let figures = Figures::of(of_call().map(|(_, took, _)| *took));
            let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| figures.percentile_ms(percent));
            let (load, count) = (format!("{per_second} a second"), figures.count());
            if let Some(within) = extent.called_within {
                faults.extend(judged(call, &load, &figures, wrong, within));
            }
            table.push_str(&format!(
                "| {load} | {} | {count} | {wrong} | {p50} | {p90} | {p99} | {longest} |\n",
                call.name()
            ));
            json.push(json!({
                "what": call.name(), "load": load, "number": count, "errors": wrong,
                "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "longest_ms": longest,
            }));
        }
        useless = Some(without_proof(&api, extent.webhook / 4).await);
    }
    let calls = Section::Table { title: "Calls of Payme and Click at a steady rate".to_owned(), table, json };
    ([Some(calls), useless].into_iter().flatten().collect(), faults)
}

/// A call that is refused or wrong is a fault, and so are answers that come too late.
pub(super) fn judged(call: MeasuredCall, load: &str, figures: &Figures, wrong: usize, within: Duration) -> Vec<String> {
    let late = figures.percentile(99).is_none_or(|p99| p99 > within).then(|| {
        format!(
            "{} at {load}: 99 of 100 answers took up to {} ms, and may take {} ms",
            call.name(),
            figures.percentile_ms(99),
            within.as_millis()
        )
    });
    let wrong = (wrong > 0).then(|| format!("{} at {load}: {wrong} were refused or wrong", call.name()));
    late.into_iter().chain(wrong).collect()
}

/// One round of payments. Each call is sent at its moment, whether those of other payments are answered or not, and timed
/// from that moment on. Ends when all orders are paid.
async fn round(
    installation: &RunningInstallation,
    api: &Arc<RunningApi>,
    click: &ClickApi,
    per_second: u32,
    time: Duration,
) -> Vec<AnsweredCall> {
    progress("calls of Payme and Click", &format!("{per_second} calls a second"));
    let pairs = (time.as_millis() * u128::from(per_second) / u128::from(CALLS_OF_A_PAIR) / 1_000).max(1);
    let pairs = usize::try_from(pairs).unwrap();
    let of_payme = orders(api, "payme", pairs).await;
    let of_click = orders(api, "click", pairs).await;
    let (first, http) = (of_payme[0], client());
    // As the tables of a shop are, which has them for longer.
    installation.execute("analyze orders, transactions, jobs, order_history, callbacks").await;
    let between = Duration::from_secs(1) * CALLS_OF_A_PAIR / per_second;
    let began = Instant::now() + Duration::from_millis(200);
    let mut running = JoinSet::new();
    for (number, (payme, click_order)) in of_payme.into_iter().zip(of_click).enumerate() {
        let due = began + between * u32::try_from(number).unwrap();
        let url = api.role.url.clone();
        running.spawn(pay_by_payme(http.clone(), url.clone(), payme, due, between / CALLS_OF_A_PAIR));
        let debited = Arc::clone(&click.debited);
        running.spawn(pay_by_click(http.clone(), url, click_order, due, between / CALLS_OF_A_PAIR, debited));
    }
    let answered = running.join_all().await.into_iter().flatten().collect();
    let unpaid = format!("select count(*) from orders where status <> 'paid' and id >= {first}");
    wait_until("all orders to be paid", Duration::from_secs(180), async || {
        (installation.number(&unpaid).await == 0).then_some(())
    })
    .await;
    answered
}

/// The numbers of new orders of this gateway.
async fn orders(api: &Arc<RunningApi>, gateway: &'static str, count: usize) -> Vec<i64> {
    let (http, url) = (client(), format!("{}/api/orders/create", api.role.url));
    let body = json!({ "product_name": "Tea", "amount": "50.00", "payment_type": gateway });
    let make = move |_| {
        let request = http.post(&url).json(&body);
        async move {
            let order: Value = request.send().await.unwrap().json().await.unwrap();
            order["order_id"].as_i64().unwrap_or_else(|| panic!("{order}"))
        }
    };
    let (_, mut orders) = closed_loop(16, Duration::MAX, count, make).await;
    orders.sort_unstable();
    orders
}

async fn pay_by_payme(http: Client, url: String, order_id: i64, due: Instant, spread: Duration) -> Vec<AnsweredCall> {
    let external_id = format!("{order_id:024x}");
    let create = payme_create(&external_id, order_id, now_ms());
    let calls = [
        (MeasuredCall::CheckPerform, Duration::ZERO, payme_payment(order_id)),
        (MeasuredCall::Create, UNTIL_CREATE + spread * 2, create),
        (MeasuredCall::Perform, UNTIL_PERFORM + spread * 4, json!({ "id": external_id })),
    ];
    let mut answered = Vec::new();
    for (call, after, params) in calls {
        let request = payme_call(&http, &url, PAYME_KEY, call.name(), &params);
        let (took, answer) = send_at(due + after, request).await;
        answered.push((call, took, answer["result"].is_object()));
    }
    answered
}

async fn pay_by_click(
    http: Client,
    url: String,
    order_id: i64,
    due: Instant,
    spread: Duration,
    debited: Arc<Mutex<HashSet<i64>>>,
) -> Vec<AnsweredCall> {
    let prepare = ClickStepCall { click_trans_id: order_id, order_id, prepare_id: None };
    let (took, answer) = send_at(due + spread, prepare.request(&http, &url, CLICK_KEY)).await;
    let prepared = (MeasuredCall::Prepare, took, answer["error"] == 0);
    let complete = ClickStepCall { prepare_id: answer["merchant_prepare_id"].as_i64().or(Some(0)), ..prepare };
    let due = due + UNTIL_COMPLETE + spread * 3;
    tokio::time::sleep_until(due.into()).await;
    debited.lock().insert(order_id);
    let (took, answer) = send_at(due, complete.request(&http, &url, CLICK_KEY)).await;
    vec![prepared, (MeasuredCall::Complete, took, answer["error"] == 0)]
}

/// Sends a call at its moment. Returns the time since then, and the answer.
async fn send_at(due: Instant, request: RequestBuilder) -> (Duration, Value) {
    tokio::time::sleep_until(due.into()).await;
    let answer = match request.send().await {
        Ok(answer) => answer.json().await.unwrap_or_default(),
        Err(_) => Value::Null,
    };
    (due.elapsed(), answer)
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What calls cost that prove nothing, by 16 clients.
async fn without_proof(api: &Arc<RunningApi>, time: Duration) -> Section {
    let mut table = "| calls without proof, 16 clients | number | a second | p50 ms | p99 ms | µs of the API each |\n\
                     |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let mut json = Vec::new();
    let http = client();
    for what in ["Payme, wrong key", "Click, wrong signature", "Atmos, wrong signature", "Click, 8 KiB of garbage"] {
        progress("calls without proof", what);
        let processes = [(Who::Api, api.role.program.id())];
        let before = Usage::now(&processes);
        let (http, url) = (http.clone(), api.role.url.clone());
        let send = move |number| {
            let request = forged(&http, &url, what, number);
            async move { request.send().await.is_ok_and(|answer| answer.status().is_success()) }
        };
        let (figures, answered) = closed_loop(16, time, usize::MAX, send).await;
        let used: Duration = Usage::now(&processes).since(&before).into_iter().map(|(_, used)| used).sum();
        let each = used.as_micros() / u128::try_from(figures.count().max(1)).unwrap();
        let errors = answered.iter().filter(|is_answered| !**is_answered).count();
        let [p50, p99] = [50, 99].map(|percent| figures.percentile_ms(percent));
        let (count, rate) = (figures.count(), figures.per_second().unwrap_or_default());
        table.push_str(&format!("| {what} | {count} | {rate} | {p50} | {p99} | {each} |\n"));
        json.push(json!({
            "what": what, "load": "16 clients", "number": count, "errors": errors, "per_second": rate,
            "p50_ms": p50, "p99_ms": p99, "api_us_each": each,
        }));
    }
    Section::Table { title: "Calls that prove nothing".to_owned(), table, json }
}

fn forged(http: &Client, url: &str, what: &str, number: usize) -> RequestBuilder {
    match what {
        "Payme, wrong key" => payme_call(http, url, "another-key", "CheckTransaction", &json!({ "id": number })),
        "Click, wrong signature" => {
            let click_trans_id = i64::try_from(number).unwrap() + 1;
            ClickStepCall { click_trans_id, order_id: 1, prepare_id: None }.request(http, url, "another-key")
        }
        "Atmos, wrong signature" => {
            let callback = json!({
                "store_id": "1234", "transaction_id": number, "account": "1", "amount": 5_000, "sign": "0".repeat(40),
            });
            http.post(format!("{url}/atmos/webhook/")).body(callback.to_string())
        }
        _ => http.post(format!("{url}/click/webhook/")).body(format!("{number:08192}")),
    }
}

/// A stand-in for Click's Merchant API, which says of the orders that were debited that they are paid.
struct ClickApi {
    url: String,
    debited: Arc<Mutex<HashSet<i64>>>,
    _serving: JoinSet<()>,
}

impl ClickApi {
    async fn start() -> Self {
        let debited = Arc::<Mutex<HashSet<i64>>>::default();
        let routes = Route::new()
            .at("/v2/merchant/payment/status_by_mti/:service/:order/:day", get(status_by_order))
            .data(Arc::clone(&debited));
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = acceptor.local_addr().remove(0).as_socket_addr().copied().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { Server::new_with_acceptor(acceptor).run(routes).await.unwrap() });
        ClickApi { url: format!("http://{address}"), debited, _serving: serving }
    }
}

#[handler]
fn status_by_order(
    Path((_, order, _)): Path<(String, i64, String)>,
    debited: Data<&Arc<Mutex<HashSet<i64>>>>,
) -> Json<Value> {
    let status = if debited.lock().contains(&order) { 2 } else { 0 };
    Json(json!({
        "error_code": 0, "error_note": "Success", "payment_id": 1_000_000 + order, "payment_status": status,
        "merchant_trans_id": order.to_string(),
    }))
}
