//! Click's calls through its webhook, without workers: each row of the table of what must be answered when, the mistakes that
//! others made, and calls that no gateway should send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{ApiContext, ApiSettings, CallbackAddresses};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, OrderToken};
use domain::order::{NewOrder, Order, OrderAccount, OrderStatus, PaymentType};
use domain::secret::Secret;
use domain::shop::ShopName;
use domain::shops::{Shop, Shops};
use domain::transaction::{StoredState, StoredTransaction};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use gateway::callback_addresses::AddressCheck;
use gateway::click::{ClickGateway, ClickSettings};
use gateway::coordination::{CoordinatedAccount, Coordination};
use gateway::payme::{PaymeGateway, PaymeSettings};
use gateway::{Gateway, Gateways};
use poem::endpoint::BoxEndpoint;
use poem::http::StatusCode;
use poem::{Endpoint, Request, Response};
use process::notice::Notice;
use queue::{LocalQueue, Queue};
use serde_json::{Value, json};
use store::orders::{self, Created, LocalLink};
use store::{callbacks, transactions};
use tokio_util::sync::CancellationToken;

use crate::support::click_call::Call;
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_order, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};
use crate::support::walked_calls::{Seen, Walk};

mod mutated;

on_every_database! {
    every_row_of_the_table_is_answered_as_it_and_the_reference_say
    forms_and_json_at_every_address_get_the_same_answer
    fifty_prepares_of_one_order_at_once_have_one_positive_answer
    the_same_prepare_fifty_times_at_once_gets_one_number
    a_repeated_complete_writes_nothing_new
    a_complete_whose_error_was_altered_pays_nothing
    a_failure_after_a_told_debit_is_not_agreed_to
    digits_slid_from_order_to_amount_are_refused
    a_late_complete_is_taken_note_of_and_answered_0
    a_wrong_signature_writes_nothing_but_its_evidence
    the_address_of_a_shop_takes_the_calls_of_its_own_service_alone
    a_database_that_hangs_is_told_as_clicks_table_says
    an_unlisted_address_is_only_watched_unless_the_setting_says_otherwise
    a_service_all_of_whose_places_are_taken_takes_none_of_another_account
}

const KEY: &str = "the-secret-key-of-the-service";
const SERVICE: &str = "12345";

/// The service of another shop, with the same key.
const OTHER_SERVICE: &str = "67890";

/// The HTTP side over a database, with one service.
struct Webhook {
    f: Fixture,
    endpoint: BoxEndpoint<'static, Response>,
    gateway: ClickGateway,
    _ends: CancellationToken,
}

impl Call {
    fn prepare(order: &Order, click_trans_id: usize) -> Self {
        Call::prepare_of(SERVICE, order.id, &order.amount.to_string(), click_trans_id)
    }

    fn signed(self) -> Self {
        self.signed_with(KEY)
    }
}

impl Webhook {
    fn over(f: Fixture) -> Self {
        Webhook::with(f, |_| ())
    }

    fn with(f: Fixture, change: impl FnOnce(&mut ClickSettings)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut settings = ClickSettings {
            service_id: SERVICE.to_owned(),
            secret_keys: vec![Secret::new(KEY)],
            ..config::defaults().unwrap()
        };
        change(&mut settings);
        let account = CoordinatedAccount::new(PaymentType::Click, settings.identity());
        let gateway = ClickGateway::new(settings, Coordination::local(account, None)).unwrap();
        let of_branch = ClickSettings { service_id: OTHER_SERVICE.to_owned(), ..gateway.settings().clone() };
        let account = CoordinatedAccount::new(PaymentType::Click, of_branch.identity());
        let of_branch = ClickGateway::new(of_branch, Coordination::local(account, None)).unwrap();
        let ends = CancellationToken::new();
        let accounts = |gateway: &ClickGateway| BTreeMap::from([(PaymentType::Click, gateway.identity().clone())]);
        let branch =
            Shop { name: ShopName::parse("branch").unwrap(), accounts: accounts(&of_branch), ..Shop::default() };
        let shops = [
            Shop { accounts: accounts(&gateway), ..Shop::default() },
            branch,
            Shop { name: ShopName::parse("without-click").unwrap(), ..Shop::default() },
        ];
        let cashbox: PaymeSettings = config::defaults().unwrap();
        let account = CoordinatedAccount::new(PaymentType::Payme, cashbox.identity());
        let cashbox = Gateway::Payme(PaymeGateway::new(cashbox, Coordination::local(account, None)));
        let context = ApiContext {
            shops: Shops::from_iter(shops),
            notice: Notice::start(&f.store, None, &ends),
            payment_ttl: Duration::from_secs(1_800),
            link_ttl: Duration::from_secs(86_400),
            store: f.store.clone(),
            gateways: Gateways::new([Gateway::Click(gateway.clone()), Gateway::Click(of_branch), cashbox]),
            queue: Queue::Local(LocalQueue::default()),
            consumption_check: None,
            settings: ApiSettings { link_wait: Duration::ZERO, ..config::defaults().unwrap() },
            callback_addresses: CallbackAddresses::default(),
            public_url: "http://shop.test/".parse().unwrap(),
            role: "api",
        };
        Webhook { f, endpoint: api::routes(context), gateway, _ends: ends }
    }

