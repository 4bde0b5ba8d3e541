//! How many callbacks the webhook answers while no worker runs, which is the cost of the answers alone, and how fast a
//! worker that comes back settles the orders. The limits of the machine are measured right before and after each load:
//! on a shared machine they change within a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Extent;
use super::limits::OneRow;
use super::load::closed_loop;
use super::report::{Cost, LoadRow, Section};
use super::setup::{Setup, safe_servers};
use super::shop::progress;
use super::usage::Usage;
use super::webhook::{ask, callbacks, debit};
use crate::support::role::client;
use crate::support::wait::wait_until;

/// The number of connections of the gateway: a usual one, and one for a storm of callbacks.
const CLIENTS: [usize; 2] = [64, 256];

/// A repeated callback first came this many callbacks earlier, and was answered.
const REPEATED_AFTER: usize = 207;

/// The kind of callbacks.
#[derive(Clone, Copy)]
enum CallbackMix {
    /// Each callback is about an order of its own.
    New,
    /// Of ten callbacks, two are repeated and one is badly signed.
    Mixed,
}

impl CallbackMix {
    fn name(self) -> &'static str {
        match self {
            CallbackMix::New => "callback answered with 1, no worker runs",
            CallbackMix::Mixed => "the same, of ten 2 repeated and 1 badly signed",
        }
    }

    /// The callback of this number, and the transaction that the answer 1 allows.
    fn choose(self, number: usize, bodies: &[(i64, String)]) -> (String, Option<i64>) {
        let (transaction_id, body) = &bodies[number];
        match (self, number % 10, number.checked_sub(REPEATED_AFTER)) {
            (CallbackMix::Mixed, 7 | 8, Some(earlier)) => (bodies[earlier].1.clone(), Some(bodies[earlier].0)),
            (CallbackMix::Mixed, 9, _) => (body.replace("5000", "5001"), None),
            _ => (body.clone(), Some(*transaction_id)),
        }
    }
}

/// A load on the webhook.
#[derive(Clone, Copy)]
struct Load {
    callbacks: CallbackMix,
    clients: usize,
    /// The longest time of the load. It also ends when `most` are answered.
    time: Duration,
    most: usize,
}

/// Callbacks by many clients, and then a worker.
pub(super) async fn measure(extent: Extent) -> [Section; 2] {
    let (postgres, installation) = safe_servers().await;
    installation.sandbox.fault(&json!({ "fault": "callback-never" })).await;
    let setup = Setup::on_servers(postgres, installation, 0).await;
    let one_row = OneRow::start(extent.load / 4).await;
    // The first requests are not measured.
    let first = Load { callbacks: CallbackMix::New, clients: CLIENTS[0], time: Duration::MAX, most: 200 };
    let (_, mut allowed) = answer(&setup, &one_row, first).await;
    let mut rows = Vec::new();
    for (callbacks, clients, time) in [
        (CallbackMix::New, CLIENTS[0], extent.load),
        (CallbackMix::Mixed, CLIENTS[0], extent.load / 2),
        (CallbackMix::New, CLIENTS[1], extent.load / 2),
    ] {
        let most = usize::try_from(time.as_millis() * extent.burst).unwrap();
        let (row, more) = answer(&setup, &one_row, Load { callbacks, clients, time, most }).await;
        rows.push(row);
        allowed.extend(more);
    }
    allowed.sort_unstable();
    allowed.dedup();
    [Section::of_rows("The webhook while no worker runs", rows), settle(&setup, allowed).await]
}

/// Sends this many callbacks, if the time is enough. Returns the transactions that they allow, too, also those with a
/// wrong answer: the answer may be lost, and the order waits for its payment all the same.
async fn answer(setup: &Setup, one_row: &OneRow, load: Load) -> (LoadRow, Vec<i64>) {
    let Load { callbacks: which, clients, time, most } = load;
    progress(which.name(), &format!("{most} orders are made"));
    let bodies = Arc::new(callbacks(setup.installation(), most).await);
    let (http, webhook) = (client(), format!("{}/atmos/webhook/", setup.api().role.url));
    let call = move |number: usize| {
        let (request, bodies) = (http.post(&webhook), Arc::clone(&bodies));
        async move {
            let (body, allows) = which.choose(number, &bodies);
            (ask(request, &body).await == Some(i64::from(allows.is_some())), allows)
        }
    };
    let limit_before = one_row.inserts(CLIENTS[0]);
    progress(which.name(), &format!("{clients} clients"));
    let processes = setup.processes();
    setup.forget_statements().await;
    let before = Usage::now(&processes);
    let (figures, answers) = closed_loop(clients, time, most, call).await;
    let cost = Cost::since(&before, &processes);
    let limit = (limit_before + one_row.inserts(CLIENTS[0])) / 2;
    setup.tell_statements(answers.len()).await;
    let wrong = answers.iter().filter(|(is_right, _)| !is_right).count();
    let row = LoadRow::new(which.name(), format!("{clients} clients"), figures).with_errors(wrong).with_cost(cost);
    (row.with_limit(limit), answers.into_iter().filter_map(|(_, allowed)| allowed).collect())
}

/// The gateway debits all of them, and then a worker comes.
async fn settle(setup: &Setup, allowed: Vec<i64>) -> Section {
    let (http, sandbox) = (client(), setup.sandbox().url.clone());
    let count = allowed.len();
    closed_loop(CLIENTS[0], Duration::MAX, count, move |number| {
        let (http, sandbox, transaction_id) = (http.clone(), sandbox.clone(), allowed[number]);
        async move { debit(&http, &sandbox, transaction_id).await }
    })
    .await;
    progress("the webhook", "a worker comes");
    let began = Instant::now();
    let _worker = setup.installation().worker_with(&[]).await;
    wait_until("all of them to be paid", Duration::from_secs(180), async || {
        let unpaid = "select count(*) from (select 1 from orders where status = 'confirming' limit 1) as unpaid";
        (setup.installation().number(unpaid).await == 0).then_some(())
    })
    .await;
    let rate = count as u128 * 1_000 / began.elapsed().as_millis().max(1);
    Section::Table {
        title: "One worker comes back to them".to_owned(),
        table: format!(
            "| callbacks that wait | orders paid a second, from its start |\n|---:|---:|\n| {count} | {rate} |\n"
        ),
        json: vec![
            json!({ "what": "a backlog of callbacks settled", "number": count, "errors": 0, "per_second": rate }),
        ],
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "the benchmark itself has no tests")]
mod tests {
    use super::*;

    #[test]
    fn of_ten_mixed_callbacks_two_come_again_and_one_is_badly_signed() {
        let bodies: Vec<(i64, String)> = (0..1_000).map(|number| (number, format!("{number}:5000"))).collect();
        let chosen = |number| CallbackMix::Mixed.choose(number, &bodies);

        assert_eq!(chosen(300), ("300:5000".to_owned(), Some(300)));
        assert_eq!(chosen(307), ("100:5000".to_owned(), Some(100)));
        assert_eq!(chosen(308), ("101:5000".to_owned(), Some(101)));
        assert_eq!(chosen(309), ("309:5001".to_owned(), None));
        assert_eq!(chosen(7), ("7:5000".to_owned(), Some(7)), "none came before");
        assert_eq!(CallbackMix::New.choose(309, &bodies), ("309:5000".to_owned(), Some(309)));
    }
}
