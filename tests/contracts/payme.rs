//! Payme's calls through its webhook, without workers: each row of the table of what must be answered when, the mistakes that
//! others made, and calls that no gateway should send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::{ApiContext, ApiSettings, CallbackAddresses};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::id::{OrderId, OrderToken};
use domain::order::{NewOrder, Order, OrderAccount, OrderStatus, PaymentType};
use domain::secret::Secret;
use domain::shops::{Shop, Shops};
use domain::transaction::{StoredState, StoredTransaction};
use futures_util::future::join_all;
use gateway::callback_addresses::AddressCheck;
use gateway::coordination::{CoordinatedAccount, Coordination};
use gateway::payme::{CancelPolicy, PaymeGateway, PaymeSettings};
use gateway::{Gateway, Gateways};
use poem::endpoint::BoxEndpoint;
use poem::http::{Method, StatusCode};
use poem::{Endpoint, Request, Response};
use process::notice::Notice;
use process::relay::Relay;
use queue::{LocalQueue, Queue};
use serde_json::{Value, json};
use store::orders::{self, Created, LocalLink};
use store::{callbacks, fiscal_receipts, transactions};
use tokio_util::sync::CancellationToken;
use worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_order, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};
use crate::support::walked_calls::{Seen, Walk};

on_every_database! {
    every_row_of_the_table_is_answered_as_it_and_the_reference_say
    fifty_creates_of_one_order_at_once_have_one_positive_answer
    the_same_create_fifty_times_at_once_gets_one_answer
    a_repeat_that_writes_the_account_otherwise_gets_the_same_answer
    a_canceled_transaction_frees_its_order_at_once
    a_repeated_perform_keeps_its_first_time
    a_statement_lists_by_paymes_time_in_pages
    a_fiscal_receipt_is_kept_once_per_kind
    a_wrong_key_writes_nothing_but_its_evidence
    a_refund_that_is_refused_leaves_the_money
    an_order_has_its_payme_link_in_the_answer_that_makes_it
    the_address_of_a_shop_opens_its_own_account_alone
    a_call_by_another_http_method_is_an_error_with_http_200
    a_stranger_is_refused_by_address_where_the_list_counts
    a_database_that_hangs_is_a_system_error_and_the_repeat_is_answered
    a_call_that_the_database_refused_writes_nothing_afterwards_either
    a_call_that_is_written_after_its_error_is_the_one_that_its_repeat_is_answered_from
    a_payment_told_while_no_worker_lives_is_paid_after_their_start
    a_payment_given_back_while_no_worker_lives_is_refunded_after_their_start
}

mod mutated;

const KEY: &str = "the-key-of-the-cashbox-36-characters";
const HOURS_12_MS: i64 = 43_200_000;

/// The HTTP side over a database, with one cashbox.
struct Webhook {
    f: Fixture,
    endpoint: BoxEndpoint<'static, Response>,
    gateway: PaymeGateway,
    _ends: CancellationToken,
}

/// One answer: its status and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    fn code(&self) -> Option<i64> {
        self.json()["error"]["code"].as_i64()
    }

    #[track_caller]
    fn result(&self) -> Value {
        let result = self.json()["result"].clone();
        assert!(result.is_object(), "{self:?}");
        result
    }
}

impl Webhook {
    fn over(f: Fixture) -> Self {
        Webhook::with(f, |_| ())
    }

    fn with(f: Fixture, change: impl FnOnce(&mut PaymeSettings)) -> Self {
        let mut settings: PaymeSettings = PaymeSettings { keys: vec![Secret::new(KEY)], ..config::defaults().unwrap() };
        change(&mut settings);
        let account = CoordinatedAccount::new(PaymentType::Payme, settings.identity());
        let gateway = PaymeGateway::new(settings, Coordination::local(account, None));
        let ends = CancellationToken::new();
        let accounts = BTreeMap::from([(PaymentType::Payme, gateway.identity().clone())]);
        let context = ApiContext {
            shops: Shops::from_iter([Shop { accounts, ..Shop::default() }]),
            notice: Notice::start(&f.store, None, &ends),
            store: f.store.clone(),
            gateways: Gateways::new([Gateway::Payme(gateway.clone())]),
            queue: Queue::Local(LocalQueue::default()),
            consumption_check: None,
            settings: ApiSettings { link_wait: Duration::ZERO, ..config::defaults().unwrap() },
            callback_addresses: CallbackAddresses::default(),
            public_url: "http://shop.test/".parse().unwrap(),
            payment_ttl: Duration::from_secs(1_800),
            link_ttl: Duration::from_secs(86_400),
            role: "api",
        };
        Webhook { f, endpoint: api::routes(context), gateway, _ends: ends }
    }

