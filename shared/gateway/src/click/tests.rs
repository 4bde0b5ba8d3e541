//! The client against a Click of a few lines on a real socket.

use std::time::Instant;

use config::defaults;
use serde_json::{Value, json};

use super::*;
use crate::coordination::tests::account;
use crate::http::tests::server::{Reply, Request, Server};

const MS: Duration = Duration::from_millis(1);

/// 12:00 in Tashkent on 2026-08-22.
const NOON_MS: i64 = 1_787_382_000_000;

/// Three hours later. The machine's own clock shows another year.
const NOW_MS: i64 = NOON_MS + 10_800_000;

/// An order's only attempt, which is not the allowed one.
const ALONE: InquiryFacts<'_> = InquiryFacts { others: &[], allowed_until_ms: None, asked_at_ms: NOW_MS };

const BY_ORDER: &str = "/click/v2/merchant/payment/status_by_mti/22222/197/2026-08-22";
const STATUS: &str = "/click/v2/merchant/payment/status/22222/555";
const REVERSAL: &str = "/click/v2/merchant/payment/reversal/22222/555";

fn click(server: &Server) -> ClickGateway {
    click_at(&server.url)
}

fn click_at(url: &str) -> ClickGateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings: ClickSettings = defaults().unwrap();
    let settings = ClickSettings { api_url: format!("{url}/click").parse().unwrap(), ..settings };
    ClickGateway::with_call_timeout(settings, 400 * MS, Coordination::local(account(), None)).unwrap()
}

/// A service whose operator knows that -404 and -16 mean "no such payment".
fn click_with_codes(server: &Server) -> ClickGateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings: ClickSettings = defaults().unwrap();
    let api_url = format!("{}/click", server.url).parse().unwrap();
    let settings = ClickSettings { api_url, not_found_codes: Some(vec![-404, -16]), ..settings };
    ClickGateway::with_call_timeout(settings, 400 * MS, Coordination::local(account(), None)).unwrap()
}

fn attempt() -> StoredTransaction {
    StoredTransaction {
        gateway: GatewayIdentity("sandbox-click:22222".to_owned()),
        transaction_id: TransactionId(778),
        order_id: OrderId(197),
        amount: 100_000,
        state: StoredState::Open,
        success_transaction_id: None,
        seen_amount: None,
        looked_at_ms: None,
        is_accepted: false,
        created_at_ms: NOON_MS,
        external_id: Some("3737503".to_owned()),
        account: Some("197".to_owned()),
        gateway_at_ms: None,
        debited_at_ms: None,
        closed_at_ms: None,
        close_code: None,
    }
}

fn ok(answer: &Value) -> Reply {
    Reply::Answer(200, "", answer.to_string())
}

fn status(code: u16) -> Reply {
    Reply::Answer(code, "", "secret-in-a-body".to_owned())
}

/// How the sandbox says that it finds no payment.
fn no_payment() -> Reply {
    Reply::Answer(404, "", json!({"error_code": -404, "error_note": "there is no such payment"}).to_string())
}

