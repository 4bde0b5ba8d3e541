use serde_json::{Value, json};

use super::*;

/// A real answer of `/merchant/pay/create` and `get` from 2021, identifiers changed.
const DRAFT: &str = r#"{"result":{"code":"OK","description":"Нет ошибок"},
 "transaction_id":14500001,
 "store_transaction":{"success_trans_id":null,"trans_id":14500001,
  "store":{"id":417,"name":"SHOP","desc":"","logo":null,"ga_id":null},
  "terminal_id":null,"account":"333","amount":10200,"confirmed":false,
  "prepay_time":null,"confirm_time":null,
  "label":{"type_id":49,"label_ru":"Номер инвойса","label_uz":"Invoys raqami","label_en":"Invoice number"},
  "details":"333","commission_value":"0","commission_type":"0","total":10200,
  "card_id":null,"status_code":null,"status_message":null}}"#;

/// A real answer about a debit from 2021, identifiers changed.
const DEBIT: &str = r#"{"result":{"code":"OK","description":"Нет ошибок"},
 "store_transaction":{"success_trans_id":2050001,"trans_id":14500001,"store":{"id":417},
  "terminal_id":"92800000","account":"333","amount":10200,"confirmed":true,
  "prepay_time":1614969501000,"confirm_time":1614969502042,"label":{},"details":"333",
  "commission_value":"0","commission_type":"0","total":10200,
  "card_id":"a card token","status_code":"0","status_message":"Success"},
 "ofd_url":"https://ofd.example","ofd_url_commission":"https://ofd.example"}"#;

const ASKED: TransactionId = TransactionId(14_500_001);

fn report(body: &str) -> Result<TransactionReport, GatewayError> {
    read_report(ASKED, body.as_bytes())
}

/// The state when `changes` are made to the answer about a draft.
fn state_with(code: &str, changes: Value) -> TransactionState {
    let mut answer: Value = serde_json::from_str(DRAFT).unwrap();
    answer["result"]["code"] = code.into();
    for (name, value) in changes.as_object().unwrap() {
        answer["store_transaction"][name] = value.clone();
    }
    report(&answer.to_string()).unwrap().state
}

#[test]
fn a_real_draft_is_open() {
    let expected = TransactionReport {
        transaction_id: ASKED,
        account: "333".to_owned(),
        store_id: Some("417".to_owned()),
        amount: 10_200,
        unpaid_payment_id: None,
        state: TransactionState::Open,
    };

    assert_eq!(report(DRAFT).unwrap(), expected);
    assert_eq!(read_created(DRAFT.as_bytes()).unwrap(), Draft { transaction_id: ASKED });
}

#[test]
fn a_real_debit_is_debited() {
    let state = report(DEBIT).unwrap().state;

    assert_eq!(state, TransactionState::Debited { success_transaction_id: TransactionId(2_050_001) });
}

