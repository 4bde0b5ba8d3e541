//! The running processes, by their heartbeats.

use std::collections::BTreeSet;

use domain::job::QueueName;
use domain::order::GatewayIdentity;
use domain::time::rfc3339;
use store::processes::{self, Process};
use store::{DatabaseUrl, Store, orders};
use telemetry::causes;

use super::check_results::CheckResults;
use super::redis::SeenRedis;
use crate::config::Config;

/// Returns the processes that are alive.
pub(super) async fn look_at_processes(
    config: &Config,
    store: &Store,
    redis: Option<&SeenRedis>,
    results: &mut CheckResults,
) -> Vec<Process> {
    let now_ms = store.now_ms();
    let (alive, gone): (Vec<Process>, Vec<Process>) = match processes::recent(store).await {
        Ok(processes) => processes.into_iter().partition(|process| process.is_alive(now_ms)),
        Err(trouble) => {
            results.fault("processes", causes(&trouble), "mend the database");
            return Vec::new();
        }
    };
    for process in &alive {
        let work =
            if process.slots > 0 { format!(", {} slots for {}", process.slots, process.queues) } else { String::new() };
        let accounts: String = process.account_identities().iter().map(|account| format!(", {account}")).collect();
        results.ok("processes", format!("{} {} {}{work}{accounts}", process.role, process.version, process.id));
    }
    look_at_logs(&alive, results);
    look_for_silence(alive.iter().chain(&gone), now_ms, results);
    if !alive.iter().any(|process| process.slots == 0 || process.role == "up") {
        results.fault("processes", "no order API is alive", start(config, "api"));
    }
    let unserved: Vec<&str> = [QueueName::Settle, QueueName::Links, QueueName::Background]
        .into_iter()
        .map(QueueName::as_str)
        .filter(|queue| !alive.iter().any(|process| process.queues.split(',').any(|taken| taken == *queue)))
        .collect();
    if !unserved.is_empty() {
        let says = format!("no living worker takes from {}", unserved.join(", "));
        results.fault("processes", says, start(config, "worker"));
    }
    compare_redis_instances(&alive, redis, results);
    look_at_accounts(&alive, store, results).await;
    let versions: BTreeSet<&str> = alive.iter().map(|process| process.version.as_str()).collect();
    if versions.len() > 1 {
        let says = format!("releases {} run side by side", versions.into_iter().collect::<Vec<_>>().join(", "));
        results.warn("processes", says, "finish the roll-out");
    }
    alive
}

pub(super) fn look_at_logs(alive: &[Process], results: &mut CheckResults) {
    for process in alive {
        if let Some(fault) = &process.log_fault {
            results.warn(
                "log",
                format!("{} {}: {fault}", process.role, process.id),
                "see where its standard error goes: a full disk, or a reader that is gone or reads nothing",
            );
        }
    }
}

/// Only a worker that has an order's gateway account can ask about its money.
async fn look_at_accounts(alive: &[Process], store: &Store, results: &mut CheckResults) {
    let of_workers = alive.iter().filter(|process| process.slots > 0).map(Process::account_identities);
    let of_workers: BTreeSet<Vec<GatewayIdentity>> = of_workers.filter(|accounts| !accounts.is_empty()).collect();
    let served: BTreeSet<&str> = of_workers.iter().flatten().map(|account| account.0.as_str()).collect();
    if served.is_empty() {
        return; // no worker is alive, or all are of an older release
    }
    if of_workers.len() > 1 {
        let says = format!("workers of {} gateway accounts share this database: {}", served.len(), join(&served));
        results.warn("accounts", says, "finish the roll-out, if it is one");
    }
    let open = match orders::open_by_account(store).await {
        Ok(open) => open,
        Err(trouble) => return results.fault("accounts", causes(&trouble), "mend the database"),
    };
    for account in open.iter().filter(|account| !served.contains(account.gateway.0.as_str())) {
        results.fault(
            "accounts",
            format!(
                "{} open orders of {} wait for a worker that has this account, {} of them confirming, the oldest since {}",
                account.orders,
                account.gateway,
                account.confirming,
                rfc3339(account.oldest_ms)
            ),
            "start a worker with its settings until they have ended; three days after their time a person must look",
        );
    }
    if open.iter().all(|account| served.contains(account.gateway.0.as_str())) {
        results.ok("accounts", format!("every open order's gateway account has a worker: {}", join(&served)));
    }
}

fn join(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// A consumer of an empty queue gets an answer within this time. If it had one within this time before the last heartbeat of its
/// process, the process may have been killed since.
const WAITS_MS: i64 = 7_000;

/// A process that hangs cannot report it; the age of its row shows it.
pub(super) fn look_for_silence<'a>(
    processes: impl Iterator<Item = &'a Process>,
    now_ms: i64,
    results: &mut CheckResults,
) {
    for process in processes {
        let name = format!("{} {}", process.role, process.id);
        if process.is_silent(now_ms) {
            results.warn(
                "processes",
                format!("{name} has told nothing of itself for {} s", (now_ms - process.heartbeat_at_ms) / 1_000),
                "see whether it hangs, and end it then; if it was killed its work is done elsewhere, and this line goes \
                 10 min after",
            );
        } else if let Some(heard_at_ms) = process.queue_heard_at_ms
            && process.has_silent_consumer(now_ms)
            && process.heartbeat_at_ms - heard_at_ms > WAITS_MS
        {
            results.fault(
                "processes",
                format!("{name} has heard nothing from its queue for {} s", (now_ms - heard_at_ms) / 1_000),
                "look at Redis and at the network between; jobs wait in the database meanwhile",
            );
        }
    }
}

/// Two Redis servers on one database: what one process pushes, the other never takes.
pub(super) fn compare_redis_instances(alive: &[Process], redis: Option<&SeenRedis>, results: &mut CheckResults) {
    let mut ids: BTreeSet<&str> = alive.iter().filter_map(|process| process.redis_instance_id.as_deref()).collect();
    if let Some(ours) = redis.and_then(|redis| redis.redis_instance_id.as_deref()) {
        ids.insert(ours);
    }
    if ids.len() > 1 {
        results.fault(
            "redis",
            format!("{} different Redis servers are used with this database", ids.len()),
            "set REDIS_URL to the same server everywhere, here included",
        );
    }
    let (with, without): (Vec<_>, Vec<_>) = alive.iter().partition(|process| process.redis_instance_id.is_some());
    if !with.is_empty() && !without.is_empty() {
        results.warn(
            "redis",
            "some processes use Redis and some do not, or cannot reach it",
            "set REDIS_URL to the same server everywhere",
        );
    }
}

fn start(config: &Config, role: &str) -> String {
    match (&config.database.url, &config.redis.url) {
        (DatabaseUrl::Postgres(_), Some(_)) => format!("start `tasdiq {role}`"),
        _ => "start `tasdiq up`".to_owned(),
    }
}
