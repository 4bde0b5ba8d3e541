//! Calls that Payme should never send: none makes the webhook answer other than with HTTP 200 and one outcome, and none that
//! is refused writes anything.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use sqlx::AnyConnection;
use tokio::runtime::Runtime;

use super::*;
use crate::support::mutations::{Mutations, bytes, line};

/// Bodies that every run judges.
const CORPUS: &str = include_str!("mutated.corpus");

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contracts/payme/mutated.seeds");

/// The orders that calls may name; numbers beyond them are unknown.
const ORDERS: i64 = 60;

const METHODS: &[&str] = &[
    "CheckPerformTransaction",
    "CreateTransaction",
    "CreateTransaction",
    "CreateTransaction",
    "PerformTransaction",
    "PerformTransaction",
    "CancelTransaction",
    "CheckTransaction",
    "GetStatement",
    "SetFiscalData",
    "ChangePassword",
    "createTransaction",
    "",
];

const CREDENTIALS: &[&str] = &["Paycom:wrong", "Paycom:", "Paycom", "", ":", "Paycom:sandbox-payme-key", "root:root"];

/// One call: its credentials if they are wrong, and its body.
fn mutant(now_ms: i64) -> impl Strategy<Value = (Option<&'static str>, Vec<u8>)> {
    let id = prop_oneof![9 => (0..90_u32).prop_map(|id| format!("\"{id:024x}\"")), 1 => odd_value()];
    let order = prop_oneof![
        9 => (1..ORDERS + 5).prop_map(|id| format!("{{\"order_id\":\"{id}\"}}")),
        1 => (1..ORDERS).prop_map(|id| format!("{{\"order_id\":{id},\"phone\":\"+998\"}}")),
        1 => odd_value(),
    ];
    let amount = prop_oneof![9 => Just("5000".to_owned()), 1 => odd_value()];
    let time = prop_oneof![
        9 => (0..1_000_000_i64).prop_map(move |before| (now_ms - before).to_string()),
        1 => (0..100_000_000_i64).prop_map(move |before| (now_ms - before).to_string()),
        1 => odd_value(),
    ];
    let reason = prop_oneof![9 => (1..11_i64).prop_map(|reason| reason.to_string()), 1 => odd_value()];
    let call_id = prop_oneof![9 => (0..999_i64).prop_map(|id| id.to_string()), 1 => odd_value()];
    let body = (select(METHODS), id, order, amount, time, reason, call_id).prop_map(
        |(method, id, order, amount, time, reason, call_id)| {
            format!(
                r#"{{"method":"{method}","params":{{"id":{id},"time":{time},"amount":{amount},"account":{order},"reason":{reason},"from":{time},"to":{time},"type":"PERFORM","fiscal_data":{{"receipt_id":{reason}}}}},"id":{call_id}}}"#
            )
            .into_bytes()
        },
    );
    let cuts =
        prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec((any::<u16>(), any::<u8>(), 0..4_u8), 1..4)];
    let credentials = prop_oneof![12 => Just(None), 1 => select(CREDENTIALS).prop_map(Some)];
    (credentials, body, cuts).prop_map(|(credentials, mut body, cuts)| {
        for (place, byte, how) in cuts {
            let place = usize::from(place) % body.len().max(1);
            match how {
                0 if !body.is_empty() => body[place] = byte,
                1 if !body.is_empty() => drop(body.remove(place)),
                2 => body.insert(place.min(body.len()), byte),
                _ => body.truncate(place),
            }
        }
        (credentials, body)
    })
}

fn odd_value() -> impl Strategy<Value = String> {
    select(
        &[
            "null",
            "true",
            "\"\"",
            "{}",
            "[]",
            "-1",
            "0",
            "5000.0",
            "5e3",
            "\"5000\"",
            "99999999999999999999",
            "\"\\u0000\"",
            "{\"order_id\":\"01\"}",
            "1,\"id\":2",
        ][..],
    )
    .prop_map(str::to_owned)
}

/// So many calls meet the same orders. Then others take their place, on which nothing has happened yet.
const FRESH_AFTER: u32 = 10_000;

