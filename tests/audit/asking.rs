//! The source of the gateway's answers, the number of questions, and an audit without an answer.

use std::time::{Duration, Instant};

use poem::listener::TcpAcceptor;
use poem::{Route, Server, handler, post};
use serde_json::json;

use super::scene::{AuditOutput, Scene};
use crate::support::app::{Kind, on_both_kinds};
use crate::support::command::run;
use crate::support::ports::free_port;

on_both_kinds! {
    a_gateway_without_a_book_is_asked_about_each_transaction
    an_audit_waits_for_the_budget_of_calls_and_says_what_it_is_at
    a_gateway_that_does_not_admit_us_is_a_matter_of_the_configuration
    a_gateway_that_is_away_is_no_success
    an_old_order_is_passed_over_when_asked_for_the_last_days
    one_order_can_be_audited_alone
}

async fn a_gateway_without_a_book_is_asked_about_each_transaction(kind: Kind) {
    let mut scene = Scene::start_as_merchant(kind).await;
    let [paid, refunded] = [scene.paid_order().await, scene.paid_order().await];
    scene.sim("reverse", refunded.transaction_id).await;
    scene.app.command(&["orders", "reconcile", &refunded.id.to_string()]).await;
    scene.wait_for(refunded.id, "refunded").await;
    let on_its_way = scene.order_with_link().await;
    scene.pay_in_silence(on_its_way.transaction_id).await;
    let [lost, silent] = [scene.order_with_link().await, scene.order_with_link().await];
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let clean = scene.findings(&[]).await;

    assert_eq!(clean.ended.code, Some(0), "{clean:?}");
    let audited = &clean.document["audited"];
    assert_eq!((&audited["gateway"], &audited["word"]), (&json!("atmos:417"), &json!("inquiries")), "{audited}");
    assert_eq!((&audited["orders"], &audited["debits"]), (&json!(5), &json!(2)), "{audited}");
    let expected = ("under-way".to_owned(), Some(on_its_way.id), Some(on_its_way.transaction_id));
    assert_eq!(clean.information(), [expected].into());

    scene.sim("reverse", paid.transaction_id).await;
    let long_ago = "update orders set final_at_ms = {now} - 400000000 where id = {id};
        delete from jobs where subject_id = {id} and kind = 'settle_order'";
    scene.sql(&paid, long_ago).await;
    let mislead = "update transactions set transaction_id = transaction_id + 100000 where order_id = {id};
        update orders set transaction_id = transaction_id + 100000 where id = {id}";
    scene.sql(&lost, mislead).await;
    scene
        .fault(json!({ "fault": "unknown-code", "path": "/merchant/pay/get", "account": silent.id.to_string() }))
        .await;

    let differs = scene.findings(&[]).await;

    let expected = [
        ("link-unknown".to_owned(), Some(lost.id), Some(lost.transaction_id + 100_000)),
        ("not-asked".to_owned(), Some(silent.id), Some(silent.transaction_id)),
        ("reversed-not-recorded".to_owned(), Some(paid.id), Some(paid.transaction_id)),
    ];
    assert_eq!(differs.differences(), expected.into(), "{:#}", differs.document);
    assert_eq!(differs.ended.code, Some(1));
}

/// The audit shares the rate limit with the workers. If it needs more calls than are left, it takes longer and makes no
/// call fail.
async fn an_audit_waits_for_the_budget_of_calls_and_says_what_it_is_at(kind: Kind) {
    let mut scene = Scene::start_as_merchant(kind).await;
    for _ in 0..6 {
        scene.order_with_link().await;
    }
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let begun = Instant::now();
    let ended = scene.app.run_with(&["audit", "--json"], &[("TASDIQ_GATEWAY_RATE", "1/1")]).await;
    let taken = begun.elapsed();

    let audit = AuditOutput::read(ended);
    assert_eq!(audit.ended.code, Some(0), "{audit:?}");
    assert_eq!(audit.document["audited"]["transactions"], 6, "{audit:?}");
    assert!(taken > Duration::from_secs(5), "a token and six inquiries of one a second were made in {taken:?}");
    assert!(audit.ended.complained.starts_with("audit: "), "a long run says what it is at: {audit:?}");
}

async fn a_gateway_that_does_not_admit_us_is_a_matter_of_the_configuration(kind: Kind) {
    let mut scene = Scene::start_as_merchant(kind).await;
    scene.order_with_link().await;

    scene.fault(json!({ "fault": "forbidden" })).await;
    let refused = scene.audit(&[]).await;
    scene.stop_gateway().await;
    let away = scene.audit(&[]).await;

    assert_eq!((refused.code, refused.said.as_str()), (Some(78), ""), "{refused:?}");
    assert!(refused.complained.contains("does not admit us"), "{refused:?}");
    assert_eq!((away.code, away.said.as_str()), (Some(75), ""), "{away:?}");
}

