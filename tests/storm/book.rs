//! The gateways' own books, line by line beside our rows of their transactions.

use std::collections::{HashMap, HashSet};

use domain::order::PaymentType;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use crate::support::patient::Patient;

/// A line of a gateway's own book: one draft, receipt or attempt.
#[derive(Clone, Debug)]
pub(crate) struct BookLine {
    pub(crate) gateway: PaymentType,
    pub(crate) order_id: i64,
    /// The gateway's own number.
    pub(crate) external_id: String,
    /// Our number, as the gateway learned it.
    our_id: Option<i64>,
    /// In tiyin.
    amount: i64,
    pub(crate) debits: i64,
    pub(crate) is_given_back: bool,
    /// How often we asked to give the money back.
    pub(crate) reversals_asked: i64,
    /// Our times of Perform and Cancel, as Payme learned them.
    perform_time: Option<i64>,
    cancel_time: Option<i64>,
    /// Whether the bank declined, at Click.
    pub(crate) is_declined: bool,
}

/// A transaction as we recorded it.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct TransactionRow {
    gateway: String,
    transaction_id: i64,
    external_id: Option<String>,
    order_id: i64,
    amount: i64,
    state: String,
    debited_at_ms: Option<i64>,
    closed_at_ms: Option<i64>,
}

impl TransactionRow {
    fn payment_type(&self) -> PaymentType {
        let (account, _) = self.gateway.split_once(':').unwrap();
        match account {
            "sandbox" => PaymentType::Atmos,
            "sandbox-payme" => PaymentType::Payme,
            "sandbox-click" => PaymentType::Click,
            other => panic!("{other}"),
        }
    }
}

/// The books of all gateways, and our rows.
pub(crate) struct Books {
    pub(crate) lines: Vec<BookLine>,
    rows: Vec<TransactionRow>,
    /// Our row of each line, by the gateway and its number.
    by_external: HashMap<(PaymentType, String), TransactionRow>,
}

impl Books {
    pub(crate) async fn read(patient: &Patient, connection: &mut PgConnection) -> Books {
        let rows: Vec<TransactionRow> = sqlx::query_as(
            "select gateway, transaction_id, external_id, order_id, amount, state, debited_at_ms, closed_at_ms
            from transactions",
        )
        .fetch_all(connection)
        .await
        .unwrap();
        let book = async |path, lines| patient.book(path, lines).await.expect("a book");
        let mut lines: Vec<BookLine> = book("/_sim/ledger", "transactions").await.iter().map(of_atmos).collect();
        lines.extend(book("/payme/_sim/ledger", "receipts").await.iter().map(of_payme));
        lines.extend(book("/click/_sim/ledger", "transactions").await.iter().map(of_click));
        let by_external = rows
            .iter()
            .map(|row| {
                let external = row.external_id.clone().unwrap_or_else(|| row.transaction_id.to_string());
                ((row.payment_type(), external), row.clone())
            })
            .collect();
        Books { lines, rows, by_external }
    }

    /// Our row of a line.
    pub(crate) fn row_of(&self, line: &BookLine) -> Option<&TransactionRow> {
        self.by_external.get(&(line.gateway, line.external_id.clone()))
    }

    /// Our transactions that took money, by order, and those whose money went back.
    pub(crate) fn debits(&self) -> (HashMap<i64, Vec<i64>>, HashSet<i64>) {
        let (mut debits, mut given_back): (HashMap<i64, Vec<i64>>, _) = (HashMap::new(), HashSet::new());
        for line in self.lines.iter().filter(|line| line.debits > 0) {
            // A line without a row of ours is a fault of its own.
            let id = self.row_of(line).map_or(-1, |row| row.transaction_id);
            debits.entry(line.order_id).or_default().push(id);
            if line.is_given_back {
                given_back.insert(id);
            }
        }
        (debits, given_back)
    }

    /// How many attempts the bank declined.
    pub(crate) fn declined(&self) -> usize {
        self.lines.iter().filter(|line| line.is_declined).count()
    }

    /// Orders of which a debit was told that the gateway never made: `error` is not signed in a Complete of Click's.
    pub(crate) fn falsely_told(&self) -> HashSet<i64> {
        let false_lines = self.lines.iter().filter(|line| line.debits == 0);
        let told = false_lines.filter_map(|line| self.row_of(line)).filter(|row| row.debited_at_ms.is_some());
        told.map(|row| row.order_id).collect()
    }

    /// Orders whose debit no inquiry has looked at: a lasting defect ends each of their inquiries, as `has_defect` says.
    pub(crate) fn never_looked_at(&self, has_defect: impl Fn(i64) -> bool) -> HashSet<i64> {
        let debits = self.lines.iter().filter(|line| line.debits > 0 && has_defect(line.order_id));
        let rows = debits.filter_map(|line| self.row_of(line));
        rows.filter(|row| row.state == "open").map(|row| row.order_id).collect()
    }

