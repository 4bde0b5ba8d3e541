//! `tasdiq doctor`: one line for each thing that payments need, with what to do where it is not well.

use std::collections::BTreeSet;

use shared::config::{Config, DatabaseUrl, Role};
use shared::gateway::{Gateway, GatewayError};
use shared::id::TransactionId;
use shared::job::QueueName;
use shared::queue::RedisQueue;
use shared::redis_server::RedisServer;
use shared::store::processes::{self, Process};
use shared::store::{Database, Store, StoreError, jobs, orders};
use shared::telemetry::{self, causes};

use crate::arguments::Output;
use crate::exit::Exit;
use crate::installation::{gateway, redis_server};
use crate::output::{print, print_json};

mod findings;

use findings::{Findings, Health};

/// Looks at everything and tells what it found.
///
/// # Errors
/// [`Exit::Findings`] when something is at fault.
pub(crate) async fn run(output: Output) -> Result<(), Exit> {
    let mut findings = Findings::default();
    match Config::from_variables(Role::Operator, std::env::vars_os()) {
        Ok(config) => {
            // What is wrong is told as a finding, not between them.
            let _ = telemetry::init("off", config.log_format);
            look_at_configuration(&config, &mut findings);
            look_at_installation(&config, &mut findings).await;
        }
        Err(faults) => findings.add_faults(&faults),
    }
    let is_well = findings.0.iter().all(|finding| finding.state != Health::Fault);
    if output.json {
        print_json(&serde_json::json!({ "ok": is_well, "findings": findings.0 }))?;
    } else {
        print(&findings.text())?;
    }
    if is_well { Ok(()) } else { Err(Exit::Findings) }
}

/// Whether the processes of this installation would start with this environment.
fn look_at_configuration(config: &Config, findings: &mut Findings) {
    let role = match (&config.database, &config.redis_url) {
        (DatabaseUrl::Postgres(_), Some(_)) => Role::Worker,
        _ => Role::Up,
    };
    match Config::from_variables(role, std::env::vars_os()) {
        Ok(as_role) => {
            findings.ok("configuration", format!("{}; gateway {}", role.command(), as_role.atmos.identity()));
            for warning in as_role.warnings {
                findings.warn("configuration", warning, "mend it, or leave it if it is meant");
            }
        }
        Err(faults) => findings.add_faults(&faults),
    }
}

async fn look_at_installation(config: &Config, findings: &mut Findings) {
    look_at_data_dir(config, findings);
    let store = look_at_database(config, findings).await;
    let mut redis = None;
    if let Some(store) = &store {
        redis = look_at_redis(config, store, findings).await;
        look_at_processes(config, store, redis.as_ref(), findings).await;
        look_at_work(store, findings).await;
    }
    look_at_gateway(config, redis.map(|redis| redis.server), findings).await;
}

