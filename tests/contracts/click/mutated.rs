//! Calls that Click should never send. A second reading of each decides what may be answered: no call gets a positive answer
//! that is not signed, of our service, and of an order and its amount; none that is refused writes anything; and an honest one
//! is not taken for a forged one.

use std::borrow::Cow;
use std::cell::RefCell;

use md5::{Digest, Md5};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use sqlx::AnyConnection;
use tokio::runtime::Runtime;

use super::*;
use crate::support::mutations::{Mutations, bytes, line};
use crate::support::plain_json::{self, Json};

/// Bodies that every run judges.
const CORPUS: &str = include_str!("mutated.corpus");

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contracts/click/mutated.seeds");

/// The orders that calls may name; numbers beyond them are unknown.
const ORDERS: i64 = 60;

/// So many calls meet the same orders. Then others take their place, on which nothing has happened yet.
const FRESH_AFTER: u32 = 2_000;

const FIELDS: [&str; 10] = [
    "click_trans_id",
    "service_id",
    "click_paydoc_id",
    "merchant_trans_id",
    "merchant_prepare_id",
    "amount",
    "action",
    "error",
    "error_note",
    "sign_time",
];

const ODD: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "01",
    "+1",
    "1.0",
    "1e2",
    " 1",
    "50",
    "50.0",
    "050.00",
    "50.000",
    "50.001",
    "5000",
    "49.99",
    "-50.00",
    "0.00",
    "50,00",
    "NaN",
    "12345",
    "54321",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    "null",
    "x",
    "١",
    "é\"\\\n\u{0}",
    "2026-08-22 14:03:11",
    "22.08.2026",
];

const LITERALS: &[&str] = &["", "0", "d41d8cd98f00b204e9800998ecf8427e", "zz", "null"];

#[derive(Clone, Copy, Debug)]
enum PrepareId {
    /// As Prepare was answered for this attempt, if it was.
    Right,
    OfOrder(i64),
    Odd(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Sign {
    Right,
    UpperCase,
    OtherKey,
    NoKey,
    Literal(&'static str),
}

/// One call: an honest one, what is changed before it is signed, its signature, and what is changed after.
#[derive(Clone, Debug)]
struct Mutant {
    order: i64,
    attempt: i64,
    step: u8,
    prepare_id: PrepareId,
    edits: Vec<(usize, &'static str)>,
    dropped: Option<usize>,
    sign: Sign,
    altered_error: Option<&'static str>,
    is_json: bool,
    cuts: Vec<(u16, u8, u8)>,
}

fn mutant() -> impl Strategy<Value = Mutant> {
    let prepare_id = prop_oneof![
        9 => Just(PrepareId::Right),
        1 => (1..=ORDERS).prop_map(PrepareId::OfOrder),
        1 => select(ODD).prop_map(PrepareId::Odd),
    ];
    let edit = (0..FIELDS.len(), select(ODD));
    let edits = prop_oneof![3 => Just(Vec::new()), 2 => proptest::collection::vec(edit, 1..3)];
    let dropped = prop_oneof![9 => Just(None), 1 => (0..FIELDS.len()).prop_map(Some)];
    let sign = prop_oneof![
        10 => Just(Sign::Right),
        1 => Just(Sign::UpperCase),
        1 => Just(Sign::OtherKey),
        1 => Just(Sign::NoKey),
        1 => select(LITERALS).prop_map(Sign::Literal),
    ];
    let altered_error =
        prop_oneof![6 => Just(None), 1 => select(&["0", "-1", "-5017", "1", "", "-0", "x"][..]).prop_map(Some)];
    let cut = (any::<u16>(), any::<u8>(), 0..5_u8);
    let cuts = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(cut, 1..4)];
    let first = (1..=ORDERS + 3, 0..3_i64, 0..3_u8, prepare_id, edits);
    let second = (dropped, sign, altered_error, any::<bool>(), cuts);
    (first, second).prop_map(|((order, attempt, step, prepare_id, edits), second)| {
        let (dropped, sign, altered_error, is_json, cuts) = second;
        Mutant { order, attempt, step, prepare_id, edits, dropped, sign, altered_error, is_json, cuts }
    })
}

/// What a second reading says of a call.
#[derive(Clone, Debug)]
struct Reading {
    action: String,
    error: String,
    /// It is signed with our key, of our service, and names an order of ours and its amount.
    is_sound: bool,
}

/// Reads a body anew: as a JSON object, as a form whose only field holds one, or as a form. `None` where a field that is read is
/// missing, twice, or no text or number.
fn read_again(body: &[u8]) -> Option<Reading> {
    let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(body).map(owned).collect();
    let document = match pairs.as_slice() {
        _ if plain_json::read(body).is_some() => plain_json::read(body),
        [(name, value)] => Some(plain_json::read(if value.is_empty() { name } else { value }.as_bytes())?),
        _ => None,
    };
    let text = |value: Json| match value {
        Json::Text(text) | Json::Number(text) => Some(text),
        _ => None,
    };
    let fields: Vec<(String, String)> = match document {
        Some(Json::Object(members)) => {
            members.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
        }
        Some(_) => return None,
        None => pairs,
    };
    let get = |name: &str| {
        let mut found = fields.iter().filter(|(other, _)| other == name);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.as_str())
    };
    let action = get("action")?;
    let prepare_id = if action == "1" { get("merchant_prepare_id")? } else { "" };
    let [attempt, service, account, amount, time] =
        ["click_trans_id", "service_id", "merchant_trans_id", "amount", "sign_time"].map(get);
    let joined = [attempt?, service?, KEY, account?, prepare_id, amount?, action, time?].concat();
    let is_signed = get("sign_string")?.eq_ignore_ascii_case(&hex::encode(Md5::digest(joined)));
    let is_order = (1..=ORDERS).any(|id| id.to_string() == account.unwrap_or_default());
    let is_amount = is_fifty(amount?);
    Some(Reading {
        action: action.to_owned(),
        error: get("error")?.to_owned(),
        is_sound: is_signed && service? == SERVICE && is_order && is_amount,
    })
}

/// Whether it is 50 in digits, with a point and zeros or without.
fn is_fifty(amount: &str) -> bool {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole) && is_digits(part) && whole.trim_start_matches('0') == "50" && part.trim_matches('0').is_empty()
}

/// The webhook with its orders.
struct World {
    runtime: Runtime,
    webhook: Webhook,
    beside: AnyConnection,
    on: fn(&Runtime) -> Fixture,
    prepare_ids: BTreeMap<String, String>,
    written: String,
    asked: u32,
    positive: u32,
}

impl World {
    fn new(on: fn(&Runtime) -> Fixture) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fixture = on(&runtime);
        let (webhook, beside) = runtime.block_on(async {
            let webhook = Webhook::over(fixture);
            for number in 1..=ORDERS {
                assert_eq!(webhook.order().await.id, OrderId(number));
            }
            let hour = "update orders set expires_at_ms = expires_at_ms + 86400000".to_owned();
            webhook.f.execute(&[hour]).await;
            let beside = webhook.f.any_connection().await;
            (webhook, beside)
        });
        let (prepare_ids, written) = (BTreeMap::new(), String::new());
        World { runtime, webhook, beside, on, prepare_ids, written, asked: 0, positive: 0 }
    }

