//! The processes and servers of a storm. They are killed and stopped, and started again.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use failpoint::Point;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::plan::{APIS, Calamity, StormPlan, WORKERS};
use super::restarts::{Kill, Outage, Zombie};
use crate::support::front::Front;
use crate::support::installation::SANDBOX_CREDENTIALS;
use crate::support::job_log;
use crate::support::patient::Patient;
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::sandbox::RunningSandbox;
use crate::support::servers::{PrivatePostgres, PrivateRedis};
use crate::support::supervised::{RunEnd, Supervised};
use crate::support::wait::PATIENCE;

/// How often the processes are checked. Often, so that a storm does not consist of pauses.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// A process that was stopped for a shorter time than its leases last is no zombie.
const LEASE_MS: i64 = 8_000;

/// A calamity whose victim is down already is postponed by this.
const POSTPONED: Duration = Duration::from_secs(2);

/// The number of open cases that must end before a storm is over: orders that may still be paid, and jobs. Late
/// inquiries about ended orders do not count, and no inquiries about a refund that was sent, which may take three
/// minutes.
const UNSETTLED: &str = "select (select count(*) from orders where status in ('pending', 'confirming'))
    + (select count(*) from jobs j where j.state in ('available', 'enqueued', 'running') and j.kind <> 'sweep'
        and not (j.kind = 'refund_order' and j.state = 'available' and exists (
            select 1 from refunds r where r.id = j.subject_id and r.sent_at_ms is not null))
        and not (j.kind = 'settle_order' and j.state = 'available' and exists (
            select 1 from orders o where o.id = j.subject_id and o.final_at_ms is not null)))";

pub(crate) struct House {
    pub(crate) postgres: PrivatePostgres,
    pub(crate) redis: PrivateRedis,
    sandbox: RunningSandbox,
    front: Front,
    apis: Vec<Supervised>,
    workers: Vec<Supervised>,
    environment: Vec<(String, String)>,
    asleep: Vec<Asleep>,
    /// When the servers that are down come back.
    redis_back: Option<(Instant, i64)>,
    postgres_back: Option<(Instant, i64)>,
    pub(crate) happened: Happened,
}

/// A stopped worker.
#[derive(Clone, Copy, Debug)]
struct Asleep {
    number: usize,
    process: u32,
    from_ms: i64,
    until: Instant,
}

/// The calamities that have happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happened {
    pub(crate) worker_kills: Vec<Kill>,
    pub(crate) api_kills: Vec<u32>,
    pub(crate) zombies: Vec<Zombie>,
    pub(crate) redis_kills: usize,
    pub(crate) redis_wipes: usize,
    pub(crate) postgres_kills: usize,
    pub(crate) outages: Vec<Outage>,
}

impl House {
    pub(crate) async fn build(plan: &StormPlan) -> House {
        let (postgres, redis) = tokio::join!(PrivatePostgres::start(), PrivateRedis::start());
        let api_ports = [(); APIS].map(|()| free_port());
        let front = Front::begin(api_ports).await;
        let sandbox = RunningSandbox::start(&front.url).await;
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut environment: Vec<(String, String)> = SANDBOX_CREDENTIALS.map(own).to_vec();
        environment.extend([
            own(("ATMOS_BASE_URL", &sandbox.url)),
            own(("DATABASE_URL", &postgres.url())),
            own(("REDIS_URL", &redis.url())),
            own(("TASDIQ_PUBLIC_URL", &front.url)),
            own(("TASDIQ_LINK_WAIT_MS", "300")),
            own(("TASDIQ_PAYMENT_TTL_MINUTES", plan.payment_ttl_minutes)),
            own(("TASDIQ_LOG", "warn")),
        ]);
        let variables: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut migrate = Program::start(&["migrate"], &variables);
        assert!(migrate.wait_exit(PATIENCE).await.success(), "{}", migrate.output());
        job_log::install(&postgres.url()).await;

        let with = |name: &str, value: String| {
            let mut environment = environment.clone();
            environment.push((name.to_owned(), value));
            environment
        };
        let apis = api_ports
            .iter()
            .enumerate()
            .map(|(number, port)| {
                let environment = with("TASDIQ_LISTEN", format!("127.0.0.1:{port}"));
                Supervised::start(&format!("api {number}"), &["api"], &environment, [])
            })
            .collect();
        let workers = (0..WORKERS)
            .map(|number| {
                let mut environment = with("TASDIQ_WORKER_LISTEN", format!("127.0.0.1:{}", free_port()));
                environment.push(("FAILPOINTS".to_owned(), failpoints(plan, number)));
                // Armed at its first start only, so that this defect passes: it kills twice at most.
                let first = (!plan.defects_last && number < 2)
                    .then(|| format!("{};{}=kill", failpoints(plan, number), Point::DefectKills));
                Supervised::start(&format!("worker {number}"), &["worker"], &environment, first)
            })
            .collect();
        House {
            postgres,
            redis,
            sandbox,
            front,
            apis,
            workers,
            environment,
            asleep: Vec::new(),
            redis_back: None,
            postgres_back: None,
            happened: Happened::default(),
        }
    }