    /// Sends bytes with these credentials.
    async fn send(&self, credentials: Option<&str>, body: impl Into<poem::Body>) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri_str("/payme/webhook/");
        if let Some(credentials) = credentials {
            request = request.header("authorization", format!("Basic {}", BASE64_STANDARD.encode(credentials)));
        }
        self.answer(request.content_type("text/json; charset=UTF-8").body(body)).await
    }

    async fn answer(&self, request: Request) -> Answer {
        let response = self.endpoint.get_response(request).await;
        Answer { status: response.status(), text: response.into_body().into_string().await.unwrap() }
    }

    async fn call(&self, method: &str, params: Value) -> Answer {
        let body = json!({ "method": method, "params": params, "id": 7 });
        let answer = self.send(Some(&format!("Paycom:{KEY}")), body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json()["id"], 7, "{answer:?}");
        answer
    }

    async fn check(&self, at: &Place) -> Answer {
        self.call("CheckPerformTransaction", json!({ "amount": at.amount, "account": at.account })).await
    }

    async fn create(&self, at: &Place) -> Answer {
        let time = self.f.store.now_ms() - 1_000;
        self.create_at(at, at.time.unwrap_or(time)).await
    }

    async fn create_at(&self, at: &Place, time: i64) -> Answer {
        let params = json!({ "id": at.id, "time": time, "amount": at.amount, "account": at.account });
        self.call("CreateTransaction", params).await
    }

    async fn perform(&self, id: &str) -> Answer {
        self.call("PerformTransaction", json!({ "id": id })).await
    }

    async fn cancel(&self, id: &str, reason: i64) -> Answer {
        self.call("CancelTransaction", json!({ "id": id, "reason": reason })).await
    }

    async fn inspect(&self, id: &str) -> Answer {
        self.call("CheckTransaction", json!({ "id": id })).await
    }

    async fn order(&self) -> Order {
        let write = |id: OrderId, _: &OrderToken| format!("https://checkout.example/{id}");
        let link = LocalLink { write: Arc::new(write), payment_ttl_ms: PAYMENT_TTL_MS };
        let gateway = self.gateway.identity().clone();
        let new = NewOrder { account: Some(OrderAccount { payment_type: PaymentType::Payme, gateway }), ..new_order() };
        match orders::create_linked(&self.f.store, &new, None, &link).await.unwrap() {
            Created::New(order) => order,
            other => panic!("{other:?}"),
        }
    }

    async fn rows(&self, order: &Order) -> Vec<StoredTransaction> {
        transactions::of_order(&self.f.store, order.id).await.unwrap()
    }

    /// Makes the transactions of the order that old.
    async fn age(&self, order: &Order, age_ms: i64) {
        let began = self.f.store.now_ms() - age_ms;
        self.f
            .execute(&[format!("update transactions set gateway_at_ms = {began} where order_id = {}", order.id)])
            .await;
    }
}

impl Webhook {
    /// Starts a worker beside the webhook, until the token is cancelled.
    fn work(&self) -> CancellationToken {
        let context = WorkerContext {
            store: self.f.store.clone(),
            gateways: Gateways::new([Gateway::Payme(self.gateway.clone())]),
            public_url: "http://shop.test/".parse().unwrap(),
            settings: config::defaults().unwrap(),
            payment_ttl: Duration::from_secs(1_800),
            link_ttl: Duration::from_secs(86_400),
        };
        let queues = WorkerOptions::ALL_QUEUES.to_vec();
        let options = WorkerOptions { slots: 4, queues, stop_grace: Duration::from_secs(1) };
        let file = env!("CARGO_BIN_EXE_tasdiq").into();
        let suspects = SuspectProgram { file, arguments: Vec::new(), settings: Secret::new("{}") };
        let (queue, stop) = (Queue::Local(LocalQueue::default()), CancellationToken::new());
        let working = JobWorker::new(context, queue.clone(), options, suspects).run(stop.clone());
        let relaying = Relay::new(self.f.store.clone(), queue, true).run(stop.clone());
        tokio::spawn(async move { tokio::join!(working, relaying) });
        stop
    }

