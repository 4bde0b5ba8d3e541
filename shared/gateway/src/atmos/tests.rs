//! The client against a gateway on a real socket.

use std::error::Error;
use std::time::Instant;

use config::defaults;
use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::Language;
use domain::secret::Secret;
use domain::transaction::TransactionState;
use futures_util::future::join_all;
use redis_server::RedisServer;
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::AnswerFault;
use crate::coordination::tests::account;
use crate::http::tests::server::{Reply, Request, Server};

mod admission;
mod mutated;
mod reverse;

const TOKEN: &str = "/token";
const CREATE: &str = "/merchant/pay/create";
const GET: &str = "/merchant/pay/get";
const LEDGER: &str = "/_sim/ledger";
const MS: Duration = Duration::from_millis(1);

pub(super) fn config(base_url: &str) -> AtmosSettings {
    AtmosSettings {
        consumer_key: "sandbox-key".to_owned(),
        consumer_secret: Secret::new("very-secret-consumer-secret"),
        store_id: "1234".to_owned(),
        terminal_id: None,
        api_keys: vec![Secret::new("test_api_key")],
        sign_algorithm: SignAlgorithm::Md5,
        base_url: Url::parse(base_url).unwrap(),
        checkout_url: Url::parse("https://test-checkout.pays.uz").unwrap(),
        ..defaults().unwrap()
    }
}

fn gateway_with(settings: AtmosSettings, coordination: Coordination) -> AtmosGateway {
    gateway_within(5_000 * MS, settings, coordination)
}

/// One that gives each call so long.
fn gateway_within(call_timeout: Duration, settings: AtmosSettings, coordination: Coordination) -> AtmosGateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    AtmosGateway::with_call_timeout(settings, call_timeout, coordination).unwrap()
}

fn gateway(server: &Server) -> AtmosGateway {
    gateway_with(config(&server.url), Coordination::local(account(), None))
}

fn without_redis() -> Coordination {
    Coordination::redis(account(), RedisServer::new("redis://127.0.0.1:1", "test").unwrap(), None)
}

/// A process that gives up after 300 ms.
fn hasty_gateway(server: &Server) -> AtmosGateway {
    gateway_within(300 * MS, config(&server.url), Coordination::local(account(), None))
}

fn draft_request() -> DraftRequest {
    DraftRequest { order_id: OrderId(12_345), amount: Tiyin::new(5_000_000).unwrap(), language: Language::Uz }
}

fn ok(body: &Value) -> Reply {
    Reply::Answer(200, "", body.to_string())
}

fn status(status: u16) -> Reply {
    Reply::Answer(status, "", "<html>secret-in-a-body</html>".to_owned())
}

fn token(text: &str) -> Reply {
    ok(
        &json!({"access_token": text, "scope": "am_application_scope default", "token_type": "Bearer", "expires_in": 3600}),
    )
}

fn draft() -> Reply {
    ok(&json!({"result": {"code": "OK", "description": "Нет ошибок"}, "transaction_id": 14_500_001}))
}

/// The answer of `/merchant/pay/get` about a draft.
fn open(request: &Request) -> Reply {
    let asked: Value = serde_json::from_str(&request.body).unwrap();
    ok(&json!({"result": {"code": "OK"}, "store_transaction": {
        "success_trans_id": null, "trans_id": asked["transaction_id"], "store": {"id": 1234}, "account": "12345",
        "amount": 5_000_000, "confirmed": false, "status_code": null}}))
}

/// A gateway without trouble, except for what `trouble` says.
async fn server(trouble: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        trouble(request).unwrap_or_else(|| match request.path.as_str() {
            TOKEN => token(&format!("token-{}", request.earlier + 1)),
            CREATE => draft(),
            GET => open(request),
            _ => status(404),
        })
    })
    .await
}

/// The result of an inquiry when the gateway answers every one like this.
async fn inquiry_answered(reply: Reply) -> Result<TransactionReport, GatewayError> {
    let server = server(move |request| (request.path == GET).then(|| reply.clone())).await;
    hasty_gateway(&server).inquire(TransactionId(7), Urgency::Now).await
}

