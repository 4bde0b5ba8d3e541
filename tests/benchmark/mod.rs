//! The speed and the cost of the real program on this machine, with the sandbox as its gateway.
//!
//! The load, the program, its servers and the sandbox share the machine, so the figures are those of the whole.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use limits::MachineLimits;
use report::Section;
use setup::Setup;

mod burst;
mod calls;
mod grown;
mod jobs;
mod limits;
mod lists;
mod load;
mod machine;
mod report;
mod rest;
mod setup;
mod shop;
mod siege;
mod soak;
mod usage;
mod webhook;
mod workers;

/// The parts that can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A shop's day with `tasdiq up`.
    Up,
    /// A shop's day with the roles on Redis and PostgreSQL.
    Servers,
    /// The webhook at a steady rate, with all parts running and with some away.
    Webhook,
    /// The calls of Payme and Click at a steady rate, and what a call costs that proves nothing.
    Calls,
    /// The webhook while no worker runs, and the settlement afterwards.
    Burst,
    /// The cost of a job without its work.
    Jobs,
    /// The program at rest: its start, its idle cost, and its size.
    Rest,
    /// A short day with few and with very many orders in the tables.
    Grown,
    /// Lists of orders where there are very many.
    Lists,
    /// A short day with one worker, and with more.
    Workers,
    /// Callbacks while all other resources are taken.
    Siege,
    /// Half an hour of load.
    Soak,
}

impl Part {
    /// All parts that take minutes.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) const USUAL: [Part; 11] = [
        Part::Up,
        Part::Servers,
        Part::Webhook,
        Part::Calls,
        Part::Burst,
        Part::Jobs,
        Part::Rest,
        Part::Workers,
        Part::Siege,
        Part::Lists,
        Part::Grown,
    ];

    /// The part of this name.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "up" => Part::Up,
            "servers" => Part::Servers,
            "webhook" => Part::Webhook,
            "calls" => Part::Calls,
            "burst" => Part::Burst,
            "jobs" => Part::Jobs,
            "rest" => Part::Rest,
            "grown" => Part::Grown,
            "lists" => Part::Lists,
            "workers" => Part::Workers,
            "siege" => Part::Siege,
            "soak" => Part::Soak,
            _ => return None,
        })
    }
}

/// The extent of the measurements.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Payments one at a time, and the same number again at a rate.
    payments: usize,
    /// How long each load lasts.
    load: Duration,
    /// How long the webhook is asked at each rate.
    webhook: Duration,
    /// Callbacks a second.
    rates: &'static [u32],
    /// How long 99 of 100 calls of Payme and Click may take, if that is judged.
    called_within: Option<Duration>,
    /// More callbacks in a millisecond than can be answered.
    burst: u128,
    /// Empty jobs; a fifth of them in a large backlog.
    jobs: u64,
    /// The number of small backlogs besides the large one.
    small_backlogs: u64,
    /// How often a program is started.
    starts: usize,
    /// How long the program rests.
    rest: Duration,
    /// Numbers of orders in the tables.
    grown: &'static [i64],
    /// The number of orders of which lists are asked for.
    listed: i64,
    /// How often each list is asked for.
    lists: usize,
    /// How long 99 of 100 lists may take, if that is judged.
    listed_within: Option<Duration>,
    /// Numbers of workers.
    workers: &'static [usize],
    /// How long a siege lasts.
    siege: Duration,
    /// How long 99 of 100 callbacks may take during a siege, if that is judged.
    besieged_within: Option<Duration>,
    /// How long the soak lasts.
    soak: Duration,
}

impl Extent {
    /// The extent for published figures.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) const FULL: Extent = Extent {
        payments: 200,
        load: Duration::from_secs(12),
        webhook: Duration::from_secs(20),
        rates: &[100, 500],
        called_within: Some(Duration::from_millis(50)),
        burst: 14,
        jobs: 500_000,
        small_backlogs: 30,
        starts: 20,
        rest: Duration::from_secs(30),
        grown: &[10_000, 1_000_000],
        listed: 1_000_000,
        lists: 200,
        listed_within: Some(Duration::from_millis(50)),
        workers: &[1, 2, 4, 8],
        siege: Duration::from_secs(60),
        besieged_within: Some(Duration::from_millis(100)),
        soak: Duration::from_secs(30 * 60),
    };
    /// The extent of a test, which takes seconds.
    pub(crate) const QUICK: Extent = Extent {
        payments: 5,
        load: Duration::from_millis(500),
        webhook: Duration::from_secs(1),
        rates: &[20],
        called_within: None,
        burst: 1,
        jobs: 5_000,
        small_backlogs: 2,
        starts: 2,
        rest: Duration::from_secs(1),
        grown: &[500],
        listed: 5_000,
        lists: 4,
        listed_within: None,
        workers: &[1, 2],
        siege: Duration::from_secs(8),
        besieged_within: None,
        soak: Duration::from_secs(2),
    };
}

