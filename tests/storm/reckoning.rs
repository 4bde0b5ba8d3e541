//! The result of a storm, counted from the orders, the jobs and the gateway's own book.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use domain::order::PaymentType;
use failpoint::{Point, defect_of};
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection};

use super::book::Books;
use super::customers::{ServedCustomers, TURNS};
use super::house::{GatewayOutage, House, now_ms};
use super::plan::StormPlan;
use super::records;
use super::restarts::{self, Restarts, percentile};
use crate::support::patient::Patient;

/// The longest wait of a job for its restart while a server is away, too.
const DISTURBED_MS: i64 = 60_000;

/// How long a refund that was sent is asked about, with a margin.
const ASKED_ABOUT_MS: i64 = 190_000;

/// The counts, and all faults.
pub(crate) struct Reckoning {
    orders: BTreeMap<String, usize>,
    jobs: i64,
    runs: i64,
    dead_letters: usize,
    debits: usize,
    /// The orders of each gateway, by their status.
    by_gateway: BTreeMap<(PaymentType, String), usize>,
    counts: Vec<(&'static str, usize)>,
    restarts: Restarts,
    faults: Vec<String>,
}

#[derive(FromRow)]
struct OrderRow {
    id: i64,
    /// Empty while the customer has not chosen.
    payment_type: String,
    status: String,
    allowed_until_ms: Option<i64>,
    transaction_id: Option<i64>,
    needs_review: i64,
}

#[derive(FromRow)]
struct HistoryRow {
    order_id: i64,
    from_status: Option<String>,
    to_status: String,
    cause: String,
}

#[derive(FromRow)]
struct RefundRow {
    id: i64,
    order_id: i64,
    state: String,
    sent_at_ms: Option<i64>,
    has_job: i64,
}

#[derive(FromRow)]
struct DeadRow {
    id: i64,
    kind: String,
    subject_id: i64,
    last_error: Option<String>,
}

/// All work of the storm: the jobs, also jobs that have left the table or changed their kind, and the callbacks that
/// inquiries took up. Older releases had a job for each callback.
const JOBS: &str = "select (select count(*) from (select distinct job_id, kind from job_log) as made)
    + (select count(*) from callbacks where order_id is not null)";

impl Reckoning {
    pub(crate) async fn of(house: &mut House, plan: &StormPlan, served: &ServedCustomers, unsettled: i64) -> Reckoning {
        let mut connection = house.connection().await;
        let orders: Vec<OrderRow> = sqlx::query_as(
            "select id, case gateway when '' then '' else payment_type end as payment_type, status, allowed_until_ms, transaction_id, needs_review
            from orders order by id",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let history: Vec<HistoryRow> = sqlx::query_as(
            "select order_id, from_status, to_status, cause from order_history order by order_id, number",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let dead: Vec<DeadRow> =
            sqlx::query_as("select id, kind, subject_id, last_error from jobs where state = 'dead'")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let refunds: Vec<RefundRow> = sqlx::query_as(
            "select id, order_id, state, sent_at_ms, (select count(*) from jobs j where j.kind = 'refund_order'
                and j.subject_id = refunds.id and j.state in ('available', 'enqueued', 'running')) as has_job
            from refunds order by id",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let happened = house.happened.clone();
        let restarts = restarts::of(&mut connection, &happened.worker_kills, &happened.outages).await;

        let taken_from_zombies = restarts::taken_from(&mut connection, &happened.zombies).await;
        let (workers_killed, apis_killed) = house.killed();

        let patient = house.patient();
        let books = Books::read(&patient, &mut connection).await;
        let unclear: HashSet<i64> =
            refunds.iter().filter(|refund| refund.state != "done").map(|refund| refund.order_id).collect();

        let mut faults = lost_orders(served, &orders);
        faults.extend(untruthful_ends(served, &orders, &books));
        if unsettled > 0 {
            faults.push(format!("{unsettled} orders and jobs were still under way at the end"));
        }
        faults
            .extend(restarts.stranded.iter().map(|id| format!("job {id} never ran again after its worker was killed")));
        let (debits, given_back) = books.debits();
        let never_looked_at = books.never_looked_at(|id| has_defect(plan, id));
        faults.extend(books.differences(&unclear, &never_looked_at));
        faults.extend(wrong_money(&orders, &debits, &given_back));
        faults.extend(wrong_customers(plan, served, &orders, &books, &history, &refunds));
        faults.extend(wrong_refunds(served, &orders, &refunds, &books));
        faults.extend(wrong_statement(&patient, &books).await);
        faults.extend(stopped_by_another(&mut connection, &happened.gateway_outages).await);
        faults.extend(canceled_and_allowed(&history));
        let twice = served.allowed_twice.iter();
        faults.extend(twice.map(|id| format!("two transactions of order {id} were allowed at the same time")));
        let old = served.paid_by_old_link.iter();
        faults.extend(old.map(|id| format!("order {id} was paid by the link of an earlier choice")));
        faults.extend(mild_defects(plan, &orders, house.defect_ends()));
        faults.extend(doubled_history(&history));
        faults.extend(innocent_dead_letters(&dead));
        faults.extend(house.strange_ends().into_iter().map(|end| format!("a process ended by itself: {end}")));
        faults.extend(found_by_audit(house, &books, &never_looked_at).await);
        if !faults.is_empty() {
            records::keep(house, &mut connection).await;
        }
        let (mut by_status, mut by_gateway) = (BTreeMap::new(), BTreeMap::new());
        for order in &orders {
            *by_status.entry(order.status.clone()).or_insert(0) += 1;
            let Some(payment_type) = PaymentType::parse(&order.payment_type) else { continue };
            *by_gateway.entry((payment_type, order.status.clone())).or_insert(0) += 1;
        }
        Reckoning {
            orders: by_status,
            jobs: house.number(JOBS).await,
            runs: house.number("select count(*) from job_log where state = 'running'").await,
            dead_letters: dead.len(),
            debits: debits.values().map(Vec::len).sum(),
            by_gateway,
            counts: vec![
                ("orders acknowledged", served.acknowledged.len()),
                ("worker SIGKILLs", workers_killed),
                ("API SIGKILLs", apis_killed),
                ("Redis SIGKILLs", happened.redis_kills),
                ("Redis wiped", happened.redis_wipes),
                ("PostgreSQL SIGKILLs", happened.postgres_kills),
                ("zombies past their lease", happened.zombies.len()),
                ("jobs taken from zombies", taken_from_zombies),
                ("processes ended by a defect", house.defect_ends()),
                ("orders chosen on our page", served.choosers.len()),
                ("orders canceled", served.canceled.len()),
                ("refunds accepted", served.refunds.len()),
                ("refunds done", refunds.iter().filter(|refund| refund.state == "done").count()),
                ("refunds in review", refunds.iter().filter(|refund| refund.state == "review").count()),
                ("refunds still asked about", refunds.iter().filter(|refund| refund.state == "open").count()),
                ("refunds in Payme's cabinet", served.cabinet_refunds.len()),
                ("attempts declined at Click", books.declined()),
                ("rivals at Payme", served.rivals.len()),
                ("payers who left", served.left.len()),
                ("orders held by a lost answer", served.held.len()),
                ("deaths in calls to us", house.deaths_in_calls()),
                ("times accounts were taken", happened.accounts_taken),
                ("orders that waited for one", happened.waited_for_account.len()),
                ("outages of one gateway", happened.gateway_outages.len()),
            ],
            restarts,
            faults,
        }
    }

    /// Fails the test if the storm was too small, or if there is a fault.
    pub(crate) fn judge(&self, plan: &StormPlan) {
        assert!(self.faults.is_empty(), "seed {}: {}\n{self}", plan.seed, self.faults.join("\n"));
        let count = |name: &str| self.counts.iter().find(|(other, _)| *other == name).unwrap().1;
        let at_least = plan.at_least;
        for (name, least) in [
            ("orders acknowledged", at_least.orders),
            ("worker SIGKILLs", at_least.worker_kills),
            ("API SIGKILLs", at_least.api_kills),
            ("Redis SIGKILLs", at_least.redis_kills),
            ("Redis wiped", at_least.redis_wipes),
            ("PostgreSQL SIGKILLs", at_least.postgres_kills),
            ("zombies past their lease", at_least.zombies),
            ("jobs taken from zombies", at_least.taken_from_zombies),
            ("refunds done", at_least.refunds),
            ("orders chosen on our page", at_least.choosers),
            ("orders canceled", at_least.canceled),
            ("refunds in Payme's cabinet", at_least.cabinet_refunds),
            ("attempts declined at Click", at_least.declined),
            ("deaths in calls to us", at_least.deaths_in_calls),
            ("orders that waited for one", at_least.waited_for_account),
            ("outages of one gateway", at_least.gateway_outages),
        ] {
            assert!(count(name) >= least, "only {} {name}: that was no storm\n{self}", count(name));
        }
        for payment_type in TURNS {
            let of =
                |status: &str| self.by_gateway.get(&(payment_type, status.to_owned())).copied().unwrap_or_default();
            let paid = of("paid") + of("refunded");
            assert!(paid >= at_least.paid, "only {paid} orders were paid at {payment_type}: that was no storm\n{self}");
        }
        assert!(self.jobs >= at_least.jobs, "only {} jobs: that was no storm\n{self}", self.jobs);
        let waited = &self.restarts.undisturbed_ms;
        let timed = waited.len() + self.restarts.disturbed_ms.len();
        assert!(timed >= at_least.restarts, "only {timed} restarts were timed\n{self}");
        let (half_ms, most_ms) = plan.restart_ms;
        assert!(percentile(waited, 50) <= Some(half_ms), "half of the restarts took longer than {half_ms} ms\n{self}");
        assert!(
            percentile(waited, 99) <= Some(most_ms),
            "more than one of a hundred took longer than {most_ms} ms\n{self}"
        );
        assert!(
            self.restarts.disturbed_ms.last().is_none_or(|longest_ms| *longest_ms <= DISTURBED_MS),
            "an outage beside it does not excuse a restart that late\n{self}"
        );
    }
}

impl fmt::Display for Reckoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "  {name:<28} {count:>8}")?;
        }
        for (name, count) in [("jobs", self.jobs), ("runs of jobs", self.runs)] {
            writeln!(f, "  {name:<28} {count:>8}")?;
        }
        writeln!(f, "  {:<28} {:>8}", "dead letters, all defects", self.dead_letters)?;
        writeln!(f, "  {:<28} {:>8}", "debits in the books", self.debits)?;
        for (status, count) in &self.orders {
            writeln!(f, "  {:<28} {count:>8}", format!("orders {status}"))?;
        }
        for ((payment_type, status), count) in &self.by_gateway {
            writeln!(f, "  {:<28} {count:>8}", format!("  {payment_type} {status}"))?;
        }
        for (name, waited) in [
            ("restart after a kill", &self.restarts.undisturbed_ms),
            ("  with a server away, too", &self.restarts.disturbed_ms),
        ] {
            let at = |percent| percentile(waited, percent).unwrap_or_default();
            let longest = waited.last().copied().unwrap_or_default();
            writeln!(
                f,
                "  {name:<28} {:>8} times, p50 {} ms, p90 {} ms, p99 {} ms, longest {longest} ms",
                waited.len(),
                at(50),
                at(90),
                at(99)
            )?;
        }
        writeln!(f, "  {:<28} {:>8} times", "  of a suspect, which waits", self.restarts.suspects)?;
        write!(f, "  {:<28} {:>8}", "faults", self.faults.len())
    }
}