/// A proxy between us may compress what it was not asked to compress, and some writers begin UTF-8 with a mark.
#[tokio::test]
async fn answers_with_a_byte_order_mark_or_compressed_are_read() {
    let coded = |reply: Reply| {
        let Reply::Answer(_, _, body) = reply else { panic!("{reply:?}") };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &[&b"\xef\xbb\xbf"[..], body.as_bytes()].concat()).unwrap();
        Reply::Bytes("Content-Encoding: gzip\r\n", gzip.finish().unwrap())
    };
    let server = Server::start(move |request| match request.path.as_str() {
        TOKEN => coded(token("token-1")),
        CREATE => coded(draft()),
        LEDGER => coded(ok(&json!({"transactions": []}))),
        _ => coded(open(request)),
    })
    .await;
    let gateway = gateway(&server);

    assert_eq!(
        gateway.create_draft(&draft_request(), Urgency::Now).await.unwrap().transaction_id,
        TransactionId(14_500_001)
    );
    assert_eq!(gateway.inquire(TransactionId(7), Urgency::Now).await.unwrap().state, TransactionState::Open);
    assert_eq!(gateway.ledger().await.unwrap(), Some(vec![]));
}

#[tokio::test]
async fn an_answer_that_unfolds_without_end_is_given_up() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &vec![b' '; 4 * 1024 * 1024]).unwrap();

    let answer = inquiry_answered(Reply::Bytes("Content-Encoding: gzip\r\n", gzip.finish().unwrap())).await;

    assert!(answer.unwrap_err().to_string().contains("an answer above 256 KiB"));
}

#[tokio::test]
async fn a_draft_is_asked_for_in_the_gateways_words() {
    let server = server(|_| None).await;

    let draft = gateway(&server).create_draft(&draft_request(), Urgency::Now).await.unwrap();

    assert_eq!(draft.transaction_id, TransactionId(14_500_001));
    let asked = &server.requests(TOKEN)[0];
    assert_eq!(asked.body, "grant_type=client_credentials");
    assert_eq!(asked.authorization, "Basic c2FuZGJveC1rZXk6dmVyeS1zZWNyZXQtY29uc3VtZXItc2VjcmV0");
    let asked = &server.requests(CREATE)[0];
    assert_eq!(asked.authorization, "Bearer token-1");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, json!({"amount": 5_000_000, "account": "12345", "store_id": 1234, "lang": "uz"}));
}

#[tokio::test]
async fn a_store_with_letters_and_a_terminal_are_sent_as_text() {
    let server = server(|_| None).await;
    let config = AtmosSettings {
        store_id: "007".to_owned(),
        terminal_id: Some("92800000".to_owned()),
        ..config(&format!("{}/", server.url))
    };

    gateway_with(config, Coordination::local(account(), None))
        .create_draft(&draft_request(), Urgency::Now)
        .await
        .unwrap();

    let body: Value = serde_json::from_str(&server.requests(CREATE)[0].body).unwrap();
    assert_eq!(body["store_id"], "007", "a number would have lost its zeros");
    assert_eq!(body["terminal_id"], "92800000");
}

#[tokio::test]
async fn an_inquiry_reports_the_transaction_it_asked_about() {
    let server = server(|_| None).await;

    let report = gateway(&server).inquire(TransactionId(7), Urgency::Now).await.unwrap();

    let expected = TransactionReport {
        transaction_id: TransactionId(7),
        account: "12345".to_owned(),
        store_id: Some("1234".to_owned()),
        amount: 5_000_000,
        unpaid_payment_id: None,
        state: TransactionState::Open,
    };
    assert_eq!(report, expected);
    let body: Value = serde_json::from_str(&server.requests(GET)[0].body).unwrap();
    assert_eq!(body, json!({"store_id": 1234, "transaction_id": 7}));
}

