//! The number of mutants of a test, their seed, and the file for failing cases.
//!
//! `TASDIQ_TEST_MUTATIONS` is the number (a million for a release); `TASDIQ_TEST_MUTATIONS_SEED` repeats a run.

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};

/// The parts of a run, one per thread, each with its own seed.
pub(crate) struct Mutations {
    seed: u64,
    each: u32,
    threads: u32,
}

impl Mutations {
    /// The requested number, or `few`, which takes some seconds.
    pub(crate) fn asked_for(what: &str, few: u32) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let seed = number("TASDIQ_TEST_MUTATIONS_SEED").unwrap_or_else(|| clock().into());
        let asked = number("TASDIQ_TEST_MUTATIONS").map(|count| u32::try_from(count).unwrap());
        let threads = match asked {
            Some(_) => std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap()),
            None => 1,
        };
        let each = asked.unwrap_or(few).div_ceil(threads);
        println!("{what}: {} mutants, TASDIQ_TEST_MUTATIONS_SEED={seed}", each * threads);
        Mutations { seed, each, threads }
    }

    /// So many, whatever was requested: what is slow, and shown in other ways for the rest.
    #[allow(dead_code, reason = "this file is part of several test crates")]
    pub(crate) fn always(what: &str, few: u32) -> Self {
        Mutations { each: few, threads: 1, ..Mutations::asked_for(what, few) }
    }

    /// Runs `part` on each thread, with its own runner, which first repeats the failing cases stored in `seeds`.
    pub(crate) fn run(&self, seeds: &'static str, part: impl Fn(TestRunner) + Sync) {
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                let config = Config {
                    cases: self.each,
                    rng_seed: RngSeed::Fixed(self.seed + u64::from(thread)),
                    failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
                    max_shrink_iters: 10_000,
                    ..Config::default()
                };
                let part = &part;
                scope.spawn(move || part(TestRunner::new(config)));
            }
        });
    }
}

/// Bytes as a readable line of a corpus, without loss.
pub(crate) fn line(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The bytes of such a line.
pub(crate) fn bytes(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap();
                    u8::try_from(digit() * 16 + digit()).unwrap()
                }
                itself => itself,
            },
            byte => byte,
        });
    }
    bytes
}
