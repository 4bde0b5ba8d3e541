//! The weather at the gateway: within a process, and between processes that share a Redis.

use futures_util::future::join_all;

use super::*;
use crate::coordination::breaker::{Breaker, FAILURES, FIRST_WAIT, LONGEST_WAIT};
use crate::coordination::budget::{Bucket, LATE_IN_LINE, LONGEST_TURN};

const DOWN: Outcome<'_> = Outcome::Failed("HTTP 503");

/// Makes a test of each function, for two parts of one process, and for two processes on one Redis.
macro_rules! for_two {
    ($($(#[$attribute:meta])* $name:ident with $rate:expr;)+) => {
        mod within_a_process {
            use super::a_rate;
            $($(#[$attribute])* #[tokio::test] async fn $name() {
                let one = super::Coordination::local($rate);
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
    five_failures_in_a_row_keep_everybody_back with None;
    an_answer_in_between_begins_the_count_anew with None;
    one_call_at_a_time_tries_and_its_answer_lets_all_pass with None;
    a_probe_that_fails_keeps_everybody_back_for_longer with None;
    a_probe_that_tells_nothing_leaves_the_try_to_the_next with None;
    a_probe_whose_process_has_died_holds_nobody_up_for_ever with None;
    who_left_before_the_breaker_opened_has_nothing_to_say with None;
    what_is_beside_the_breaker_passes_it with None;
    an_observer_passes_the_breaker_and_tells_it_nothing with None;
    patience_asked_of_one_is_kept_by_all with None;
    who_waits_for_a_turn_hears_of_patience_before_it_leaves with a_rate(2, 1);
    calls_stay_within_rate_and_burst with a_rate(40, 8);
    late_calls_leave_urgent_ones_the_rest_of_the_budget with a_rate(1, 8);
    late_calls_at_once_all_leave_however_small_the_burst with a_rate(2, 2);
    links_go_before_inquiries_however_many_there_are with a_rate(4, 8);
    inquiries_are_not_starved_by_links with a_rate(10, 4);
    who_is_held_back_comes_back_one_after_the_other with a_rate(20, 1);
    an_operators_budget_is_in_force_at_once with a_rate(1, 2);
}

#[allow(clippy::unnecessary_wraps, reason = "as the budget is configured")]
fn a_rate(per_second: u32, burst: u32) -> Option<GatewayRate> {
    Some(GatewayRate { per_second, burst })
}

async fn call(from: &Coordination, outcome: Outcome<'_>) {
    let pass = from.admit(Urgency::Now).await.unwrap();
    from.settle(pass, outcome).await;
}

/// So many failures as open the breaker, now from one and now from the other.
async fn break_down(a: &Coordination, b: &Coordination) {
    for number in 0..FAILURES {
        call(if number % 2 == 0 { a } else { b }, DOWN).await;
    }
}

async fn obstacle(from: &Coordination) -> Option<&'static str> {
    from.admit(Urgency::Now).await.err().map(|held_back| held_back.obstacle.name())
}

/// Until the breaker lets a probe through.
async fn until_it_tries(from: &Coordination) {
    from.look().await;
    tokio::time::sleep(from.view().breaker.opens_in + Duration::from_millis(5)).await;
}

async fn five_failures_in_a_row_keep_everybody_back(a: &Coordination, b: &Coordination) {
    for _ in 0..FAILURES - 1 {
        call(a, DOWN).await;
    }
    assert_eq!(obstacle(b).await, None, "four are not enough");
    call(b, DOWN).await;

    for process in [a, b] {
        let held_back = process.admit(Urgency::Now).await.unwrap_err();
        assert_eq!(held_back.obstacle, Obstacle::Breaker { cause: "HTTP 503".to_owned() });
        assert!(held_back.retry_after <= FIRST_WAIT + SECOND, "{held_back:?}");
        assert_eq!(process.view().breaker.state, State::Open);
    }
}

async fn an_answer_in_between_begins_the_count_anew(a: &Coordination, b: &Coordination) {
    for _ in 0..FAILURES - 1 {
        call(a, DOWN).await;
    }
    // As soon as it has heard of the failures, by whatever it asks.
    call(b, Outcome::Answered).await;
    for _ in 0..FAILURES - 1 {
        call(a, DOWN).await;
    }

    assert_eq!(obstacle(a).await, None);
    assert_eq!(obstacle(b).await, None);
}

async fn one_call_at_a_time_tries_and_its_answer_lets_all_pass(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(b).await;

    let tries = join_all((0..20).map(|number| if number % 2 == 0 { a } else { b }.admit(Urgency::Now))).await;

    let mut passes: Vec<(usize, Pass)> =
        tries.into_iter().enumerate().filter_map(|(number, pass)| Some((number, pass.ok()?))).collect();
    assert_eq!(passes.len(), 1, "one of twenty may try");
    let (number, probe) = passes.remove(0);
    assert!(probe.is_probe());
    let (prober, other) = if number % 2 == 0 { (a, b) } else { (b, a) };
    assert_eq!(obstacle(other).await, Some("breaker"), "while it tries nobody else does");
    prober.settle(probe, Outcome::Answered).await;
    assert_eq!(obstacle(other).await, None);
    assert_eq!(other.view().breaker.state, State::Closed);
    call(other, DOWN).await;
    assert_eq!(obstacle(prober).await, None, "the old failures are forgotten");
}

async fn a_probe_that_fails_keeps_everybody_back_for_longer(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;

    let probe = a.admit(Urgency::Now).await.unwrap();
    a.settle(probe, Outcome::Failed("timeout")).await;

    let held_back = b.admit(Urgency::Now).await.unwrap_err();
    assert_eq!(held_back.obstacle, Obstacle::Breaker { cause: "timeout".to_owned() });
    let wait = b.view().breaker.opens_in;
    assert!(wait > FIRST_WAIT && wait <= FIRST_WAIT * 2, "{wait:?}");
}

async fn a_probe_that_tells_nothing_leaves_the_try_to_the_next(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;

    let probe = a.admit(Urgency::Now).await.unwrap();
    a.settle(probe, Outcome::Neither).await;

    assert!(b.admit(Urgency::Now).await.unwrap().is_probe());
}

async fn a_probe_whose_process_has_died_holds_nobody_up_for_ever(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(a).await;
    let lost = a.admit(Urgency::Now).await.unwrap();
    assert_eq!(obstacle(b).await, Some("breaker"));

    tokio::time::sleep(PROBE_WITHIN + SECOND * 2 + Duration::from_millis(50)).await;
    let next = b.admit(Urgency::Now).await.unwrap();

    assert!(next.is_probe());
    a.settle(lost, Outcome::Answered).await;
    assert_eq!(obstacle(a).await, Some("breaker"), "whoever lost the right to try does not speak for the next");
    b.settle(next, Outcome::Answered).await;
    assert_eq!(obstacle(a).await, None);
}

async fn who_left_before_the_breaker_opened_has_nothing_to_say(a: &Coordination, b: &Coordination) {
    let (early, late) = (a.admit(Urgency::Now).await.unwrap(), b.admit(Urgency::Now).await.unwrap());
    break_down(a, b).await;

    a.settle(early, DOWN).await;
    b.settle(late, Outcome::Answered).await;

    b.look().await;
    let breaker = b.view().breaker;
    assert_eq!(breaker.state, State::Open);
    assert!(breaker.opens_in <= FIRST_WAIT, "{breaker:?}");
}

async fn what_is_beside_the_breaker_passes_it(a: &Coordination, b: &Coordination) {
    break_down(a, b).await;
    until_it_tries(b).await;

    let pass = b.admit_beside_breaker(Urgency::Later).await.unwrap();

    assert!(!pass.is_probe());
    assert!(a.admit(Urgency::Now).await.unwrap().is_probe(), "the try is still to be made");
}

async fn an_observer_passes_the_breaker_and_tells_it_nothing(a: &Coordination, b: &Coordination) {
    let observer = b.clone().observer();
    for _ in 0..2 * FAILURES {
        call(&observer, DOWN).await;
    }
    observer.ask_for_patience(SECOND * 60).await;
    assert_eq!(obstacle(a).await, None, "its calls may have gone elsewhere");

    break_down(a, b).await;
    call(&observer, Outcome::Answered).await;
    assert_eq!(obstacle(a).await, Some("breaker"));
    until_it_tries(a).await;
    call(&observer, DOWN).await;
    call(a, Outcome::Answered).await;
    assert_eq!(obstacle(b).await, None, "the one call that tries was left to another");

    a.ask_for_patience(SECOND * 60).await;
    assert_eq!(obstacle(&observer).await, Some("retry_after"));
}

async fn patience_asked_of_one_is_kept_by_all(a: &Coordination, b: &Coordination) {
    assert_eq!(obstacle(b).await, None);
    let patience = Duration::from_millis(1_500);

    a.ask_for_patience(patience).await;

    let held_back = b.admit(Urgency::Now).await.unwrap_err();
    assert_eq!(held_back.obstacle, Obstacle::RetryAfter);
    assert!(held_back.retry_after > SECOND && held_back.retry_after <= patience, "{held_back:?}");
    assert!(b.view().told_for.is_some());
    // Less patience than was asked for before changes nothing.
    b.ask_for_patience(Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(obstacle(a).await, Some("retry_after"));
    tokio::time::sleep(patience).await;
    assert_eq!(obstacle(a).await, None);
    assert_eq!(obstacle(b).await, None);
}

async fn who_waits_for_a_turn_hears_of_patience_before_it_leaves(a: &Coordination, b: &Coordination) {
    assert_eq!(obstacle(b).await, None);

    let (waited, ()) = tokio::join!(b.admit(Urgency::Now), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        a.ask_for_patience(SECOND * 60).await;
    });

    assert_eq!(waited.unwrap_err().obstacle, Obstacle::RetryAfter);
}

/// Over every stretch of time, and not only on average.
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

    assert!(left_at.len() >= 40, "the budget is used: {}", left_at.len());
    for (first, from) in left_at.iter().enumerate() {
        for (last, to) in left_at.iter().enumerate().skip(first) {
            // A timer may wake a little late, and then two turns lie closer together.
            let most = (*to - *from + Duration::from_millis(100)).as_millis() * 40 / 1_000 + 8;
            let calls = last - first + 1;
            assert!(calls as u128 <= most, "{calls} calls between {from:?} and {to:?}");
        }
    }
}

async fn late_calls_leave_urgent_ones_the_rest_of_the_budget(a: &Coordination, b: &Coordination) {
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

    assert!(urgent_took < SECOND / 2, "urgent ones leave at once, whoever waits: {urgent_took:?}");
    assert_eq!(late.iter().filter(|late| matches!(late, Ok(Ok(_)))).count(), 6, "a quarter of the burst is kept back");
    assert!(late.iter().filter(|late| late.is_err()).count() <= 2 * LATE_IN_LINE, "few wait");
    let held_back = late.into_iter().flatten().find_map(Result::err).unwrap();
    assert_eq!(held_back.obstacle, Obstacle::Budget);
}

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

    assert!(longest < SECOND * 3 / 4, "a link waits for no line of inquiries: {longest:?}");
    assert!(inquiries.iter().any(|inquiry| matches!(inquiry, Ok(Ok(_)))), "and some inquiries leave");
}

/// Payments are confirmed also while one shop asks for very many links.
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
async fn late_calls_at_once_all_leave_however_small_the_burst(a: &Coordination, b: &Coordination) {
    let began = Instant::now();

    let late = join_all([a, a, b].map(|process| process.admit(Urgency::Later))).await;

    assert!(late.iter().all(Result::is_ok), "{late:?}");
    let took = began.elapsed();
    assert!((SECOND * 9 / 10..SECOND * 2).contains(&took), "one after the other at 2 a second: {took:?}");
}

async fn who_is_held_back_comes_back_one_after_the_other(a: &Coordination, _b: &Coordination) {
    a.ask_for_patience(SECOND * 10).await;

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

async fn an_operators_budget_is_in_force_at_once(a: &Coordination, b: &Coordination) {
    let word = OperatorsWord { rate: a_rate(1, 5), ..OperatorsWord::default() };
    for process in [a, b] {
        process.obey(word, false).await;
    }

    let began = Instant::now();
    for process in [a, b, a, b, a] {
        process.admit(Urgency::Now).await.unwrap();
    }

    assert!(began.elapsed() < SECOND / 2, "five at once: {:?}", began.elapsed());
    assert_eq!((a.view().configured, a.view().rate), (a_rate(1, 2), a_rate(1, 5)));
    for process in [a, b] {
        process.obey(OperatorsWord::default(), false).await;
    }
    assert_eq!(a.view().rate, a_rate(1, 2));
}

#[tokio::test]
async fn what_an_operator_has_closed_nobody_passes_until_it_is_opened() {
    let process = Coordination::local(a_rate(1, 1));
    assert_eq!(obstacle(&process).await, None);
    let closed = OperatorsWord { is_closed: true, ..OperatorsWord::default() };

    let (waited, ()) = tokio::join!(process.admit(Urgency::Now), process.obey(closed, false));

    assert_eq!(waited.unwrap_err().obstacle, Obstacle::Operator, "it had not left yet");
    assert_eq!(process.admit_beside_breaker(Urgency::Later).await.unwrap_err().obstacle, Obstacle::Operator);
    process.obey(OperatorsWord { opened_at_ms: Some(1), ..OperatorsWord::default() }, false).await;
    assert_eq!(obstacle(&process).await, None);
}

/// Each process hears of it within a second; one that starts later must not reset what has opened since.
#[tokio::test]
async fn opening_by_hand_resets_the_breaker_of_all_and_an_old_word_resets_nothing() {
    let [a, b] = processes(None);
    break_down(&a, &b).await;
    let opened = OperatorsWord { opened_at_ms: Some(7), ..OperatorsWord::default() };

    b.obey(opened, true).await;
    assert_eq!(obstacle(&a).await, Some("breaker"));
    a.obey(opened, false).await;

    assert_eq!(obstacle(&a).await, None);
    assert_eq!(obstacle(&b).await, None);
}

#[tokio::test]
async fn without_redis_a_process_has_a_breaker_of_its_own_and_keeps_its_patience() {
    let (alone, other) = (without_redis(None), without_redis(None));

    break_down(&alone, &alone).await;
    assert_eq!(obstacle(&alone).await, Some("breaker"));
    assert_eq!(obstacle(&other).await, None);
    assert!(!alone.view().is_shared);

    other.ask_for_patience(SECOND * 60).await;
    assert_eq!(obstacle(&other).await, Some("retry_after"));
}

#[tokio::test]
async fn patience_is_kept_although_redis_forgets_it() {
    let [a, _b] = processes(None);
    a.ask_for_patience(SECOND * 60).await;
    let Inner::Redis { notes, .. } = &a.inner else { panic!("on Redis") };
    let key = notes.server.key("gateway-weather");
    ::redis::cmd("DEL").arg(&key).exec_async(&mut notes.server.commands()).await.unwrap();

    assert_eq!(obstacle(&a).await, Some("retry_after"));
}

#[tokio::test]
async fn without_redis_a_process_spends_its_share_of_the_budget() {
    let alone = without_redis(a_rate(4, 40));
    let calls = (0..20).map(|_| alone.admit(Urgency::Now));

    let answers = join_all(calls).await;

    let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(admitted, 12, "a quarter of the burst at once, then one each second for 2 s");
}

#[tokio::test]
async fn whoever_would_wait_too_long_is_told_when_to_come_back() {
    let one = Coordination::local(a_rate(1, 1));
    let started = Instant::now();

    let answers = join_all((0..10).map(|_| one.admit(Urgency::Now))).await;

    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3, "now, and after 1 and 2 s: {answers:?}");
    let held_back = answers.into_iter().find_map(Result::err).unwrap();
    assert!(held_back.retry_after > LONGEST_TURN && held_back.retry_after <= SECOND * 3, "{held_back:?}");
    assert!(started.elapsed() >= Duration::from_millis(1_900), "{:?}", started.elapsed());
}

#[test]
fn a_burst_goes_at_once_and_the_rest_in_turn() {
    let pace = Pace::new(GatewayRate { per_second: 10, burst: 5 });
    let mut bucket = Bucket::default();
    let now = Instant::now() + SECOND;
    let mut wait_ms = |at| bucket.take_turn(pace, Urgency::Now, at).unwrap().as_millis();

    let waits: Vec<_> = (0..8).map(|_| wait_ms(now)).collect();
    assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200, 300]);

    let rested = now + SECOND * 60;
    let waits: Vec<_> = (0..7).map(|_| wait_ms(rested)).collect();
    assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200], "a long rest must save up one burst and no more");
}