fn lost_orders(served: &ServedCustomers, orders: &[OrderRow]) -> Vec<String> {
    let known: HashSet<i64> = orders.iter().map(|order| order.id).collect();
    let lost = served.acknowledged.iter().filter(|id| !known.contains(id));
    let mut faults: Vec<String> =
        lost.map(|id| format!("order {id} was acknowledged and is not in the database")).collect();
    let different: HashSet<&i64> = served.acknowledged.iter().collect();
    if different.len() != served.acknowledged.len() {
        faults.push("two requests for different orders were given the same one".into());
    }
    if orders.len() != served.acknowledged.len() {
        faults.push(format!("{} orders were made for {} acknowledged", orders.len(), served.acknowledged.len()));
    }
    if served.turned_away > 0 {
        faults.push(format!("{} shops were turned away until they gave up", served.turned_away));
    }
    faults
}

/// Orders without an end. An order whose payer left in the middle waits for the end of its permission, as it may, and then
/// for another payer.
fn untruthful_ends(served: &ServedCustomers, orders: &[OrderRow], books: &Books) -> Vec<String> {
    let left: HashSet<i64> = served.waiting().into_iter().collect();
    let waits = |order: &&OrderRow| {
        let is_allowed = order.allowed_until_ms.is_some_and(|until_ms| until_ms > now_ms());
        let is_held = order.status == "confirming" && is_allowed && books.is_held(order.id);
        left.contains(&order.id) && (is_held || order.status == "pending") && books.is_without_money(order.id)
    };
    let open = orders.iter().filter(|order| matches!(order.status.as_str(), "pending" | "confirming"));
    open.filter(|order| !waits(order)).map(|order| format!("order {} is still {}", order.id, order.status)).collect()
}

