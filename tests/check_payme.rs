//! `tasdiq sandbox check payme`: Payme's two scenarios as a command, against a merchant that is none of ours.

use std::sync::{Arc, Mutex};

use poem::http::header;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{Body, EndpointExt, Request, Response, Route, Server, handler, post};
use serde_json::{Value, json};

use crate::support::command::run;

/// The calls that a merchant got: the header of authorization, and the body.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// A merchant that knows no key, which is right six times and wrong everywhere else.
async fn suspicious_merchant() -> (String, Calls) {
    let calls = Calls::default();
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let port = acceptor.local_addr().remove(0).0.to_string().rsplit(':').next().unwrap().to_owned();
    let routes = Route::new().at("/payme", post(refuse)).data(Arc::clone(&calls));
    tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
    (format!("http://127.0.0.1:{port}/payme"), calls)
}

#[handler]
async fn refuse(Data(calls): Data<&Calls>, request: &Request, body: Body) -> Response {
    let call: Value = body.into_json().await.unwrap();
    let id = call["id"].clone();
    calls.lock().unwrap().push((request.header(header::AUTHORIZATION).unwrap().to_owned(), call));
    let answer = json!({"error": {"code": -32_504, "message": "no rights"}, "id": id});
    Response::builder().content_type("application/json").body(answer.to_string())
}

#[tokio::test]
async fn a_red_line_says_what_was_sent_and_answered_and_ends_the_command_with_1() {
    let (url, calls) = suspicious_merchant().await;
    let arguments = ["sandbox", "check", "payme", &url, "--account", "71", "--account", "72", "--amount", "1000"];

    let checked = run(&[&arguments[..], &["--key", "my-secret-key"]].concat(), &[]).await;

    assert_eq!((checked.code, checked.complained.as_str()), (Some(1), ""), "{checked:?}");
    assert!(checked.said.contains("green  1: a wrong key (CheckPerformTransaction)\n"), "{}", checked.said);
    let red = "RED    1: a wrong amount (CreateTransaction): the code is -32504 instead of -31001\n";
    assert!(checked.said.contains(red), "{}", checked.said);
    assert!(checked.said.contains("expected  error -31001\n"), "{}", checked.said);
    assert!(checked.said.contains("answered  HTTP 200 {\"error\":{\"code\":-32504"), "{}", checked.said);
    assert!(checked.said.contains("\n6 green, "), "{}", checked.said);
    assert!(!checked.said.contains("my-secret-key") && !checked.said.contains("Basic"), "{}", checked.said);
    let calls = calls.lock().unwrap();
    let created = calls.iter().filter(|(_, call)| call["method"] == "CreateTransaction");
    let orders: Vec<_> = created.map(|(_, call)| call["params"]["account"]["order_id"].as_str().unwrap()).collect();
    assert!(orders.contains(&"71") && orders.contains(&"72"), "{orders:?}");
    assert!(
        calls
            .iter()
            .all(|(_, call)| call["params"]["amount"].is_null() || call["params"]["amount"].as_i64() >= Some(100_000))
    );
}

#[tokio::test]
async fn a_machine_reads_the_list_and_the_key_may_stand_in_the_environment() {
    let (url, calls) = suspicious_merchant().await;
    let arguments = ["sandbox", "check", "payme", &url, "--account", "71", "--amount", "19.99", "--scenario", "2"];
    let more = ["--account-field", "login", "--busy-code", "-31008", "--refund", "refuse", "--json"];

    let checked = run(&[&arguments[..], &more].concat(), &[("PAYME_KEY", "new-key,old-key")]).await;

    assert_eq!(checked.code, Some(1), "{checked:?}");
    let list: Value = serde_json::from_str(&checked.said).unwrap();
    let lines = list["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["name"].as_str().unwrap().starts_with("2: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line["expected"] == "error -31007"), "{lines:?}");
    let calls = calls.lock().unwrap();
    // `Paycom:new-key`, encoded by hand.
    assert!(calls.iter().all(|(authorization, _)| authorization == "Basic UGF5Y29tOm5ldy1rZXk="), "{calls:?}");
    assert_eq!(calls[0].1["params"], json!({"amount": 1_999, "account": {"login": "71"}}));
}