    async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> (StatusCode, String) {
        let request = Request::builder().method(poem::http::Method::POST).uri_str(path).content_type(content_type);
        let response = self.endpoint.get_response(request.body(body)).await;
        (response.status(), response.into_body().into_string().await.unwrap())
    }

    async fn send(&self, call: &Call) -> Value {
        self.send_to("/click/webhook/", call).await
    }

    async fn send_to(&self, path: &str, call: &Call) -> Value {
        let form = call.form().into_bytes();
        let (status, text) = self.post(path, "application/x-www-form-urlencoded", form).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["merchant_trans_id"], call.get("merchant_trans_id"), "{answer}");
        answer
    }

    async fn order(&self) -> Order {
        let write = |id: OrderId, _: &OrderToken| format!("https://my.click.example/{id}");
        let link = LocalLink { write: Arc::new(write), payment_ttl_ms: PAYMENT_TTL_MS };
        let gateway = self.gateway.identity().clone();
        let new = NewOrder { account: Some(OrderAccount { payment_type: PaymentType::Click, gateway }), ..new_order() };
        match orders::create_linked(&self.f.store, &new, None, &link).await.unwrap() {
            Created::New(order) => order,
            other => panic!("{other:?}"),
        }
    }

    /// An order that was prepared, and the answer.
    async fn prepared(&self, number: usize) -> (Order, Value) {
        let order = self.order().await;
        let answer = self.send(&Call::prepare(&order, number).signed()).await;
        assert_eq!(answer["error"], 0, "{answer}");
        (order, answer["merchant_prepare_id"].clone())
    }

    async fn rows(&self, order: &Order) -> Vec<StoredTransaction> {
        transactions::of_order(&self.f.store, order.id).await.unwrap()
    }

    async fn set(&self, order: &Order, set: &str) {
        self.f.execute(&[format!("update orders set {set} where id = {}", order.id)]).await;
    }

    /// As `settle_order` writes it once an inquiry showed the debit.
    async fn pay(&self, order: &Order, transaction_id: &Value) {
        self.set(order, &format!("status = 'paid', transaction_id = {transaction_id}")).await;
        let update = format!("update transactions set state = 'debited' where transaction_id = {transaction_id}");
        self.f.execute(&[update]).await;
    }
}

/// How things stand before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    FieldMissing,
    BadSign,
    ForeignService,
    OtherAction,
    NoSuchOrder,
    OrderOfAnotherGateway,
    OtherAmount,
    Payable,
    Prepared,
    PreparedOtherNumber,
    PreparedWithoutNumber,
    PreparedEmptyNumber,
    PreparedNumberMissing,
    PreparedOtherAmountWithoutNumber,
    ToldWithoutNumber,
    PreparedOfAnotherOrder,
    PreparedOfNoOrder,
    PreparedByAnotherAttempt,
    PreparedOtherAmount,
    Told,
    Confirmed,
    FailureTold,
    Canceled,
    HeldByAnother,
    HeldByAnotherWithoutNumber,
    PayableWithoutNumber,
    PaidByAnother,
    PreparedThenPaidByAnother,
    OrderIs(OrderStatus),
    PreparedThenOrderIs(OrderStatus),
}