    async fn until(&self, order: &Order, status: OrderStatus) {
        let began = std::time::Instant::now();
        while self.f.find(order).await.status != status {
            let seen = self.f.find(order).await;
            assert!(began.elapsed() < Duration::from_secs(10), "not {status} within 10 s: {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What a call names.
#[derive(Clone, Debug)]
struct Place {
    id: String,
    account: Value,
    amount: Value,
    time: Option<i64>,
}

impl Place {
    fn of(order: &Order, number: usize) -> Self {
        Place {
            id: format!("{number:024x}"),
            account: json!({ "order_id": order.id.to_string() }),
            amount: json!(order.amount.get()),
            time: None,
        }
    }
}

/// What must be answered: a yes, a state, an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Yes,
    State(i64),
    Code(i64),
    /// The very answer that the first call of this method got.
    Same,
    /// The table says nothing.
    Nothing,
}
use Want::{Code, Nothing, Same, State, Yes};

/// How things stand before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    NoAccountField,
    NoSuchOrder,
    OrderOfAnotherGateway,
    OrderIs(OrderStatus),
    TimeIsOver,
    HeldByAnother,
    HeldByAnotherTooLong,
    OtherAmount,
    Fresh,
    TooOldAtBirth,
    Created,
    CreatedTooLongAgo,
    CreatedWithAnotherAmount,
    CreatedForAnotherOrder,
    CreatedThenOrderIs(OrderStatus),
    Performed,
    Canceled,
    Refunded,
}

impl Given {
    /// The situation as the page of decisions writes it.
    fn words(self) -> String {
        let words = match self {
            Given::NoAccountField => "the account field is missing",
            Given::NoSuchOrder => "no such order",
            Given::OrderOfAnotherGateway => "the order is of another account or gateway",
            Given::OrderIs(status) => return format!("the order is `{status}`"),
            Given::TimeIsOver => "the order's time to pay is over",
            Given::HeldByAnother => "another transaction holds the order",
            Given::HeldByAnotherTooLong => "another one has held it for more than 12 h",
            Given::OtherAmount => "the amount is not the order's",
            Given::Fresh => "the order can be paid; the id is new",
            Given::TooOldAtBirth => "the id is new, and its `time` is more than 12 h ago",
            Given::Created => "created",
            Given::CreatedTooLongAgo => "created more than 12 h ago, by Payme's time",
            Given::CreatedWithAnotherAmount => "created with another amount",
            Given::CreatedForAnotherOrder => "created for another order",
            Given::CreatedThenOrderIs(status) => return format!("created, then the order is `{status}`"),
            Given::Performed => "performed",
            Given::Canceled => "canceled before it was performed",
            Given::Refunded => "canceled after it was performed",
        };
        words.to_owned()
    }
}

/// The calls of the table, in the order of its columns.
const CALLS: [&str; 4] = ["CheckPerform", "Create", "Perform", "Cancel"];

/// The table: situation, then the answers to Check, Create, Perform and Cancel.
const TABLE: &[(Given, [Want; 4])] = &[
    (Given::NoAccountField, [Code(-31050), Code(-31050), Nothing, Nothing]),
    (Given::NoSuchOrder, [Code(-31050), Code(-31050), Nothing, Nothing]),
    (Given::OrderOfAnotherGateway, [Code(-31050), Code(-31050), Nothing, Nothing]),
    (Given::OrderIs(OrderStatus::Paid), [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::OrderIs(OrderStatus::Refunded), [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::OrderIs(OrderStatus::Expired), [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::OrderIs(OrderStatus::Canceled), [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::OrderIs(OrderStatus::Failed), [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::OrderIs(OrderStatus::Review), [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::TimeIsOver, [Code(-31051), Code(-31051), Nothing, Nothing]),
    (Given::HeldByAnother, [Code(-31052), Code(-31052), Nothing, Nothing]),
    (Given::HeldByAnotherTooLong, [Yes, State(1), Nothing, Nothing]),
    (Given::OtherAmount, [Code(-31001), Code(-31001), Nothing, Nothing]),
    (Given::Fresh, [Yes, State(1), Code(-31003), Code(-31003)]),
    (Given::TooOldAtBirth, [Nothing, Code(-31008), Nothing, Nothing]),
    (Given::Created, [Code(-31052), Same, State(2), State(-1)]),
    (Given::CreatedTooLongAgo, [Yes, Code(-31008), Code(-31008), State(-1)]),
    (Given::CreatedWithAnotherAmount, [Nothing, Code(-31008), Nothing, Nothing]),
    (Given::CreatedForAnotherOrder, [Nothing, Code(-31008), Nothing, Nothing]),
    // The card may be debited by then: only Create can forbid a payment.
    (Given::CreatedThenOrderIs(OrderStatus::Expired), [Code(-31051), Code(-31051), State(2), State(-1)]),
    (Given::CreatedThenOrderIs(OrderStatus::Canceled), [Code(-31051), Code(-31051), State(2), State(-1)]),
    (Given::CreatedThenOrderIs(OrderStatus::Review), [Code(-31051), Code(-31051), State(2), State(-1)]),
    (Given::Performed, [Nothing, Code(-31008), Same, State(-2)]),
    (Given::Canceled, [Yes, Code(-31008), Code(-31008), Same]),
    (Given::Refunded, [Nothing, Code(-31008), Code(-31008), Same]),
];

/// Makes the situation; returns the order, what the call names, and the first answer of the call that is repeated.
async fn make(webhook: &Webhook, given: Given, number: usize) -> (Order, Place, Option<Answer>) {
    let order = webhook.order().await;
    let mut at = Place::of(&order, number);
    let other = Place::of(&order, number + 1_000_000);
    let update = |set: String| format!("update orders set {set} where id = {}", order.id);
    let mut first = None;
    match given {
        Given::NoAccountField => at.account = json!({ "phone": "1" }),
        Given::NoSuchOrder => at.account = json!({ "order_id": "999999999" }),
        Given::OrderOfAnotherGateway => webhook.f.execute(&[update("gateway = 'payme:another'".to_owned())]).await,
        Given::OrderIs(status) => webhook.f.execute(&[update(format!("status = '{status}'"))]).await,
        Given::TimeIsOver => webhook.f.execute(&[update("expires_at_ms = 1".to_owned())]).await,
        Given::HeldByAnother => assert_eq!(webhook.create(&other).await.result()["state"], 1),
        Given::HeldByAnotherTooLong => {
            assert_eq!(webhook.create(&other).await.result()["state"], 1);
            webhook.age(&order, HOURS_12_MS + 1).await;
        }
        Given::OtherAmount => at.amount = json!(order.amount.get() + 1),
        Given::Fresh => (),
        Given::TooOldAtBirth => at.time = Some(webhook.f.store.now_ms() - HOURS_12_MS - 1),
        Given::Created | Given::CreatedTooLongAgo => {
            at.time = Some(webhook.f.store.now_ms() - 1_000);
            first = Some(webhook.create(&at).await);
            if given == Given::CreatedTooLongAgo {
                webhook.age(&order, HOURS_12_MS + 1).await;
            }
        }
        Given::CreatedWithAnotherAmount => {
            webhook.create(&at).await;
            at.amount = json!(order.amount.get() + 1);
        }
        Given::CreatedForAnotherOrder => {
            webhook.create(&at).await;
            at.account = json!({ "order_id": webhook.order().await.id.to_string() });
        }
        Given::CreatedThenOrderIs(status) => {
            webhook.create(&at).await;
            webhook.f.execute(&[update(format!("status = '{status}'"))]).await;
        }
        Given::Performed => {
            webhook.create(&at).await;
            first = Some(webhook.perform(&at.id).await);
        }
        Given::Canceled => {
            webhook.create(&at).await;
            first = Some(webhook.cancel(&at.id, 3).await);
        }
        Given::Refunded => {
            webhook.create(&at).await;
            webhook.perform(&at.id).await;
            first = Some(webhook.cancel(&at.id, 5).await);
        }
    }
    (order, at, first)
}

/// Shows: MONEY-16
async fn every_row_of_the_table_is_answered_as_it_and_the_reference_say(f: Fixture) {
    let webhook = Webhook::over(f);
    let mut walk = Walk::default();
    for (row, (given, wants)) in TABLE.iter().enumerate() {
        walk.begin(&given.words());
        for (column, want) in wants.iter().enumerate() {
            if *want == Nothing {
                walk.skip();
                continue;
            }
            let name = format!("{given:?}, call {column}");
            let (order, at, first) = make(&webhook, *given, 10 * row + column).await;
            let before = (webhook.rows(&order).await, webhook.f.find(&order).await.status);
            let seen = Seen::of(&webhook.f, &order).await;

            let call = async || match column {
                0 => webhook.check(&at).await,
                1 => webhook.create(&at).await,
                2 => webhook.perform(&at.id).await,
                _ => webhook.cancel(&at.id, 3).await,
            };
            let answer = call().await;

            let said = match (want, answer.code()) {
                (Same, _) => "as the first time".to_owned(),
                (Yes, _) => "allow".to_owned(),
                (_, Some(code)) => code.to_string(),
                (_, None) => format!("state {}", answer.result()["state"]),
            };
            walk.add(CALLS[column], &said, &at.id, &seen, &Seen::of(&webhook.f, &order).await);
            match want {
                Yes => assert_eq!(answer.result(), json!({ "allow": true }), "{name}"),
                State(state) => assert_eq!(answer.result()["state"], *state, "{name}: {answer:?}"),
                Code(code) => assert_eq!(answer.code(), Some(*code), "{name}: {answer:?}"),
                Same => assert_eq!(Some(&answer), first.as_ref(), "{name}"),
                Nothing => (),
            }
            if (Some(-31_099)..=Some(-31_050)).contains(&answer.code()) {
                assert_eq!(answer.json()["error"]["data"], "order_id", "{name}");
            }
            let after = (webhook.rows(&order).await, webhook.f.find(&order).await.status);
            let cancels_for_its_age = *given == Given::CreatedTooLongAgo && column > 0;
            if matches!(want, Code(_) | Same | Yes) && !cancels_for_its_age {
                assert_eq!(before, after, "{name}: a refusal, a question and a repeat change nothing");
            }
            if cancels_for_its_age && column < 3 {
                let [row] = after.0.as_slice() else { panic!("{name}: {after:?}") };
                assert_eq!((row.state, row.close_code), (StoredState::Closed, Some(4)), "{name}");
                assert_eq!(after.1, OrderStatus::Pending, "{name}");
            }
            if *want != Yes && !(column == 1 && matches!(want, Code(_))) {
                assert_eq!(call().await, answer, "{name}: its repeat has the same bytes");
            }
        }
    }
    walk.compare("docs/internals/payme-decisions.md", CALLS);
}

/// Others check first and insert later: two transactions of one order under load.
async fn fifty_creates_of_one_order_at_once_have_one_positive_answer(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;

    let places: Vec<Place> = (0..50).map(|number| Place::of(&order, number)).collect();
    let answers = join_all(places.iter().map(|at| webhook.create(at))).await;

    let positive = answers.iter().filter(|answer| answer.code().is_none()).count();
    let busy = answers.iter().filter(|answer| answer.code() == Some(-31_052)).count();
    assert_eq!((positive, busy), (1, 49), "{answers:?}");
    assert_eq!(webhook.rows(&order).await.len(), 1);
}

/// The duplicate is found by Payme's id, not by the order.
async fn the_same_create_fifty_times_at_once_gets_one_answer(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    let time = webhook.f.store.now_ms() - 500;

    let answers = join_all((0..50).map(|_| webhook.create_at(&at, time))).await;

    let different: BTreeSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(different.len(), 1, "{different:?}");
    assert_eq!(answers[0].result()["state"], 1);
    assert_eq!(webhook.rows(&order).await.len(), 1);
}

async fn a_repeat_that_writes_the_account_otherwise_gets_the_same_answer(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let (at, time) = (Place::of(&order, 1), webhook.f.store.now_ms() - 1_000);
    let created = webhook.create_at(&at, time).await;
    assert_eq!(created.result()["state"], 1);

    for account in [json!({ "order_id": order.id.0 }), json!({ "order_id": order.id.to_string() })] {
        let repeat = Place { account, ..Place::of(&order, 1) };
        assert_eq!(webhook.create_at(&repeat, time).await, created);
    }
    let other = Place { account: json!({ "order_id": order.id.0, "branch": "2" }), ..Place::of(&order, 1) };
    assert_eq!(webhook.create_at(&other, time).await.code(), Some(-31_008));
}

async fn a_canceled_transaction_frees_its_order_at_once(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let (first, second) = (Place::of(&order, 1), Place::of(&order, 2));
    webhook.create(&first).await;
    assert_eq!(webhook.create(&second).await.code(), Some(-31_052));

    assert_eq!(webhook.cancel(&first.id, 3).await.result()["state"], -1);

    assert_eq!(webhook.check(&second).await.result()["allow"], true);
    assert_eq!(webhook.create(&second).await.result()["state"], 1);
    // A canceled one is never performed, and says so by its state, not by the amount.
    assert_eq!(webhook.perform(&first.id).await.code(), Some(-31_008));
    let standing = webhook.inspect(&first.id).await.result();
    assert_eq!(
        (&standing["perform_time"], &standing["reason"], &standing["state"]),
        (&json!(0), &json!(3), &json!(-1))
    );
}

async fn a_repeated_perform_keeps_its_first_time(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    let created = webhook.create(&at).await.result();
    let first = webhook.perform(&at.id).await;
    tokio::time::sleep(Duration::from_millis(5)).await; // the clock must have gone on

    assert_eq!(webhook.perform(&at.id).await, first);
    let canceled = webhook.cancel(&at.id, 5).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(webhook.cancel(&at.id, 5).await, canceled);

    let standing = webhook.inspect(&at.id).await.result();
    assert_eq!(standing["create_time"], created["create_time"]);
    assert_eq!(standing["perform_time"], first.result()["perform_time"]);
    assert_eq!(standing["cancel_time"], canceled.result()["cancel_time"]);
    assert_eq!((&standing["state"], &standing["reason"]), (&json!(-2), &json!(5)));
    assert_eq!(standing["transaction"], created["transaction"]);
}

async fn a_statement_lists_by_paymes_time_in_pages(f: Fixture) {
    let webhook = Webhook::over(f);
    let statement = async |from: i64, to: i64| {
        let answer = webhook.call("GetStatement", json!({ "from": from, "to": to })).await;
        answer.result()["transactions"].as_array().unwrap().clone()
    };
    let now = webhook.f.store.now_ms();
    assert_eq!(statement(0, now).await, Vec::<Value>::new());

    // 450 transactions, more than two pages, in groups of three of one time, and created in another order than Payme's.
    let mut expected = Vec::new();
    for number in 0..450_usize {
        let at = Place::of(&webhook.order().await, number);
        let time = now - 1_000_000 + i64::try_from((number * 7) % 450 / 3).unwrap() * 1_000;
        assert_eq!(webhook.create_at(&at, time).await.result()["state"], 1);
        expected.push((time, at.id, at.account));
    }
    webhook.cancel(&expected[3].1, 3).await;
    webhook.perform(&expected[5].1).await;

    let lines = statement(now - 1_000_000, now).await;

    let times: Vec<i64> = lines.iter().map(|line| line["time"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let listed: BTreeSet<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), listed.len()), (450, 450));
    let line = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!((line(&expected[3].1)["state"].clone(), line(&expected[5].1)["state"].clone()), (json!(-1), json!(2)));
    assert_eq!(line(&expected[9].1)["account"], expected[9].2);
    assert_eq!(line(&expected[9].1)["receivers"], Value::Null);
    // Both borders belong to it, and nothing beyond.
    let second = now - 1_000_000 + 1_000;
    assert_eq!(statement(second, second).await.len(), 3);
    assert_eq!(statement(second + 1, second + 999).await.len(), 0);
    for params in [json!({ "from": 1 }), json!({ "to": 1 }), json!({ "from": 2, "to": 1 }), json!({})] {
        assert_eq!(webhook.call("GetStatement", params).await.code(), Some(-32_600));
    }
}

async fn a_fiscal_receipt_is_kept_once_per_kind(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    webhook.create(&at).await;
    let tell = async |id: &str, kind: &str, number: i64| {
        let data = json!({ "receipt_id": number, "status_code": 0, "fiscal_sign": "800031554082" });
        webhook.call("SetFiscalData", json!({ "id": id, "type": kind, "fiscal_data": data })).await
    };

    let first = tell(&at.id, "PERFORM", 1).await;
    assert_eq!(first.result(), json!({ "success": true }));
    assert_eq!(tell(&at.id, "PERFORM", 2).await, first, "a repeat has the same answer");
    tell(&at.id, "CANCEL", 3).await;

    let kept = fiscal_receipts::of_order(&webhook.f.store, order.id).await.unwrap();
    let mut kept: Vec<(&str, i64)> = kept
        .iter()
        .map(|receipt| {
            let data: Value = serde_json::from_str(&receipt.data).unwrap();
            (receipt.kind.as_str(), data["receipt_id"].as_i64().unwrap())
        })
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, [("CANCEL", 3), ("PERFORM", 2)]);
    assert_eq!(tell("nobody", "PERFORM", 1).await.code(), Some(-32_001));
    assert_eq!(tell(&at.id, "OTHER", 1).await.code(), Some(-32_602));
    let without = webhook.call("SetFiscalData", json!({ "id": at.id, "type": "PERFORM" })).await;
    assert_eq!(without.code(), Some(-32_602));
}

/// The first test of Payme's sandbox: a wrong key is refused for every method, with HTTP 200 and the request's id.
async fn a_wrong_key_writes_nothing_but_its_evidence(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let account = json!({ "order_id": order.id.to_string() });
    for method in [
        "CheckPerformTransaction",
        "CreateTransaction",
        "PerformTransaction",
        "CancelTransaction",
        "CheckTransaction",
        "GetStatement",
        "SetFiscalData",
        "ChangePassword",
        "nonsense",
    ] {
        let params = json!({ "id": "a", "time": 1_399_114_284_039_i64, "amount": 1, "account": account });
        let body = json!({ "method": method, "params": params, "id": 41 }).to_string();
        for credentials in
            [None, Some("Paycom:"), Some("Paycom:wrong"), Some("Paycom:sandbox-payme-key"), Some(KEY), Some("x:y")]
        {
            let answer = webhook.send(credentials, body.clone()).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::OK, Some(-32_504)), "{method} {credentials:?}");
            assert_eq!(answer.json()["id"], 41);
        }
    }

    assert_eq!(webhook.rows(&order).await, []);
    assert_eq!(webhook.f.find(&order).await.status, OrderStatus::Pending);
    let kept = callbacks::newest(&webhook.f.store, 100).await.unwrap();
    assert_eq!(kept.iter().filter(|kept| kept.verdict.as_str() == "badly_signed").count(), 9);
    assert!(kept.iter().all(|kept| kept.order_id.is_none() && !kept.body.contains("Basic")));
}

async fn a_refund_that_is_refused_leaves_the_money(f: Fixture) {
    let webhook = Webhook::with(f, |settings| settings.refund = CancelPolicy::Refuse);
    let order = webhook.order().await;
    let (at, failed) = (Place::of(&order, 1), Place::of(&webhook.order().await, 2));
    webhook.create(&at).await;
    let performed = webhook.perform(&at.id).await;
    webhook.create(&failed).await;

    assert_eq!(webhook.cancel(&at.id, 5).await.code(), Some(-31_007));
    assert_eq!(webhook.perform(&at.id).await, performed);
    // A failed payment is no refund.
    assert_eq!(webhook.cancel(&failed.id, 3).await.result()["state"], -1);
}

/// The link is there at once: no worker makes it.
async fn an_order_has_its_payme_link_in_the_answer_that_makes_it(f: Fixture) {
    let webhook = Webhook::over(f);
    let body = json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "payme", "language": "ru" });
    let request = Request::builder().method(Method::POST).uri_str("/api/orders/create");

    let answer = webhook.answer(request.content_type("application/json").body(body.to_string())).await;

    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let order = answer.json();
    let coded = order["payment_url"].as_str().unwrap().strip_prefix("http://127.0.0.1:8100/payme/").unwrap().to_owned();
    let said = String::from_utf8(BASE64_STANDARD.decode(coded).unwrap()).unwrap();
    let token = order["order_token"].as_str().unwrap();
    assert_eq!(
        said,
        format!(
            "m=64a1f0c2b7e8d9034f5a6b7c;ac.order_id={};a=5000;l=ru;c=http://shop.test/pay/{token}/return;ct=5000",
            order["order_id"]
        )
    );
    assert!(order["expires_at"].is_string() && order["status"] == "pending", "{order}");
    let at = json!({ "amount": 5_000, "account": { "order_id": order["order_id"].to_string() } });
    assert_eq!(webhook.call("CheckPerformTransaction", at).await.result()["allow"], true);
}

async fn the_address_of_a_shop_opens_its_own_account_alone(f: Fixture) {
    let webhook = Webhook::over(f);
    let body = json!({ "method": "CheckTransaction", "params": { "id": "a" }, "id": 1 }).to_string();

    for (path, code) in [
        ("/payme/webhook", -31_003),
        ("/payme/webhook/default", -31_003),
        ("/payme/webhook/default/", -31_003),
        ("/payme/webhook/another", -32_504),
        ("/payme/webhook/%20", -32_504),
        ("/payme/webhook/%ff", -32_504),
        ("/payme/webhook/%ff/", -32_504),
    ] {
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("Paycom:{KEY}")));
        let request = Request::builder().method(Method::POST).uri_str(path).header("authorization", credentials);
        let answer = webhook.answer(request.body(body.clone())).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::OK, Some(code)), "{path}");
    }
}