/// The results.
pub(crate) struct Report {
    /// Tables for people, in Markdown.
    pub(crate) text: String,
    /// Figures for programs.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) json: Value,
    /// One sentence for each value that is not as it must be.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) faults: Vec<String>,
}

/// Measures these parts, one after the other: a part that still runs would disturb the next one.
pub(crate) async fn run(parts: &[Part], extent: Extent) -> Report {
    let limits = MachineLimits::measure(extent.load / 4).await;
    let mut text = format!("{}\n", limits.table());
    let (mut measured, mut faults) = (Vec::new(), Vec::new());
    for part in parts {
        let sections = match part {
            Part::Up => vec![day(Setup::embedded().await, extent).await],
            Part::Servers => vec![day(Setup::servers(2).await, extent).await],
            Part::Webhook => vec![webhook::measure(extent).await],
            Part::Calls => {
                let (sections, found) = calls::measure(extent).await;
                faults.extend(found);
                sections
            }
            Part::Burst => burst::measure(extent).await.into(),
            Part::Jobs => jobs::measure(extent).await,
            Part::Rest => vec![rest::measure(extent).await],
            Part::Grown => grown::measure(extent).await,
            Part::Lists => {
                let (sections, found) = lists::measure(extent).await;
                faults.extend(found);
                sections
            }
            Part::Workers => vec![workers::measure(extent).await],
            Part::Siege => {
                let (section, found) = siege::measure(extent).await;
                faults.extend(found);
                vec![section]
            }
            Part::Soak => vec![soak::measure(extent).await],
        };
        for section in sections {
            text.push_str(&section.text(limits.inserts()));
            measured.extend(section.json(limits.inserts()));
        }
    }
    let machine = machine::describe().await;
    text.push_str(&machine);
    Report { text, json: json!({ "machine": machine, "limits": limits.json(), "measured": measured }), faults }
}

async fn day(setup: Setup, extent: Extent) -> Section {
    let setup = Arc::new(setup);
    Section::of_rows(setup.name(), shop::day(&setup, extent).await)
}

/// The figures of these runs are not for publication. The tests check that there are figures, in a plausible range.
#[cfg(test)]
#[allow(dead_code, reason = "the benchmark itself has no tests")]
mod tests {
    use super::*;

    /// The rate of 64 clients in thousandths of the one-row inserts of the same run, on a quiet machine of two
    /// processors: with `tasdiq up`, and with the roles. The program of a test is not optimized.
    const KEPT: [(&str, u64, u64); 2] =
        [("order made, answered with its link", 38, 31), ("callback answered with 1, debited, settled", 42, 37)];

