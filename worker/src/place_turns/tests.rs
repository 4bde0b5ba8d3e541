use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The turns of an account all of whose places are taken, and whose jobs took so long.
fn busy(places: usize, run: Duration) -> PlaceTurns {
    PlaceTurns { running: places, moved_at: Duration::ZERO, run, next: NextTurns::default() }
}

/// All places of an account are taken, and so many jobs may wait.
fn full(waiting: usize) -> Room {
    Room::new(0, waiting, false)
}

proptest! {
    /// Shows: ADMISSION-22
    #[test]
    fn no_job_is_put_off_beyond_the_furthest_turn(
        acts in prop::collection::vec((0_u32..3, 0_u32..1_500, 0_u32..30_000, 0_usize..50, any::<bool>(), 0_u32..1_000), 1..300),
    ) {
        let (mut turns, mut now) = (PlaceTurns::default(), Duration::ZERO);
        for (act, later_ms, took_ms, number, is_late, spread_permille) in acts {
            now += later_ms * MS;
            match act {
                0 => turns.begin(now),
                1 => turns.end(now, now.saturating_sub(took_ms * MS)),
                _ => {
                    let room = Room::new(number / 2, number, is_late);
                    let wait = turns.give_out(now, room, spread_permille);
                    prop_assert!(wait <= FURTHEST_TURN, "{wait:?}");
                }
            }
        }
    }

    /// Shows: ADMISSION-22
    #[test]
    fn no_more_turns_are_given_out_for_a_second_than_places_become_free_in_it(
        run_ms in 20_u32..5_000,
        places in 1_usize..100,
        waiting in 1_usize..64,
        arrivals_ms in prop::collection::vec(0_u32..20, 1..2_000),
    ) {
        let (mut turns, mut now, mut given_out) = (busy(places, run_ms * MS), Duration::ZERO, Vec::new());
        for later_ms in arrivals_ms {
            now += later_ms * MS;
            turns.moved_at = now;
            let before = turns.next;
            let wait = turns.give_out(now, full(waiting), 0);
            if turns.next != before {
                given_out.push(now + wait);
            }
        }

        // Those of a step before it come in it, and all are a little closer together than the ends.
        let ends = (SECOND + MS * 128).as_nanos() / turns.interval(full(waiting)).as_nanos();
        let most = ends * u128::from(CLOSER) / u128::from(CLOSER - 1) + 2;
        for (nth, turn) in given_out.iter().enumerate() {
            let in_second = given_out[nth..].iter().take_while(|other| **other < *turn + SECOND).count();
            prop_assert!(in_second as u128 <= most, "{in_second} and {most}");
        }
    }

    /// Shows: ADMISSION-22
    #[test]
    fn places_are_in_use_while_jobs_without_one_are_put_off(
        run_ms in 100_u32..3_000,
        unevenness in 0_u32..100,
        places in 2_usize..49,
        seed in any::<u64>(),
    ) {
        let mut account = Account::new(places, places * 2 / 3, run_ms * MS, unevenness, seed);
        let in_half_a_minute = places * 30_000 / run_ms as usize;
        let jobs = in_half_a_minute + 200;
        for job in 0..jobs {
            account.add(MS * u32::try_from(job).unwrap(), false);
        }
        account.work_off();

        let used = account.used_percent();
        prop_assert!(used >= 90, "{used} %");
        let most = 4 * jobs + jobs * jobs / in_half_a_minute;
        prop_assert!(account.runs <= most, "{} runs of {jobs} jobs", account.runs);
    }
}

/// Shows: ADMISSION-22
#[test]
fn the_pace_before_a_silence_gives_out_no_turn_after_it() {
    let mut turns = busy(10, SECOND * 3);
    for _ in 0..60 {
        turns.give_out(Duration::ZERO, full(8), 0);
    }
    assert!(turns.give_out(Duration::ZERO, full(8), 0) > SECOND * 10);

    let silent = SECOND * 5;
    assert_eq!(turns.may_wait(silent, full(8)), 0);
    assert_eq!(turns.give_out(silent, full(8), 500), SECOND * 3);

    turns.end(silent, silent - MS * 100);
    let turn = turns.give_out(silent, full(8), 0);
    assert!(turn < SECOND, "{turn:?}");
}

#[test]
fn so_many_jobs_wait_as_have_places_in_a_second() {
    assert_eq!(busy(10, SECOND).may_wait(Duration::ZERO, full(32)), 10);
    assert_eq!(busy(10, MS * 100).may_wait(Duration::ZERO, full(32)), 32);
    assert_eq!(busy(1, SECOND * 5).may_wait(Duration::ZERO, full(32)), 1);
}

