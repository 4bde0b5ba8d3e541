//! The day of a shop, its customers and the gateway, and its cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::TransactionId;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::Extent;
use super::load::{Figures, at_a_rate, closed_loop};
use super::report::{Cost, LoadRow};
use super::setup::Setup;
use super::usage::Usage;
use crate::support::accounts::sandbox_account;
use crate::support::role::id;
use crate::support::wait::PATIENCE;

/// Numbers of clients at once. Each sends its next request when the last is answered.
pub(super) const CLIENTS: [usize; 2] = [16, 64];

/// The name of the row: the time counts from the return of the confirmation.
const DEBITED: &str = "gateway has debited → `paid` is seen";

/// The longest time of an apply, which takes some seconds.
const LATEST_DEBIT: Duration = Duration::from_secs(5);

/// The rate of a busy shop, far from the limit.
const PAYMENTS_PER_SECOND: u32 = 20;

/// Measures all loads. Payments come first, while there is no other work.
pub(super) async fn day(setup: &Arc<Setup>, extent: Extent) -> Vec<LoadRow> {
    let mut rows = Vec::new();
    progress(setup.name(), "payments");
    let payment = |setup: Arc<Setup>| move |_| confirm_and_see_paid(Arc::clone(&setup));
    closed_loop(1, Duration::MAX, 3, payment(Arc::clone(setup))).await; // the first requests are not measured
    let (_, alone) = closed_loop(1, Duration::MAX, extent.payments, payment(Arc::clone(setup))).await;
    rows.extend(payment_rows("one at a time", &alone));
    let spaced = at_a_rate(PAYMENTS_PER_SECOND, extent.payments, payment(Arc::clone(setup))).await;
    rows.extend(payment_rows(&format!("{PAYMENTS_PER_SECOND} a second"), &spaced));

    // The sandbox debits on command and sends no callback: the load has sent it already.
    setup.sandbox().fault(&json!({ "fault": "callback-never" })).await;
    let late = at_a_rate(PAYMENTS_PER_SECOND, extent.payments, late_debit(setup)).await;
    setup.sandbox().clear_faults().await;
    rows.push(LoadRow::new(
        DEBITED,
        format!("{PAYMENTS_PER_SECOND} a second, debited 0 to 5 s after our answer"),
        Figures::of(late),
    ));

    rows.push(orders(setup, 1, extent.load / 4, usize::MAX, "order made, answered with its link").await.0);
    let mut linked = Vec::new();
    for clients in CLIENTS {
        let (row, orders) = orders(setup, clients, extent.load, usize::MAX, "order made, answered with its link").await;
        rows.push(row);
        linked.push(orders);
    }
    for slow in SLOW_GATEWAY {
        rows.push(orders_of_slow_gateway(setup, extent.load / 2, slow).await);
    }
    // The sandbox debits on command and sends no callback.
    setup.sandbox().fault(&json!({ "fault": "callback-never" })).await;
    for (clients, orders) in CLIENTS.into_iter().zip(linked) {
        let (row, answered) = callbacks(setup, clients, extent.load, &orders).await;
        rows.push(row);
        rows.extend(callbacks_again(setup, clients, extent.load / 2, answered).await);
    }
    rows
}

/// Measures orders, and a callback about each.
pub(super) async fn short_day(setup: &Arc<Setup>, clients: usize, time: Duration) -> [LoadRow; 2] {
    let (made, orders) = first_orders(setup, clients, time).await;
    [made, first_callbacks(setup, clients, time, &orders).await]
}

/// Measures the first orders of an installation. Returns the orders that were answered with a link, too.
pub(super) async fn first_orders(setup: &Arc<Setup>, clients: usize, time: Duration) -> (LoadRow, Vec<Value>) {
    orders(setup, 1, Duration::MAX, 1, "the first request is not measured").await;
    orders(setup, clients, time, usize::MAX, "order made, answered with its link").await
}

/// Measures a callback about each of these orders.
pub(super) async fn first_callbacks(setup: &Arc<Setup>, clients: usize, time: Duration, orders: &[Value]) -> LoadRow {
    setup.sandbox().fault(&json!({ "fault": "callback-never" })).await;
    callbacks(setup, clients, time, orders).await.0
}

