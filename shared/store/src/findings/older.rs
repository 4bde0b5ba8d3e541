//! Findings of releases before the table `review_findings`, which keep them in one sentence per order.
//!
//! During a rolling update such a release runs beside this one, on the same rows: it reads and writes `orders.reason`,
//! `orders.suggested_act` and `orders.needs_review`, and knows no findings. So this release writes those columns too
//! ([`Mirror`]), and turns the other's changes there into rows ([`OlderChange`]). All pure functions. Remove them with
//! the columns, once no release before the table is supported.

use domain::order::SuggestedAct;
use domain::review::{FindingKind, ReviewFinding};

/// The separator between findings.
const AND_ALSO: &str = "; and also: ";

/// The beginning of the older release's text about a refund of unknown outcome; the refund's number follows.
const ABOUT_REFUND: &str = "whether refund ";

/// The open findings of an order, in an older release's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// Whether a person must look at the order, whatever its status.
    pub(crate) is_before_a_person: bool,
    /// `orders.reason`
    pub(crate) reason: Option<String>,
    /// `orders.suggested_act`
    pub(crate) act: Option<SuggestedAct>,
}

impl Mirror {
    /// Makes the columns of these findings, oldest first. The suggested act is that of a refund of unknown outcome,
    /// because the older release must not overlook it; otherwise that of the newest finding.
    pub(crate) fn of(open: &[ReviewFinding]) -> Mirror {
        let refund = open.iter().find(|finding| finding.is_about_refund());
        Mirror {
            is_before_a_person: !open.is_empty(),
            reason: (!open.is_empty()).then(|| sentence(open)),
            act: refund.or(open.last()).map(|finding| finding.act),
        }
    }
}

fn sentence(findings: &[ReviewFinding]) -> String {
    findings.iter().map(|finding| finding.text.as_str()).collect::<Vec<_>>().join(AND_ALSO)
}

/// The changes of an older release that the findings do not have yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OlderChange {
    /// The numbers of the findings that it settled.
    pub(crate) settled: Vec<i64>,
    /// The findings that it added, oldest first, with number 0 and no time.
    pub(crate) found: Vec<ReviewFinding>,
}

impl OlderChange {
    /// Compares the order's columns with its open findings.
    pub(crate) fn between(columns: &Mirror, open: &[ReviewFinding]) -> OlderChange {
        if !columns.is_before_a_person {
            return OlderChange { settled: open.iter().map(|finding| finding.number).collect(), found: Vec::new() };
        }
        let known: Vec<&str> = open.iter().map(|finding| finding.text.as_str()).collect();
        let told: Vec<&str> = match columns.reason.as_deref() {
            Some(reason) if reason != sentence(open) => reason.split(AND_ALSO).collect(),
            Some(_) | None => known.clone(),
        };
        // The older release leaves its sentence as it is for the other findings, and suggests to ask the gateway.
        let refund_is_known = columns.act == Some(SuggestedAct::AskGateway);
        let (left, settled): (Vec<_>, Vec<_>) = open.iter().partition(|finding| {
            told.contains(&finding.text.as_str()) && !(refund_is_known && finding.is_about_refund())
        });
        let new = told.iter().copied().filter(|text| !known.contains(text)).collect();
        let asks_about_refund =
            columns.act == Some(SuggestedAct::CheckRefund) && !left.iter().any(|finding| finding.is_about_refund());
        let mut change = OlderChange {
            settled: settled.iter().map(|finding| finding.number).collect(),
            found: found(new, columns.act, asks_about_refund),
        };
        // One finding must be about the refund, or no person could tell its outcome any more.
        if asks_about_refund
            && !change.found.iter().any(ReviewFinding::is_about_refund)
            && let Some(newest) = left.last()
        {
            change.settled.push(newest.number);
            change.found.push(finding(FindingKind::RefundUnknown, &newest.text));
        }
        change
    }

    /// Whether columns and findings agree.
    pub(crate) fn is_none(&self) -> bool {
        self.settled.is_empty() && self.found.is_empty()
    }
}

/// The findings in the texts of the older release. Its suggested act belongs to the newest, unless it is about a
/// refund.
fn found(texts: Vec<&str>, act: Option<SuggestedAct>, asks_about_refund: bool) -> Vec<ReviewFinding> {
    let names_refund = texts.iter().any(|text| text.starts_with(ABOUT_REFUND));
    let newest = texts.len().saturating_sub(1);
    let kind = |place: usize, text: &str| match act {
        Some(SuggestedAct::CheckRefund) if asks_about_refund => {
            let is_it = if names_refund { text.starts_with(ABOUT_REFUND) } else { place == newest };
            if is_it { FindingKind::RefundUnknown } else { FindingKind::Other }
        }
        Some(act) if place == newest => kind_of(act),
        Some(_) | None => FindingKind::Other,
    };
    texts.into_iter().enumerate().map(|(place, text)| finding(kind(place, text), text)).collect()
}

