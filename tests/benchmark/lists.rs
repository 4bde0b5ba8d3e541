//! How long a list of orders takes through the order API, and an order by its name, where there are very many orders.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use domain::time::{millis, rfc3339};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use super::Extent;
use super::load::Figures;
use super::report::Section;
use super::setup::{Setup, safe_servers};
use super::shop::progress;

/// The time over which the orders were made; all of them have ended long ago.
const SPAN_MS: i64 = 360 * 86_400_000;

/// The newest order is so old.
const NEWEST_MS: i64 = 5 * 86_400_000;

/// What is asked: its name, and the filter. `{n}` is the number of an order, another one each time.
const LISTS: [(&str, &str); 13] = [
    ("no filter", ""),
    ("one status, of most orders", "status=paid"),
    ("one status, of one order in a thousand", "status=refunded"),
    ("three statuses", "status=pending,confirming,review"),
    ("an amount, of one order in a thousand", "amount=5100.00"),
    ("a range of amounts, of one order in a hundred", "amount_from=5100.00&amount_to=5109.00"),
    ("a payment type, of one order in ten", "payment_type=click"),
    ("words of one order in three", "text=somsa"),
    ("words of no order", "text=nothing"),
    ("marked orders", "needs_review=true"),
    ("a reference", "reference=R-{n}"),
    ("our number of a transaction", "transaction=1{n}"),
    ("the gateway's id of a transaction", "transaction=external-{n}"),
];

/// Measures each list from moments all over the time, each with its first page and the one after it. Returns the tables, and a
/// sentence for each list that takes too long.
pub(super) async fn measure(extent: Extent) -> (Vec<Section>, Vec<String>) {
    let (mut sections, mut faults) = (Vec::new(), Vec::new());
    let orders = extent.listed;
    let now_ms = millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    for is_embedded in [true, false] {
        let setup = if is_embedded { embedded(orders, now_ms).await } else { servers(orders, now_ms).await };
        let mut table = format!(
            "| of {orders} orders | requests | not 200 | p50 ms | p90 ms | p99 ms | longest ms |\n\
             |---|---:|---:|---:|---:|---:|---:|\n"
        );
        let mut rows = Vec::new();
        for (name, filter) in LISTS {
            progress(setup.name(), name);
            let (figures, errors) = ask(&setup, filter, extent, now_ms).await;
            let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| figures.percentile_ms(percent));
            let count = figures.count();
            table.push_str(&format!("| {name} | {count} | {errors} | {p50} | {p90} | {p99} | {longest} |\n"));
            rows.push(json!({
                "setup": setup.name(), "what": name, "load": format!("{orders} orders"), "number": count, "errors": errors,
                "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "longest_ms": longest,
            }));
            let is_late = |within: &Duration| figures.percentile(99).is_none_or(|p99| p99 > *within);
            if let Some(within) = extent.listed_within.filter(is_late) {
                let (setup, within) = (setup.name(), within.as_millis());
                faults.push(format!("{setup}: {name}: 99 of 100 lists took up to {p99} ms, and may take {within} ms"));
            }
            if errors > 0 {
                faults.push(format!("{}: {name}: {errors} were not answered with 200", setup.name()));
            }
        }
        sections.push(Section::Table { title: format!("{}: lists of orders", setup.name()), table, json: rows });
    }
    (sections, faults)
}

/// Asks for the list before moments all over the time, and for the page after each.
async fn ask(setup: &Setup, filter: &str, extent: Extent, now_ms: i64) -> (Figures, usize) {
    let (mut times, mut errors) = (Vec::new(), 0);
    let url = format!("{}/api/orders", setup.api().role.url);
    for round in 0..extent.lists {
        // Spread over the whole, without a pattern that repeats.
        let place = i64::try_from(round).unwrap() * 7_919 % 1_000;
        let number = 1 + place * extent.listed / 1_000;
        let until = rfc3339(now_ms - NEWEST_MS - SPAN_MS * place / 1_000);
        let names_one = filter.contains("{n}");
        let filter = filter.replace("{n}", &number.to_string());
        let query = if names_one { filter } else { format!("{filter}&until={until}") };
        let mut cursor = String::new();
        for _ in 0..2 {
            let began = Instant::now();
            let answer = setup.load().get(format!("{url}?{query}{cursor}")).send().await.unwrap();
            errors += usize::from(answer.status() != 200);
            let page: Value = answer.json().await.unwrap();
            times.push(began.elapsed());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    (Figures::of(times), errors)
}

fn statements(orders: i64, now_ms: i64) -> [String; 2] {
    let numbers = format!(
        "(with recursive counted (n) as (select cast(1 as bigint) union all select n + 1 from counted where n < {orders})
            select n from counted) as numbers"
    );
    let made = format!("{now_ms} - {NEWEST_MS} - {SPAN_MS} + {SPAN_MS} / {orders} * n");
    [
        format!(
            "insert into orders (id, token, shop, api_key_name, reference, reference_is_of_shop, product_name, amount,
                payment_type, language, status, gateway, transaction_id, needs_review, final_at_ms, created_at_ms,
                pending_since_ms)
            select n, cast(10000000000000000 + n as text) || substr(cast(10000000000000000 + n as text), 3), 'default', '',
                'R-' || n, 1, case n % 3 when 0 then 'Somsa, 2 dona' when 1 then 'Osh' else 'Chay, koʻk' end,
                500000 + n * 7919 % 1000 * 100, case when n % 10 = 0 then 'click' else 'atmos' end, 'uz',
                case when n % 1000 = 0 then 'refunded' when n % 1000 = 1 then 'review' when n % 1000 = 2 then 'failed'
                    when n % 1000 = 3 then 'canceled' when n % 1000 < 84 then 'expired' else 'paid' end,
                'atmos:1', n, case when n % 1000 = 500 then 1 else 0 end, {made}, {made}, {made} from {numbers}"
        ),
        format!(
            "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms, external_id,
                success_transaction_id)
            select 'atmos:1', cast('1' || n as bigint), n, 5000, 'debited', {made}, 'external-' || n, 20000000000 + n
            from {numbers}"
        ),
    ]
}

async fn embedded(orders: i64, now_ms: i64) -> Setup {
    let setup = Setup::embedded().await;
    progress(setup.name(), &format!("{orders} orders are written"));
    setup
        .filled(async |file: &Path| {
            let mut filling = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
            for statement in ["pragma synchronous = off", "pragma cache_size = -200000", "begin"] {
                filling.execute(statement).await.unwrap();
            }
            for statement in statements(orders, now_ms) {
                filling.execute(AssertSqlSafe(statement)).await.unwrap();
            }
            filling.execute("commit").await.unwrap();
            filling.close().await.unwrap();
        })
        .await
}

async fn servers(orders: i64, now_ms: i64) -> Setup {
    let (postgres, installation) = safe_servers().await;
    progress("PostgreSQL", &format!("{orders} orders are written"));
    for statement in statements(orders, now_ms) {
        installation.execute(&statement).await;
    }
    for statement in ["vacuum analyze", "checkpoint"] {
        installation.execute(statement).await;
    }
    Setup::on_servers(postgres, installation, 1).await
}
