//! A shop with one machine loses its power, again and again, at any moment. Its database file is whole, and every
//! promised order is there.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

use crate::support::app::{Kind, TestApp};
use crate::support::doors::{Doors, tea};
use crate::support::wait::{PATIENCE, wait_until};

const KILLS: usize = 6;

const SHOPS: usize = 4;

/// A job that ran at three of the kills waits a minute, and then runs alone.
const ALL_LINKED: Duration = Duration::from_secs(75);

/// The orders that the program must promise after a start before it is killed.
const WORK_BEFORE_A_KILL: usize = 10;

#[derive(Default)]
struct Promised {
    orders: Mutex<Vec<i64>>,
    number: AtomicUsize,
    is_over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_under_load_the_program_keeps_its_file_whole_and_every_order_it_promised() {
    let mut app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let promised = Arc::new(Promised::default());
    let shops: Vec<_> = (0..SHOPS).map(|_| tokio::spawn(keep_ordering(app.clone(), Arc::clone(&promised)))).collect();

    for kill in 0..KILLS {
        let before = promised.number.load(Ordering::Relaxed);
        wait_until("orders to be taken", PATIENCE, async || {
            (promised.number.load(Ordering::Relaxed) >= before + WORK_BEFORE_A_KILL).then_some(())
        })
        .await;
        // A random moment, on purpose.
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..250))).await;
        app.kill().await;
        check_whole(app.data_dir(), kill).await;
        app.start_again().await;
    }
    promised.is_over.store(true, Ordering::Relaxed);
    futures_util::future::join_all(shops).await.into_iter().for_each(|ended| ended.unwrap());

    let orders = promised.orders.lock().unwrap().clone();
    println!("{} orders were promised over {KILLS} kills", orders.len());
    assert!(orders.len() >= KILLS * WORK_BEFORE_A_KILL);
    wait_until("links of all orders", ALL_LINKED, async || {
        for order in &orders {
            app.order(*order).await["transaction_id"].as_i64()?;
        }
        Some(())
    })
    .await;
    for order in orders.iter().rev().take(5) {
        let order = app.wait_for_link(*order).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
        app.wait_for(order.id, "paid").await;
    }
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&orders).await;
    app.stop().await;
    check_whole(app.data_dir(), KILLS).await;
}

/// Makes orders until it is over. An order is promised once its answer was read; an answer that breaks off promises
/// nothing.
async fn keep_ordering(shop: Doors, promised: Arc<Promised>) {
    while !promised.is_over.load(Ordering::Relaxed) {
        match shop.request(Method::POST, "/api/orders/create").json(&tea()).send().await {
            Ok(answer) if answer.status() == 201 => {
                if let Ok(order) = answer.json::<Value>().await {
                    promised.orders.lock().unwrap().push(order["order_id"].as_i64().unwrap());
                    promised.number.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(other) => panic!("HTTP {}: {}", other.status(), other.text().await.unwrap_or_default()),
            // The program has just been killed.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Checks a copy, so that the program itself must recover the original file.
async fn check_whole(data_dir: &Path, kill: usize) {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(data_dir).unwrap().flatten().filter(|file| file.file_type().unwrap().is_file()) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let url = format!("sqlite://{}/tasdiq.db", copy.path().display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let integrity: Vec<String> = sqlx::query_scalar("pragma integrity_check").fetch_all(&mut database).await.unwrap();
    let orphans = sqlx::query("pragma foreign_key_check").fetch_all(&mut database).await.unwrap();
    // Rows that are always written in one transaction.
    let halves: i64 = sqlx::query_scalar(
        "select (select count(*) from orders o where not exists (select 1 from order_history h where h.order_id = o.id))
        + (select count(*) from orders o where not exists
            (select 1 from jobs j where j.subject_id = o.id and j.kind in ('create_payment_link', 'settle_order')))
        + (select count(*) from orders o where o.payment_url is not null and not exists
            (select 1 from jobs j where j.subject_id = o.id and j.kind = 'settle_order'))",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    database.close().await.unwrap();

    assert_eq!(integrity, ["ok"], "after kill {kill}");
    assert!(orphans.is_empty(), "after kill {kill}: {} rows without what they belong to", orphans.len());
    assert_eq!(halves, 0, "orders without their history or their jobs after kill {kill}");
}