/// What a proxy, or another server at a wrong address, answers.
fn foreign_not_found() -> [Reply; 6] {
    let body = |body: &str| Reply::Answer(404, "", body.to_owned());
    [
        body(""),
        body("<html><h1>404 Not Found</h1></html>"),
        body(r#"{"status":404,"error":"Not Found","path":"/v2/merchant"}"#),
        body(r#"{"error_code":0,"error_note":"Success"}"#),
        body(r#"{"error_code":"not found"}"#),
        body(r#"[{"error_code":-404}]"#),
    ]
}

fn found(payment_status: i64) -> Reply {
    ok(&json!({"error_code": 0, "error_note": "", "payment_id": 555, "payment_status": payment_status}))
}

async fn server(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(answer).await
}

/// The answer to an inquiry about `attempt` where Click answers every question like this.
async fn inquiry_answered(attempt: &StoredTransaction, reply: Reply) -> Result<TransactionState, GatewayError> {
    let server = server(move |_| reply.clone()).await;
    click(&server).inquire(attempt, &ALONE, Urgency::Now).await.map(|report| report.state)
}

fn debited() -> TransactionState {
    TransactionState::Debited { success_transaction_id: TransactionId(555) }
}

#[tokio::test]
async fn an_attempt_is_asked_about_by_its_order_and_the_day_in_tashkent() {
    let server = server(|_| found(2)).await;

    let report = click(&server).inquire(&attempt(), &ALONE, Urgency::Now).await.unwrap();

    let expected = TransactionReport {
        transaction_id: TransactionId(778),
        account: "197".to_owned(),
        store_id: None,
        amount: 100_000,
        unpaid_payment_id: None,
        state: debited(),
    };
    assert_eq!(report, expected);
    let asked = &server.requests(BY_ORDER)[0];
    assert_eq!(asked.method, "GET");
    let parts: Vec<&str> = asked.auth.split(':').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("33333", 40, 10), "{}", asked.auth);
}

#[tokio::test]
async fn a_known_payment_is_asked_about_by_its_number() {
    let server = server(|request| if request.path == STATUS { found(2) } else { no_payment() }).await;
    let known = StoredTransaction { success_transaction_id: Some(TransactionId(555)), ..attempt() };

    assert_eq!(click(&server).inquire(&known, &ALONE, Urgency::Now).await.unwrap().state, debited());
    assert_eq!(server.requests(STATUS).len(), 1);
}

/// It is kept of a payment that failed, too, and the attempt may have been paid by another one since.
#[tokio::test]
async fn an_attempt_whose_payment_failed_is_asked_about_by_its_number_and_by_its_order() {
    let first = inquiry_report(&attempt(), found(-5_017)).await;
    assert_eq!((first.state, first.unpaid_payment_id), (TransactionState::Closed, Some(TransactionId(555))));
    let paid = inquiry_report(&attempt(), found(2)).await;
    assert_eq!((paid.state, paid.unpaid_payment_id), (debited(), None));
    let none = inquiry_report(&attempt(), no_payment()).await;
    assert_eq!(none.unpaid_payment_id, None);

    let known =
        StoredTransaction { state: StoredState::Closed, success_transaction_id: Some(TransactionId(555)), ..attempt() };
    let by_order = |payment_id: i64, payment_status: i64| {
        ok(&json!({"error_code": 0, "payment_id": payment_id, "payment_status": payment_status}))
    };
    let another = TransactionState::Debited { success_transaction_id: TransactionId(556) };
    for (of_order, expected, id) in [
        (by_order(555, -5_017), TransactionState::Closed, Some(TransactionId(555))),
        (no_payment(), TransactionState::Closed, Some(TransactionId(555))),
        (by_order(556, 2), another, None),
    ] {
        let server = server(move |request| if request.path == STATUS { found(-5_017) } else { of_order.clone() }).await;
        let report = click(&server).inquire(&known, &ALONE, Urgency::Later).await.unwrap();
        assert_eq!((report.state, report.unpaid_payment_id), (expected, id));
        assert_eq!((server.requests(STATUS).len(), server.requests(BY_ORDER).len()), (1, 1));
    }
    let server = server(|request| if request.path == STATUS { found(2) } else { status(404) }).await;
    assert_eq!(click(&server).inquire(&known, &ALONE, Urgency::Later).await.unwrap().state, debited());
    assert!(server.requests(BY_ORDER).is_empty());
}

async fn inquiry_report(attempt: &StoredTransaction, reply: Reply) -> TransactionReport {
    let server = server(move |_| reply.clone()).await;
    click(&server).inquire(attempt, &ALONE, Urgency::Now).await.unwrap()
}

/// A late debit of a closed attempt that no other attempt can have made; and one attempt alone gets it.
#[tokio::test]
async fn a_payment_is_a_closed_attempts_only_where_no_other_may_have_made_it() {
    let made_ms = NOW_MS - 7_200_000;
    let closed = StoredTransaction { state: StoredState::Closed, created_at_ms: made_ms, ..attempt() };
    let newer = StoredTransaction { transaction_id: TransactionId(779), ..closed.clone() };
    let open = StoredTransaction { state: StoredState::Open, ..newer.clone() };
    let told = StoredTransaction { debited_at_ms: Some(made_ms), closed_at_ms: Some(made_ms), ..newer.clone() };
    let paid = StoredTransaction {
        state: StoredState::Debited,
        success_transaction_id: Some(TransactionId(556)),
        ..newer.clone()
    };

    assert_eq!(answered_beside(&newer, &closed, found(2)).await, debited());
    assert_eq!(answered_beside(&closed, &newer, found(2)).await, TransactionState::Closed);
    for other in [&open, &told] {
        assert_eq!(answered_beside(other, &closed, found(2)).await, debited());
        assert_eq!(answered_beside(&closed, other, found(2)).await, TransactionState::Closed);
    }
    assert_eq!(answered_beside(&closed, &paid, found(2)).await, debited(), "the order was paid twice");
}

/// Click's example shows the order in the place of the status.
#[tokio::test]
async fn an_answer_without_a_status_is_followed_by_a_question_about_the_payment() {
    let server = server(|request| match request.path.as_str() {
        BY_ORDER => ok(&json!({"error_code": 0, "error_note": "", "payment_id": 555, "merchant_trans_id": "197"})),
        _ => found(2),
    })
    .await;

    assert_eq!(click(&server).inquire(&attempt(), &ALONE, Urgency::Now).await.unwrap().state, debited());
    assert_eq!(server.requests(STATUS).len(), 1);
}

/// Two services read 1 as paid.
#[tokio::test]
async fn only_status_2_is_paid() {
    for (payment_status, expected) in [
        (0, TransactionState::Open),
        (1, TransactionState::Open),
        (2, debited()),
        (-1, TransactionState::Closed),
        (-5_017, TransactionState::Closed),
        (3, TransactionState::Unclear { code: "payment_status 3".to_owned() }),
    ] {
        assert_eq!(inquiry_answered(&attempt(), found(payment_status)).await.unwrap(), expected, "{payment_status}");
    }
}

/// How a reversed payment looks is not documented.
#[tokio::test]
async fn a_debit_that_is_below_zero_now_is_reversed_only_where_we_reversed_it() {
    let known = StoredTransaction { success_transaction_id: Some(TransactionId(555)), ..attempt() };
    let in_state = |state| StoredTransaction { state, ..known.clone() };

    let seen = inquiry_answered(&in_state(StoredState::Debited), found(-1)).await.unwrap();
    assert_eq!(seen, TransactionState::Unclear { code: "payment_status -1".to_owned() });
    let seen = inquiry_answered(&in_state(StoredState::Reversed), found(-1)).await.unwrap();
    assert_eq!(seen, TransactionState::Reversed { success_transaction_id: Some(TransactionId(555)) });
}

#[tokio::test]
async fn a_debit_that_is_under_way_again_is_asked_about_again() {
    let known = StoredTransaction { success_transaction_id: Some(TransactionId(555)), ..attempt() };
    for status in [0, 1] {
        let paid = StoredTransaction { state: StoredState::Debited, ..known.clone() };
        let seen = inquiry_answered(&paid, found(status)).await;
        assert!(matches!(seen, Err(GatewayError::OutcomeUnknown { .. })), "{seen:?}");
        // How one looks that is being reversed is not documented, so a person looks.
        let reversed = StoredTransaction { state: StoredState::Reversed, ..known.clone() };
        let seen = inquiry_answered(&reversed, found(status)).await.unwrap();
        assert_eq!(seen, TransactionState::Unclear { code: format!("payment_status {status}") });
    }
}

/// A sender that has a captured Complete can alter its `error`, which is not signed.
#[tokio::test]
async fn a_debit_that_was_told_is_not_paid_while_click_shows_less_than_zero() {
    let told = StoredTransaction { debited_at_ms: Some(NOON_MS), ..attempt() };

    assert_eq!(inquiry_answered(&told, found(-1)).await.unwrap(), TransactionState::Closed);
}

#[tokio::test]
async fn at_midnight_a_debit_is_found_on_either_day() {
    // 23:30 in Tashkent.
    let late = StoredTransaction { created_at_ms: NOON_MS + 41_400_000, ..attempt() };
    for day in ["2026-08-22", "2026-08-23"] {
        for other in [no_payment(), found(-1)] {
            let server =
                server(move |request| if request.path.ends_with(day) { found(2) } else { other.clone() }).await;

            assert_eq!(click(&server).inquire(&late, &ALONE, Urgency::Now).await.unwrap().state, debited(), "{day}");
        }
    }
}

#[tokio::test]
async fn a_day_without_an_answer_leaves_the_outcome_unknown() {
    let late = StoredTransaction { created_at_ms: NOON_MS + 41_400_000, ..attempt() };
    let server = server(|request| if request.path.ends_with("2026-08-23") { status(502) } else { found(-1) }).await;

    let answer = click(&server).inquire(&late, &ALONE, Urgency::Now).await;

    assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{answer:?}");
}

#[tokio::test]
async fn what_click_does_not_find_is_open_for_an_hour_and_a_told_debit_is_a_persons_after_ten_minutes() {
    let now_ms = NOW_MS;
    let made_at = |created_at_ms| StoredTransaction { created_at_ms, ..attempt() };
    let unclear = TransactionState::Unclear { code: "a payment that was told and is not found".to_owned() };

    assert_eq!(inquiry_answered(&made_at(now_ms), no_payment()).await.unwrap(), TransactionState::Open);
    assert_eq!(inquiry_answered(&made_at(now_ms - 7_200_000), no_payment()).await.unwrap(), TransactionState::Closed);
    for state in [StoredState::Open, StoredState::Closed] {
        // One whose failed payment is known, and that Click has forgotten, is asked about by its order, too.
        for known in [None, Some(TransactionId(555))] {
            let told = |ago_ms| StoredTransaction {
                state,
                debited_at_ms: Some(now_ms - ago_ms),
                success_transaction_id: known,
                ..made_at(now_ms - 7_200_000)
            };
            for ago_ms in [0, 599_999] {
                let answer = inquiry_answered(&told(ago_ms), no_payment()).await;
                assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{state}, {ago_ms} ms: {answer:?}");
            }
            for ago_ms in [600_000, 7_000_000] {
                let answer = inquiry_answered(&told(ago_ms), no_payment()).await;
                assert_eq!(answer.unwrap(), unclear, "{state}, {ago_ms} ms");
            }
        }
    }
}

/// One that is gone all at once is more likely a fault at Click than the end of a payment.
#[tokio::test]
async fn a_debit_that_click_has_shown_and_shows_no_more_is_asked_about_again() {
    for state in [StoredState::Debited, StoredState::Reversed] {
        for known in [None, Some(TransactionId(555))] {
            let seen =
                StoredTransaction { state, debited_at_ms: Some(NOON_MS), success_transaction_id: known, ..attempt() };
            let answer = inquiry_answered(&seen, no_payment()).await;
            assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{state}: {answer:?}");
        }
    }
}

/// A repeated Prepare allows the debit for an hour from then on.
#[tokio::test]
async fn an_attempt_is_open_until_an_hour_after_its_last_prepare_and_asked_about_on_each_day_until_then() {
    // 22:50 in Tashkent; Prepare again at 23:45, and the debit at 00:05.
    let prepared = StoredTransaction { created_at_ms: NOON_MS + 39_000_000, ..attempt() };
    let allowed_until_ms = Some(prepared.created_at_ms + 55 * 60_000 + 3_600_000);
    let asked = |at_ms| InquiryFacts { allowed_until_ms, asked_at_ms: prepared.created_at_ms + at_ms, ..ALONE };
    let on_the_second_day =
        |request: &Request| if request.path.ends_with("2026-08-23") { found(2) } else { no_payment() };
    let server = self::server(on_the_second_day).await;
    let seen = click(&server).inquire(&prepared, &asked(80 * 60_000), Urgency::Now).await.unwrap().state;
    assert_eq!(seen, debited());

    let server = self::server(|_| no_payment()).await;
    for (minutes, expected) in
        [(66, TransactionState::Open), (114, TransactionState::Open), (115, TransactionState::Closed)]
    {
        let seen = click(&server).inquire(&prepared, &asked(minutes * 60_000), Urgency::Now).await.unwrap().state;
        assert_eq!(seen, expected, "{minutes} min after the first Prepare");
    }
}

/// Click publishes no time within which it debits.
#[tokio::test]
async fn a_debit_that_is_told_days_later_is_found_on_its_day() {
    let told = StoredTransaction { debited_at_ms: Some(NOON_MS + 2 * 86_400_000), ..attempt() };
    let facts = InquiryFacts { asked_at_ms: NOON_MS + 4 * 86_400_000, ..ALONE };
    for day in ["2026-08-22", "2026-08-23", "2026-08-24", "2026-08-26"] {
        let server = server(move |request| if request.path.ends_with(day) { found(2) } else { no_payment() }).await;
        assert_eq!(click(&server).inquire(&told, &facts, Urgency::Now).await.unwrap().state, debited(), "{day}");
    }
}

/// No rule about money reads the clock of the machine that asks: here it is months ahead of the database's.
#[tokio::test]
async fn a_machine_whose_clock_is_wrong_closes_no_attempt_early() {
    let server = server(|_| no_payment()).await;
    for (minutes, expected) in
        [(10, TransactionState::Open), (59, TransactionState::Open), (60, TransactionState::Closed)]
    {
        let facts = InquiryFacts { asked_at_ms: NOON_MS + minutes * 60_000, ..ALONE };
        assert_eq!(click(&server).inquire(&attempt(), &facts, Urgency::Now).await.unwrap().state, expected);
    }
}

/// A proxy and a wrong address answer 404 as well, and their word must free no order whose payer may have paid.
#[tokio::test]
async fn a_404_that_is_not_in_clicks_own_form_says_nothing_about_a_payment() {
    let now_ms = NOW_MS;
    let left = StoredTransaction { created_at_ms: now_ms - 7_200_000, ..attempt() };
    let failed = StoredTransaction { closed_at_ms: Some(now_ms - 5_000), close_code: Some(-5_017), ..left.clone() };
    for attempt in [left, failed] {
        for reply in foreign_not_found() {
            let shown = format!("{reply:?}");
            let answer = inquiry_answered(&attempt, reply).await;
            assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{shown}: {answer:?}");
        }
        assert_eq!(inquiry_answered(&attempt, no_payment()).await.unwrap(), TransactionState::Closed);
    }
}

/// Click publishes no codes. One that an operator has named counts as HTTP 404 does, and no other one says anything.
#[tokio::test]
async fn a_code_that_an_operator_has_named_means_no_such_payment() {
    let left = StoredTransaction { created_at_ms: NOW_MS - 7_200_000, ..attempt() };
    let failed = StoredTransaction {
        created_at_ms: NOW_MS - 60_000,
        closed_at_ms: Some(NOW_MS - 1_000),
        close_code: Some(-5_017),
        ..attempt()
    };
    let fresh = StoredTransaction { created_at_ms: NOW_MS - 60_000, ..attempt() };
    let told = StoredTransaction { debited_at_ms: Some(NOW_MS - 5_000), ..left.clone() };
    for code in [-404, -16] {
        let server = server(move |_| ok(&json!({"error_code": code, "error_note": "nothing"}))).await;
        let (knowing, unknowing) = (click_with_codes(&server), click(&server));
        let asked = async |gateway: &ClickGateway, attempt: &StoredTransaction| {
            gateway.inquire(attempt, &ALONE, Urgency::Now).await.map(|report| report.state)
        };

        assert_eq!(asked(&knowing, &left).await.unwrap(), TransactionState::Closed);
        assert_eq!(asked(&knowing, &failed).await.unwrap(), TransactionState::Closed);
        assert_eq!(asked(&knowing, &fresh).await.unwrap(), TransactionState::Open);
        assert!(asked(&knowing, &told).await.is_err(), "a told debit is never closed so");
        knowing.check_access().await.unwrap();
        for attempt in [&left, &failed, &fresh, &told] {
            assert!(asked(&unknowing, attempt).await.is_err());
        }
    }
    let another = server(|_| ok(&json!({"error_code": -1}))).await;
    let answer = click_with_codes(&another).inquire(&failed, &ALONE, Urgency::Now).await;
    assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { fault: AnswerFault::Code(_), .. })), "{answer:?}");
}