async fn a_call_by_another_http_method_is_an_error_with_http_200(f: Fixture) {
    let webhook = Webhook::over(f);

    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let request = Request::builder().method(method.clone()).uri_str("/payme/webhook/").finish();
        let answer = webhook.answer(request).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::OK, Some(-32_300)), "{method}");
        assert_eq!(answer.json()["id"], Value::Null);
    }
}

/// The address of a request without a socket is unknown, so it is in no list.
async fn a_stranger_is_refused_by_address_where_the_list_counts(f: Fixture) {
    let webhook = Webhook::with(f, |settings| settings.address_check = AddressCheck::Refuse);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);

    for answer in [
        webhook.check(&at).await,
        webhook.create(&at).await,
        webhook.inspect(&at.id).await,
        webhook.call("GetStatement", json!({ "from": 0, "to": 1 })).await,
    ] {
        assert_eq!(answer.code(), Some(-32_504));
    }
    assert_eq!(webhook.rows(&order).await, []);
}

async fn a_database_that_hangs_is_a_system_error_and_the_repeat_is_answered(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    let time = webhook.f.store.now_ms() - 500;
    let held = webhook.f.hold_writes().await;

    let answer = webhook.create_at(&at, time).await;

    assert_eq!(answer.code(), Some(-32_400), "{answer:?}");
    assert_eq!(webhook.rows(&order).await, []);
    drop(held);
    let repeated = eventually_positive(&webhook, &at, time).await;
    assert_eq!(webhook.create_at(&at, time).await, repeated);
    assert_eq!(webhook.rows(&order).await.len(), 1);
}

