//! The report of an audit, for people and for machines.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Difference, Kind, Severity};
use serde::Serialize;

use super::word::WordSource;
use crate::output::{lines, short, table};

/// The most information that is listed for people; more is only counted.
const LISTED: usize = 20;

/// The longest sentence of a table.
const SAYS_CHARACTERS: usize = 160;

/// One gateway account whose word was compared.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AskedAccount {
    /// Its identity.
    pub(super) gateway: String,
    /// Where its word comes from.
    pub(super) word: WordSource,
}

/// How much was compared.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Audited {
    /// The gateway accounts whose word was compared, separated by commas.
    gateway: String,
    /// Where their words come from ([`WordSource`]), separated by commas where the accounts differ.
    word: String,
    /// The accounts one by one.
    accounts: Vec<AskedAccount>,
    pub(super) orders: u64,
    pub(super) transactions: u64,
    /// The transactions on which the gateway took money, also those without a row of ours.
    pub(super) debits: u64,
    /// The callbacks that were answered with 1.
    pub(super) callbacks: u64,
    /// The open jobs and the dead letters.
    pub(super) jobs: u64,
}

impl Audited {
    /// Nothing yet, of these accounts.
    pub(super) fn of(accounts: Vec<AskedAccount>) -> Self {
        let gateways: Vec<&str> = accounts.iter().map(|asked| asked.gateway.as_str()).collect();
        let words: BTreeSet<&str> = accounts.iter().map(|asked| asked.word.as_str()).collect();
        let (gateway, word) = (gateways.join(", "), words.into_iter().collect::<Vec<_>>().join(", "));
        Audited { gateway, word, accounts, ..Audited::default() }
    }
}

/// Everything that was found.
#[derive(Debug)]
pub(super) struct AuditReport {
    pub(super) audited: Audited,
    differences: Vec<Difference>,
    information: Vec<Difference>,
    informed: BTreeMap<&'static str, u64>,
    /// Whether all information is kept, or only the part that is listed.
    keeps_all: bool,
}

impl AuditReport {
    /// An empty report; one for machines keeps all information.
    pub(super) fn new(audited: Audited, for_machines: bool) -> Self {
        AuditReport {
            audited,
            differences: Vec::new(),
            information: Vec::new(),
            informed: BTreeMap::new(),
            keeps_all: for_machines,
        }
    }

    pub(super) fn add(&mut self, difference: Difference) {
        match difference.kind.severity() {
            Severity::Difference => self.differences.push(difference),
            Severity::Information => {
                *self.informed.entry(difference.kind.as_str()).or_default() += 1;
                if self.keeps_all || self.information.len() < LISTED {
                    self.information.push(difference);
                }
            }
        }
    }

    pub(super) fn has_differences(&self) -> bool {
        !self.differences.is_empty()
    }

    /// Brings the differences into their order: by order, then by kind.
    pub(super) fn sort(&mut self) {
        for differences in [&mut self.differences, &mut self.information] {
            differences.sort_by_key(|difference| {
                // Findings about no order come last.
                let order = difference.order_id.map_or(i64::MAX, |id| id.0);
                (order, difference.kind.as_str(), difference.transaction_id, difference.job_id)
            });
        }
    }

