//! Our links and signatures beside those of foreign libraries, which are taken from PyPI and not changed.
//!
//! No library there knows Atmos: its link is only read by Python's own parser. `TASDIQ_TEST_FOREIGN_SEED` repeats a run.

mod calls;
mod libraries;
mod orders;

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use config::defaults;
use domain::id::TransactionId;
use domain::order::{GatewayIdentity, PaymentType};
use domain::secret::Secret;
use gateway::atmos::{AtmosGateway, AtmosSettings};
use gateway::click::{ClickFault, ClickGateway, ClickSettings, ClickStep};
use gateway::coordination::{CoordinatedAccount, Coordination};
use gateway::payme::{PaymeGateway, PaymeSettings};
use serde_json::{Value, json};
use url::Url;

use self::calls::RandomCall;
use self::libraries::answers;
use self::orders::{RandomOrder, seeded};

/// How many orders, Prepares and Completes are compared.
const EACH: usize = 1_000;

/// What a link says, by name.
type Said = BTreeMap<String, String>;

/// A value that stands twice is a failure: two readers may see two different payments.
fn said(pairs: impl IntoIterator<Item = (String, String)>) -> Said {
    let mut said = Said::new();
    for (name, value) in pairs {
        let earlier = said.insert(name.clone(), value);
        assert_eq!(earlier, None, "{name} stands twice");
    }
    said
}

/// The page of Payme, without a path.
const PAYME_PAGE: &str = "https://checkout.paycom.uz";

/// What a Payme link says in Base64, which has the slash among its digits: pairs between semicolons.
fn read_payme_link(link: &str) -> Said {
    let coded =
        link.strip_prefix(PAYME_PAGE).and_then(|path| path.strip_prefix('/')).unwrap_or_else(|| panic!("{link}"));
    let text = String::from_utf8(BASE64_STANDARD.decode(coded).unwrap()).unwrap();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair:?} is no pair of {text}"));
        (name.to_owned(), value.to_owned())
    };
    said(text.split(';').map(pair))
}

/// The page of a link, and what its query says.
fn read_query_link(link: &str) -> (String, Said) {
    let url: Url = link.parse().unwrap();
    assert_eq!(url.fragment(), None, "{link}");
    let said = said(url.query_pairs().into_owned());
    (link.split_once('?').unwrap().0.to_owned(), said)
}

/// Soʻm with at most two decimals as whole tiyin.
fn tiyin(som: &str) -> i64 {
    let (whole, decimals) = som.split_once('.').unwrap_or((som, ""));
    assert!(decimals.len() <= 2, "{som}");
    format!("{whole}{decimals:0<2}").parse().unwrap()
}

#[test]
fn a_payme_link_says_what_a_foreign_library_writes() {
    let (seed, mut random) = seeded("Payme links");
    let orders = RandomOrder::some(&mut random, EACH);
    let questions = orders.iter().map(|order| {
        json!({
            "question": "payme_link",
            "cashbox": order.cashbox,
            "account_field": order.account_field,
            "order": order.id.to_string(),
            "amount_tiyin": order.amount.get(),
            "language": order.language.as_str(),
            // The library leaves an address as it is, so a semicolon would end it.
            "return_url": order.return_url.replace(';', "%3B"),
        })
    });

    for (order, foreign) in orders.iter().zip(answers(questions)) {
        let settings = PaymeSettings {
            cashbox_id: order.cashbox.clone(),
            account_field: order.account_field.clone(),
            checkout_url: PAYME_PAGE.parse().unwrap(),
            ..defaults().unwrap()
        };
        let gateway = PaymeGateway::new(settings.clone(), alone(PaymentType::Payme, settings.identity()));
        let ours = gateway.local_link(order.id, order.amount, order.language, &order.return_url);

        let mut ours = read_payme_link(&ours);
        // How long Payme shows its receipt; the library cannot say it.
        assert!(ours.remove("ct").is_some(), "seed {seed}: {order:?}");
        assert_eq!(ours, read_payme_link(foreign.as_str().unwrap()), "seed {seed}: {order:?}");
    }
}

