use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::atmos::{SignAlgorithm, tests::config};

/// The documented body, as it stands in a ticket of the gateway's support, with the key `test_api_key`.
const BODY: &str = r#"{"store_id":"1234","transaction_id":"202072","transaction_time":"1656326529324","amount":"5000000","account":"12345","sign":"81cf2d62ac965a94cda887ae406d37d4"}"#;

fn read(body: &str) -> Result<Callback, CallbackFault> {
    read_as(&config("http://127.0.0.1:1"), body.as_bytes())
}

/// Reads a callback as the only account.
fn read_as(account: &AtmosSettings, body: &[u8]) -> Result<Callback, CallbackFault> {
    super::read(&[account], body).map(|(_, callback)| callback)
}

fn expected() -> Callback {
    Callback {
        store_id: "1234".to_owned(),
        transaction_id: Some(TransactionId(202_072)),
        account: Some("12345".to_owned()),
        amount: Some(5_000_000),
        signature: "81cf2d62ac965a94cda887ae406d37d4".to_owned(),
    }
}

/// The question of a body, whatever key signed it.
fn claimed(body: &str) -> Result<Callback, CallbackFault> {
    read(body).map(|callback| Callback { signature: expected().signature, ..callback })
}

/// `BODY` with one part of it replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(BODY.contains(from), "{from}");
    BODY.replace(from, to)
}

#[test]
fn the_documented_callback_is_read() {
    assert_eq!(read(BODY), Ok(expected()));
}

