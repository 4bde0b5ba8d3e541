//! A walk through the statements about calls of gateways that begin their transactions themselves, and about what came with
//! them: many shops, local links, fiscal receipts.

use std::sync::Arc;

use domain::callback_verdict::CallbackVerdict;
use domain::fiscal::FiscalKind;
use domain::id::{OrderId, OrderToken};
use domain::order::{NewOrder, Order, OrderAccount, PaymentType};
use domain::transaction::StoredTransaction;
use store::callbacks::Sender;
use store::calls::{self, BeginCall, CabinetRefunds, CallAnswer, CallClaims, ToldCall};
use store::orders::{self, Created, LocalLink};
use store::processes::{self, Process};
use store::{Store, fiscal_receipts};

use super::walk::Times;
use crate::support::filling::{self, FillSize};
use crate::support::fixture::calling::{asked, received, telling, told};
use crate::support::fixture::{PAYMENT_TTL_MS, new_order};

pub(super) async fn walk(store: &Store, extent: FillSize, round: i64, times: &mut Times) {
    let order = linked(store, round, times).await;
    pay(store, &order, round, times).await;
    let open = OrderId(filling::FIRST_CALLED + extent.called() + 1 + round);
    let open = times.of("find", orders::find(store, open)).await.unwrap().expect("it is open");
    call_off(store, &open, round, times).await;
    read(store, extent, times).await;
    shops_and_processes(store, round, times).await;
}

async fn linked(store: &Store, round: i64, times: &mut Times) -> Order {
    let link = LocalLink {
        write: Arc::new(|id: OrderId, _: &OrderToken| format!("http://gateway/{id}")),
        payment_ttl_ms: PAYMENT_TTL_MS,
    };
    let reference = Some(format!("called {round}"));
    let account = OrderAccount { payment_type: PaymentType::Payme, gateway: telling().gateway };
    let new = NewOrder { account: Some(account), reference, ..new_order() };
    let made = times.of("create linked", orders::create_linked(store, &new, None, &link)).await.unwrap();
    let Created::New(order) = made else { panic!("{made:?}") };
    let again = times.of("reference taken", orders::create_linked(store, &new, None, &link)).await.unwrap();
    assert!(matches!(again, Created::ReferenceTaken(id) if id == order.id), "{again:?}");
    order
}

fn call(store: &Store, order: &Order, external_id: &str) -> BeginCall {
    BeginCall {
        external_id: external_id.into(),
        account: order.id.to_string(),
        order_id: Some(order.id),
        amount: Some(order.amount.get()),
        gateway_at_ms: store.now_ms(),
    }
}

async fn begin(store: &Store, order: &Order, external_id: &str, times: &mut Times) -> CallAnswer {
    let (account, call) = (telling(), call(store, order, external_id));
    let digest = format!("begin {external_id}");
    times.of("begin", calls::begin(store, &account, &call, received(&digest), Sender::Heard)).await.unwrap()
}

/// Begun, begun by another transaction, inspected, debited, each as often as a gateway repeats it.
async fn pay(store: &Store, order: &Order, round: i64, times: &mut Times) {
    let (account, id) = (telling(), format!("fresh {round}"));
    let may_pay = calls::may_pay(store, &account, Some(order.id), Some(order.amount.get()));
    assert_eq!(times.of("may pay", may_pay).await.unwrap(), CallbackVerdict::Allowed);
    for _ in 0..2 {
        assert_eq!(begin(store, order, &id, times).await.verdict, CallbackVerdict::Allowed);
    }
    let second = begin(store, order, &format!("second {round}"), times).await;
    assert_eq!(second.verdict, CallbackVerdict::SecondTransaction);
    let inspect = calls::inspect(store, &account.gateway, &id);
    times.of("inspect", inspect).await.unwrap().expect("it is begun");
    let call = told(&id);
    for _ in 0..2 {
        let digest = format!("debited {id}");
        let debited = calls::debited(store, &account, &call, received(&digest), Sender::Heard);
        assert_eq!(times.of("debited", debited).await.unwrap().verdict, CallbackVerdict::DebitTold);
        let keep = fiscal_receipts::keep(store, &account.gateway, &id, FiscalKind::Perform, "{}");
        assert!(times.of("keep fiscal receipt", keep).await.unwrap());
    }
    let receipts = times.of("fiscal receipts", fiscal_receipts::of_order(store, order.id)).await.unwrap();
    assert_eq!(receipts.len(), 1);
    let claims = CallClaims { account: "0".into(), order_id: Some(order.id), transaction_id: None, amount: None };
    let stray = ToldCall { external_id: format!("stray {round}"), claims: Some(claims) };
    let (click, digest) = (asked(), format!("stray {round}"));
    let strange = calls::debited(store, &click, &stray, received(&digest), Sender::Heard);
    assert_eq!(times.of("debit of no order", strange).await.unwrap().verdict, CallbackVerdict::UnknownOrder);
}

/// Begun on an order that waits for its customer, and canceled: the order is free again.
async fn call_off(store: &Store, order: &Order, round: i64, times: &mut Times) {
    let (account, id) = (telling(), format!("called off {round}"));
    assert_eq!(begin(store, order, &id, times).await.verdict, CallbackVerdict::Allowed);
    let (call, digest) = (told(&id), format!("canceled {id}"));
    let canceled =
        calls::canceled(store, &account, &call, 3, CabinetRefunds::Accepted, received(&digest), Sender::Heard);
    assert_eq!(times.of("canceled", canceled).await.unwrap().verdict, CallbackVerdict::FailureTold);
    let order = orders::find(store, order.id).await.unwrap().unwrap();
    assert_eq!(order.allowed_transaction_id, None);
}

/// Two pages in the middle of a statement over everything.
async fn read(store: &Store, extent: FillSize, times: &mut Times) {
    let account = telling();
    let middle = OrderId(filling::FIRST_CALLED + extent.called() / 2);
    let begun = calls::inspect(store, &account.gateway, &format!("called {}", middle.0)).await.unwrap();
    let from_ms = begun.and_then(|row: StoredTransaction| row.gateway_at_ms).expect("it is there");
    let statement = |after| calls::statement(store, &account.gateway, from_ms, i64::MAX, after, 100);
    let first = times.of("statement", statement(None)).await.unwrap();
    let second = times.of("statement", statement(first.next)).await.unwrap();
    assert_eq!((first.transactions.len(), second.transactions.len()), (100, 100));
}

async fn shops_and_processes(store: &Store, round: i64, times: &mut Times) {
    times.of("open by shop", orders::open_by_shop(store)).await.unwrap();
    let gateway = telling().gateway;
    let process = Process {
        id: format!("worker {round}"),
        role: "worker".into(),
        version: "0".into(),
        slots: 8,
        queues: "settle".into(),
        redis_instance_id: None,
        started_at_ms: store.now_ms(),
        heartbeat_at_ms: 0,
        queue_heard_at_ms: None,
        admission: None,
        weather: None,
        log_fault: None,
        gateway: None,
        accounts: Some(format!("{{\"{gateway}\":{{}}}}")),
    };
    times.of("heartbeat", processes::write_heartbeat(store, &process)).await.unwrap();
    assert!(times.of("workers of account", processes::has_worker_of(store, &gateway)).await.unwrap());
}
