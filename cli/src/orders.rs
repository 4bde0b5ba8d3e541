//! `tasdiq orders …`: one order's whole story, asking the gateway for the truth, and deciding what waits for a person.

use domain::fiscal::FiscalReceipt;
use domain::id::{OrderId, TransactionId};
use domain::job::Job;
use domain::money::som;
use domain::order::{HistoryLine, Order, PaymentType, Resolution, SuggestedAct};
use domain::review::{FindingKind, ReviewFinding};
use domain::time::rfc3339;
use domain::transaction::StoredTransaction;
use serde::Serialize;
use serde_json::{Value, json};
use store::callbacks::{self, StoredCallback};
use store::kinds;
use store::transactions;
use store::{Store, findings, fiscal_receipts, jobs, orders, refunds};

use crate::arguments::{OrdersCommand, Output};
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::jobs::{JobView, job_lines};
use crate::output::{lines, plain, print, print_json, table};
use crate::refunds::{RefundView, refund_lines};

mod list;
mod naming;
mod resolve;
mod review;

/// Runs one of the commands.
///
/// # Errors
/// The database is away, there is no such order, or it cannot be resolved so.
pub(crate) async fn run(config: &Config, command: OrdersCommand) -> Result<(), Exit> {
    let store = open_store(config).await?;
    match command {
        OrdersCommand::List(filter) => list::run(&store, *filter).await,
        OrdersCommand::Show(named) => show(&store, naming::find(&store, &named).await?, named.output).await,
        OrdersCommand::Reconcile { id, output } => reconcile(&store, id, output).await,
        OrdersCommand::Review { limit, output } => review::run(&store, limit, output).await,
        OrdersCommand::Resolve(arguments) => resolve::run(&store, arguments).await,
        OrdersCommand::Refund { id, because, output } => crate::refunds::refund(&store, id, because, output).await,
        OrdersCommand::Cancel { id, because, output } => crate::refunds::cancel(&store, id, because, output).await,
    }
}

async fn show(store: &Store, order: Order, output: Output) -> Result<(), Exit> {
    let id = order.id;
    let findings = findings::of_order(store, &order).await?;
    let story = Story {
        order: order.into(),
        findings: findings.into_iter().map(FindingView::from).collect(),
        history: orders::history(store, id).await?.into_iter().map(HistoryView::from).collect(),
        transactions: transactions::of_order(store, id).await?.into_iter().map(TransactionView::from).collect(),
        refunds: refunds::of_order(store, id).await?.into_iter().map(RefundView::from).collect(),
        callbacks: callbacks::of_order(store, id).await?.into_iter().map(CallbackView::from).collect(),
        fiscal_receipts: fiscal_receipts::of_order(store, id).await?.into_iter().map(FiscalView::from).collect(),
        jobs: kinds::jobs_of_order(store, id).await?.into_iter().map(JobView::from).collect(),
    };
    if output.json {
        return Ok(print_json(&story)?);
    }
    Ok(print(&story.text())?)
}

/// Stages one inquiry; the worker writes its result, as always.
async fn reconcile(store: &Store, id: OrderId, output: Output) -> Result<(), Exit> {
    find(store, id).await?;
    jobs::stage_now(store, Job::SettleOrder { order_id: id }).await?;
    if output.json {
        return Ok(print_json(&json!({ "order_id": id, "staged": "settle_order" }))?);
    }
    Ok(print(&format!("the gateway will be asked about order {id}; `tasdiq orders show {id}` tells what it said"))?)
}

async fn find(store: &Store, id: OrderId) -> Result<Order, Exit> {
    orders::find(store, id).await?.ok_or_else(|| Exit::failed(format!("there is no order {id}")))
}

/// Everything that is known about one order. Its token and the callbacks' bodies stay out: they open its pages.
#[derive(Debug, Serialize)]
struct Story {
    order: OrderView,
    /// The findings that a person must know, oldest first.
    findings: Vec<FindingView>,
    history: Vec<HistoryView>,
    transactions: Vec<TransactionView>,
    refunds: Vec<RefundView>,
    callbacks: Vec<CallbackView>,
    /// The fiscal receipts that the gateway told us of.
    fiscal_receipts: Vec<FiscalView>,
    jobs: Vec<JobView>,
}

