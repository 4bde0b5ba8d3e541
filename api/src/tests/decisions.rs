//! All cases of a callback in one table: its answer and its record. `docs/internals/callback-decisions.md` has the same
//! table, and a test compares the two.

use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, JobKind};
use domain::order::Order;
use domain::review::{FindingKind, NewFinding};
use gateway::atmos::SignAlgorithm;
use gateway::atmos::callback_message;
use store::callbacks;
use store::jobs;
use store::kinds;
use store::settlement::Settlement;

use self::KeptAs::{Alone, Nothing, WithTheOrder};
use self::OrderSetup::*;
use super::support::{API_KEY, TestApi, gateway_with, gzip};
use crate::tests::signing::{CallbackFields, md5_hex, sha256_hex};
use crate::{AddressCheck, CallbackAddresses};

/// One row of the table.
struct CallbackCase {
    case: &'static str,
    setup: OrderSetup,
    asked: IncomingCallback,
    status: u8,
    verdict: CallbackVerdict,
    kept: KeptAs,
    /// The order's status before and after.
    order: (&'static str, &'static str),
    is_hint: bool,
}

/// The history of the order before the callback comes. The order is number 1, over 50.00 soʻm; its transaction is 700.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderSetup {
    /// Its link was made.
    Linked,
    /// As [`OrderSetup::Linked`], and order 2 with transaction 701 exists too.
    TwoOrders,
    /// The same callback was allowed a moment ago.
    AllowedBefore,
    /// The order has a second transaction, 701, which was allowed.
    OtherAllowed,
    /// By transaction 700.
    Paid,
    /// By transaction 701, the order's second.
    PaidByOther,
    Refunded,
    Canceled,
    /// Its time to pay is over; no inquiry has recorded that yet.
    Late,
    Expired,
    InReview,
}

/// How a callback is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptAs {
    WithTheOrder,
    /// Without an order.
    Alone,
    Nothing,
}

/// The configuration of the installation, the sender, and the body.
struct IncomingCallback {
    algorithm: SignAlgorithm,
    keys: &'static [&'static str],
    check: AddressCheck,
    peer: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: fn() -> String,
}

const GATEWAY: &str = "92.63.207.14";
const STRANGER: &str = "203.0.113.7";
const PROXY: &str = "10.0.0.1";

const fn asked(body: fn() -> String) -> IncomingCallback {
    IncomingCallback {
        algorithm: SignAlgorithm::Md5,
        keys: &[API_KEY],
        check: AddressCheck::Off,
        peer: STRANGER,
        headers: &[],
        body,
    }
}

/// The documented values for order 1 and its transaction.
const RIGHT: CallbackFields = CallbackFields { store_id: "1234", transaction_id: "700", account: "1", amount: "5000" };

fn right() -> String {
    RIGHT.signed()
}

const fn case(
    case: &'static str,
    setup: OrderSetup,
    asked: IncomingCallback,
    (status, verdict): (u8, CallbackVerdict),
    (kept, is_hint): (KeptAs, bool),
    order: (&'static str, &'static str),
) -> CallbackCase {
    CallbackCase { case, setup, asked, status, verdict, kept, order, is_hint }
}

const HINT: (KeptAs, bool) = (WithTheOrder, true);
const NO_HINT: (KeptAs, bool) = (WithTheOrder, false);
const ABOUT_NOTHING: (KeptAs, bool) = (Alone, false);

const ALLOWED: (u8, CallbackVerdict) = (1, CallbackVerdict::Allowed);
const PENDING: (&str, &str) = ("pending", "pending");
const CONFIRMS: (&str, &str) = ("pending", "confirming");

fn refused(verdict: CallbackVerdict) -> (u8, CallbackVerdict) {
    (0, verdict)
}