/// No payer waits for an hour after his card was declined.
#[tokio::test]
async fn a_told_failure_is_believed_once_click_still_finds_nothing_a_second_later() {
    let now_ms = NOW_MS;
    let failed = |ago_ms| StoredTransaction {
        created_at_ms: now_ms - 60_000,
        closed_at_ms: Some(now_ms - ago_ms),
        close_code: Some(-5_017),
        ..attempt()
    };

    // The clock runs on during the test.
    let soon = StoredTransaction { closed_at_ms: Some(now_ms + 60_000), ..failed(0) };
    assert_eq!(inquiry_answered(&soon, no_payment()).await.unwrap(), TransactionState::Open);
    assert_eq!(inquiry_answered(&failed(1_000), no_payment()).await.unwrap(), TransactionState::Closed);
    assert_eq!(inquiry_answered(&failed(1_000), found(2)).await.unwrap(), debited(), "what Click shows counts");
    assert_eq!(inquiry_answered(&failed(1_000), found(1)).await.unwrap(), TransactionState::Open);
    // Which of the two was altered cannot be known.
    let both = StoredTransaction { debited_at_ms: Some(now_ms - 5_000), ..failed(5_000) };
    let answer = inquiry_answered(&both, no_payment()).await;
    assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{answer:?}");
}

