//! Redis may die, hang, be full, vanish, belong to another installation, or be too old. Orders are taken and callbacks
//! answered all the while, no loop spins, and work goes on within seconds of its return.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::support::forwarder::Forwarder;
use crate::support::installation::{ORDERS_WITHOUT_LINK, RunningInstallation};
use crate::support::role::{RunningApi, RunningRole, id};
use crate::support::servers::{FakeRedis, command};
use crate::support::wait::wait_until;

/// Within this time of its return jobs are taken, and within the same time all jobs that waited are done.
const RESUMED: Duration = Duration::from_secs(5);

/// The longest time for an answer: no answer may wait for Redis.
const SOON: Duration = Duration::from_secs(2);

/// Orders whose work waits while Redis is away.
const ORDERS: usize = 40;

/// Long enough that every pause of the program has grown to its longest: pauses double up to 1 s.
const MEASURED: Duration = Duration::from_secs(8);

/// An API and a worker that work, and an order that can be paid.
struct Running {
    installation: RunningInstallation,
    api: RunningApi,
    worker: RunningRole,
    transaction_id: i64,
}

impl Running {
    async fn start() -> Running {
        Running::on(RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await).await
    }

    async fn on(installation: RunningInstallation) -> Running {
        let (api, worker) = tokio::join!(installation.api(0), installation.worker(8));
        let order = api.create_order().await;
        let transaction_id = api.wait_for_link(id(&order)).await;
        Running { installation, api, worker, transaction_id }
    }

    fn roles(&self) -> [&RunningRole; 2] {
        [&self.api.role, &self.worker]
    }

    /// Checks the program while Redis is in trouble: orders are taken, the gateway's question is answered, no loop
    /// spins, and the trouble is logged once and not every second.
    async fn endures(&self, outage: Duration) {
        let began = Instant::now();
        for order in 0..ORDERS {
            let asked = Instant::now();
            self.api.create_order().await;
            assert!(asked.elapsed() < SOON, "order {order} took {:?}", asked.elapsed());
        }
        let asked = Instant::now();
        assert_eq!(self.installation.sandbox.pay(self.transaction_id).await, "debited", "a callback was not answered");
        assert!(asked.elapsed() < SOON, "the gateway waited {:?} for its answer", asked.elapsed());
        let (status, health) = self.api.role.get("/readyz").await;
        assert_eq!(status, StatusCode::OK, "the webhook must go on: {health}");

        let (busy, lines) = (self.busy(), self.lines());
        let measured_from = Instant::now();
        // Time itself is the condition: the amount of work in this time is measured.
        tokio::time::sleep(MEASURED.max(outage.saturating_sub(began.elapsed()))).await;
        let measured = measured_from.elapsed();
        for (role, (before, after)) in ["API", "worker"].into_iter().zip(busy.into_iter().zip(self.busy())) {
            let permille = (after - before).as_millis() * 1_000 / measured.as_millis();
            println!("the {role} kept {}.{} % of a core busy over {measured:?}", permille / 10, permille % 10);
            assert!(permille <= 50, "the {role} kept {permille} ‰ of a core busy while Redis was in trouble");
        }
        let new = self.lines() - lines;
        assert!(new <= 4, "{new} more lines in the log for an outage that was told before");
    }

    fn busy(&self) -> [Duration; 2] {
        self.roles().map(|role| role.program.processor_time())
    }

    fn lines(&self) -> usize {
        self.roles().map(|role| role.program.output().lines().count()).iter().sum()
    }

    /// Redis is back: within seconds jobs are taken, and all waiting work is done.
    async fn resumes(&self) {
        let back = Instant::now();
        let waiting = i64::try_from(ORDERS).unwrap();
        self.installation.wait_for_number(ORDERS_WITHOUT_LINK, RESUMED, |orders| orders < waiting).await;
        let first = back.elapsed();
        self.installation
            .wait_for_number(ORDERS_WITHOUT_LINK, RESUMED.saturating_sub(first), |orders| orders == 0)
            .await;
        println!("the first job was taken {first:?} after the return, the last done after {:?}", back.elapsed());
        self.installation.wait_for_number(UNPAID, RESUMED, |orders| orders == 0).await;
        self.installation.wait_for_number(WAITING_IDS, RESUMED, |jobs| jobs == 0).await;
        let crashes = self.installation.number("select coalesce(sum(crashes), 0)::bigint from jobs").await;
        assert_eq!(crashes, 0, "no job is to blame for it");
    }
}

