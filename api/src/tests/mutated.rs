//! Hundreds of thousands of callbacks that no gateway should send, through the HTTP interface: none may be allowed
//! wrongly, and none refused wrongly.
//!
//! A second implementation decides here what a callback says, whether its signature is valid, and which transaction its
//! order may still accept.

use std::collections::HashMap;

use domain::id::OrderId;
use domain::order::OrderStatus;
use domain::review::{FindingKind, NewFinding};
use gateway::atmos::SignAlgorithm;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use store::settlement::Settlement;
use tokio::runtime::Runtime;

use super::signing::{CallbackFields, md5_hex, sha256_hex};
use super::support::{API_KEY, TestApi, gateway_with};

#[path = "../../../tests/support/mutations.rs"]
mod mutations;
#[path = "../../../tests/support/plain_json.rs"]
mod plain_json;

use mutations::{Mutations, bytes, line};
use plain_json::Json;

/// Bodies that once caused or might cause a mistake, one per line, escaped. Every run checks each of them.
const CORPUS: &str = include_str!("mutated.corpus");
/// Failing cases that proptest has found: it writes them here and runs them first.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/mutated.seeds");

const OLD_KEY: &str = "the-key-before";

// ---- the mutants ----------------------------------------------------------------------------------------------------

/// Values of the signed fields: the values of the orders below, values close to them, and invalid ones.
const STORES: &[&str] =
    &["1234", "1234", "1234", "1234", "1234", "123", "12345", "01234", "1234.0", "", " 1234", "1235", "x"];
const TRANSACTIONS: &[&str] = &[
    "700",
    "701",
    "702",
    "703",
    "704",
    "705",
    "706",
    "707",
    "708",
    "70",
    "7001",
    "7",
    "0700",
    "700.0",
    "700.00",
    "700.",
    "7e2",
    "+700",
    "-700",
    "",
    "0",
    "99999999999999999999",
    "9223372036854775807",
    "709",
    "x",
];
const ACCOUNTS: &[&str] = &[
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "01", "1.0", "", "0", "-1", " 1", "1 ", "12", "x", "١",
    "é\\\"\n",
];
const AMOUNTS: &[&str] = &[
    "5000",
    "5000",
    "5000",
    "5000",
    "5000",
    "1500",
    "5000.0",
    "5000.000",
    "05000",
    "5000.",
    "5000.5",
    "5e3",
    "50e2",
    "+5000",
    "-5000",
    "4999",
    "5001",
    "50",
    "500000",
    "0",
    "",
    "0x1388",
    "99999999999999999999",
    "9223372036854775808",
    "1e400",
    "5 000",
    "5000 ",
    "NaN",
];