#[test]
fn a_click_link_says_what_a_foreign_library_writes() {
    let (seed, mut random) = seeded("Click links");
    let orders = RandomOrder::some(&mut random, EACH);
    let questions = orders.iter().map(|order| {
        json!({
            "question": "click_link",
            "service": order.service,
            "merchant": order.merchant,
            "order": order.id.to_string(),
            "amount_tiyin": order.amount.get(),
            "return_url": order.return_url,
        })
    });
    // The library writes 1000.0 for 1000.00.
    let amount_as_tiyin = |(page, mut said): (String, Said)| {
        let amount = tiyin(&said.remove("amount").unwrap());
        (page, amount, said)
    };

    for (order, foreign) in orders.iter().zip(answers(questions)) {
        let settings = ClickSettings {
            service_id: order.service.to_string(),
            merchant_id: order.merchant.to_string(),
            pay_url: "https://my.click.uz".parse().unwrap(),
            ..defaults().unwrap()
        };
        let ours = click(settings).local_link(order.id, order.amount, &order.return_url);

        let [ours, foreign] = [&ours, foreign.as_str().unwrap()].map(|link| amount_as_tiyin(read_query_link(link)));
        assert_eq!(ours, foreign, "seed {seed}: {order:?}");
    }
}

/// It is the weaker comparison: there is no library that writes such a link.
#[test]
fn python_reads_in_an_atmos_link_what_we_wrote() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (seed, mut random) = seeded("Atmos links");
    let orders = RandomOrder::some(&mut random, EACH);
    let links = orders.iter().map(|order| {
        let checkout_url = "https://checkout.pays.uz".parse().unwrap();
        let settings = AtmosSettings { store_id: order.service.to_string(), checkout_url, ..defaults().unwrap() };
        let gateway = AtmosGateway::new(settings.clone(), alone(PaymentType::Atmos, settings.identity())).unwrap();
        gateway.payment_url(TransactionId(order.id.0), &order.return_url)
    });
    let questions = links.map(|link| json!({ "question": "read_by_python", "link": link }));

    for (order, read) in orders.iter().zip(answers(questions)) {
        let expected = json!({
            "page": "https://checkout.pays.uz/invoice/get",
            "said": [
                ["storeId", order.service.to_string()],
                ["transactionId", order.id.to_string()],
                ["redirectLink", order.return_url],
            ],
        });
        assert_eq!(read, expected, "seed {seed}: {order:?}");
    }
}

/// Two libraries take part: one signs each call, the other judges it beside us. Half of the calls are changed after the first
/// has signed, most of them so that the signature no longer fits.
#[test]
fn foreign_libraries_and_we_agree_on_whether_a_call_of_click_is_signed() {
    let (seed, mut random) = seeded("Click calls");
    let mut calls = RandomCall::some(&mut random, 2 * EACH);
    let signatures = answers(calls.iter().map(RandomCall::question_for_signature));
    for (call, signature) in calls.iter_mut().zip(signatures) {
        call.sign(signature.as_str().unwrap());
    }
    let judgements = answers(calls.iter().map(RandomCall::question_for_judgement));

    let mut signed = [0, 0];
    for (call, judgement) in calls.iter().zip(judgements) {
        let settings = ClickSettings {
            service_id: call.sent["service_id"].clone(),
            secret_keys: vec![Secret::new(call.key.clone())],
            ..defaults().unwrap()
        };
        let gateway = click(settings);
        let read = ClickGateway::read_call(&[&gateway], &call.body());

        let ours = match &read {
            Ok((_, read)) => {
                assert_eq!(read.external_id, call.sent["click_trans_id"], "seed {seed}: {call:?}");
                assert_eq!(read.account, call.sent["merchant_trans_id"], "seed {seed}: {call:?}");
                assert_eq!(read.amount, Some(tiyin(&call.sent["amount"])), "seed {seed}: {call:?}");
                let is_complete = matches!(read.step, ClickStep::Complete { .. });
                assert_eq!(is_complete, call.is_complete(), "seed {seed}: {call:?}");
                true
            }
            Err((ClickFault::BadlySigned, _)) => false,
            Err((fault, _)) => panic!("{fault:?}, seed {seed}: {call:?}"),
        };
        assert_eq!(Value::Bool(ours), judgement, "seed {seed}: {call:?}");
        assert_eq!(ours, call.is_signed(), "seed {seed}: {call:?}");
        signed[usize::from(ours)] += 1;
    }
    // Each verdict was given often.
    assert!(signed.iter().all(|count| *count > EACH / 5), "seed {seed}: {signed:?}");
}

/// The admission of an account whose calls this test does not make.
fn alone(payment_type: PaymentType, identity: GatewayIdentity) -> Coordination {
    Coordination::local(CoordinatedAccount::new(payment_type, identity), None)
}

fn click(settings: ClickSettings) -> ClickGateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ClickGateway::new(settings.clone(), alone(PaymentType::Click, settings.identity())).unwrap()
}