/// An outage that ends is noticed within five seconds, however long it was.
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

#[test]
fn the_line_of_those_who_come_back_is_paced_and_has_an_end() {
    let pace = Some(Pace::new(GatewayRate { per_second: 20, burst: 40 }));
    let (mut line, now) = (Line::default(), Instant::now());

    let places: Vec<Duration> = (0..5_000).map(|_| line.place(Urgency::Now, SECOND, pace, now)).collect();

    assert_eq!(places[..3], [SECOND, Duration::from_millis(1_050), Duration::from_millis(1_100)]);
    assert!(places.iter().all(|place| *place <= SECOND * 62), "nobody waits for ever");
    let late = places[2_000..].iter().filter(|place| **place > SECOND * 31).count();
    assert!((1_200..1_800).contains(&late), "those beyond its end are spread: {late} of 3000 in its second half");
    assert_eq!(line.place(Urgency::Later, SECOND, pace, now), SECOND, "late ones have a line of their own");
}

/// Each of the two who were told keeps the longer wish by itself; a third knows only what they share.
#[tokio::test]
async fn less_patience_than_was_asked_for_before_changes_nothing_for_a_third() {
    let [a, b, c] = processes(None);
    a.ask_for_patience(SECOND * 60).await;
    b.ask_for_patience(Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    let held_back = c.admit(Urgency::Now).await.unwrap_err();

    assert_eq!(held_back.obstacle, Obstacle::RetryAfter);
    assert!(held_back.retry_after > SECOND * 50, "{held_back:?}");
}

/// As after an outage of hours, whose probes have all failed.
#[tokio::test]
async fn a_gateway_that_is_back_is_found_soon_however_long_it_was_away() {
    let server = an_installation();
    let [a, b] = [(); 2].map(|()| Coordination::redis(server.clone(), None));
    break_down(&a, &b).await;
    let mut commands = server.commands();
    let _: i64 = ::redis::cmd("HSET")
        .arg(server.key("gateway-weather"))
        .arg(&["failed_probes", "60", "open_until", "1"])
        .query_async(&mut commands)
        .await
        .unwrap();

    let probe = a.admit(Urgency::Now).await.unwrap();
    assert!(probe.is_probe());
    a.settle(probe, DOWN).await;

    b.look().await;
    let opens_in = b.view().breaker.opens_in;
    assert!(opens_in > LONGEST_WAIT / 2 && opens_in <= LONGEST_WAIT, "{opens_in:?}");
}
