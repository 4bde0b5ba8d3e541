//! The wire of Payme, with the examples of its documents.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::callback_verdict::CallbackVerdict;
use domain::fiscal::FiscalKind;
use domain::id::TransactionId;
use domain::secret::Secret;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::coordination::tests::account;

const EXTERNAL_ID: &str = "5305e3bab097f420a62ced0b";

fn gateway(cashbox: char, keys: &[&str]) -> PaymeGateway {
    let keys = keys.iter().map(|key| Secret::new(*key)).collect();
    let settings = PaymeSettings { cashbox_id: cashbox.to_string(), keys, ..config::defaults().unwrap() };
    PaymeGateway::new(settings, Coordination::local(account(), None))
}

/// The transaction of the documents, as it stands in this state.
fn row(state: StoredState) -> StoredTransaction {
    let at = |states: &[StoredState], at_ms: i64| states.contains(&state).then_some(at_ms);
    StoredTransaction {
        gateway: GatewayIdentity("payme:587f72c72cac0d162c722ae2".into()),
        transaction_id: TransactionId(5123),
        order_id: OrderId(197),
        amount: 500_000,
        state,
        success_transaction_id: None,
        seen_amount: None,
        looked_at_ms: None,
        is_accepted: false,
        created_at_ms: 1_399_114_284_039,
        external_id: Some(EXTERNAL_ID.into()),
        account: Some(r#"{"order_id":"197"}"#.into()),
        gateway_at_ms: Some(1_399_114_284_039),
        debited_at_ms: at(&[StoredState::Debited, StoredState::Reversed], 1_399_114_285_002),
        closed_at_ms: at(&[StoredState::Closed, StoredState::Reversed], 1_399_114_287_776),
        close_code: at(&[StoredState::Closed, StoredState::Reversed], 3),
    }
}

fn read(body: &str) -> PaymeCall {
    PaymeCall::read(body.as_bytes()).unwrap()
}

fn fault(body: &str) -> PaymeFault {
    read(body).request.unwrap_err()
}

fn text(id: &str, answer: &PaymeAnswer) -> String {
    answer_text(&read(&format!(r#"{{"id":{id}}}"#)).id, answer, "order_id")
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

/// Each method's example in the documents, and its answer to the letter.
#[test]
fn the_examples_of_the_documents_are_read_and_answered_to_the_letter() {
    use CallbackVerdict::*;
    use StoredState::*;

    let call =
        read(r#"{"method":"CheckPerformTransaction","params":{"amount":500000,"account":{"order_id":"197"}},"id":1}"#);
    let Ok(PaymeRequest::CheckPerform(payment)) = &call.request else { panic!("{call:?}") };
    assert_eq!((payment.amount, payment.account.value("order_id").as_deref()), (Some(500_000), Some("197")));
    let answer = answer_text(&call.id, &PaymeResult::checked_perform(Allowed), "order_id");
    assert_eq!(answer, r#"{"result":{"allow":true},"id":1}"#);

    let call = read(
        r#"{"method":"CreateTransaction","params":{"id":"5305e3bab097f420a62ced0b","time":1399114284039,
            "amount":500000,"account":{"order_id":"197"}},"id":2}"#,
    );
    let Ok(PaymeRequest::Create { external_id, gateway_at_ms, payment }) = &call.request else { panic!("{call:?}") };
    assert_eq!((external_id.as_str(), *gateway_at_ms), (EXTERNAL_ID, 1_399_114_284_039));
    assert_eq!((payment.amount, payment.account.text()), (Some(500_000), r#"{"order_id":"197"}"#));
    assert_eq!(
        answer_text(&call.id, &PaymeResult::created(Allowed, Some(&row(Open))), "order_id"),
        r#"{"result":{"create_time":1399114284039,"transaction":"5123","state":1,"receivers":null},"id":2}"#
    );

    let call = read(r#"{"method":"PerformTransaction","params":{"id":"5305e3bab097f420a62ced0b"},"id":3}"#);
    assert_eq!(call.request, Ok(PaymeRequest::Perform { external_id: EXTERNAL_ID.into() }));
    assert_eq!(
        answer_text(&call.id, &PaymeResult::performed(DebitTold, Some(&row(Debited))), "order_id"),
        r#"{"result":{"transaction":"5123","perform_time":1399114285002,"state":2},"id":3}"#
    );

    let call = read(r#"{"method":"CancelTransaction","params":{"id":"5305e3bab097f420a62ced0b","reason":3},"id":4}"#);
    assert_eq!(call.request, Ok(PaymeRequest::Cancel { external_id: EXTERNAL_ID.into(), reason: 3 }));
    assert_eq!(
        answer_text(&call.id, &PaymeResult::canceled(FailureTold, Some(&row(Closed))), "order_id"),
        r#"{"result":{"transaction":"5123","cancel_time":1399114287776,"state":-1},"id":4}"#
    );

    let call = read(r#"{"method":"CheckTransaction","params":{"id":"5305e3bab097f420a62ced0b"},"id":5}"#);
    assert_eq!(call.request, Ok(PaymeRequest::Check { external_id: EXTERNAL_ID.into() }));
    assert_eq!(
        answer_text(&call.id, &PaymeResult::standing(Some(&row(Debited))), "order_id"),
        r#"{"result":{"create_time":1399114284039,"perform_time":1399114285002,"cancel_time":0,"transaction":"5123","state":2,"reason":null},"id":5}"#
    );

    let call = read(r#"{"method":"GetStatement","params":{"from":1399114284039,"to":1399120284000},"id":6}"#);
    assert_eq!(call.request, Ok(PaymeRequest::Statement { from_ms: 1_399_114_284_039, to_ms: 1_399_120_284_000 }));
    let line = statement_line(&row(Debited), "order_id").unwrap();
    assert_eq!(
        format!("{STATEMENT_BEGINS}{line}{}", statement_end(&call.id)),
        r#"{"result":{"transactions":[{"id":"5305e3bab097f420a62ced0b","time":1399114284039,"amount":500000,"account":{"order_id":"197"},"create_time":1399114284039,"perform_time":1399114285002,"cancel_time":0,"transaction":"5123","state":2,"reason":null,"receivers":null}]},"id":6}"#
    );

    let call = read(
        r#"{"method":"SetFiscalData","params":{"id":"5305e3bab097f420a62ced0b","type":"PERFORM",
            "fiscal_data":{"receipt_id":121,"status_code":0,"message":"accepted","terminal_id":"EP000000000025",
            "fiscal_sign":"800031554082","qr_code_url":"https://ofd.example","date":"20220706221021"}},"id":7}"#,
    );
    let Ok(PaymeRequest::SetFiscalData { external_id, kind, data }) = &call.request else { panic!("{call:?}") };
    assert_eq!((external_id.as_str(), *kind), (EXTERNAL_ID, FiscalKind::Perform));
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["receipt_id"], 121);
    assert_eq!(answer_text(&call.id, &Ok(PaymeResult::kept()), "order_id"), r#"{"result":{"success":true},"id":7}"#);
}

#[test]
fn an_error_of_the_account_range_has_three_languages_and_the_field() {
    assert_eq!(
        text("1", &PaymeResult::checked_perform(CallbackVerdict::UnknownOrder)),
        r#"{"error":{"code":-31050,"message":{"ru":"Заказ не найден","uz":"Buyurtma topilmadi","en":"The order is not known"},"data":"order_id"},"id":1}"#
    );
    assert_eq!(
        text("1", &PaymeResult::standing(None)),
        r#"{"error":{"code":-31003,"message":{"ru":"Транзакция не найдена","uz":"Tranzaksiya topilmadi","en":"The transaction is not known"}},"id":1}"#
    );
}

#[test]
fn the_id_of_a_call_is_repeated_as_it_was_written() {
    for id in ["1", "0", "-7", "12345678901234567890", r#""a\u0041""#, "1.50", "1e3"] {
        assert!(text(id, &Ok(PaymeResult::kept())).ends_with(&format!("\"id\":{id}}}")), "{id}");
    }
    let long = "9".repeat(65);
    for id in ["null", "true", "[1]", "{}", long.as_str(), r#"1,"id":2"#] {
        assert!(text(id, &Ok(PaymeResult::kept())).ends_with("\"id\":null}"), "{id}");
    }
}

#[test]
fn a_body_that_is_no_json_is_told_apart_from_a_call_that_is_none() {
    for body in ["", "{", "{\"method\":}", "method=CheckTransaction", "{} {}", "\u{feff}"] {
        assert_eq!(PaymeCall::read(body.as_bytes()).unwrap_err(), PaymeFault::NotJson, "{body}");
    }
    assert_eq!(PaymeCall::read(b"{\"id\":\"\xff\"}").unwrap_err(), PaymeFault::NotJson);
    for body in ["[]", "1", "\"x\"", "null", "{}", "[{\"method\":\"CheckTransaction\"}]"] {
        assert_eq!(fault(body), PaymeFault::Malformed, "{body}");
    }
    assert!(
        read("\u{feff}{\"jsonrpc\":\"2.0\",\"method\":\"CheckTransaction\",\"params\":{\"id\":\"x\"}}").request.is_ok()
    );
}

#[test]
fn fields_that_are_missing_doubled_or_of_another_type_are_malformed() {
    for body in [
        r#"{"method":7,"params":{}}"#,
        r#"{"method":"CheckTransaction"}"#,
        r#"{"method":"CheckTransaction","params":["5305e3bab097f420a62ced0b"]}"#,
        r#"{"method":"CheckTransaction","params":{"id":5305}}"#,
        r#"{"method":"CheckTransaction","params":{"id":""}}"#,
        r#"{"method":"CheckTransaction","params":{"id":"a","id":"b"}}"#,
        r#"{"method":"CheckTransaction","params":{"id":"a\u0000"}}"#,
        r#"{"method":"CancelTransaction","params":{"id":"a"}}"#,
        r#"{"method":"CancelTransaction","params":{"id":"a","reason":"5"}}"#,
        r#"{"method":"CheckPerformTransaction","params":{"amount":1}}"#,
        r#"{"method":"CheckPerformTransaction","params":{"amount":"1","account":{}}}"#,
        r#"{"method":"CheckPerformTransaction","params":{"amount":1,"account":"197"}}"#,
        r#"{"method":"CreateTransaction","params":{"id":"a","time":1399114284,"amount":1,"account":{}}}"#,
        r#"{"method":"CreateTransaction","params":{"id":"a","time":1399114284039.5,"amount":1,"account":{}}}"#,
        r#"{"method":"GetStatement","params":{"from":1399114284039}}"#,
        r#"{"method":"GetStatement","params":{"from":2,"to":1}}"#,
    ] {
        assert_eq!(fault(body), PaymeFault::Malformed, "{body}");
    }
    for params in [
        r#"{"id":"a","fiscal_data":{}}"#,
        r#"{"id":"a","type":"OTHER","fiscal_data":{}}"#,
        r#"{"id":"a","type":"CANCEL"}"#,
    ] {
        assert_eq!(fault(&format!(r#"{{"method":"SetFiscalData","params":{params}}}"#)), PaymeFault::BadFiscalData);
    }
}

/// `ChangePassword` stands in old templates, and in no document.
#[test]
fn an_unknown_method_is_named_in_its_error() {
    let call = read(r#"{"method":"ChangePassword","params":{"password":"x"},"id":9}"#);

    assert_eq!(call.request, Err(PaymeFault::UnknownMethod("ChangePassword".into())));
    let answer: Value = serde_json::from_str(&answer_text(&call.id, &Err(call.request.unwrap_err()), "f")).unwrap();
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]), (&json!(-32601), &json!("ChangePassword")));
    let PaymeFault::UnknownMethod(name) = fault(&format!(r#"{{"method":"{}"}}"#, "ў".repeat(1_000))) else { panic!() };
    assert!(name.len() <= 64);
}

/// −31001 needs a number; what is no whole number of tiyin is the amount of no order.
#[test]
fn an_amount_is_never_rounded() {
    for (amount, read_as) in
        [("500000", Some(500_000)), ("-1", Some(-1)), ("500000.0", None), ("5e5", None), ("99999999999999999999", None)]
    {
        let call = read(&format!(
            r#"{{"method":"CheckPerformTransaction","params":{{"amount":{amount},"account":{{"order_id":197}}}}}}"#
        ));
        let Ok(PaymeRequest::CheckPerform(payment)) = call.request else { panic!("{amount}") };
        assert_eq!(payment.amount, read_as, "{amount}");
        assert_eq!(payment.account.value("order_id").as_deref(), Some("197"));
    }
}

#[test]
fn an_account_without_our_field_names_no_order() {
    for account in [
        r#"{}"#,
        r#"{"order":"1"}"#,
        r#"{"order_id":null}"#,
        r#"{"order_id":{}}"#,
        r#"{"order_id":"1","order_id":"2"}"#,
    ] {
        let call =
            read(&format!(r#"{{"method":"CheckPerformTransaction","params":{{"amount":1,"account":{account}}}}}"#));
        let Ok(PaymeRequest::CheckPerform(payment)) = call.request else { panic!("{account}") };
        assert_eq!(payment.account.value("order_id"), None, "{account}");
    }
}

#[test]
fn a_key_opens_its_own_account_and_no_other() {
    let accounts = [gateway('a', &["first", "f:o&r?m@e%r#"]), gateway('b', &["second"]), gateway('c', &[SANDBOX_KEY])];
    let opened = |header: &str| {
        let account = PaymeGateway::called(Some(header.as_bytes()), &accounts)?;
        Some(account.settings().cashbox_id.as_str())
    };

    for (credentials, cashbox) in [
        ("Paycom:first", Some("a")),
        ("Paycom:f:o&r?m@e%r#", Some("a")),
        ("Paycom:second", Some("b")),
        ("Paycom:sandbox-payme-key", Some("c")),
        ("Paycom:", None),
        ("Paycom", None),
        ("paycom:first", None),
        (":first", None),
        ("Paycom:firs", None),
        ("Paycom:first ", None),
    ] {
        assert_eq!(opened(&basic(credentials)), cashbox, "{credentials}");
    }
    assert_eq!(opened(&basic("Paycom:first").replace("Basic ", "basic  ")), Some("a"));
    assert_eq!(opened(&basic("Paycom:first").replace('=', "")), Some("a"), "without padding");
    for header in ["", "Basic", "Basic ???", "Bearer first", "Paycom:first", &basic(&"x".repeat(3_000))] {
        assert_eq!(opened(header), None, "{header}");
    }
    assert!(PaymeGateway::called(None, &accounts).is_none());
    assert!(PaymeGateway::called(Some(basic("Paycom:first").as_bytes()), []).is_none());
}

#[test]
fn an_empty_key_refuses_everyone() {
    for keys in [&[][..], &[""][..], &["", ""][..]] {
        let account = gateway('a', keys);
        for credentials in ["Paycom:", "Paycom", "Paycom::", ":"] {
            assert!(
                PaymeGateway::called(Some(basic(credentials).as_bytes()), [&account]).is_none(),
                "{keys:?} {credentials}"
            );
        }
    }
}

#[test]
fn the_published_key_opens_no_account_of_a_shop() {
    let account = gateway('a', &["mine", SANDBOX_KEY]);

    assert!(PaymeGateway::called(Some(basic("Paycom:sandbox-payme-key").as_bytes()), [&account]).is_none());
    assert!(PaymeGateway::called(Some(basic("Paycom:mine").as_bytes()), [&account]).is_some());
}

/// The most frequent mistake of others is `perform_time = now` on a repeat.
#[test]
fn a_repeat_is_answered_with_the_same_bytes() {
    use CallbackVerdict::*;
    let (debited, closed, reversed) = (row(StoredState::Debited), row(StoredState::Closed), row(StoredState::Reversed));

    assert_eq!(
        text("3", &PaymeResult::performed(DebitTold, Some(&debited))),
        text("3", &PaymeResult::performed(AlreadyPaid, Some(&debited)))
    );
    for (row, told, state) in [(&closed, FailureTold, -1), (&reversed, ReversalTold, -2)] {
        let first = text("4", &PaymeResult::canceled(told, Some(row)));
        assert_eq!(first, text("4", &PaymeResult::canceled(TransactionClosed, Some(row))));
        assert_eq!(
            first,
            format!(r#"{{"result":{{"transaction":"5123","cancel_time":1399114287776,"state":{state}}},"id":4}}"#)
        );
    }
}

#[test]
fn a_time_that_has_not_come_is_zero_and_a_reason_null() {
    let standing = |state| {
        let answer: Value = serde_json::from_str(&text("1", &PaymeResult::standing(Some(&row(state))))).unwrap();
        ["perform_time", "cancel_time", "state", "reason"].map(|field| answer["result"][field].clone())
    };

    assert_eq!(standing(StoredState::Open), [json!(0), json!(0), json!(1), Value::Null]);
    assert_eq!(standing(StoredState::Closed), [json!(0), json!(1_399_114_287_776_i64), json!(-1), json!(3)]);
    assert_eq!(
        standing(StoredState::Reversed),
        [json!(1_399_114_285_002_i64), json!(1_399_114_287_776_i64), json!(-2), json!(3)]
    );
}

/// Every refusal, method by method.
#[test]
fn a_verdict_becomes_the_error_of_its_method() {
    use CallbackVerdict::*;
    let code = |answer: PaymeAnswer| answer.unwrap_err().code();
    let open = row(StoredState::Open);

    for (verdict, expected) in [
        (UnknownOrder, -31_050),
        (NotPayable, -31_051),
        (Late, -31_051),
        (SecondTransaction, -31_052),
        (WrongAmount, -31_001),
        (OtherAddress, -32_504),
    ] {
        assert_eq!(code(PaymeResult::checked_perform(verdict)), expected, "{verdict}");
        assert_eq!(code(PaymeResult::created(verdict, None)), expected, "{verdict}");
    }
    assert_eq!(code(PaymeResult::checked_perform(AlreadyPaid)), -31_051);
    for verdict in [Conflicting, TimedOut, TransactionClosed, AlreadyPaid] {
        assert_eq!(code(PaymeResult::created(verdict, Some(&open))), -31_008, "{verdict}");
    }
    for verdict in [TimedOut, TransactionClosed] {
        assert_eq!(code(PaymeResult::performed(verdict, Some(&row(StoredState::Closed)))), -31_008, "{verdict}");
    }
    assert_eq!(code(PaymeResult::performed(UnknownTransaction, None)), -31_003);
    assert_eq!(code(PaymeResult::canceled(UnknownTransaction, None)), -31_003);
    assert_eq!(code(PaymeResult::canceled(ReversalRefused, Some(&row(StoredState::Debited)))), -31_007);
    assert_eq!(code(PaymeResult::standing(None)), -31_003);
}

/// A verdict is not enough: the row must stand as the answer says.
#[test]
fn no_answer_says_what_the_row_does_not() {
    for verdict in CallbackVerdict::ALL {
        assert!(PaymeResult::created(*verdict, None).is_err() && PaymeResult::performed(*verdict, None).is_err());
        assert!(PaymeResult::canceled(*verdict, None).is_err());
        for state in StoredState::ALL {
            let row = row(*state);
            let [created, performed, canceled] = [PaymeResult::created, PaymeResult::performed, PaymeResult::canceled]
                .map(|answer| answer(*verdict, Some(&row)));
            assert!(created.is_err() || *state == StoredState::Open);
            assert!(performed.is_err() || *state == StoredState::Debited);
            assert!(canceled.is_err() || matches!(*state, StoredState::Closed | StoredState::Reversed));
        }
    }
}

#[test]
fn an_account_stands_in_the_statement_as_it_came() {
    let line = |account: Option<&str>| {
        let row = StoredTransaction { account: account.map(str::to_owned), ..row(StoredState::Open) };
        statement_line(&row, "order_id").unwrap()
    };

    assert!(
        line(Some(r#"{ "order_id": 197, "phone": "x" }"#)).contains(r#""account":{ "order_id": 197, "phone": "x" },"#)
    );
    for account in [None, Some("197"), Some("{")] {
        assert!(line(account).contains(r#""account":{"order_id":"197"},"#), "{account:?}");
    }
    assert_eq!(statement_line(&StoredTransaction { external_id: None, ..row(StoredState::Open) }, "order_id"), None);
}

/// The row is all that can be known, and its word is believed at once.
#[test]
fn an_inquiry_is_answered_by_the_row() {
    let payme = gateway('a', &["mine"]);
    let state = |state| payme.inquire(&row(state)).state;

    assert_eq!(state(StoredState::Open), TransactionState::Open);
    assert_eq!(state(StoredState::Closed), TransactionState::Closed);
    assert_eq!(state(StoredState::Debited), TransactionState::Debited { success_transaction_id: TransactionId(5123) });
    assert_eq!(state(StoredState::Reversed), TransactionState::Reversed { success_transaction_id: None });
    let report = payme.inquire(&row(StoredState::Open));
    assert_eq!((report.account.as_str(), report.amount, report.store_id), ("197", 500_000, None));
    assert_eq!(
        (payme.terms().closed_believed_after, payme.terms().debit_within.as_millis()),
        (Duration::ZERO, 43_200_000)
    );
}

proptest! {
    #[test]
    fn whatever_is_sent_the_answer_is_json_with_one_outcome(body in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        r#"\{("(id|method|params|a)":("[ -~]{0,9}"|-?[0-9]{0,9}|null|\{\}|\[\]),?){0,6}\}"#.prop_map(String::into_bytes),
    ]) {
        let (id, answer) = match PaymeCall::read(&body) {
            Ok(call) => (call.id, call.request.map(|_| PaymeResult::kept())),
            Err(fault) => (CallId::default(), Err(fault)),
        };

        let answer: Value = serde_json::from_str(&answer_text(&id, &answer, "order_id")).unwrap();

        prop_assert_eq!(answer.as_object().unwrap().len(), 2);
        prop_assert!(answer.get("result").is_some() != answer.get("error").is_some());
    }
}
