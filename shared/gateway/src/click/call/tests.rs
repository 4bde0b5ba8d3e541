use proptest::prelude::*;

use super::*;

const KEYS: &str = "SECRET123";

fn settings(service_id: &str) -> ClickSettings {
    use domain::secret::Secret;
    ClickSettings {
        service_id: service_id.to_owned(),
        secret_keys: vec![Secret::new("another"), Secret::new(KEYS)],
        ..config::defaults().unwrap()
    }
}

/// The fields of a call, in the order of the documents.
#[derive(Clone)]
struct Written(Vec<(&'static str, String)>);

impl Written {
    fn prepare() -> Self {
        let fields = [
            ("click_trans_id", "3737503"),
            ("service_id", "12345"),
            ("click_paydoc_id", "998877"),
            ("merchant_trans_id", "197"),
            ("amount", "1000.00"),
            ("action", "0"),
            ("error", "0"),
            ("error_note", "Success"),
            ("sign_time", "2026-08-22 14:03:11"),
        ];
        Written(fields.map(|(name, value)| (name, value.to_owned())).to_vec())
    }

    fn complete() -> Self {
        let mut complete = Written::prepare().with("action", "1");
        complete.0.push(("merchant_prepare_id", "778".to_owned()));
        complete
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    fn signed(self, key: &str) -> Self {
        use domain::secret::Secret;
        let sign = sign::signature(
            SignedFields {
                click_trans_id: self.get("click_trans_id"),
                service_id: self.get("service_id"),
                merchant_trans_id: self.get("merchant_trans_id"),
                merchant_prepare_id: (self.get("action") == "1").then(|| self.get("merchant_prepare_id")),
                amount: self.get("amount"),
                action: self.get("action"),
                sign_time: self.get("sign_time"),
            },
            &Secret::new(key),
        );
        self.with("sign_string", &sign)
    }

    fn form(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// With numbers as JSON numbers, their digits kept.
    fn json(&self) -> String {
        let is_number = |text: &str| serde_json::from_str::<serde_json::Number>(text).is_ok();
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| match is_number(value) {
                true => format!("\"{name}\": {value}"),
                false => format!("\"{name}\": {}", serde_json::to_string(value).unwrap()),
            })
            .collect();
        format!("{{{}}}", members.join(", "))
    }
}

fn read_as(service: &str, body: &str) -> Result<ClickCall, ClickFault> {
    read(&[&settings("1"), &settings(service)], body.as_bytes()).map(|(_, call)| call).map_err(|(fault, _)| fault)
}

fn read_it(written: &Written) -> Result<ClickCall, ClickFault> {
    let call = read_as("12345", &written.form());
    assert_eq!(read_as("12345", &written.json()), call, "as JSON");
    call
}

#[test]
fn a_prepare_is_read_as_a_form_and_as_json() {
    let call = read_it(&Written::prepare().signed(KEYS)).unwrap();

    assert_eq!((call.external_id.as_str(), call.account.as_str(), call.amount), ("3737503", "197", Some(100_000)));
    assert_eq!(call.step, ClickStep::Prepare);
    assert_eq!(call.signed_at_ms, Some(1_787_389_391_000), "14:03:11 in Tashkent is 09:03:11 UTC");
}

#[test]
fn a_complete_tells_what_became_of_the_payment() {
    let told = |error: &str| read_it(&Written::complete().with("error", error).signed(KEYS)).unwrap().step;
    let transaction_id = Some(TransactionId(778));

    assert_eq!(told("0"), ClickStep::Complete { transaction_id, outcome: ToldOutcome::Debited });
    let outcome = ToldOutcome::Failed { code: -5_017 };
    assert_eq!(told("-5017"), ClickStep::Complete { transaction_id, outcome });
}

/// Shops that parse the amount and print it again before the hash lose payments when Click writes it otherwise.
/// What is allowed holds the order, and nobody would pay it.
#[test]
fn a_prepare_that_says_that_its_payment_failed_is_refused() {
    for error in ["-1", "-5017"] {
        let read = read_it(&Written::prepare().with("error", error).signed(KEYS));
        assert_eq!(read.map(|call| call.step), Err(ClickFault::FailedBeforeDebit), "{error}");
    }
}

#[test]
fn the_signature_is_over_the_amount_as_it_was_written() {
    for amount in ["1000", "1000.0", "1000.00"] {
        assert_eq!(read_it(&Written::prepare().with("amount", amount).signed(KEYS)).unwrap().amount, Some(100_000));
    }
    let resigned = Written::prepare().signed(KEYS).with("amount", "1000");
    assert_eq!(read_it(&resigned), Err(ClickFault::BadlySigned));
}

#[test]
fn a_call_without_a_field_is_faulty_whoever_signed_it() {
    for name in READ {
        let call = read_it(&Written::complete().signed(KEYS).without(name));

        // Without `action` it is no Complete, and its signature fits nothing.
        assert_eq!(call, Err(ClickFault::Unreadable), "{name}");
    }
    assert!(read_it(&Written::prepare().signed(KEYS).without("click_paydoc_id").without("error_note")).is_ok());
}

#[test]
fn a_field_of_another_type_is_faulty() {
    for (name, value) in [
        ("click_trans_id", "x"),
        ("click_trans_id", "007"),
        ("click_trans_id", "-7"),
        ("click_trans_id", "99999999999999999999"),
        ("service_id", "x"),
        ("amount", "a thousand"),
        ("amount", "1e3"),
        ("error", "no"),
        ("error", "5"),
        ("error", ""),
    ] {
        assert_eq!(
            read_it(&Written::complete().with(name, value).signed(KEYS)),
            Err(ClickFault::Unreadable),
            "{name}={value}"
        );
    }
}

#[test]
fn a_bad_signature_is_refused_and_upper_case_is_not_bad() {
    let signed = Written::prepare().signed(KEYS);
    let upper = signed.get("sign_string").to_ascii_uppercase();

    assert!(read_it(&signed.clone().with("sign_string", &upper)).is_ok());
    assert!(read_it(&Written::prepare().signed("another")).is_ok(), "two keys during a rotation");
    for sign in ["", "x", &upper[1..]] {
        assert_eq!(read_it(&signed.clone().with("sign_string", sign)), Err(ClickFault::BadlySigned));
    }
    for (name, value) in
        [("click_trans_id", "3737504"), ("merchant_trans_id", "198"), ("amount", "1.00"), ("action", "1")]
    {
        let changed = signed.clone().with("merchant_prepare_id", "778").with(name, value);
        assert_eq!(read_it(&changed), Err(ClickFault::BadlySigned), "{name}");
    }
}

#[test]
fn another_action_is_told_so_only_to_a_sender_with_the_key() {
    for action in ["2", "-1", "00", "prepare"] {
        assert_eq!(read_it(&Written::prepare().with("action", action).signed(KEYS)), Err(ClickFault::UnknownAction));
        assert_eq!(read_it(&Written::prepare().with("action", action).signed("forged")), Err(ClickFault::BadlySigned));
    }
}

#[test]
fn a_foreign_service_is_faulty_and_it_is_known_whether_our_key_signed_it() {
    let foreign = |key: &str| read_as("54321", &Written::prepare().signed(key).form());

    assert_eq!(foreign(KEYS), Err(ClickFault::ForeignService { is_signed: true }));
    assert_eq!(foreign("forged"), Err(ClickFault::ForeignService { is_signed: false }));
}

/// The fields are joined without a separator; only comparing each with our rows closes it.
#[test]
fn a_digit_slid_from_order_to_amount_is_read_as_it_stands() {
    let honest = Written::prepare().with("merchant_trans_id", "71").with("amount", "1000.00").signed(KEYS);
    let slid = honest.with("merchant_trans_id", "7").with("amount", "11000.00");

    let call = read_it(&slid).unwrap();

    assert_eq!((call.account.as_str(), call.amount), ("7", Some(1_100_000)));
}

/// No signature covers `error`, so a sender that has one call could otherwise make a new row with each number.
#[test]
fn a_call_with_another_error_of_the_same_meaning_is_the_same_question() {
    let question =
        |error: &str| read_it(&Written::complete().with("error", error).signed(KEYS)).unwrap().question().to_owned();

    assert_eq!(question("-1"), question("-5017"));
    assert_ne!(question("0"), question("-1"));
}

#[test]
fn the_ids_are_repeated_as_far_as_they_can_be_read() {
    let ids = |body: &str| read(&[&settings("12345")], body.as_bytes()).unwrap_err().1;

    assert_eq!(ids("not a call"), CalledIds::default());
    let read = ids(&Written::complete().signed(KEYS).without("amount").form());
    assert_eq!((read.click_trans_id.as_deref(), read.merchant_trans_id.as_deref()), (Some("3737503"), Some("197")));
    assert!(read.is_complete);
    assert_eq!(ids(&Written::prepare().with("click_trans_id", &"9".repeat(256)).form()).click_trans_id, None);
}

#[test]
fn a_doubled_or_nested_field_is_faulty() {
    let signed = Written::prepare().signed(KEYS);

    assert_eq!(read_as("12345", &format!("{}&amount=1.00", signed.form())), Err(ClickFault::Unreadable));
    let nested = signed.json().replace("\"197\"", "[197]").replace(": 197,", ": [197],");
    assert_eq!(read_as("12345", &nested), Err(ClickFault::Unreadable));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&[&settings("12345")], &bytes);
    }

    #[test]
    fn a_signed_call_is_read_back(id in 0..i64::MAX, order in 1..i64::MAX, tiyin in 1..=1_000_000_000_000_i64) {
        let written = Written::prepare()
            .with("click_trans_id", &id.to_string())
            .with("merchant_trans_id", &order.to_string())
            .with("amount", &domain::money::som(tiyin));
        let call = read_it(&written.signed(KEYS)).unwrap();
        prop_assert_eq!(call.external_id, id.to_string());
        prop_assert_eq!(call.account, order.to_string());
        prop_assert_eq!(call.amount, Some(tiyin));
    }
}
