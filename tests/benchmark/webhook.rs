//! How long the gateway waits for its answer, at a steady rate of callbacks: with everything there, with Redis away, and
//! with the gateway away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use shared::config::{Config, Role as ConfigRole};
use shared::coordination::Coordination;
use shared::gateway::atmos::AtmosGateway;
use shared::id::TransactionId;
use tokio::task::JoinSet;

use super::load::Figures;
use super::machine;
use crate::roles::installation::Installation;
use crate::roles::role::{Api, Role, client};
use crate::support::servers::PrivatePostgres;
use crate::support::wait::wait_until;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    per_second: u32,
    time: Duration,
}

impl Extent {
    /// For figures to publish: about three minutes.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) const FULL: Extent = Extent { per_second: 500, time: Duration::from_secs(20) };
    /// To see that it works: seconds.
    #[allow(dead_code, reason = "the benchmark has no use for it")]
    pub(crate) const QUICK: Extent = Extent { per_second: 20, time: Duration::from_secs(1) };

    fn callbacks(self) -> usize {
        usize::try_from(self.time.as_millis()).unwrap() * usize::try_from(self.per_second).unwrap() / 1_000
    }
}

/// What is away while the callbacks come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Nothing,
    Redis,
    Gateway,
}

impl Away {
    fn name(self) -> &'static str {
        match self {
            Away::Nothing => "everything there",
            Away::Redis => "Redis away",
            Away::Gateway => "the gateway away",
        }
    }
}

/// Measures the three and gives a table in Markdown.
pub(crate) async fn run(extent: Extent) -> String {
    let postgres = PrivatePostgres::start_with(&["fsync=on", "full_page_writes=on"]).await;
    let mut installation = Installation::on_database(postgres.url(), &[]).await;
    installation.migrate().await;
    let (api, worker) = tokio::join!(installation.api(0), installation.worker_with(&[]));
    installation.sandbox.fault(&json!({ "fault": "callback-never" })).await;

    let mut report = format!(
        "| callbacks at {} a second | number | answered with 1 | p50 ms | p90 ms | p99 ms | longest ms |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
        extent.per_second
    );
    // Nobody's first requests count.
    let warm_up = Extent { time: extent.time.min(Duration::from_secs(3)), ..extent };
    measure(&mut installation, &api, Away::Nothing, warm_up).await;
    for away in [Away::Nothing, Away::Redis, Away::Gateway] {
        settled(&installation).await;
        report.push_str(&measure(&mut installation, &api, away, extent).await);
    }
    drop::<(Api, Role)>((api, worker));
    format!("{report}\n{}", machine::describe(&version(&installation).await).await)
}

async fn version(installation: &Installation) -> String {
    let version = installation.number("select current_setting('server_version_num')::bigint").await;
    format!("{}.{}", version / 10_000, version % 10_000)
}

/// Waits until the work of the round before is done; what it left would be in the figures.
async fn settled(installation: &Installation) {
    let due = "select count(*) from jobs where state in ('available', 'enqueued', 'running')
        and (state = 'running' or queue in ('settle', 'links'))";
    wait_until("the work of the round before to be done", Duration::from_secs(180), async || {
        (installation.number(due).await == 0).then_some(())
    })
    .await;
}

/// One round: callbacks about orders of their own, each sent at its moment whether those before are answered or not, and
/// timed from that moment on. What was allowed is debited, so that the worker has what it has on a busy day.
async fn measure(installation: &mut Installation, api: &Api, away: Away, extent: Extent) -> String {
    eprintln!("{} callbacks with {}", extent.callbacks(), away.name());
    let bodies = Arc::new(callbacks(installation, extent.callbacks()).await);
    match away {
        Away::Nothing => (),
        Away::Redis => installation.redis.kill(),
        Away::Gateway => installation.sandbox.stop(),
    }
    let (http, webhook) = (client(), format!("{}/atmos/webhook/", api.role.url));
    let paying = (away != Away::Gateway).then(|| (client(), installation.sandbox.url.clone()));
    let between = Duration::from_secs(1) / extent.per_second;
    let began = Instant::now() + Duration::from_millis(100);
    let mut running = JoinSet::new();
    for number in 0..u32::try_from(bodies.len()).unwrap() {
        let due = began + between * number;
        tokio::time::sleep_until(due.into()).await;
        let (request, bodies, paying) = (http.post(&webhook), Arc::clone(&bodies), paying.clone());
        running.spawn(async move {
            let (transaction_id, body) = &bodies[usize::try_from(number).unwrap()];
            let is_allowed = ask(request, body).await;
            let took = due.elapsed();
            if let Some((client, sandbox)) = paying.filter(|_| is_allowed) {
                debit(&client, &sandbox, *transaction_id).await;
            }
            (took, is_allowed)
        });
    }
    let answers = running.join_all().await;
    if away == Away::Redis {
        installation.redis.restart().await;
    }
    let allowed = answers.iter().filter(|(_, is_allowed)| *is_allowed).count();
    let figures = Figures::of(answers.into_iter().map(|(took, _)| took));
    let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| figures.percentile_ms(percent));
    format!("| {} | {} | {allowed} | {p50} | {p90} | {p99} | {longest} |\n", away.name(), figures.count())
}

