//! The processes and servers of a storm. They are killed and stopped, and started again.

use std::collections::{HashSet, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::order::PaymentType;
use failpoint::Point;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::accounts::{accounts, identity, without_account};
use super::faults::{SELDOM, no_answer_from, of_atmos, of_click, of_payme};
use super::plan::{APIS, Calamity, StormPlan, WORKERS, Whose};
use super::restarts::{Kill, Outage, Zombie};
use crate::support::front::Front;
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

/// The longest outage of one gateway. It ends as soon as it has shown that the others go on, and is looked at so often.
const LONGEST_OUTAGE_MS: i64 = 40_000;
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// A calamity whose victim is down already is postponed by this.
const POSTPONED: Duration = Duration::from_secs(2);

/// The number of open cases that must end before a storm is over: orders that may still be paid, and jobs. Late
/// inquiries about ended orders do not count, and no inquiries about a refund that was sent, which may take three
/// minutes. Orders of payers who left wait for hours.
const UNSETTLED: &str = "select (select count(*) from orders where status in ('pending', 'confirming')
        and id <> all($1))
    + (select count(*) from jobs j where j.state in ('available', 'enqueued', 'running') and j.kind <> 'sweep'
        and not (j.kind = 'settle_order' and j.state = 'available' and j.subject_id = any($1))
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
    /// The variables of each API and each worker.
    api_environments: Vec<Vec<(String, String)>>,
    worker_environments: Vec<Vec<(String, String)>>,
    asleep: Vec<Asleep>,
    lacking: Option<Lacking>,
    away: Option<Away>,
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

/// Processes without one of their accounts.
#[derive(Clone, Copy, Debug)]
struct Lacking {
    whose: Whose,
    gateway: PaymentType,
    from_ms: i64,
    until: Instant,
}

/// A gateway that no call of ours reaches.
#[derive(Clone, Copy, Debug)]
struct Away {
    outage: GatewayOutage,
    until: Instant,
    /// How often processes had told until then that its circuit breaker is open.
    told_open: usize,
}

/// A time in which no call of ours reached one gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayOutage {
    pub(crate) gateway: PaymentType,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// Whether a process told that its circuit breaker is open.
    pub(crate) was_open: bool,
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
    pub(crate) gateway_outages: Vec<GatewayOutage>,
    /// How often processes began without one of their accounts.
    pub(crate) accounts_taken: usize,
    /// Orders whose debit was told while no worker had their account, and that were not paid before it came back.
    pub(crate) waited_for_account: HashSet<i64>,
}

/// The points in calls of Payme and Click at which the first and the second API die, one after the other.
const DEATHS_IN_CALLS: [[Point; 4]; APIS] = [
    [Point::BeginAfterCommit, Point::DebitedBeforeCommit, Point::FailedAfterCommit, Point::ReversedBeforeCommit],
    [Point::DebitedAfterCommit, Point::FailedBeforeCommit, Point::ReversedAfterCommit, Point::BeginBeforeCommit],
];