/// Payme is told that its call was not carried out. The call waits for the lock of the database longer than its caller does,
/// so whether it is written is only known once it has ended.
async fn a_call_that_the_database_refused_writes_nothing_afterwards_either(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    let wrong_amount = Place { amount: json!(1), ..Place::of(&order, 2) };
    let held = webhook.f.hold_writes().await;
    let refused = webhook.create(&at).await;
    // The second call of the order comes to its turn when the first one has ended.
    let behind = webhook.create(&wrong_amount).await;
    drop(held);

    let after = wait_until("the database to be free", PATIENCE, async || {
        Some(webhook.create(&wrong_amount).await).filter(|answer| answer.code() != Some(-32_400))
    })
    .await;

    assert_eq!([refused.code(), behind.code()], [Some(-32_400); 2]);
    assert_eq!(after.code(), Some(-31_001));
    assert_eq!(webhook.rows(&order).await, []);
    let order = webhook.f.find(&order).await;
    assert_eq!((order.status, order.allowed_transaction_id), (OrderStatus::Pending, None));
}

/// The database is free again before the call has given up: what it then writes is what its repeat is answered with.
async fn a_call_that_is_written_after_its_error_is_the_one_that_its_repeat_is_answered_from(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    let time = webhook.f.store.now_ms() - 500;
    let wrong_amount = Place { amount: json!(1), ..Place::of(&order, 2) };
    let held = webhook.f.hold_writes().await;
    let refused = webhook.create_at(&at, time).await;
    drop(held);
    wait_until("the database to be free", PATIENCE, async || {
        (webhook.create(&wrong_amount).await.code() != Some(-32_400)).then_some(())
    })
    .await;

    let written = webhook.rows(&order).await;
    let repeated = webhook.create_at(&at, time).await;

    assert_eq!((refused.status, refused.code()), (StatusCode::OK, Some(-32_400)));
    let rows = webhook.rows(&order).await;
    assert_eq!(rows.len(), 1);
    assert!(written.is_empty() || written == rows, "{written:?}");
    assert_eq!(repeated.result()["transaction"], rows[0].transaction_id.to_string());
    assert_eq!(repeated.result()["create_time"], rows[0].created_at_ms);
    assert_eq!(webhook.f.find(&order).await.allowed_transaction_id, Some(rows[0].transaction_id));
    assert_eq!(webhook.f.history(&order).await.len(), 2, "made, and held once");
}