/// Shows: PERSON-1, PERSON-2, PERSON-3
#[test]
fn only_a_confirmed_transaction_with_its_permanent_id_and_a_good_code_is_debited() {
    use TransactionState::{Closed, Debited, Open, Reversed, Unclear};
    const OK: &str = "OK";
    let id = TransactionId(9);
    let debited = || Debited { success_transaction_id: id };
    let unclear = |code: &str| Unclear { code: code.to_owned() };
    for (code, changes, expected) in [
        (OK, json!({}), Open),
        (OK, json!({"status_code": "0"}), Open),
        (OK, json!({"status_code": "17"}), Open),
        (OK, json!({"status_code": ""}), Open),
        (OK, json!({"success_trans_id": 0}), Open),
        (OK, json!({"confirmed": "false"}), Open),
        (CLOSED, json!({}), Closed),
        (CLOSED, json!({"status_code": "17"}), Closed),
        // The predicate, in every shape it may come.
        (OK, json!({"confirmed": true, "success_trans_id": 9, "status_code": "0"}), debited()),
        (OK, json!({"confirmed": true, "success_trans_id": 9, "status_code": 0}), debited()),
        (OK, json!({"confirmed": true, "success_trans_id": 9, "status_code": null}), debited()),
        (OK, json!({"confirmed": true, "success_trans_id": 9, "status_code": ""}), debited()),
        (OK, json!({"confirmed": "true", "success_trans_id": "9", "status_code": "0"}), debited()),
        (CLOSED, json!({"confirmed": true, "success_trans_id": 9, "status_code": "0"}), debited()),
        // Reversed, whatever `confirmed` says.
        (
            OK,
            json!({"confirmed": true, "success_trans_id": 9, "status_code": "-20"}),
            Reversed { success_transaction_id: Some(id) },
        ),
        (
            CLOSED,
            json!({"confirmed": false, "success_trans_id": "9", "status_code": -20}),
            Reversed { success_transaction_id: Some(id) },
        ),
        (OK, json!({"confirmed": null, "status_code": "-20"}), Reversed { success_transaction_id: None }),
        // Neither paid nor unpaid.
        (OK, json!({"confirmed": true, "success_trans_id": 9, "status_code": "17"}), unclear("17")),
        (CLOSED, json!({"confirmed": true, "success_trans_id": 9, "status_code": "1\n7"}), unclear("1?7")),
        (OK, json!({"confirmed": true, "success_trans_id": 9, "status_code": {}}), unclear("unreadable")),
        (OK, json!({"confirmed": true, "status_code": "0"}), unclear("confirmed without success_trans_id")),
        (OK, json!({"success_trans_id": 9}), unclear("success_trans_id without confirmed")),
        (CLOSED, json!({"success_trans_id": 9}), unclear("success_trans_id without confirmed")),
        (CLOSED, json!({"success_trans_id": "T-9"}), unclear("unreadable success_trans_id")),
        (OK, json!({"confirmed": true, "success_trans_id": -9}), unclear("unreadable success_trans_id")),
    ] {
        assert_eq!(state_with(code, changes.clone()), expected, "{code} {changes}");
    }
}