/// The faults of Payme's statement of all transactions, beside Payme's own record.
async fn wrong_statement(patient: &Patient, books: &Books) -> Vec<String> {
    let statement = patient.at_sandbox("/payme/_sim/statement", &json!({})).await.unwrap_or_default();
    // A receipt whose Create got no answer has no transaction of ours that Payme knows of.
    let (rivals, own) = (patient.rivals().await, books.lines.iter().map(|line| line.external_id.as_str()));
    let known: HashSet<&str> = rivals.iter().map(String::as_str).chain(own).collect();
    let none = Vec::new();
    let list = |name: &str| statement[name].as_array().unwrap_or(&none);
    let strange = list("unknown").iter().filter_map(Value::as_str).filter(|id| !known.contains(id)).count();
    let is_whole = statement["is_sorted_by_time"] == true && statement["listed"].as_i64() > Some(0);
    match is_whole && strange == 0 && list("missing").is_empty() && list("different").is_empty() {
        true => Vec::new(),
        false => vec![format!("Payme's statement differs from its record, with {strange} unknown to it: {statement}")],
    }
}

/// What `tasdiq audit` finds too much or too little. A debit that was told and is not found is a person's, and rightly told; so
/// is each debit that no inquiry of ours could look at.
async fn found_by_audit(house: &House, books: &Books, never_looked_at: &HashSet<i64>) -> Vec<String> {
    let (_, output) = house.command(&["audit", "--json"]).await;
    // Its notices stand before the document.
    let document = output.find("{\n").map(|start| serde_json::from_str::<Value>(&output[start..]));
    let Some(Ok(document)) = document else {
        return vec![format!("the audit gave no document:\n{output}")];
    };
    let falsely_told = books.falsely_told();
    let (mut faults, mut found) = (Vec::new(), HashSet::new());
    for difference in document["differences"].as_array().expect("a list of differences") {
        let order_id = difference["order_id"].as_i64();
        match (difference["kind"].as_str(), order_id) {
            (Some("gateway-unclear"), Some(id)) if falsely_told.contains(&id) => (),
            (Some("debit-untold"), Some(id)) if never_looked_at.contains(&id) => {
                found.insert(id);
            }
            _ => faults.push(format!("the audit found a difference: {difference}")),
        }
    }
    let missed = never_looked_at.difference(&found);
    faults.extend(missed.map(|id| format!("the audit did not find that order {id} was debited")));
    faults
}