#[derive(Clone, Copy, Debug)]
enum Sign {
    Right,
    RightUpperCase,
    OldKey,
    Sha256,
    EmptyKey,
    OtherKey,
    /// The signature of the documented values for order 1, whatever the body contains.
    OfAnother,
    Shortened(usize),
    Padded,
    Literal(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum OrderField {
    Account,
    Invoice,
    Both,
    /// Both fields, one of them with this value.
    Different(&'static str),
    Misnamed,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Strings,
    /// A bare value if it is a number, or could be taken for one.
    Numbers,
    Pairs,
    JsonInPairs,
    BareJsonInPairs,
    Spaced,
    Escaped,
    InAList,
    InAText,
}

/// One change of the members of the body.
#[derive(Clone, Copy, Debug)]
enum MemberEdit {
    Drop(usize),
    /// A second member with the same name, at the front or at the end.
    Double(usize, &'static str, bool),
    Raw(usize, &'static str),
    Add(&'static str, &'static str),
    Swap(usize, usize),
}

/// One change of the bytes; positions are in permille of the length.
#[derive(Clone, Copy, Debug)]
enum ByteDamage {
    BrokenOff(usize),
    Flipped(usize, u8),
    Inserted(usize, &'static [u8]),
    Removed(usize),
    Twice,
    Longer,
    Marked,
}

const RAW: &[&str] = &[
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "{\"a\":1}",
    "[1]",
    "[[[[[[[[",
    "\"\"",
    "1",
    "5000",
    "\"5000\"",
    "5000.0",
    "-0",
    "1e400",
    "tru",
    "\"\\ud800\"",
    "\"\\u0035000\"",
    "'5000'",
];
const INSERTED: &[&[u8]] =
    &[b"\xff", b"\0", b"\xef\xbb\xbf", b",", b"}", b"\"", b" ", b"0", b"\xd0", b"&", b"=", b"%", b"+", b"\\"];

fn sign() -> impl Strategy<Value = Sign> {
    prop_oneof![
        12 => Just(Sign::Right),
        2 => Just(Sign::RightUpperCase),
        3 => Just(Sign::OldKey),
        1 => Just(Sign::Sha256),
        1 => Just(Sign::EmptyKey),
        2 => Just(Sign::OtherKey),
        4 => Just(Sign::OfAnother),
        1 => (0..32usize).prop_map(Sign::Shortened),
        1 => Just(Sign::Padded),
        1 => select(&["", "test", "null", "0", "d41d8cd98f00b204e9800998ecf8427e"][..]).prop_map(Sign::Literal),
    ]
}

fn named() -> impl Strategy<Value = OrderField> {
    prop_oneof![
        8 => Just(OrderField::Account),
        4 => Just(OrderField::Invoice),
        3 => Just(OrderField::Both),
        2 => select(ACCOUNTS).prop_map(OrderField::Different),
        1 => Just(OrderField::Misnamed),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        8 => Just(Form::Strings),
        6 => Just(Form::Numbers),
        3 => Just(Form::Pairs),
        2 => Just(Form::JsonInPairs),
        1 => Just(Form::BareJsonInPairs),
        2 => Just(Form::Spaced),
        2 => Just(Form::Escaped),
        1 => Just(Form::InAList),
        1 => Just(Form::InAText),
    ]
}

fn edit() -> impl Strategy<Value = MemberEdit> {
    let member = || 0..7usize;
    let name = select(&["account", "invoice", "sign", "note", "Amount", "amount ", "", "store_id", "\\u0061mount"][..]);
    prop_oneof![
        member().prop_map(MemberEdit::Drop),
        (member(), select(RAW), any::<bool>()).prop_map(|(member, raw, first)| MemberEdit::Double(member, raw, first)),
        (member(), select(RAW)).prop_map(|(member, raw)| MemberEdit::Raw(member, raw)),
        (name, select(RAW)).prop_map(|(name, raw)| MemberEdit::Add(name, raw)),
        (member(), member()).prop_map(|(one, other)| MemberEdit::Swap(one, other)),
    ]
}

fn damage() -> impl Strategy<Value = ByteDamage> {
    let place = || 0..1_000usize;
    prop_oneof![
        2 => place().prop_map(ByteDamage::BrokenOff),
        4 => (place(), any::<u8>()).prop_map(|(place, byte)| ByteDamage::Flipped(place, byte)),
        4 => (place(), select(INSERTED)).prop_map(|(place, bytes)| ByteDamage::Inserted(place, bytes)),
        2 => place().prop_map(ByteDamage::Removed),
        1 => Just(ByteDamage::Twice),
        1 => Just(ByteDamage::Longer),
        2 => Just(ByteDamage::Marked),
    ]
}

/// The signed fields: mostly the values of one of the orders, with up to two of them exchanged.
fn words() -> impl Strategy<Value = [String; 4]> {
    let exchanged = prop_oneof![
        select(STORES).prop_map(|word| (0, word)),
        select(TRANSACTIONS).prop_map(|word| (1, word)),
        select(ACCOUNTS).prop_map(|word| (2, word)),
        select(AMOUNTS).prop_map(|word| (3, word)),
    ];
    (
        select(DRAFTS),
        prop::collection::vec(exchanged, 0..3),
        prop::option::weighted(0.15, (0..40usize, 0..40usize, 0..40usize)),
    )
        .prop_map(|((transaction_id, order_id, amount), exchanged, cut)| {
            let mut words = ["1234".to_owned(), transaction_id.to_string(), order_id.to_string(), amount.to_string()];
            for (place, word) in exchanged {
                word.clone_into(&mut words[place]);
            }
            match cut {
                Some((one, two, three)) => cut_at(&words.concat(), [one, two, three]),
                None => words,
            }
        })
}

/// The same text, divided into four at other positions.
fn cut_at(text: &str, places: [usize; 3]) -> [String; 4] {
    let mut ends = places.map(|place| text.char_indices().nth(place).map_or(text.len(), |(at, _)| at));
    ends.sort_unstable();
    let [one, two, three] = ends;
    [&text[..one], &text[one..two], &text[two..three], &text[three..]].map(str::to_owned)
}

fn mutant() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(edit(), 1..3)];
    let damages = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(damage(), 1..3)];
    (words(), sign(), named(), form(), edits, damages, any::<u16>()).prop_map(
        |(words, sign, named, form, edits, damages, time)| {
            let mut bytes = body(&words, sign, named, form, &edits, time);
            for damage in damages {
                bytes = damaged(bytes, damage);
            }
            bytes
        },
    )
}

fn body(words: &[String; 4], sign: Sign, named: OrderField, form: Form, edits: &[MemberEdit], time: u16) -> Vec<u8> {
    let [store_id, transaction_id, account, amount] = words;
    let text = words.concat();
    let signed = |key: &str| md5_hex(format!("{text}{key}").as_bytes());
    let sign = match sign {
        Sign::Right => signed(API_KEY),
        Sign::RightUpperCase => signed(API_KEY).to_uppercase(),
        Sign::OldKey => signed(OLD_KEY),
        Sign::Sha256 => sha256_hex(format!("{text}{API_KEY}").as_bytes()),
        Sign::EmptyKey => signed(""),
        Sign::OtherKey => signed("sandbox-api-kez"),
        Sign::OfAnother => {
            CallbackFields { store_id: "1234", transaction_id: "700", account: "1", amount: "5000" }.md5(API_KEY)
        }
        Sign::Shortened(length) => signed(API_KEY)[..length].to_owned(),
        Sign::Padded => format!("{} ", signed(API_KEY)),
        Sign::Literal(text) => text.to_owned(),
    };
    let time = format!("16563265{time:05}");
    let mut members: Vec<(&str, String)> = vec![
        ("store_id", store_id.clone()),
        ("transaction_id", transaction_id.clone()),
        ("transaction_time", time),
        ("amount", amount.clone()),
    ];
    match named {
        OrderField::Account => members.push(("account", account.clone())),
        OrderField::Invoice => members.push(("invoice", account.clone())),
        OrderField::Both => members.extend([("account", account.clone()), ("invoice", account.clone())]),
        OrderField::Different(other) => members.extend([("invoice", account.clone()), ("account", other.to_owned())]),
        OrderField::Misnamed => members.push(("Account", account.clone())),
    }
    members.push(("sign", sign));
    if matches!(form, Form::Pairs) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &members {
            form.append_pair(name, value);
        }
        return form.finish().into_bytes();
    }
    let json = json(&members, form, edits);
    let in_a_form = |name: &str| url::form_urlencoded::Serializer::new(String::new()).append_pair(name, &json).finish();
    match form {
        Form::JsonInPairs => in_a_form("data"),
        Form::BareJsonInPairs => url::form_urlencoded::byte_serialize(json.as_bytes()).collect(),
        Form::InAList => format!("[{json}]"),
        Form::InAText => serde_json::to_string(&json).unwrap(),
        Form::Strings | Form::Numbers | Form::Pairs | Form::Spaced | Form::Escaped => json,
    }
    .into_bytes()
}

fn json(members: &[(&str, String)], form: Form, edits: &[MemberEdit]) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let literal = |name: &str, value: &String| match form {
        Form::Numbers if name != "sign" && value.bytes().any(|byte| byte.is_ascii_digit()) => value.clone(),
        Form::Escaped => {
            format!("\"{}\"", value.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>())
        }
        _ => quoted(value),
    };
    let mut members: Vec<(String, String)> =
        members.iter().map(|(name, value)| (quoted(name), literal(name, value))).collect();
    for edit in edits {
        match *edit {
            MemberEdit::Drop(place) if place < members.len() => drop(members.remove(place)),
            MemberEdit::Double(place, raw, first) if place < members.len() => {
                let second = (members[place].0.clone(), raw.to_owned());
                members.insert(if first { 0 } else { members.len() }, second);
            }
            MemberEdit::Raw(place, raw) if place < members.len() => raw.clone_into(&mut members[place].1),
            // Written as it is, so that an escape in it stays a single escape.
            MemberEdit::Add(name, raw) => members.push((format!("\"{name}\""), raw.to_owned())),
            MemberEdit::Swap(one, other) if one < members.len() && other < members.len() => members.swap(one, other),
            MemberEdit::Drop(_) | MemberEdit::Double(..) | MemberEdit::Raw(..) | MemberEdit::Swap(..) => (),
        }
    }
    let blank = if matches!(form, Form::Spaced) { " \r\n\t" } else { "" };
    let members = members.iter().map(|(name, value)| format!("{blank}{name}{blank}:{blank}{value}{blank}"));
    format!("{blank}{{{}}}{blank}", members.collect::<Vec<_>>().join(","))
}

fn damaged(mut bytes: Vec<u8>, damage: ByteDamage) -> Vec<u8> {
    let at = |permille: usize| bytes.len() * permille / 1_000;
    match damage {
        ByteDamage::BrokenOff(place) => bytes.truncate(at(place)),
        ByteDamage::Flipped(place, byte) => {
            let place = at(place);
            if let Some(old) = bytes.get_mut(place) {
                *old ^= byte;
            }
        }
        ByteDamage::Inserted(place, more) => {
            let place = at(place);
            bytes.splice(place..place, more.iter().copied());
        }
        ByteDamage::Removed(place) => {
            let place = at(place);
            if place < bytes.len() {
                bytes.remove(place);
            }
        }
        ByteDamage::Twice => bytes.extend_from_within(..),
        ByteDamage::Longer => bytes.resize(bytes.len() + 8 * 1_024, b' '),
        ByteDamage::Marked => drop(bytes.splice(0..0, *b"\xef\xbb\xbf")),
    }
    bytes
}

// ---- the second implementation
// ------------------------------------------------------------------------------------------

/// The documented fields of a callback, except its time, which is not signed.
const DOCUMENTED: [&str; 6] = ["store_id", "transaction_id", "account", "invoice", "amount", "sign"];

/// The documented names and values of an object or a form in which none of them is repeated or nested. A value that is
/// neither text nor number counts as empty. Other names may have any value.
fn fields(body: &[u8]) -> Option<HashMap<String, Option<String>>> {
    if let Some(fields) = plain_json::read(body).and_then(flat) {
        return Some(fields);
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let pairs: Vec<(String, String)> = body
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(place) => (&pair[..place], &pair[place + 1..]),
                None => (pair, &b""[..]),
            };
            (decoded(name), decoded(value))
        })
        .collect();
    if let [(name, value)] = pairs.as_slice() {
        let document = if value.is_empty() { name } else { value };
        return flat(plain_json::read(document.as_bytes())?);
    }
    unique(pairs.into_iter().map(|(name, value)| (name, Some(value))))
}