/// A finding without number and time.
fn finding(kind: FindingKind, text: &str) -> ReviewFinding {
    ReviewFinding {
        number: 0,
        kind,
        transaction_id: None,
        subject_id: refund_of(text).filter(|_| kind == FindingKind::RefundUnknown),
        text: text.to_owned(),
        act: kind.act(),
        found_at_ms: 0,
    }
}

/// Applies the change to the findings. `told` has the times and causes of the order's history, oldest first: with each
/// finding the older release wrote a history line with its sentence at that time.
pub(crate) fn made_up(
    open: Vec<ReviewFinding>,
    change: OlderChange,
    columns: &Mirror,
    told: &[(i64, String)],
) -> Vec<ReviewFinding> {
    let mut now = open;
    now.retain(|finding| !change.settled.contains(&finding.number));
    let reason = columns.reason.as_deref().unwrap_or_default();
    for finding in change.found {
        let upto = reason.find(&finding.text).map(|at| at + finding.text.len()).unwrap_or(reason.len());
        let as_it_was = reason.get(..upto).unwrap_or(reason);
        let line = told.iter().rev().find(|(_, cause)| cause == as_it_was || *cause == finding.text);
        // An order that was marked by hand has no such line. It waits since its last line.
        let found_at_ms = line.or(told.last()).map_or(0, |(at_ms, _)| *at_ms);
        now.push(ReviewFinding { found_at_ms, ..finding });
    }
    ReviewFinding::sort(&mut now);
    now
}

/// The kind that belongs to the act which the older release suggested.
fn kind_of(act: SuggestedAct) -> FindingKind {
    match act {
        SuggestedAct::CompareDebit => FindingKind::DebitDiffers,
        SuggestedAct::ReturnSecondPayment => FindingKind::SecondPayment,
        SuggestedAct::ReturnLatePayment => FindingKind::LatePayment,
        SuggestedAct::AskGateway => FindingKind::UnclearAnswer,
        SuggestedAct::MendJob => FindingKind::JobDied,
        SuggestedAct::ConfigureGateway => FindingKind::GatewayNotConfigured,
        SuggestedAct::ReturnPayment => FindingKind::RefundedButDebited,
        // Its text names it, or it is the only one.
        SuggestedAct::CheckRefund => FindingKind::Other,
    }
}

fn refund_of(text: &str) -> Option<i64> {
    text.strip_prefix(ABOUT_REFUND)?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_finding() -> impl Strategy<Value = ReviewFinding> {
        (prop::sample::select(FindingKind::ALL), "[a-f]{1,2}").prop_map(|(kind, text)| ReviewFinding {
            number: 0,
            kind,
            transaction_id: None,
            subject_id: None,
            text,
            act: kind.act(),
            found_at_ms: 5,
        })
    }

    fn any_open() -> impl Strategy<Value = Vec<ReviewFinding>> {
        prop::collection::vec(any_finding(), 1..5).prop_map(numbered)
    }

    fn numbered(mut findings: Vec<ReviewFinding>) -> Vec<ReviewFinding> {
        for (number, finding) in (1..).zip(&mut findings) {
            finding.number = number;
        }
        findings
    }

    proptest! {
        #[test]
        fn what_this_release_writes_is_no_difference(open in any_open()) {
            prop_assert!(OlderChange::between(&Mirror::of(&open), &open).is_none());
        }

        /// The older release may leave any sentence behind: each part of it becomes a finding, and afterwards nothing
        /// differs.
        /// Shows: PERSON-12
        #[test]
        fn no_part_of_a_sentence_is_lost(
            open in prop::collection::vec(any_finding(), 0..4).prop_map(numbered),
            parts in prop::collection::vec("[a-f]{1,2}|whether refund 7 was made", 1..5),
            act in prop::option::of(prop::sample::select(SuggestedAct::ALL)),
        ) {
            let columns = Mirror { is_before_a_person: true, reason: Some(parts.join(AND_ALSO)), act };
            let told = [(3, parts[0].clone())];
            let now = numbered(made_up(open.clone(), OlderChange::between(&columns, &open), &columns, &told));

            let refund_is_known = act == Some(SuggestedAct::AskGateway);
            for part in &parts {
                let was_about_refund = open.iter().any(|known| known.text == *part && known.is_about_refund());
                let is_told = now.iter().any(|finding| finding.text == *part);
                prop_assert!(is_told || (refund_is_known && was_about_refund), "{part}: {now:?}");
            }
            if act == Some(SuggestedAct::CheckRefund) {
                prop_assert!(now.iter().any(ReviewFinding::is_about_refund), "{now:?}");
            }
            prop_assert!(OlderChange::between(&Mirror::of(&now), &now).is_none());
        }

        #[test]
        fn an_order_that_waits_for_no_person_has_no_open_finding(open in any_open()) {
            let settled = Mirror { is_before_a_person: false, reason: None, act: None };
            let change = OlderChange::between(&settled, &open);

            prop_assert_eq!(made_up(open, change, &settled, &[]), []);
        }
    }
}