/// Whether each job of the order's link and settlement fails in this storm.
fn has_defect(plan: &StormPlan, order_id: i64) -> bool {
    plan.defects_last && defect_of(order_id).is_some()
}

/// The faults of outages of one gateway: its breaker opens, and the orders of the others are paid as before.
async fn stopped_by_another(connection: &mut PgConnection, outages: &[GatewayOutage]) -> Vec<String> {
    let mut faults = Vec::new();
    for GatewayOutage { gateway, from_ms, to_ms, was_open } in outages {
        if !was_open {
            faults.push(format!("{gateway} was away, and no process told that its breaker is open"));
        }
        for other in TURNS.iter().filter(|other| *other != gateway) {
            let paid: i64 = sqlx::query_scalar(
                "select count(*) from order_history h join orders o on o.id = h.order_id
                where h.to_status = 'paid' and o.payment_type = $1 and h.at_ms between $2 and $3",
            )
            .bind(other.as_str())
            .bind(from_ms)
            .bind(to_ms)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
            if paid == 0 {
                faults
                    .push(format!("while {gateway} was away for {} ms no order of {other} was paid", to_ms - from_ms));
            }
        }
    }
    faults
}

fn wrong_money(orders: &[OrderRow], debits: &HashMap<i64, Vec<i64>>, reversed: &HashSet<i64>) -> Vec<String> {
    let mut faults = Vec::new();
    for order in orders {
        let OrderRow { id, status, .. } = order;
        let moved = debits.get(id).map_or(&[][..], Vec::as_slice);
        let before_a_person = status == "review" || order.needs_review == 1;
        if status == "paid" && !order.transaction_id.is_some_and(|payer| moved.contains(&payer)) {
            faults.push(format!("order {id} is paid, and the gateway knows of no such debit"));
        }
        let is_given_back = order.transaction_id.is_some_and(|payer| reversed.contains(&payer));
        if status == "refunded" && !is_given_back {
            faults.push(format!("order {id} is refunded, and the gateway has the money"));
        }
        if !matches!(status.as_str(), "paid" | "refunded") && !moved.is_empty() && !before_a_person {
            faults.push(format!("order {id} is {status}, and the gateway took money for it: {moved:?}"));
        }
        if moved.len() > 1 && !before_a_person {
            faults.push(format!("order {id} was paid {} times, and no person was told", moved.len()));
        }
    }
    faults
}

