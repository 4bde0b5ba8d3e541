//! `tasdiq doctor`: one line for each thing that payments need, with what to do where it is not well.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use http_server::PlaceCounts;
use shared::config::{Config, Role, Variables};
use shared::coordination::{Coordination, Obstacle, Urgency};
use shared::gateway::{Gateway, GatewayError};
use shared::id::TransactionId;
use shared::job::QueueName;
use shared::queue::RedisQueue;
use shared::redis_server::RedisServer;
use shared::store::DatabaseUrl;
use shared::store::callbacks::{self, Proofs};
use shared::store::processes::{self, Process};
use shared::store::{Database, Store, StoreError, clock_steps, jobs, orders};
use shared::telemetry::LogFormat;
use shared::telemetry::{self, causes};
use shared::time::rfc3339;
use shared::weather;
use tokio::time::timeout;

use crate::arguments::Output;
use crate::data_dir::{files_of_database, is_open_to_others};
use crate::exit::Exit;
use crate::installation::{gateway_to_observe, redis_server};
use crate::output::{print, print_json};
use crate::weather::Report;

mod findings;

use findings::{Findings, Health};

/// Looks at everything and tells what it found.
///
/// # Errors
/// [`Exit::Findings`] when something is at fault.
pub(crate) async fn run(output: Output) -> Result<(), Exit> {
    // What is wrong is told as a finding, not between them.
    let _ = telemetry::init("off", LogFormat::Text);
    let mut findings = Findings::default();
    look(&Variables::of_this_process(), &mut findings).await;
    let is_well = findings.0.iter().all(|finding| finding.state != Health::Fault);
    if output.json {
        print_json(&serde_json::json!({ "ok": is_well, "findings": findings.0 }))?;
    } else {
        print(&findings.text())?;
    }
    if is_well { Ok(()) } else { Err(Exit::Findings) }
}

async fn look(variables: &Variables, findings: &mut Findings) {
    let Some(environment) = ReadableEnvironment::read(variables) else {
        // Not to be expected; then at least what is wrong is told.
        return look_at_configuration(&[Role::Operator], variables, findings);
    };
    // Told first, and looked at last: what runs there tells by which rules the environment is judged.
    let mut installation = Findings::default();
    let running = look_at_installation(&environment, &mut installation).await;
    look_at_configuration(&environment.roles(&running), variables, findings);
    look_at_descriptors(findings);
    findings.0.append(&mut installation.0);
}

/// The environment as far as it can be read: one bad variable must not hide what the others lead to.
struct ReadableEnvironment {
    config: Config,
    /// Variables whose value is not in `config`, because it cannot be read.
    unread: Vec<String>,
}

impl ReadableEnvironment {
    fn read(variables: &Variables) -> Option<Self> {
        let faults = match Config::from_variables(Role::Operator, variables) {
            Ok(config) => return Some(ReadableEnvironment { config, unread: Vec::new() }),
            Err(faults) => faults,
        };
        let unread: Vec<String> = faults.iter().map(|fault| fault.variable.clone()).collect();
        let mut sound = variables.without(&faults);
        if unread.iter().any(|name| name.starts_with("ATMOS_")) {
            // Half a gateway is none.
            sound = sound.only(|name| !name.to_string_lossy().starts_with("ATMOS_"));
        }
        let config = Config::from_variables(Role::Operator, &sound).ok()?;
        Some(ReadableEnvironment { config, unread })
    }

    /// Which processes this environment is for. With both servers it may be for `up` as well as for `api` and `worker`;
    /// what runs there decides, and where nothing does, the roles that need the most.
    fn roles(&self, running: &[Process]) -> Vec<Role> {
        let has_redis = self.config.redis_url.is_some() || self.is_unread("REDIS_URL");
        let runs = |role: &str| running.iter().any(|process| process.role == role);
        match &self.config.database {
            DatabaseUrl::Postgres(_) if has_redis && !runs("up") => vec![Role::Api, Role::Worker],
            DatabaseUrl::Postgres(_) if runs("api") || runs("worker") => vec![Role::Up, Role::Api, Role::Worker],
            DatabaseUrl::Postgres(_) | DatabaseUrl::Sqlite(_) => vec![Role::Up],
        }
    }

