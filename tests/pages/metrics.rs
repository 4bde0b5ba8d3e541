//! The page of metrics. They are read from the sources, where each is made by one call with its name, help and labels: a
//! process that counts nothing of a metric yet does not show it at `/metrics`.

use std::collections::BTreeSet;

use documents::{code, codes, part, table};
use syn::visit::{self, Visit};

use crate::rules::{parsed, sources};

/// One metric, as it is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    help: String,
    shown_by: &'static str,
}

impl Metric {
    fn unit(&self) -> &'static str {
        match () {
            () if self.name.ends_with("_microseconds") => "microseconds",
            () if self.name.ends_with("_seconds") => "seconds",
            () => "number",
        }
    }

    fn row(self) -> [String; 6] {
        let unit = self.unit().to_owned();
        let labels = if self.labels.is_empty() { "none".to_owned() } else { codes(&self.labels) };
        [code(&self.name), self.kind.to_owned(), labels, unit, self.shown_by.to_owned(), self.help]
    }
}

/// The metrics that the functions of a file make.
struct Metrics {
    shown_by: &'static str,
    found: Vec<Metric>,
}

fn text(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

fn texts(expression: &syn::Expr) -> Option<Vec<String>> {
    let syn::Expr::Reference(reference) = expression else { return None };
    let syn::Expr::Array(array) = reference.expr.as_ref() else { return None };
    Some(array.elems.iter().filter_map(text).collect())
}

impl<'ast> Visit<'ast> for Metrics {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let function = match call.func.as_ref() {
            syn::Expr::Path(function) => function.path.segments.last().map(|word| word.ident.to_string()),
            _ => None,
        };
        let kind = match function.as_deref() {
            Some("counter_vec") => Some("counter"),
            Some("gauge_vec" | "gauges") => Some("gauge"),
            Some("histogram_vec") => Some("histogram"),
            _ => None,
        };
        let mut said = call.args.iter().filter_map(text);
        if let (Some(kind), Some(name), Some(help), Some(labels)) =
            (kind, said.next(), said.next(), call.args.iter().find_map(texts))
        {
            self.found.push(Metric { name, kind, labels, help, shown_by: self.shown_by });
        }
        visit::visit_expr_call(self, call);
    }
}

fn metrics() -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for (path, file) in parsed() {
        let shown_by = match path.split('/').next() {
            Some("api") => "API",
            Some("worker") => "worker",
            _ => "API and worker",
        };
        let mut found = Metrics { shown_by, found: Vec::new() };
        found.visit_file(&file);
        metrics.extend(found.found);
    }
    metrics.sort();
    metrics
}

#[test]
fn the_reference_has_every_metric_with_type_labels_and_help() {
    let rows = metrics().into_iter().map(Metric::row);

    let columns = ["metric", "type", "labels", "unit", "shown by", "meaning"];
    part("docs/reference/metrics.md", "metrics", &table(columns, rows));
}

/// The second table of the page is written by hand.
#[test]
fn the_reference_tells_the_values_of_every_label() {
    let page = documents::text("docs/reference/metrics.md");
    let labels: BTreeSet<String> = metrics().into_iter().flat_map(|metric| metric.labels).collect();

    let missing: Vec<_> = labels.iter().filter(|label| !page.contains(&format!("\n| `{label}` |"))).collect();

    assert_eq!(missing, [""; 0]);
}

/// A metric that was renamed or has gone must go from the documents, too. The list of changes tells of older names.
#[test]
fn documents_name_no_metric_that_there_is_not() {
    let known: BTreeSet<String> = metrics().into_iter().map(|metric| metric.name).collect();
    // Upstreams in the example of a proxy.
    let others = ["tasdiq_api", "tasdiq_webhook"];
    let is_known = |name: &str| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        known.contains(name) || others.contains(&name) || family.is_some_and(|family| known.contains(family))
    };
    let mut unknown = Vec::new();
    for page in documents::pages().into_iter().filter(|page| page != "CHANGELOG.md") {
        let text = documents::text(&page);
        let words = text.split(|sign: char| !sign.is_ascii_lowercase() && sign != '_');
        let names = words.filter(|word| word.starts_with("tasdiq_") && !word.ends_with('_') && !is_known(word));
        unknown.extend(names.map(|name| format!("{page}: {name}")));
    }

    assert_eq!(unknown, [""; 0], "metrics that no code makes: correct the document");
}

/// Nothing that looks like a metric's name is missing from the table.
#[test]
fn every_metric_is_made_by_a_call_that_the_page_sees() {
    let known: BTreeSet<String> = metrics().into_iter().map(|metric| metric.name).collect();
    let named: BTreeSet<String> = sources()
        .into_iter()
        .flat_map(|(_, text)| {
            let names = text.split('"').filter(|word| {
                word.strip_prefix("tasdiq_")
                    .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            });
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();

    assert_eq!(known, named);
    assert!(known.len() > 25, "{known:?}");
}
