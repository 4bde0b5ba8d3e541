//! Callbacks while all other resources are taken: more held connections than places, refused requests, a full log disk,
//! and order pages that are loaded again and again.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::id::TransactionId;
use http_server::ConnectionLimits;
use serde_json::{Value, json};
use telemetry::causes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::Extent;
use super::load::{Figures, at_a_rate, closed_loop};
use super::report::Section;
use super::setup::safe_servers;
use super::shop::progress;
use super::usage::mib;
use crate::support::accounts::sandbox_account;
use crate::support::role::client;
use crate::support::up::Up;

/// The number of held connections above the number of places.
const MORE_THAN_PLACES: usize = 104;

/// The number of addresses that hold connections: one address may not have all places.
const HOLDERS: usize = 5;

/// Each held connection sends a request this often, so that it is not idle.
const ASKED_EVERY: Duration = Duration::from_secs(60);

/// A holder whose connection was closed comes back after this time.
const COMES_BACK: Duration = Duration::from_secs(1);

/// The longest wait of the gateway. A later answer does not count.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// The most memory that the process may have, in KiB.
pub(super) const MOST_KIB: u64 = 150 * 1_024;

const CALLBACKS_PER_SECOND: u32 = 50;
const REFUSED_PER_SECOND: u32 = 100;
const PAGES: usize = 40;

/// The settings that let `up` work on servers.
const SERVERS: [&str; 2] = ["DATABASE_URL", "REDIS_URL"];

/// Each page is loaded again this often.
const LOADED_EVERY: Duration = Duration::from_secs(1);

/// The result of a siege.
pub(super) struct Siege {
    /// The fewest connections that were held at a time while callbacks came.
    pub(super) held: usize,
    /// The number of places of the process.
    pub(super) places: usize,
    pub(super) callbacks: Figures,
    pub(super) unanswered: usize,
    pub(super) refused: usize,
    pub(super) pages: usize,
    /// The most memory that the process had, in KiB.
    pub(super) peak_kib: u64,
}

impl Siege {
    /// Whether the places were taken all the time. When a new connection finds no place, the process closes one
    /// connection in 64, and no more until those have ended. A closed holder is back a second later, so nearly all are
    /// held at any moment.
    pub(super) fn was_laid(&self) -> bool {
        self.held * 4 >= self.places * 3
    }

    fn row(&self, database: &str) -> String {
        let Siege { held, places, callbacks, unanswered, refused, pages, peak_kib } = self;
        let [p50, p99, longest] = [50, 99, 100].map(|percent| callbacks.percentile_ms(percent));
        let (count, memory) = (callbacks.count(), mib(*peak_kib));
        format!(
            "| {database} | {held} | {places} | {refused} | {pages} | {count} | {unanswered} | {p50} | {p99} | {longest} | {memory} |\n"
        )
    }

    fn json(&self, database: &str) -> Value {
        let [p50, p99, longest] = [50, 99, 100].map(|percent| self.callbacks.percentile_ms(percent));
        json!({
            "what": "callback answered", "load": "besieged", "database": database, "number": self.callbacks.count(),
            "errors": self.unanswered, "p50_ms": p50, "p99_ms": p99, "longest_ms": longest,
            "memory_mib": mib(self.peak_kib), "fewest_held": self.held, "places": self.places,
        })
    }

    /// One sentence for each value that is not as it must be.
    fn faults(&self, within: Duration) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.was_laid() {
            faults.push(format!("only {} connections were held, where there are {} places", self.held, self.places));
        }
        if self.unanswered > 0 {
            faults.push(format!(
                "{} of {} callbacks were not answered with 1",
                self.unanswered,
                self.callbacks.count()
            ));
        }
        if self.callbacks.percentile(99).is_none_or(|p99| p99 > within) {
            let p99 = self.callbacks.percentile_ms(99);
            faults.push(format!("one callback in a hundred took longer than {p99} ms, and may take {within:?}"));
        }
        if self.peak_kib > MOST_KIB {
            faults.push(format!("the process had {} MiB, and may have {}", mib(self.peak_kib), mib(MOST_KIB)));
        }
        faults
    }
}