    fn is_unread(&self, variable: &str) -> bool {
        self.unread.iter().any(|name| name.strip_suffix("_FILE").unwrap_or(name) == variable) || self.lacks_env_file()
    }

    /// Whether a file of settings could not be read whole: any variable may have stood there.
    fn lacks_env_file(&self) -> bool {
        self.unread.iter().any(|name| name == ".env" || name == "TASDIQ_ENV_FILE")
    }

    fn knows_database(&self) -> bool {
        !self.is_unread("DATABASE_URL") && !self.is_unread("TASDIQ_DATA_DIR")
    }

    fn knows_gateway(&self) -> bool {
        !self.unread.iter().any(|name| name.starts_with("ATMOS_") || name == "TASDIQ_SANDBOX_LISTEN")
            && !self.lacks_env_file()
    }
}

/// Whether the processes of this installation, and the operator's commands, would start with this environment.
fn look_at_configuration(roles: &[Role], variables: &Variables, findings: &mut Findings) {
    if !variables.from_dotenv().is_empty() {
        let names = variables.from_dotenv().join(", ");
        findings.ok("configuration", format!("from .env: {names}"));
    }
    let mut told = BTreeSet::new();
    for role in roles.iter().copied().chain([Role::Operator]) {
        match Config::from_variables(role, variables) {
            Ok(_) if role == Role::Operator => (),
            Ok(as_role) => {
                findings.ok("configuration", format!("{}; gateway {}", role.command(), as_role.atmos.identity()));
                if role != Role::Worker {
                    findings.ok("callbacks", as_role.callback_addresses.describe());
                }
                for warning in as_role.warnings {
                    if told.insert(warning.clone()) {
                        findings.warn("configuration", warning, "mend it, or leave it if it is meant");
                    }
                }
            }
            Err(faults) => {
                for fault in faults.iter() {
                    // Roles complain of the same variable in their own words; once is enough.
                    if told.insert(fault.variable.clone()) {
                        findings.fault("configuration", fault.to_string(), "mend the variable");
                    }
                }
            }
        }
    }
}

/// Connections need descriptors, and so does the database.
fn look_at_descriptors(findings: &mut Findings) {
    match PlaceCounts::of_this_process().describe() {
        (says, true) => findings.ok("connections", says),
        (says, false) => findings.warn(
            "connections",
            says,
            "raise the hard limit of open files (`ulimit -Hn`, LimitNOFILE=, compose's `ulimits`) of the processes to 8192",
        ),
    }
}

/// Returns the processes that are alive.
async fn look_at_installation(environment: &ReadableEnvironment, findings: &mut Findings) -> Vec<Process> {
    let config = &environment.config;
    let (mut store, mut alive) = (None, Vec::new());
    if environment.knows_database() {
        look_at_data_dir(config, findings);
        store = look_at_database(config, findings).await;
    }
    let redis = look_at_redis(config, store.as_ref(), findings).await;
    if let Some(store) = &store {
        alive = look_at_processes(config, store, redis.as_ref(), findings).await;
        look_at_work(store, findings).await;
        look_at_callbacks(store, findings).await;
        look_at_weather(store, findings).await;
    }
    if environment.knows_gateway() {
        look_at_gateway(config, store.as_ref(), redis.map(|redis| redis.server), findings).await;
    }
    alive
}

