//! What a call of a gateway wrote, seen from outside, in the words of the pages of decisions.

use std::collections::BTreeMap;

use domain::order::{Order, OrderStatus};
use domain::transaction::{StoredState, StoredTransaction};
use store::{callbacks, transactions};

use super::fixture::Fixture;

/// The most callbacks that a walk through a table keeps.
const CALLBACKS: i64 = 10_000;

/// What the database says before or after a call.
pub(crate) struct Seen {
    /// By the gateway's ids.
    rows: BTreeMap<String, String>,
    history: Vec<(Option<&'static str>, &'static str)>,
    status: OrderStatus,
    /// By their numbers: how often each came, its verdict, and whether it stands with an order.
    callbacks: BTreeMap<i64, (i64, String, bool)>,
}

impl Seen {
    pub(crate) async fn of(f: &Fixture, order: &Order) -> Self {
        let rows = transactions::of_order(&f.store, order.id).await.unwrap();
        let kept = callbacks::newest(&f.store, CALLBACKS).await.unwrap();
        Seen {
            rows: rows.iter().map(|row| (row.external_id.clone().unwrap(), words(row))).collect(),
            history: f.history(order).await,
            status: f.find(order).await.status,
            callbacks: kept
                .into_iter()
                .map(|kept| (kept.id.0, (kept.seen_count, kept.verdict.as_str().to_owned(), kept.order_id.is_some())))
                .collect(),
        }
    }

    /// The verdict of the one call that came between `self` and `after`, if it is kept, and whether with an order.
    fn kept(&self, after: &Seen) -> Option<(String, bool)> {
        let mut new = after.callbacks.iter().filter(|(id, kept)| self.callbacks.get(id) != Some(kept));
        let kept = new.next().map(|(_, (_, verdict, has_order))| (verdict.clone(), *has_order));
        assert_eq!(new.next(), None, "one call is kept once");
        kept
    }

    /// The cell of a table of answers: the answer, and the verdict under which the call is kept.
    pub(crate) fn answered(&self, after: &Seen, answer: &str) -> String {
        match self.kept(after) {
            Some((verdict, true)) => format!("{answer} `{verdict}`"),
            Some((verdict, false)) => format!("{answer} `{verdict}`, alone"),
            None => answer.to_owned(),
        }
    }

    /// The cells of a table of what is written, the transaction and the order; `None` where neither changed. `external_id` is
    /// the id that the call names.
    pub(crate) fn written(&self, after: &Seen, external_id: &str) -> Option<[String; 2]> {
        let none = "none".to_owned();
        let mut changes = Vec::new();
        for (id, row) in &after.rows {
            let before = self.rows.get(id).unwrap_or(&none);
            if before != row {
                let other = if id == external_id { "" } else { "the other's: " };
                changes.push(format!("{other}{before} → {row}"));
            }
        }
        let lines = after.history.iter().skip(self.history.len());
        let lines: Vec<String> =
            lines.map(|(from, to)| format!("`{}` → `{to}`", from.unwrap_or(after.status.as_str()))).collect();
        if changes.is_empty() && lines.is_empty() {
            assert_eq!(self.status, after.status, "a status changes with a line of history");
            return None;
        }
        let order = if lines.is_empty() { format!("stays `{}`", after.status) } else { lines.join(", ") };
        Some([changes.join("; "), order])
    }
}

/// A transaction's row as a page writes it.
fn words(row: &StoredTransaction) -> String {
    let is_unpaid = matches!(row.state, StoredState::Open | StoredState::Closed);
    let mut words = format!("`{}`", row.state);
    if row.state == StoredState::Open && row.closed_at_ms.is_some() {
        words += ", a failure told";
    }
    words += &row.close_code.map(|code| format!(" ({code})")).unwrap_or_default();
    if is_unpaid && row.debited_at_ms.is_some() {
        words += ", a debit told";
    }
    words
}

/// A gateway's situations and its calls, walked: the two tables of its page.
#[derive(Default)]
pub(crate) struct Walk<const CALLS: usize> {
    answers: Vec<Vec<String>>,
    written: Vec<[String; 4]>,
    situation: String,
}

impl<const CALLS: usize> Walk<CALLS> {
    /// The calls that follow are made in this situation.
    pub(crate) fn begin(&mut self, situation: &str) {
        situation.clone_into(&mut self.situation);
        self.answers.push(vec![situation.to_owned()]);
    }

    /// The table says nothing about the next call.
    pub(crate) fn skip(&mut self) {
        self.answers.last_mut().unwrap().push("–".to_owned());
    }

    /// A call was answered so.
    pub(crate) fn add(&mut self, call: &str, answer: &str, external_id: &str, before: &Seen, after: &Seen) {
        self.answers.last_mut().unwrap().push(before.answered(after, answer));
        if let Some([transaction, order]) = before.written(after, external_id) {
            self.written.push([self.situation.clone(), call.to_owned(), transaction, order]);
        }
    }

    /// The page has the two tables as they were walked.
    pub(crate) fn compare(self, page: &str, calls: [&str; CALLS]) {
        let columns: Vec<&str> = ["situation"].into_iter().chain(calls).collect();
        let lines = [columns.iter().map(|name| (*name).to_owned()).collect(), vec!["---".to_owned(); columns.len()]];
        let lines = lines.into_iter().chain(self.answers).map(|cells| {
            assert_eq!(cells.len(), columns.len(), "{cells:?}");
            format!("| {} |\n", cells.join(" | "))
        });
        documents::part(page, "answers", &lines.collect::<String>());
        let written = documents::table(["situation", "call", "transaction", "order"], self.written);
        documents::part(page, "written", &written);
    }
}