/// The name of a load, and the gateway's own time for each answer.
pub(super) type SlowGateway = (&'static str, Duration);

pub(super) const SLOW_GATEWAY: [SlowGateway; 2] = [
    ("the same, the gateway takes 50 ms", Duration::from_millis(50)),
    ("the same, the gateway takes 300 ms", Duration::from_millis(300)),
];

/// Measures orders by 64 clients at a gateway that takes this time for each link.
pub(super) async fn orders_of_slow_gateway(
    setup: &Arc<Setup>,
    time: Duration,
    (what, latency): SlowGateway,
) -> LoadRow {
    setup.sandbox().delay_answers(latency).await;
    let (row, _) = orders(setup, CLIENTS[1], time, usize::MAX, what).await;
    setup.sandbox().clear_faults().await;
    row
}

/// Measures orders by this many clients. Returns the orders that were answered with a link, too.
async fn orders(
    setup: &Arc<Setup>,
    clients: usize,
    time: Duration,
    limit: usize,
    what: &'static str,
) -> (LoadRow, Vec<Value>) {
    let by = Arc::clone(setup);
    let create = move |_| {
        let setup = Arc::clone(&by);
        async move { setup.api().create_order().await }
    };
    let (mut row, orders) = load(setup, clients, time, limit, what, create, async |_| ()).await;
    let all = orders.len();
    let orders: Vec<Value> = orders.into_iter().filter(|order| order["transaction_id"].is_i64()).collect();
    row = row.with_errors(all - orders.len());
    (row, orders)
}

/// Measures callbacks about each of these orders by this many clients. Each order is debited at once. Returns the
/// answered callbacks, too.
async fn callbacks(setup: &Arc<Setup>, clients: usize, time: Duration, orders: &[Value]) -> (LoadRow, Vec<String>) {
    let fresh: Vec<(String, i64)> = signed_callbacks(orders).into_iter().zip(ids(orders)).collect();
    let about: Arc<Vec<(String, i64)>> = Arc::new(fresh);
    let by = Arc::clone(setup);
    let debited = Arc::clone(&about);
    let call = move |number: usize| {
        let (setup, about) = (Arc::clone(&by), Arc::clone(&debited));
        async move {
            let is_allowed = ask(&setup, &about[number].0).await == 1;
            let transaction_id = transaction_of(&about[number].0);
            // The gateway's own work does not delay the answer.
            tokio::spawn(async move { setup.sandbox().pay(transaction_id).await });
            (number, is_allowed)
        }
    };
    // The settlement after a callback is a part of its cost.
    let settled = async |answered: &[(usize, bool)]| {
        let mut numbers: Vec<usize> = answered.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().rev().take(CLIENTS[1]) {
            setup.api().wait_for(about[number].1, "paid").await;
        }
    };
    let what = "callback answered with 1, debited, settled";
    let (row, answered) = load(setup, clients, time, about.len(), what, call, settled).await;
    let row = row.with_errors(answered.iter().filter(|(_, is_allowed)| !is_allowed).count());
    (row, answered.into_iter().map(|(number, _)| about[number].0.clone()).collect())
}

/// Measures answered callbacks that come once more, and badly signed ones.
async fn callbacks_again(setup: &Arc<Setup>, clients: usize, time: Duration, answered: Vec<String>) -> Vec<LoadRow> {
    let (mut rows, count) = (Vec::new(), answered.len());
    let broken = answered.iter().map(|body| body.replace("5000", "5001")).collect();
    for (what, bodies, expected) in
        [("callback repeated, answered with 1", answered, 1), ("callback badly signed, answered with 0", broken, 0)]
    {
        let (by, bodies) = (Arc::clone(setup), Arc::new(bodies));
        let call = move |number: usize| {
            let (setup, bodies) = (Arc::clone(&by), Arc::clone(&bodies));
            async move { ask(&setup, &bodies[number]).await == expected }
        };
        let (row, right) = load(setup, clients, time, count, what, call, async |_| ()).await;
        rows.push(row.with_errors(right.iter().filter(|is_right| !**is_right).count()));
    }
    rows
}

/// The webhook's answer to a callback.
async fn ask(setup: &Setup, body: &str) -> i64 {
    let request = setup.load().post(format!("{}/atmos/webhook/", setup.api().role.url));
    let answer: Value = request.body(body.to_owned()).send().await.unwrap().json().await.unwrap();
    answer["status"].as_i64().unwrap()
}

fn transaction_of(body: &str) -> i64 {
    let callback: Value = serde_json::from_str(body).unwrap();
    callback["transaction_id"].as_i64().or_else(|| callback["transaction_id"].as_str()?.parse().ok()).unwrap()
}

/// Runs a load, and measures its cost until `follows` has seen the end of all its work.
async fn load<T, F>(
    setup: &Arc<Setup>,
    clients: usize,
    time: Duration,
    limit: usize,
    what: &'static str,
    work: impl Fn(usize) -> F + Send + Sync + 'static,
    follows: impl AsyncFnOnce(&[T]),
) -> (LoadRow, Vec<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    progress(setup.name(), &format!("{what}: {clients} clients"));
    let processes = setup.processes();
    setup.forget_statements().await;
    let before = Usage::now(&processes);
    let (figures, answers) = closed_loop(clients, time, limit, work).await;
    follows(&answers).await;
    let cost = Cost::since(&before, &processes);
    setup.tell_statements(answers.len()).await;
    (LoadRow::new(what, format!("{clients} clients"), figures).with_cost(cost), answers)
}

/// The times of one payment, from the customer's confirmation until the order is seen as paid.
pub(super) struct PaymentTimes {
    since_confirmed: Duration,
    since_debited: Duration,
}

/// Makes an order, follows its events as the return page does, and confirms its payment at the sandbox.
pub(super) async fn confirm_and_see_paid(setup: Arc<Setup>) -> PaymentTimes {
    let order = setup.api().create_order().await;
    let transaction_id = linked(&setup, &order).await;
    let mut events = setup.api().follow(id(&order)).await;
    events.next().await.expect("the order as it is");

    let confirmed_at = Instant::now();
    let (debited_at, paid_at) = tokio::join!(
        async {
            assert_eq!(setup.sandbox().pay(transaction_id).await, "debited");
            Instant::now()
        },
        async {
            events.wait_for("paid").await;
            Instant::now()
        }
    );
    PaymentTimes {
        since_confirmed: paid_at - confirmed_at,
        since_debited: paid_at.saturating_duration_since(debited_at),
    }
}

/// The gateway asks, and debits some time after our answer. Measures how long after the debit the order is seen as
/// paid.
fn late_debit(setup: &Arc<Setup>) -> impl Fn(usize) -> BoxFuture<'static, Duration> + use<> {
    let setup = Arc::clone(setup);
    move |number| {
        let setup = Arc::clone(&setup);
        let after = LATEST_DEBIT * u32::try_from(number * 37 % 100).unwrap() / 100;
        Box::pin(async move {
            let mut order = setup.api().create_order().await;
            let transaction_id = linked(&setup, &order).await;
            order["transaction_id"] = json!(transaction_id);
            let mut events = setup.api().follow(id(&order)).await;
            assert_eq!(ask(&setup, &signed_callbacks(std::slice::from_ref(&order))[0]).await, 1);
            tokio::time::sleep(after).await;
            setup.sandbox().pay(transaction_id).await;
            let debited_at = Instant::now();
            events.wait_for("paid").await;
            debited_at.elapsed()
        })
    }
}

