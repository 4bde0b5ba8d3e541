//! How much the real program does on this machine, against the sandbox without latency.
//!
//! The load, the program, its servers and the sandbox share the machine, so the figures are those of the whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::config::{Config, Role};
use shared::coordination::Coordination;
use shared::gateway::atmos::AtmosGateway;
use shared::id::TransactionId;

use crate::roles::role::{client, id};
use crate::support::wait::PATIENCE;
use limits::Limits;
use load::{Figures, at_a_rate, closed_loop};
use report::{COST, Cost, Row, SPEED};
use setup::Setup;
use usage::Usage;

mod limits;
mod load;
mod machine;
mod report;
mod setup;
mod usage;
pub(crate) mod webhook;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Payments one at a time, and as many again at [`PAYMENTS_PER_SECOND`].
    payments: usize,
    /// How long each load lasts.
    load: Duration,
    /// Whether `tasdiq up` is measured, too.
    with_embedded: bool,
}

impl Extent {
    /// For figures to publish: under four minutes.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) const FULL: Extent = Extent { payments: 200, load: Duration::from_secs(12), with_embedded: true };
    /// Of the servers alone: half the time.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) const SERVERS: Extent = Extent { with_embedded: false, ..Extent::FULL };
    /// To see that it works: seconds.
    pub(crate) const QUICK: Extent = Extent { payments: 5, load: Duration::from_millis(500), with_embedded: true };
}

/// So many clients at once, each sending its next request when the last is answered.
const CLIENTS: [usize; 2] = [16, 64];

/// A busy shop, and far from the limit.
const PAYMENTS_PER_SECOND: u32 = 20;

/// What was measured.
pub(crate) struct Report {
    /// For people, in Markdown.
    pub(crate) text: String,
    /// For programs.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) json: Value,
}

/// Measures everything.
pub(crate) async fn run(extent: Extent) -> Report {
    let limits = Limits::measure(extent.load / 4).await;
    let mut text = format!("{}\n", limits.table());
    let mut measured = Vec::new();
    let mut postgres = String::new();
    for is_embedded in [true, false] {
        if is_embedded && !extent.with_embedded {
            continue;
        }
        // One after the other: what runs for nothing would be in the way.
        let setup = if is_embedded { Setup::embedded().await } else { Setup::servers().await };
        let name = setup.name();
        postgres = setup.postgres_version().await.unwrap_or(postgres);
        let rows = measure(Arc::new(setup), extent).await;
        let speeds: String = rows.iter().map(|row| row.speed(limits.inserts())).collect();
        let costs: String = rows.iter().filter_map(Row::cost).collect();
        text.push_str(&format!("### {name}\n\n{SPEED}{speeds}\n{COST}{costs}\n"));
        measured.extend(rows.iter().map(|row| row.json(name)));
    }
    let machine = machine::describe(&postgres).await;
    text.push_str(&machine);
    Report { text, json: json!({ "machine": machine, "limits": limits.json(), "measured": measured }) }
}

