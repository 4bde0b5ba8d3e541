//! `tasdiq orders list` and `tasdiq orders show`, which finds an order by any of its names.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::command::{CommandResult, run};
use crate::support::role::{client, id};
use crate::support::up::Up;

async fn start() -> Up {
    Up::start(&[("TASDIQ_LINK_WAIT_MS", "3000")]).await
}

async fn command(up: &Up, line: &str) -> CommandResult {
    run(&shlex::split(line).unwrap().iter().map(String::as_str).collect::<Vec<_>>(), &up.environment()).await
}

async fn make(up: &Up, fields: Value) -> Value {
    let mut body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let made = client().post(format!("{}/api/orders/create", up.api.role.url)).json(&body).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    made.json().await.unwrap()
}

fn ids(listed: &CommandResult) -> Vec<i64> {
    listed.json().as_array().unwrap().iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_listed_by_each_filter_in_lines_that_fit() {
    let up = start().await;
    let tea = id(&make(&up, json!({ "product_name": "Чай", "reference": "A-1" })).await);
    let dear =
        make(&up, json!({ "reference": "a reference that is much too long for a line", "amount": "10000000000" }))
            .await;
    let (dear, transaction) = (id(&dear), dear["transaction_id"].as_i64().unwrap());
    let canceled = id(&make(&up, json!({ "payment_type": "payme" })).await);
    assert_eq!(command(&up, &format!("orders cancel {canceled} --by ann --reason sold")).await.code, Some(0));

    for (filter, expected) in [
        (String::new(), vec![canceled, dear, tea]),
        ("--status pending,confirming".to_owned(), vec![dear, tea]),
        ("--status canceled".to_owned(), vec![canceled]),
        ("--payment-type payme --since 2h".to_owned(), vec![canceled]),
        ("--since 2026-01-01 --until 2026-01-02T00:00:00Z".to_owned(), vec![]),
        ("--amount 50".to_owned(), vec![canceled, tea]),
        ("--amount-from 50.01".to_owned(), vec![dear]),
        ("--amount-to 50 --text somsa".to_owned(), vec![canceled]),
        ("--reference A-1".to_owned(), vec![tea]),
        (format!("--transaction {transaction}"), vec![dear]),
        ("--text ЧАЙ".to_owned(), vec![tea]),
        ("--needs-review".to_owned(), vec![]),
        ("--shop default --limit 2".to_owned(), vec![canceled, dear]),
        ("--all".to_owned(), vec![canceled, dear, tea]),
    ] {
        assert_eq!(ids(&command(&up, &format!("orders list {filter} --json")).await), expected, "{filter}");
    }

    let listed = command(&up, "orders list --limit 2").await;
    let lines: Vec<&str> = listed.said.lines().collect();
    assert_eq!(lines.len(), 4, "{listed:?}");
    assert!(lines[0].starts_with("order ") && lines[1].contains(" canceled "), "{listed:?}");
    assert!(lines[2].contains("10000000000.00") && lines[2].contains("a reference that…"), "{listed:?}");
    assert!(lines[3].starts_with("there are more"), "{listed:?}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{listed:?}");
    assert!(command(&up, "orders list --status review").await.said.ends_with("\nno order fits\n"));
    let unknown = command(&up, "orders list --shop tea").await;
    assert!(unknown.refusal().contains("shop named tea"), "{unknown:?}");
    let turned = command(&up, "orders list --since 2026-11-02 --until 2026-11-01").await;
    assert!(turned.refusal().contains("--until"), "{turned:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_shown_by_any_name_that_it_has() {
    let up = start().await;
    let first = make(&up, json!({ "reference": "A-17" })).await;
    let (number, token) = (id(&first), first["order_token"].as_str().unwrap());
    let transaction = first["transaction_id"].as_i64().unwrap();

    for name in [number.to_string(), "A-17".to_owned(), transaction.to_string(), token.to_owned()] {
        let shown = command(&up, &format!("orders show {name} --json")).await;
        assert_eq!(id(&shown.json()["order"]), number, "{name}");
        assert!(!shown.said.contains(token), "a token opens the order's pages");
    }
    for line in [
        format!("--number {number}"),
        "--reference A-17".to_owned(),
        format!("--transaction {transaction}"),
        "A-17 --shop default".to_owned(),
    ] {
        assert_eq!(id(&command(&up, &format!("orders show {line} --json")).await.json()["order"]), number, "{line}");
    }

    // Another order whose reference is the first one's number.
    let second = make(&up, json!({ "reference": number.to_string() })).await;
    let by_number = command(&up, &format!("orders show {number}")).await;
    assert!(by_number.said.contains(&format!("order {number}")), "{by_number:?}");
    let told = format!("{number} is also the reference of order {} (shop default)", id(&second));
    assert!(by_number.complained.contains(&told), "{by_number:?}");
    // Another order whose reference is the first one's transaction.
    let third = make(&up, json!({ "reference": transaction.to_string() })).await;
    let ambiguous = command(&up, &format!("orders show {transaction}")).await;
    let told = ambiguous.refusal();
    assert!(told.contains(&format!("the transaction of order {number} (shop default)")), "{told}");
    assert!(told.contains(&format!("the reference of order {} (shop default)", id(&third))), "{told}");
    assert!(told.contains("--number"), "{told}");
    let exactly = command(&up, &format!("orders show --reference {number} --json")).await;
    assert_eq!(id(&exactly.json()["order"]), id(&second));

    for (line, tells) in [
        ("A-18", "no order A-18"),
        ("--number 999", "no order 999"),
        ("--reference 999", "no order with the reference 999"),
        ("--transaction A-17", "no order of the transaction A-17"),
        ("A-17 --shop tea", "no order A-17"),
        (&token.replace(|sign: char| sign.is_ascii_digit(), "a"), "this token"),
    ] {
        let missing = command(&up, &format!("orders show {line}")).await;
        assert!(missing.refusal().contains(tells), "{line}: {missing:?}");
    }
}