/// The number of the order's transaction. A link that comes late is reported: it is not measured, and it is a bad sign.
async fn linked(setup: &Setup, order: &Value) -> i64 {
    let answered_at = Instant::now();
    let mut transaction_id = order["transaction_id"].as_i64();
    while transaction_id.is_none() && answered_at.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        transaction_id = setup.api().order(id(order)).await["transaction_id"].as_i64();
        if transaction_id.is_some() {
            progress(setup.name(), &format!("order {} was linked {:?} late", id(order), answered_at.elapsed()));
        }
    }
    transaction_id.expect("a link")
}

fn payment_rows(load: &str, payments: &[PaymentTimes]) -> [LoadRow; 2] {
    let from_confirmed = Figures::of(payments.iter().map(|payment| payment.since_confirmed));
    let from_debited = Figures::of(payments.iter().map(|payment| payment.since_debited));
    [
        LoadRow::new("customer confirms → `paid` is seen", load, from_confirmed),
        LoadRow::new(DEBITED, load, from_debited),
    ]
}

/// The callbacks that the gateway would send for these orders.
fn signed_callbacks(orders: &[Value]) -> Vec<String> {
    let gateway = sandbox_account();
    let sign = |order: &Value| {
        let transaction_id = TransactionId(order["transaction_id"].as_i64().expect("it has a link"));
        gateway.sign_callback(transaction_id, &id(order).to_string(), 5_000)
    };
    orders.iter().map(sign).collect()
}

fn ids(orders: &[Value]) -> Vec<i64> {
    orders.iter().map(id).collect()
}

pub(super) fn progress(setup: &str, what: &str) {
    eprintln!("{setup}: {what}");
}
