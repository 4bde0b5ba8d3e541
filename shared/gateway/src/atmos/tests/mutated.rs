//! Answers as no gateway should send them, by the hundred thousand: none may make money appear, vanish or go back.
//!
//! Here the meaning of an answer is read a second time, from the grammar of JSON and from ATMOS' documents alone.

use domain::id::TransactionId;
use domain::transaction::{Draft, TransactionReport, TransactionState};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::{token, wire};
use crate::GatewayError;

#[path = "../../../../../tests/support/mutations.rs"]
mod mutations;
#[path = "../../../../../tests/support/plain_json.rs"]
mod plain_json;

use mutations::{Mutations, bytes, line};
use plain_json::Json;

const ASKED: i64 = 14_500_001;

/// Bodies that once were, or might become, a mistake: one a line, escaped. Each is judged at every run.
const CORPUS: &str = include_str!("mutated.corpus");
/// The failures that proptest has found; it writes them here, and begins with them.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/atmos/tests/mutated.seeds");

/// The answers that are mutated.
const BASES: [&str; 10] = [
    r#"{"result":{"code":"OK","description":"Нет ошибок"},"transaction_id":14500001,"store_transaction":{"success_trans_id":null,"trans_id":14500001,"store":{"id":417},"account":"333","amount":10200,"confirmed":false,"status_code":null,"status_message":null}}"#,
    r#"{"result":{"code":"OK","description":"Нет ошибок"},"store_transaction":{"success_trans_id":2050001,"trans_id":14500001,"store":{"id":417},"account":"333","amount":10200,"confirmed":true,"status_code":"0","status_message":"Success"},"ofd_url":"https://ofd.example"}"#,
    r#"{"result":{"code":"OK"},"store_transaction":{"success_trans_id":2050001,"trans_id":14500001,"store_id":"417","account":333,"amount":"10200","confirmed":true,"status_code":"-20","status_message":"Canceled"}}"#,
    r#"{"result":{"code":"STPIMS-ERR-092","description":"Транзакция закрыта"},"store_transaction":{"success_trans_id":null,"trans_id":14500001,"store":{"id":417},"account":"333","amount":10200,"confirmed":false,"status_code":null}}"#,
    r#"{"result":{"code":"STPIMS-ERR-092"},"store_transaction":{"success_trans_id":2050001,"trans_id":14500001,"store":{"id":417},"account":"333","amount":10200,"confirmed":true,"status_code":"0"}}"#,
    r#"{"result":{"code":"STPIMS-ERR-092"}}"#,
    r#"{"status":{"code":"0","description":"Success","trace_id":"x"},"store_transaction":{"success_trans_id":2050001,"trans_id":14500001,"account":"333","amount":10200,"confirmed":true,"status_code":"0"}}"#,
    r#"{"status":{"code":"-999999","message":"System error","locale":{"uz":"Xato"}}}"#,
    r#"{"access_token":"0f7c5a1e-token","scope":"am_application_scope default","token_type":"Bearer","expires_in":2525}"#,
    "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
];

const PLACES: &[&[&str]] = &[
    &["result"],
    &["result", "code"],
    &["status"],
    &["status", "code"],
    &["transaction_id"],
    &["store_transaction"],
    &["store_transaction", "trans_id"],
    &["store_transaction", "success_trans_id"],
    &["store_transaction", "success_trans_id"],
    &["store_transaction", "confirmed"],
    &["store_transaction", "confirmed"],
    &["store_transaction", "status_code"],
    &["store_transaction", "status_code"],
    &["store_transaction", "amount"],
    &["store_transaction", "account"],
    &["store_transaction", "store"],
    &["store_transaction", "store", "id"],
    &["store_transaction", "store_id"],
    &["access_token"],
    &["expires_in"],
];

