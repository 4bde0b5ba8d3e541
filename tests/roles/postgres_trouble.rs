//! PostgreSQL is restarted, again and again and during all kinds of work. That costs time, and no job an attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::support::forwarder::Forwarder;
use crate::support::installation::RunningInstallation;
use crate::support::job_log;
use crate::support::role::{client, id};
use crate::support::servers::{PrivatePostgres, fresh_database};
use crate::support::wait::{PATIENCE, wait_until};

const DO_NOT_WAIT: (&str, &str) = ("TASDIQ_LINK_WAIT_MS", "0");

/// A caller whose request cannot be carried out now must get its answer within this time: a person still waits.
const TURNED_AWAY: Duration = Duration::from_millis(1_500);

const RUNNING_LINKS: &str = "select count(*) from jobs where kind = 'create_payment_link' and state = 'running'";

/// The answers to requests for orders, one after the other.
#[derive(Default)]
struct Answers {
    taken: Vec<i64>,
    turned_away: Vec<Duration>,
}

async fn order(client: &Client, url: &str, answers: &mut Answers) {
    let body = json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" });
    let asked = Instant::now();
    let answer = client.post(format!("{url}/api/orders/create")).json(&body).send().await.unwrap();
    let (status, retry_after) = (answer.status(), answer.headers().contains_key("Retry-After"));
    let text = answer.text().await.unwrap();
    match status {
        StatusCode::CREATED => answers.taken.push(id(&serde_json::from_str::<Value>(&text).unwrap())),
        StatusCode::SERVICE_UNAVAILABLE => {
            assert!(retry_after, "{text}");
            answers.turned_away.push(asked.elapsed());
        }
        other => panic!("HTTP {other}: {text}"),
    }
}