/// All cases, in the order of the documented table.
fn cases() -> Vec<CallbackCase> {
    use CallbackVerdict::*;
    vec![
        // ---- allowed, in every permitted form
        case("as the gateway sends it", Linked, asked(right), ALLOWED, HINT, CONFIRMS),
        case("numbers instead of strings", Linked, asked(|| RIGHT.as_numbers()), ALLOWED, HINT, CONFIRMS),
        case(
            "`invoice` instead of `account`",
            Linked,
            asked(|| right().replace("\"account\"", "\"invoice\"")),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "`account` and `invoice`, the same",
            Linked,
            asked(|| right().replace("\"account\"", "\"invoice\":\"1\",\"account\"")),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "an upper-case signature",
            Linked,
            asked(|| RIGHT.signed_as(&RIGHT.md5(API_KEY).to_uppercase())),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "signed with SHA-256, `ATMOS_SIGN_ALGORITHM` is `sha256`",
            Linked,
            IncomingCallback { algorithm: SignAlgorithm::Sha256, ..asked(|| RIGHT.signed_as(&RIGHT.sha256(API_KEY))) },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "signed with the second key of `ATMOS_API_KEY`",
            Linked,
            IncomingCallback { keys: &["the-next-key", API_KEY], ..asked(right) },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "amount `5000.0`, signed so",
            Linked,
            asked(|| CallbackFields { amount: "5000.0", ..RIGHT }.as_numbers()),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case("a form instead of JSON", Linked, asked(|| RIGHT.as_form()), ALLOWED, HINT, CONFIRMS),
        case(
            "a form with the JSON in a field",
            Linked,
            asked(|| url::form_urlencoded::Serializer::new(String::new()).append_pair("data", &right()).finish()),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "a wrong content type",
            Linked,
            IncomingCallback { headers: &[("content-type", "image/png")], ..asked(right) },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case("a byte order mark before it", Linked, asked(|| format!("\u{feff}{}", right())), ALLOWED, HINT, CONFIRMS),
        case(
            "compressed with gzip",
            Linked,
            IncomingCallback { headers: &[("content-encoding", "gzip")], ..asked(right) },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "an object in a field that is not documented",
            Linked,
            asked(|| right().replacen('{', "{\"payer\":{\"id\":[1]},", 1)),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "a field that is not documented, twice",
            Linked,
            asked(|| right().replacen('{', "{\"note\":1,\"note\":2,", 1)),
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        // ---- repeated
        case(
            "the same bytes again within 10 s",
            AllowedBefore,
            asked(right),
            ALLOWED,
            NO_HINT,
            ("confirming", "confirming"),
        ),
        case(
            "the same question in other bytes within 10 s",
            AllowedBefore,
            asked(|| right().replace("1656326529324", "1656326529999")),
            ALLOWED,
            NO_HINT,
            ("confirming", "confirming"),
        ),
        case("already paid by this transaction", Paid, asked(right), (1, AlreadyPaid), HINT, ("paid", "paid")),
        case(
            "already paid by another transaction",
            PaidByOther,
            asked(right),
            refused(SecondTransaction),
            HINT,
            ("paid", "paid"),
        ),
        case(
            "another transaction of the order was allowed",
            OtherAllowed,
            asked(right),
            refused(SecondTransaction),
            HINT,
            ("confirming", "confirming"),
        ),
        // ---- too late
        case("the order's time is over", OrderSetup::Late, asked(right), refused(CallbackVerdict::Late), HINT, PENDING),
        case(
            "the order is expired",
            Expired,
            asked(right),
            refused(CallbackVerdict::Late),
            HINT,
            ("expired", "expired"),
        ),
        case("the order is canceled", Canceled, asked(right), refused(NotPayable), HINT, ("canceled", "canceled")),
        case("the order is refunded", Refunded, asked(right), refused(NotPayable), HINT, ("refunded", "refunded")),
        case("the order is in review", InReview, asked(right), refused(NotPayable), HINT, ("review", "review")),
        // ---- correctly signed, but not matching an order of ours
        case(
            "another store",
            Linked,
            asked(|| CallbackFields { store_id: "9999", ..RIGHT }.signed()),
            refused(OtherStore),
            HINT,
            PENDING,
        ),
        case(
            "an unknown order",
            Linked,
            asked(|| CallbackFields { account: "99", ..RIGHT }.signed()),
            refused(OtherAccount),
            HINT,
            PENDING,
        ),
        case(
            "an unknown order and an unknown transaction",
            Linked,
            asked(|| CallbackFields { account: "99", transaction_id: "799", ..RIGHT }.signed()),
            refused(UnknownTransaction),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "our order, and a transaction we never made",
            Linked,
            asked(|| CallbackFields { transaction_id: "799", ..RIGHT }.signed()),
            refused(UnknownTransaction),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "a transaction that is no number",
            Linked,
            asked(|| CallbackFields { transaction_id: "7e2", ..RIGHT }.signed()),
            refused(UnknownTransaction),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "this order's transaction, and another order",
            TwoOrders,
            asked(|| CallbackFields { account: "2", ..RIGHT }.signed()),
            refused(OtherAccount),
            HINT,
            PENDING,
        ),
        case(
            "`account` and `invoice`, different",
            Linked,
            asked(|| right().replace("\"account\"", "\"invoice\":\"2\",\"account\"")),
            refused(OtherAccount),
            HINT,
            PENDING,
        ),
        case(
            "the amount one tiyin more",
            Linked,
            asked(|| CallbackFields { amount: "5001", ..RIGHT }.signed()),
            refused(WrongAmount),
            HINT,
            PENDING,
        ),
        case(
            "the amount in soʻm",
            Linked,
            asked(|| CallbackFields { amount: "50", ..RIGHT }.signed()),
            refused(WrongAmount),
            HINT,
            PENDING,
        ),
        case(
            "the amount below zero",
            Linked,
            asked(|| CallbackFields { amount: "-5000", ..RIGHT }.signed()),
            refused(WrongAmount),
            HINT,
            PENDING,
        ),
        case(
            "the amount as `5e3`, signed so",
            Linked,
            asked(|| CallbackFields { amount: "5e3", ..RIGHT }.as_numbers()),
            refused(WrongAmount),
            HINT,
            PENDING,
        ),
        // ---- the same signature over the same digits, divided into other fields
        case(
            "a digit slid from the amount into the account",
            Linked,
            asked(|| CallbackFields { account: "15", amount: "000", ..RIGHT }.signed_as(&RIGHT.md5(API_KEY))),
            refused(OtherAccount),
            HINT,
            PENDING,
        ),
        case(
            "a digit slid from the account into the amount",
            Linked,
            asked(|| CallbackFields { account: "", amount: "15000", ..RIGHT }.signed_as(&RIGHT.md5(API_KEY))),
            refused(OtherAccount),
            HINT,
            PENDING,
        ),
        case(
            "a digit slid from the transaction into the account",
            Linked,
            asked(|| CallbackFields { transaction_id: "70", account: "01", ..RIGHT }.signed_as(&RIGHT.md5(API_KEY))),
            refused(UnknownTransaction),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "a digit slid from the store into the transaction",
            Linked,
            asked(|| {
                CallbackFields { store_id: "123", transaction_id: "4700", ..RIGHT }.signed_as(&RIGHT.md5(API_KEY))
            }),
            refused(OtherStore),
            ABOUT_NOTHING,
            PENDING,
        ),
        // ---- not signed with a key of ours
        case(
            "no signature",
            Linked,
            asked(|| right().replace("\"sign\"", "\"sing\"")),
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "a made-up signature",
            Linked,
            asked(|| RIGHT.signed_as("test")),
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "signed with a key that was removed",
            Linked,
            IncomingCallback { keys: &["the-next-key"], ..asked(right) },
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "signed with an empty key",
            Linked,
            asked(|| RIGHT.signed_as(&RIGHT.md5(""))),
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "signed with SHA-256, `ATMOS_SIGN_ALGORITHM` is `md5`",
            Linked,
            asked(|| RIGHT.signed_as(&RIGHT.sha256(API_KEY))),
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "amount `5000.0`, signed as `5000`",
            Linked,
            asked(|| CallbackFields { amount: "5000.0", ..RIGHT }.signed_as(&RIGHT.md5(API_KEY))),
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "a value changed after signing",
            Linked,
            asked(|| right().replace("\"5000\"", "\"1\"")),
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        // ---- not a callback
        case(
            "a field is missing",
            Linked,
            asked(|| right().replace("\"amount\"", "\"sum\"")),
            refused(Unreadable),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "a documented field stands there twice",
            Linked,
            asked(|| right().replacen('{', "{\"amount\":\"5000\",", 1)),
            refused(Unreadable),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "a documented field holds an object",
            Linked,
            asked(|| right().replace("\"1\"", "{\"id\":1}")),
            refused(Unreadable),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "neither JSON nor a form",
            Linked,
            asked(|| "<html>".to_owned()),
            refused(Unreadable),
            ABOUT_NOTHING,
            PENDING,
        ),
        case("it breaks off", Linked, asked(|| right()[..90].to_owned()), refused(Unreadable), ABOUT_NOTHING, PENDING),
        case(
            "above 8 KiB",
            Linked,
            asked(|| right().replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(8_192)), 1)),
            refused(Unreadable),
            (Nothing, false),
            PENDING,
        ),
        // ---- from another address
        case("from elsewhere, `ATMOS_CALLBACK_ADDRESS_CHECK` is `off`", Linked, asked(right), ALLOWED, HINT, CONFIRMS),
        case(
            "from elsewhere, the check is `watch`",
            Linked,
            IncomingCallback { check: AddressCheck::Watch, ..asked(right) },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "from elsewhere, the check is `refuse`",
            Linked,
            IncomingCallback { check: AddressCheck::Refuse, ..asked(right) },
            refused(OtherAddress),
            HINT,
            PENDING,
        ),
        case(
            "from elsewhere and badly signed, the check is `refuse`",
            Linked,
            IncomingCallback { check: AddressCheck::Refuse, ..asked(|| RIGHT.signed_as("test")) },
            refused(BadlySigned),
            ABOUT_NOTHING,
            PENDING,
        ),
        case(
            "from a listed address, the check is `refuse`",
            Linked,
            IncomingCallback { check: AddressCheck::Refuse, peer: GATEWAY, ..asked(right) },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "through a listed proxy that names a listed address, `refuse`",
            Linked,
            IncomingCallback {
                check: AddressCheck::Refuse,
                peer: PROXY,
                headers: &[("x-forwarded-for", GATEWAY)],
                ..asked(right)
            },
            ALLOWED,
            HINT,
            CONFIRMS,
        ),
        case(
            "through a listed proxy, the sender's own word before its, `refuse`",
            Linked,
            IncomingCallback {
                check: AddressCheck::Refuse,
                peer: PROXY,
                headers: &[("x-forwarded-for", GATEWAY), ("x-forwarded-for", STRANGER)],
                ..asked(right)
            },
            refused(OtherAddress),
            HINT,
            PENDING,
        ),
        case(
            "a stranger names a listed address, `refuse`",
            Linked,
            IncomingCallback { check: AddressCheck::Refuse, headers: &[("x-forwarded-for", GATEWAY)], ..asked(right) },
            refused(OtherAddress),
            HINT,
            PENDING,
        ),
    ]
}

/// Shows: MONEY-16
#[tokio::test]
async fn every_case_of_a_callback_is_answered_and_recorded_as_the_table_says() {
    for case in cases() {
        let CallbackCase { case: name, setup, asked, status, verdict, kept, order: (before, after), is_hint } = case;
        let addresses = CallbackAddresses {
            check: asked.check,
            listed: vec!["92.63.207.0/24".parse().unwrap()],
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        };
        let api = TestApi::with(|context| {
            context.gateways = gateway_with("1234", asked.algorithm, asked.keys);
            context.callback_addresses = addresses;
        })
        .await;
        let order = set(&api, setup).await;
        let seen_before = RecordedState::of(&api, &order).await;
        let counted_before = counted(&api, verdict).await;
        assert_eq!(seen_before.status, before, "{name}");

        let body = (asked.body)().into_bytes();
        let body = if asked.headers.contains(&("content-encoding", "gzip")) { gzip(&body) } else { body };

        let answer = api.webhook_from(asked.peer, asked.headers, body).await;

        assert_eq!((answer.status, answer.json()["status"].as_u64()), (200, Some(status.into())), "{name}: {answer:?}");
        assert_eq!(answer.json()["message"], callback_message(verdict), "{name}");
        assert_eq!(status == 1, verdict.allows(), "{name}");
        assert!(counted(&api, verdict).await > counted_before, "{name}: not counted as {verdict}");
        let seen = RecordedState::of(&api, &order).await;
        assert_eq!(seen.status, after, "{name}");
        assert_eq!(
            seen.inquiries_staged > seen_before.inquiries_staged,
            is_hint,
            "{name}: whether an inquiry is staged"
        );
        assert_eq!(seen.last_hint_at_ms != seen_before.last_hint_at_ms, is_hint, "{name}: whether it is a hint");
        let newest = callbacks::newest(api.store(), 100).await.unwrap();
        let found = newest.iter().find(|callback| callback.verdict == verdict);
        let kept_as = match found {
            None => Nothing,
            Some(callback) if callback.order_id == Some(order.id) => WithTheOrder,
            Some(callback) => {
                assert_eq!(callback.order_id, None, "{name}");
                Alone
            }
        };
        assert_eq!(kept_as, kept, "{name}: {newest:?}");
    }
}

#[test]
fn the_reference_has_the_table_that_was_walked() {
    let rows = cases().into_iter().map(|case| {
        let order = match case.order {
            (before, after) if before == after => format!("stays `{before}`"),
            (before, after) => format!("`{before}` → `{after}`"),
        };
        let kept = match case.kept {
            WithTheOrder => "with the order",
            Alone => "alone",
            Nothing => "no",
        };
        let hint = if case.is_hint { "yes" } else { "no" };
        let (status, verdict) = (case.status.to_string(), documents::code(case.verdict));
        [case.case.to_owned(), status, verdict, kept.to_owned(), order, hint.to_owned()]
    });

    let table = documents::table(["case", "answer", "verdict", "kept", "order", "hint"], rows);
    documents::part("docs/internals/callback-decisions.md", "decisions", &table);
}

/// Verdicts that a gateway with drafts never gets: no call of it begins a transaction or tells of one.
const OF_OTHER_GATEWAYS: [CallbackVerdict; 8] = [
    CallbackVerdict::UnknownOrder,
    CallbackVerdict::Conflicting,
    CallbackVerdict::TimedOut,
    CallbackVerdict::TransactionClosed,
    CallbackVerdict::DebitTold,
    CallbackVerdict::FailureTold,
    CallbackVerdict::ReversalTold,
    CallbackVerdict::ReversalRefused,
];

#[test]
fn every_verdict_has_a_case() {
    let cases = cases();
    for verdict in CallbackVerdict::ALL {
        let has_case = cases.iter().any(|case| case.verdict == *verdict);
        assert_ne!(has_case, OF_OTHER_GATEWAYS.contains(verdict), "{verdict}");
    }
}

#[test]
fn signatures_here_are_those_of_known_integrations() {
    let words = CallbackFields { store_id: "1234", transaction_id: "202072", account: "12345", amount: "5000000" };

    assert_eq!(words.md5("test_api_key"), "81cf2d62ac965a94cda887ae406d37d4");
    assert_eq!(words.sha256("test_api_key"), "7a045b5f5900ed628205e466a68d65043d4a818a277193e9fd09d310833f2fee");
    assert_eq!((md5_hex(b"").len(), sha256_hex(b"").len()), (32, 64));
}

/// Each callback from an unlisted address is counted once, by its outcome.
#[tokio::test]
async fn callbacks_from_unlisted_addresses_are_counted_by_outcome_and_stored_with_their_address() {
    for (check, outcome) in [(AddressCheck::Watch, "watched"), (AddressCheck::Refuse, "refused")] {
        let listed = vec!["92.63.207.0/24".parse().unwrap()];
        let api = TestApi::with(|context| {
            context.callback_addresses = CallbackAddresses { check, listed, ..CallbackAddresses::default() };
        })
        .await;
        let order = set(&api, Linked).await;
        let name = format!("tasdiq_callbacks_unlisted_total{{gateway=\"atmos\",outcome=\"{outcome}\"}}");
        let before = metric(&api, &name).await;

        api.webhook_from(GATEWAY, &[], right().into_bytes()).await;
        assert_eq!(metric(&api, &name).await, before, "a listed address is not counted");
        // A sender without a valid signature is refused for that; its address does not matter.
        api.webhook_from(STRANGER, &[], RIGHT.signed_as("test").into_bytes()).await;
        assert_eq!(metric(&api, &name).await, before);
        // Another content, because the same content would be counted in the first row.
        let other = CallbackFields { amount: "5000.0", ..RIGHT };
        api.webhook_from(STRANGER, &[], other.as_numbers().into_bytes()).await;

        assert!(metric(&api, &name).await > before);
        let kept = callbacks::of_order(api.store(), order.id).await.unwrap();
        let addresses: Vec<_> = kept.iter().map(|callback| callback.address.as_deref().unwrap()).collect();
        assert_eq!(addresses, [GATEWAY, STRANGER]);
    }
}

/// The state compared before and after the callback.
struct RecordedState {
    status: String,
    last_hint_at_ms: Option<i64>,
    inquiries_staged: usize,
}

impl RecordedState {
    async fn of(api: &TestApi, order: &Order) -> Self {
        // Later than the previous hint by the clock, so that the two differ.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let order = api.reread(order.id).await;
        let inquiries = jobs::list(api.store(), None, Some(JobKind::SettleOrder), 100).await.unwrap();
        let inquiries_staged = inquiries.iter().map(|inquiry| inquiry.woken_by.len()).sum();
        RecordedState { status: order.status.to_string(), last_hint_at_ms: order.last_hint_at_ms, inquiries_staged }
    }
}

async fn counted(api: &TestApi, verdict: CallbackVerdict) -> u64 {
    metric(api, &format!("tasdiq_callbacks_total{{gateway=\"atmos\",verdict=\"{verdict}\"}}")).await
}

async fn metric(api: &TestApi, name: &str) -> u64 {
    let metrics = api.get("/metrics").await.body;
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Brings order 1 into the state before the callback.
async fn set(api: &TestApi, setup: OrderSetup) -> Order {
    let order = api.order().await;
    assert_eq!(order.id, OrderId(1));
    let link = |order: Order, transaction_id: i64| async move { api.link(&order, transaction_id).await };
    match setup {
        Late | Expired => api.link_for(&order, 700, -1).await,
        _ => link(order, 700).await,
    };
    let order = api.reread(OrderId(1)).await;
    let in_paid = |transaction_id| Settlement::Paid { transaction_id: TransactionId(transaction_id) };
    match setup {
        Linked | Late => (),
        TwoOrders => {
            let second = api.order().await;
            link(second, 701).await;
        }
        AllowedBefore => {
            assert_eq!(api.webhook(right()).await.json()["status"], 1);
        }
        OtherAllowed | PaidByOther | Canceled => {
            let closed = Settlement::LinkClosed { transaction_id: TransactionId(700) };
            let order = api.settle(&order, closed).await;
            if setup == Canceled {
                let link = kinds::jobs_of_order(api.store(), order.id).await.unwrap();
                let link = link.iter().find(|job| job.kind == "create_payment_link" && job.finished_at_ms.is_none());
                kinds::cancel(api.store(), link.expect("a new link is staged").id).await.unwrap();
            } else {
                let order = link(order, 701).await;
                let other = CallbackFields { transaction_id: "701", ..RIGHT };
                assert_eq!(api.webhook(other.signed()).await.json()["status"], 1);
                if setup == PaidByOther {
                    api.settle(&order, in_paid(701)).await;
                }
            }
        }
        Paid => drop(api.settle(&order, in_paid(700)).await),
        Refunded => {
            let order = api.settle(&order, in_paid(700)).await;
            jobs::stage_now(api.store(), Job::SettleOrder { order_id: order.id }).await.unwrap();
            let refunded = Settlement::Refunded { transaction_id: TransactionId(700) };
            api.settle(&order, refunded).await;
        }
        Expired => drop(api.settle(&order, Settlement::Expired).await),
        InReview => {
            drop(api.settle(&order, Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd"))).await)
        }
    }
    api.reread(OrderId(1)).await
}