/// The answer to an inquiry about `attempt`, one of the order's two.
async fn answered_beside(attempt: &StoredTransaction, other: &StoredTransaction, reply: Reply) -> TransactionState {
    let server = server(move |_| reply.clone()).await;
    click(&server).inquire(attempt, &InquiryFacts { others: &[other], ..ALONE }, Urgency::Now).await.unwrap().state
}

/// To count it twice would be a second payment that was never made, and its return would take the only one back.
#[tokio::test]
async fn a_payment_of_an_order_is_one_attempts_alone() {
    let made_ms = NOW_MS - 60_000;
    let first = StoredTransaction { created_at_ms: made_ms, ..attempt() };
    let failed = StoredTransaction { closed_at_ms: Some(made_ms), state: StoredState::Closed, ..first.clone() };
    let altered = StoredTransaction { debited_at_ms: Some(made_ms), ..failed.clone() };
    let second = StoredTransaction { transaction_id: TransactionId(779), ..first.clone() };
    let told = StoredTransaction { debited_at_ms: Some(made_ms), ..second.clone() };
    let paid = StoredTransaction {
        state: StoredState::Debited,
        success_transaction_id: Some(TransactionId(555)),
        ..second.clone()
    };
    let unclear = |state: &TransactionState| matches!(state, TransactionState::Unclear { .. });

    // Its number is known.
    assert_eq!(answered_beside(&failed, &paid, found(2)).await, TransactionState::Closed);
    assert!(unclear(&answered_beside(&altered, &paid, found(2)).await), "a person must look");
    assert_eq!(answered_beside(&paid, &altered, found(2)).await, debited());
    // No row has its number yet.
    for second in [&second, &told] {
        assert_eq!(answered_beside(second, &altered, found(2)).await, debited());
        assert!(unclear(&answered_beside(&altered, second, found(2)).await));
        assert_eq!(answered_beside(second, &first, found(2)).await, debited(), "the newest one");
        assert_eq!(answered_beside(&first, second, found(2)).await, TransactionState::Open);
    }
    let first_told = StoredTransaction { debited_at_ms: Some(made_ms), ..first };
    assert_eq!(answered_beside(&first_told, &second, found(2)).await, debited(), "the one whose debit was told");
    assert_eq!(answered_beside(&second, &first_told, found(2)).await, TransactionState::Open);
}

