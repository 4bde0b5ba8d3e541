//! The runbook answers every alert and every bad line of `tasdiq doctor`, and all its pages are built alike.

use std::collections::BTreeSet;

use documents::{pages, text};
use syn::visit::{self, Visit};

use crate::rules::parsed;

const ALERTS: &str = "docs/operate/metrics-and-alerts.md";
const RUNBOOK: &str = "docs/operate/runbook/";
const INDEX: &str = "docs/operate/runbook/index.md";

/// The rows of all tables of a page: their cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let text = text(page);
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.map(|line| line.split(" | ").map(str::to_owned).collect()).collect()
}

/// The names in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The pages of the runbook, by their names in its folder.
fn runbook() -> Vec<String> {
    let pages = pages().into_iter().filter(|page| page != INDEX);
    pages.filter_map(|page| page.strip_prefix(RUNBOOK).map(str::to_owned)).collect()
}

#[test]
fn every_alert_has_a_page_of_the_runbook() {
    let page = text(ALERTS);
    let alerts: BTreeSet<String> =
        page.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();

    let answered: BTreeSet<String> =
        rows(ALERTS).iter().filter(|row| row[1].contains("](runbook/")).flat_map(|row| quoted(&row[0])).collect();

    assert_eq!(alerts, answered);
    assert!(alerts.len() > 15, "{alerts:?}");
}

/// The names of the checks of `doctor` that can end in a warning or a fault.
#[derive(Default)]
struct Checks(BTreeSet<String>);

impl<'ast> Visit<'ast> for Checks {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_bad = call.method == "warn" || call.method == "fault";
        if is_bad && let Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. })) = call.args.first() {
            self.0.insert(name.value());
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[test]
fn every_bad_line_of_doctor_has_a_page() {
    let mut checks = Checks::default();
    for (path, file) in parsed() {
        if path.starts_with("cli/src/doctor") && !path.ends_with("tests.rs") {
            checks.visit_file(&file);
        }
    }

    let text = text(INDEX);
    let table = text.split("## By the word of `doctor`").nth(1).expect("the heading");
    let lines = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let answered: BTreeSet<String> =
        lines.filter(|(_, rest)| rest.contains("](")).map(|(name, _)| name.to_owned()).collect();

    assert_eq!(checks.0, answered);
    assert!(answered.len() > 10, "{answered:?}");
}

#[test]
fn every_page_of_the_runbook_is_found_from_its_index_and_has_the_same_parts() {
    const PARTS: [&str; 5] = ["What it means", "What customers and shops notice", "See it", "Do", "It is over when"];
    let index = text(INDEX);
    for page in runbook() {
        let parts: Vec<String> = text(&format!("{RUNBOOK}{page}"))
            .lines()
            .filter_map(|line| line.strip_prefix("## ").map(str::to_owned))
            .collect();

        assert_eq!(parts, PARTS, "{page}");
        assert!(index.contains(&format!("]({page}")), "{page} is not in {INDEX}");
    }
    assert!(runbook().len() > 15, "{:?}", runbook());
}