    /// The document for machines.
    pub(super) fn json(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Document<'a> {
            audited: &'a Audited,
            differences: Vec<PrintedDifference<'a>>,
            information: Vec<PrintedDifference<'a>>,
        }
        Document {
            audited: &self.audited,
            differences: self.differences.iter().map(PrintedDifference::new).collect(),
            information: self.information.iter().map(PrintedDifference::new).collect(),
        }
    }

    /// The text for people.
    pub(super) fn text(&self) -> String {
        let Audited { accounts, orders, transactions, debits, callbacks, jobs, .. } = &self.audited;
        let accounts = accounts.iter().map(|AskedAccount { gateway, word }| format!("{gateway}, {}", word.told()));
        let mut text = format!(
            "gateway      {}\n\
             compared     {orders} orders, {transactions} transactions, {debits} debits, {callbacks} allowed callbacks, \
             {jobs} jobs\n\
             differences  {}\n\
             information  {}",
            accounts.collect::<Vec<_>>().join("\n             "),
            counted(&by_kind(&self.differences)),
            counted(&self.informed),
        );
        let few = self.informed.values().sum::<u64>() <= LISTED as u64;
        for (title, differences) in
            [("differences", &self.differences[..]), ("information", if few { &self.information } else { &[] })]
        {
            if !differences.is_empty() {
                text.push_str(&format!("\n\n{title}\n{}", rows(differences)));
            }
        }
        if self.has_differences() {
            text.push_str("\n\nwhat to do");
            for kind in
                Kind::ALL.iter().filter(|kind| self.differences.iter().any(|difference| difference.kind == **kind))
            {
                text.push_str(&format!("\n  {kind}\n    -> {}", kind.act()));
            }
        }
        text
    }
}

/// A difference as it is printed for machines.
#[derive(Debug, Serialize)]
struct PrintedDifference<'a> {
    #[serde(flatten)]
    difference: &'a Difference,
    act: &'static str,
}

impl<'a> PrintedDifference<'a> {
    fn new(difference: &'a Difference) -> Self {
        PrintedDifference { difference, act: difference.kind.act() }
    }
}

fn by_kind(differences: &[Difference]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for difference in differences {
        *counts.entry(difference.kind.as_str()).or_default() += 1;
    }
    counts
}

/// `3: paid-without-debit 1, job-stuck 2`
fn counted(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{}: {}", counts.values().sum::<u64>(), parts.join(", "))
}

fn rows(differences: &[Difference]) -> String {
    let mut table = table(&["order", "kind", "transaction", "job", "what"]);
    let number = |id: Option<i64>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    for difference in differences {
        table.add_row([
            number(difference.order_id.map(|id| id.0)),
            difference.kind.to_string(),
            number(difference.transaction_id.map(|id| id.0)),
            number(difference.job_id.map(|id| id.0)),
            short(&difference.says, SAYS_CHARACTERS),
        ]);
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    use domain::id::OrderId;

    use super::*;

    fn difference(kind: Kind, order: i64) -> Difference {
        Difference {
            kind,
            order_id: Some(OrderId(order)),
            transaction_id: None,
            job_id: None,
            says: "x\u{1b}[2J".into(),
        }
    }

    #[test]
    fn differences_are_listed_by_order_with_what_to_do_and_much_information_is_counted() {
        let mut report = AuditReport::new(Audited::default(), false);
        report.add(difference(Kind::JobStuck, 9));
        report.add(difference(Kind::PaidWithoutDebit, 2));
        for order in 0..100 {
            report.add(difference(Kind::UnderWay, order));
        }
        report.sort();

        let text = report.text();

        assert!(report.has_differences());
        let [paid, stuck] = ["\n 2      paid-without-debit", "\n 9      job-stuck"].map(|row| text.find(row).unwrap());
        assert!(paid < stuck, "{text}");
        assert!(text.contains("differences  2: job-stuck 1, paid-without-debit 1"), "{text}");
        assert!(text.contains("information  100: under-way 100"), "{text}");
        assert!(!text.contains("\n\ninformation"), "{text}");
        assert!(text.contains(Kind::PaidWithoutDebit.act()), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(report.information.len() <= LISTED, "what is only counted is not kept");
    }

    #[test]
    fn machines_get_everything() {
        let mut report = AuditReport::new(Audited::default(), true);
        for order in 0..100 {
            report.add(difference(Kind::UnderWay, order));
        }

        let document = serde_json::to_value(report.json()).unwrap();

        assert_eq!(document["information"].as_array().unwrap().len(), 100);
        assert_eq!(document["differences"], serde_json::json!([]));
        assert_eq!(document["information"][0]["kind"], "under-way");
        assert!(document["information"][0]["act"].is_string());
    }
}