    /// The rates that are below a third of the kept ones.
    fn slow(measured: &[Value]) -> Vec<String> {
        let rates = |what: &str| {
            let rows = measured.iter().filter(|row| row["what"] == what && row["load"] == "64 clients");
            rows.map(|row| row["thousandths_of_inserts"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        let mut slow = Vec::new();
        for (what, up, servers) in KEPT {
            let rates = rates(what);
            println!("{what}: {rates:?} thousandths of one-row inserts, {:?} are kept", [up, servers]);
            assert_eq!(rates.len(), 2, "{measured:?}");
            slow.extend(
                [up, servers].iter().zip(&rates).filter(|(kept, rate)| *rate * 3 < **kept).map(|_| what.to_owned()),
            );
        }
        slow
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_benchmark_measures_a_day_and_nothing_takes_three_times_as_long_as_it_did() {
        let mut seen = Vec::new();
        // Another program may slow the machine for a moment. A rate that is really low is low each time.
        for _ in 0..3 {
            let report = run(&[Part::Up, Part::Servers], Extent::QUICK).await;
            let measured = report.json["measured"].as_array().unwrap();
            check(&report.text, measured);
            seen = slow(measured);
            if seen.is_empty() {
                return;
            }
        }
        panic!("three times as slow as it was, or more, in three of three runs: {seen:?}");
    }

    /// Generous: the program of a test is not optimized and shares the machine with other tests. `tests/bench siege`
    /// gives the figure.
    const CALLBACK_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);

    /// There are more connections than places, refused requests, a full log disk and pages that are loaded again and
    /// again. The gateway gets its answers all the same, and the memory of the process does not grow.
    /// Shows: INVARIANT-25
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn callbacks_are_answered_while_everything_else_is_taken() {
        let mut seen = Vec::new();
        // Another program may slow the machine for a moment. A rate that is really low is low each time.
        for _ in 0..3 {
            let siege = siege::lay(Extent::QUICK.siege, &[]).await;
            let p99 = siege.callbacks.percentile(99).expect("there were some");
            println!("p99 {p99:?}, {} KiB, {} of {} held", siege.peak_kib, siege.held, siege.places);
            assert!(siege.refused > 0 && siege.pages > 0, "{} and {}", siege.refused, siege.pages);
            assert_eq!(siege.unanswered, 0, "of {}", siege.callbacks.count());
            assert!(siege.peak_kib <= siege::MOST_KIB, "{} KiB", siege.peak_kib);
            if p99 <= CALLBACK_WITHIN && siege.was_laid() {
                return;
            }
            seen.push((p99, siege.held));
        }
        panic!(
            "the gateway waited too long for one answer in a hundred, or too few places were taken, three times: {seen:?}"
        );
    }

    fn check(report: &str, measured: &[Value]) {
        // Each load has a line of speed and a line of cost.
        assert_eq!(report.matches("\n| order made, answered with its link |").count(), 12, "{report}");
        assert_eq!(report.matches("\n| callback ").count(), 24, "{report}");
        assert_eq!(report.matches("\n| the same, the gateway takes ").count(), 8, "{report}");
        assert_eq!(report.matches("\n| customer confirms").count(), 4, "{report}");
        assert_eq!(measured.len(), 32, "{measured:?}");
        assert!(measured.iter().all(|row| row["errors"] == 0 && row["number"].as_u64() > Some(0)), "{measured:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_benchmark_measures_the_webhook() {
        let Report { text: report, json, .. } = run(&[Part::Webhook, Part::Burst], Extent::QUICK).await;

        for away in webhook::MissingPart::ALL {
            assert!(report.contains(&format!("\n| 20 a second, {} | 20 | 20 | ", away.name())), "{report}");
        }
        assert_eq!(report.matches("| 64 clients |").count(), 4, "{report}");
        assert_eq!(report.matches("| 256 clients |").count(), 2, "{report}");
        assert!(report.contains("\n| callbacks that wait | orders paid a second"), "{report}");
        let measured = json["measured"].as_array().unwrap();
        assert!(measured.iter().all(|row| row["errors"] == 0 && row["number"].as_u64() > Some(0)), "{measured:?}");
    }

    #[test]
    fn calls_that_are_late_or_wrong_are_faults_of_the_benchmark() {
        let judged = |last_ms: u64, wrong| {
            let times = (1..=100).map(|number| Duration::from_millis(if number < 99 { 5 } else { last_ms }));
            calls::judged(
                calls::MeasuredCall::Prepare,
                "500 a second",
                &load::Figures::of(times),
                wrong,
                Duration::from_millis(50),
            )
        };

        assert_eq!(judged(50, 0), [""; 0]);
        assert_eq!(
            judged(51, 0),
            ["Prepare at 500 a second: 99 of 100 answers took up to 51.0 ms, and may take 50 ms"]
        );
        assert_eq!(judged(5, 2), ["Prepare at 500 a second: 2 were refused or wrong"]);
        assert_eq!(Extent::FULL.called_within, Some(Duration::from_millis(50)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_benchmark_measures_the_calls_of_payme_and_click() {
        let Report { text: report, json, faults } = run(&[Part::Calls], Extent::QUICK).await;

        assert_eq!(faults, [""; 0]);

        for call in ["CheckPerformTransaction", "CreateTransaction", "PerformTransaction", "Prepare", "Complete"] {
            assert!(report.contains(&format!("\n| 20 a second | {call} | 4 | 0 | ")), "{report}");
        }
        let measured = json["measured"].as_array().unwrap();
        assert_eq!(measured.len(), 9, "{measured:?}");
        assert!(measured.iter().all(|row| row["errors"] == 0 && row["number"].as_u64() > Some(0)), "{measured:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_benchmark_measures_the_lists_of_orders() {
        let Report { text: report, json, faults } = run(&[Part::Lists], Extent::QUICK).await;

        assert_eq!(faults, [""; 0]);
        assert_eq!(Extent::FULL.listed_within, Some(Duration::from_millis(50)));
        assert_eq!(report.matches("\n| no filter | 8 | 0 | ").count(), 2, "{report}");
        let measured = json["measured"].as_array().unwrap();
        assert_eq!(measured.len(), 26, "{measured:?}");
        assert!(measured.iter().all(|row| row["errors"] == 0 && row["number"].as_u64() > Some(0)), "{measured:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_benchmark_measures_the_rest() {
        let parts = [Part::Jobs, Part::Rest, Part::Grown, Part::Workers, Part::Soak];
        let Report { text: report, json, .. } = run(&parts, Extent::QUICK).await;

        for line in [
            "64 | ",
            "256 | ",
            "SQLite, queue in the process | 5 |",
            "`tasdiq up` |",
            "API |",
            "worker |",
            "all roles |",
            "the program |",
        ] {
            assert!(report.contains(&format!("\n| {line}")), "no line of {line} in {report}");
        }
        assert_eq!(report.matches("| 64 clients, 500 orders in the tables |").count(), 8, "{report}");
        assert_eq!(report.matches("| 64 clients, 2 workers |").count(), 6, "{report}");
        assert!(report.contains("| queues empty |"), "{report}");
        let measured = json["measured"].as_array().unwrap();
        assert!(measured.iter().all(|row| row["errors"].as_u64().unwrap_or_default() == 0), "{json}");
    }
}
