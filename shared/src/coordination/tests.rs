use tokio::time::Instant;

use super::local::Bucket;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Two processes of one installation, on the Redis that the test runner started.
fn two_processes(rate: Option<GatewayRate>) -> [Coordination; 2] {
    let url = std::env::var("TASDIQ_TEST_REDIS_URL").unwrap_or_else(|_| panic!("run tests through tests/run"));
    let installation = format!("test-{:032x}", rand::random::<u128>());
    [(); 2].map(|()| Coordination::redis(RedisServer::new(&url, &installation).unwrap(), rate))
}

/// A Redis that nobody runs.
fn without_redis(rate: Option<GatewayRate>) -> Coordination {
    Coordination::redis(RedisServer::new("redis://127.0.0.1:1", "test").unwrap(), rate)
}

fn note(text: &str, good_for: Duration) -> Note {
    Note { text: Secret::new(text), good_for }
}

fn text(note: Option<Note>) -> Option<String> {
    note.map(|note| note.text.expose().to_owned())
}

/// What holds for notes and claims wherever they are kept; `a` and `b` share.
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
    let one = Coordination::local(None);

    notes_and_claims_hold(&one, &one.clone()).await;
}

#[tokio::test]
async fn notes_and_claims_are_shared_between_processes() {
    let [a, b] = two_processes(None);

    notes_and_claims_hold(&a, &b).await;
}

#[tokio::test]
async fn without_redis_nothing_is_known_and_nobody_waits_long() {
    let alone = without_redis(None);
    let started = Instant::now();

    alone.write_note("token", &note("lost", SECOND)).await;
    assert_eq!(alone.note("token").await, None);
    assert_eq!(alone.claim("lock", &Secret::new("me"), SECOND).await, Claim::Unknown);
    assert_eq!(alone.admit().await, Ok(()));

    assert!(started.elapsed() < SECOND * 3, "{:?}", started.elapsed());
}

#[test]
fn a_burst_goes_at_once_and_the_rest_in_turn() {
    let bucket = Bucket::new(GatewayRate { per_second: 10, burst: 5 });
    let now = Instant::now() + SECOND;
    let wait_ms = |at| bucket.take_turn(at, LONGEST_TURN).unwrap().as_millis();

    let waits: Vec<_> = (0..8).map(|_| wait_ms(now)).collect();
    assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200, 300]);

    let rested = now + SECOND * 60;
    let waits: Vec<_> = (0..7).map(|_| wait_ms(rested)).collect();
    assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200], "a long rest must save up one burst and no more");
}

#[tokio::test]
async fn whoever_would_wait_too_long_is_told_when_to_come_back() {
    let one = Coordination::local(Some(GatewayRate { per_second: 1, burst: 1 }));
    let started = Instant::now();

    let answers = futures_util::future::join_all((0..10).map(|_| one.admit())).await;

    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3, "now, and after 1 and 2 s: {answers:?}");
    let Err(OverBudget { retry_after }) = answers[9] else { panic!("the last call fitted") };
    assert!(retry_after > SECOND * 2 && retry_after <= SECOND * 3, "{retry_after:?}");
    assert!(started.elapsed() >= Duration::from_millis(1_900), "{:?}", started.elapsed());
}

/// Two processes must not each spend the whole budget.
#[tokio::test]
async fn processes_share_one_budget() {
    let processes = two_processes(Some(GatewayRate { per_second: 1, burst: 10 }));
    let calls = (0..30).map(|n| processes[n % 2].admit());

    let answers = futures_util::future::join_all(calls).await;

    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    let Err(OverBudget { retry_after }) = answers[29] else { panic!("the last call fitted") };
    assert!(retry_after > SECOND * 2 && retry_after <= SECOND * 10, "{retry_after:?}");
}

#[tokio::test]
async fn a_full_window_of_the_shared_budget_is_waited_out() {
    let [a, b] = two_processes(Some(GatewayRate { per_second: 10, burst: 5 }));
    let started = Instant::now();
    for _ in 0..6 {
        a.admit().await.unwrap();
        b.admit().await.unwrap();
    }

    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(900) && elapsed < SECOND * 4, "12 calls, 5 per 500 ms: {elapsed:?}");
}

#[tokio::test]
async fn without_redis_a_process_spends_its_share_of_the_budget() {
    let alone = without_redis(Some(GatewayRate { per_second: 4, burst: 40 }));
    let calls = (0..20).map(|_| alone.admit());

    let answers = futures_util::future::join_all(calls).await;

    let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(admitted, 12, "a quarter of the burst at once, then one each second for 2 s");
}