#[tokio::test]
async fn a_failure_is_not_taken_for_that_of_a_later_attempt() {
    let made_ms = NOW_MS - 1_200_000;
    let failed = StoredTransaction { state: StoredState::Closed, created_at_ms: made_ms, ..attempt() };
    let second = StoredTransaction { transaction_id: TransactionId(779), created_at_ms: made_ms, ..attempt() };
    let told = StoredTransaction { debited_at_ms: Some(made_ms), ..second.clone() };
    let failure_told = StoredTransaction { closed_at_ms: Some(made_ms), ..second.clone() };

    assert_eq!(answered_beside(&second, &failed, found(-5_017)).await, TransactionState::Open);
    let seen = answered_beside(&told, &failed, found(-5_017)).await;
    assert!(matches!(seen, TransactionState::Unclear { .. }), "{seen:?}");
    assert_eq!(answered_beside(&failure_told, &failed, found(-5_017)).await, TransactionState::Closed);
}

#[tokio::test]
async fn only_a_clear_answer_says_anything_about_a_payment() {
    for answer in [
        json!({"error_code": -1, "error_note": "no such payment"}),
        json!({"error_code": -5, "payment_id": 555, "payment_status": 2}),
        json!({"payment_id": 555, "payment_status": 2}),
        json!({"error_code": 0}),
        json!({"error_code": 0, "payment_id": 0, "payment_status": 2}),
        json!({"error_code": 0, "payment_id": "x", "payment_status": 2}),
        json!({"error_code": 0, "payment_id": 555, "payment_status": "paid"}),
        json!({"error_code": 0, "payment_id": 555, "payment_status": 2, "merchant_trans_id": "198"}),
        json!([]),
        json!("<html>"),
    ] {
        let seen = inquiry_answered(&attempt(), ok(&answer)).await;

        assert!(matches!(seen, Err(GatewayError::OutcomeUnknown { .. })), "{answer}: {seen:?}");
    }
    let known = StoredTransaction { success_transaction_id: Some(TransactionId(556)), ..attempt() };
    let seen = inquiry_answered(&known, found(2)).await;
    assert!(matches!(seen, Err(GatewayError::OutcomeUnknown { .. })), "about another payment: {seen:?}");
}