/// A thousand jobs that may wait, and one every 200 ms for which a customer waits.
/// Shows: ADMISSION-22
#[test]
fn a_customer_does_not_wait_behind_jobs_that_may_wait() {
    let mut account = Account::new(12, 8, MS * 500, 50, 7);
    for job in 0..1_000 {
        account.add(MS * job, true);
    }
    for job in 0..100 {
        account.add(MS * 200 * job, false);
    }

    account.work_off();

    assert!(account.longest_soon < SECOND * 2, "{:?}", account.longest_soon);
    assert!(account.used_percent() >= 90, "{} %", account.used_percent());
}

/// An account's places in a time of their own.
#[derive(Debug)]
struct Account {
    turns: PlaceTurns,
    now: Duration,
    free: usize,
    most_waiting: usize,
    run: Duration,
    unevenness: u32,
    random: u64,
    /// When each job was first due, and whether it may wait.
    jobs: Vec<(Duration, bool)>,
    /// The jobs that wait, by their number.
    waiting: VecDeque<usize>,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    runs: usize,
    used: Duration,
    /// When there were no longer more jobs than places.
    until: Duration,
    longest_soon: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    StopsWaiting(usize),
    Ends { began_at: Duration },
}

impl Account {
    fn new(places: usize, most_waiting: usize, run: Duration, unevenness: u32, seed: u64) -> Self {
        Account {
            turns: PlaceTurns::default(),
            now: Duration::ZERO,
            free: places,
            most_waiting: most_waiting.max(1),
            run,
            unevenness,
            random: seed,
            jobs: Vec::new(),
            waiting: VecDeque::new(),
            events: BinaryHeap::new(),
            runs: 0,
            used: Duration::ZERO,
            until: Duration::ZERO,
            longest_soon: Duration::ZERO,
        }
    }

    fn add(&mut self, due_at: Duration, is_late: bool) {
        self.events.push(Reverse((due_at, Event::Comes(self.jobs.len()))));
        self.jobs.push((due_at, is_late));
    }

    fn work_off(&mut self) {
        let (places, mut left) = (self.free, self.jobs.len());
        while let Some(Reverse((now, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Comes(job) => self.come(job),
                Event::StopsWaiting(job) => {
                    if self.waiting.contains(&job) {
                        self.waiting.retain(|other| *other != job);
                        self.put_off(job);
                    }
                }
                Event::Ends { began_at } => {
                    self.turns.end(now, began_at);
                    self.free += 1;
                    left -= 1;
                    if left >= 3 * places {
                        self.until = now;
                        self.used += now - began_at;
                    }
                    if let Some(job) = self.waiting.pop_front() {
                        self.begin(job);
                    }
                }
            }
        }
    }

    fn come(&mut self, job: usize) {
        self.runs += 1;
        if self.free > 0 {
            self.begin(job);
        } else if self.waiting.len() < self.turns.may_wait(self.now, self.room(job)) {
            self.waiting.push_back(job);
            self.events.push(Reverse((self.now + LONGEST_WAIT, Event::StopsWaiting(job))));
        } else {
            self.put_off(job);
        }
    }

    fn put_off(&mut self, job: usize) {
        let (room, spread_permille) = (self.room(job), self.draw(1_000));
        let wait = self.turns.give_out(self.now, room, spread_permille);
        self.events.push(Reverse((self.now + wait + MS * 5, Event::Comes(job))));
    }

    fn begin(&mut self, job: usize) {
        let (due_at, is_late) = self.jobs[job];
        if !is_late {
            self.longest_soon = self.longest_soon.max(self.now - due_at);
        }
        self.free -= 1;
        self.turns.begin(self.now);
        let percent = 100 - self.unevenness + self.draw(2 * self.unevenness + 1);
        self.events.push(Reverse((self.now + self.run * percent / 100, Event::Ends { began_at: self.now })));
    }

    fn room(&self, job: usize) -> Room {
        let (_, is_late) = self.jobs[job];
        Room::new(self.free, self.most_waiting, is_late)
    }

    fn used_percent(&self) -> u128 {
        let places = (self.turns.running + self.free) as u128;
        self.used.as_nanos() * 100 / (self.until.as_nanos() * places).max(1)
    }

    /// A random number below this one.
    fn draw(&mut self, below: u32) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.random >> 33).unwrap() % below
    }
}