impl Given {
    /// The situation as the page of decisions writes it.
    fn words(self) -> String {
        let words = match self {
            Given::FieldMissing => "a field is missing",
            Given::BadSign => "no key of ours signed it",
            Given::ForeignService => "another service",
            Given::OtherAction => "`action` is neither 0 nor 1",
            Given::NoSuchOrder => "no such order",
            Given::OrderOfAnotherGateway => "the order is of another account or gateway",
            Given::OtherAmount => "the amount is not the order's, nothing prepared",
            Given::Payable => "the order can be paid, nothing prepared",
            Given::Prepared => "prepared",
            Given::PreparedOtherNumber => "prepared, and another `merchant_prepare_id`",
            Given::PreparedWithoutNumber => "prepared, and `merchant_prepare_id` is 0",
            Given::PreparedEmptyNumber => "prepared, and `merchant_prepare_id` is empty",
            Given::PreparedNumberMissing => "prepared, and Complete has no field `merchant_prepare_id`",
            Given::PreparedOtherAmountWithoutNumber => "prepared, another amount, and `merchant_prepare_id` is 0",
            Given::ToldWithoutNumber => "prepared, a debit told, and `merchant_prepare_id` is 0",
            Given::PreparedOfAnotherOrder => "prepared for another order",
            Given::PreparedOfNoOrder => "prepared, and no such order",
            Given::PreparedByAnotherAttempt => "prepared by another attempt",
            Given::PreparedOtherAmount => "prepared, and another amount",
            Given::Told => "prepared, and a debit told",
            Given::Confirmed => "paid by this attempt",
            Given::FailureTold => "prepared, and a failure told",
            Given::Canceled => "prepared, and closed since",
            Given::HeldByAnother => "another attempt holds the order",
            Given::HeldByAnotherWithoutNumber => "another attempt holds the order, and `merchant_prepare_id` is 0",
            Given::PayableWithoutNumber => "nothing prepared, and `merchant_prepare_id` is 0",
            Given::PaidByAnother => "paid by another attempt, nothing prepared",
            Given::PreparedThenPaidByAnother => "prepared, then paid by another attempt",
            Given::OrderIs(status) => return format!("the order is `{status}`, nothing prepared"),
            Given::PreparedThenOrderIs(status) => return format!("prepared, then the order is `{status}`"),
        };
        words.to_owned()
    }
}

/// The calls of the table, in the order of its columns.
const CALLS: [&str; 3] = ["Prepare", "Complete, `error` 0", "Complete, `error` -5017"];

/// The table (Click documents, SHOP-API): situation, then the codes to Prepare, Complete with `error` 0, Complete with −5017.
const TABLE: &[(Given, [i64; 3])] = &[
    (Given::FieldMissing, [-8, -8, -8]),
    (Given::BadSign, [-1, -1, -1]),
    (Given::ForeignService, [-8, -8, -8]),
    // A Complete is one by its action.
    (Given::OtherAction, [-3, -3, -3]),
    (Given::NoSuchOrder, [-5, -5, -5]),
    (Given::OrderOfAnotherGateway, [-5, -5, -5]),
    (Given::OtherAmount, [-2, -6, -6]),
    (Given::Payable, [0, -6, -6]),
    (Given::Prepared, [0, 0, -9]),
    (Given::PreparedOtherNumber, [0, -6, -6]),
    // The answer to Prepare was lost, or Click took the refusal of an earlier copy: it knows no number of ours.
    (Given::PreparedWithoutNumber, [0, -6, -9]),
    (Given::PreparedEmptyNumber, [0, -6, -9]),
    (Given::PreparedNumberMissing, [0, -8, -8]),
    (Given::PreparedOtherAmountWithoutNumber, [-2, -6, -9]),
    (Given::ToldWithoutNumber, [-4, -6, -4]),
    (Given::PreparedOfAnotherOrder, [-5, -6, -6]),
    (Given::PreparedOfNoOrder, [-5, -5, -5]),
    (Given::PreparedByAnotherAttempt, [-9, -6, -6]),
    (Given::PreparedOtherAmount, [-2, -2, -9]),
    (Given::Told, [-4, 0, -4]),
    (Given::Confirmed, [-4, 0, -4]),
    (Given::FailureTold, [-9, 0, -9]),
    (Given::Canceled, [-9, 0, -9]),
    (Given::HeldByAnother, [-9, -6, -6]),
    // Prepare gave it no number: Click tells the end of an attempt that was refused.
    (Given::HeldByAnotherWithoutNumber, [-9, -6, -9]),
    (Given::PayableWithoutNumber, [0, -6, -9]),
    (Given::PaidByAnother, [-9, -6, -6]),
    (Given::PreparedThenPaidByAnother, [-9, 0, -9]),
    (Given::OrderIs(OrderStatus::Expired), [-9, -6, -6]),
    (Given::OrderIs(OrderStatus::Canceled), [-9, -6, -6]),
    (Given::OrderIs(OrderStatus::Refunded), [-9, -6, -6]),
    (Given::OrderIs(OrderStatus::Failed), [-9, -6, -6]),
    (Given::OrderIs(OrderStatus::Review), [-9, -6, -6]),
    (Given::PreparedThenOrderIs(OrderStatus::Expired), [-9, 0, -9]),
    (Given::PreparedThenOrderIs(OrderStatus::Canceled), [-9, 0, -9]),
    (Given::PreparedThenOrderIs(OrderStatus::Review), [-9, 0, -9]),
];