/// The values that take their places, as written in the JSON.
const LITERALS: &[&str] = &[
    "null",
    "true",
    "false",
    "\"true\"",
    "\"false\"",
    "\"True\"",
    "\"TRUE\"",
    "\" true\"",
    "\"1\"",
    "1",
    "0",
    "-1",
    "\"0\"",
    "\"\"",
    "\" \"",
    "\"00\"",
    "0.0",
    "0e0",
    "-0",
    "\"-0\"",
    "\"-20\"",
    "-20",
    "-20.0",
    "-2e1",
    "\"-20 \"",
    "\" -20\"",
    "\"20\"",
    "\"−20\"",
    "20",
    "10200",
    "\"10200\"",
    "10200.0",
    "10200.00",
    "10200.",
    "10200.01",
    "10200.00000000000000000001",
    "\"10200.0\"",
    "\"10200.\"",
    "\".0\"",
    "14500001.0",
    "2050001.00",
    "333.0",
    "1.02e4",
    "\"+10200\"",
    "102",
    "-10200",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "99999999999999999999999999",
    "1e400",
    "-1e400",
    "1e-400",
    "0.1",
    "{}",
    "[]",
    "[true]",
    "{\"id\":417}",
    "[[[[[[[[[[]]]]]]]]]]",
    "\"OK\"",
    "\"ok\"",
    "\"Ok\"",
    "\"OK \"",
    "\"STPIMS-ERR-092\"",
    "\"STPIMS-ERR-001\"",
    "\"STPIMS-ERR-061\"",
    "\"STPIMS-ERR-009\"",
    "\"STPIMS-ERR-777\"",
    "\"-999999\"",
    "-999999",
    "-5",
    "\"<b>\\u0007\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\u0030\"",
    "14500001",
    "\"14500001\"",
    "14500002",
    "\"014500001\"",
    "2050001",
    "\"2050001\"",
    "\"T-2050001\"",
    "-2050001",
    "417",
    "\"333\"",
    "333",
    "\"334\"",
    "\"token\\n\"",
    "tru",
    "NaN",
    "Infinity",
    "'OK'",
    "0x1",
];

const INSERTED: &[&[u8]] = &[b"\xff", b"\0", b"\xef\xbb\xbf", b",", b"}", b"\"", b" ", b"0", b"\xd0"];

/// One change of a document.
#[derive(Clone, Debug)]
enum Edit {
    Set(&'static [&'static str], &'static str),
    Remove(&'static [&'static str]),
    /// A second member of the same name, after or before the first.
    Double(&'static [&'static str], &'static str, bool),
    Rename(&'static [&'static str], &'static str),
}

/// One change of its bytes; places are permille of its length.
#[derive(Clone, Debug)]
enum Damage {
    BrokenOff(usize),
    Flipped(usize, u8),
    Inserted(usize, &'static [u8]),
    Twice,
    InAList,
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = || select(PLACES);
    let literal = || select(LITERALS);
    prop_oneof![
        6 => (place(), literal()).prop_map(|(place, literal)| Edit::Set(place, literal)),
        1 => place().prop_map(Edit::Remove),
        1 => (place(), literal(), any::<bool>()).prop_map(|(place, literal, last)| Edit::Double(place, literal, last)),
        1 => (place(), select(&["Result", "code", "confirmed", "x", "store_transactions"][..]))
            .prop_map(|(place, name)| Edit::Rename(place, name)),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || 0..1_000usize;
    prop_oneof![
        place().prop_map(Damage::BrokenOff),
        (place(), any::<u8>()).prop_map(|(place, byte)| Damage::Flipped(place, byte)),
        (place(), select(INSERTED)).prop_map(|(place, bytes)| Damage::Inserted(place, bytes)),
        Just(Damage::Twice),
        Just(Damage::InAList),
    ]
}

/// The bytes of a mutant. Most keep their bytes whole, or little would be left to read.
fn mutant() -> impl Strategy<Value = Vec<u8>> {
    let damages = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(damage(), 1..3)];
    (select(&BASES[..]), prop::collection::vec(edit(), 0..5), damages).prop_map(|(base, edits, damages)| {
        let mut bytes = match plain_json::read(base.as_bytes()) {
            Some(mut document) => {
                for edit in &edits {
                    change(&mut document, edit);
                }
                written(&document).into_bytes()
            }
            None => base.as_bytes().to_vec(),
        };
        for damage in &damages {
            bytes = damaged(bytes, damage);
        }
        bytes
    })
}

fn change(document: &mut Json, edit: &Edit) {
    let place = match edit {
        Edit::Set(place, _) | Edit::Remove(place) | Edit::Double(place, ..) | Edit::Rename(place, _) => place,
    };
    let (name, above) = place.split_last().unwrap();
    let mut holder = document;
    for step in above {
        let Json::Object(members) = holder else { return };
        let Some((_, next)) = members.iter_mut().find(|(name, _)| name == step) else { return };
        holder = next;
    }
    let Json::Object(members) = holder else { return };
    // A number is written as it stands, so it serves for whatever is no JSON, too.
    let literal = |literal: &str| Json::Number(literal.to_owned());
    match edit {
        Edit::Set(_, value) => match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = literal(value),
            None => members.push(((*name).to_owned(), literal(value))),
        },
        Edit::Remove(_) => members.retain(|(known, _)| known != name),
        Edit::Double(_, value, true) => members.push(((*name).to_owned(), literal(value))),
        Edit::Double(_, value, false) => members.insert(0, ((*name).to_owned(), literal(value))),
        Edit::Rename(_, new) => {
            for (known, _) in members.iter_mut().filter(|(known, _)| known == name) {
                (*new).clone_into(known);
            }
        }
    }
}