    fn body(&self, mutant: &Mutant) -> Vec<u8> {
        let attempt = format!("{}{}", mutant.order, mutant.attempt);
        let unknown = || "987654321".to_owned();
        let prepare_id = match mutant.prepare_id {
            PrepareId::Right => self.prepare_ids.get(&attempt).cloned().unwrap_or_else(unknown),
            PrepareId::OfOrder(order) => self.prepare_ids.get(&format!("{order}0")).cloned().unwrap_or_else(unknown),
            PrepareId::Odd(odd) => odd.to_owned(),
        };
        let honest = [
            attempt,
            SERVICE.to_owned(),
            "998877".to_owned(),
            mutant.order.to_string(),
            prepare_id,
            "50.00".to_owned(),
            if mutant.step == 0 { "0" } else { "1" }.to_owned(),
            if mutant.step == 2 { "-5017" } else { "0" }.to_owned(),
            "Success".to_owned(),
            "2026-08-22 14:03:11".to_owned(),
        ];
        let mut call = Call(FIELDS.into_iter().zip(honest).collect());
        for (field, value) in &mutant.edits {
            call = call.with(FIELDS[*field], value);
        }
        if let Some(field) = mutant.dropped {
            call.0.retain(|(name, _)| *name != FIELDS[field]);
        }
        call = match mutant.sign {
            Sign::Right => call.signed(),
            Sign::UpperCase => {
                let signed = call.signed();
                let sign = signed.get("sign_string").to_ascii_uppercase();
                signed.with("sign_string", sign)
            }
            Sign::OtherKey => call.signed_with("forged"),
            Sign::NoKey => call.signed_with(""),
            Sign::Literal(literal) => call.with("sign_string", literal),
        };
        if let Some(error) = mutant.altered_error {
            call = call.with("error", error);
        }
        let mut body = if mutant.is_json { call.json() } else { call.form() }.into_bytes();
        for (place, byte, how) in &mutant.cuts {
            let place = usize::from(*place) % body.len().max(1);
            match how {
                0 if !body.is_empty() => body[place] = *byte,
                1 if !body.is_empty() => drop(body.remove(place)),
                2 => body.insert(place.min(body.len()), *byte),
                3 => {
                    let stretch = body[place..].to_vec();
                    body.extend(stretch);
                }
                _ => body.truncate(place),
            }
        }
        body
    }