/// The webhook with its orders.
struct World {
    runtime: Runtime,
    webhook: Webhook,
    beside: AnyConnection,
    written: String,
    asked: u32,
    positive: u32,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (webhook, beside, written) = runtime.block_on(async {
            let webhook = Webhook::over(Fixture::sqlite().await);
            for _ in 0..ORDERS {
                webhook.order().await;
            }
            let day_ms = 24 * 3_600_000;
            webhook.f.execute(&[format!("update orders set expires_at_ms = expires_at_ms + {day_ms}")]).await;
            let mut beside = webhook.f.any_connection().await;
            let written = written(&mut beside).await;
            (webhook, beside, written)
        });
        World { runtime, webhook, beside, written, asked: 0, positive: 0 }
    }

    fn judge(&mut self, credentials: Option<&str>, body: &[u8]) -> Result<(), String> {
        let World { runtime, webhook, beside, .. } = self;
        let right = format!("Paycom:{KEY}");
        let (answer, after) = runtime.block_on(async {
            let answer = webhook.send(Some(credentials.unwrap_or(&right)), body.to_vec()).await;
            (answer, written(beside).await)
        });
        let before = std::mem::replace(&mut self.written, after.clone());
        self.asked += 1;
        if answer.status != StatusCode::OK {
            return Err(format!("HTTP {}", answer.status));
        }
        let json: Value = serde_json::from_str(&answer.text).map_err(|fault| format!("{fault}: {}", answer.text))?;
        let (result, error) = (json.get("result"), json.get("error"));
        if result.is_some() == error.is_some() || json.get("id").is_none() {
            return Err(format!("no single outcome: {json}"));
        }
        if credentials.is_some() && result.is_some() {
            return Err(format!("a wrong key opened it: {json}"));
        }
        // A transaction that is too old is canceled by the call that finds it so.
        let is_timeout = error.is_some_and(|error| error["code"] == -31_008);
        if error.is_some() && before != after && !is_timeout {
            return Err(format!("a refusal wrote: {json}, {before} became {after}"));
        }
        self.positive += u32::from(result.is_some());
        Ok(())
    }
}

impl World {
    fn pays_no_order_twice(&self) {
        let doubled = self.runtime.block_on(self.webhook.f.number(
            "select count(*) from (select order_id from transactions where debited_at_ms is not null and closed_at_ms is null
                group by order_id having count(*) > 1) as doubled",
        ));
        assert_eq!(doubled, 0, "no order is paid twice");
    }
}

/// All that calls can change, as one text.
async fn written(beside: &mut AnyConnection) -> String {
    let read = sqlx::query_scalar(
        "select coalesce((select count(*) || ' ' || sum(coalesce(debited_at_ms, 0) + coalesce(closed_at_ms, 0)) from transactions), '')
            || ' ' || (select count(*) from fiscal_receipts) || ' ' || (select count(*) from orders where status = 'pending')",
    );
    read.fetch_one(beside).await.unwrap()
}

/// Shows: MONEY-16
#[test]
fn mutated_calls_of_payme_write_nothing_where_they_are_refused() {
    let mut world = World::new();
    for body in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(world.judge(None, &bytes(body)), Ok(()), "{body}");
    }
    Mutations::asked_for("calls of Payme", 2_000).run(SEEDS, |mut runner: TestRunner| {
        let world = std::cell::RefCell::new(World::new());
        let now_ms = world.borrow().webhook.f.store.now_ms();
        let outcome = runner.run(&mutant(now_ms), |(credentials, body)| {
            let mut world = world.borrow_mut();
            if world.asked > 0 && world.asked.is_multiple_of(FRESH_AFTER) {
                world.pays_no_order_twice();
                let (asked, positive) = (world.asked, world.positive);
                *world = World { asked, positive, ..World::new() };
            }
            let judged = world.judge(credentials, &body);
            judged.map_err(|why| TestCaseError::fail(format!("{why}; {credentials:?} {}", line(&body))))
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
        let world = world.into_inner();
        println!("{} asked, {} with a positive answer", world.asked, world.positive);
        assert!(world.positive * 20 > world.asked, "too few of the mutants are sound");
        world.pays_no_order_twice();
    });
}