impl House {
    pub(crate) async fn build(plan: &StormPlan) -> House {
        let (postgres, redis) = tokio::join!(PrivatePostgres::start(), PrivateRedis::start());
        let api_ports = [(); APIS].map(|()| free_port());
        let front = Front::begin(api_ports).await;
        let sandbox = RunningSandbox::start(&front.url).await;
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut environment = accounts(&sandbox.url);
        environment.extend([
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

        let with = |name: &str, port: u16| {
            let mut environment = environment.clone();
            environment.push((name.to_owned(), format!("127.0.0.1:{port}")));
            environment
        };
        let api_environments: Vec<_> = api_ports.iter().map(|port| with("TASDIQ_LISTEN", *port)).collect();
        let worker_environments: Vec<_> = (0..WORKERS)
            .map(|number| {
                let mut environment = with("TASDIQ_WORKER_LISTEN", free_port());
                environment.push(("FAILPOINTS".to_owned(), failpoints(plan, number).join(";")));
                environment
            })
            .collect();
        let apis = api_environments
            .iter()
            .enumerate()
            .map(|(number, environment)| {
                let deaths = DEATHS_IN_CALLS[number];
                let first = format!("{}=kill", deaths[0]);
                let mut api = Supervised::start(&format!("api {number}"), &["api"], environment, [first]);
                api.dies_at(deaths);
                api
            })
            .collect();
        let workers = worker_environments
            .iter()
            .enumerate()
            .map(|(number, environment)| {
                let first = (!plan.defects_last).then(|| [passing_defects(number), failpoints(plan, number)].concat());
                let first = first.map(|points| points.join(";"));
                Supervised::start(&format!("worker {number}"), &["worker"], environment, first)
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
            api_environments,
            worker_environments,
            asleep: Vec::new(),
            lacking: None,
            away: None,
            redis_back: None,
            postgres_back: None,
            happened: Happened::default(),
        }
    }

    pub(crate) fn patient(&self) -> Patient {
        Patient::new(self.front.url.clone(), self.sandbox.url.clone())
    }

    /// One gateway call of ten fails, half of these after the work was done, and all calls are slow. One callback of
    /// ten is lost, one doubled. Debits fail, payers leave, and Payme's and Click's calls come early, late, twice and altered.
    pub(crate) async fn sandbox_faults(&self) {
        for (gateway, faults) in [("", of_atmos()), ("/payme", of_payme()), ("/click", of_click())] {
            for fault in faults {
                self.sandbox.fault_at(gateway, &fault).await;
            }
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
            self.watch_gateway().await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    /// Whether the victim is down already, or another calamity would hide what this one shows.
    fn spares(&self, calamity: Calamity) -> bool {
        match calamity {
            Calamity::KillRedis(_) | Calamity::WipeRedis => self.redis_back.is_some() || self.away.is_some(),
            Calamity::KillPostgres(_) => self.postgres_back.is_some() || self.away.is_some(),
            Calamity::StopWorker(..) => self.asleep.len() > 1 || self.lacking.is_some(),
            Calamity::TakeAccount(..) => {
                let is_asleep = !self.asleep.is_empty();
                is_asleep || self.lacking.is_some() || self.away.is_some() || self.postgres_back.is_some()
            }
            Calamity::GatewayAway(..) => {
                let servers_are_back = self.redis_back.is_none() && self.postgres_back.is_none();
                !servers_are_back || self.lacking.is_some() || self.away.is_some()
            }
            Calamity::KillWorker(_) | Calamity::KillApi(_) => false,
        }
    }

    async fn befall(&mut self, calamity: Calamity) {
        match calamity {
            Calamity::KillWorker(number) => {
                let number = self.busy(number).await;
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
            Calamity::TakeAccount(whose, gateway, time) => {
                self.begin_anew(whose, |environment| without_account(environment, gateway));
                self.lacking = Some(Lacking { whose, gateway, from_ms: now_ms(), until: Instant::now() + time });
                self.happened.accounts_taken += 1;
            }
            Calamity::GatewayAway(gateway, time) => {
                let (path, fault) = no_answer_from(gateway);
                self.sandbox.fault_at(path, &json!({ "fault": fault, "share": 1.0 })).await;
                let outage = GatewayOutage { gateway, from_ms: now_ms(), to_ms: i64::MAX, was_open: false };
                let told_open = self.told_open(gateway);
                self.away = Some(Away { outage, until: Instant::now() + time, told_open });
            }
        }
    }

    /// Kills these processes; their successors have their variables changed by `change`.
    fn begin_anew(&mut self, whose: Whose, change: impl Fn(&[(String, String)]) -> Vec<(String, String)>) {
        let at_ms = now_ms();
        let (apis, workers) = match whose {
            Whose::Api(number) => (number..number + 1, 0..0),
            Whose::Worker(number) => (0..0, number..number + 1),
            Whose::EveryWorker => (0..0, 0..WORKERS),
        };
        for number in apis {
            self.apis[number].begins_with(change(&self.api_environments[number]));
            let killed = self.apis[number].kill();
            self.happened.api_kills.extend(killed);
        }
        for number in workers {
            self.workers[number].begins_with(change(&self.worker_environments[number]));
            let killed = self.workers[number].kill();
            self.happened.worker_kills.extend(killed.map(|process| Kill { process, at_ms }));
        }
    }

    /// Notes which orders wait for the account that every worker lacks.
    async fn note_waiting(&mut self, lacking: Lacking) {
        // PostgreSQL may be away just now.
        let Ok(mut connection) = PgConnection::connect(&self.postgres.url()).await else { return };
        let waiting: Result<Vec<i64>, _> = sqlx::query_scalar(
            "select o.id from orders o join transactions t on t.order_id = o.id
            where o.payment_type = $1 and o.status = 'confirming' and t.debited_at_ms > $2",
        )
        .bind(lacking.gateway.as_str())
        .bind(lacking.from_ms)
        .fetch_all(&mut connection)
        .await;
        self.happened.waited_for_account.extend(waiting.unwrap_or_default());
    }

    /// How often processes told that the circuit breaker of this gateway is open.
    fn told_open(&self, gateway: PaymentType) -> usize {
        let line = format!("the circuit breaker of {} is open", identity(gateway));
        self.outputs().map(|output| output.matches(&line).count()).sum()
    }

    /// The outputs of all processes so far.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = String> {
        let earlier = self.endings().map(|(_, ending)| ending.output.clone());
        earlier.chain(self.apis.iter().chain(&self.workers).map(Supervised::output))
    }

    /// Brings the gateway that is away back in time: not before its outage has shown what it is to show.
    async fn watch_gateway(&mut self) {
        let Some(away) = self.away.take_if(|away| away.until <= Instant::now()) else { return };
        let gateway = away.outage.gateway;
        let was_open = self.told_open(gateway) > away.told_open;
        let is_long = now_ms() - away.outage.from_ms > LONGEST_OUTAGE_MS;
        let has_shown = was_open && self.others_were_paid_since(away.outage).await;
        if !is_long && !has_shown {
            self.away = Some(Away { until: Instant::now() + LOOKED_AT_EVERY, ..away });
            return;
        }
        let (path, fault) = no_answer_from(gateway);
        self.sandbox.fault_at(path, &json!({ "fault": fault, "share": SELDOM })).await;
        self.happened.gateway_outages.push(GatewayOutage { to_ms: now_ms(), was_open, ..away.outage });
    }

    /// Whether an order of each other gateway was paid since the beginning of this outage.
    async fn others_were_paid_since(&self, outage: GatewayOutage) -> bool {
        // PostgreSQL may be away just now.
        let Ok(mut connection) = PgConnection::connect(&self.postgres.url()).await else { return false };
        let paid: Result<i64, _> = sqlx::query_scalar(
            "select count(distinct o.payment_type) from order_history h join orders o on o.id = h.order_id
            where h.to_status = 'paid' and o.payment_type <> $1 and h.at_ms >= $2",
        )
        .bind(outage.gateway.as_str())
        .bind(outage.from_ms)
        .fetch_one(&mut connection)
        .await;
        paid.is_ok_and(|paid| paid == 2)
    }

    /// This worker, or the next one that is not asleep: a killed zombie would never wake.
    fn awake(&self, number: usize) -> usize {
        let is_asleep = |number: &usize| self.asleep.iter().any(|asleep| asleep.number == *number);
        (number..number + WORKERS).map(|number| number % WORKERS).find(|number| !is_asleep(number)).unwrap_or(number)
    }

    /// This worker, or the next one that runs a job and is not asleep: the kill of an idle one shows nothing.
    async fn busy(&self, number: usize) -> usize {
        let is_asleep = |number: &usize| self.asleep.iter().any(|asleep| asleep.number == *number);
        let running: Vec<i64> = match PgConnection::connect(&self.postgres.url()).await {
            Ok(mut connection) => {
                let processes =
                    "select distinct worker_pid from jobs where state = 'running' and worker_pid is not null";
                sqlx::query_scalar(processes).fetch_all(&mut connection).await.unwrap_or_default()
            }
            // PostgreSQL is away just now.
            Err(_) => Vec::new(),
        };
        let is_busy = |number: &usize| running.contains(&i64::from(self.workers[*number].id()));
        let mut next = (number..number + WORKERS).map(|number| number % WORKERS);
        next.find(|number| !is_asleep(number) && is_busy(number)).unwrap_or_else(|| self.awake(number))
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
        if let Some(lacking) = self.lacking.take_if(|lacking| lacking.until <= now) {
            if lacking.whose == Whose::EveryWorker {
                self.note_waiting(lacking).await;
                // Jobs of this account waited for it.
                self.happened.outages.push(Outage { from_ms: lacking.from_ms, to_ms: now_ms() });
            }
            self.begin_anew(lacking.whose, <[(String, String)]>::to_vec);
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
        let is_over = |house: &House| {
            let are_back = house.redis_back.is_none() && house.postgres_back.is_none();
            are_back && house.asleep.is_empty() && house.lacking.is_none() && house.away.is_none()
        };
        while !is_over(self) {
            self.check_processes().await;
            self.watch_gateway().await;
            tokio::time::sleep(CHECK_EVERY).await;
        }
        for gateway in ["", "/payme", "/click"] {
            self.sandbox.clear_faults_at(gateway).await;
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

    /// Waits until every order has ended but those of payers who left, and no job is under way. Returns the number of cases
    /// that are still open.
    pub(crate) async fn settle(&mut self, within: Duration, left: &[i64]) -> i64 {
        let deadline = Instant::now() + within;
        let mut told = Instant::now();
        loop {
            let mut connection = self.connection().await;
            let unsettled = sqlx::query_scalar(UNSETTLED).bind(left).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
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

    /// How often a process died in a call of Payme or Click.
    pub(crate) fn deaths_in_calls(&self) -> usize {
        self.endings().filter(|(_, ending)| is_death_in_call(ending)).count()
    }

    /// The unexpected ends of processes: neither killed by the test nor ended by an injected defect or death.
    pub(crate) fn strange_ends(&self) -> Vec<String> {
        let strange = self
            .endings()
            .filter(|(_, ending)| !self.is_killed(ending) && !ending.is_by_failpoint(Point::DefectKills.as_str()))
            .filter(|(_, ending)| !is_death_in_call(ending));
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

fn is_death_in_call(ending: &RunEnd) -> bool {
    Point::ALL.iter().filter(|point| point.is_of_a_call()).any(|point| ending.is_by_failpoint(point.as_str()))
}

/// Injected defects that last, and one host with a wrong clock.
fn failpoints(plan: &StormPlan, number: usize) -> Vec<String> {
    let mut points = Vec::new();
    if plan.defects_last {
        points.extend([
            format!("{}=kill", Point::DefectKills),
            format!("{}=panic", Point::DefectPanics),
            format!("{}=return", Point::DefectFails),
        ]);
    }
    if number == WORKERS - 1 {
        points.push(format!("{}=return", Point::HostClockAhead));
    }
    points
}

/// Defects that pass: they strike once in the first run of each worker, and kill two of them. Killed workers have many
/// successors, and ten failures end a job.
fn passing_defects(number: usize) -> Vec<String> {
    let mut points =
        vec![format!("{}=1*panic->off", Point::DefectPanics), format!("{}=1*return->off", Point::DefectFails)];
    if number < 2 {
        points.push(format!("{}=kill", Point::DefectKills));
    }
    points
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
