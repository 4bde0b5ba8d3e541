use domain::order::{GatewayIdentity, PaymentType};
use tokio::time::Instant;

use super::*;

mod accounts;
mod admission;
mod histories;

const SECOND: Duration = Duration::from_secs(1);

/// The account of that store.
fn account_of(store_id: &str) -> CoordinatedAccount {
    CoordinatedAccount::new(PaymentType::Atmos, GatewayIdentity(format!("sandbox:{store_id}")))
}

/// The account of tests that need one.
pub(crate) fn account() -> CoordinatedAccount {
    account_of("1234")
}

/// Processes of one installation, on the Redis that the test runner started.
fn processes<const COUNT: usize>(rate: Option<GatewayRate>) -> [Coordination; COUNT] {
    let server = an_installation();
    [(); COUNT].map(|()| Coordination::redis(account(), server.clone(), rate))
}

/// A Redis of an installation's own.
fn an_installation() -> RedisServer {
    let url = std::env::var("TASDIQ_TEST_REDIS_URL").unwrap_or_else(|_| panic!("run tests through tests/run"));
    RedisServer::new(&url, &format!("test-{:032x}", rand::random::<u128>())).unwrap()
}

/// A coordination whose Redis does not run.
fn without_redis(rate: Option<GatewayRate>) -> Coordination {
    Coordination::redis(account(), RedisServer::new("redis://127.0.0.1:1", "test").unwrap(), rate)
}

fn note(text: &str, good_for: Duration) -> Note {
    Note { text: Secret::new(text), good_for }
}

fn text(note: Option<Note>) -> Option<String> {
    note.map(|note| note.text.expose().to_owned())
}

/// Checks notes and claims, wherever they are stored; `a` and `b` share them.
async fn notes_and_claims_hold(a: &Coordination, b: &Coordination) {
    assert_eq!(b.note("token").await, None);

    a.write_note("token", &note("first", SECOND * 60)).await;
    let read = b.note("token").await.unwrap();
    assert_eq!(read.text, Secret::new("first"));
    assert!(read.good_for > SECOND * 55 && read.good_for <= SECOND * 60, "{:?}", read.good_for);

    b.drop_note("token", &Secret::new("another")).await;
    assert_eq!(text(a.note("token").await).as_deref(), Some("first"), "a note was dropped by the wrong text");
    b.drop_note("token", &Secret::new("first")).await;
    assert_eq!(a.note("token").await, None);

    a.write_note("token", &note("short", Duration::from_millis(50))).await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(b.note("token").await, None, "a note outlived its time");

    let (mine, yours) = (Secret::new("mine"), Secret::new("yours"));
    assert_eq!(a.claim("lock", &mine, SECOND).await, Claim::Yours);
    assert_eq!(b.claim("lock", &yours, SECOND).await, Claim::Taken);
    b.drop_note("lock", &yours).await;
    assert_eq!(b.claim("lock", &yours, SECOND).await, Claim::Taken, "a claim was given back by a stranger");
    a.drop_note("lock", &mine).await;
    assert_eq!(b.claim("lock", &yours, Duration::from_millis(50)).await, Claim::Yours);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(a.claim("lock", &mine, SECOND).await, Claim::Yours, "a claim outlived its time");
}

#[tokio::test]
async fn notes_and_claims_are_shared_within_a_process() {
    let one = Coordination::local(account(), None);

    notes_and_claims_hold(&one, &one.clone()).await;
}

#[tokio::test]
async fn notes_and_claims_are_shared_between_processes() {
    let [a, b] = processes(None);

    notes_and_claims_hold(&a, &b).await;
}

/// A managed Redis may do so, by its access rules.
/// Shows: ADMISSION-15
#[tokio::test]
async fn a_redis_that_refuses_scripts_shares_notes_all_the_same() {
    let url = std::env::var("TASDIQ_TEST_REDIS_URL").unwrap_or_else(|_| panic!("run tests through tests/run"));
    let client = ::redis::Client::open(url.as_str()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let user = format!("unscripted-{:016x}", rand::random::<u64>());
    let mut rule = ::redis::cmd("ACL");
    rule.arg("SETUSER").arg(&user).arg(&["on", ">a-password", "~*", "&*", "+@all", "-@scripting"]);
    rule.exec_async(&mut admin).await.unwrap();
    let url = url.replace("redis://", &format!("redis://{user}:a-password@"));
    let [a, b] = [(); 2].map(|()| Coordination::redis(account(), RedisServer::new(&url, &user).unwrap(), None));

    for (from, to) in [(&a, &b), (&b, &a)] {
        assert!(from.admit(Urgency::Now).await.is_ok());
        assert!(!from.view().is_shared, "it decides alone");
        from.write_note("token", &note("shared", SECOND * 60)).await;
        assert!(to.admit(Urgency::Now).await.is_ok());
        assert_eq!(text(to.note("token").await).as_deref(), Some("shared"));
        assert_ne!(from.claim("lock", &Secret::new("me"), SECOND).await, Claim::Unknown);
    }

    ::redis::cmd("ACL").arg("DELUSER").arg(&user).exec_async(&mut admin).await.unwrap();
}

#[tokio::test]
async fn without_redis_nothing_is_known_and_no_call_waits_long() {
    let alone = without_redis(None);
    let started = Instant::now();

    alone.write_note("token", &note("lost", SECOND)).await;
    assert_eq!(alone.note("token").await, None);
    assert_eq!(alone.claim("lock", &Secret::new("me"), SECOND).await, Claim::Unknown);
    assert!(alone.admit(Urgency::Now).await.is_ok());

    assert!(started.elapsed() < SECOND * 3, "{:?}", started.elapsed());
}