/// The faults about customers: each payment has a paid order, each customer could pay, and only odd orders are before a
/// person.
fn wrong_customers(
    plan: &StormPlan,
    served: &ServedCustomers,
    orders: &[OrderRow],
    books: &Books,
    history: &[HistoryRow],
    refunds: &[RefundRow],
) -> Vec<String> {
    let ((debits, _), falsely_told) = (books.debits(), books.falsely_told());
    let by_id: HashMap<i64, &OrderRow> = orders.iter().map(|order| (order.id, order)).collect();
    let is_end = |line: &&HistoryRow| matches!(line.to_status.as_str(), "expired" | "canceled");
    let ended_before: HashSet<i64> = history.iter().filter(is_end).map(|line| line.order_id).collect();
    let asked_back = served.refunds.iter().map(|(order_id, _)| order_id);
    let given_back: HashSet<i64> = asked_back.chain(&served.cabinet_refunds).copied().collect();
    let unclear: HashSet<i64> =
        refunds.iter().filter(|refund| refund.state == "review").map(|refund| refund.order_id).collect();
    let mut faults = Vec::new();
    for id in &served.payers {
        let status = by_id.get(id).map_or("lost", |order| order.status.as_str());
        let is_paid = status == "paid" || (status == "refunded" && given_back.contains(id));
        if !is_paid && !(status == "review" && (has_defect(plan, *id) || ended_before.contains(id))) {
            faults.push(format!("order {id} was paid by its customer, and is {status}"));
        }
    }
    let turned_away = served.gave_up.iter().filter(|id| !has_defect(plan, **id));
    faults.extend(turned_away.map(|id| format!("the customer of order {id} could not pay")));
    for order in orders.iter().filter(|order| order.status == "review" || order.needs_review == 1) {
        let moved = debits.get(&order.id).map_or(0, Vec::len);
        let is_late = moved == 1 && ended_before.contains(&order.id);
        let is_odd = is_late || moved > 1 || unclear.contains(&order.id) || falsely_told.contains(&order.id);
        if !has_defect(plan, order.id) && !is_odd {
            faults.push(format!("order {} is before a person, and nothing is odd about it", order.id));
        }
    }
    faults
}

/// The faults about refunds: each accepted refund is made once, or is before a person, and no other money went back.
fn wrong_refunds(served: &ServedCustomers, orders: &[OrderRow], refunds: &[RefundRow], books: &Books) -> Vec<String> {
    let mut faults = Vec::new();
    let known: HashMap<i64, &RefundRow> = refunds.iter().map(|refund| (refund.id, refund)).collect();
    for (order_id, id) in &served.refunds {
        if known.get(id).is_none_or(|refund| refund.order_id != *order_id) {
            faults.push(format!("refund {id} of order {order_id} was accepted and is not in the database"));
        }
    }
    let mut orders_with_refund = HashSet::new();
    for RefundRow { id, order_id, state, sent_at_ms, has_job } in refunds {
        if !orders_with_refund.insert(*order_id) {
            faults.push(format!("order {order_id} has a second refund, {id}"));
        }
        let is_asked_about = sent_at_ms.is_some_and(|at_ms| now_ms() - at_ms < ASKED_ABOUT_MS) && *has_job == 1;
        let status = orders.iter().find(|order| order.id == *order_id).map_or("lost", |order| order.status.as_str());
        let is_well = match state.as_str() {
            "done" => status == "refunded",
            "review" => status == "paid",
            "open" => status == "paid" && is_asked_about,
            _ => false, // these gateways refuse no refund
        };
        if !is_well {
            faults
                .push(format!("refund {id} is {state}, sent at {sent_at_ms:?}, and its order {order_id} is {status}"));
        }
    }
    for id in &served.refunds_not_left {
        faults.push(format!("a refund of order {id} by us was not left to Payme's cabinet"));
    }
    let in_cabinet: HashSet<i64> = served.cabinet_refunds.iter().copied().collect();
    for order in orders.iter().filter(|order| in_cabinet.contains(&order.id) && order.status != "refunded") {
        faults.push(format!("order {} was given back in the cabinet, and is {}", order.id, order.status));
    }
    for line in &books.lines {
        let id = line.order_id;
        if line.reversals_asked > 1 {
            faults.push(format!("the gateway was asked more than once to give order {id}'s money back: {line:?}"));
        }
        if line.is_given_back && !orders_with_refund.contains(&id) && !in_cabinet.contains(&id) {
            faults.push(format!("order {id}'s money went back without a refund: {line:?}"));
        }
    }
    faults
}