fn look_at_data_dir(config: &Config, findings: &mut Findings) {
    let DatabaseUrl::Sqlite(path) = &config.database else { return };
    // Opened rather than judged by its permission bits, which say nothing of mounts, owners and root.
    match OpenOptions::new().write(true).open(path) {
        Ok(_) => findings.ok("data", path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => findings.warn(
            "data",
            format!("there is no {} yet", path.display()),
            "start `tasdiq up`, or set TASDIQ_DATA_DIR or DATABASE_URL to the installation's",
        ),
        Err(error) => findings.fault(
            "data",
            format!("{} cannot be written ({error})", path.display()),
            "give it and its directory to the user that runs tasdiq",
        ),
    }
    look_for_open_files(config, path, findings);
}

/// Orders' tokens and customers' addresses lie there. A directory that others made is theirs to close; the files are
/// closed by `tasdiq up`.
fn look_for_open_files(config: &Config, database: &Path, findings: &mut Findings) {
    let is_own_directory = database.parent() == Some(config.data_dir.as_path());
    let directory = is_own_directory.then(|| config.data_dir.clone());
    let open: Vec<String> = directory
        .into_iter()
        .chain(files_of_database(database))
        .filter(|path| is_open_to_others(path))
        .map(|path| path.display().to_string())
        .collect();
    if !open.is_empty() {
        findings.warn(
            "data",
            format!("other users of this machine are let into {}", open.join(", ")),
            format!("`chmod go= {}`", open.join(" ")),
        );
    }
}

async fn look_at_database(config: &Config, findings: &mut Findings) -> Option<Store> {
    if let DatabaseUrl::Sqlite(path) = &config.database
        && !path.exists()
    {
        return None;
    }
    let store = match Store::open(&config.database).await {
        Ok(store) => store,
        Err(trouble) => {
            let act = match trouble {
                StoreError::Refused(_) | StoreError::Unsuitable(_) => {
                    "mend what DATABASE_URL says (password, name, sslmode, sslrootcert), or what it leads to"
                }
                _ => "start the database, or mend DATABASE_URL",
            };
            findings.fault("database", causes(&trouble), act);
            return None;
        }
    };
    let name = match store.database() {
        Database::Sqlite => "SQLite",
        Database::Postgres => "PostgreSQL",
    };
    match store.check_migrated().await {
        Ok(()) => findings.ok("database", format!("{name} answers and has the tables of this release")),
        Err(trouble) => {
            let act = match trouble {
                StoreError::NotMigrated => "run `tasdiq migrate`",
                _ => "start the release that the database belongs to, or mend the database",
            };
            findings.fault("database", causes(&trouble), act);
            return None;
        }
    }
    look_at_line(&store, findings);
    look_at_durability(&store, findings).await;
    look_at_clock(&store, findings);
    look_at_clock_steps(&store, findings).await;
    look_at_numbers(&store, findings).await;
    Some(store)
}

/// A job makes some ten round trips; from here on it is they that take its time, and connections are what lacks.
const SLOW_LINE: Duration = Duration::from_millis(20);

fn look_at_line(store: &Store, findings: &mut Findings) {
    if store.database() == Database::Sqlite {
        return;
    }
    let round_trip = store.round_trip();
    let says = format!("a round trip takes {}.{:01} ms", round_trip.as_millis(), round_trip.as_micros() / 100 % 10);
    if round_trip < SLOW_LINE {
        findings.ok("database", says);
    } else {
        findings.warn(
            "database",
            says,
            "move the processes nearer to it, or give the workers more connections (TASDIQ_DATABASE_CONNECTIONS)",
        );
    }
}

/// So long after numbers have jumped it is told.
const JUMP_IS_NEWS_MS: i64 = 72 * 3_600_000;

/// Numbers jump where the database has lost commits, and what was lost has to be found at the gateway.
async fn look_at_numbers(store: &Store, findings: &mut Findings) {
    let since_ms = store.now_ms() - JUMP_IS_NEWS_MS;
    let jumped = match store.numbers().await {
        Ok(numbers) => numbers.into_iter().filter_map(|numbers| numbers.jumped_at_ms).max(),
        Err(trouble) => return findings.fault("numbers", causes(&trouble), "mend the database"),
    };
    if let Some(at_ms) = jumped.filter(|at_ms| *at_ms > since_ms) {
        findings.warn(
            "numbers",
            format!("all numbers jumped at {}: the database was restored, failed over, or moved", rfc3339(at_ms)),
            "run `tasdiq audit`, and look in the gateway's cabinet for payments of orders that are lost",
        );
    }
}

/// What an operator of the server may have switched off for speed, and a payment cannot do without.
async fn look_at_durability(store: &Store, findings: &mut Findings) {
    match store.unsafe_settings().await {
        Ok(settings) if settings.is_empty() => (),
        Ok(settings) => findings.warn(
            "database",
            format!("{} is off there: with the server's power, paid orders may be lost", settings.join(" and ")),
            "switch it on in postgresql.conf; off is for tests",
        ),
        Err(trouble) => findings.fault("database", causes(&trouble), "mend the database"),
    }
}

/// The database's time rules, so a wrong host costs nothing but confusion when logs are compared.
const CLOCK_SLACK_MS: i64 = 2_000;

fn look_at_clock(store: &Store, findings: &mut Findings) {
    let ahead_ms = store.clock().host_ahead_ms();
    let says = format!("this host is {ahead_ms} ms ahead of the database");
    if ahead_ms.abs() <= CLOCK_SLACK_MS {
        findings.ok("clock", says);
    } else {
        findings.warn("clock", says, "set the host's clock (NTP); tasdiq itself goes by the database's");
    }
}

/// A step of the database's clock is told for a day.
const STEP_TOLD_MS: i64 = 24 * 3_600_000;

async fn look_at_clock_steps(store: &Store, findings: &mut Findings) {
    match clock_steps::last(store).await {
        Ok(Some(step)) if (store.now_ms() - step.at_ms).abs() <= STEP_TOLD_MS => findings.warn(
            "clock",
            format!("the database's clock was set {:+} s at {}", clock_steps::seconds(step.by_ms), rfc3339(step.at_ms)),
            "see to the time service of the database's host: orders expire, and retention ends, by this clock",
        ),
        Ok(_) => (),
        Err(trouble) => findings.fault("clock", causes(&trouble), "mend the database"),
    }
}

/// The Redis of this environment, and the value by which the processes that share it are known.
struct SeenRedis {
    server: RedisServer,
    twin: Option<String>,
}

/// Looks at Redis. Without the database nobody knows under which names our things lie there, so it is only asked how
/// it is, and nothing comes back.
async fn look_at_redis(config: &Config, store: Option<&Store>, findings: &mut Findings) -> Option<SeenRedis> {
    let away = "start Redis, or mend REDIS_URL; until then jobs wait in the database";
    let database_id = match store {
        Some(store) => store.database_id().await.ok(),
        None => None,
    };
    let server = match redis_server(config, database_id.as_deref().unwrap_or_default()) {
        Ok(server) => server?,
        Err(_) => {
            findings.fault("redis", "REDIS_URL cannot be read", "write redis://host:6379");
            return None;
        }
    };
    let queue = RedisQueue::new(server.clone());
    match queue.check().await {
        Ok(checked) if checked.faults.is_empty() => {
            match checked.untold.is_empty() {
                true => findings.ok("redis", "answers, version and policy are right"),
                false => findings.warn(
                    "redis",
                    format!("answers, and does not tell {}", checked.untold.join(", nor ")),
                    "look yourself, or grant our Redis user INFO",
                ),
            }
            if !runs_scripts(&server).await {
                findings.warn(
                    "redis",
                    "it refuses scripts: each process has a breaker of its own and a quarter of the call budget",
                    "grant our Redis user EVALSHA and SCRIPT LOAD (`+@scripting`)",
                );
            }
        }
        Ok(checked) => {
            for fault in checked.faults {
                findings.fault("redis", fault.to_string(), "change the server, or choose another");
            }
        }
        Err(trouble) => findings.fault("redis", causes(&trouble), away),
    }
    database_id?;
    Some(SeenRedis { server, twin: queue.twin().await.ok() })
}

/// Whether the weather can be shared there.
async fn runs_scripts(server: &RedisServer) -> bool {
    let coordination = Coordination::redis(server.clone(), None);
    coordination.look().await;
    coordination.view().is_shared
}

/// Returns the processes that are alive.
async fn look_at_processes(
    config: &Config,
    store: &Store,
    redis: Option<&SeenRedis>,
    findings: &mut Findings,
) -> Vec<Process> {
    let now_ms = store.now_ms();
    let (alive, gone): (Vec<Process>, Vec<Process>) = match processes::spoken_of(store).await {
        Ok(processes) => processes.into_iter().partition(|process| process.is_alive(now_ms)),
        Err(trouble) => {
            findings.fault("processes", causes(&trouble), "mend the database");
            return Vec::new();
        }
    };
    for process in &alive {
        let work =
            if process.slots > 0 { format!(", {} slots for {}", process.slots, process.queues) } else { String::new() };
        let account = process.gateway.as_ref().map_or(String::new(), |gateway| format!(", {gateway}"));
        findings.ok("processes", format!("{} {} {}{work}{account}", process.role, process.version, process.id));
    }
    look_at_logs(&alive, findings);
    look_for_silence(alive.iter().chain(&gone), now_ms, findings);
    if !alive.iter().any(|process| process.slots == 0 || process.role == "up") {
        findings.fault("processes", "no order API is alive", start(config, "api"));
    }
    let unserved: Vec<&str> = [QueueName::Settle, QueueName::Links, QueueName::Background]
        .into_iter()
        .map(QueueName::as_str)
        .filter(|queue| !alive.iter().any(|process| process.queues.split(',').any(|taken| taken == *queue)))
        .collect();
    if !unserved.is_empty() {
        let says = format!("no living worker takes from {}", unserved.join(", "));
        findings.fault("processes", says, start(config, "worker"));
    }
    look_at_twins(&alive, redis, findings);
    look_at_accounts(&alive, store, findings).await;
    let versions: BTreeSet<&str> = alive.iter().map(|process| process.version.as_str()).collect();
    if versions.len() > 1 {
        let says = format!("releases {} run side by side", versions.into_iter().collect::<Vec<_>>().join(", "));
        findings.warn("processes", says, "finish the roll-out");
    }
    alive
}

fn look_at_logs(alive: &[Process], findings: &mut Findings) {
    for process in alive {
        if let Some(fault) = &process.log_fault {
            findings.warn(
                "log",
                format!("{} {}: {fault}", process.role, process.id),
                "see where its standard error goes: a full disk, or a reader that is gone or reads nothing",
            );
        }
    }
}

/// Only a worker that has an order's gateway account can ask about its money.
async fn look_at_accounts(alive: &[Process], store: &Store, findings: &mut Findings) {
    let served: BTreeSet<&str> = alive
        .iter()
        .filter(|process| process.slots > 0)
        .filter_map(|process| process.gateway.as_ref().map(|gateway| gateway.0.as_str()))
        .collect();
    if served.is_empty() {
        return; // no worker is alive, or all are of an older release
    }
    if served.len() > 1 {
        let says = format!("workers of {} gateway accounts share this database: {}", served.len(), join(&served));
        findings.warn("accounts", says, "finish the roll-out, if it is one");
    }
    let open = match orders::open_by_account(store).await {
        Ok(open) => open,
        Err(trouble) => return findings.fault("accounts", causes(&trouble), "mend the database"),
    };
    for account in open.iter().filter(|account| !served.contains(account.gateway.0.as_str())) {
        findings.fault(
            "accounts",
            format!(
                "{} open orders of {} wait for a worker that has this account, {} of them confirming, the oldest since {}",
                account.orders,
                account.gateway,
                account.confirming,
                rfc3339(account.oldest_ms)
            ),
            "start a worker with its ATMOS_ variables until they have ended; three days after their time a person must look",
        );
    }
    if open.iter().all(|account| served.contains(account.gateway.0.as_str())) {
        findings.ok("accounts", format!("every open order's gateway account has a worker: {}", join(&served)));
    }
}

fn join(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// A consumer whose queue is empty hears of it within this time. Where it had heard within it when its process last told of
/// itself, the process may have been killed since.
const WAITS_MS: i64 = 7_000;

/// Who hangs cannot tell so himself; his row tells it by its age.
fn look_for_silence<'a>(processes: impl Iterator<Item = &'a Process>, now_ms: i64, findings: &mut Findings) {
    for process in processes {
        let name = format!("{} {}", process.role, process.id);
        if process.is_silent(now_ms) {
            findings.warn(
                "processes",
                format!("{name} has told nothing of itself for {} s", (now_ms - process.heartbeat_at_ms) / 1_000),
                "see whether it hangs, and end it then; if it was killed its work is done elsewhere, and this line goes \
                 10 min after",
            );
        } else if let Some(heard_at_ms) = process.queue_heard_at_ms
            && process.has_silent_consumer(now_ms)
            && process.heartbeat_at_ms - heard_at_ms > WAITS_MS
        {
            findings.fault(
                "processes",
                format!("{name} has heard nothing from its queue for {} s", (now_ms - heard_at_ms) / 1_000),
                "look at Redis and at the network between; jobs wait in the database meanwhile",
            );
        }
    }
}

/// Two Redis servers on one database: what one process pushes, the other never takes.
fn look_at_twins(alive: &[Process], redis: Option<&SeenRedis>, findings: &mut Findings) {
    let mut twins: BTreeSet<&str> = alive.iter().filter_map(|process| process.twin.as_deref()).collect();
    if let Some(ours) = redis.and_then(|redis| redis.twin.as_deref()) {
        twins.insert(ours);
    }
    if twins.len() > 1 {
        findings.fault(
            "redis",
            format!("{} different Redis servers are used with this database", twins.len()),
            "set REDIS_URL to the same server everywhere, here included",
        );
    }
    let (with, without): (Vec<_>, Vec<_>) = alive.iter().partition(|process| process.twin.is_some());
    if !with.is_empty() && !without.is_empty() {
        findings.warn(
            "redis",
            "some processes use Redis and some do not, or cannot reach it",
            "set REDIS_URL to the same server everywhere",
        );
    }
}

fn start(config: &Config, role: &str) -> String {
    match (&config.database, &config.redis_url) {
        (DatabaseUrl::Postgres(_), Some(_)) => format!("start `tasdiq {role}`"),
        _ => "start `tasdiq up`".to_owned(),
    }
}

/// Work that waits longer than this is not being taken.
const LATE_MS: i64 = 30_000;

async fn look_at_work(store: &Store, findings: &mut Findings) {
    match jobs::oldest_due_age_ms(store, QueueName::ALL).await {
        Ok(late_ms) if late_ms > LATE_MS => findings.fault(
            "jobs",
            format!("a job has waited for {} s", late_ms / 1_000),
            "start more workers, and look at `tasdiq jobs list`",
        ),
        Ok(_) => findings.ok("jobs", "nothing waits longer than it should"),
        Err(trouble) => findings.fault("jobs", causes(&trouble), "mend the database"),
    }
    match jobs::count_dead(store).await {
        Ok(0) => findings.ok("dead letters", "none"),
        Ok(dead) => findings.warn(
            "dead letters",
            format!("{dead}"),
            "look at `tasdiq jobs list --state dead`, mend the cause, then `tasdiq jobs retry ID`",
        ),
        Err(trouble) => findings.fault("dead letters", causes(&trouble), "mend the database"),
    }
    match orders::count_open(store).await {
        Ok(counts) => {
            let review: i64 = counts
                .iter()
                .filter(|(status, _)| matches!(status.as_str(), "review" | "needs_review"))
                .map(|(_, orders)| orders)
                .sum();
            if review == 0 {
                findings.ok("review", "no order waits for a person");
            } else {
                findings.warn(
                    "review",
                    format!("{review} orders wait for a person"),
                    "look at `tasdiq orders review`, which says what was found and what to do",
                );
            }
        }
        Err(trouble) => findings.fault("review", causes(&trouble), "mend the database"),
    }
}

/// A wrong key refuses every payment, and nothing else shows it.
async fn look_at_callbacks(store: &Store, findings: &mut Findings) {
    match callbacks::proofs(store).await {
        Ok(proofs) => tell_of_callbacks(proofs, findings),
        Err(trouble) => findings.fault("callbacks", causes(&trouble), "mend the database"),
    }
}

fn tell_of_callbacks(proofs: Proofs, findings: &mut Findings) {
    let Proofs { callbacks, badly_signed, unreadable, badly_signed_since } = proofs;
    let proving = callbacks - badly_signed - unreadable;
    let says = format!("{badly_signed} of the last {callbacks} callbacks prove nothing: no key of ours signed them");
    let compare = "compare ATMOS_API_KEY and ATMOS_SIGN_ALGORITHM with what Atmos has for this store: a wrong key refuses \
                   every payment; see `tasdiq callbacks list --verdict badly_signed`";
    match (badly_signed, unreadable) {
        // One that came afterwards and is signed as it should be shows that the key is right, and the others forged.
        (1.., _) if badly_signed > proving && badly_signed_since > 0 => findings.fault("callbacks", says, compare),
        (1.., _) => findings.warn("callbacks", says, compare),
        (_, 1..) if unreadable > proving => findings.warn(
            "callbacks",
            format!("{unreadable} of the last {callbacks} callbacks cannot be read"),
            "see `tasdiq callbacks list --verdict unreadable`: the gateway may write them in another way now, or somebody \
             else sends them",
        ),
        _ if callbacks == 0 => findings.ok("callbacks", "none came within a day".to_owned()),
        _ => findings.ok("callbacks", format!("{proving} of the last {callbacks} of a day are signed as they should be")),
    }
}

/// No gateway gives this number to a transaction, so asking about it shows whether we are let in, and nothing else.
const NOBODYS: TransactionId = TransactionId(0);

/// How the processes see the gateway, which may be another way than this one.
async fn look_at_weather(store: &Store, findings: &mut Findings) {
    let report = match Report::read(store).await {
        Ok(report) => report,
        Err(trouble) => return findings.fault("weather", causes(&trouble), "mend the database"),
    };
    if let Some(since) = report.closed_since() {
        let says = format!("an operator has closed the gateway since {since}: links and confirmations wait");
        findings.warn("weather", says, "let calls through with `tasdiq weather open` when it is time");
    }
    let troubles = report.troubles();
    for trouble in &troubles {
        findings.warn(
            "weather",
            trouble.as_str(),
            "nothing is lost, and it goes on by itself; see `tasdiq weather show`, and ask Atmos if it lasts",
        );
    }
    if troubles.is_empty() && report.closed_since().is_none() {
        findings.ok("weather", format!("calls leave; budget {}", report.budget()));
    }
}

async fn look_at_gateway(config: &Config, store: Option<&Store>, redis: Option<RedisServer>, findings: &mut Findings) {
    let gateway = match gateway_to_observe(config, redis) {
        Ok(gateway) => gateway,
        Err(trouble) => {
            let says = match trouble {
                Exit::Configuration(error) => format!("{error:#}"),
                _ => "its client cannot be made".to_owned(),
            };
            return findings.fault("gateway", says, "mend that: nothing can be called before");
        }
    };
    let name = format!("{} at {}", gateway.identity(), config.atmos.base_url.as_str().trim_end_matches('/'));
    if let Some(store) = store {
        // What cannot be read was told with the weather.
        let _ = weather::heed(store, gateway.coordination()).await;
    }
    let answer = ask(&gateway).await;
    let way = match &answer {
        Err(GatewayError::Unreachable(cause)) if !cause.is::<GatewayError>() => Some(look_at_way(config).await),
        _ => None,
    };
    tell_of_gateway(&name, way, answer, findings);
}

/// How far the way to the gateway goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// Nobody here knows the name.
    NoAddress { host: String, variable: &'static str },
    /// Nothing takes connections there.
    NoConnection { host: String, is_sandbox: bool },
    /// Something does; what comes after fails.
    Connects { host: String },
}

impl Way {
    fn act(&self) -> String {
        match self {
            Way::NoAddress { host, variable } => {
                format!("the name {host} is not known here: mend {variable}, or this machine's name server")
            }
            Way::NoConnection { is_sandbox: true, .. } => "start `tasdiq up` or `tasdiq sandbox`".to_owned(),
            Way::NoConnection { host, .. } => format!(
                "nothing takes connections at {host}: look at network, proxy and ATMOS_BASE_URL; Atmos admits known \
                 addresses only"
            ),
            Way::Connects { host } => format!(
                "{host} takes connections, so it is what comes after: with https its certificate and this machine's root \
                 certificates and clock, with a proxy its rules"
            ),
        }
    }
}

/// Nobody waits longer for a name or a connection.
const WAY_WITHIN: Duration = Duration::from_secs(5);

/// Goes the way to the gateway, or to the proxy before it, by itself.
async fn look_at_way(config: &Config) -> Way {
    let (address, variable) = match &config.atmos.proxy_url {
        Some(proxy) => (proxy, "ATMOS_PROXY_URL"),
        None => (&config.atmos.base_url, "ATMOS_BASE_URL"),
    };
    let host = address.host_str().unwrap_or_default().to_owned();
    let port = address.port_or_known_default().unwrap_or(443);
    let bare = host.trim_matches(|c| c == '[' || c == ']').to_owned();
    let found = timeout(WAY_WITHIN, tokio::net::lookup_host((bare.as_str(), port))).await;
    let Ok(Ok(addresses)) = found else { return Way::NoAddress { host, variable } };
    for address in addresses {
        if let Ok(Ok(_)) = timeout(WAY_WITHIN, tokio::net::TcpStream::connect(address)).await {
            return Way::Connects { host };
        }
    }
    Way::NoConnection { host, is_sandbox: config.atmos.is_sandbox() }
}

fn tell_of_gateway(name: &str, way: Option<Way>, answer: Result<(), GatewayError>, findings: &mut Findings) {
    match answer {
        Ok(()) => findings.ok("gateway", format!("{name} lets us in")),
        // A result code comes from behind the door.
        Err(GatewayError::OutcomeUnknown { what, source: None }) if what.starts_with("code ") => findings.warn(
            "gateway",
            format!("{name} lets us in, and answers a question about no transaction with {what}, which is new to us"),
            "make a small order of your own; if it is not confirmed, ask Atmos what the code means",
        ),
        // Told with the weather.
        Err(GatewayError::HeldBack { obstacle: Obstacle::Operator, .. }) => {
            findings.warn("gateway", format!("{name} was not asked: it is closed"), "let calls through first");
        }
        Err(trouble) => {
            let patience = "wait, and set a lower rate with `tasdiq weather set --rate`; if it is known that the gateway is \
                            ready sooner, `tasdiq weather open --override`";
            let act = match &trouble {
                GatewayError::NotAdmitted { .. } => {
                    "mend ATMOS_CONSUMER_KEY and ATMOS_CONSUMER_SECRET, and ask Atmos to admit this host's address".to_owned()
                }
                GatewayError::Unreachable(_) => match way {
                    Some(way) => way.act(),
                    // It answered, and not with a token; the call itself never left.
                    None => "it runs, and hands out no access token (`/token`): ask again; then ask Atmos".to_owned(),
                },
                GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => "ask again; then ask Atmos".to_owned(),
                GatewayError::Throttled { .. } => patience.to_owned(),
                GatewayError::HeldBack { obstacle, .. } => match obstacle {
                    Obstacle::Budget => {
                        "ask again later; if it stays so, and Atmos allows more, raise it with `tasdiq weather set --rate`".to_owned()
                    }
                    Obstacle::RetryAfter => patience.to_owned(),
                    // These calls pass the breaker by.
                    Obstacle::Operator | Obstacle::Breaker { .. } => {
                        "let calls through with `tasdiq weather open` when it is time".to_owned()
                    }
                },
            };
            findings.fault("gateway", format!("{name}: {}", causes(&trouble)), act);
        }
    }
}

/// Asks a question that cannot matter. Being told that there is no such transaction is being let in.
async fn ask(gateway: &Gateway) -> Result<(), GatewayError> {
    match gateway.look(NOBODYS, Urgency::Later).await {
        Ok(_) | Err(GatewayError::Refused { .. }) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

#[cfg(test)]
mod tests;