#[tokio::test]
async fn each_failure_has_its_kind() {
    for (reply, expected) in [
        (status(401), "not admitted"),
        (status(403), "not admitted"),
        (status(429), "throttled"),
        (status(500), "unknown"),
        (status(502), "unknown"),
        (status(400), "unknown"),
        (Reply::CutOff, "unknown"),
        (Reply::Truncated, "unknown"),
        (Reply::Late(2_000 * MS, Box::new(found(2))), "unknown"),
    ] {
        let shown = format!("{reply:?}");
        let kind = match inquiry_answered(&attempt(), reply).await {
            Err(GatewayError::NotAdmitted { .. }) => "not admitted",
            Err(GatewayError::Throttled { .. }) => "throttled",
            Err(GatewayError::OutcomeUnknown { .. }) => "unknown",
            other => panic!("{shown}: {other:?}"),
        };
        assert_eq!(kind, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_click_that_cannot_be_reached_is_told_apart() {
    let answer = click_at("http://127.0.0.1:1").inquire(&attempt(), &ALONE, Urgency::Now).await;

    assert!(matches!(answer, Err(GatewayError::Unreachable(_))), "{answer:?}");
}

#[tokio::test]
async fn a_passing_failure_of_a_question_is_tried_again() {
    let server = server(|request| if request.earlier == 0 { status(502) } else { found(2) }).await;

    assert_eq!(click(&server).inquire(&attempt(), &ALONE, Urgency::Now).await.unwrap().state, debited());
    assert_eq!(server.requests(BY_ORDER).len(), 2);
}

#[tokio::test]
async fn a_reversal_is_accepted_by_error_code_0_alone() {
    let accepted = json!({"error_code": 0, "error_note": "", "payment_id": 555});
    let server = server(move |_| ok(&accepted)).await;
    click(&server).reverse(TransactionId(555)).await.unwrap();
    assert_eq!(server.requests(REVERSAL)[0].method, "DELETE");
    assert!(!server.requests(REVERSAL)[0].auth.is_empty());

    for (answer, is_refusal) in [
        (json!({"error_code": -5, "error_note": "not this month"}), true),
        (json!({"error_code": 1}), true),
        (json!({"error_note": "Success"}), false),
        (json!({"error_code": 0, "payment_id": 556}), false),
    ] {
        let reply = answer.clone();
        let server = self::server(move |_| ok(&reply)).await;
        let outcome = click(&server).reverse(TransactionId(555)).await;
        match is_refusal {
            true => assert!(matches!(outcome, Err(GatewayError::Refused { .. })), "{answer}: {outcome:?}"),
            false => assert!(matches!(outcome, Err(GatewayError::OutcomeUnknown { .. })), "{answer}: {outcome:?}"),
        }
    }
}

/// It has no idempotency key.
#[tokio::test]
async fn a_reversal_that_may_have_arrived_is_not_sent_again() {
    for reply in [
        Reply::Late(2_000 * MS, Box::new(status(200))),
        Reply::CutOff,
        Reply::Truncated,
        status(500),
        status(502),
        Reply::Answer(503, "Retry-After: 1\r\n", String::new()),
        status(404),
    ] {
        let (shown, started) = (format!("{reply:?}"), Instant::now());
        let server = server(move |_| reply.clone()).await;

        let answer = click(&server).reverse(TransactionId(555)).await;

        assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{shown}: {answer:?}");
        assert_eq!(server.requests(REVERSAL).len(), 1, "{shown}");
        assert!(started.elapsed() < 5_000 * MS);
    }
}

#[tokio::test]
async fn a_reversal_that_was_turned_away_unprocessed_is_known_to_be() {
    for reply in [status(401), status(403), status(429)] {
        let shown = format!("{reply:?}");
        let server = server(move |_| reply.clone()).await;

        let error = click(&server).reverse(TransactionId(555)).await.unwrap_err();

        assert!(error.is_unprocessed(), "{shown}: {error:?}");
        assert_eq!(server.requests(REVERSAL).len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn access_is_shown_by_a_clear_answer_in_clicks_own_form() {
    for reply in [no_payment(), ok(&json!({"error_code": 0, "payment_id": 0, "payment_status": 0}))] {
        let server = server(move |_| reply.clone()).await;
        click(&server).check_access().await.unwrap();
    }
    // A code that is not known may say that Click does not know us.
    let strange = ok(&json!({"error_code": -1, "error_note": "no access"}));
    for reply in [status(401), status(502), ok(&json!({})), strange].into_iter().chain(foreign_not_found()) {
        let server = server(move |_| reply.clone()).await;
        assert!(click(&server).check_access().await.is_err());
    }
}

#[tokio::test]
async fn refused_credentials_open_the_breaker_and_answers_of_its_own_do_not() {
    let foreign = foreign_not_found().map(|reply| (reply, false));
    for (reply, opens) in
        [(status(401), true), (ok(&json!({"error_code": -1})), false), (no_payment(), false), (status(502), true)]
            .into_iter()
            .chain(foreign)
    {
        let shown = format!("{reply:?}");
        let server = server(move |_| reply.clone()).await;
        let told = |ago_ms| StoredTransaction { debited_at_ms: Some(NOW_MS - ago_ms), ..attempt() };
        for attempt in [attempt(), told(1_000), told(700_000)] {
            let gateway = click(&server);
            for _ in 0..6 {
                let _ = gateway.inquire(&attempt, &ALONE, Urgency::Now).await;
            }
            let answer = gateway.inquire(&attempt, &ALONE, Urgency::Now).await;

            assert_eq!(matches!(answer, Err(GatewayError::HeldBack { .. })), opens, "{shown}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn no_error_and_no_debug_print_holds_a_secret() {
    for reply in [status(401), status(500), ok(&json!({"error_code": "secret-in-a-body"}))] {
        let server = server(move |_| reply.clone()).await;
        let gateway = click(&server);

        let error = gateway.inquire(&attempt(), &ALONE, Urgency::Now).await.unwrap_err();

        let printed = format!("{error} {error:?} {gateway:?}");
        assert!(!printed.contains(SANDBOX_SECRET), "{printed}");
    }
}
