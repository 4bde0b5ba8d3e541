//! How long the gateway waits for its answer at a steady rate of callbacks: with all parts running, with Redis away,
//! and with a gateway that hangs or is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::TransactionId;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Extent;
use super::load::Figures;
use super::report::Section;
use super::setup::safe_servers;
use super::shop::progress;
use crate::support::accounts::sandbox_account;
use crate::support::installation::RunningInstallation;
use crate::support::role::{RunningApi, client};
use crate::support::wait::wait_until;

/// The part that is away while the callbacks come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingPart {
    Nothing,
    Redis,
    GatewayHangs,
    Gateway,
}

impl MissingPart {
    /// In the order of measurement. The one that ends the sandbox comes last.
    pub(super) const ALL: [MissingPart; 4] =
        [MissingPart::Nothing, MissingPart::Redis, MissingPart::GatewayHangs, MissingPart::Gateway];

    pub(super) fn name(self) -> &'static str {
        match self {
            MissingPart::Nothing => "everything there",
            MissingPart::Redis => "Redis away",
            MissingPart::GatewayHangs => "the gateway hangs",
            MissingPart::Gateway => "the gateway away",
        }
    }
}

/// Measures each rate with each part away.
pub(super) async fn measure(extent: Extent) -> Section {
    let mut table = "| callbacks | number | answered with 1 | p50 ms | p90 ms | p99 ms | longest ms |\n\
                     |---|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let mut json = Vec::new();
    for per_second in extent.rates {
        let (_postgres, mut installation) = safe_servers().await;
        let (api, _worker) = tokio::join!(installation.api(0), installation.worker_with(&[]));
        installation.sandbox.fault(&json!({ "fault": "callback-never" })).await;
        // The first requests are not measured.
        let warm_up = extent.webhook.min(Duration::from_secs(3));
        round(&mut installation, &api, MissingPart::Nothing, *per_second, warm_up).await;
        for away in MissingPart::ALL {
            // Work that waits for a hanging gateway also waits for one that is away.
            if away != MissingPart::Gateway {
                settled(&installation).await;
            }
            let (figures, allowed) = round(&mut installation, &api, away, *per_second, extent.webhook).await;
            let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| figures.percentile_ms(percent));
            let (load, count) = (format!("{per_second} a second, {}", away.name()), figures.count());
            table.push_str(&format!("| {load} | {count} | {allowed} | {p50} | {p90} | {p99} | {longest} |\n"));
            json.push(json!({
                "what": "callback answered", "load": load, "number": count, "errors": count - allowed,
                "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "longest_ms": longest,
            }));
        }
    }
    Section::Table { title: "The webhook at a steady rate".to_owned(), table, json }
}

/// Waits until the work of the round before is done, which would disturb the figures.
async fn settled(installation: &RunningInstallation) {
    let due = "select count(*) from jobs where state in ('available', 'enqueued', 'running')
        and (state = 'running' or queue in ('settle', 'links'))";
    wait_until("the work of the round before to be done", Duration::from_secs(180), async || {
        (installation.number(due).await == 0).then_some(())
    })
    .await;
}

/// One round of callbacks about different orders. Each is sent at its moment, whether the earlier ones are answered or
/// not, and timed from that moment on. Allowed transactions are debited if there is a gateway, so that the worker has
/// the work of a busy day. Returns how many were answered with 1, too.
async fn round(
    installation: &mut RunningInstallation,
    api: &RunningApi,
    away: MissingPart,
    per_second: u32,
    time: Duration,
) -> (Figures, usize) {
    let count = usize::try_from(time.as_millis() * u128::from(per_second) / 1_000).unwrap();
    progress("the webhook", &format!("{per_second} callbacks a second, {}", away.name()));
    let bodies = Arc::new(callbacks(installation, count).await);
    match away {
        MissingPart::Nothing => (),
        MissingPart::Redis => installation.redis.kill(),
        // Longer than the round, and longer than every call of ours.
        MissingPart::GatewayHangs => installation.sandbox.delay_answers(Duration::from_secs(120)).await,
        MissingPart::Gateway => installation.sandbox.stop(),
    }
    let (http, webhook) = (client(), format!("{}/atmos/webhook/", api.role.url));
    let is_paid = !matches!(away, MissingPart::Gateway | MissingPart::GatewayHangs);
    let paying = is_paid.then(|| (client(), installation.sandbox.url.clone()));
    let between = Duration::from_secs(1) / per_second;
    let began = Instant::now() + Duration::from_millis(100);
    let mut running = JoinSet::new();
    for number in 0..u32::try_from(bodies.len()).unwrap() {
        let due = began + between * number;
        tokio::time::sleep_until(due.into()).await;
        let (request, bodies, paying) = (http.post(&webhook), Arc::clone(&bodies), paying.clone());
        running.spawn(async move {
            let (transaction_id, body) = &bodies[usize::try_from(number).unwrap()];
            let is_allowed = ask(request, body).await == Some(1);
            let took = due.elapsed();
            if let Some((client, sandbox)) = paying.filter(|_| is_allowed) {
                debit(&client, &sandbox, *transaction_id).await;
            }
            (took, is_allowed)
        });
    }
    let answers = running.join_all().await;
    match away {
        MissingPart::Redis => installation.redis.restart().await,
        MissingPart::GatewayHangs => installation.sandbox.clear_faults().await,
        MissingPart::Nothing | MissingPart::Gateway => (),
    }
    let allowed = answers.iter().filter(|(_, is_allowed)| *is_allowed).count();
    (Figures::of(answers.into_iter().map(|(took, _)| took)), allowed)
}

/// The answer to a callback, if there is one.
pub(super) async fn ask(request: reqwest::RequestBuilder, body: &str) -> Option<i64> {
    let answer = request.body(body.to_owned()).send().await.ok()?;
    answer.json::<Value>().await.ok()?["status"].as_i64()
}

/// Lets the gateway debit.
pub(super) async fn debit(client: &Client, sandbox: &str, transaction_id: i64) {
    let _ = client.post(format!("{sandbox}/_sim/pay/{transaction_id}")).send().await;
}

/// Makes this many orders with a link, at the sandbox and by SQL. Returns a correctly signed callback about each.
pub(super) async fn callbacks(installation: &RunningInstallation, count: usize) -> Vec<(i64, String)> {
    let first_order = installation.number("select coalesce(max(id), 0) + 1 from orders").await;
    let first_job = installation
        .number(&format!("update id_blocks set next = next + {count} where name = 'jobs' returning next - {count}"))
        .await;
    let now_ms = installation.number("select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)").await;
    let gateway = sandbox_account();
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