/// Measures a siege of `tasdiq up`, whose one process has the most to lose. Returns the faults, too.
pub(super) async fn measure(extent: Extent) -> (Section, Vec<String>) {
    let (mut rows, mut measured, mut faults) = (String::new(), Vec::new(), Vec::new());
    let mut add = |database: &str, siege: &Siege| {
        rows.push_str(&siege.row(database));
        measured.push(siege.json(database));
        if let Some(within) = extent.besieged_within {
            faults.extend(siege.faults(within).into_iter().map(|fault| format!("{database}: {fault}")));
        }
    };
    add("SQLite", &lay(extent.siege, &[]).await);
    {
        let (_postgres, installation) = safe_servers().await;
        let servers = installation.environment().into_iter().filter(|(name, _)| SERVERS.contains(name));
        let servers: Vec<(&str, &str)> = servers.collect();
        add("PostgreSQL, Redis", &lay(extent.siege, &servers).await);
    }
    let table = format!(
        "| database | fewest connections held | places | refused requests | pages loaded | callbacks | unanswered | p50 ms | p99 ms | longest ms | most memory, MiB |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n{rows}"
    );
    (Section::Table { title: "`tasdiq up` besieged".to_owned(), table, json: measured }, faults)
}

/// Besieges a process with these settings for this time.
pub(super) async fn lay(time: Duration, settings: &[(&str, &str)]) -> Siege {
    http_server::raise_limit();
    let up = Up::start_redirected("2>/dev/full", settings).await;
    let (url, id) = (up.api.role.url.clone(), up.api.role.program.id());
    let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let count = usize::try_from(time.as_secs()).unwrap() * usize::try_from(CALLBACKS_PER_SECOND).unwrap();
    progress("siege", &format!("{count} orders are made"));
    let bodies = Arc::new(callbacks(&url, count).await);
    let tokens = orders(&url, PAGES).await.into_iter().map(|order| order["order_token"].as_str().unwrap().to_owned());
    let tokens: Vec<String> = tokens.collect();

    progress("siege", "connections are held");
    let mut siege = JoinSet::new();
    let (held, pages) = (Arc::new(HeldConnections::default()), Arc::new(AtomicUsize::new(0)));
    let places = ConnectionLimits::of_this_process().api;
    for number in 0..places + MORE_THAN_PLACES {
        siege.spawn(hold(address, number % HOLDERS, Arc::clone(&held)));
    }
    let taken = async || (held.now.load(Ordering::Relaxed) * 10 >= places * 9).then_some(());
    crate::support::wait::wait_until("nearly all places to be taken", Duration::from_secs(120), taken).await;
    for token in tokens {
        siege.spawn(load_again(address, format!("/pay/{token}/return"), Arc::clone(&pages)));
    }

    progress("siege", "callbacks come");
    held.fewest.store(held.now.load(Ordering::Relaxed), Ordering::Relaxed);
    let refused = tokio::spawn(refused_requests(address, time));
    let answers = at_a_rate(CALLBACKS_PER_SECOND, count, |number| {
        let bodies = Arc::clone(&bodies);
        async move {
            let begun = Instant::now();
            // Each callback has a connection of its own, which needs a place.
            let answer = ask(address, &bodies[number]).await;
            (begun.elapsed(), answer)
        }
    })
    .await;
    let fewest = held.fewest.load(Ordering::Relaxed);
    let unanswered: Vec<&String> = answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).collect();
    if !unanswered.is_empty() {
        progress("siege", &format!("not answered as they should be: {unanswered:?}"));
    }
    let unanswered = unanswered.len();
    let refused = refused.await.unwrap();
    let peak_kib = peak_memory_kib(id);
    siege.shutdown().await;
    Siege {
        held: fewest,
        places,
        unanswered,
        callbacks: Figures::of(answers.into_iter().map(|(took, _)| took)),
        refused,
        pages: pages.load(Ordering::Relaxed),
        peak_kib,
    }
}

