//! `tasdiq orders review`: the orders that wait for a person, with what was found and what to type next.

use domain::id::{JobId, OrderId};
use domain::job::JobState;
use domain::order::{OrderStatus, SuggestedAct};
use domain::review::ReviewFinding;
use domain::time::rfc3339;
use domain::transaction::StoredState;
use serde::Serialize;
use store::kinds;
use store::reviewing::{self, WaitingOrder};
use store::{Store, Unreadable};

use super::{FindingView, ResolutionView, TransactionView};
use crate::arguments::Output;
use crate::exit::Exit;
use crate::output::{plain, print, print_json};

/// Lists them, those that have waited longest first.
///
/// # Errors
/// The database is away.
pub(super) async fn run(store: &Store, limit: u16, output: Output) -> Result<(), Exit> {
    let mut views = Vec::new();
    let waiting = reviewing::waiting(store, limit.into()).await?;
    let unreadable: Vec<UnreadableView> = waiting.unreadable.into_iter().map(UnreadableView::from).collect();
    for waiting in waiting.orders {
        let jobs = kinds::jobs_of_order(store, waiting.order.id).await?;
        let dead: Vec<JobId> = jobs.iter().filter(|job| job.state == JobState::Dead).map(|job| job.id).collect();
        views.push(WaitingView::new(waiting, &dead));
    }
    if output.json {
        let all: Vec<_> = unreadable
            .into_iter()
            .map(View::Unreadable)
            .chain(views.into_iter().map(|view| View::Waiting(Box::new(view))))
            .collect();
        return Ok(print_json(&all)?);
    }
    if views.is_empty() && unreadable.is_empty() {
        return Ok(print("no order waits for a person")?);
    }
    let texts = unreadable.iter().map(UnreadableView::text).chain(views.iter().map(WaitingView::text));
    Ok(print(&texts.collect::<Vec<_>>().join("\n\n"))?)
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum View {
    Waiting(Box<WaitingView>),
    Unreadable(UnreadableView),
}

/// An order that waits for a person and cannot be read.
#[derive(Debug, Serialize)]
struct UnreadableView {
    order_id: OrderId,
    unreadable: String,
}

impl From<Unreadable> for UnreadableView {
    fn from(Unreadable { order_id, what }: Unreadable) -> Self {
        UnreadableView { order_id, unreadable: what }
    }
}

impl UnreadableView {
    fn text(&self) -> String {
        format!(
            "order {}  cannot be read by this release: {}\n  to do  use the release that wrote it, or mend its row in the database",
            self.order_id,
            plain(&self.unreadable)
        )
    }
}

/// An order that waits for a person, as it is printed.
#[derive(Debug, Serialize)]
struct WaitingView {
    order_id: OrderId,
    status: &'static str,
    needs_review: bool,
    amount: String,
    /// The shop that sells.
    shop: String,
    /// The gateway account through which it is paid; null until the customer has chosen one.
    gateway: Option<String>,
    since: String,
    reason: Option<String>,
    suggested_act: Option<SuggestedAct>,
    /// The suggested act in full.
    act: Option<&'static str>,
    /// The findings, oldest first, each with its act.
    findings: Vec<FindingView>,
    /// A decision about which the gateway is being asked.
    resolution: Option<ResolutionView>,
    transactions: Vec<TransactionView>,
    commands: Vec<String>,
}

impl WaitingView {
    fn new(waiting: WaitingOrder, dead: &[JobId]) -> Self {
        let commands = commands(&waiting, dead);
        let WaitingOrder { order, findings, since_ms, transactions } = waiting;
        let is_asked = order.claimed_payment().is_some();
        WaitingView {
            order_id: order.id,
            status: order.status.as_str(),
            needs_review: order.needs_review,
            amount: order.amount.to_string(),
            shop: order.shop.to_string(),
            gateway: order.account.map(|account| account.gateway.0),
            since: rfc3339(since_ms),
            reason: order.reason,
            suggested_act: order.suggested_act,
            act: order.suggested_act.map(SuggestedAct::sentence),
            findings: findings.into_iter().map(FindingView::from).collect(),
            resolution: order.resolution.filter(|_| is_asked).map(ResolutionView::from),
            transactions: transactions.into_iter().map(TransactionView::from).collect(),
            commands,
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![format!(
            "order {}  {}{}  {} soʻm, waits since {}",
            self.order_id,
            self.status,
            if self.needs_review { ", needs review" } else { "" },
            self.amount,
            self.since,
        )];
        let gateway = self.gateway.as_deref().unwrap_or("an account that the customer has not chosen yet");
        lines.push(format!("  shop   {}, paid through {}", plain(&self.shop), plain(gateway)));
        match self.findings.as_slice() {
            [] => lines.push("  found  the reason was not recorded".to_owned()),
            [one] => lines.push(format!("  found  {}", plain(&one.text))),
            // Each with what is to be done about it, or one might be taken for the other's.
            several => {
                for finding in several {
                    lines.push(format!("  found  {} ({})", plain(&finding.text), finding.found_at));
                    lines.push(format!("  to do  {}", finding.act));
                }
            }
        }
        for seen in &self.transactions {
            let amount = seen.seen_amount.as_ref().map_or(String::new(), |amount| format!(", {amount} soʻm"));
            let since = seen.looked_at.as_ref().map_or(String::new(), |at| format!(", seen {at}"));
            lines.push(format!("  money  transaction {}: {}{amount}{since}", seen.transaction_id, seen.state));
        }
        if let Some(resolution) = &self.resolution {
            let (by, reason) = (plain(&resolution.by), plain(&resolution.reason));
            lines.push(format!("  asked  {by} resolved it as paid, and the gateway is being asked: {reason}"));
        }
        if let [one] = self.findings.as_slice() {
            lines.push(format!("  to do  {}", one.act));
        }
        for (number, command) in self.commands.iter().enumerate() {
            lines.push(format!("  {}  {command}", if number == 0 { "type " } else { "     " }));
        }
        lines.join("\n")
    }
}

/// The commands that an operator may type next about an order; NAME and TEXT are for the operator to fill in.
fn commands(waiting: &WaitingOrder, dead: &[JobId]) -> Vec<String> {
    let order = &waiting.order;
    let id = order.id;
    // The decision covers only the findings that the operator has read here, and none that come later.
    let numbers = waiting.findings.iter().map(|finding| finding.number).filter(|number| *number > 0);
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let read = if numbers.is_empty() { String::new() } else { format!(" --findings {}", numbers.join(",")) };
    let resolve = |status: OrderStatus| format!("tasdiq orders resolve {id} {status} --by NAME --reason TEXT{read}");
    let mut commands: Vec<String> = dead.iter().map(|job| format!("tasdiq jobs show {job}")).collect();
    if order.claimed_payment().is_some() {
        commands.push(resolve(OrderStatus::Review)); // takes the decision back
        return commands;
    }
    if order.status != OrderStatus::Review {
        commands.push(format!("tasdiq orders reconcile {id}"));
        commands.push(resolve(order.status));
        let asks_about_refund = waiting.findings.iter().any(ReviewFinding::is_about_refund);
        if asks_about_refund && order.status == OrderStatus::Paid {
            commands.push(resolve(OrderStatus::Refunded));
        }
        return commands;
    }
    commands.push(format!("tasdiq orders reconcile {id}"));
    let debited = waiting.transactions.iter().filter(|row| row.state == StoredState::Debited);
    let paying = debited.map(|row| format!("{} --transaction-id {}", resolve(OrderStatus::Paid), row.transaction_id));
    let by_name: Vec<String> = paying.collect();
    if by_name.is_empty() && !waiting.transactions.is_empty() {
        commands.push(format!("{} --transaction-id N", resolve(OrderStatus::Paid)));
    }
    commands.extend(by_name);
    if !waiting.transactions.is_empty() {
        commands.push(resolve(OrderStatus::Refunded));
    }
    commands.push(resolve(OrderStatus::Canceled));
    commands
}