    fn judge(&mut self, body: &[u8], is_honest: bool) -> Result<(), String> {
        let sent = self.webhook.post("/click/webhook/", "application/x-www-form-urlencoded", body.to_vec());
        let (status, text) = self.runtime.block_on(sent);
        self.asked += 1;
        if status != StatusCode::OK {
            return Err(format!("HTTP {status}"));
        }
        let answer: Value = serde_json::from_str(&text).map_err(|fault| format!("{fault}: {text}"))?;
        let code = answer["error"].as_i64().filter(|code| (-9..=0).contains(code));
        let code = code.ok_or_else(|| format!("no code: {answer}"))?;
        // First, so that what this call wrote is not taken for what the next one writes.
        self.compare_rows(code, &answer)?;
        let reading = read_again(body);
        match &reading {
            Some(reading) if reading.is_sound => {
                let is_known =
                    matches!(reading.action.as_str(), "0" | "1") && matches!(reading.error.as_str(), "0" | "-5017");
                if is_honest && is_known && matches!(code, -1 | -3 | -8) {
                    return Err(format!("an honest call was refused: {answer}"));
                }
            }
            _ if code == 0 => return Err(format!("a positive answer to {reading:?}: {answer}")),
            _ => (),
        }
        self.positive += u32::from(code == 0);
        if code == 0
            && let (Some(attempt), Some(number)) =
                (text_of(&answer["click_trans_id"]), text_of(&answer["merchant_prepare_id"]))
        {
            self.prepare_ids.insert(attempt, number);
        }
        Ok(())
    }

    /// A refusal changes no row, and no call pays, closes or ends anything: an inquiry would.
    fn compare_rows(&mut self, code: i64, answer: &Value) -> Result<(), String> {
        let read = sqlx::query_scalar(
            "select (select count(*) || ' ' || coalesce(sum(coalesce(debited_at_ms, 0) + coalesce(closed_at_ms, 0)), 0)
                    from transactions)
                || ' ' || (select count(*) from orders where status = 'pending')
                || ' ' || (select count(*) from orders where status not in ('pending', 'confirming'))
                || ' ' || (select count(*) from transactions where state <> 'open')",
        );
        let written: String = self.runtime.block_on(read.fetch_one(&mut self.beside)).unwrap();
        if !written.ends_with(" 0 0") {
            return Err(format!("a call ended something: {answer}, {written}"));
        }
        let before = std::mem::replace(&mut self.written, written);
        if matches!(code, -8 | -1 | -2 | -3 | -5 | -6) && !before.is_empty() && before != self.written {
            return Err(format!("a refusal wrote: {answer}, {before} became {}", self.written));
        }
        Ok(())
    }

    /// Judges a mutant, and begins with other orders now and then.
    fn judge_mutant(&mut self, mutant: &Mutant) -> Result<(), TestCaseError> {
        if self.asked > 0 && self.asked.is_multiple_of(FRESH_AFTER) {
            let (asked, positive) = (self.asked, self.positive);
            *self = World { asked, positive, ..World::new(self.on) };
        }
        let body = self.body(mutant);
        let is_honest = mutant.cuts.is_empty() && mutant.edits.is_empty() && mutant.dropped.is_none();
        let judged = self.judge(&body, is_honest);
        judged.map_err(|why| TestCaseError::fail(format!("{why}; {}", line(&body))))
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn judge_all(mutations: &Mutations, on: fn(&Runtime) -> Fixture) {
    let mut world = World::new(on);
    for body in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(world.judge(&bytes(body), false), Ok(()), "{body}");
    }
    mutations.run(SEEDS, |mut runner: TestRunner| {
        let world = RefCell::new(World::new(on));
        if let Err(error) = runner.run(&mutant(), |mutant| world.borrow_mut().judge_mutant(&mutant)) {
            panic!("{error}");
        }
        let world = world.into_inner();
        println!("{} asked, {} with a positive answer", world.asked, world.positive);
        assert!(world.positive * 50 > world.asked, "too few of the mutants are sound");
    });
}

/// Shows: MONEY-16
#[test]
fn mutated_calls_of_click_write_nothing_where_they_are_refused() {
    judge_all(&Mutations::asked_for("calls of Click", 1_500), |runtime| runtime.block_on(Fixture::sqlite()));
}

#[test]
fn mutated_calls_of_click_write_nothing_where_they_are_refused_on_postgres() {
    judge_all(&Mutations::always("calls of Click", 500), |runtime| runtime.block_on(Fixture::postgres()));
}