/// The order that the gateway asked about while Redis was in trouble.
const UNPAID: &str = "select count(*) from orders where status = 'confirming'";

const WAITING_IDS: &str = "select count(*) from jobs where state = 'enqueued'";

/// The outage lasts until all pauses have grown to their longest, 1 s. It therefore stands for an outage of minutes,
/// too. Another, empty server comes back, on which another program keeps its keys.
/// Shows: PROMISE-1
#[tokio::test]
async fn a_redis_that_was_away_for_long_and_comes_back_as_another_one_is_used_at_once() {
    let mut running = Running::start().await;

    running.installation.redis.kill();
    running.endures(Duration::from_secs(25)).await;
    running.installation.redis.restart().await;
    let redis = &running.installation.redis;
    let _: i64 = redis.command(&["LPUSH", "{tasdiq:another}:queue:links", "1", "2", "3"]).await;
    let () = redis.command(&["SET", "{tasdiq:another}:twin", "theirs"]).await;

    running.resumes().await;
    let theirs: Vec<String> = redis.command(&["LRANGE", "{tasdiq:another}:queue:links", "0", "-1"]).await;
    assert_eq!(theirs, ["3", "2", "1"]);
    let instances = "select count(distinct twin) from processes where twin in (select twin from processes)";
    running.installation.wait_for_number(instances, RESUMED, |instances| instances == 1).await;
    for role in running.roles() {
        let (status, health) = role.get("/readyz").await;
        assert_eq!(status, StatusCode::OK, "{health}");
    }
}

#[tokio::test]
async fn a_redis_that_hangs_costs_no_processor_time_and_work_goes_on_when_it_answers() {
    let mut running = Running::start().await;

    running.installation.redis.pause();
    running.endures(MEASURED).await;
    running.installation.redis.resume();

    running.resumes().await;
}

#[tokio::test]
async fn a_redis_that_vanishes_without_a_word_costs_no_processor_time_and_work_goes_on_when_it_is_back() {
    let mut installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let way = Forwarder::start(installation.redis.port()).await;
    installation.redis_is_reached_at(format!("redis://127.0.0.1:{}", way.port()));
    let running = Running::on(installation).await;

    way.silence();
    running.endures(MEASURED).await;
    way.speak();

    running.resumes().await;
}

/// A full Redis still gives ids out, and takes none.
/// Shows: PROMISE-1
#[tokio::test]
async fn a_redis_that_is_full_keeps_no_job_from_being_enqueued_again_and_gets_no_copies() {
    let running = Running::start().await;
    let installation = &running.installation;

    installation.redis.set("maxmemory", "1").await;
    running.endures(MEASURED).await;
    // One row is tried each time. A row that Redis refused must not look as if it were in the queue.
    let (_, health) = running.api.role.get("/readyz").await;
    assert!(health.contains("Redis refuses to take ids"), "{health}");
    let enqueued = installation.number(WAITING_IDS).await;
    assert!(enqueued <= 4, "{enqueued} jobs look as if Redis had taken them");
    installation.redis.set("maxmemory", "0").await;

    running.resumes().await;
    for queue in ["settle", "links", "background", "suspect"] {
        assert_eq!(running.worker.metric("tasdiq_queue_depth", &format!("\"{queue}\"")).await, 0, "copies in {queue}");
    }
}

/// A password was changed on the server first and in the configuration later, or by mistake.
#[tokio::test]
async fn a_password_that_is_refused_at_run_time_is_told_once_and_forgiven() {
    let mut installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let at = |password: &str| format!("redis://:{password}@127.0.0.1:{}", installation.redis.port());
    let (ours, theirs) = (at("ours"), at("theirs"));
    installation.redis.set("requirepass", "ours").await;
    installation.redis_is_reached_at(ours.clone());
    let running = Running::on(installation).await;

    let () = command(&ours, &["CONFIG", "SET", "requirepass", "theirs"]).await;
    let _: i64 = command(&theirs, &["CLIENT", "KILL", "SKIPME", "yes"]).await;
    running.endures(MEASURED).await;
    let () = command(&theirs, &["CONFIG", "SET", "requirepass", "ours"]).await;

    running.resumes().await;
    for role in running.roles() {
        let log = role.program.output();
        assert!(log.contains("uthentication failed") || log.contains("WRONGPASS"), "the reason is told: {log}");
        assert!(!log.contains("theirs") && !log.contains(":ours@"), "no password is: {log}");
    }
}