/// Makes the situation; returns the order, the unsigned Prepare whose fields the call has, and what Prepare was answered.
async fn make(webhook: &Webhook, given: Given, number: usize) -> (Order, Call, Value) {
    let order = webhook.order().await;
    let call = Call::prepare(&order, number);
    let prepare = async |call: &Call| webhook.send(&call.clone().signed()).await["merchant_prepare_id"].clone();
    let mut prepare_id = Value::Null;
    let mut asked = call.clone();
    match given {
        Given::FieldMissing | Given::BadSign | Given::OtherAction | Given::Payable => (),
        Given::ForeignService => asked = call.with("service_id", "54321"),
        Given::NoSuchOrder => asked = call.with("merchant_trans_id", "999999999"),
        Given::OrderOfAnotherGateway => webhook.set(&order, "gateway = 'click:1'").await,
        Given::OtherAmount => asked = call.with("amount", "0.01"),
        Given::Prepared => prepare_id = prepare(&call).await,
        Given::PreparedOtherNumber => {
            prepare(&call).await;
            prepare_id = json!(987_654_321);
        }
        Given::PreparedWithoutNumber => {
            prepare(&call).await;
            prepare_id = json!(0);
        }
        Given::PreparedEmptyNumber | Given::PreparedNumberMissing => {
            prepare(&call).await;
            prepare_id = json!("");
        }
        Given::PreparedOtherAmountWithoutNumber => {
            prepare(&call).await;
            asked = call.with("amount", "0.01");
            prepare_id = json!(0);
        }
        Given::ToldWithoutNumber => {
            let number = prepare(&call).await;
            webhook.send(&call.complete(&number, 0).signed()).await;
            prepare_id = json!(0);
        }
        Given::PreparedOfAnotherOrder => {
            prepare_id = prepare(&call).await;
            asked = call.with("merchant_trans_id", webhook.order().await.id);
        }
        Given::PreparedOfNoOrder => {
            prepare_id = prepare(&call).await;
            asked = call.with("merchant_trans_id", "999999999");
        }
        Given::PreparedByAnotherAttempt => {
            prepare_id = prepare(&call).await;
            asked = call.with("click_trans_id", number + 1_000_000);
        }
        Given::PreparedOtherAmount => {
            prepare_id = prepare(&call).await;
            asked = call.with("amount", "0.01");
        }
        Given::Told => {
            prepare_id = prepare(&call).await;
            webhook.send(&call.complete(&prepare_id, 0).signed()).await;
        }
        Given::Confirmed => {
            prepare_id = prepare(&call).await;
            webhook.send(&call.complete(&prepare_id, 0).signed()).await;
            webhook.pay(&order, &prepare_id).await;
        }
        Given::FailureTold => {
            prepare_id = prepare(&call).await;
            webhook.send(&call.complete(&prepare_id, -1).signed()).await;
        }
        Given::Canceled => {
            prepare_id = prepare(&call).await;
            let close = format!("update transactions set state = 'closed' where transaction_id = {prepare_id}");
            webhook.f.execute(&[close]).await;
            webhook.set(&order, "status = 'pending', allowed_transaction_id = null").await;
        }
        Given::HeldByAnother => {
            prepare(&call.with("click_trans_id", number + 1_000_000)).await;
        }
        Given::HeldByAnotherWithoutNumber => {
            prepare(&call.with("click_trans_id", number + 1_000_000)).await;
            prepare_id = json!(0);
        }
        Given::PayableWithoutNumber => prepare_id = json!(0),
        Given::PaidByAnother => {
            let other = prepare(&call.with("click_trans_id", number + 1_000_000)).await;
            webhook.pay(&order, &other).await;
        }
        Given::PreparedThenPaidByAnother => {
            prepare_id = prepare(&call).await;
            webhook.set(&order, "status = 'paid', transaction_id = 987654321").await;
        }
        Given::OrderIs(status) => webhook.set(&order, &format!("status = '{status}'")).await,
        Given::PreparedThenOrderIs(status) => {
            prepare_id = prepare(&call).await;
            webhook.set(&order, &format!("status = '{status}'")).await;
        }
    }
    (order, asked, prepare_id)
}