/// The sandbox never answers like this. Whether Atmos does is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_answer_is_told_once_no_inquiry_comes_again() {
    let mut scene = Scene::start_as_merchant(Kind::Embedded).await;
    let order = scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;
    let odd = odd_gateway(order.transaction_id, order.id).await;
    let audit = async || {
        super::scene::AuditOutput::read(scene.app.run_with(&["audit", "--json"], &[("ATMOS_BASE_URL", &odd)]).await)
    };

    let while_inquiries_come = audit().await;
    let expire = "update orders set status = 'expired', final_at_ms = {now} - 400000000 where id = {id};
        insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
            values ({id}, 3, {now}, 'pending', 'expired', 'a test wrote it');
        delete from jobs where subject_id = {id} and kind = 'settle_order'";
    scene.sql(&order, expire).await;
    let when_none_comes = audit().await;

    assert_eq!(while_inquiries_come.kinds("information"), ["under-way"]);
    assert_eq!(while_inquiries_come.ended.code, Some(0));
    assert_eq!(when_none_comes.kinds("differences"), ["gateway-unclear"]);
    assert_eq!(when_none_comes.ended.code, Some(1));
}

/// The address of a gateway that calls a transaction confirmed and gives no permanent id.
async fn odd_gateway(transaction_id: i64, account: i64) -> String {
    #[handler]
    fn token() -> String {
        json!({ "access_token": "token", "token_type": "Bearer", "expires_in": 3600 }).to_string()
    }
    #[handler]
    fn found(poem::web::Data(answer): poem::web::Data<&String>) -> String {
        answer.clone()
    }
    let answer = json!({ "result": { "code": "OK" }, "store_transaction": {
        "trans_id": transaction_id, "success_trans_id": null, "account": account.to_string(), "amount": 5_000,
        "confirmed": true, "status_code": null, "store": { "id": 417 } } });
    let routes = Route::new().at("/token", post(token)).at("/merchant/pay/get", post(found));
    let routes = poem::EndpointExt::data(routes, answer.to_string());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Server::new_with_acceptor(TcpAcceptor::from_std(listener).unwrap()).run(routes));
    url
}

async fn a_gateway_that_is_away_is_no_success(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    scene.order_with_link().await;
    scene.stop_gateway().await;

    let (machine, person) = tokio::join!(scene.audit(&["--json"]), scene.audit(&[]));

    for away in [machine, person] {
        assert_eq!((away.code, away.said.as_str()), (Some(75), ""), "{away:?}");
        assert!(away.complained.contains("the gateway cannot be asked"), "{away:?}");
    }
}

async fn an_old_order_is_passed_over_when_asked_for_the_last_days(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let old = scene.paid_order().await;
    let open = scene.order_with_link().await;
    let fresh = scene.paid_order().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;
    for order in [&old, &open, &fresh] {
        scene.sql(order, "update orders set refunded_amount = 1 where id = {id}").await;
    }
    let long_ago = "update orders set created_at_ms = {now} - 900000000 where id = {id};
        update orders set final_at_ms = created_at_ms + 1000 where id = {id} and final_at_ms is not null";
    scene.sql(&old, long_ago).await;
    scene.sql(&open, long_ago).await;

    let (lately, all) = tokio::join!(scene.findings(&["--since-days", "10"]), scene.findings(&["--since-days", "11"]));

    let told = |ids: &[i64]| ids.iter().map(|id| ("refunded-amount".to_owned(), Some(*id), None)).collect();
    assert_eq!(lately.differences(), told(&[open.id, fresh.id]), "what has not ended is never old");
    assert_eq!(all.differences(), told(&[old.id, open.id, fresh.id]));
    assert_eq!(lately.document["audited"]["orders"], 2);
}

async fn one_order_can_be_audited_alone(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let (sound, spoiled) = (scene.paid_order().await, scene.paid_order().await);
    scene.wait_until_quiet().await;
    scene.app.stop().await;
    scene.sql(&spoiled, "update orders set refunded_amount = 1 where id = {id}").await;
    let [sound, spoiled] = [sound, spoiled].map(|order| order.id.to_string());

    let [sound, spoiled] = [["--order", &sound], ["--order", &spoiled]];
    let (well, ill) = tokio::join!(scene.audit(&sound), scene.audit(&spoiled));
    let nobodys = scene.audit(&["--order", "999999"]).await;

    assert_eq!((well.code, ill.code), (Some(0), Some(1)), "{well:?} {ill:?}");
    assert!(ill.said.contains("refunded-amount"), "{ill:?}");
    assert!(nobodys.refusal().contains("there is no order 999999"), "{nobodys:?}");
}

#[tokio::test]
async fn a_database_that_is_away_is_exit_code_75() {
    let away = format!("postgres://tasdiq:hunter2@127.0.0.1:{}/tasdiq", free_port());

    let ended = run(&["audit", "--json"], &[("DATABASE_URL", &away)]).await;

    assert_eq!((ended.code, ended.said.as_str()), (Some(75), ""), "{ended:?}");
    assert!(!ended.complained.contains("hunter2"), "{ended:?}");
}

#[tokio::test]
async fn arguments_that_cannot_be_meant_are_exit_code_2() {
    for arguments in [
        vec!["audit", "--order", "x"],
        vec!["audit", "--since-days", "0"],
        vec!["audit", "--since-days", "1", "--order", "1"],
        vec!["audit", "1"],
    ] {
        let ended = run(&arguments, &[]).await;

        assert_eq!((ended.code, ended.said.as_str()), (Some(2), ""), "{ended:?}");
    }
}
