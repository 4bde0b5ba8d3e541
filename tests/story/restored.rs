//! A backup is restored: orders made since the backup are lost, and no new order gets their numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_restored_backup_gives_no_customer_the_number_of_another
    a_new_database_beside_a_real_service_of_click_begins_above_the_one_before
}

/// Shows: TIME-2
async fn a_restored_backup_gives_no_customer_the_number_of_another(kind: Kind) {
    let mut app = TestApp::start(kind).await;
    let kept = app.paid_order().await;
    app.stop().await;
    let backup = std::fs::read(app.data_dir().join("tasdiq.db")).ok();
    app.start_again().await;
    let lost = app.paid_order().await;
    app.stop().await;

    match &backup {
        Some(backup) => {
            for file in ["tasdiq.db-wal", "tasdiq.db-shm"] {
                let _ = std::fs::remove_file(app.data_dir().join(file));
            }
            std::fs::write(app.data_dir().join("tasdiq.db"), backup).unwrap();
        }
        // The state after an older dump was restored.
        None => {
            for rows in [
                "callbacks where order_id",
                "jobs where subject_id",
                "transactions where order_id",
                "order_history where order_id",
                "orders where id",
            ] {
                app.execute(&format!("delete from {rows} = {}", lost.id)).await;
            }
            app.execute(&format!("update id_blocks set next = {} where name = 'orders'", lost.id)).await;
        }
    }
    let said = app.command(&["restored"]).await;
    app.start_again().await;
    let new = app.order_with_link().await;

    assert!(said.contains("tasdiq audit"), "{said}");
    assert!(said.contains(&format!("the highest order that is left is {}.", kept.id)), "{said}");
    assert!(new.id > lost.id + 1_000_000, "{} after {}", new.id, lost.id);
    assert_eq!(app.get(&format!("/api/orders/{}", lost.id)).await.status, 404);
    assert_eq!(app.status(kept.id).await, "paid");
    let audited = app.run(&["audit"]).await;
    assert!(audited.said.contains("debit-unknown-to-us"), "the lost order's payment is told: {audited:?}");
    let doctor = app.run(&["doctor"]).await;
    assert!(doctor.said.contains("all numbers jumped"), "{doctor:?}");
    let again = app.command(&["restored"]).await;
    assert!(again.contains(&format!("the highest order that is left is {}.", new.id)), "{again}");
}

/// Click names a payment by the order's number alone. Its page is never opened here.
/// Shows: TIME-3
async fn a_new_database_beside_a_real_service_of_click_begins_above_the_one_before(kind: Kind) {
    const KEY: &str = "0123456789abcdef-of-the-shop";
    const YEAR_2026: u64 = 1_767_225_600;
    let keys = format!("shop:{KEY}");
    let settings = [
        ("TASDIQ_API_KEYS", keys.as_str()),
        ("TASDIQ_PUBLIC_URL", "https://pay.example.uz"),
        ("CLICK_SERVICE_ID", "54321"),
        ("CLICK_MERCHANT_ID", "12345"),
        ("CLICK_MERCHANT_USER_ID", "34567"),
        ("CLICK_SECRET_KEY", "a-key-of-the-service"),
        ("CLICK_API_URL", "http://127.0.0.1:9/click"),
    ];
    let make = async |app: &TestApp| {
        let mut body = tea();
        body["payment_type"] = json!("click");
        let request = app.request(Method::POST, "/api/orders/create").bearer_auth(KEY).json(&body);
        let order: Value = request.send().await.unwrap().json().await.unwrap();
        order["order_id"].as_u64().unwrap_or_else(|| panic!("{order}"))
    };
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - YEAR_2026;
    let before = seconds();

    let mut app = TestApp::start_with(kind, &settings).await;
    let first = make(&app).await;
    app.stop().await;
    let said = app.command(&["restored"]).await;
    app.start_again().await;
    let jumped = make(&app).await;
    app.stop().await;
    // Numbers are seconds; that of the database may be the one before this host's.
    wait_until("a later second", PATIENCE, async || (seconds() > first + 1).then_some(())).await;
    let new = TestApp::start_with(kind, &settings).await;
    let of_the_new = make(&new).await;

    assert!(first + 5 >= before && first <= seconds() + 5, "{first}, {before}");
    assert!(jumped >= first + 10_000_000, "{jumped} after {first}: {said}");
    assert!(of_the_new > first, "{of_the_new} after {first}");
}