async fn every_row_of_the_table_is_answered_as_it_and_the_reference_say(f: Fixture) {
    let webhook = Webhook::over(f);
    let mut walk = Walk::default();
    for (row, (given, wants)) in TABLE.iter().enumerate() {
        walk.begin(&given.words());
        for (column, want) in wants.iter().enumerate() {
            let name = format!("{given:?}, call {column}");
            let (order, asked, prepare_id) = make(&webhook, *given, 10 * row + column).await;
            let asked = match column {
                0 => asked,
                1 => asked.complete(&prepare_id, 0),
                _ => asked.complete(&prepare_id, -5_017),
            };
            let asked = match given {
                Given::OtherAction => asked.with("action", "2").signed(),
                Given::BadSign => asked.signed_with("forged"),
                Given::FieldMissing => {
                    Call(asked.signed().0.into_iter().filter(|(name, _)| *name != "error").collect())
                }
                Given::PreparedEmptyNumber if column > 0 => asked.with("merchant_prepare_id", "").signed(),
                Given::PreparedNumberMissing if column > 0 => {
                    let signed = asked.with("merchant_prepare_id", "").signed();
                    Call(signed.0.into_iter().filter(|(name, _)| *name != "merchant_prepare_id").collect())
                }
                _ => asked.signed(),
            };
            let before = (webhook.rows(&order).await, webhook.f.find(&order).await.status);
            let seen = Seen::of(&webhook.f, &order).await;

            let answer = webhook.send(&asked).await;

            let external_id = asked.get("click_trans_id");
            walk.add(CALLS[column], &want.to_string(), external_id, &seen, &Seen::of(&webhook.f, &order).await);
            assert_eq!(answer["error"], *want, "{name}: {answer}");
            assert_eq!(answer["click_trans_id"].to_string(), asked.get("click_trans_id"), "{name}: a number");
            assert!(answer["error_note"].is_string(), "{name}: {answer}");
            let ours = if asked.get("action") == "1" { "merchant_confirm_id" } else { "merchant_prepare_id" };
            if *want == 0 {
                assert!(answer[ours].is_i64(), "{name}: {answer}");
            }
            let has_number =
                !prepare_id.is_null() && prepare_id != 0 && prepare_id != "" && *given != Given::PreparedOtherNumber;
            if *want == 0 && has_number {
                assert_eq!(answer[ours], prepare_id, "{name}: the same number on every repeat");
            }
            let again = webhook.send(&asked).await;
            if column > 0 || *want != 0 {
                assert_eq!(again, answer, "{name}: a repeat");
            }
            let after = (webhook.rows(&order).await, webhook.f.find(&order).await.status);
            assert_ne!(
                after.1,
                if before.1 == OrderStatus::Paid { OrderStatus::Pending } else { OrderStatus::Paid },
                "{name}"
            );
            if *want != 0 && *want != -9 && *want != -4 {
                assert_eq!(after, before, "{name}: a refused call changes nothing");
            }
        }
    }
    walk.compare("docs/internals/click-decisions.md", CALLS);
}

