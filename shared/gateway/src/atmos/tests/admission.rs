//! The results that the client reports, and how it obeys those of other processes.

use super::*;

/// The clients of two processes of one installation, which share their admission.
fn two_clients(server: &Server) -> [AtmosGateway; 2] {
    clients(server)
}

/// The clients of so many processes of one installation.
fn clients<const COUNT: usize>(server: &Server) -> [AtmosGateway; COUNT] {
    let coordination = Coordination::local(account(), None);
    [(); COUNT].map(|()| gateway_within(300 * MS, config(&server.url), coordination.clone()))
}

/// Whether so many inquiries that were answered like this hold the next one back.
async fn breaks(inquiries: usize, reply: Reply) -> bool {
    let server = server(move |request| (request.path == GET).then(|| reply.clone())).await;
    let [a, b] = two_clients(&server);
    for _ in 0..inquiries {
        let answer = a.inquire(TransactionId(7), Urgency::Now).await;
        assert!(!matches!(answer, Err(GatewayError::HeldBack { .. })), "too early: {answer:?}");
    }
    matches!(b.inquire(TransactionId(7), Urgency::Now).await, Err(GatewayError::HeldBack { .. }))
}

/// Shows: ADMISSION-2
#[tokio::test]
async fn answers_that_show_a_broken_gateway_open_the_breaker() {
    for reply in [
        status(403),                                                   // an address that is not admitted
        Reply::Answer(200, "", "<html>maintenance</html>".to_owned()), // no JSON
        ok(&json!({"result": {"code": "OK"}})),                        // no transaction
        ok(&json!({"result": {"code": "STPIMS-ERR-001"}})),            // its internal error
        Reply::Late(600 * MS, Box::new(status(200))),                  // a timeout
    ] {
        assert!(breaks(5, reply.clone()).await, "{reply:?}");
    }
}

/// Shows: ADMISSION-2
#[tokio::test]
async fn a_gateway_that_answers_in_its_own_words_never_opens_the_breaker() {
    for reply in [
        ok(&json!({"result": {"code": "STPIMS-ERR-061"}})), // a final no
        ok(&json!({"result": {"code": "STPIMS-ERR-777"}})), // an unknown code, about this one transaction
    ] {
        assert!(!breaks(7, reply.clone()).await, "{reply:?}");
    }
}

/// Three tries of one call, and two of the next: then no call leaves, also not the third try of the second call.
/// Shows: ADMISSION-5
#[tokio::test]
async fn the_tries_within_a_call_end_when_the_breaker_opens() {
    for reply in [status(503), Reply::CutOff] {
        let shown = format!("{reply:?}");
        let server = server(move |request| (request.path == GET).then(|| reply.clone())).await;
        let [a, b, asks_for_the_token] = clients(&server);
        // Another client gets the token, so the two others have no old connection: the gateway causes each broken try.
        asks_for_the_token.prepare().await.unwrap();

        assert!(matches!(a.inquire(TransactionId(7), Urgency::Now).await, Err(GatewayError::OutcomeUnknown { .. })));
        let second = b.inquire(TransactionId(7), Urgency::Now).await;
        let third = a.inquire(TransactionId(7), Urgency::Now).await;

        assert!(matches!(second, Err(GatewayError::HeldBack { .. })), "{shown}: {second:?}");
        let Err(GatewayError::HeldBack { obstacle, .. }) = third else { panic!("{shown}: {third:?}") };
        assert!(obstacle.to_string().contains("outcome is unknown"), "the cause is told: {obstacle}");
        assert_eq!(server.requests(GET).len(), 5, "{shown}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_back_is_found_by_one_call_and_then_by_all() {
    let server = server(|request| (request.path == GET && request.earlier < 5).then(|| status(403))).await;
    let [a, b] = two_clients(&server);
    for _ in 0..5 {
        let _ = a.inquire(TransactionId(7), Urgency::Now).await;
    }

    let answer = loop {
        match b.inquire(TransactionId(7), Urgency::Now).await {
            Err(GatewayError::HeldBack { .. }) => tokio::time::sleep(50 * MS).await,
            answer => break answer,
        }
    };

    assert!(answer.is_ok(), "{answer:?}");
    assert!(a.inquire(TransactionId(7), Urgency::Now).await.is_ok());
}

/// A token service that is well in front of a gateway that knows none of its tokens.
/// Shows: ADMISSION-2
#[tokio::test]
async fn a_gateway_that_refuses_every_fresh_token_opens_the_breaker_and_is_asked_for_few() {
    let server = server(|request| (request.path == GET).then(|| status(401))).await;
    let [a, _b] = two_clients(&server);

    for _ in 0..5 {
        let answer = a.inquire(TransactionId(7), Urgency::Now).await;
        assert!(matches!(answer, Err(GatewayError::NotAdmitted { .. })), "{answer:?}");
    }

    let Err(GatewayError::HeldBack { obstacle, .. }) = a.inquire(TransactionId(7), Urgency::Now).await else {
        panic!("it is asked again and again")
    };
    assert!(obstacle.to_string().contains("401"), "the cause is told: {obstacle}");
    assert_eq!(server.requests(TOKEN).len(), 2, "the first, and one instead of it");
    assert_eq!(server.requests(GET).len(), 6);

    let coordination = a.coordination();
    tokio::time::sleep(coordination.view().breaker.opens_in + 5 * MS).await;
    let probe = a.inquire(TransactionId(7), Urgency::Now).await;
    assert!(matches!(probe, Err(GatewayError::NotAdmitted { .. })), "{probe:?}");
    let next = a.inquire(TransactionId(7), Urgency::Now).await;
    assert!(matches!(next, Err(GatewayError::HeldBack { .. })), "{next:?}");
    let wait = coordination.view().breaker.opens_in;
    assert!(wait > 1_500 * MS, "a probe that is refused makes the wait longer: {wait:?}");
}

#[tokio::test]
async fn a_retry_after_that_one_client_got_keeps_the_other_from_calling() {
    let server =
        server(|request| (request.path == CREATE).then(|| Reply::Answer(429, "Retry-After: 60\r\n", String::new())))
            .await;
    let [a, b] = two_clients(&server);
    assert!(b.inquire(TransactionId(7), Urgency::Now).await.is_ok());

    let told = a.create_draft(&draft_request(), Urgency::Now).await;
    let other = b.inquire(TransactionId(7), Urgency::Now).await;

    assert!(matches!(told, Err(GatewayError::Throttled { .. })), "{told:?}");
    let Err(GatewayError::Throttled { retry_after }) = other else { panic!("{other:?}") };
    assert!(retry_after.as_secs() >= 58, "{retry_after:?}");
    assert_eq!(server.requests(GET).len(), 1);
}

/// The sandbox's ledger is no part of the gateway: an audit reads it although the rest fails.
#[tokio::test]
async fn the_sandboxs_ledger_is_read_although_the_breaker_is_open() {
    let server = server(|request| match request.path.as_str() {
        GET => Some(status(403)),
        LEDGER => Some(ok(&json!({"transactions": []}))),
        _ => None,
    })
    .await;
    let [a, b] = two_clients(&server);
    for _ in 0..5 {
        let _ = a.inquire(TransactionId(7), Urgency::Now).await;
    }

    let ledger = b.ledger().await;

    assert!(matches!(&ledger, Ok(Some(lines)) if lines.is_empty()), "{ledger:?}");
    assert!(matches!(a.inquire(TransactionId(7), Urgency::Now).await, Err(GatewayError::HeldBack { .. })));
}