async fn ask(request: reqwest::RequestBuilder, body: &str) -> bool {
    let Ok(answer) = request.body(body.to_owned()).send().await else { return false };
    answer.json::<Value>().await.is_ok_and(|answer| answer["status"] == 1)
}

async fn debit(client: &Client, sandbox: &str, transaction_id: i64) {
    let _ = client.post(format!("{sandbox}/_sim/pay/{transaction_id}")).send().await;
}

/// So many orders with a link, made at the sandbox and written by SQL, and a rightly signed callback about each.
async fn callbacks(installation: &Installation, count: usize) -> Vec<(i64, String)> {
    let first_order = installation.number("select coalesce(max(id), 0) + 1 from orders").await;
    let first_job = installation.number("select next from id_blocks where name = 'jobs'").await;
    let now_ms = installation.number("select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)").await;
    let atmos = Config::from_environment(ConfigRole::Operator, |_| None).expect("the sandbox's credentials").atmos;
    let gateway = AtmosGateway::new(atmos, Coordination::local(None)).expect("a client");
    let drafts = Drafts::open(&installation.sandbox.url).await;
    let mut orders = Vec::new();
    for begin in (0..count).step_by(32) {
        let some = (begin..count.min(begin + 32)).map(|number| {
            let order_id = first_order + i64::try_from(number).unwrap();
            let drafts = &drafts;
            async move { (order_id, drafts.create(order_id).await) }
        });
        orders.extend(futures_util::future::join_all(some).await);
    }
    let [ids, transactions]: [Vec<String>; 2] = [
        orders.iter().map(|(order_id, _)| order_id.to_string()).collect(),
        orders.iter().map(|(_, transaction_id)| transaction_id.to_string()).collect(),
    ];
    let last_order = first_order + i64::try_from(count).unwrap() - 1;
    let statements = format!(
        "create temporary table made as select * from unnest(array[{}]::bigint[], array[{}]::bigint[]) as made(id, tx);
        insert into orders (id, token, api_key_name, product_name, amount, payment_type, language, status, gateway,
            transaction_id, payment_url, links_made, link_at_ms, expires_at_ms, created_at_ms, pending_since_ms)
        select id, md5(random()::text), '', 'Tea', 5000, 'atmos', 'uz', 'pending', 'sandbox:1234',
            tx, 'http://gateway/' || tx, 1, {now_ms}, {now_ms} + 3600000, {now_ms}, {now_ms} from made;
        insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
        select id, 1, {now_ms}, null, 'pending', 'the shop asked for it' from made;
        insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
        select 'sandbox:1234', tx, id, 5000, 'open', {now_ms} from made;
        update id_blocks set next = next + {count} where name = 'jobs';
        insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
        select {first_job} + id - {first_order}, 'background', 'settle_order', id,
            '{{\"kind\":\"settle_order\",\"order_id\":' || id || '}}', 'available', {now_ms} + 1200000, {now_ms} from made;
        update id_blocks set next = {last_order} + 1 where name = 'orders';
        analyze orders, transactions, jobs, order_history;",
        ids.join(","),
        transactions.join(",")
    );
    installation.execute(&statements).await;
    let sign = |(order_id, transaction_id): (i64, i64)| {
        let body = gateway.sign_callback(TransactionId(transaction_id), &order_id.to_string(), 5_000);
        (transaction_id, body)
    };
    orders.into_iter().map(sign).collect()
}

/// Makes transactions at the sandbox, as a worker does.
struct Drafts {
    client: Client,
    url: String,
    token: String,
}

impl Drafts {
    async fn open(url: &str) -> Self {
        let client = client();
        let request = client.post(format!("{url}/token")).basic_auth("sandbox-key", Some("sandbox-secret"));
        let answer = request.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        let token: Value = answer.json().await.unwrap();
        Drafts { client, url: url.to_owned(), token: token["access_token"].as_str().unwrap().to_owned() }
    }

    async fn create(&self, order_id: i64) -> i64 {
        let body = json!({ "amount": 5_000, "account": order_id.to_string(), "store_id": 1234 });
        let request = self.client.post(format!("{}/merchant/pay/create", self.url)).bearer_auth(&self.token);
        let draft: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        draft["transaction_id"].as_i64().unwrap_or_else(|| panic!("{draft}"))
    }
}

/// The figures of this run are worth nothing; that every callback is allowed, whatever is away, is.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_benchmark_measures_the_webhook() {
    let report = run(Extent::QUICK).await;

    for away in [Away::Nothing, Away::Redis, Away::Gateway] {
        assert!(report.contains(&format!("\n| {} | 20 | 20 | ", away.name())), "{report}");
    }
}