async fn keep_ordering(url: String, is_over: Arc<AtomicBool>) -> Answers {
    let (client, mut answers) = (client(), Answers::default());
    while !is_over.load(Ordering::Relaxed) {
        order(&client, &url, &mut answers).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

/// Shows: JOB-10, JOB-13, JOB-35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_restarted_under_load_costs_no_job_an_attempt_and_no_worker_a_crash() {
    const QUICK_RESTARTS: usize = 5;
    let mut postgres = PrivatePostgres::start().await;
    let installation = RunningInstallation::on_database(postgres.url(), &[DO_NOT_WAIT]).await;
    installation.migrate().await;
    job_log::install(installation.database_url()).await;
    installation.sandbox.delay_answers(Duration::from_millis(150)).await;
    let (api, first, second) = tokio::join!(installation.api(0), installation.worker(4), installation.worker(4));
    let is_over = Arc::new(AtomicBool::new(false));
    let load = [(); 3].map(|()| tokio::spawn(keep_ordering(api.role.url.clone(), Arc::clone(&is_over))));

    for _ in 0..QUICK_RESTARTS {
        installation.wait_for_number(RUNNING_LINKS, PATIENCE, |running| running > 4).await;
        postgres.restart().await;
    }
    // And once for longer than a lease.
    installation.wait_for_number(RUNNING_LINKS, PATIENCE, |running| running > 4).await;
    postgres.kill();
    tokio::time::sleep(Duration::from_secs(10)).await;
    postgres.restart().await;
    let back = Instant::now();
    let done = "select count(*) from orders where payment_url is not null";
    let before = installation.number(done).await;
    installation.wait_for_number(done, Duration::from_secs(10), |orders| orders > before).await;
    println!("the first link {:?} after the long outage", back.elapsed());
    is_over.store(true, Ordering::Relaxed);

    let mut answers = Answers::default();
    for some in futures_util::future::join_all(load).await {
        let some = some.unwrap();
        answers.taken.extend(some.taken);
        answers.turned_away.extend(some.turned_away);
    }
    installation.sandbox.clear_faults().await;
    installation.wait_for_links(Duration::from_secs(30)).await;
    let orders = installation.number("select count(*) from orders").await;
    for taken in &answers.taken {
        assert!(api.order(*taken).await["transaction_id"].is_i64(), "order {taken} was promised");
    }
    let given_back = job_log::links_were_made_once_each(&installation, orders).await;
    for role in [&api.role, &first, &second] {
        let log = role.program.output();
        assert!(!log.contains("ran out, crash"), "{log}");
    }
    let slowest = answers.turned_away.iter().max().unwrap();
    println!(
        "{} orders taken, {} turned away after at most {slowest:?}, {given_back} jobs given back",
        answers.taken.len(),
        answers.turned_away.len()
    );
    assert!(*slowest < Duration::from_secs(6), "{slowest:?}");
}

/// The answer of an empty queue says nothing about the database.
#[tokio::test]
async fn a_worker_says_that_jobs_are_taken_again_when_postgres_is_back_and_not_before() {
    const TAKEN_AGAIN: &str = "jobs are taken again";
    let mut postgres = PrivatePostgres::start().await;
    let installation = RunningInstallation::on_database(postgres.url(), &[]).await;
    installation.migrate().await;
    let mut worker = installation.worker(4).await;
    let keys: Vec<String> = installation.redis.command(&["KEYS", "*:twin"]).await;
    let list = keys[0].replace(":twin", ":queue:links");

    postgres.kill();
    let _: i64 = installation.redis.command(&["LPUSH", &list, "999"]).await;
    worker.program.wait_for_line("no jobs can be taken: the database", PATIENCE).await;
    // Time for three takes of an empty queue.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let log = worker.program.output();
    assert!(!log.contains(TAKEN_AGAIN), "{log}");
    assert_eq!(log.matches("no jobs can be taken").count(), 1, "{log}");
    postgres.restart().await;

    worker.program.wait_for_line(TAKEN_AGAIN, Duration::from_secs(5)).await;
}

/// The gateway and the shop are told at once that they must ask again, before the pool times out.
#[tokio::test]
async fn while_postgres_refuses_connections_requests_are_turned_away_within_about_a_second() {
    let mut postgres = PrivatePostgres::start().await;
    let installation = RunningInstallation::on_database(postgres.url(), &[DO_NOT_WAIT]).await;
    installation.migrate().await;
    let (mut api, worker) = tokio::join!(installation.api(0), installation.worker(4));
    api.create_order().await;
    let (client, mut answers) = (client(), Answers::default());
    let sign = ["callback", "sign", "--transaction-id", "7", "--account", "1", "--amount", "50.00"];
    let signed = installation.command(&sign).await;

    postgres.kill();
    for _ in 0..3 {
        order(&client, &api.role.url, &mut answers).await;
        let asked = Instant::now();
        let webhook =
            client.post(format!("{}/atmos/webhook/", api.role.url)).body(signed.clone()).send().await.unwrap();
        println!("the webhook answered after {:?}", asked.elapsed());
        assert_eq!(webhook.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(webhook.headers().contains_key("Retry-After"));
        assert!(asked.elapsed() < TURNED_AWAY, "the gateway waited {:?}", asked.elapsed());
    }
    let (status, health) = api.role.get("/readyz").await;

    println!("turned away after {:?}", answers.turned_away);
    assert_eq!((answers.taken.len(), answers.turned_away.len()), (0, 3));
    assert!(answers.turned_away.iter().all(|taken| *taken < TURNED_AWAY), "{:?}", answers.turned_away);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(health.contains("does not answer"), "{health}");
    let (status, health) = worker.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(health.contains("the database does not answer"), "{health}");
    postgres.restart().await;
    api.role.ready().await;
}

/// The connection breaks between the claim and its answer. The database goes on with the claim.
#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_taken_back_and_counts_as_nothing() {
    const CLAIM_SLOWLY: &str = "
        create function claim_slowly() returns trigger language plpgsql as $$
        begin perform pg_sleep(1.5); return new; end $$;
        create trigger claim_slowly before update on jobs for each row
            when (new.kind = 'create_payment_link' and old.state = 'enqueued' and new.state = 'running')
            execute function claim_slowly();";
    const CLAIMING: &str =
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'
        and query like '-- claim_jobs%'";
    let mut url = Url::parse(&fresh_database().await).unwrap();
    let port = url.port().unwrap();
    let way = Forwarder::start(port).await;
    url.set_port(Some(way.port())).unwrap();
    let installation = RunningInstallation::on_database(url.to_string(), &[DO_NOT_WAIT]).await;
    installation.migrate().await;
    job_log::install(installation.database_url()).await;
    installation.execute(CLAIM_SLOWLY).await;
    let (api, worker) = tokio::join!(installation.api(0), installation.worker(4));

    let order = api.create_order().await;
    installation.wait_for_number(CLAIMING, PATIENCE, |claims| claims == 1).await;
    way.lead_to(port);
    // The claim was committed, and no worker knows of it.
    wait_until("the claim to be taken back", PATIENCE, async || {
        let query = "select count(*) from job_log where kind = 'create_payment_link' and was = 'running'
            and state = 'available'";
        (installation.number(query).await == 1).then_some(())
    })
    .await;
    api.wait_for_link(id(&order)).await;

    let given_back = job_log::links_were_made_once_each(&installation, 1).await;
    assert_eq!(given_back, 1, "{}", worker.program.output());
}