#[test]
fn every_shape_that_integrations_report_is_read() {
    let in_a_form = |name: &str| url::form_urlencoded::Serializer::new(String::new()).append_pair(name, BODY).finish();
    for body in [
        changed(r#""account""#, r#""invoice""#),
        changed(r#""account":"12345""#, r#""account":"12345","invoice":"12345""#),
        changed(r#""account":"12345""#, r#""account":null,"invoice":"12345""#),
        changed(r#""5000000""#, "5000000"),
        changed(r#""202072""#, "202072"),
        changed(r#""1234""#, "1234").replace(r#""12345""#, "12345"),
        changed(r#""1234""#, r#""\u0031234""#),
        changed("81cf2d62ac965a94cda887ae406d37d4", "81CF2D62AC965A94CDA887AE406D37D4"),
        changed(r#"{"store_id""#, r#"{"is_test":true,"note":null,"ratio":1.50,"store_id""#),
        changed(",", " ,\r\n\t"),
        // A mark before it, as some writers of UTF-8 put it.
        format!("\u{feff}{BODY}"),
        url::form_urlencoded::Serializer::new(String::new()).append_pair("data", &format!("\u{feff}{BODY}")).finish(),
        // Additions that we know nothing of.
        changed(r#"{"store_id""#, r#"{"payer":{"cards":[{"pan":null}]},"steps":[[1],{}],"note":1,"note":2,"store_id""#),
        changed(r#""1656326529324""#, "{}"),
        in_a_form("data"),
        url::form_urlencoded::byte_serialize(BODY.as_bytes()).collect(),
        "store_id=1234&transaction_id=202072&amount=5000000&account=12345&sign=81cf2d62ac965a94cda887ae406d37d4"
            .to_owned(),
        "\u{feff}store_id=1234&x=1&x=2&transaction_id=202072&amount=5000000&account=12345&sign=81cf2d62ac965a94cda887ae406d37d4"
            .to_owned(),
    ] {
        assert_eq!(read(&body), Ok(expected()), "{body}");
    }
}

#[test]
fn a_changed_callback_does_not_fit_its_signature() {
    for body in [
        changed(r#""5000000""#, r#""5000001""#),
        changed(r#""5000000""#, "5000000.0"),
        changed(r#""5000000""#, "5e6"),
        changed(r#""202072""#, r#""202073""#),
        changed(r#""12345""#, r#""12346""#),
        changed(r#""1234""#, r#""1235""#),
        changed("81cf2d62", "81cf2d63"),
        changed("81cf2d62ac965a94cda887ae406d37d4", ""),
        changed("81cf2d62ac965a94cda887ae406d37d4", "81cf2d62"),
        changed(r#""81cf2d62ac965a94cda887ae406d37d4""#, "true"),
        changed(r#""81cf2d62ac965a94cda887ae406d37d4""#, "null"),
        changed(r#","sign":"81cf2d62ac965a94cda887ae406d37d4""#, ""),
    ] {
        assert_eq!(read(&body), Err(CallbackFault::BadlySigned), "{body}");
    }
}

#[test]
fn what_is_no_callback_is_unreadable() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "<html>",
        "a=1&b=2",
        &deep,
        &format!(r#"{{"store_id":{deep}"#),
        &changed(r#""store_id":"1234","#, ""),
        &changed(r#""account":"12345","#, ""),
        &changed(r#""amount":"5000000","#, ""),
        &changed(r#""202072""#, "null"),
        &changed(r#""202072""#, "true"),
        &changed(r#""12345""#, r#"{"id":12345}"#),
        &changed(r#""12345""#, r#"["12345"]"#),
        &changed(r#""sign":""#, r#""sign":[],"Sign":""#),
        &changed(r#""amount":"5000000""#, r#""amount":"5000000","amount":"1""#),
        &changed(r#""amount":"5000000""#, r#""amount":"5000000","\u0061mount":"5000000""#),
        &changed(r#""12345""#, r#""\ud800""#),
        // In a field that is not read, too: it is no JSON text.
        &changed(r#""amount":"5000000""#, r#""amount":"5000000","note":"\ud800""#),
        &BODY[..BODY.len() - 1],
        &format!("{BODY}{BODY}"),
        "store_id=1234&store_id=1234&transaction_id=202072&amount=5000000&account=12345&sign=81cf2d62ac965a94cda887ae406d37d4",
    ] {
        assert_eq!(read(body), Err(CallbackFault::Unreadable), "{}", &body[..body.len().min(200)]);
    }
    assert_eq!(read_as(&config("http://127.0.0.1:1"), &[0xff, 0xfe, b'{']), Err(CallbackFault::Unreadable));
}

/// `BODY` with these words in it, rightly signed.
fn signed([store_id, transaction_id, account, amount]: [&str; 4]) -> String {
    let words = SignedWords { store_id, transaction_id, account, amount };
    let sign = sign::signature(SignAlgorithm::Md5, words, &Secret::new("test_api_key"));
    json!({"store_id": store_id, "transaction_id": transaction_id, "account": account, "amount": amount, "sign": sign})
        .to_string()
}

/// The signature is over the digits as written, and a sender that knows floats only writes `5000000.0`.
#[test]
fn a_rightly_signed_amount_with_zeros_after_the_point_is_that_amount() {
    let body = changed(r#""5000000""#, "5000000.0")
        .replace("81cf2d62ac965a94cda887ae406d37d4", "fbacee95c46195f0573d7e34177d5b91");

    assert_eq!(claimed(&body), Ok(expected()));
    assert_eq!(claimed(&signed(["1234", "202072.00", "12345", "05000000"])), Ok(expected()));
}

/// With a correct signature it is a callback, and a person must see it; but no order has such an amount.
#[test]
fn a_rightly_signed_amount_that_is_no_whole_number_is_no_orders_amount() {
    for amount in [
        "5e6",
        "+5000000",
        "-5000000",
        "5000000.5",
        "5000000.",
        ".0",
        "",
        " 5000000",
        "٥",
        "0x4c4b40",
        "9".repeat(19).as_str(),
    ] {
        let callback = claimed(&signed(["1234", "202072", "12345", amount]));
        assert_eq!(callback, Ok(Callback { amount: None, ..expected() }), "{amount}");
        let callback = claimed(&signed(["1234", amount, "12345", "5000000"]));
        assert_eq!(callback, Ok(Callback { transaction_id: None, ..expected() }), "{amount}");
    }
}

/// The part that differs is not signed: everyone who has seen one such body can make many more.
#[test]
fn bodies_that_differ_only_in_what_is_not_signed_ask_the_same() {
    let question = |body: &str| read(body).unwrap().question();
    let asked = question(BODY);

    for body in [
        changed("1656326529324", "1656326529325"),
        changed(r#"{"store_id""#, r#"{"note":1,"store_id""#),
        changed(r#""5000000""#, "5000000"),
        changed("81cf2d62ac965a94cda887ae406d37d4", "81CF2D62AC965A94CDA887AE406D37D4"),
    ] {
        assert_eq!(question(&body), asked, "{body}");
    }
    for words in [["1234", "20207", "212345", "5000000"], ["1234", "202072", "1234", "55000000"]] {
        let slid = changed(r#""202072""#, &format!("{:?}", words[1]))
            .replace(r#""12345""#, &format!("{:?}", words[2]))
            .replace(r#""5000000""#, &format!("{:?}", words[3]));
        assert_ne!(question(&slid), asked, "{slid}");
    }
    assert_ne!(question(&signed(["1234", "202072", "12345", "5000000.0"])), asked, "signed as another number");
}

#[test]
fn a_body_that_names_two_accounts_names_none_whichever_is_signed() {
    for names in [r#""account":"12345","invoice":"12346""#, r#""account":"12346","invoice":"12345""#] {
        let body = changed(r#""account":"12345""#, names);

        assert_eq!(read(&body), Ok(Callback { account: None, ..expected() }), "{body}");
        assert_eq!(read(&body.replace("202072", "202073")), Err(CallbackFault::BadlySigned));
    }
}

/// The signature fits, and that is why the caller compares account and amount with the order's own.
#[test]
fn a_digit_slid_from_account_to_amount_is_read_as_it_stands() {
    let body = changed(r#""12345""#, r#""1234""#).replace(r#""5000000""#, r#""55000000""#);

    let callback = read(&body).unwrap();

    assert_eq!((callback.account.as_deref(), callback.amount), (Some("1234"), Some(55_000_000)));
}

#[test]
fn a_signed_callback_has_the_documented_shape() {
    let body = write(&config("http://127.0.0.1:1"), TransactionId(202_072), "12345", 5_000_000);

    let mut body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let time: u64 = body["transaction_time"].as_str().unwrap().parse().unwrap();
    assert!(time > 1_700_000_000_000, "milliseconds, not {time}");
    body["transaction_time"] = json!("1656326529324");
    assert_eq!(body, serde_json::from_str::<serde_json::Value>(BODY).unwrap());
}

proptest! {
    #[test]
    fn a_signed_callback_is_read_back(
        transaction in 1i64.., account in "[0-9a-zA-Zа-я\"\\\\ -]{1,40}", amount in 1i64.., sha in any::<bool>(),
    ) {
        let sign_algorithm = if sha { SignAlgorithm::Sha256 } else { SignAlgorithm::Md5 };
        let config = AtmosSettings { sign_algorithm, ..config("http://127.0.0.1:1") };

        let body = write(&config, TransactionId(transaction), &account, amount);

        let read = read_as(&config, body.as_bytes()).unwrap();
        let expected = Callback {
            store_id: "1234".to_owned(),
            transaction_id: Some(TransactionId(transaction)),
            account: Some(account),
            amount: Some(amount),
            signature: read.signature.clone(),
        };
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_callback_signed_by_a_stranger_is_refused(key in "[a-z]{1,20}") {
        let ours = config("http://127.0.0.1:1");
        let theirs = AtmosSettings { api_keys: vec![Secret::new(key)], ..config("http://127.0.0.1:1") };

        let body = write(&theirs, TransactionId(7), "1", 100);

        prop_assert_eq!(read_as(&ours, body.as_bytes()), Err(CallbackFault::BadlySigned));
    }

    #[test]
    fn no_bytes_are_too_strange_to_read(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_as(&config("http://127.0.0.1:1"), &body).is_err());
    }
}

/// The account of this store, with this key.
fn account(store_id: &str, key: &str) -> AtmosSettings {
    AtmosSettings { store_id: store_id.to_owned(), api_keys: vec![Secret::new(key)], ..config("http://127.0.0.1:1") }
}

#[test]
fn a_callback_belongs_to_the_account_whose_store_it_names_and_only_its_key_signs_it() {
    let (first, second) = (account("1", "first key"), account("2", "second key"));
    let accounts = [&first, &second];
    for (place, signer) in accounts.into_iter().enumerate() {
        let body = write(signer, TransactionId(7), "3", 100);

        let (read_by, callback) = super::read(&accounts, body.as_bytes()).unwrap();

        assert_eq!((read_by, callback.store_id.as_str()), (place, signer.store_id.as_str()));
    }

    let with_the_other_key = write(&account("1", "second key"), TransactionId(7), "3", 100);
    assert_eq!(super::read(&accounts, with_the_other_key.as_bytes()), Err(CallbackFault::BadlySigned));
}

#[test]
fn a_callback_that_names_no_store_of_ours_belongs_to_the_account_that_signed_it() {
    let (first, second) = (account("1", "first key"), account("2", "second key"));
    let of_another_store = |key| write(&account("3", key), TransactionId(7), "3", 100);

    let (read_by, callback) = super::read(&[&first, &second], of_another_store("second key").as_bytes()).unwrap();
    assert_eq!((read_by, callback.store_id.as_str()), (1, "3"));

    let by_a_stranger = super::read(&[&first, &second], of_another_store("third key").as_bytes());
    assert_eq!(by_a_stranger, Err(CallbackFault::BadlySigned));
    assert_eq!(super::read(&[], of_another_store("first key").as_bytes()), Err(CallbackFault::BadlySigned));
}