fn written(value: &Json) -> String {
    let text = |text: &String| serde_json::to_string(text).unwrap();
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(truth) => truth.to_string(),
        Json::Number(number) => number.clone(),
        Json::Text(content) => text(content),
        Json::List(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(",")),
        Json::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}:{}", text(name), written(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let at = |permille: usize| bytes.len() * permille / 1_000;
    match damage {
        Damage::BrokenOff(place) => bytes.truncate(at(*place)),
        Damage::Flipped(place, byte) => {
            let place = at(*place);
            if let Some(old) = bytes.get_mut(place) {
                *old ^= byte;
            }
        }
        Damage::Inserted(place, more) => {
            let place = at(*place);
            bytes.splice(place..place, more.iter().copied());
        }
        Damage::Twice => bytes.extend_from_within(..),
        Damage::InAList => bytes = [&b"["[..], &bytes, b"]"].concat(),
    }
    bytes
}

// ---- the second reading ---------------------------------------------------------------------------------------------

/// The meaning of an answer about a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Debited(i64),
    Closed,
    Reversed,
    Open,
    NotClear,
}

/// The member of that name; of several the last, as most readers have it.
fn member<'a>(value: &'a Json, name: &str) -> &'a Json {
    let Json::Object(members) = value else { return &Json::Null };
    members.iter().rev().find(|(known, _)| known == name).map_or(&Json::Null, |(_, value)| value)
}

fn whole(value: &Json) -> Option<i64> {
    let text = match value {
        Json::Number(text) => text,
        // A plus before a number in quotes is a sender's format; the sender means that number.
        Json::Text(text) => text.strip_prefix('+').filter(|rest| !rest.starts_with('-')).unwrap_or(text),
        _ => return None,
    };
    // A fraction of nothing but zeros is how a sender that knows only floats writes a whole number.
    let text = match text.rsplit_once('.') {
        Some((before, fraction)) if !fraction.is_empty() && fraction.chars().all(|c| c == '0') => before,
        _ => text,
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn words(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone()),
        Json::Number(text) => Some(whole(value).map_or_else(|| text.clone(), |whole| whole.to_string())),
        _ => None,
    }
}

/// The paid predicate and its neighbours: `confirmed`, a permanent id, and a status of success; "-20" is a reversal
/// whatever stands beside it; closed and unpaid needs code 092 and no trace of money.
fn meaning(answer: &Json) -> Meaning {
    let code = words(member(member(answer, "result"), "code"));
    let transaction = member(answer, "store_transaction");
    if !matches!(code.as_deref(), Some("OK" | "STPIMS-ERR-092"))
        || whole(member(transaction, "trans_id")) != Some(ASKED)
        || words(member(transaction, "account")).is_none()
        || whole(member(transaction, "amount")).is_none()
    {
        return Meaning::NotClear;
    }
    let permanent = match member(transaction, "success_trans_id") {
        Json::Null => 0,
        value => match whole(value) {
            Some(id) if id >= 0 => id,
            _ => return Meaning::NotClear,
        },
    };
    let status = match member(transaction, "status_code") {
        Json::Null => String::new(),
        value => words(value).unwrap_or_else(|| "?".to_owned()),
    };
    let confirmed = match member(transaction, "confirmed") {
        Json::Bool(truth) => Some(*truth),
        Json::Text(text) if text == "true" => Some(true),
        Json::Text(text) if text == "false" => Some(false),
        _ => None,
    };
    match (status.as_str(), confirmed, permanent) {
        ("-20", ..) => Meaning::Reversed,
        ("" | "0", Some(true), 1..) => Meaning::Debited(permanent),
        (_, Some(false), 0) if code.as_deref() == Some("OK") => Meaning::Open,
        (_, Some(false), 0) => Meaning::Closed,
        _ => Meaning::NotClear,
    }
}

/// Whether every careful reader reads this document alike: no name twice, and no number with a fraction (but of zeros), an
/// exponent or more digits than fit.
fn is_unambiguous(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(_) | Json::Text(_) => true,
        Json::Number(number) => number.len() <= 18 && number != "-0" && whole(value).is_some(),
        Json::List(items) => items.iter().all(is_unambiguous),
        Json::Object(members) => members.iter().enumerate().all(|(place, (name, value))| {
            is_unambiguous(value) && members[..place].iter().all(|(before, _)| before != name)
        }),
    }
}

// ---- the two compared -----------------------------------------------------------------------------------------------