/// Redis 6 answers at the address. It does not know the command by which ids are taken.
#[tokio::test]
async fn a_redis_replaced_by_one_that_cannot_be_used_is_told_once_and_left_when_it_is_put_right() {
    let mut installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let way = Forwarder::start(installation.redis.port()).await;
    installation.redis_is_reached_at(format!("redis://127.0.0.1:{}", way.port()));
    let old = FakeRedis::start("6.2.0");
    let running = Running::on(installation).await;

    way.lead_to(old.port());
    let told = || running.worker.program.output().matches("Redis is version 6.2.0").count();
    // Redis is checked every 10 s, with a heartbeat.
    wait_until("the worker to tell the version", Duration::from_secs(20), async || (told() > 0).then_some(())).await;
    running.endures(Duration::from_secs(12)).await;
    assert_eq!(told(), 1, "{}", running.worker.program.output());
    way.lead_to(running.installation.redis.port());

    running.resumes().await;
}

#[tokio::test]
async fn a_redis_that_begins_to_evict_is_told_and_everything_goes_on() {
    const CHECKED: Duration = Duration::from_secs(15);
    let running = Running::start().await;
    let tells = async |part: &str| {
        wait_until(&format!("readiness to tell {part:?}"), CHECKED, async || {
            let (status, health) = running.api.role.get("/readyz").await;
            assert_eq!(status, StatusCode::OK, "{health}");
            health.contains(part).then_some(())
        })
        .await;
    };

    running.installation.redis.set("maxmemory-policy", "allkeys-lru").await;
    tells("evicts keys").await;
    let order = running.api.create_order().await;
    running.api.wait_for_link(id(&order)).await;
    running.installation.redis.set("maxmemory-policy", "noeviction").await;
    tells("\"queue\":\"ok\"").await;

    let log = running.api.role.program.output();
    assert_eq!(log.matches("Redis is no longer as the queue needs it").count(), 1, "{log}");
    assert_eq!(log.matches("Redis is as the queue needs it again").count(), 1, "{log}");
}

/// Work that is done leaves nothing in Redis.
#[tokio::test]
async fn redis_is_as_small_after_thousands_of_jobs_as_before() {
    const JOBS: &str = "insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
        select n, 'settle', 'process_callback', n, '{\"kind\":\"process_callback\",\"callback_id\":' || n || '}',
            'available', 0, 0 from generate_series(1000001, 1005000) n returning 1::bigint";
    const OPEN: &str = "select count(*) from jobs where kind = 'process_callback'";
    let running = Running::start().await;
    let redis = &running.installation.redis;
    const BUSY: &str = "select count(*) from jobs where state in ('enqueued', 'running')";
    let wait_for_none =
        async |jobs| running.installation.wait_for_number(jobs, Duration::from_secs(60), |n| n == 0).await;
    assert_eq!(running.installation.sandbox.pay(running.transaction_id).await, "debited");
    running.installation.wait_for_number(UNPAID, RESUMED, |orders| orders == 0).await;
    wait_for_none(BUSY).await;
    let (keys, bytes) = (redis.keys().await, redis.data_bytes().await);

    running.installation.number(JOBS).await;
    wait_for_none(OPEN).await;
    wait_for_none(BUSY).await;

    let (keys_after, bytes_after) = (redis.keys().await, redis.data_bytes().await);
    println!("{keys} keys of {bytes} bytes before 5,000 jobs, {keys_after} of {bytes_after} bytes after");
    assert_eq!(keys_after, keys);
    assert!(bytes_after < bytes + 1_000, "{bytes} bytes before 5,000 jobs, {bytes_after} after");
}
