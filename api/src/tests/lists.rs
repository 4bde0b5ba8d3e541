//! `GET /api/orders`, `GET /api/orders/by-reference/{reference}`, and answers that are asked for again by their tag.

use domain::order::Order;
use domain::review::{FindingKind, NewFinding};
use domain::time::rfc3339;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use poem::http::Method;
use serde_json::{Value, json};
use store::settlement::Settlement;

use super::support::{TestApi, TestResponse, keys, keys_of_shops, send};
use crate::orders::parameters::NAMES;

fn body(fields: Value) -> Value {
    let mut body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

async fn get_as(api: &TestApi, key: &str, path: &str) -> TestResponse {
    send(api.client.get(path).header("authorization", format!("Bearer {key}"))).await
}

#[track_caller]
fn ids(answer: &TestResponse) -> Vec<i64> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["orders"].as_array().unwrap().iter().map(|order| order["order_id"].as_i64().unwrap()).collect()
}

/// Every page of a list, following `next`.
async fn all_pages(api: &TestApi, query: &str) -> Vec<Vec<i64>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = api.get(&format!("/api/orders?{query}{cursor}")).await;
        pages.push(ids(&answer));
        match answer.json()["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

/// Six orders: open, linked, paid, canceled, in review, marked.
async fn six(api: &TestApi) -> Vec<Order> {
    let open = api.order_with(json!({ "reference": "A-1", "product_name": "Чай" })).await;
    let linked = api.order_with(json!({ "reference": "A-2", "amount": "50.01" })).await;
    let linked = api.link(&linked, 702).await;
    let paid = api.order_with(json!({ "amount": "1250000" })).await;
    let paid = api.link(&paid, 703).await;
    let paid = api.pay(&paid).await;
    let canceled = api.order_with(json!({ "reference": "a/4 %?" })).await;
    assert_eq!(api.cancel(&canceled, "").await.status, 200);
    let in_review = api.order_with(json!({ "reference": "A-5" })).await;
    let in_review = api.link(&in_review, 705).await;
    let finding = NewFinding::new(FindingKind::UnclearAnswer, "unclear");
    let in_review = api.settle(&in_review, Settlement::Review(finding)).await;
    let marked = api.order_with(json!({ "reference": "A-6" })).await;
    let marked = api.link(&marked, 706).await;
    let marked = api.pay(&marked).await;
    vec![open, linked, paid, api.reread(canceled.id).await, in_review, marked]
}

#[tokio::test]
async fn each_filter_finds_its_orders_newest_first() {
    let api = TestApi::start().await;
    let six = six(&api).await;
    let (third, last) = (rfc3339(six[2].created_at_ms), rfc3339(six[5].created_at_ms + 1));
    assert_eq!(six.iter().map(|order| order.id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);

    for (query, expected) in [
        ("", vec![6, 5, 4, 3, 2, 1]),
        ("status=pending", vec![2, 1]),
        ("status=paid,canceled", vec![6, 4, 3]),
        ("status=paid&status=review", vec![6, 5, 3]),
        ("status=paid,paid&status=paid&limit=2", vec![6, 3]),
        ("status=refunded", vec![]),
        ("payment_type=atmos&limit=100", vec![6, 5, 4, 3, 2, 1]),
        ("payment_type=click", vec![]),
        ("amount=50", vec![6, 5, 4, 1]),
        ("amount=50.01", vec![2]),
        ("amount_from=50.01", vec![3, 2]),
        ("amount_from=50.01&amount_to=60", vec![2]),
        ("amount_to=50.00&status=pending", vec![1]),
        ("reference=A-5", vec![5]),
        ("reference=a-5", vec![]),
        ("reference=a%2F4+%25%3F", vec![4]),
        ("transaction=703", vec![3]),
        ("transaction=1703", vec![3]),
        ("transaction=703&status=pending", vec![]),
        ("transaction=999", vec![]),
        ("text=%D1%87%D0%B0%D0%B9", vec![1]),
        ("text=a-+SOM", vec![6, 5, 2]),
        ("needs_review=false&status=review", vec![5]),
        ("needs_review=true", vec![]),
        ("until=2026-01-01", vec![]),
        ("since=2026-01-01&until=2999-01-01T00:00:00%2B05:00", vec![6, 5, 4, 3, 2, 1]),
        (&format!("until={last}&status=paid"), vec![6, 3]),
    ] {
        assert_eq!(ids(&api.get(&format!("/api/orders?{query}")).await), expected, "{query}");
    }
    let since = ids(&api.get(&format!("/api/orders?since={third}")).await);
    assert!(since.starts_with(&[6, 5, 4, 3]), "{since:?}");
}

#[tokio::test]
async fn a_listed_order_is_as_it_is_read_alone() {
    let api = TestApi::start().await;
    six(&api).await;

    let listed = api.get("/api/orders").await.json();

    for order in listed["orders"].as_array().unwrap() {
        let alone = api.get(&format!("/api/orders/{}", order["order_id"])).await.json();
        assert_eq!(*order, alone);
    }
    assert_eq!(listed["orders"][1]["findings"].as_array().map(Vec::len), Some(1), "{listed:#}");
    assert_eq!(listed["next"], Value::Null);
}

#[tokio::test]
async fn pages_follow_each_other_whatever_is_made_meanwhile() {
    let api = TestApi::start().await;
    for _ in 0..25 {
        api.order().await;
    }

    let usual = api.get("/api/orders").await;
    assert_eq!(ids(&usual).len(), 20);
    assert_eq!(
        all_pages(&api, "limit=10").await,
        [Vec::from_iter((16..=25).rev()), Vec::from_iter((6..=15).rev()), vec![5, 4, 3, 2, 1]]
    );
    let next = usual.json()["next"].as_str().unwrap().to_owned();
    api.order().await;
    assert_eq!(ids(&api.get(&format!("/api/orders?cursor={next}&limit=3")).await), [5, 4, 3]);

    for other in [format!("status=pending&cursor={next}"), format!("cursor=x{next}"), "cursor=".to_owned()] {
        let refused = api.get(&format!("/api/orders?{other}")).await.problem(422, "invalid-cursor");
        assert_eq!(refused["parameter"], "cursor");
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_refused_by_its_name() {
    let api = TestApi::start().await;

    for (query, parameter, tells) in [
        ("status=payed", "status", "`paid`"),
        ("status=", "status", "`pending`"),
        ("status=paid,,review", "status", "`paid`"),
        ("payment_type=cash", "payment_type", "`payme`"),
        ("since=yesterday", "since", "RFC 3339"),
        ("since=2026-11-01T00:00:00+05:00", "since", "%2B"),
        ("until=2026-13-01", "until", "RFC 3339"),
        ("since=2026-11-02&until=2026-11-01", "until", "`since`"),
        ("amount=5,00", "amount", "decimal"),
        ("amount=0", "amount", "above zero"),
        ("amount=50&amount_to=60", "amount", "amount_from"),
        ("amount_from=60&amount_to=50", "amount_to", "less"),
        ("reference=", "reference", "1 to 100"),
        ("reference=a&reference=b", "reference", "once"),
        ("transaction=%0A", "transaction", "control"),
        ("needs_review=1", "needs_review", "`true`"),
        ("text=+", "text", "nothing to see"),
        ("limit=0", "limit", "1 to 100"),
        ("limit=101", "limit", "1 to 100"),
        ("limit=ten", "limit", "1 to 100"),
    ] {
        let refused = api.get(&format!("/api/orders?{query}")).await.problem(422, "invalid-parameter");
        assert_eq!(refused["parameter"], parameter, "{query}");
        assert!(refused["detail"].as_str().unwrap().contains(tells), "{query}: {refused}");
    }
    for (query, parameter, nearest) in [
        ("state=paid", "state", "`status`"),
        ("Limit=5", "Limit", "`limit`"),
        ("paymenttype=atmos", "paymenttype", "`payment_type`"),
        ("offset=20&limit=5", "offset", "Did"),
        ("token=x", "token", "`text`"),
    ] {
        let refused = api.get(&format!("/api/orders?{query}")).await.problem(422, "unknown-parameter");
        assert_eq!(refused["parameter"], parameter, "{query}");
        let detail = refused["detail"].as_str().unwrap();
        assert!(nearest == "Did" || detail.contains(&format!("do you mean {nearest}?")), "{query}: {refused}");
    }
    api.get("/api/orders?reference=%FF").await.problem(400, "invalid-request");
    api.get("/api/orders?%FF=1").await.problem(400, "invalid-request");
}

#[tokio::test]
async fn the_description_has_every_parameter_with_an_example() {
    let api = TestApi::start().await;

    let description = api.get("/openapi.json").await.json();

    let listed = description["paths"]["/api/orders"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<&str> = listed.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    for parameter in listed {
        assert!(parameter["description"].as_str().is_some_and(|text| text.len() > 20), "{parameter}");
        let has_example = parameter["schema"].get("example").is_some() || parameter["name"] == "cursor";
        assert!(has_example, "{parameter}");
    }
}

/// Two shops use the same reference and the same amounts; neither finds an order of the other by any filter.
#[tokio::test]
async fn no_filter_finds_the_order_of_another_shop() {
    let api = TestApi::with(|context| context.settings.keys = keys_of_shops(&["a", "b"])).await;
    for key in ["key-of-a", "key-of-b"] {
        let made = api.create_as(Some(key), None, &body(json!({ "reference": "R/1" }))).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let of_b = api.link(&api.reread(domain::id::OrderId(2)).await, 702).await;
    api.pay(&of_b).await;

    for query in [
        "",
        "status=pending,paid",
        "amount=50",
        "amount_from=1",
        "payment_type=atmos",
        "since=2026-01-01",
        "text=somsa",
        "needs_review=false",
        "reference=R/1",
    ] {
        assert_eq!(ids(&get_as(&api, "key-of-a", &format!("/api/orders?{query}")).await), [1], "{query}");
        assert_eq!(ids(&get_as(&api, "key-of-b", &format!("/api/orders?{query}")).await), [2], "{query}");
    }
    for name in ["702", "1702"] {
        assert_eq!(ids(&get_as(&api, "key-of-a", &format!("/api/orders?transaction={name}")).await), [0; 0]);
        assert_eq!(ids(&get_as(&api, "key-of-b", &format!("/api/orders?transaction={name}")).await), [2]);
    }
    for (key, id) in [("key-of-a", 1), ("key-of-b", 2)] {
        let found = get_as(&api, key, "/api/orders/by-reference/R%2F1").await;
        assert_eq!(found.json()["order_id"], id, "{found:?}");
    }
    // A cursor is of one shop, too.
    let page = |key: &'static str, cursor: String| get_as_owned(&api, key, format!("/api/orders?limit=1{cursor}"));
    assert_eq!(page("key-of-a", String::new()).await.json()["next"], Value::Null);
    api.create_as(Some("key-of-a"), None, &body(json!({}))).await;
    let next = page("key-of-a", String::new()).await.json()["next"].as_str().unwrap().to_owned();
    page("key-of-b", format!("&cursor={next}")).await.problem(422, "invalid-cursor");
}

async fn get_as_owned(api: &TestApi, key: &str, path: String) -> TestResponse {
    get_as(api, key, &path).await
}

#[tokio::test]
async fn a_list_needs_an_api_key_and_no_token_opens_it() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["a"])).await;
    let made = api.create_as(Some("key-of-a"), None, &body(json!({ "reference": "A-1" }))).await.json();
    let token = made["order_token"].as_str().unwrap();

    api.get("/api/orders").await.problem(401, "missing-api-key");
    api.get(&format!("/api/orders?token={token}")).await.problem(401, "missing-api-key");
    api.get(&format!("/api/orders/by-reference/A-1?token={token}")).await.problem(401, "missing-api-key");
    get_as(&api, "key-of-b", "/api/orders/by-reference/A-1").await.problem(401, "wrong-api-key");
    assert_eq!(ids(&get_as(&api, "key-of-a", "/api/orders").await), [1]);
}

#[tokio::test]
async fn an_order_is_read_by_its_reference_whatever_signs_it_has() {
    let api = TestApi::start().await;
    let references = ["A-17", "a/b", "100 %", "чек №5", "create", "1", "..;", "q?x=1&y#z", "+"];
    for (place, reference) in references.iter().enumerate() {
        let order = api.order_with(json!({ "reference": reference })).await;
        let path = format!("/api/orders/by-reference/{}", utf8_percent_encode(reference, NON_ALPHANUMERIC));

        let found = api.get(&path).await;

        assert_eq!(found.json()["order_id"], order.id.0, "{place}: {found:?}");
        assert_eq!(found.json(), api.get(&format!("/api/orders/{}", order.id)).await.json());
    }
    let missing = api.get("/api/orders/by-reference/A-18").await.problem(404, "order-not-found");
    assert!(missing["detail"].as_str().unwrap().contains("reference"), "{missing}");
    api.get("/api/orders/by-reference/%FF").await.problem(400, "invalid-request");
    api.get("/api/orders/by-reference/").await.problem(404, "order-not-found");
}

#[tokio::test]
async fn an_answer_that_the_client_has_is_not_sent_again_until_it_changes() {
    let api = TestApi::start().await;
    let order = api.order_with(json!({ "reference": "A-1" })).await;

    for path in ["/api/orders/1", "/api/orders/1/history", "/api/orders/by-reference/A-1"] {
        let first = api.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() > 20, "{first:?}");
        assert_eq!(first.header("cache-control"), "private, no-cache");
        let again = |known: String| send(api.client.get(path).header("if-none-match", known));

        for known in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            let unchanged = again(known).await;
            assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{path}");
            assert_eq!((unchanged.header("etag"), unchanged.header("cache-control")), (&*tag, "private, no-cache"));
        }
        assert_eq!(again("\"other\"".to_owned()).await.body, first.body);
        let head = send(api.client.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.header("etag"), head.body.as_str()), (200, &*tag, ""), "{path}");
    }
    let tag = api.get("/api/orders/1").await.header("etag").to_owned();
    api.cancel(&order, "").await;
    let changed = send(api.client.get("/api/orders/1").header("if-none-match", tag)).await;
    assert_eq!((changed.status, &changed.json()["status"]), (200, &json!("canceled")));
    let head = send(api.client.request(Method::HEAD, "/api/orders?status=canceled")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}