fn judge(body: &[u8]) -> Result<(), String> {
    let document = plain_json::read(body);
    judge_report(document.as_ref(), wire::read_report(TransactionId(ASKED), body))?;
    judge_draft(document.as_ref(), wire::read_created(body))?;
    judge_token(document.as_ref(), token::read(body, tokio::time::Instant::now()).map(|token| token.text))
}

fn judge_report(document: Option<&Json>, read: Result<TransactionReport, GatewayError>) -> Result<(), String> {
    let ours = match &read {
        Err(_) => Meaning::NotClear,
        Ok(report) => match &report.state {
            TransactionState::Debited { success_transaction_id } => Meaning::Debited(success_transaction_id.0),
            TransactionState::Closed => Meaning::Closed,
            TransactionState::Reversed { .. } => Meaning::Reversed,
            TransactionState::Open => Meaning::Open,
            TransactionState::Unclear { .. } => Meaning::NotClear,
        },
    };
    let theirs = document.map_or(Meaning::NotClear, meaning);
    let may_differ = ours == Meaning::NotClear && !document.is_some_and(is_unambiguous);
    if ours != theirs && !may_differ {
        return Err(format!("read as {ours:?}, and it says {theirs:?}"));
    }
    let (Some(document), Ok(report)) = (document, &read) else { return Ok(()) };
    let transaction = member(document, "store_transaction");
    let amount = whole(member(transaction, "amount"));
    if amount != Some(report.amount) || report.transaction_id.0 != ASKED {
        return Err(format!("it says {amount:?} tiyin, and is read as {report:?}"));
    }
    // Whole numbers and texts; the text form of a fraction does not matter.
    let account = member(transaction, "account");
    if is_unambiguous(account) && words(account).as_ref() != Some(&report.account) {
        return Err(format!("it says account {account:?}, and is read as {report:?}"));
    }
    Ok(())
}

fn judge_draft(document: Option<&Json>, read: Result<Draft, GatewayError>) -> Result<(), String> {
    let ours = read.ok().map(|draft| draft.transaction_id.0);
    let theirs = document.and_then(|answer| {
        let said = [member(answer, "transaction_id"), member(member(answer, "store_transaction"), "trans_id")];
        let ids: Vec<Option<i64>> = said.into_iter().filter(|value| **value != Json::Null).map(whole).collect();
        let is_ok = words(member(member(answer, "result"), "code")).as_deref() == Some("OK");
        let first = ids.first().copied().flatten();
        first.filter(|id| is_ok && *id > 0 && ids.iter().all(|other| *other == Some(*id)))
    });
    match ours == theirs || (ours.is_none() && !document.is_some_and(is_unambiguous)) {
        true => Ok(()),
        false => Err(format!("draft {ours:?} was read, and it says {theirs:?}")),
    }
}

fn judge_token(document: Option<&Json>, read: Result<domain::secret::Secret, GatewayError>) -> Result<(), String> {
    let ours = read.ok().map(|token| token.expose().to_owned());
    let theirs = document.and_then(|answer| match member(answer, "access_token") {
        Json::Text(text) if !text.is_empty() && text.chars().all(|c| ('!'..='~').contains(&c)) => Some(text.clone()),
        _ => None,
    });
    match ours == theirs || (ours.is_none() && !document.is_some_and(is_unambiguous)) {
        true => Ok(()),
        false => Err(format!("token {ours:?} was read, and it says {theirs:?}")),
    }
}

/// Shows: MONEY-19
#[test]
fn mutated_answers_never_make_money_appear_or_vanish() {
    for body in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(judge(&bytes(body)), Ok(()), "{body}");
    }

    Mutations::asked_for("answers of the gateway", 20_000).run(SEEDS, |mut runner: TestRunner| {
        let outcome = runner.run(&mutant(), |body| {
            judge(&body).map_err(|why| TestCaseError::fail(format!("{why}; for mutated.corpus: {}", line(&body))))
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
    });
}

/// The mutants must not all be rubbish: each meaning comes up, and often.
#[test]
fn mutated_answers_are_of_every_meaning() {
    let mut seen = [0; 5];
    let mut runner = TestRunner::deterministic();
    for _ in 0..4_000 {
        let body = mutant().new_tree(&mut runner).unwrap().current();
        let meaning = plain_json::read(&body).map_or(Meaning::NotClear, |answer| meaning(&answer));
        seen[match meaning {
            Meaning::Debited(_) => 0,
            Meaning::Closed => 1,
            Meaning::Reversed => 2,
            Meaning::Open => 3,
            Meaning::NotClear => 4,
        }] += 1;
    }

    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
}