    /// Whether an attempt holds the order for us.
    pub(crate) fn is_held(&self, order_id: i64) -> bool {
        self.rows.iter().any(|row| row.order_id == order_id && row.state == "open")
    }

    /// Whether no gateway has taken money for the order.
    pub(crate) fn is_without_money(&self, order_id: i64) -> bool {
        self.lines.iter().filter(|line| line.order_id == order_id).all(|line| line.debits == 0)
    }

    /// Each difference between a gateway's book and our rows. `unclear` are orders with a refund whose outcome is not known
    /// to us yet, `never_looked_at` those of [`Books::never_looked_at`].
    pub(crate) fn differences(&self, unclear: &HashSet<i64>, never_looked_at: &HashSet<i64>) -> Vec<String> {
        let mut faults = Vec::new();
        for line in &self.lines {
            let name = format!("{} {} of order {}", line.gateway.as_str(), line.external_id, line.order_id);
            if line.debits > 1 {
                faults.push(format!("{name} was debited {} times", line.debits));
            }
            let Some(row) = self.row_of(line) else {
                if line.debits > 0 {
                    faults.push(format!("{name} was debited, and we have no row of it"));
                }
                continue;
            };
            if (row.order_id, row.amount) != (line.order_id, line.amount) {
                faults.push(format!("{name} is another payment than our row {row:?}: {line:?}"));
            }
            if line.our_id.is_some_and(|our_id| our_id != row.transaction_id) {
                faults.push(format!("{name} was told another number than that of our row {row:?}: {line:?}"));
            }
            let state = match (line.debits > 0, line.is_given_back) {
                (true, true) if unclear.contains(&line.order_id) => continue,
                // Payme takes back what it could not close, too.
                (true, true) if line.gateway == PaymentType::Payme && line.perform_time.is_none() => "closed",
                (true, true) => "reversed",
                (true, false) if never_looked_at.contains(&line.order_id) => "open",
                (true, false) => "debited",
                (false, _) if matches!(row.state.as_str(), "open" | "closed") => continue,
                (false, _) => "without money",
            };
            if row.state != state {
                faults.push(format!("{name} is {} for us, and {state} for the gateway", row.state));
            }
            for (what, told, kept) in
                [("Perform", line.perform_time, row.debited_at_ms), ("Cancel", line.cancel_time, row.closed_at_ms)]
            {
                if told.is_some() && told != kept {
                    faults.push(format!("{name}: {what} was answered with {told:?}, and the row has {kept:?}"));
                }
            }
        }
        let known: HashSet<(PaymentType, &str)> =
            self.lines.iter().map(|line| (line.gateway, line.external_id.as_str())).collect();
        for row in self.rows.iter().filter(|row| !matches!(row.state.as_str(), "open" | "closed")) {
            let external = row.external_id.clone().unwrap_or_else(|| row.transaction_id.to_string());
            if !known.contains(&(row.payment_type(), external.as_str())) {
                faults.push(format!("the gateway's book has no line of our row {row:?}"));
            }
        }
        faults
    }
}

fn of_atmos(line: &Value) -> BookLine {
    let id = line["transaction_id"].as_i64().unwrap();
    BookLine {
        our_id: Some(id),
        external_id: id.to_string(),
        is_given_back: line["state"] == "reversed",
        is_declined: false,
        ..of_any(PaymentType::Atmos, line)
    }
}

fn of_payme(line: &Value) -> BookLine {
    BookLine {
        external_id: line["id"].as_str().unwrap().to_owned(),
        our_id: line["transaction"].as_str().map(|id| id.parse().unwrap()),
        is_given_back: line["returns"].as_i64() > Some(0),
        is_declined: false,
        ..of_any(PaymentType::Payme, line)
    }
}

fn of_click(line: &Value) -> BookLine {
    BookLine {
        external_id: line["click_trans_id"].as_i64().unwrap().to_string(),
        our_id: line["merchant_prepare_id"].as_i64(),
        is_given_back: line["state"] == "reversed",
        is_declined: line["state"] == "closed" && line["merchant_prepare_id"].is_i64(),
        ..of_any(PaymentType::Click, line)
    }
}

/// What all books have in common.
fn of_any(gateway: PaymentType, line: &Value) -> BookLine {
    BookLine {
        gateway,
        order_id: line["account"].as_str().unwrap().parse().unwrap(),
        external_id: String::new(),
        our_id: None,
        amount: line["amount"].as_i64().unwrap(),
        debits: line["debits"].as_i64().unwrap(),
        is_given_back: false,
        reversals_asked: line["reversals_asked"].as_i64().unwrap_or_default(),
        perform_time: line["perform_time"].as_i64(),
        cancel_time: line["cancel_time"].as_i64(),
        is_declined: false,
    }
}
