//! A backup is restored: orders made since the backup are lost, and no new order gets their numbers.

use crate::support::app::{Kind, TestApp, on_both_kinds};

on_both_kinds! {
    a_restored_backup_gives_no_customer_the_number_of_another
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