/// The rows of one setup. Payments come first, while there is nothing else to do.
async fn measure(setup: Arc<Setup>, extent: Extent) -> Vec<Row> {
    let mut rows = Vec::new();
    let processes = setup.processes();
    progress(setup.name(), "payments");
    let payment = |setup: Arc<Setup>| move |_| confirm_and_see_paid(Arc::clone(&setup));
    closed_loop(1, Duration::MAX, 3, payment(Arc::clone(&setup))).await; // nobody's first request counts
    let (_, alone) = closed_loop(1, Duration::MAX, extent.payments, payment(Arc::clone(&setup))).await;
    rows.extend(payment_rows("one at a time", &alone));
    let spaced = at_a_rate(PAYMENTS_PER_SECOND, extent.payments, payment(Arc::clone(&setup))).await;
    rows.extend(payment_rows(&format!("{PAYMENTS_PER_SECOND} a second"), &spaced));

    let mut linked = Vec::new();
    for clients in CLIENTS {
        progress(setup.name(), &format!("orders by {clients} clients"));
        let by = Arc::clone(&setup);
        let create = move |_| {
            let setup = Arc::clone(&by);
            async move { setup.api().create_order().await }
        };
        setup.forget_statements().await;
        let before = Usage::now(&processes);
        let (figures, orders) = closed_loop(clients, extent.load, usize::MAX, create).await;
        let cost = Cost::since(&before, &processes);
        tell_statements(&setup, orders.len()).await;
        let all = orders.len();
        let orders: Vec<Value> = orders.into_iter().filter(|order| order["transaction_id"].is_i64()).collect();
        let row = Row::new("order made, answered with its link", format!("{clients} clients"), figures);
        rows.push(row.with_errors(all - orders.len()).with_cost(cost));
        linked.push(orders);
    }
    for (clients, orders) in CLIENTS.into_iter().zip(linked) {
        progress(setup.name(), &format!("callbacks by {clients} clients"));
        let bodies: Arc<Vec<String>> = Arc::new(signed_callbacks(&orders));
        let (http, webhook) = (client(), format!("{}/atmos/webhook/", setup.api().role.url));
        let count = bodies.len();
        let call = move |number: usize| {
            let (request, bodies) = (http.post(&webhook), Arc::clone(&bodies));
            async move {
                let answer: Value = request.body(bodies[number].clone()).send().await.unwrap().json().await.unwrap();
                answer["status"] == 1
            }
        };
        setup.forget_statements().await;
        let before = Usage::now(&processes);
        let (figures, allowed) = closed_loop(clients, extent.load, count, call).await;
        let cost = Cost::since(&before, &processes);
        tell_statements(&setup, allowed.len()).await;
        let refused = allowed.iter().filter(|allowed| !**allowed).count();
        let row = Row::new("callback answered with 1", format!("{clients} clients"), figures);
        rows.push(row.with_errors(refused).with_cost(cost));
    }
    rows
}

/// What the database spent its time on, for whoever wants to make it faster.
async fn tell_statements(setup: &Setup, count: usize) {
    let statements = setup.statements(count.max(1)).await;
    if !statements.is_empty() {
        eprintln!(
            "| statement | µs per operation | times per operation | µs each | rows each |\n|---|---:|---:|---:|---:|"
        );
        eprintln!("{statements}");
    }
}

/// What a customer's confirmation took until the order was seen to be paid.
struct Payment {
    since_confirmed: Duration,
    since_debited: Duration,
}

/// Makes an order, follows its events as the return page does, and confirms its payment at the sandbox.
async fn confirm_and_see_paid(setup: Arc<Setup>) -> Payment {
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
    Payment { since_confirmed: paid_at - confirmed_at, since_debited: paid_at.saturating_duration_since(debited_at) }
}

/// The number of the order's transaction. A link that comes late is told: it is no part of what is measured, and no good
/// sign.
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

fn payment_rows(load: &str, payments: &[Payment]) -> [Row; 2] {
    let from_confirmed = Figures::of(payments.iter().map(|payment| payment.since_confirmed));
    let from_debited = Figures::of(payments.iter().map(|payment| payment.since_debited));
    [
        Row::new("customer confirms → `paid` is seen", load, from_confirmed),
        Row::new("gateway has debited → `paid` is seen", load, from_debited),
    ]
}

/// The callbacks that the gateway would send for these orders.
fn signed_callbacks(orders: &[Value]) -> Vec<String> {
    let atmos = Config::from_environment(Role::Operator, |_| None).expect("the sandbox's credentials").atmos;
    let gateway = AtmosGateway::new(atmos, Coordination::local(None)).expect("a client");
    let sign = |order: &Value| {
        let transaction_id = TransactionId(order["transaction_id"].as_i64().expect("it has a link"));
        gateway.sign_callback(transaction_id, &id(order).to_string(), 5_000)
    };
    orders.iter().map(sign).collect()
}

fn progress(setup: &str, what: &str) {
    eprintln!("{setup}: {what}");
}

/// The figures of this run are worth nothing; that there are some is.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_benchmark_measures_both_setups() {
    let Report { text: report, json } = run(Extent::QUICK).await;

    // A line of speed and one of cost each.
    assert_eq!(report.matches("\n| order made, answered with its link |").count(), 8, "{report}");
    assert_eq!(report.matches("\n| callback answered with 1 |").count(), 8, "{report}");
    assert_eq!(report.matches("\n| customer confirms").count(), 4, "{report}");
    let measured = json["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 16, "{json}");
    assert!(measured.iter().all(|row| row["errors"] == 0 && row["number"].as_u64() > Some(0)), "{json}");
    assert!(json["limits"]["one_row_inserts"][2][1].as_u64() > Some(0), "{json}");
}
