//! One gateway's webhook is flooded, by strangers and by a sender with its key, and the payments of the other gateways go
//! on: each of their calls gets its answer at the first time, and what proves nothing is kept for them as always.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::callback_verdict::CallbackVerdict;
use domain::order::PaymentType;
use reqwest::Client;
use serde_json::{Value, json};
use store::Store;
use store::callbacks::{self, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::gateways::{ACCOUNTS, order_of};
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::gateway_calls::{CLICK_KEY, ClickStepCall, PAYME_KEY, payme_call, payme_create, payme_payment};
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_flood_of_atmos_takes_nothing_that_payme_and_click_need
    a_flood_of_payme_takes_nothing_that_atmos_and_click_need
    a_flood_of_click_takes_nothing_that_atmos_and_payme_need
}

/// Payments at each of the other gateways.
const PAYMENTS: usize = 12;

/// Bodies without a valid signature to each of the other gateways.
const EVIDENCE: usize = 5;

/// Senders of each sort, and how often each sends. A flood should take all places, and not the processors of
/// a machine that does more than this test.
const STRANGERS: usize = 8;
const STRANGERS_EVERY: Duration = Duration::from_millis(200);
/// These all send at the same moment.
const REPEATERS: usize = 64;
const SLOW: usize = 100;
const AT_ONCE_EVERY: Duration = Duration::from_millis(1_000);

/// Shows: INVARIANT-25
async fn a_flood_of_atmos_takes_nothing_that_payme_and_click_need(kind: Kind) {
    others_are_paid_while_flooded(kind, PaymentType::Atmos).await;
}

/// Shows: INVARIANT-25
async fn a_flood_of_payme_takes_nothing_that_atmos_and_click_need(kind: Kind) {
    others_are_paid_while_flooded(kind, PaymentType::Payme).await;
}

/// Shows: INVARIANT-25
async fn a_flood_of_click_takes_nothing_that_atmos_and_payme_need(kind: Kind) {
    others_are_paid_while_flooded(kind, PaymentType::Click).await;
}

async fn others_are_paid_while_flooded(kind: Kind, flooded: PaymentType) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let others: Vec<PaymentType> = PaymentType::ALL.iter().copied().filter(|other| *other != flooded).collect();
    // The orders are there before: this is about calls alone.
    let quiet = orders_of(&app, &others).await;
    let orders = orders_of(&app, &others).await;
    let before = pay_all(&app, quiet).await;

    let flood = Flood::begin(&app, flooded).await;
    let during = pay_all(&app, orders).await;
    let store = app.store().await;
    for other in &others {
        for number in 0..EVIDENCE {
            is_kept(&app, &store, *other, &format!("evidence {number} for {other}")).await;
        }
    }
    let sent = flood.end().await;

    println!("{flooded} flooded with {sent:?} calls; payments before: {before:?}, during: {during:?}");
    assert!(sent.iter().all(|sent| *sent > 0), "{sent:?}: garbage, wrongly signed, repeats, slow bodies");
    let unkept = app.metric(&format!("tasdiq_callbacks_unkept_total{{gateway=\"{flooded}\"}}")).await;
    assert!(unkept > 0, "the flood used up its own share of what is kept");
}

/// An order that waits for its payment: its number, and the draft of Atmos.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    gateway: PaymentType,
    order_id: i64,
    transaction_id: i64,
}

async fn orders_of(app: &TestApp, gateways: &[PaymentType]) -> Vec<Waiting> {
    let mut orders = Vec::new();
    for _ in 0..PAYMENTS {
        for gateway in gateways {
            let (order_id, transaction_id) = match gateway {
                PaymentType::Atmos => {
                    let linked = app.linked_order_of(&tea()).await;
                    (linked.id, linked.transaction_id)
                }
                PaymentType::Payme | PaymentType::Click => (order_of(app, gateway.as_str()).await.0, 0),
            };
            orders.push(Waiting { gateway: *gateway, order_id, transaction_id });
        }
    }
    orders
}