/// The lock of a connection that was dropped may last for a moment.
async fn eventually_positive(webhook: &Webhook, at: &Place, time: i64) -> Answer {
    loop {
        let answer = webhook.create_at(at, time).await;
        match answer.code() {
            Some(-32_400) => (),
            Some(code) => panic!("{code}"),
            None => return answer,
        }
    }
}

/// Payme is answered at once, whatever the workers do.
async fn a_payment_told_while_no_worker_lives_is_paid_after_their_start(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let refunded = webhook.order().await;
    let (at, back) = (Place::of(&order, 1), Place::of(&refunded, 2));
    for at in [&at, &back] {
        assert_eq!(webhook.create(at).await.result()["state"], 1);
        assert_eq!(webhook.perform(&at.id).await.result()["state"], 2);
    }
    assert_eq!(webhook.f.find(&order).await.status, OrderStatus::Confirming);

    let stop = webhook.work();

    webhook.until(&order, OrderStatus::Paid).await;
    webhook.until(&refunded, OrderStatus::Paid).await;
    assert_eq!(webhook.cancel(&back.id, 5).await.result()["state"], -2);
    webhook.until(&refunded, OrderStatus::Refunded).await;
    assert_eq!(webhook.check(&at).await.code(), Some(-31_051), "it is paid");
    let paid = webhook.f.history(&order).await.into_iter().filter(|(_, to)| *to == "paid").count();
    assert_eq!(paid, 1);
    assert!(!webhook.f.find(&order).await.needs_review);
    stop.cancel();
}