async fn forms_and_json_at_every_address_get_the_same_answer(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let call = Call::prepare(&order, 1).signed();
    let first = webhook.send(&call).await;
    assert_eq!(first["error"], 0, "{first}");

    for path in [
        "/click/webhook",
        "/click/webhook/",
        "/click/webhook/default/",
        "/click/prepare",
        "/click/prepare/",
        "/click/prepare/default/",
        "/click/complete",
        "/click/complete/",
        "/click/complete/default",
    ] {
        for (content_type, body) in [
            ("application/x-www-form-urlencoded", call.form()),
            ("application/json", call.json()),
            ("text/plain", call.json()),
        ] {
            let (status, text) = webhook.post(path, content_type, body.into_bytes()).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), first, "{path} {content_type}");
        }
    }
    assert_eq!(webhook.rows(&order).await.len(), 1);
}

async fn fifty_prepares_of_one_order_at_once_have_one_positive_answer(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let calls: Vec<Call> = (1..=50).map(|number| Call::prepare(&order, number).signed()).collect();

    let answers = join_all(calls.iter().map(|call| webhook.send(call))).await;

    let positive = answers.iter().filter(|answer| answer["error"] == 0).count();
    assert_eq!(positive, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer["error"] == 0 || answer["error"] == -9), "{answers:?}");
    assert_eq!(webhook.rows(&order).await.len(), 1, "a refused one leaves no row");
}

async fn the_same_prepare_fifty_times_at_once_gets_one_number(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let call = Call::prepare(&order, 1).signed();

    let answers = join_all((0..50).map(|_| webhook.send(&call))).await;

    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["error"] == 0), "{answers:?}");
    assert_eq!(webhook.rows(&order).await.len(), 1);
}

/// Others handled Complete without a lock, and handed the goods out twice.
async fn a_repeated_complete_writes_nothing_new(f: Fixture) {
    let webhook = Webhook::over(f);
    let (order, prepare_id) = webhook.prepared(1).await;
    let complete = Call::prepare(&order, 1).complete(&prepare_id, 0).signed();

    let answers = join_all((0..50).map(|_| webhook.send(&complete))).await;

    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["error"] == 0), "{answers:?}");
    assert_eq!(answers[0]["merchant_confirm_id"], prepare_id);
    let rows = webhook.rows(&order).await;
    assert_eq!(rows.len(), 1);
    webhook.send(&complete).await;
    assert_eq!(webhook.rows(&order).await, rows, "the first time stays");
}

/// No signature covers `error`: a captured failure can be sent again as a success.
async fn a_complete_whose_error_was_altered_pays_nothing(f: Fixture) {
    let webhook = Webhook::over(f);
    let (order, prepare_id) = webhook.prepared(1).await;
    let captured = Call::prepare(&order, 1).complete(&prepare_id, -5_017).signed();
    assert_eq!(webhook.send(&captured).await["error"], -9);

    let answer = webhook.send(&captured.with("error", 0)).await;

    assert_eq!(answer["error"], 0, "an honest one must not be refused, and it looks the same");
    let rows = webhook.rows(&order).await;
    assert_eq!(rows[0].state, StoredState::Open, "only an inquiry can show a debit");
    assert_eq!(rows[0].close_code, Some(-5_017));
    assert_eq!(webhook.f.find(&order).await.status, OrderStatus::Confirming);
}

/// No signature covers `error`: a captured success can be sent again as a failure, too, and the money is ours then.
async fn a_failure_after_a_told_debit_is_not_agreed_to(f: Fixture) {
    let webhook = Webhook::over(f);
    let (order, prepare_id) = webhook.prepared(1).await;
    let complete = Call::prepare(&order, 1).complete(&prepare_id, 0).signed();
    assert_eq!(webhook.send(&complete).await["error"], 0);
    let rows = webhook.rows(&order).await;

    let answer = webhook.send(&complete.with("error", -5_017)).await;

    assert_eq!((&answer["error"], &answer["merchant_confirm_id"]), (&json!(-4), &prepare_id));
    assert_eq!(webhook.rows(&order).await, rows, "the debit stays told");
    assert_eq!(webhook.f.find(&order).await.status, OrderStatus::Confirming);
}