fn flat(document: Json) -> Option<HashMap<String, Option<String>>> {
    let Json::Object(members) = document else { return None };
    let nests = |(name, value): &(String, Json)| {
        DOCUMENTED.contains(&name.as_str()) && matches!(value, Json::List(_) | Json::Object(_))
    };
    if members.iter().any(nests) {
        return None;
    }
    unique(members.into_iter().map(|(name, value)| match value {
        Json::Text(text) | Json::Number(text) => (name, Some(text)),
        _ => (name, None),
    }))
}

fn unique(pairs: impl Iterator<Item = (String, Option<String>)>) -> Option<HashMap<String, Option<String>>> {
    let mut fields = HashMap::new();
    for (name, value) in pairs.filter(|(name, _)| DOCUMENTED.contains(&name.as_str())) {
        if fields.insert(name, value).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// Decodes one word of a form (WHATWG URL, application/x-www-form-urlencoded).
fn decoded(word: &[u8]) -> String {
    let digit = |place: usize| char::from(*word.get(place)?).to_digit(16);
    let mut bytes = Vec::new();
    let mut place = 0;
    while place < word.len() {
        match (word[place], digit(place + 1), digit(place + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap());
                place += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(byte),
        }
        place += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A whole number, also with zeros after a decimal point.
fn whole(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches('0').strip_suffix('.').filter(|_| text.ends_with('0')).unwrap_or(text);
    (!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// The transaction, account and amount of a correctly signed body.
fn claim(body: &[u8]) -> Option<(i64, String, i64)> {
    if body.len() > 8 * 1_024 {
        return None;
    }
    let fields = fields(body)?;
    let said = |name: &str| fields.get(name).cloned().flatten();
    let account = match (said("account"), said("invoice")) {
        (Some(account), Some(invoice)) => (account == invoice).then_some(account)?,
        (account, invoice) => account.or(invoice)?,
    };
    let (store_id, transaction_id, amount) = (said("store_id")?, said("transaction_id")?, said("amount")?);
    let sign = said("sign")?.to_ascii_lowercase();
    let is_signed = [API_KEY, OLD_KEY]
        .iter()
        .any(|key| md5_hex(format!("{store_id}{transaction_id}{account}{amount}{key}").as_bytes()) == sign);
    (is_signed && store_id == "1234").then_some(())?;
    Some((whole(&transaction_id)?, account, whole(&amount)?))
}

// ---- the orders -----------------------------------------------------------------------------------------------------

/// All drafts: transaction, order, amount. Two pairs of them have the same digits in the same order.
const DRAFTS: &[(i64, i64, i64)] = &[
    (700, 1, 5_000),
    (701, 1, 5_000),
    (70, 11, 5_000),
    (702, 2, 5_000),
    (703, 3, 5_000),
    (704, 4, 5_000),
    (705, 5, 5_000),
    (706, 6, 5_000),
    (707, 7, 5_000),
    (7, 8, 1_500),
    (7001, 10, 5_000),
];

/// The transactions that an order may still accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Any,
    Only(i64),
    Nothing,
}

struct World {
    runtime: Runtime,
    api: TestApi,
    takes: HashMap<i64, Takes>,
    before: HashMap<i64, OrderStatus>,
    asked: usize,
    allowed: usize,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (api, before) = runtime.block_on(async {
            let api = TestApi::with(|context| {
                context.gateways = gateway_with("1234", SignAlgorithm::Md5, &[API_KEY, OLD_KEY]);
            })
            .await;
            let mut before = HashMap::new();
            for order_id in 1..=11 {
                before.insert(order_id, prepare(&api, order_id).await);
            }
            (api, before)
        });
        let takes = |(order_id, status): (&i64, &OrderStatus)| {
            let takes = match (order_id, status) {
                (4, OrderStatus::Paid) => Takes::Only(704),
                (3, _) => Takes::Nothing, // its time is over
                (_, OrderStatus::Pending) => Takes::Any,
                _ => Takes::Nothing,
            };
            (*order_id, takes)
        };
        let takes = before.iter().map(takes).collect();
        World { runtime, api, takes, before, asked: 0, allowed: 0 }
    }

    /// Whether this body may be allowed now. If so, its order accepts no other transaction from now on.
    fn decide(&mut self, body: &[u8]) -> bool {
        let Some((transaction_id, account, amount)) = claim(body) else { return false };
        let draft = DRAFTS.iter().find(|(id, ..)| *id == transaction_id);
        let Some((_, order_id, ours)) = draft else { return false };
        if account != order_id.to_string() || amount != *ours {
            return false;
        }
        let takes = self.takes.get_mut(order_id).unwrap();
        let may = matches!(*takes, Takes::Any) || *takes == Takes::Only(transaction_id);
        if may {
            *takes = Takes::Only(transaction_id);
        }
        may
    }

    /// Sends the body and compares the answer.
    fn judge(&mut self, body: &[u8]) -> Result<(), String> {
        let may = self.decide(body);
        self.asked += 1;
        self.allowed += usize::from(may);
        let content_type = ["application/json", "text/plain", "application/x-www-form-urlencoded", "image/png"];
        let headers = [("content-type", content_type[self.asked % content_type.len()])];
        let answer = self.runtime.block_on(self.api.webhook_from("203.0.113.7", &headers, body.to_vec()));
        let expected = if may { 1 } else { 0 };
        let status =
            serde_json::from_str::<serde_json::Value>(&answer.body).ok().and_then(|body| body["status"].as_u64());
        if (answer.status, status) != (200, Some(expected)) {
            return Err(format!("answered {answer:?}, and {expected} is right"));
        }
        if self.asked.is_multiple_of(1_000) { self.judge_orders() } else { Ok(()) }
    }

    /// No order was paid, and orders changed only as an allowed callback changes them.
    fn judge_orders(&self) -> Result<(), String> {
        for (order_id, before) in &self.before {
            let status = self.runtime.block_on(self.api.reread(OrderId(*order_id))).status;
            let expected = match (before, self.takes[order_id]) {
                (OrderStatus::Pending, Takes::Only(_)) => OrderStatus::Confirming,
                (before, _) => *before,
            };
            if status != expected {
                return Err(format!("order {order_id} is {status}, and {expected} is right"));
            }
        }
        Ok(())
    }
}

/// Makes the order with this number, in its state for the rest of the run.
async fn prepare(api: &TestApi, order_id: i64) -> OrderStatus {
    let amount = if order_id == 8 { "15.00" } else { "50.00" };
    let order = api.order_with(serde_json::json!({ "amount": amount })).await;
    assert_eq!(order.id, OrderId(order_id));
    let mut drafts = DRAFTS.iter().filter(|(_, of, _)| *of == order_id).map(|(id, ..)| *id);
    let Some(first) = drafts.next() else { return order.status };
    let mut order = match order_id {
        3 | 5 => api.link_for(&order, first, -1).await,
        _ => api.link(&order, first).await,
    };
    for next in drafts {
        let closed = Settlement::LinkClosed { transaction_id: order.transaction_id.unwrap() };
        api.settle(&order, closed).await;
        order = api.link(&api.reread(order.id).await, next).await;
    }
    let settlement = match order_id {
        4 => Settlement::Paid { transaction_id: order.transaction_id.unwrap() },
        5 => Settlement::Expired,
        6 => Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd")),
        _ => return order.status,
    };
    api.settle(&order, settlement).await.status
}

// ---- the tests ------------------------------------------------------------------------------------------------------

/// Shows: MONEY-16
#[test]
fn mutated_callbacks_are_never_allowed_wrongly_nor_refused_wrongly() {
    let mut world = World::new();
    for body in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(world.judge(&bytes(body)), Ok(()), "{body}");
    }

    Mutations::asked_for("callbacks", 3_000).run(SEEDS, |mut runner: TestRunner| {
        let world = std::cell::RefCell::new(World::new());
        let outcome = runner.run(&mutant(), |body| {
            let judged = world.borrow_mut().judge(&body);
            judged.map_err(|why| TestCaseError::fail(format!("{why}; for mutated.corpus: {}", line(&body))))
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
        let world = world.into_inner();
        assert_eq!(world.judge_orders(), Ok(()));
        println!("{} asked, {} allowed", world.asked, world.allowed);
        assert!(world.allowed * 50 > world.asked, "too few of the mutants are sound");
    });
}

/// All bodies with one valid signature: the same digits, divided into the four fields at every position.
/// Shows: MONEY-16
#[test]
fn every_cut_of_the_same_digits_is_answered_by_our_own_rows_among_mutated_callbacks() {
    let mut world = World::new();
    for (transaction_id, order_id, amount) in [(70, 11, 5_000), (7, 8, 1_500)] {
        let words = ["1234".to_owned(), transaction_id.to_string(), order_id.to_string(), amount.to_string()];
        let text = words.concat();
        let mut allowed = 0;
        for one in 0..=text.len() {
            for two in one..=text.len() {
                for three in two..=text.len() {
                    let words = cut_at(&text, [one, two, three]);
                    let body = body(&words, Sign::Right, OrderField::Account, Form::Strings, &[], 0);
                    let before = world.allowed;
                    assert_eq!(world.judge(&body), Ok(()), "{words:?}");
                    allowed += world.allowed - before;
                }
            }
        }
        // 1234 70 11 5000 and 1234 701 1 5000 are two orders of ours, and one signature is valid for both.
        assert_eq!(allowed, if transaction_id == 70 { 2 } else { 1 }, "{text}");
    }
    assert_eq!(world.judge_orders(), Ok(()));
}

/// The mutants must not all be nonsense: enough of them are correctly signed, and enough may be allowed.
#[test]
fn mutated_callbacks_are_of_every_sort() {
    let mut runner = TestRunner::deterministic();
    let (mut readable, mut signed) = (0, 0);
    for _ in 0..2_000 {
        let body = mutant().new_tree(&mut runner).unwrap().current();
        readable += usize::from(fields(&body).is_some());
        signed += usize::from(claim(&body).is_some());
    }

    assert!((1_000..1_900).contains(&readable), "{readable} of 2000 can be read");
    assert!((200..1_000).contains(&signed), "{signed} of 2000 are correctly signed");
}