/// The faults about canceled orders: none may be allowed to be paid.
fn canceled_and_allowed(history: &[HistoryRow]) -> Vec<String> {
    let both = history.iter().filter(|line| {
        matches!(line.from_status.as_deref(), Some("canceled"))
            && matches!(line.to_status.as_str(), "confirming" | "paid")
    });
    both.map(|line| format!("order {} became {} after it was canceled", line.order_id, line.to_status)).collect()
}

/// Defects that last must have struck: each such order ends before a person, and the deadly ones end processes, often.
fn mild_defects(plan: &StormPlan, orders: &[OrderRow], defect_ends: usize) -> Vec<String> {
    if !plan.defects_last {
        return Vec::new();
    }
    let defective = orders.iter().filter(|order| defect_of(order.id).is_some());
    let mild = defective.clone().filter(|order| order.status != "review");
    let mut faults: Vec<String> =
        mild.map(|order| format!("defective order {} is {}", order.id, order.status)).collect();
    let deadly = defective.filter(|order| defect_of(order.id) == Some(Point::DefectKills)).count();
    if defect_ends < 3 * deadly {
        faults.push(format!("{deadly} deadly jobs ended only {defect_ends} processes"));
    }
    faults
}

fn doubled_history(history: &[HistoryRow]) -> Vec<String> {
    let mut faults = Vec::new();
    for pair in history.windows(2) {
        let [before, line] = pair else { continue };
        if before.order_id != line.order_id {
            continue;
        }
        if line.from_status.as_deref() != Some(before.to_status.as_str()) {
            faults.push(format!("the history of order {} is broken at {:?}", line.order_id, line.cause));
        }
        if line.cause == before.cause && line.from_status == before.from_status && line.to_status == before.to_status {
            faults.push(format!("the history of order {} says twice {:?}", line.order_id, line.cause));
        }
    }
    let mut paid: HashMap<i64, usize> = HashMap::new();
    for line in history.iter().filter(|line| line.to_status == "paid" && line.from_status.as_deref() != Some("paid")) {
        *paid.entry(line.order_id).or_default() += 1;
    }
    faults.extend(paid.iter().filter(|(_, times)| **times > 1).map(|(id, _)| format!("order {id} became paid twice")));
    // The cause names the transaction.
    let mut allowed = HashSet::new();
    for line in history.iter().filter(|line| line.to_status == "confirming") {
        if line.from_status.as_deref() != Some("confirming") && !allowed.insert((line.order_id, line.cause.as_str())) {
            faults
                .push(format!("order {} became confirming twice for one transaction: {:?}", line.order_id, line.cause));
        }
    }
    faults
}

fn innocent_dead_letters(dead: &[DeadRow]) -> Vec<String> {
    let innocent = dead.iter().filter(|job| {
        let is_about_an_order = matches!(job.kind.as_str(), "create_payment_link" | "settle_order");
        !is_about_an_order || defect_of(job.subject_id).is_none()
    });
    let tell = |job: &DeadRow| {
        format!("job {} ({} of {}) is a dead letter: {:?}", job.id, job.kind, job.subject_id, job.last_error)
    };
    innocent.map(tell).collect()
}