/// The order under the names of the order API.
#[derive(Debug, Serialize)]
struct OrderView {
    order_id: OrderId,
    status: &'static str,
    needs_review: bool,
    reason: Option<String>,
    /// The suggested act, while the order waits for a person.
    suggested_act: Option<&'static str>,
    resolution: Option<ResolutionView>,
    amount: String,
    refunded_amount: String,
    product_name: String,
    /// Null until the customer has chosen one.
    payment_type: Option<&'static str>,
    reference: Option<String>,
    /// The shop that sells.
    shop: String,
    api_key_name: String,
    /// Null until the customer has chosen one.
    gateway: Option<String>,
    transaction_id: Option<TransactionId>,
    allowed_transaction_id: Option<TransactionId>,
    payment_url: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    final_at: Option<String>,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        let must_look = order.is_before_a_person();
        let payment_type = order.payment_type();
        OrderView {
            order_id: order.id,
            status: order.status.as_str(),
            needs_review: order.needs_review,
            reason: order.reason,
            suggested_act: order.suggested_act.filter(|_| must_look).map(SuggestedAct::sentence),
            resolution: order.resolution.map(ResolutionView::from),
            amount: order.amount.to_string(),
            refunded_amount: som(order.refunded_amount),
            product_name: order.product_name,
            payment_type: payment_type.map(PaymentType::as_str),
            reference: order.reference,
            shop: order.shop.to_string(),
            api_key_name: order.api_key_name,
            gateway: order.account.map(|account| account.gateway.0),
            transaction_id: order.transaction_id,
            allowed_transaction_id: order.allowed_transaction_id,
            payment_url: order
                .payment_url
                .as_ref()
                .zip(payment_type)
                .map(|(url, payment_type)| without_return_address(payment_type, url)),
            created_at: rfc3339(order.created_at_ms),
            expires_at: order.expires_at_ms.map(rfc3339),
            final_at: order.final_at_ms.map(rfc3339),
        }
    }
}

/// One thing that a person must know about an order.
#[derive(Debug, Serialize)]
struct FindingView {
    /// Its number within the order; none while only an older release has written it.
    number: Option<i64>,
    kind: FindingKind,
    text: String,
    found_at: String,
    transaction_id: Option<TransactionId>,
    suggested_act: SuggestedAct,
    /// The suggested act in full.
    act: &'static str,
}

impl From<ReviewFinding> for FindingView {
    fn from(finding: ReviewFinding) -> Self {
        FindingView {
            number: Some(finding.number).filter(|number| *number > 0),
            kind: finding.kind,
            text: finding.text,
            found_at: rfc3339(finding.found_at_ms),
            transaction_id: finding.transaction_id,
            suggested_act: finding.act,
            act: finding.act.sentence(),
        }
    }
}

/// The last decision of a person about an order.
#[derive(Debug, Serialize)]
struct ResolutionView {
    by: String,
    reason: String,
    transaction_id: Option<TransactionId>,
}

impl From<Resolution> for ResolutionView {
    fn from(resolution: Resolution) -> Self {
        ResolutionView { by: resolution.by, reason: resolution.reason, transaction_id: resolution.transaction_id }
    }
}

#[derive(Debug, Serialize)]
struct HistoryView {
    at: String,
    from: Option<&'static str>,
    to: &'static str,
    cause: String,
}

impl From<HistoryLine> for HistoryView {
    fn from(line: HistoryLine) -> Self {
        HistoryView {
            at: rfc3339(line.at_ms),
            from: line.from.map(|status| status.as_str()),
            to: line.to.as_str(),
            cause: line.cause,
        }
    }
}

#[derive(Debug, Serialize)]
struct TransactionView {
    transaction_id: TransactionId,
    /// The gateway's own id, by which its support knows it, where our number is not the gateway's.
    external_id: Option<String>,
    state: &'static str,
    /// The amount that we asked for.
    amount: String,
    /// The amount of the debit, as the gateway reported it.
    seen_amount: Option<String>,
    /// When an inquiry last saw the state change.
    looked_at: Option<String>,
    success_transaction_id: Option<TransactionId>,
}

impl From<StoredTransaction> for TransactionView {
    fn from(transaction: StoredTransaction) -> Self {
        TransactionView {
            transaction_id: transaction.transaction_id,
            external_id: transaction.external_id,
            state: transaction.state.as_str(),
            amount: som(transaction.amount),
            seen_amount: transaction.seen_amount.map(som),
            looked_at: transaction.looked_at_ms.map(rfc3339),
            success_transaction_id: transaction.success_transaction_id,
        }
    }
}

#[derive(Debug, Serialize)]
struct CallbackView {
    received_at: String,
    transaction_id: Option<TransactionId>,
    verdict: String,
    seen_count: i64,
    address: Option<String>,
}

impl From<StoredCallback> for CallbackView {
    fn from(callback: StoredCallback) -> Self {
        CallbackView {
            received_at: rfc3339(callback.received_at_ms),
            transaction_id: callback.transaction_id,
            verdict: callback.verdict.to_string(),
            seen_count: callback.seen_count,
            address: callback.address,
        }
    }
}

/// A fiscal receipt as the gateway told it.
#[derive(Debug, Serialize)]
struct FiscalView {
    transaction_id: TransactionId,
    kind: &'static str,
    received_at: String,
    /// The gateway's own object.
    data: Value,
}

impl From<FiscalReceipt> for FiscalView {
    fn from(receipt: FiscalReceipt) -> Self {
        FiscalView {
            transaction_id: receipt.transaction_id,
            kind: receipt.kind.as_str(),
            received_at: rfc3339(receipt.received_at_ms),
            data: serde_json::from_str(&receipt.data).unwrap_or(Value::String(receipt.data)),
        }
    }
}