#[test]
fn the_payment_page_gets_an_encoded_return_address() {
    let gateway = gateway_with(config("http://127.0.0.1:1"), Coordination::local(account(), None));

    let url = gateway.payment_url(TransactionId(7), "https://shop.uz/pay/a b/return?x=1&y=+#z");

    let expected = "https://test-checkout.pays.uz/invoice/get?storeId=1234&transactionId=7\
        &redirectLink=https%3A%2F%2Fshop.uz%2Fpay%2Fa%20b%2Freturn%3Fx%3D1%26y%3D%2B%23z";
    assert_eq!(url, expected);
}

#[tokio::test]
async fn many_calls_at_once_ask_for_one_token() {
    let server =
        server(|request| (request.path == TOKEN).then(|| Reply::Late(100 * MS, Box::new(token("the-only-one"))))).await;
    let gateway = gateway(&server);

    let answers = join_all((1..=50).map(|id| gateway.inquire(TransactionId(id), Urgency::Now))).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.requests(TOKEN).len(), 1);
}

/// Fifty waiting calls must not ask one after the other, each until its timeout.
#[tokio::test]
async fn a_failed_token_request_answers_all_who_waited_for_it() {
    let server =
        server(|request| (request.path == TOKEN).then(|| Reply::Late(2_000 * MS, Box::new(status(200))))).await;
    let (gateway, started) = (hasty_gateway(&server), Instant::now());

    let answers = join_all((1..=50).map(|id| gateway.inquire(TransactionId(id), Urgency::Now))).await;

    for answer in answers {
        assert!(matches!(answer, Err(GatewayError::Unreachable(_))), "the inquiry itself never left: {answer:?}");
    }
    assert_eq!(server.requests(TOKEN).len(), 1);
    assert!(started.elapsed() < 1_500 * MS, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_call_repeated_once() {
    let server =
        server(|request| (request.path == GET && request.authorization == "Bearer token-1").then(|| status(401))).await;
    let gateway = gateway(&server);

    let answers = join_all((1..=20).map(|id| gateway.inquire(TransactionId(id), Urgency::Now))).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.requests(TOKEN).len(), 2, "one token, and one renewal for all twenty");
    assert!(server.requests(GET).len() <= 40);
}

#[tokio::test]
async fn a_late_refusal_of_the_old_token_leaves_the_new_one_alone() {
    let server =
        server(|request| match (request.authorization.as_str(), request.body.contains("\"transaction_id\":2}")) {
            ("Bearer token-1", false) => Some(status(401)),
            ("Bearer token-1", true) => Some(Reply::Late(300 * MS, Box::new(status(401)))),
            _ => None,
        })
        .await;
    // Without Redis, for there the note would bring the new token back unseen.
    let gateway = gateway_with(config(&server.url), without_redis());

    let (soon, late) =
        tokio::join!(gateway.inquire(TransactionId(1), Urgency::Now), gateway.inquire(TransactionId(2), Urgency::Now));

    assert!(soon.is_ok() && late.is_ok(), "{soon:?} {late:?}");
    assert_eq!(server.requests(TOKEN).len(), 2);
}

/// The shared note has it until a process writes the next token.
#[tokio::test]
async fn a_refused_token_is_not_taken_from_another_process_again() {
    let server = server(|_| None).await;
    let coordination = Coordination::local(account(), None);
    let gateway = gateway_with(config(&server.url), coordination.clone());
    gateway.inquire(TransactionId(1), Urgency::Now).await.unwrap();
    let Parts { http, tokens, .. } = &*gateway.0;
    let refused = tokens.current(http).await.unwrap();
    assert_eq!(coordination.note(&tokens.note).await.unwrap().text, refused);

    tokens.reject(&refused);

    assert_eq!(tokens.current(http).await.unwrap().expose(), "token-2");
}

#[tokio::test]
async fn a_token_refused_twice_is_the_operators_matter() {
    let server = server(|request| (request.path == GET).then(|| status(401))).await;

    let answer = gateway(&server).inquire(TransactionId(7), Urgency::Now).await;

    assert!(matches!(answer, Err(GatewayError::NotAdmitted { .. })), "{answer:?}");
    assert_eq!(server.requests(GET).len(), 2);
    assert_eq!(server.requests(TOKEN).len(), 2);
}

#[tokio::test]
async fn wrong_credentials_are_the_operators_matter() {
    for refusal in [400, 401] {
        let server = server(move |request| {
            let body = r#"{"error":"invalid_client","error_description":"secret-in-a-body"}"#;
            (request.path == TOKEN).then(|| Reply::Answer(refusal, "", body.to_owned()))
        })
        .await;

        let answer = gateway(&server).create_draft(&draft_request(), Urgency::Now).await;

        assert!(matches!(answer, Err(GatewayError::NotAdmitted { .. })), "{answer:?}");
        assert_eq!(server.requests(CREATE).len(), 0);
    }
}

#[tokio::test]
async fn an_unreadable_token_answer_leaves_the_call_unsent() {
    for reply in [status(200), status(500), Reply::CutOff, ok(&json!({"access_token": "two\nlines"})), ok(&json!({}))] {
        let seen = reply.clone();
        let server = server(move |request| (request.path == TOKEN).then(|| reply.clone())).await;

        let answer = gateway(&server).create_draft(&draft_request(), Urgency::Now).await;

        assert!(matches!(answer, Err(GatewayError::Unreachable(_))), "{seen:?}: {answer:?}");
        assert_eq!(server.requests(CREATE).len(), 0);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    let server =
        server(|request| (request.path == TOKEN).then(|| ok(&json!({"access_token": "short", "expires_in": "3"}))))
            .await;
    let gateway = gateway(&server);

    gateway.inquire(TransactionId(1), Urgency::Now).await.unwrap();
    tokio::time::sleep(1_000 * MS).await;
    gateway.inquire(TransactionId(2), Urgency::Now).await.unwrap();
    assert_eq!(server.requests(TOKEN).len(), 1);

    tokio::time::sleep(800 * MS).await;
    gateway.inquire(TransactionId(3), Urgency::Now).await.unwrap();
    assert_eq!(server.requests(TOKEN).len(), 2, "a token of 3 s is renewed after 1.5 s");
}

#[tokio::test]
async fn a_token_that_could_not_be_renewed_serves_until_its_end() {
    let server = server(|request| match (request.path.as_str(), request.earlier) {
        (TOKEN, 0) => Some(ok(&json!({"access_token": "old", "expires_in": 4}))),
        (TOKEN, _) => Some(status(403)),
        _ => None,
    })
    .await;
    let gateway = gateway(&server);
    gateway.inquire(TransactionId(1), Urgency::Now).await.unwrap();

    tokio::time::sleep(2_100 * MS).await;
    gateway.inquire(TransactionId(2), Urgency::Now).await.unwrap();
    gateway.inquire(TransactionId(3), Urgency::Now).await.unwrap();
    assert_eq!(server.requests(TOKEN).len(), 2, "one try to renew it, not one per call");

    tokio::time::sleep(2_000 * MS).await;
    let answer = gateway.inquire(TransactionId(4), Urgency::Now).await;
    assert!(matches!(answer, Err(GatewayError::NotAdmitted { .. })), "{answer:?}");
}

/// Checks how two processes of one installation use one token; `a` and `b` share their coordination.
async fn two_clients_use_one_token(a: Coordination, b: Coordination) {
    let server = server(|request| match (request.path.as_str(), request.authorization.as_str()) {
        (TOKEN, _) => Some(Reply::Late(100 * MS, Box::new(token(&format!("token-{}", request.earlier + 1))))),
        (CREATE, "Bearer token-1") => Some(status(401)),
        _ => None,
    })
    .await;
    let (a, b) = (gateway_with(config(&server.url), a), gateway_with(config(&server.url), b));

    let (one, other) =
        tokio::join!(a.inquire(TransactionId(1), Urgency::Now), b.inquire(TransactionId(2), Urgency::Now));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert_eq!(server.requests(TOKEN).len(), 1, "the second process waits for the first one's token");

    a.create_draft(&draft_request(), Urgency::Now).await.unwrap();
    b.create_draft(&draft_request(), Urgency::Now).await.unwrap();
    assert_eq!(server.requests(TOKEN).len(), 2, "the renewed token serves both");
}

#[tokio::test]
async fn two_clients_of_a_process_use_one_token() {
    let both = Coordination::local(account(), None);

    two_clients_use_one_token(both.clone(), both).await;
}

#[tokio::test]
async fn two_processes_use_one_token() {
    let url = std::env::var("TASDIQ_TEST_REDIS_URL").unwrap_or_else(|_| panic!("run tests through tests/run"));
    let installation = format!("test-{:032x}", rand::random::<u128>());
    let process = || Coordination::redis(account(), RedisServer::new(&url, &installation).unwrap(), None);

    two_clients_use_one_token(process(), process()).await;
}

#[tokio::test]
async fn without_redis_a_process_uses_a_token_of_its_own() {
    let server = server(|_| None).await;
    let gateway = gateway_with(config(&server.url), without_redis());

    for id in 1..=3 {
        gateway.inquire(TransactionId(id), Urgency::Now).await.unwrap();
    }

    assert_eq!(server.requests(TOKEN).len(), 1);
}

#[tokio::test]
async fn a_server_error_is_mended_within_the_call() {
    for reply in [status(503), status(500), Reply::CutOff, Reply::Truncated] {
        let seen = reply.clone();
        let server = server(move |request| (request.path == GET && request.earlier == 0).then(|| reply.clone())).await;

        let answer = gateway(&server).inquire(TransactionId(7), Urgency::Now).await;

        assert!(answer.is_ok(), "{seen:?}: {answer:?}");
        assert_eq!(server.requests(GET).len(), 2, "{seen:?}");
    }
}

/// Shows: PROMISE-5
#[tokio::test]
async fn a_timeout_is_an_unknown_outcome_and_is_not_tried_again() {
    let server = server(|request| (request.path == CREATE).then(|| Reply::Late(5_000 * MS, Box::new(draft())))).await;

    let answer = hasty_gateway(&server).create_draft(&draft_request(), Urgency::Now).await;

    let Err(GatewayError::OutcomeUnknown { fault, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(fault, AnswerFault::Timeout);
    assert_eq!(server.requests(CREATE).len(), 1);
}

/// Connections that rested were closed by the other side, all of them: calls that may be repeated leave at once by fresh
/// ones, and it is no sign that the gateway is away.
#[tokio::test]
async fn calls_that_meet_closed_connections_are_sent_again_at_once() {
    const CALLS: usize = 8;
    let server = server(|request| (request.by_this_connection > 0).then_some(Reply::CutOff)).await;
    let gateway = gateway(&server);
    gateway.prepare().await.unwrap();
    let inquiries = || join_all((0..CALLS).map(|_| gateway.inquire(TransactionId(7), Urgency::Now)));
    assert!(inquiries().await.iter().all(Result::is_ok), "each by a connection that is kept now");
    let asked = server.requests(GET).len();

    let started = Instant::now();
    let answers = inquiries().await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(started.elapsed() < 150 * MS, "{:?}", started.elapsed());
    let met = server.requests(GET).len() - asked - CALLS;
    assert!(met > 5, "{met} closed connections were met, more than failures that open the breaker");
    assert_eq!(gateway.coordination().view().breaker.opened_ago, None);
}

fn never_connected<T>(answer: &Result<T, GatewayError>) -> bool {
    let Err(GatewayError::Unreachable(cause)) = answer else { return false };
    cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}

#[tokio::test]
async fn a_refused_connection_means_the_call_never_left() {
    let answer = gateway_with(config("http://127.0.0.1:1"), Coordination::local(account(), None))
        .inquire(TransactionId(7), Urgency::Now)
        .await;

    assert!(never_connected(&answer), "{answer:?}");
}

/// A firewall that swallows packets, and a proxy or server that accepts and then says nothing.
#[tokio::test]
async fn a_connection_that_never_stands_means_the_call_never_left() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());

    let gateway = gateway_within(600 * MS, config(&url), Coordination::local(account(), None));
    let answer = gateway.inquire(TransactionId(7), Urgency::Now).await;

    assert!(never_connected(&answer), "{answer:?}");
}

#[tokio::test]
async fn a_configured_proxy_is_asked() {
    let proxy = server(|_| None).await;
    let config = AtmosSettings { proxy_url: Some(Url::parse(&proxy.url).unwrap()), ..config("http://127.0.0.1:1") };

    let answer =
        gateway_with(config, Coordination::local(account(), None)).inquire(TransactionId(7), Urgency::Now).await;

    assert!(answer.is_err(), "this proxy finds no such page");
    assert_eq!(proxy.requests("http://127.0.0.1:1/token").len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = inquiry_answered(Reply::Answer(307, "Location: /elsewhere\r\n", String::new())).await;

    let Err(GatewayError::OutcomeUnknown { fault, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(fault, AnswerFault::HttpStatus(307));
}

/// Shows: JOB-15
#[tokio::test]
async fn the_gateway_may_ask_for_patience() {
    for (code, headers, seconds) in [
        (429, "Retry-After: 7\r\n", 7),
        (429, "Retry-After: 0\r\n", 1),
        (429, "", 30),
        (429, "Retry-After: soon\r\n", 30),
        (429, "Retry-After: 86400\r\n", 900),
        (429, "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n", 900),
        (429, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 1),
        (503, "Retry-After: 5\r\n", 5),
    ] {
        let answer = inquiry_answered(Reply::Answer(code, headers, String::new())).await;

        let Err(GatewayError::Throttled { retry_after }) = answer else { panic!("{code} {headers}: {answer:?}") };
        assert_eq!(retry_after.as_secs(), seconds, "{code} {headers}");
    }
}

#[tokio::test]
async fn answers_without_sense_are_unknown_outcomes() {
    let huge = json!({"result": {"code": "OK"}, "filling": "x".repeat(300 * 1024)});
    for (reply, expected) in [
        (status(200), "an answer that is no JSON"),
        (Reply::Answer(200, "", String::new()), "an answer that is no JSON"),
        (ok(&huge), "an answer above 256 KiB"),
        (ok(&json!({"result": {"code": "STPIMS-ERR-001"}})), "code STPIMS-ERR-001"),
        (ok(&json!({"result": {"code": "STPIMS-ERR-777"}})), "code STPIMS-ERR-777"),
        (Reply::Truncated, "broken connection"),
        (Reply::CutOff, "broken connection"),
        (status(502), "HTTP 502"),
        (status(404), "HTTP 404"),
    ] {
        let answer = inquiry_answered(reply).await;

        let Err(GatewayError::OutcomeUnknown { fault, .. }) = answer else { panic!("{expected}: {answer:?}") };
        assert_eq!(fault.to_string(), expected);
    }
}

#[tokio::test]
async fn a_closed_door_is_the_operators_matter() {
    let answer = inquiry_answered(status(403)).await;

    assert!(matches!(answer, Err(GatewayError::NotAdmitted { .. })), "{answer:?}");
}

#[tokio::test]
async fn calls_stay_within_the_budget() {
    let server = server(|_| None).await;
    let rate = domain::gateway_rate::GatewayRate { per_second: 1, burst: 3 };
    let gateway = gateway_with(config(&server.url), Coordination::local(account(), Some(rate)));

    let answers = join_all((1..=10).map(|id| gateway.inquire(TransactionId(id), Urgency::Now))).await;

    let held_back: Vec<_> =
        answers.iter().filter_map(|answer| answer.as_ref().err()).map(ToString::to_string).collect();
    let held_back_by_rate = "no call to the gateway: the rate limit of gateway calls is reached";
    assert_eq!(held_back, [held_back_by_rate; 6], "a token, two inquiries at once, two more after a wait: {answers:?}");
    assert_eq!(server.requests(GET).len(), 4);
}

#[tokio::test]
async fn calls_are_counted_by_what_came_back() {
    let count = |outcome| crate::metrics::gateway_calls().with_label_values(&["atmos", "inquiry", outcome]).get();
    let before = (count("ok"), count("not_admitted"), count("unknown"));
    let server = server(|request| match (request.path.as_str(), request.earlier) {
        (GET, 0) => Some(status(401)),
        (GET, 1) => Some(status(500)),
        _ => None,
    })
    .await;

    gateway(&server).inquire(TransactionId(7), Urgency::Now).await.unwrap();

    assert!(count("ok") > before.0);
    assert!(count("not_admitted") > before.1);
    assert!(count("unknown") > before.2);
}

#[tokio::test]
async fn the_sandboxs_whole_book_is_read_however_long_it_is() {
    let server = server(|request| {
        (request.path == LEDGER).then(|| {
            let line = |id: i64| {
                json!({"transaction_id": id, "account": "1", "amount": 5_000, "state": "draft",
                "debits": 0, "reversals_asked": 0, "success_trans_id": null})
            };
            ok(&json!({"transactions": (1..=5_000).map(line).collect::<Vec<_>>()}))
        })
    })
    .await;

    let book = gateway(&server).ledger().await.unwrap().unwrap();

    assert_eq!(book.len(), 5_000);
    assert_eq!(server.requests(TOKEN).len(), 0, "the ledger needs no token");
}

/// Whatever answers at its address: Atmos has no such page, and is not asked for one.
#[tokio::test]
async fn another_gateway_than_the_sandbox_shows_no_book() {
    let server = server(|_| None).await;
    let config = AtmosSettings { consumer_key: "a-merchant".to_owned(), ..config(&server.url) };

    let book = gateway_with(config, Coordination::local(account(), None)).ledger().await.unwrap();

    assert_eq!(book, None);
    assert_eq!(server.requests(LEDGER).len(), 0);
}

#[tokio::test]
async fn a_sandbox_that_shows_no_book_is_no_empty_book() {
    let server = server(|_| None).await;

    let answer = gateway(&server).ledger().await;

    assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{answer:?}");
}

/// Errors are stored with jobs, logged, and shown on the console.
/// Shows: PROMISE-13
#[tokio::test]
async fn no_error_and_no_debug_print_holds_a_secret() {
    let mut printed = String::new();
    for reply in [status(200), status(403), status(500), Reply::CutOff, Reply::Late(1_000 * MS, Box::new(draft()))] {
        for path in [TOKEN, GET] {
            let reply = reply.clone();
            let server = server(move |request| (request.path == path).then(|| reply.clone())).await;
            let with_password = server.url.replace("http://", "http://someone:password-in-url@");
            let gateway = gateway_within(200 * MS, config(&with_password), Coordination::local(account(), None));
            let error = gateway.inquire(TransactionId(7), Urgency::Now).await.unwrap_err();
            printed += &format!("{error} {error:?} {gateway:?}");
            let mut cause = error.source();
            while let Some(next) = cause {
                printed += &format!(" {next} {next:?}\n");
                cause = next.source();
            }
        }
    }
    let proxy_url = Some(Url::parse("http://someone:password-in-url@127.0.0.1:1").unwrap());
    let proxied = AtmosSettings { proxy_url, ..config("http://127.0.0.1:1") };
    printed += &format!("{proxied:?}");
    let error = gateway_with(proxied, Coordination::local(account(), None))
        .inquire(TransactionId(7), Urgency::Now)
        .await
        .unwrap_err();
    printed += &format!("{error:?}");

    for secret in ["very-secret", "test_api_key", "token-1", "secret-in-a-body", "password-in-url", "c2FuZGJveC"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

/// Job handlers run on many threads.
#[test]
fn calls_may_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    let gateway = gateway_with(config("http://127.0.0.1:1"), Coordination::local(account(), None));

    moves(gateway.inquire(TransactionId(7), Urgency::Now));
    moves(gateway.create_draft(&draft_request(), Urgency::Now));
}

/// A debit may take 120 s. Ten minutes after the last yes none can still be on its way, and after three minutes an answer that
/// shows none is believed.
#[tokio::test]
async fn the_terms_of_atmos_are_those_of_its_debits() {
    let server = server(|_| None).await;
    let terms = gateway(&server).terms();

    assert_eq!((terms.debit_within.as_secs(), terms.closed_believed_after.as_secs()), (600, 180));
}
