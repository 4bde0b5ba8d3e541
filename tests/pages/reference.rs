//! The pages of the reference that are made from public definitions. (Private ones are checked where they stand: in the unit
//! tests of `api`, `cli` and `sandbox`.)

use domain::callback_verdict::CallbackVerdict;
use std::process::Command;

use audit::{Kind, Severity};
use documents::{UPDATE, code, codes, part, table, top};
use domain::job::{Death, JobKind, JobState, QueueName, Subject};
use domain::order::{OrderStatus, SuggestedAct, TRANSITIONS};
use domain::refund::RefundState;
use domain::review::FindingKind;
use gateway::atmos::callback_message;
use gateway::payme::PaymeFault;

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// `tests/run` forgets other settings of its caller.
#[test]
fn tests_run_knows_the_variable_that_writes_the_reference() {
    let script = "source tests/needs.sh; forget_the_callers_settings; printenv";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script]).current_dir(top()).env(UPDATE, "1").env("TASDIQ_LISTEN", "127.0.0.1:1");

    let left = String::from_utf8(bash.output().unwrap().stdout).unwrap();

    assert!(left.contains(&format!("{UPDATE}=1\n")), "{left}");
    assert!(!left.contains("TASDIQ_LISTEN"), "{left}");
}

#[test]
fn the_page_of_statuses_has_every_status_and_every_transition() {
    const PAGE: &str = "docs/reference/statuses.md";
    let statuses = OrderStatus::ALL.iter().map(|status| {
        let next: Vec<OrderStatus> = TRANSITIONS.iter().filter(|(from, _)| from == status).map(|(_, to)| *to).collect();
        let next = if next.is_empty() { "nothing".to_owned() } else { codes(next) };
        [code(status), status.meaning().to_owned(), yes(status.is_final()), next]
    });
    let refunds = RefundState::ALL.iter().map(|state| [code(state), state.meaning().to_owned(), yes(state.is_open())]);

    part(PAGE, "order-statuses", &table(["status", "meaning", "final", "may become"], statuses));
    part(PAGE, "refund-states", &table(["state", "meaning", "may still become done"], refunds));
}

#[test]
fn the_page_of_findings_has_every_kind_with_its_act() {
    const PAGE: &str = "docs/reference/findings.md";
    let kinds = FindingKind::ALL.iter().map(|kind| [code(kind), kind.meaning().to_owned(), code(kind.act())]);
    let acts = SuggestedAct::ALL.iter().map(|act| [code(act), act.meaning().to_owned(), act.sentence().to_owned()]);

    part(PAGE, "finding-kinds", &table(["finding", "what was found", "`suggested_act`"], kinds));
    part(PAGE, "suggested-acts", &table(["`suggested_act`", "when", "what to do"], acts));
}

#[test]
fn the_page_of_the_audit_has_every_kind_with_its_act() {
    let rows = |severity| {
        let kinds = Kind::ALL.iter().filter(move |kind| kind.severity() == severity);
        kinds.map(|kind| [code(kind), kind.meaning().to_owned(), kind.act().to_owned()])
    };
    let columns = ["kind", "meaning", "what to do"];

    part("docs/reference/audit.md", "differences", &table(columns, rows(Severity::Difference)));
    part("docs/reference/audit.md", "information", &table(columns, rows(Severity::Information)));
}

#[test]
fn the_page_of_job_kinds_has_every_kind_queue_and_state() {
    const PAGE: &str = "docs/reference/job-kinds.md";
    let kinds = JobKind::ALL.iter().map(|kind| {
        let subject = match kind.subject() {
            Subject::Order => "an order",
            Subject::Callback => "a callback",
            Subject::Refund => "a refund",
            Subject::Nothing => "the installation",
        };
        let death = match kind.death() {
            Death::FailsOrder => "fails its order",
            Death::NeedsPerson => "puts its order in review",
            Death::ReviewsRefund => "puts its refund in review",
            Death::Never => "does not occur",
        };
        [
            code(kind),
            kind.meaning().to_owned(),
            subject.to_owned(),
            code(kind.queue()),
            format!("{} s", kind.deadline().as_secs()),
            kind.attempts().map_or_else(|| "never".to_owned(), |attempts| attempts.to_string()),
            format!("{} s", kind.longest_wait_ms() / 1_000),
            yes(kind.asks_gateway()),
            death.to_owned(),
        ]
    });
    let columns = [
        "kind",
        "what it does",
        "about",
        "queue",
        "deadline of an attempt",
        "given up after attempts",
        "longest wait",
        "asks the gateway",
        "its end as a dead letter",
    ];

    part(PAGE, "job-kinds", &table(columns, kinds));
    let queues = QueueName::ALL.iter().map(|queue| [code(queue), queue.meaning().to_owned()]);
    part(PAGE, "queues", &table(["queue", "jobs"], queues));
    let states = JobState::ALL.iter().map(|state| [code(state), state.meaning().to_owned(), yes(state.is_open())]);
    part(PAGE, "job-states", &table(["state", "meaning", "is to run, or runs"], states));
}

#[test]
fn the_page_of_paymes_errors_has_every_code_with_its_verdicts() {
    let rows = PaymeFault::ALL.map(|fault| {
        let is_of = |verdict: &&CallbackVerdict| PaymeFault::of_verdict(**verdict) == fault;
        let verdicts = CallbackVerdict::ALL.iter().filter(is_of).map(|verdict| verdict.as_str());
        let message = fault.message();
        [fault.code().to_string(), message.en.to_owned(), message.ru.to_owned(), message.uz.to_owned(), codes(verdicts)]
    });

    let page = "docs/reference/payme-errors.md";
    part(page, "payme-errors", &table(["code", "English", "Russian", "Uzbek", "verdicts"], rows));
}

#[test]
fn the_page_of_callback_verdicts_has_every_verdict_with_its_answer() {
    let rows = CallbackVerdict::ALL.iter().map(|verdict| {
        let status = if verdict.allows() { "1: debit" } else { "0: do not debit" };
        [code(verdict), verdict.meaning().to_owned(), status.to_owned(), callback_message(*verdict).to_owned()]
    });

    part(
        "docs/reference/callback-verdicts.md",
        "verdicts",
        &table(["verdict", "meaning", "`status` of the answer", "`message` of the answer"], rows),
    );
}