    pub(crate) fn patient(&self) -> Patient {
        Patient::new(self.front.url.clone(), self.sandbox.url.clone())
    }

    /// One gateway call of ten fails, half of these after the work was done, and all calls are slow. One callback of
    /// ten is lost, one doubled.
    pub(crate) async fn sandbox_faults(&self) {
        for fault in [
            json!({ "fault": "latency", "milliseconds": 500 }),
            json!({ "fault": "unavailable", "share": 0.05 }),
            json!({ "fault": "answer-lost", "share": 0.03 }),
            json!({ "fault": "malformed", "share": 0.02 }),
            json!({ "fault": "callback-never", "share": 0.1 }),
            json!({ "fault": "callback-doubled", "share": 0.1 }),
        ] {
            self.sandbox.fault(&fault).await;
        }
    }

    /// Lets each calamity of the plan happen at its time.
    pub(crate) async fn rage(&mut self, plan: &StormPlan) {
        let began = Instant::now();
        let mut calamities: VecDeque<(Duration, Calamity)> = plan.calamities.iter().copied().collect();
        while !calamities.is_empty() || began.elapsed() < plan.order_every * u32::try_from(plan.orders).unwrap() {
            if calamities.front().is_some_and(|(at, _)| *at <= began.elapsed()) {
                let (at, calamity) = calamities.pop_front().unwrap();
                if self.spares(calamity) {
                    calamities.push_back((at + POSTPONED, calamity));
                    calamities.make_contiguous().sort_by_key(|(at, _)| *at);
                } else {
                    self.befall(calamity).await;
                }
            }
            self.check_processes().await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    /// Whether the victim is down already.
    fn spares(&self, calamity: Calamity) -> bool {
        match calamity {
            Calamity::KillRedis(_) | Calamity::WipeRedis => self.redis_back.is_some(),
            Calamity::KillPostgres(_) => self.postgres_back.is_some(),
            Calamity::StopWorker(..) => self.asleep.len() > 1,
            Calamity::KillWorker(_) | Calamity::KillApi(_) => false,
        }
    }

    async fn befall(&mut self, calamity: Calamity) {
        match calamity {
            Calamity::KillWorker(number) => {
                let number = self.awake(number);
                let at_ms = now_ms();
                let killed = self.workers[number].kill();
                self.happened.worker_kills.extend(killed.map(|process| Kill { process, at_ms }));
            }
            Calamity::KillApi(number) => {
                let killed = self.apis[number].kill();
                self.happened.api_kills.extend(killed);
            }
            Calamity::StopWorker(number, time) => {
                let number = self.awake(number);
                self.workers[number].signal("STOP");
                let process = self.workers[number].id();
                self.asleep.push(Asleep { number, process, from_ms: now_ms(), until: Instant::now() + time });
            }
            Calamity::KillRedis(away) => {
                self.redis.kill();
                self.redis_back = Some((Instant::now() + away, now_ms()));
                self.happened.redis_kills += 1;
            }
            Calamity::WipeRedis => {
                self.redis.wipe().await;
                // Lost ids wait for the end of their grace.
                self.happened.outages.push(Outage { from_ms: now_ms(), to_ms: now_ms() });
                self.happened.redis_wipes += 1;
            }
            Calamity::KillPostgres(away) => {
                self.postgres.kill();
                self.postgres_back = Some((Instant::now() + away, now_ms()));
                self.happened.postgres_kills += 1;
            }
        }
    }

    /// This worker, or the next one that is not asleep: a killed zombie would never wake.
    fn awake(&self, number: usize) -> usize {
        let is_asleep = |number: &usize| self.asleep.iter().any(|asleep| asleep.number == *number);
        (number..number + WORKERS).map(|number| number % WORKERS).find(|number| !is_asleep(number)).unwrap_or(number)
    }

    /// Starts ended processes again, and wakes workers that have slept long enough.
    async fn check_processes(&mut self) {
        for program in self.apis.iter_mut().chain(&mut self.workers) {
            program.look();
        }
        let now = Instant::now();
        for asleep in std::mem::take(&mut self.asleep) {
            let worker = &mut self.workers[asleep.number];
            if worker.id() != asleep.process {
                continue;
            }
            if asleep.until > now {
                self.asleep.push(asleep);
                continue;
            }
            let to_ms = now_ms();
            worker.signal("CONT");
            if to_ms - asleep.from_ms > LEASE_MS {
                self.happened.zombies.push(Zombie { process: asleep.process, from_ms: asleep.from_ms, to_ms });
            }
        }
        if let Some((_, from_ms)) = self.redis_back.take_if(|(at, _)| *at <= now) {
            self.redis.restart().await;
            self.happened.outages.push(Outage { from_ms, to_ms: now_ms() });
        }
        if let Some((_, from_ms)) = self.postgres_back.take_if(|(at, _)| *at <= now) {
            self.postgres.restart().await;
            self.happened.outages.push(Outage { from_ms, to_ms: now_ms() });
        }
    }

    /// Ends all trouble: servers and processes come back.
    pub(crate) async fn clear_skies(&mut self) {
        self.sandbox.clear_faults().await;
        while !self.asleep.is_empty() || self.redis_back.is_some() || self.postgres_back.is_some() {
            self.check_processes().await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    /// Supervises the processes until `done` is over. Returns its result.
    pub(crate) async fn supervise_until<T>(&mut self, done: impl Future<Output = T>) -> T {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                result = &mut done => return result,
                () = tokio::time::sleep(CHECK_EVERY) => self.check_processes().await,
            }
        }
    }

    /// Waits until every order has ended and no job is under way. Returns the number of cases that are still open.
    pub(crate) async fn settle(&mut self, within: Duration) -> i64 {
        let deadline = Instant::now() + within;
        let mut told = Instant::now();
        loop {
            let unsettled = self.number(UNSETTLED).await;
            if unsettled == 0 || Instant::now() > deadline {
                return unsettled;
            }
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                println!("{unsettled} orders and jobs are still under way");
            }
            self.supervise_until(tokio::time::sleep(Duration::from_millis(500))).await;
        }
    }

    /// A connection to the database for the test itself.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.postgres.url()).await.unwrap()
    }