/// Fails unless the callback is answered with 1.
async fn ask(address: SocketAddr, body: &str) -> Result<(), String> {
    let answer = exchange(address, "POST", "/atmos/webhook/", body).await.map_err(|error| causes(&error))?;
    if answer.contains(r#""status":1"#) { Ok(()) } else { Err(answer) }
}

/// The answer to a request on a connection of its own. Written by hand: an HTTP client for each request would cost the
/// load more than the program.
async fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let exchanging = async {
        let mut stream = TcpStream::connect(address).await?;
        let size = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: siege\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {size}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(ANSWERED_WITHIN, exchanging).await?
}

/// Makes this many orders. Returns the answers of `create`.
async fn orders(url: &str, count: usize) -> Vec<Value> {
    let client = client();
    let create = format!("{url}/api/orders/create");
    let order = json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" });
    let (_, made) = closed_loop(16, Duration::from_secs(600), count, move |_| {
        let (client, create, order) = (client.clone(), create.clone(), order.clone());
        async move {
            let made: Value = client.post(create).json(&order).send().await.unwrap().json().await.unwrap();
            assert!(made["transaction_id"].is_i64(), "{made}");
            made
        }
    })
    .await;
    made
}

/// A correctly signed callback about each of this many new orders.
async fn callbacks(url: &str, count: usize) -> Vec<String> {
    let gateway = sandbox_account();
    let sign = |order: Value| {
        let transaction_id = TransactionId(order["transaction_id"].as_i64().unwrap());
        gateway.sign_callback(transaction_id, &order["order_id"].to_string(), 5_000)
    };
    orders(url, count).await.into_iter().map(sign).collect()
}

/// The number of held connections.
#[derive(Default)]
struct HeldConnections {
    now: AtomicUsize,
    /// The fewest since callbacks come.
    fewest: AtomicUsize,
}

impl HeldConnections {
    fn one_more(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    fn one_less(&self) {
        let before = self.now.fetch_sub(1, Ordering::Relaxed);
        self.fewest.fetch_min(before - 1, Ordering::Relaxed);
    }
}

/// Holds a connection, sends a request on it now and then, and connects again when it is closed.
async fn hold(address: SocketAddr, holder: usize, held: Arc<HeldConnections>) {
    let from = Ipv4Addr::new(127, 0, 0, 11 + u8::try_from(holder).unwrap());
    loop {
        if let Ok(mut stream) = connect_from(from, address).await {
            let mut is_held = false;
            while asks(&mut stream).await {
                if !std::mem::replace(&mut is_held, true) {
                    held.one_more();
                }
                // Returns at once when the connection is closed.
                if tokio::time::timeout(ASKED_EVERY, stream.read_u8()).await.is_ok() {
                    break;
                }
            }
            if is_held {
                held.one_less();
            }
        }
        tokio::time::sleep(COMES_BACK).await;
    }
}

async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(address).await
}

/// Asks whether the process lives, and reads the answer.
async fn asks(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: siege\r\n\r\n").await;
    let mut buffer = [0; 2_048];
    asked.is_ok() && matches!(stream.read(&mut buffer).await, Ok(1..))
}

async fn load_again(address: SocketAddr, page: String, pages: Arc<AtomicUsize>) {
    let mut ticks = tokio::time::interval(LOADED_EVERY);
    loop {
        ticks.tick().await;
        if exchange(address, "GET", &page, "").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            pages.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends requests to an unknown path, forged callbacks and invalid orders. Returns how many were answered.
async fn refused_requests(address: SocketAddr, time: Duration) -> usize {
    let count = usize::try_from(time.as_secs()).unwrap() * usize::try_from(REFUSED_PER_SECOND).unwrap();
    let answered = at_a_rate(REFUSED_PER_SECOND, count, |number| async move {
        let answer = match number % 3 {
            0 => exchange(address, "GET", &format!("/nope/{number}"), "").await,
            1 => exchange(address, "POST", "/atmos/webhook/", &format!(r#"{{"store_id":"1234","n":{number}}}"#)).await,
            _ => exchange(address, "POST", "/api/orders/create", &format!(r#"{{"amount":{number}}}"#)).await,
        };
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 "))
    })
    .await;
    answered.into_iter().filter(|is_answered| *is_answered).count()
}

/// The most memory that the process has had so far, in KiB.
fn peak_memory_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
