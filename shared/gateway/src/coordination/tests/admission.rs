//! The admission of calls to the gateway: within a process, and between processes that share a Redis.

use futures_util::future::join_all;

use super::*;
use crate::coordination::breaker::{Breaker, FAILURES, FIRST_WAIT, LONGEST_WAIT};
use crate::coordination::rate_limit::{Bucket, LONGEST_WAIT_URGENT, MAX_WAITING};

const DOWN: CallOutcome<'_> = CallOutcome::Failed("HTTP 503");

/// Makes a test of each function, for two tasks of one process, and for two processes on one Redis.
macro_rules! for_two {
    ($($(#[$attribute:meta])* $name:ident with $rate:expr;)+) => {
        mod within_a_process {
            use super::a_rate;
            $($(#[$attribute])* #[tokio::test] async fn $name() {
                let one = super::Coordination::local(super::account(), $rate);
                super::$name(&one, &one.clone()).await;
            })+
        }
        mod between_processes {
            use super::a_rate;
            $($(#[$attribute])* #[tokio::test] async fn $name() {
                let [a, b] = super::processes($rate);
                super::$name(&a, &b).await;
            })+
        }
    };
}

for_two! {
    five_failures_in_a_row_open_the_breaker_for_all_processes with None;
    an_answer_in_between_starts_the_count_again with None;
    one_call_at_a_time_probes_and_its_answer_closes_the_breaker with None;
    a_probe_that_fails_makes_the_wait_longer_for_all_processes with None;
    after_a_probe_without_a_clear_result_the_next_call_probes with None;
    a_probe_that_is_given_up_early_frees_its_place_at_once with None;
    a_probe_that_is_given_up_without_an_answer_is_a_failed_one with None;
    a_probe_that_is_given_up_before_it_leaves_frees_its_place_at_once with a_rate(4, 1);
    a_probe_whose_process_has_died_does_not_stop_the_others_for_ever with None;
    a_call_that_left_before_the_breaker_opened_does_not_change_it with None;
    a_call_without_the_breaker_passes_by_it with None;
    an_observer_passes_by_the_breaker_and_is_not_counted with None;
    a_retry_after_that_one_process_got_holds_for_all with None;
    a_call_that_waits_for_the_rate_limit_still_obeys_a_new_retry_after with a_rate(2, 1);
    calls_stay_within_rate_and_burst with a_rate(40, 8);
    late_calls_leave_the_rest_of_the_rate_limit_to_urgent_ones with a_rate(1, 8);
    late_calls_at_once_all_leave_however_small_the_burst with a_rate(2, 2);
    links_go_before_inquiries_however_many_there_are with a_rate(4, 8);
    inquiries_are_not_starved_by_links with a_rate(10, 4);
    calls_that_are_held_back_come_back_one_after_the_other with a_rate(20, 1);
    an_operators_rate_limit_is_in_force_at_once with a_rate(1, 2);
}

#[allow(clippy::unnecessary_wraps, reason = "as the rate limit is configured")]
fn a_rate(per_second: u32, burst: u32) -> Option<GatewayRate> {
    Some(GatewayRate { per_second, burst })
}

async fn call(from: &Coordination, outcome: CallOutcome<'_>) {
    let permit = from.admit(Urgency::Now).await.unwrap();
    from.settle(permit, outcome).await;
}

/// Opens the breaker by failures of both processes in turn.
async fn break_down(a: &Coordination, b: &Coordination) {
    for number in 0..FAILURES {
        call(if number % 2 == 0 { a } else { b }, DOWN).await;
    }
}

async fn obstacle(from: &Coordination) -> Option<&'static str> {
    from.admit(Urgency::Now).await.err().map(|held_back| held_back.obstacle.name())
}

/// Waits until the breaker lets a probe through.
async fn until_it_tries(from: &Coordination) {
    from.refresh().await;
    tokio::time::sleep(from.view().breaker.opens_in + Duration::from_millis(5)).await;
}

/// Shows: ADMISSION-1
async fn five_failures_in_a_row_open_the_breaker_for_all_processes(a: &Coordination, b: &Coordination) {
    for _ in 0..FAILURES - 1 {
        call(a, DOWN).await;
    }
    assert_eq!(obstacle(b).await, None, "four are not enough");
    call(b, DOWN).await;

    for process in [a, b] {
        let held_back = process.admit(Urgency::Now).await.unwrap_err();
        assert_eq!(held_back.obstacle, Obstacle::Breaker { cause: "HTTP 503".to_owned() });
        assert!(held_back.retry_after <= FIRST_WAIT + SECOND, "{held_back:?}");
        assert_eq!(process.view().breaker.state, BreakerState::Open);
    }
}

/// Shows: ADMISSION-1
async fn an_answer_in_between_starts_the_count_again(a: &Coordination, b: &Coordination) {
    for _ in 0..FAILURES - 1 {
        call(a, DOWN).await;
    }
    // The process must have read the failures first, and any call reads them.
    call(b, CallOutcome::Answered).await;
    for _ in 0..FAILURES - 1 {
        call(a, DOWN).await;
    }

    assert_eq!(obstacle(a).await, None);
    assert_eq!(obstacle(b).await, None);
}

/// Shows: ADMISSION-3
async fn one_call_at_a_time_probes_and_its_answer_closes_the_breaker(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(b).await;

    let tries = join_all((0..20).map(|number| if number % 2 == 0 { a } else { b }.admit(Urgency::Now))).await;

    let mut permits: Vec<(usize, Permit)> =
        tries.into_iter().enumerate().filter_map(|(number, permit)| Some((number, permit.ok()?))).collect();
    assert_eq!(permits.len(), 1, "one of twenty may probe");
    let (number, probe) = permits.remove(0);
    assert!(probe.is_probe());
    let (prober, other) = if number % 2 == 0 { (a, b) } else { (b, a) };
    assert_eq!(obstacle(other).await, Some("breaker"), "no other call leaves during the probe");
    prober.settle(probe, CallOutcome::Answered).await;
    assert_eq!(obstacle(other).await, None);
    assert_eq!(other.view().breaker.state, BreakerState::Closed);
    call(other, DOWN).await;
    assert_eq!(obstacle(prober).await, None, "the old failures are forgotten");
}

/// Shows: ADMISSION-3
async fn a_probe_that_fails_makes_the_wait_longer_for_all_processes(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;

    let probe = a.admit(Urgency::Now).await.unwrap();
    a.settle(probe, CallOutcome::Failed("timeout")).await;

    let held_back = b.admit(Urgency::Now).await.unwrap_err();
    assert_eq!(held_back.obstacle, Obstacle::Breaker { cause: "timeout".to_owned() });
    let wait = b.view().breaker.opens_in;
    assert!(wait > FIRST_WAIT && wait <= FIRST_WAIT * 2, "{wait:?}");
}

async fn after_a_probe_without_a_clear_result_the_next_call_probes(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;

    let probe = a.admit(Urgency::Now).await.unwrap();
    a.settle(probe, CallOutcome::Neither).await;

    assert!(b.admit(Urgency::Now).await.unwrap().is_probe());
}

/// Waits until this process may probe, well within the lease of a probe that is lost.
async fn probes_soon(from: &Coordination) -> Permit {
    let until = Instant::now() + PROBE_WITHIN / 2;
    loop {
        match from.admit(Urgency::Now).await {
            Ok(permit) => return permit,
            Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(held_back) => panic!("{held_back}"),
        }
    }
}

/// The page's and the job's time limits drop the call.
/// Shows: ADMISSION-4
async fn a_probe_that_is_given_up_early_frees_its_place_at_once(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;
    let started = Instant::now();

    drop(a.admit(Urgency::Now).await.unwrap());

    let next = probes_soon(b).await;
    assert!(next.is_probe() && started.elapsed() < SECOND, "{:?}", started.elapsed());
    b.settle(next, CallOutcome::Answered).await;
    assert_eq!(obstacle(a).await, None);
}

/// Shows: ADMISSION-4
async fn a_probe_that_is_given_up_without_an_answer_is_a_failed_one(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;
    let probe = a.admit(Urgency::Now).await.unwrap();
    tokio::time::sleep(SECOND + Duration::from_millis(20)).await;

    drop(probe);

    let given_up = Instant::now();
    let next = probes_soon(b).await;
    let waited = given_up.elapsed();
    assert!(next.is_probe() && waited > FIRST_WAIT, "as after a probe that failed: {waited:?}");
    let cause = b.view().breaker.cause;
    assert!(cause.starts_with("no answer in 1") && cause.ends_with("when its caller gave up"), "{cause}");
}

/// Shows: ADMISSION-4
async fn a_probe_that_is_given_up_before_it_leaves_frees_its_place_at_once(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;
    // The calls before leave none of the burst, so the probe waits for its turn.
    for _ in 0..2 {
        let permit = b.admit_without_breaker(Urgency::Now).await.unwrap();
        b.settle(permit, CallOutcome::Neither).await;
    }

    assert!(tokio::time::timeout(Duration::from_millis(20), a.admit(Urgency::Now)).await.is_err());

    assert!(probes_soon(b).await.is_probe());
}

/// Shows: ADMISSION-4
async fn a_probe_whose_process_has_died_does_not_stop_the_others_for_ever(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;
    let lost = a.admit(Urgency::Now).await.unwrap();
    assert_eq!(obstacle(b).await, Some("breaker"));

    tokio::time::sleep(PROBE_WITHIN + SECOND * 2 + Duration::from_millis(50)).await;
    let next = b.admit(Urgency::Now).await.unwrap();

    assert!(next.is_probe());
    a.settle(lost, CallOutcome::Answered).await;
    assert_eq!(obstacle(a).await, Some("breaker"), "a probe that took too long does not count");
    b.settle(next, CallOutcome::Answered).await;
    assert_eq!(obstacle(a).await, None);
}

async fn a_call_that_left_before_the_breaker_opened_does_not_change_it(a: &Coordination, b: &Coordination) {
    let (early, late) = (a.admit(Urgency::Now).await.unwrap(), b.admit(Urgency::Now).await.unwrap());
    break_down(a, b).await;

    a.settle(early, DOWN).await;
    b.settle(late, CallOutcome::Answered).await;

    b.refresh().await;
    let breaker = b.view().breaker;
    assert_eq!(breaker.state, BreakerState::Open);
    assert!(breaker.opens_in <= FIRST_WAIT, "{breaker:?}");
}

async fn a_call_without_the_breaker_passes_by_it(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(b).await;

    let permit = b.admit_without_breaker(Urgency::Later).await.unwrap();

    assert!(!permit.is_probe());
    assert!(a.admit(Urgency::Now).await.unwrap().is_probe(), "the probe is still to be made");
}

async fn an_observer_passes_by_the_breaker_and_is_not_counted(a: &Coordination, b: &Coordination) {
    let observer = b.clone().observer();
    for _ in 0..2 * FAILURES {
        call(&observer, DOWN).await;
    }
    observer.begin_retry_after(SECOND * 60).await;
    assert_eq!(obstacle(a).await, None, "its calls may have gone elsewhere");

    break_down(a, b).await;
    call(&observer, CallOutcome::Answered).await;
    assert_eq!(obstacle(a).await, Some("breaker"));
    until_it_tries(a).await;
    call(&observer, DOWN).await;
    call(a, CallOutcome::Answered).await;
    assert_eq!(obstacle(b).await, None, "the probe was left to another process");

    a.begin_retry_after(SECOND * 60).await;
    assert_eq!(obstacle(&observer).await, Some("retry_after"));
}

/// Shows: ADMISSION-6
async fn a_retry_after_that_one_process_got_holds_for_all(a: &Coordination, b: &Coordination) {
    assert_eq!(obstacle(b).await, None);
    let wait = Duration::from_millis(1_500);

    a.begin_retry_after(wait).await;

    let held_back = b.admit(Urgency::Now).await.unwrap_err();
    assert_eq!(held_back.obstacle, Obstacle::RetryAfter);
    assert!(held_back.retry_after > SECOND && held_back.retry_after <= wait, "{held_back:?}");
    assert!(b.view().retry_after.is_some());
    // A shorter time than the one before changes nothing.
    b.begin_retry_after(Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(obstacle(a).await, Some("retry_after"));
    tokio::time::sleep(wait).await;
    assert_eq!(obstacle(a).await, None);
    assert_eq!(obstacle(b).await, None);
}

/// Shows: ADMISSION-6
async fn a_call_that_waits_for_the_rate_limit_still_obeys_a_new_retry_after(a: &Coordination, b: &Coordination) {
    assert_eq!(obstacle(b).await, None);

    let (waited, ()) = tokio::join!(b.admit(Urgency::Now), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        a.begin_retry_after(SECOND * 60).await;
    });

    assert_eq!(waited.unwrap_err().obstacle, Obstacle::RetryAfter);
}

/// Over every stretch of time, and not only on average.
/// Shows: ADMISSION-8
async fn calls_stay_within_rate_and_burst(a: &Coordination, b: &Coordination) {
    let began = Instant::now();
    let hammering = (0..40).map(async |number| {
        let process = if number % 2 == 0 { a } else { b };
        let urgency = if number % 3 == 0 { Urgency::Later } else { Urgency::Now };
        let mut left_at = Vec::new();
        while began.elapsed() < SECOND * 2 {
            match process.admit(urgency).await {
                Ok(_) => left_at.push(began.elapsed()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        left_at
    });
    let mut left_at: Vec<Duration> = join_all(hammering).await.into_iter().flatten().collect();
    left_at.sort();

    assert!(left_at.len() >= 40, "the rate limit is used: {}", left_at.len());
    for (first, from) in left_at.iter().enumerate() {
        for (last, to) in left_at.iter().enumerate().skip(first) {
            // A timer may wake a little late, and then two calls lie closer together.
            let most = (*to - *from + Duration::from_millis(100)).as_millis() * 40 / 1_000 + 8;
            let calls = last - first + 1;
            assert!(calls as u128 <= most, "{calls} calls between {from:?} and {to:?}");
        }
    }
}

/// Shows: ADMISSION-9
async fn late_calls_leave_the_rest_of_the_rate_limit_to_urgent_ones(a: &Coordination, b: &Coordination) {
    let processes = (0..40).map(|number| if number % 2 == 0 { a } else { b });
    let late = join_all(processes.map(|process| tokio::time::timeout(SECOND / 2, process.admit(Urgency::Later))));
    let urgent = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        for process in [a, b] {
            process.admit(Urgency::Now).await.unwrap();
        }
        began.elapsed()
    };
    let (late, urgent_took) = tokio::join!(late, urgent);

    assert!(urgent_took < SECOND / 2, "urgent ones leave at once, although others wait: {urgent_took:?}");
    assert_eq!(late.iter().filter(|late| matches!(late, Ok(Ok(_)))).count(), 6, "a quarter of the burst is reserved");
    assert!(late.iter().filter(|late| late.is_err()).count() <= 2 * MAX_WAITING, "few wait");
    let held_back = late.into_iter().flatten().find_map(Result::err).unwrap();
    assert_eq!(held_back.obstacle, Obstacle::RateLimit);
}

/// Shows: ADMISSION-10
async fn links_go_before_inquiries_however_many_there_are(a: &Coordination, b: &Coordination) {
    let processes = (0..40).map(|number| if number % 2 == 0 { a } else { b });
    let inquiries = join_all(processes.map(|process| tokio::time::timeout(SECOND, process.admit(Urgency::Soon))));
    let links = async {
        let mut longest = Duration::ZERO;
        for process in [a, b, a] {
            tokio::time::sleep(SECOND / 4).await;
            let began = Instant::now();
            process.admit(Urgency::Now).await.unwrap();
            longest = longest.max(began.elapsed());
        }
        longest
    };

    let (inquiries, longest) = tokio::join!(inquiries, links);

    assert!(longest < SECOND * 3 / 4, "a link does not wait behind inquiries: {longest:?}");
    assert!(inquiries.iter().any(|inquiry| matches!(inquiry, Ok(Ok(_)))), "and some inquiries leave");
}

/// Payments are confirmed also while one shop asks for very many links.
/// Shows: ADMISSION-10
async fn inquiries_are_not_starved_by_links(a: &Coordination, b: &Coordination) {
    let began = Instant::now();
    let links = join_all((0..40).map(async |number| {
        while began.elapsed() < SECOND * 4 {
            let process = if number % 2 == 0 { a } else { b };
            // As their jobs do.
            if let Err(held_back) = process.admit(Urgency::Now).await {
                tokio::time::sleep(held_back.retry_after).await;
            }
        }
    }));
    let inquiries = async {
        let mut left = 0;
        while began.elapsed() < SECOND * 4 {
            match a.admit(Urgency::Soon).await {
                Ok(_) => left += 1,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        left
    };

    let (_, left) = tokio::join!(links, inquiries);

    assert!(left >= 1, "no inquiry has left");
}

/// An order with several drafts needs all its inquiries in one run.
/// Shows: ADMISSION-12
async fn late_calls_at_once_all_leave_however_small_the_burst(a: &Coordination, b: &Coordination) {
    let began = Instant::now();

    let late = join_all([a, a, b].map(|process| process.admit(Urgency::Later))).await;

    assert!(late.iter().all(Result::is_ok), "{late:?}");
    let took = began.elapsed();
    assert!((SECOND * 9 / 10..SECOND * 2).contains(&took), "one after the other at 2 a second: {took:?}");
}

/// Shows: ADMISSION-13
async fn calls_that_are_held_back_come_back_one_after_the_other(a: &Coordination, _b: &Coordination) {
    a.begin_retry_after(SECOND * 10).await;

    let mut waits = Vec::new();
    for _ in 0..10 {
        waits.push(a.admit(Urgency::Now).await.unwrap_err().retry_after);
    }

    assert!(waits[0] <= SECOND * 10, "{waits:?}");
    for pair in waits.windows(2) {
        let between = pair[1].saturating_sub(pair[0]);
        assert!((20..=60).contains(&between.as_millis()), "at 20 a second: {waits:?}");
    }
}

async fn an_operators_rate_limit_is_in_force_at_once(a: &Coordination, b: &Coordination) {
    let settings = OperatorSettings { rate: a_rate(1, 5), ..OperatorSettings::default() };
    for process in [a, b] {
        process.apply(settings, false).await;
    }

    let began = Instant::now();
    for process in [a, b, a, b, a] {
        process.admit(Urgency::Now).await.unwrap();
    }

    assert!(began.elapsed() < SECOND / 2, "five at once: {:?}", began.elapsed());
    assert_eq!((a.view().configured, a.view().rate), (a_rate(1, 2), a_rate(1, 5)));
    for process in [a, b] {
        process.apply(OperatorSettings::default(), false).await;
    }
    assert_eq!(a.view().rate, a_rate(1, 2));
}

#[tokio::test]
async fn while_an_operator_has_paused_calls_none_leaves_until_they_are_resumed() {
    let process = Coordination::local(account(), a_rate(1, 1));
    assert_eq!(obstacle(&process).await, None);
    let paused = OperatorSettings { is_paused: true, ..OperatorSettings::default() };

    let (waited, ()) = tokio::join!(process.admit(Urgency::Now), process.apply(paused, false));

    assert_eq!(waited.unwrap_err().obstacle, Obstacle::Operator, "it had not left yet");
    assert_eq!(process.admit_without_breaker(Urgency::Later).await.unwrap_err().obstacle, Obstacle::Operator);
    process.apply(OperatorSettings { breaker_reset_at_ms: Some(1), ..OperatorSettings::default() }, false).await;
    assert_eq!(obstacle(&process).await, None);
}

/// Each process reads it within a second. A process that starts later must not reset a breaker that has opened since.
#[tokio::test]
async fn a_reset_by_hand_closes_the_breaker_of_all_and_an_old_reset_changes_nothing() {
    let [a, b] = processes(None);
    break_down(&a, &b).await;
    let reset = OperatorSettings { breaker_reset_at_ms: Some(7), ..OperatorSettings::default() };

    b.apply(reset, true).await;
    assert_eq!(obstacle(&a).await, Some("breaker"));
    a.apply(reset, false).await;

    assert_eq!(obstacle(&a).await, None);
    assert_eq!(obstacle(&b).await, None);
}

/// Shows: ADMISSION-14
#[tokio::test]
async fn without_redis_a_process_has_its_own_breaker_and_obeys_a_retry_after() {
    let (alone, other) = (without_redis(None), without_redis(None));

    break_down(&alone, &alone).await;
    assert_eq!(obstacle(&alone).await, Some("breaker"));
    assert_eq!(obstacle(&other).await, None);
    assert!(!alone.view().is_shared);

    other.begin_retry_after(SECOND * 60).await;
    assert_eq!(obstacle(&other).await, Some("retry_after"));
}

/// Shows: ADMISSION-6
#[tokio::test]
async fn a_retry_after_is_obeyed_although_redis_forgets_it() {
    let [a, _b] = processes(None);
    a.begin_retry_after(SECOND * 60).await;
    let Inner::Redis { notes, .. } = &a.inner else { panic!("on Redis") };
    let key = notes.server.key(&account().key());
    ::redis::cmd("DEL").arg(&key).exec_async(&mut notes.server.commands()).await.unwrap();

    assert_eq!(obstacle(&a).await, Some("retry_after"));
}

/// Shows: ADMISSION-14
#[tokio::test]
async fn without_redis_a_process_uses_its_part_of_the_rate_limit() {
    let alone = without_redis(a_rate(4, 40));
    let calls = (0..20).map(|_| alone.admit(Urgency::Now));

    let answers = join_all(calls).await;

    let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(admitted, 12, "a quarter of the burst at once, then one each second for 2 s");
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_is_told_when_to_come_back() {
    let one = Coordination::local(account(), a_rate(1, 1));
    let started = Instant::now();

    let answers = join_all((0..10).map(|_| one.admit(Urgency::Now))).await;

    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3, "now, and after 1 and 2 s: {answers:?}");
    let held_back = answers.into_iter().find_map(Result::err).unwrap();
    assert!(held_back.retry_after > LONGEST_WAIT_URGENT && held_back.retry_after <= SECOND * 3, "{held_back:?}");
    assert!(started.elapsed() >= Duration::from_millis(1_900), "{:?}", started.elapsed());
}

#[test]
fn a_burst_goes_at_once_and_the_rest_one_after_the_other() {
    let limit = RateLimit::new(GatewayRate { per_second: 10, burst: 5 });
    let mut bucket = Bucket::default();
    let now = Instant::now() + SECOND;
    let mut wait_ms = |at| bucket.take(limit, Urgency::Now, at).unwrap().as_millis();

    let waits: Vec<_> = (0..8).map(|_| wait_ms(now)).collect();
    assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200, 300]);

    let rested = now + SECOND * 60;
    let waits: Vec<_> = (0..7).map(|_| wait_ms(rested)).collect();
    assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200], "a long rest must save up one burst and no more");
}

/// An outage that ends is noticed within five seconds, however long it was.
/// Shows: ADMISSION-3
#[test]
fn the_wait_between_probes_doubles_up_to_five_seconds() {
    let (mut breaker, mut now) = (Breaker::default(), Instant::now());
    for _ in 0..FAILURES {
        breaker.settle(now, None, DOWN);
    }

    let mut waits = Vec::new();
    for _ in 0..7 {
        let wait = breaker.ask(now).unwrap_err();
        waits.push(wait.as_secs());
        now += wait;
        assert_eq!(breaker.ask(now), Ok(true));
        breaker.begin_probe("me", now);
        breaker.settle(now, Some("me"), DOWN);
    }

    assert_eq!(waits, [1, 2, 4, 5, 5, 5, 5]);
}

/// Shows: ADMISSION-13
#[test]
fn retry_times_follow_the_rate_limit_and_have_an_end() {
    let limit = Some(RateLimit::new(GatewayRate { per_second: 20, burst: 40 }));
    let (mut times, now) = (RetryTimes::default(), Instant::now());

    let waits_given: Vec<Duration> = (0..5_000).map(|_| times.give_out(Urgency::Now, SECOND, limit, now)).collect();

    assert_eq!(waits_given[..3], [SECOND, Duration::from_millis(1_050), Duration::from_millis(1_100)]);
    assert!(waits_given.iter().all(|wait| *wait <= SECOND * 62), "no call waits for ever");
    let late = waits_given[2_000..].iter().filter(|wait| **wait > SECOND * 31).count();
    assert!((1_200..1_800).contains(&late), "those beyond the end are spread: {late} of 3000 in its second half");
    assert_eq!(times.give_out(Urgency::Later, SECOND, limit, now), SECOND, "late ones have times of their own");
}

/// The two processes that got a `Retry-After` remember the longer one themselves; a third knows only the shared state.
#[tokio::test]
async fn a_shorter_retry_after_than_the_one_before_changes_nothing_for_a_third_process() {
    let [a, b, c] = processes(None);
    a.begin_retry_after(SECOND * 60).await;
    b.begin_retry_after(Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    let held_back = c.admit(Urgency::Now).await.unwrap_err();

    assert_eq!(held_back.obstacle, Obstacle::RetryAfter);
    assert!(held_back.retry_after > SECOND * 50, "{held_back:?}");
}

/// As after an outage of hours, whose probes have all failed.
#[tokio::test]
async fn a_gateway_that_is_back_is_found_soon_however_long_it_was_away() {
    let server = an_installation();
    let [a, b] = [(); 2].map(|()| Coordination::redis(account(), server.clone(), None));
    break_down(&a, &b).await;
    let mut commands = server.commands();
    let _: i64 = ::redis::cmd("HSET")
        .arg(server.key(&account().key()))
        .arg(&["failed_probes", "60", "open_until", "1"])
        .query_async(&mut commands)
        .await
        .unwrap();

    let probe = a.admit(Urgency::Now).await.unwrap();
    assert!(probe.is_probe());
    a.settle(probe, DOWN).await;

    b.refresh().await;
    let opens_in = b.view().breaker.opens_in;
    assert!(opens_in > LONGEST_WAIT / 2 && opens_in <= LONGEST_WAIT, "{opens_in:?}");
}