/// Pays these orders, some at a time, and waits until all are paid. Returns the median and the longest time of a payment.
/// No call may be refused, and none may be sent twice.
async fn pay_all(app: &TestApp, orders: Vec<Waiting>) -> (Duration, Duration) {
    let mut times = Vec::new();
    for some in orders.chunks(4) {
        let paying = some.iter().map(|order| async move {
            let began = Instant::now();
            pay(app, *order).await;
            began.elapsed()
        });
        times.extend(futures_util::future::join_all(paying).await);
    }
    for order in &orders {
        app.wait_for(order.order_id, "paid").await;
        let history = app.history(order.order_id).await;
        assert_eq!(history.times_entered("paid"), 1, "{order:?}");
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

async fn pay(app: &TestApp, order: Waiting) {
    match order.gateway {
        PaymentType::Atmos => {
            assert_eq!(app.pay(order.transaction_id).await, "debited", "{order:?}");
            let sent = app.sent_callbacks(order.transaction_id).await;
            assert_eq!(sent.len(), 1, "answered at the first time: {sent:?}");
        }
        PaymentType::Payme => {
            let external_id = format!("{:024x}", order.order_id);
            let client = &app.http();
            for (method, params) in [
                ("CheckPerformTransaction", payme_payment(order.order_id)),
                ("CreateTransaction", payme_create(&external_id, order.order_id, now_ms())),
                ("PerformTransaction", json!({ "id": external_id })),
                ("CheckTransaction", json!({ "id": external_id })),
            ] {
                let answer = payme_call(client, &app.url, PAYME_KEY, method, &params).send().await.unwrap();
                let answer: Value = answer.json().await.unwrap();
                assert!(answer["result"].is_object(), "{method} {order:?}: {answer}");
            }
        }
        PaymentType::Click => {
            let pay = format!("{}/click/_sim/pay/{}", app.sandbox_url, order.order_id);
            let attempt = app.http().post(pay).json(&json!({ "amount": "50.00" })).send().await.unwrap();
            let attempt: Value = attempt.json().await.unwrap();
            assert_eq!(attempt["outcome"], "debited", "{order:?}: {attempt}");
            let calls = app.open(&format!("{}/click/_sim/calls", app.sandbox_url)).await.json();
            let account = order.order_id.to_string();
            let of_order = |call: &&Value| call["account"].as_str() == Some(&account);
            let calls: Vec<&Value> = calls["calls"].as_array().unwrap().iter().filter(of_order).collect();
            assert_eq!(calls.len(), 2, "answered at the first time: {calls:?}");
        }
    }
}

/// Sends a body that nothing proves until it is kept. The answer does not wait longer than a second for that, which a busy
/// machine may need.
async fn is_kept(app: &TestApp, store: &Store, gateway: PaymentType, body: &str) {
    let address = format!("{}/{gateway}/webhook/", app.url);
    let wanted = Wanted { verdict: Some(CallbackVerdict::Unreadable), order_id: None, since_ms: 0, limit: 1_000 };
    wait_until(&format!("{body:?} to be kept"), PATIENCE, async || {
        let answer = app.http().post(&address).body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{gateway}");
        let kept = callbacks::list(store, wanted).await.unwrap();
        kept.iter().any(|kept| kept.body == body).then_some(())
    })
    .await;
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// A flood of one gateway's webhook. It ends when dropped.
struct Flood {
    senders: JoinSet<()>,
    /// Garbage, wrongly signed calls, repeats of a rightly signed call, and slow bodies.
    sent: Arc<[AtomicU64; 4]>,
}

impl Flood {
    /// Begins a flood, and waits until calls of each sort are there.
    async fn begin(app: &TestApp, gateway: PaymentType) -> Self {
        let flood = Flooding::of(app, gateway).await;
        let (mut senders, sent) = (JoinSet::new(), Arc::<[AtomicU64; 4]>::default());
        let sorts = [(0, STRANGERS, STRANGERS_EVERY), (1, STRANGERS, STRANGERS_EVERY), (2, REPEATERS, AT_ONCE_EVERY)];
        for (sort, count, every) in sorts {
            for sender in 0..count {
                let (flood, sent) = (flood.clone(), Arc::clone(&sent));
                senders.spawn(async move {
                    let mut ticks = tokio::time::interval(every);
                    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    for number in 0_usize.. {
                        ticks.tick().await;
                        let nonce = sender * 1_000_000 + number;
                        if let Ok(answer) = flood.call(sort, nonce).send().await {
                            let _ = answer.bytes().await;
                        }
                        sent[sort].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        let webhook = app.url.trim_start_matches("http://").to_owned();
        for _ in 0..SLOW {
            let (webhook, sent) = (webhook.clone(), Arc::clone(&sent));
            senders.spawn(async move {
                // One that finds no place is answered at once.
                let mut ticks = tokio::time::interval(AT_ONCE_EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    slow_body(&webhook, gateway).await;
                    sent[3].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("the flood", PATIENCE, async || {
            sent[..3].iter().all(|sent| sent.load(Ordering::Relaxed) > 100).then_some(())
        })
        .await;
        Flood { senders, sent }
    }

    /// Ends it once a slow body was answered, too, and returns how many were sent of each sort.
    async fn end(mut self) -> [u64; 4] {
        wait_until("the answer to a slow body", PATIENCE, async || {
            (self.sent[3].load(Ordering::Relaxed) > 0).then_some(())
        })
        .await;
        self.senders.shutdown().await;
        [0, 1, 2, 3].map(|sort: usize| self.sent[sort].load(Ordering::Relaxed))
    }
}

/// What a flood sends.
#[derive(Clone)]
struct Flooding {
    client: Client,
    url: String,
    gateway: PaymentType,
    order_id: i64,
    /// The rightly signed callback of Atmos that is repeated.
    callback: String,
    /// Payme's time of the transaction that is repeated.
    at_ms: i64,
}

impl Flooding {
    async fn of(app: &TestApp, gateway: PaymentType) -> Self {
        let (order_id, callback) = match gateway {
            PaymentType::Atmos => {
                let linked = app.linked_order_of(&tea()).await;
                (linked.id, app.sign(linked.transaction_id, linked.id, "50.00").await)
            }
            PaymentType::Payme | PaymentType::Click => (order_of(app, gateway.as_str()).await.0, String::new()),
        };
        Flooding { client: app.http_of(STRANGER), url: app.url.clone(), gateway, order_id, callback, at_ms: now_ms() }
    }

    fn call(&self, sort: usize, nonce: usize) -> reqwest::RequestBuilder {
        let Flooding { client, url, order_id, at_ms, .. } = self;
        let webhook = format!("{url}/{}/webhook/", self.gateway);
        let is_right = sort == 2;
        match (sort, self.gateway) {
            (0, _) => client.post(webhook).body(format!("garbage {nonce}")),
            (_, PaymentType::Atmos) if is_right => client.post(webhook).body(self.callback.clone()),
            (_, PaymentType::Atmos) => {
                let mut forged: Value = serde_json::from_str(&self.callback).unwrap();
                forged["sign"] = json!(format!("{nonce:040x}"));
                client.post(webhook).body(forged.to_string())
            }
            (_, PaymentType::Payme) => {
                let key = if is_right { PAYME_KEY } else { "another-key" };
                // Two calls of one transaction, and many that read.
                let external_id = format!("{:024x}", 0xf100d);
                let (method, params) = match nonce % 4 {
                    0 => ("CheckPerformTransaction", payme_payment(*order_id)),
                    1 => ("CheckTransaction", json!({ "id": external_id })),
                    2 => ("CreateTransaction", payme_create(&external_id, *order_id, *at_ms)),
                    _ => ("PerformTransaction", json!({ "id": external_id })),
                };
                payme_call(client, url, key, method, &params)
            }
            (_, PaymentType::Click) => {
                let key = if is_right { CLICK_KEY } else { "another-key" };
                let click_trans_id = if is_right { 0xf100d } else { i64::try_from(nonce).unwrap() + 1 };
                let prepare_id = (nonce % 2 == 1).then_some(1);
                ClickStepCall { click_trans_id, order_id: *order_id, prepare_id }.request(client, url, key)
            }
        }
    }
}

/// The senders of a flood have an address of their own. On Linux all of 127.0.0.0/8 is this machine.
const STRANGER: [u8; 4] = [127, 0, 0, 9];

/// Sends the beginning of a body, and waits until we give up.
async fn slow_body(webhook: &str, gateway: PaymentType) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((STRANGER, 0).into()).unwrap();
    let Ok(mut stream) = socket.connect(webhook.parse().unwrap()).await else { return };
    let head = format!("POST /{gateway}/webhook/ HTTP/1.1\r\nHost: {webhook}\r\nContent-Length: 100\r\n\r\n{{");
    if stream.write_all(head.as_bytes()).await.is_ok() {
        let _ = stream.read(&mut [0; 64]).await;
    }
}