/// The money was taken and went back before anything asked: the customer must not be asked to pay again, and the history
/// must not say that nothing was paid.
async fn a_payment_given_back_while_no_worker_lives_is_refunded_after_their_start(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let at = Place::of(&order, 1);
    assert_eq!(webhook.create(&at).await.result()["state"], 1);
    assert_eq!(webhook.perform(&at.id).await.result()["state"], 2);
    assert_eq!(webhook.cancel(&at.id, 5).await.result()["state"], -2);
    assert_eq!(webhook.f.find(&order).await.status, OrderStatus::Confirming);

    let stop = webhook.work();

    webhook.until(&order, OrderStatus::Refunded).await;
    let order = webhook.f.find(&order).await;
    assert_eq!((order.refunded_amount, order.refund_reserved), (order.amount.get(), order.amount.get()));
    assert_eq!(order.transaction_id.map(|id| id.0), webhook.rows(&order).await.first().map(|row| row.transaction_id.0));
    assert!(order.final_at_ms.is_some() && order.allowed_transaction_id.is_none() && !order.needs_review, "{order:?}");
    let history = webhook.f.history(&order).await;
    assert_eq!(history.last(), Some(&(Some("confirming"), "refunded")));
    let again = webhook.create(&Place::of(&order, 2)).await;
    assert!(again.code().is_some(), "it is not paid a second time");
    stop.cancel();
}
