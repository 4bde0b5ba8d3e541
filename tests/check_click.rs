//! `tasdiq sandbox check click`: Click's tester as a command, against a merchant that is none of ours.

use std::sync::{Arc, Mutex};

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{Body, EndpointExt, Response, Route, Server, handler, post};
use serde_json::{Value, json};

use crate::support::command::run;

/// The calls that a merchant got: the path, and the body.
type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// A merchant that refuses each signature, which is right once and wrong everywhere else.
async fn suspicious_merchant() -> (String, Calls) {
    let calls = Calls::default();
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let port = acceptor.local_addr().remove(0).0.to_string().rsplit(':').next().unwrap().to_owned();
    let routes = Route::new().at("/prepare", post(refuse)).at("/complete", post(refuse));
    tokio::spawn(Server::new_with_acceptor(acceptor).run(routes.data(Arc::clone(&calls))));
    (format!("http://127.0.0.1:{port}"), calls)
}

#[handler]
async fn refuse(Data(calls): Data<&Calls>, uri: &poem::http::Uri, body: Body) -> Response {
    let body = body.into_string().await.unwrap();
    calls.lock().unwrap().push((uri.path().to_owned(), body));
    Response::builder().content_type("application/json").body(r#"{"error":-1,"error_note":"SIGN CHECK FAILED!"}"#)
}

#[tokio::test]
async fn a_red_line_says_what_was_sent_and_answered_and_ends_the_command_with_1() {
    let (merchant, calls) = suspicious_merchant().await;
    let url = format!("{merchant}/prepare");
    let arguments = ["sandbox", "check", "click", &url, "--account", "71", "--amount", "1000"];

    let checked = run(&[&arguments[..], &["--secret-key", "my-secret-key"]].concat(), &[]).await;

    assert_eq!((checked.code, checked.complained.as_str()), (Some(1), ""), "{checked:?}");
    assert!(checked.said.starts_with("green  Prepare with a wrong signature\n"), "{}", checked.said);
    assert!(checked.said.contains("RED    Prepare of an unknown order: `error` is -1\n"), "{}", checked.said);
    assert!(checked.said.contains("answered  HTTP 200 {\"error\":-1"), "{}", checked.said);
    assert!(checked.said.trim_end().ends_with("1 green, 29 red"), "{}", checked.said);
    assert!(!checked.said.contains("my-secret-key"), "{}", checked.said);
    assert!(calls.lock().unwrap().iter().all(|(path, body)| path == "/prepare" && body.contains("service_id=")));
}

#[tokio::test]
async fn a_machine_reads_the_list_and_the_key_may_stand_in_the_environment() {
    let (merchant, calls) = suspicious_merchant().await;
    let (prepare, complete) = (format!("{merchant}/prepare"), format!("{merchant}/complete"));
    let arguments = [
        "sandbox",
        "check",
        "click",
        &prepare,
        "--complete-url",
        &complete,
        "--service-id",
        "12345",
        "--account",
        "71",
    ];
    let arguments = [&arguments[..], &["--account", "72", "--amount", "1000", "--json"]].concat();

    let with_environment = run(&arguments, &[("CLICK_SECRET_KEY", "new-key,old-key")]).await;

    assert_eq!(with_environment.code, Some(1), "{with_environment:?}");
    let list: Value = serde_json::from_str(&with_environment.said).unwrap();
    let lines = list["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[0]["is_green"], &lines[1]["is_green"]), (30, &json!(true), &json!(false)));
    assert_eq!(lines[1]["expected"], "error -8");
    assert!(!with_environment.said.contains("new-key"));
    let bodies: Vec<String> = calls.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    assert!(bodies.iter().all(|body| body.contains("service_id=") && !body.contains("old-key")), "{bodies:?}");
}