fn look_at_data_dir(config: &Config, findings: &mut Findings) {
    let DatabaseUrl::Sqlite(path) = &config.database else { return };
    match path.metadata() {
        Ok(file) if file.permissions().readonly() => findings.fault(
            "data",
            format!("{} cannot be written", path.display()),
            "give it and its directory to the user that runs tasdiq",
        ),
        Ok(_) => findings.ok("data", path.display().to_string()),
        Err(_) => findings.warn(
            "data",
            format!("there is no {} yet", path.display()),
            "start `tasdiq up`, or set TASDIQ_DATA_DIR or DATABASE_URL to the installation's",
        ),
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
            findings.fault("database", causes(&trouble), "start the database, or mend DATABASE_URL");
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
    look_at_clock(&store, findings);
    Some(store)
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

/// The Redis of this environment, and the value by which the processes that share it are known.
struct SeenRedis {
    server: RedisServer,
    twin: Option<String>,
}

async fn look_at_redis(config: &Config, store: &Store, findings: &mut Findings) -> Option<SeenRedis> {
    let away = "start Redis, or mend REDIS_URL; until then jobs wait in the database";
    let database_id = store.database_id().await.ok()?;
    let server = match redis_server(config, &database_id) {
        Ok(server) => server?,
        Err(_) => {
            findings.fault("redis", "REDIS_URL cannot be read", "write redis://host:6379");
            return None;
        }
    };
    let queue = RedisQueue::new(server.clone());
    match queue.check().await {
        Ok(faults) if faults.is_empty() => findings.ok("redis", "answers, version and policy are right"),
        Ok(faults) => {
            for fault in faults {
                findings.fault("redis", fault.to_string(), "change the server, or choose another");
            }
        }
        Err(trouble) => findings.fault("redis", causes(&trouble), away),
    }
    Some(SeenRedis { server, twin: queue.twin().await.ok() })
}

async fn look_at_processes(config: &Config, store: &Store, redis: Option<&SeenRedis>, findings: &mut Findings) {
    let alive = match processes::alive(store).await {
        Ok(alive) => alive,
        Err(trouble) => return findings.fault("processes", causes(&trouble), "mend the database"),
    };
    for process in &alive {
        let work =
            if process.slots > 0 { format!(", {} slots for {}", process.slots, process.queues) } else { String::new() };
        findings.ok("processes", format!("{} {} {}{work}", process.role, process.version, process.id));
    }
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
    let versions: BTreeSet<&str> = alive.iter().map(|process| process.version.as_str()).collect();
    if versions.len() > 1 {
        let says = format!("releases {} run side by side", versions.into_iter().collect::<Vec<_>>().join(", "));
        findings.warn("processes", says, "finish the roll-out");
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
                    "look at each with `tasdiq orders show ID`; its reason says what was found",
                );
            }
        }
        Err(trouble) => findings.fault("review", causes(&trouble), "mend the database"),
    }
}

/// No gateway gives this number to a transaction, so asking about it shows whether we are let in, and nothing else.
const NOBODYS: TransactionId = TransactionId(0);

async fn look_at_gateway(config: &Config, redis: Option<RedisServer>, findings: &mut Findings) {
    let gateway = match gateway(config, redis) {
        Ok(gateway) => gateway,
        Err(_) => return findings.fault("gateway", "its client cannot be made", "mend ATMOS_PROXY_URL"),
    };
    let name = format!("{} at {}", gateway.identity(), config.atmos.base_url.as_str().trim_end_matches('/'));
    match ask(&gateway).await {
        Ok(()) => findings.ok("gateway", format!("{name} lets us in")),
        Err(trouble) => {
            let act = match &trouble {
                GatewayError::NotAdmitted { .. } => {
                    "mend ATMOS_CONSUMER_KEY and ATMOS_CONSUMER_SECRET, and ask Atmos to admit this host's address"
                }
                GatewayError::Unreachable(_) if config.atmos.is_sandbox() => "start `tasdiq up` or `tasdiq sandbox`",
                GatewayError::Unreachable(_) => {
                    "look at network, proxy and ATMOS_BASE_URL; Atmos admits known addresses only"
                }
                GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => "ask again; then ask Atmos",
                GatewayError::Throttled { .. } => "wait, and set a lower TASDIQ_GATEWAY_RATE",
            };
            findings.fault("gateway", format!("{name}: {}", causes(&trouble)), act);
        }
    }
}

/// Asks a question that cannot matter. Being told that there is no such transaction is being let in.
async fn ask(gateway: &Gateway) -> Result<(), GatewayError> {
    match gateway.look(NOBODYS).await {
        Ok(_) | Err(GatewayError::Refused { .. }) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(role: &str, queues: &str, twin: Option<&str>) -> Process {
        Process {
            id: "1".to_owned(),
            role: role.to_owned(),
            version: "0.1.0".to_owned(),
            slots: if queues.is_empty() { 0 } else { 64 },
            queues: queues.to_owned(),
            twin: twin.map(str::to_owned),
            started_at_ms: 0,
            heartbeat_at_ms: 0,
        }
    }

    fn twin_states(alive: &[Process]) -> Vec<Health> {
        let mut findings = Findings::default();
        look_at_twins(alive, None, &mut findings);
        findings.0.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn two_redis_servers_on_one_database_are_a_fault() {
        let [a, b] = ["a", "b"].map(|twin| process("worker", "settle", Some(twin)));

        assert_eq!(twin_states(&[a.clone(), b]), [Health::Fault]);
        assert_eq!(twin_states(&[a.clone(), a.clone()]), []);
        assert_eq!(twin_states(&[a, process("api", "", None)]), [Health::Warn]);
    }
}