impl Story {
    fn text(&self) -> String {
        let mut text = self.order.text();
        let mut history = table(&["at", "from", "to", "cause"]);
        for line in &self.history {
            history.add_row([line.at.as_str(), line.from.unwrap_or("-"), line.to, &plain(&line.cause)]);
        }
        let mut transactions =
            table(&["transaction", "gateway's id", "state", "amount", "seen amount", "permanent id"]);
        for seen in &self.transactions {
            let id = seen.transaction_id.to_string();
            let permanent = number(seen.success_transaction_id);
            let seen_amount = seen.seen_amount.as_deref().unwrap_or("-");
            let external = seen.external_id.as_deref().map_or("-".to_owned(), plain);
            transactions.add_row([&id, &external, seen.state, seen.amount.as_str(), seen_amount, permanent.as_str()]);
        }
        let mut callbacks = table(&["first came", "transaction", "verdict", "times", "last from"]);
        for callback in &self.callbacks {
            let (transaction, times) = (number(callback.transaction_id), callback.seen_count.to_string());
            let address = callback.address.as_deref().unwrap_or("-");
            callbacks.add_row([callback.received_at.as_str(), &transaction, &callback.verdict, &times, address]);
        }
        let mut fiscal = table(&["received at", "transaction", "kind", "data"]);
        for receipt in &self.fiscal_receipts {
            let (transaction, data) = (receipt.transaction_id.to_string(), receipt.data.to_string());
            fiscal.add_row([receipt.received_at.as_str(), &transaction, receipt.kind, &plain(&data)]);
        }
        let mut findings = table(&["number", "found at", "kind", "found", "to do"]);
        for finding in &self.findings {
            let (kind, act) = (finding.kind.as_str(), finding.suggested_act.as_str());
            let number = finding.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            findings.add_row([number.as_str(), &finding.found_at, kind, &plain(&finding.text), act]);
        }
        for (title, rows, part) in [
            ("findings", self.findings.len(), lines(&findings)),
            ("history", self.history.len(), lines(&history)),
            ("transactions", self.transactions.len(), lines(&transactions)),
            ("refunds", self.refunds.len(), refund_lines(&self.refunds)),
            ("callbacks", self.callbacks.len(), lines(&callbacks)),
            ("fiscal receipts", self.fiscal_receipts.len(), lines(&fiscal)),
            ("jobs", self.jobs.len(), job_lines(&self.jobs)),
        ] {
            text.push_str(&format!("\n\n{title}"));
            text.push_str(&if rows == 0 { ": none".to_owned() } else { format!("\n{part}") });
        }
        text
    }
}

/// The gateway's page without where it sends the customer back to: that address holds the order's token.
fn without_return_address(payment_type: PaymentType, payment_url: &str) -> String {
    let before = match payment_type {
        PaymentType::Atmos => payment_url.split_once("&redirectLink="),
        PaymentType::Click => payment_url.split_once("&return_url="),
        // All that the link says is in one word of Base64.
        PaymentType::Payme => payment_url.rsplit_once('/'),
    };
    before.map_or(payment_url, |(page, _)| page).to_owned()
}

impl OrderView {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("order {}", self.order_id),
            format!("  status     {}{}", self.status, if self.needs_review { ", needs review" } else { "" }),
        ];
        if let Some(reason) = &self.reason {
            lines.push(format!("  reason     {}", plain(reason)));
        }
        if let Some(act) = self.suggested_act {
            lines.push(format!("  to do      {act}; `tasdiq orders review` has the commands"));
        }
        if let Some(resolution) = &self.resolution {
            lines.push(format!("  resolved   by {}: {}", plain(&resolution.by), plain(&resolution.reason)));
        }
        lines.push(format!("  amount     {} soʻm, refunded {}", self.amount, self.refunded_amount));
        lines.push(format!("  product    {}", plain(&self.product_name)));
        let made_with = match self.api_key_name.as_str() {
            "" => String::new(),
            name => format!(", made with the API key {}", plain(name)),
        };
        lines.push(format!("  shop       {}{made_with}", plain(&self.shop)));
        if let Some(reference) = &self.reference {
            lines.push(format!("  reference  {}", plain(reference)));
        }
        lines.push(match &self.gateway {
            Some(gateway) => format!("  gateway    {gateway}, transaction {}", number(self.transaction_id)),
            None => "  gateway    the customer has not chosen one yet".to_owned(),
        });
        lines.push(format!("  link       {}", self.payment_url.as_deref().map_or("-".to_owned(), plain)));
        lines.push(format!("  made       {}", self.created_at));
        lines.push(format!("  expires    {}", self.expires_at.as_deref().unwrap_or("-")));
        lines.join("\n")
    }
}

fn number(id: Option<TransactionId>) -> String {
    id.map_or_else(|| "-".to_owned(), |id| id.to_string())
}