/// The fields are joined without a separator.
async fn digits_slid_from_order_to_amount_are_refused(f: Fixture) {
    let webhook = Webhook::over(f);
    let orders = join_all((0..12).map(|_| webhook.order())).await;
    let long = orders.iter().find(|order| order.id.0 >= 10).expect("two digits");
    let (first, last) = (long.id.0 / 10, long.id.0 % 10);
    let honest = Call::prepare(long, 1).signed();
    let slid = honest.clone().with("merchant_trans_id", first).with("amount", format!("{last}{}", long.amount));

    assert_eq!(webhook.send(&slid).await["error"], -2, "the order is another, and so is its amount");

    let prepare_id = webhook.send(&honest).await["merchant_prepare_id"].clone();
    let complete = Call::prepare(long, 1).complete(&prepare_id, 0).signed();
    let number = prepare_id.to_string();
    let digit = number.chars().next().unwrap();
    let moved =
        complete.with("merchant_trans_id", format!("{}{digit}", long.id)).with("merchant_prepare_id", &number[1..]);
    let answer = webhook.send(&moved).await;
    assert_eq!(answer["error"], -5, "there is no such order: {answer}");
    assert!(webhook.rows(long).await[0].debited_at_ms.is_none());
}

async fn a_late_complete_is_taken_note_of_and_answered_0(f: Fixture) {
    let webhook = Webhook::over(f);
    let (order, prepare_id) = webhook.prepared(1).await;
    webhook.set(&order, "status = 'expired'").await;

    let answer = webhook.send(&Call::prepare(&order, 1).complete(&prepare_id, 0).signed()).await;

    assert_eq!((&answer["error"], &answer["merchant_confirm_id"]), (&json!(0), &prepare_id));
    assert!(webhook.rows(&order).await[0].debited_at_ms.is_some());
    let kept = callbacks::of_order(&webhook.f.store, order.id).await.unwrap();
    assert!(kept.iter().any(|callback| callback.verdict == CallbackVerdict::DebitTold), "{kept:?}");
}

async fn a_wrong_signature_writes_nothing_but_its_evidence(f: Fixture) {
    let webhook = Webhook::over(f);
    let (order, prepare_id) = webhook.prepared(1).await;
    let before = (webhook.rows(&order).await, webhook.f.find(&order).await.status);

    for call in [Call::prepare(&order, 2), Call::prepare(&order, 1).complete(&prepare_id, 0)] {
        assert_eq!(webhook.send(&call.signed_with("forged")).await["error"], -1);
    }

    assert_eq!((webhook.rows(&order).await, webhook.f.find(&order).await.status), before);
    let kept = webhook.f.number("select count(*) from callbacks where verdict = 'badly_signed'").await;
    assert_eq!(kept, 2);
}

async fn the_address_of_a_shop_takes_the_calls_of_its_own_service_alone(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let call = Call::prepare(&order, 1).signed();
    let of_branch = Call::prepare(&order, 2).with("service_id", OTHER_SERVICE).signed();

    for shop in ["branch", "branch/", "without-click", "unknown", "%20"] {
        for path in ["webhook", "prepare", "complete"] {
            let path = format!("/click/{path}/{shop}");
            let answer = webhook.send_to(&path, &call).await;
            assert_eq!(answer["error"], -8, "{path}: {answer}");
            assert_eq!(answer["click_trans_id"], 1, "{path}: {answer}");
        }
    }
    assert_eq!(webhook.rows(&order).await, []);
    assert_eq!(webhook.send_to("/click/webhook/default", &of_branch).await["error"], -8);
    assert_eq!(webhook.send_to("/click/webhook/branch", &of_branch).await["error"], -5, "it has no such order");
    assert_eq!(webhook.send_to("/click/webhook", &of_branch).await["error"], -5, "each shop's calls");

    assert_eq!(webhook.send_to("/click/webhook/default", &call).await["error"], 0);
}

