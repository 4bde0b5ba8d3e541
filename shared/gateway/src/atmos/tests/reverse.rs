//! Giving money back: sent once, whatever comes of it.

use super::*;

const REVERSE: &str = "/merchant/pay/reverse";

/// A gateway that answers a reversal like this, and how often it was asked.
async fn reversal_answered(
    replies: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> (Result<(), GatewayError>, usize) {
    let server = server(move |request| (request.path == REVERSE).then(|| replies(request.earlier))).await;
    let answer = hasty_gateway(&server).reverse(TransactionId(2_050_001), "it was broken").await;
    (answer, server.requests(REVERSE).len())
}

fn code(code: &str) -> Reply {
    ok(&json!({"result": {"code": code}}))
}

#[tokio::test]
async fn a_reversal_names_the_debit_by_its_permanent_id() {
    let server = server(|request| (request.path == REVERSE).then(|| code("OK"))).await;
    let gateway = gateway(&server);

    gateway.prepare().await.unwrap();
    assert_eq!(server.requests(REVERSE).len(), 0, "a token is got, and nothing is sent");
    gateway.reverse(TransactionId(2_050_001), "it was broken").await.unwrap();

    let body: Value = serde_json::from_str(&server.requests(REVERSE)[0].body).unwrap();
    assert_eq!(body, json!({"transaction_id": 2_050_001, "store_id": 1234, "reason": "it was broken"}));
    assert_eq!(server.requests(TOKEN).len(), 1);
}

/// Whatever may have been processed is sent once, and is unknown: a repetition might be a second refund.
/// Shows: MONEY-22
#[tokio::test]
async fn what_may_have_been_processed_is_sent_once_and_is_unknown() {
    for reply in [
        status(500),
        status(503),
        Reply::Answer(503, "Retry-After: 1\r\n", String::new()),
        status(302),
        Reply::Answer(200, "", "<html>".to_owned()),
        Reply::Answer(200, "", r#"{"result":{}}"#.to_owned()),
        code("STPIMS-ERR-001"),
        code("STPIMS-ERR-092"),
        code("STPIMS-ERR-777"),
    ] {
        let told = format!("{reply:?}");
        let (answer, asked) = reversal_answered(move |_| reply.clone()).await;

        let error = answer.unwrap_err();
        assert!(matches!(error, GatewayError::OutcomeUnknown { .. }) && !error.is_unprocessed(), "{told}: {error:?}");
        assert_eq!(asked, 1, "{told}");
    }
}

#[tokio::test]
async fn a_final_no_is_a_refusal_and_no_reason_to_send_again() {
    let (answer, asked) = reversal_answered(|_| code("STPIMS-ERR-009")).await;

    let error = answer.unwrap_err();
    assert!(matches!(&error, GatewayError::Refused { code } if code == "STPIMS-ERR-009"), "{error:?}");
    assert!(!error.is_unprocessed());
    assert_eq!(asked, 1);
}

/// Shows: MONEY-22
#[tokio::test]
async fn what_was_turned_away_unprocessed_is_known_to_be() {
    for (reply, times) in [
        (status(401), 2), // with a fresh token, once
        (status(403), 1),
        (Reply::Answer(429, "Retry-After: 7\r\n", String::new()), 1),
    ] {
        let told = format!("{reply:?}");
        let (answer, asked) = reversal_answered(move |_| reply.clone()).await;

        assert!(answer.unwrap_err().is_unprocessed(), "{told}");
        assert_eq!(asked, times, "{told}");
    }
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_and_the_reversal_is_made() {
    let (answer, asked) = reversal_answered(|earlier| if earlier == 0 { status(401) } else { code("OK") }).await;

    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_gateway_that_takes_no_connection_has_processed_nothing() {
    let gateway = gateway_with(config("http://127.0.0.1:1"), Coordination::local(account(), None));

    for answer in [gateway.prepare().await, gateway.reverse(TransactionId(1), "no").await] {
        assert!(answer.as_ref().unwrap_err().is_unprocessed(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_leaves_the_outcome_unknown() {
    for reply in [Reply::Late(1_000 * MS, Box::new(code("OK"))), Reply::CutOff, Reply::Truncated] {
        let told = format!("{reply:?}");
        let (answer, asked) = reversal_answered(move |_| reply.clone()).await;

        assert!(matches!(answer, Err(GatewayError::OutcomeUnknown { .. })), "{told}: {answer:?}");
        assert_eq!(asked, 1, "{told}");
    }
}

/// The load balancer in front of the gateway forgets idle connections, and answers so only to the next request. If a reversal
/// met this, it would be unknown whether it had arrived.
#[tokio::test]
async fn a_reversal_leaves_by_a_connection_of_its_own() {
    let server = server(|request| match request.path.as_str() {
        _ if request.by_this_connection > 0 => Some(Reply::CutOff),
        REVERSE => Some(code("OK")),
        _ => None,
    })
    .await;
    let gateway = gateway(&server);
    gateway.prepare().await.unwrap();

    gateway.reverse(TransactionId(2_050_001), "it was broken").await.unwrap();

    assert_eq!(server.requests(REVERSE).len(), 1);
}