#[test]
fn an_answer_that_does_not_say_it_clearly_is_an_unknown_outcome() {
    for (body, expected) in [
        (r#"{"result":{"code":"STPIMS-ERR-092"}}"#, "no store_transaction, code STPIMS-ERR-092"),
        (
            r#"{"result":{"code":"STPIMS-ERR-092"},"store_transaction":null}"#,
            "no store_transaction, code STPIMS-ERR-092",
        ),
        (r#"{"result":{"code":"OK"},"store_transaction":[]}"#, "no store_transaction, code OK"),
        (r#"{"store_transaction":{"trans_id":14500001}}"#, "no result.code"),
        (r#"{"fault":{"code":900901,"message":"Invalid Credentials"}}"#, "no result.code"),
        ("[]", "no result.code"),
        (r#"{"status":{"code":"-999999","message":"System error"}}"#, "code -999999, outside of `result`"),
        (r#"{"status":{"code":0},"store_transaction":{"trans_id":14500001}}"#, "code 0, outside of `result`"),
        ("<html>", "an answer that is no JSON"),
        (
            r#"{"result":{"code":"OK"},"store_transaction":{"trans_id":14500002}}"#,
            "an answer about another transaction",
        ),
        (r#"{"result":{"code":"OK"},"store_transaction":{}}"#, "an answer about another transaction"),
        (r#"{"result":{"code":"OK"},"store_transaction":{"trans_id":"14500001"}}"#, "no account"),
        (r#"{"result":{"code":"OK"},"store_transaction":{"trans_id":14500001,"account":333}}"#, "no amount"),
        (
            r#"{"result":{"code":"OK"},"store_transaction":{"trans_id":14500001,"account":333,"amount":1.5}}"#,
            "no amount",
        ),
        (
            r#"{"result":{"code":"OK"},"store_transaction":{"trans_id":14500001,"account":333,"amount":"10200"}}"#,
            "no `confirmed`",
        ),
        (r#"{"result":{"code":"<b>\u0007боль"}}"#, "code <b>?????"),
    ] {
        let answer = report(body);

        let Err(GatewayError::OutcomeUnknown { fault, .. }) = answer else { panic!("{body}: {answer:?}") };
        assert_eq!(fault.to_string(), expected, "{body}");
    }
}

#[test]
fn final_codes_are_refusals_and_all_others_are_unknown() {
    for number in 0..1_000 {
        let code = format!("STPIMS-ERR-{number:03}");
        let body = json!({"result": {"code": code}}).to_string();
        let is_final = [3, 5, 8, 9, 61, 80, 102, 117].contains(&number);

        for refused in [
            report(&body).is_err_and(|error| matches!(error, GatewayError::Refused { .. })),
            read_created(body.as_bytes()).is_err_and(|error| matches!(error, GatewayError::Refused { .. })),
        ] {
            assert_eq!(refused, is_final, "{code}");
        }
    }
}

#[test]
fn a_draft_without_one_clear_id_is_no_draft() {
    for (body, id) in [
        (json!({"result": {"code": "OK"}, "transaction_id": "7"}), Some(7)),
        (json!({"result": {"code": "OK"}, "store_transaction": {"trans_id": 7}}), Some(7)),
        (json!({"result": {"code": "OK"}, "transaction_id": 7, "store_transaction": {"trans_id": "7"}}), Some(7)),
        (json!({"result": {"code": "OK"}, "transaction_id": 7, "store_transaction": {"trans_id": 8}}), None),
        (json!({"result": {"code": "OK"}, "transaction_id": 0}), None),
        (json!({"result": {"code": "OK"}, "transaction_id": -7}), None),
        (json!({"result": {"code": "OK"}, "transaction_id": 7.5}), None),
        (json!({"result": {"code": "OK"}, "transaction_id": null, "store_transaction": {"trans_id": 7}}), Some(7)),
        (json!({"result": {"code": "OK"}, "transaction_id": "T-7", "store_transaction": {"trans_id": 7}}), None),
        (json!({"result": {"code": "OK"}, "transaction_id": 7, "store_transaction": {"trans_id": {}}}), None),
        (json!({"result": {"code": "OK"}}), None),
        (json!({"result": {"code": "STPIMS-ERR-092"}, "transaction_id": 7}), None),
        (json!({"transaction_id": 7}), None),
    ] {
        let draft = read_created(body.to_string().as_bytes());

        assert_eq!(draft.ok().map(|draft| draft.transaction_id.0), id, "{body}");
    }
}

/// A gateway whose amounts went through a float writes `5000.00`, and callbacks of real ones do so. What is read through a
/// float here in turn may be another number.
#[test]
fn a_whole_number_may_have_a_fraction_of_zeros_and_is_read_without_a_float() {
    let about = |amount: &str| {
        r#"{"result":{"code":"OK"},"store_transaction":{"success_trans_id":2050001.00,"trans_id":14500001.0,
        "store":{"id":417.0},"account":333.0,"amount":AMOUNT,"confirmed":true,"status_code":0.0}}"#
            .replace("AMOUNT", amount)
    };
    for (amount, expected) in [
        ("10200", Some(10_200)),
        ("10200.0", Some(10_200)),
        ("10200.00", Some(10_200)),
        (r#""10200.00""#, Some(10_200)),
        ("9007199254740993.0", Some(9_007_199_254_740_993)), // a float would make it …992
        ("10200.01", None),
        ("10200.00000000000000000001", None),
        ("1.02e4", None),
        (r#""10200.""#, None),
        (r#"".00""#, None),
    ] {
        let read = report(&about(amount));

        assert_eq!(read.as_ref().ok().map(|report| report.amount), expected, "{amount}: {read:?}");
        let Ok(report) = read else { continue };
        assert_eq!((report.account.as_str(), report.store_id.as_deref()), ("333", Some("417")));
        assert_eq!(report.state, TransactionState::Debited { success_transaction_id: TransactionId(2_050_001) });
    }
    let created = read_created(br#"{"result":{"code":"OK"},"transaction_id":14500001.00}"#);
    assert_eq!(created.unwrap(), Draft { transaction_id: ASKED });
}