/// Before a debit Click is told that we could not write. After it no answer of Click's table would be true, so that it must
/// send the call again.
async fn a_database_that_hangs_is_told_as_clicks_table_says(f: Fixture) {
    let webhook = Webhook::over(f);
    let order = webhook.order().await;
    let prepare = Call::prepare(&order, 1).signed();

    let held = webhook.f.hold_writes().await;
    let answer = webhook.send(&prepare).await;
    assert_eq!((&answer["error"], &answer["merchant_prepare_id"]), (&json!(-7), &Value::Null), "{answer}");
    assert_eq!(webhook.rows(&order).await, []);
    drop(held);

    // Click ends the attempt, and its payer tries again at once, as often as is needed.
    let mut attempt = 1;
    let prepared = until_written(async || {
        attempt += 1;
        let prepared = webhook.send(&Call::prepare(&order, attempt).signed()).await;
        Some(prepared).filter(|answer| answer["error"] == 0)
    })
    .await;
    let again = webhook.send(&prepare).await;
    assert_eq!((&again["error"], &again["merchant_prepare_id"]), (&json!(-9), &Value::Null), "{again}");
    let prepare_id = &prepared["merchant_prepare_id"];
    for (error, code) in [(0, 0), (-5_017, -4)] {
        let complete = Call::prepare(&order, attempt).complete(prepare_id, error).signed().form();
        let form = "application/x-www-form-urlencoded";
        let tell = async || webhook.post("/click/complete/", form, complete.clone().into_bytes()).await;
        let rows = webhook.rows(&order).await;

        let held = webhook.f.hold_writes().await;
        let (status, text) = tell().await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert!(problem["error"].is_null(), "it is no answer that Click could read: {problem}");
        assert_eq!(webhook.rows(&order).await, rows);
        drop(held);

        let (_, text) =
            until_written(async || Some(tell().await).filter(|(status, _)| *status == StatusCode::OK)).await;
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&told["error"], &told["merchant_confirm_id"]), (&json!(code), prepare_id), "{told}");
        let rows = webhook.rows(&order).await;
        let told: Vec<usize> = (0..rows.len()).filter(|place| rows[*place].debited_at_ms.is_some()).collect();
        assert_eq!(told, [rows.len() - 1], "{rows:?}");
    }
}

/// The lock of a connection that was dropped may last for a moment.
async fn until_written<T>(call: impl AsyncFnMut() -> Option<T>) -> T {
    wait_until("the database to be free", PATIENCE, call).await
}

async fn an_unlisted_address_is_only_watched_unless_the_setting_says_otherwise(f: Fixture) {
    let refusing = Webhook::with(f, |settings| settings.callback_address_check = Some(AddressCheck::Refuse));
    let order = refusing.order().await;
    let call = Call::prepare(&order, 1).signed();

    assert_eq!(refusing.send(&call).await["error"], -8);
    assert!(refusing.rows(&order).await.is_empty());

    let watching = Webhook::over(refusing.f);
    assert_eq!(watching.send(&call).await["error"], 0, "by default a list is for watching");
}

/// More calls than one account may have under way, all rightly signed.
const MORE_THAN_PLACES: usize = 700;

/// The database takes no writes, so that every call stays. Those that find no place are told so at once.
/// Shows: INVARIANT-25
async fn a_service_all_of_whose_places_are_taken_takes_none_of_another_account(f: Fixture) {
    let webhook = &Webhook::over(f);
    let order = webhook.order().await;
    let held = webhook.f.hold_writes().await;
    let form = "application/x-www-form-urlencoded";
    let complete = |service: &'static str, click_trans_id: usize| {
        let call = Call::prepare_of(service, order.id, &order.amount.to_string(), click_trans_id);
        let body = call.complete(&json!(1), 0).signed().form().into_bytes();
        async move { webhook.post("/click/complete/", form, body).await }
    };
    let has_no_place = |text: &str| text.contains("too many calls of Click");
    let mut flood: FuturesUnordered<_> = (0..MORE_THAN_PLACES).map(|number| complete(SERVICE, number + 1)).collect();
    let (status, text) = flood.next().await.unwrap();
    assert_eq!((status, has_no_place(&text)), (StatusCode::SERVICE_UNAVAILABLE, true), "{text}");

    let body = json!({ "method": "CheckTransaction", "params": { "id": "a" }, "id": 1 }).to_string();
    let credentials = BASE64_STANDARD.encode("Paycom:sandbox-payme-key");
    let request = Request::builder().method(poem::http::Method::POST).uri_str("/payme/webhook/");
    let of_payme = request.header("authorization", format!("Basic {credentials}")).body(body);
    let (of_payme, (_, of_branch), _) =
        tokio::join!(webhook.endpoint.get_response(of_payme), complete(OTHER_SERVICE, 1), async {
            while flood.next().await.is_some() {}
        },);

    let of_payme: Value = of_payme.into_body().into_json().await.unwrap();
    assert_eq!(of_payme["error"]["code"], -31_003, "{of_payme}");
    assert!(!has_no_place(&of_branch), "the other service waits for the database: {of_branch}");
    drop(held);
}