    /// The number a query returns.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        let mut connection = self.connection().await;
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    pub(crate) async fn ledger(&self) -> Vec<serde_json::Value> {
        self.sandbox.ledger().await
    }

    /// The unexpected ends of processes: neither killed by the test nor ended by an injected defect.
    pub(crate) fn strange_ends(&self) -> Vec<String> {
        let strange = self
            .endings()
            .filter(|(_, ending)| !self.is_killed(ending) && !ending.is_by_failpoint(Point::DefectKills.as_str()));
        strange.map(|(name, ending)| format!("{name}: {}\n{}", ending.status, last_lines(&ending.output))).collect()
    }

    fn endings(&self) -> impl Iterator<Item = (&str, &RunEnd)> {
        let programs = self.apis.iter().chain(&self.workers);
        programs.flat_map(|program| program.endings().iter().map(move |ending| (program.name(), ending)))
    }

    /// Whether the test killed this process.
    fn is_killed(&self, ending: &RunEnd) -> bool {
        let workers = self.happened.worker_kills.iter().map(|kill| kill.process);
        let mut killed = workers.chain(self.happened.api_kills.iter().copied());
        ending.status.signal() == Some(9) && killed.any(|process| process == ending.process)
    }

    /// How many workers and how many APIs the test has killed.
    pub(crate) fn killed(&self) -> (usize, usize) {
        let killed = |programs: &[Supervised]| {
            let endings = programs.iter().flat_map(Supervised::endings);
            endings.filter(|ending| self.is_killed(ending)).count()
        };
        (killed(&self.workers), killed(&self.apis))
    }

    /// How often a job with a defect ended its process, a worker or a process of suspects, whose output is a part of
    /// the worker's.
    pub(crate) fn defect_ends(&self) -> usize {
        let line = format!("failpoint {}: this process ends here", Point::DefectKills);
        let earlier = self.workers.iter().flat_map(Supervised::endings).map(|ending| ending.output.clone());
        let outputs = earlier.chain(self.workers.iter().map(Supervised::output));
        outputs.map(|output| output.matches(&line).count()).sum()
    }

    /// Runs a command of the operator. Returns whether it succeeded, and its output.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (bool, String) {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut program = Program::start(arguments, &environment);
        let status = program.wait_exit(Duration::from_secs(300)).await;
        (status.success(), program.output())
    }
}

/// Injected defects, and one host with a wrong clock.
fn failpoints(plan: &StormPlan, number: usize) -> String {
    let mut points = match plan.defects_last {
        true => vec![
            format!("{}=kill", Point::DefectKills),
            format!("{}=panic", Point::DefectPanics),
            format!("{}=return", Point::DefectFails),
        ],
        // Once per process: killed workers have many successors, and ten failures end a job.
        false => {
            vec![format!("{}=1*panic->off", Point::DefectPanics), format!("{}=1*return->off", Point::DefectFails)]
        }
    };
    if number == WORKERS - 1 {
        points.push(format!("{}=return", Point::HostClockAhead));
    }
    points.join(";")
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
