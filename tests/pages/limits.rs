//! The page of limits. Which limits a reader needs is chosen here; how large each is comes from the constant itself, read
//! from the sources, for most are private to the module that keeps them.

use std::collections::HashMap;
use std::rc::Rc;

use documents::{part, table};
use http_server::ListenerLimits;

use crate::rules::parsed;

/// The unit of a constant.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Things(&'static str),
    Bytes,
    /// A `Duration`, or milliseconds where the constant is a number.
    Time,
}

use Unit::{Bytes, Things, Time};

const REQUESTS: &[(&str, &str, Unit)] = &[
    ("requests of one address behind a trusted proxy at once; then 429", "api::REQUESTS_PER_ADDRESS", Things("")),
    ("the head of a request", "http_server::HEAD_BYTES", Bytes),
    ("the body of a request to `/api/`; then 413", "api::orders/json_object/BODY_LIMIT", Bytes),
    ("an answer of `/api/`; then 503 `too-slow`", "api::route_table/TIME_LIMIT", Time),
    ("event streams of a process", "api::EVENT_STREAMS", Things("")),
    ("event streams of an API key", "api::EVENT_STREAMS_PER_KEY", Things("")),
    ("event streams of an address, with orders' tokens", "api::EVENT_STREAMS_PER_ADDRESS", Things("")),
    ("event streams of an order", "api::EVENT_STREAMS_PER_ORDER", Things("")),
    ("an event stream; then the browser connects again", "api::orders/events/LIFETIME", Time),
    ("an idempotency key is remembered", "store::IDEMPOTENCY_KEY_MS", Time),
];

const ORDERS: &[(&str, &str, Unit)] = &[
    ("`product_name`", "api::PRODUCT_NAME_LIMIT", Things("characters")),
    ("`reference`", "api::REFERENCE_LIMIT", Things("characters")),
    ("`return_url`", "api::RETURN_URL_LIMIT", Things("characters")),
    ("`reason` of a cancel or refund", "domain::REASON_CHARACTERS", Things("characters")),
    ("`amount`", "domain::MAX", Things("tiyin")),
    ("a page of a list", "api::MOST_ORDERS", Things("orders")),
    ("orders that a page of a list looks at", "store::MOST_WALKED", Things("")),
];

const CALLBACKS: &[(&str, &str, Unit)] = &[
    ("the body of a callback", "api::webhook/BODY_LIMIT", Bytes),
    ("the body must be there within", "api::webhook/BODY_TIME_LIMIT", Time),
    ("the answer to a callback; then 503", "api::webhook/TIME_LIMIT", Time),
    (
        "bodies to a gateway's webhook that prove nothing and are kept, a minute and process",
        "api::UNPROVEN_PER_MINUTE",
        Things(""),
    ),
    ("the same, a day and installation", "store::UNPROVEN_A_DAY", Things("")),
];

const JOBS: &[(&str, &str, Unit)] = &[
    ("jobs that a worker runs at once, without `--concurrency`", "cli::CONCURRENCY", Things("")),
    ("a lease; it is renewed while the job runs", "store::LEASE_MS", Time),
    ("crashes of its worker that make a job a suspect", "store::SUSPECT_CRASHES", Things("")),
    ("crashes of a suspect that runs alone; then it is a dead letter", "store::CRASHES_ALONE", Things("")),
    ("attempts that went wrong and are kept of a job", "store::ATTEMPTS_OF_A_JOB", Things("")),
];

const GATEWAY: &[(&str, &str, Unit)] = &[
    ("a call to the gateway", "gateway::CALL_TIMEOUT", Time),
    ("a connection to the gateway", "gateway::CONNECT_WITHIN", Time),
    ("failures in a row that open the circuit breaker", "gateway::coordination/breaker/FAILURES", Things("")),
    ("the first wait of an open circuit breaker", "gateway::coordination/breaker/FIRST_WAIT", Time),
    ("its longest wait", "gateway::coordination/breaker/LONGEST_WAIT", Time),
    ("the longest `Retry-After` that is kept", "gateway::LONGEST_RETRY_AFTER", Time),
];

const PROCESSES: &[(&str, &str, Unit)] = &[
    ("a start waits for the database", "cli::DATABASE_WAIT", Time),
    ("`tasdiq migrate` waits for a lock", "cli::LOCK_WAIT", Time),
    ("a heartbeat", "process::BEAT_EVERY", Time),
    ("a statement of the database", "store::STATEMENT_TIMEOUT", Time),
    ("numbers that a restore jumps over", "store::JUMP", Things("")),
];

/// The constants of the product: by crate, module and name.
struct Constants(HashMap<String, Vec<Rc<syn::Expr>>>);

impl Constants {
    fn read() -> Self {
        let mut constants: HashMap<String, Vec<Rc<syn::Expr>>> = HashMap::new();
        for (path, file) in parsed() {
            let (folder, module) = path.split_once("/src/").unwrap();
            let (folder, module) = (folder.trim_start_matches("shared/"), module.trim_end_matches(".rs"));
            let items = file.items.into_iter().flat_map(|item| match item {
                syn::Item::Const(item) => vec![(item.ident, *item.expr)],
                syn::Item::Impl(item) => item
                    .items
                    .into_iter()
                    .filter_map(|item| match item {
                        syn::ImplItem::Const(item) => Some((item.ident, item.expr)),
                        _ => None,
                    })
                    .collect(),
                _ => Vec::new(),
            });
            for (name, value) in items {
                let value = Rc::new(value);
                for key in [format!("{folder}::{name}"), format!("{folder}::{module}/{name}")] {
                    constants.entry(key).or_default().push(Rc::clone(&value));
                }
            }
        }
        Constants(constants)
    }

    /// The one constant that is named so.
    fn get(&self, name: &str) -> &syn::Expr {
        match self.0.get(name).map_or(&[][..], Vec::as_slice) {
            [value] => value,
            values => panic!("{} constants are named {name}", values.len()),
        }
    }

    /// Its value; that of a time in milliseconds.
    fn value(&self, folder: &str, expression: &syn::Expr) -> i64 {
        match expression {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }) => number.base10_parse().unwrap(),
            syn::Expr::Paren(inner) => self.value(folder, &inner.expr),
            syn::Expr::Binary(syn::ExprBinary { left, op: syn::BinOp::Mul(_), right, .. }) => {
                self.value(folder, left) * self.value(folder, right)
            }
            syn::Expr::Path(other) => {
                let other = other.path.get_ident().expect("a constant of the same crate");
                self.value(folder, self.get(&format!("{folder}::{other}")))
            }
            syn::Expr::Call(call) => {
                let argument = self.value(folder, call.args.first().expect("a value"));
                match call.func.as_ref() {
                    syn::Expr::Path(function) if function.path.segments.last().unwrap().ident == "from_secs" => {
                        1_000 * argument
                    }
                    // `from_millis`, or a type around the number.
                    _ => argument,
                }
            }
            _ => panic!("a constant of {folder} is no number that can be read here"),
        }
    }
}

/// `12,000`
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let places = digits.chars().enumerate().map(|(place, digit)| {
        let follows = digits.len() - place;
        if place > 0 && follows.is_multiple_of(3) { format!(",{digit}") } else { digit.to_string() }
    });
    places.collect()
}

fn time(ms: i64) -> String {
    match ms {
        _ if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        _ if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        _ if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        _ => format!("{ms} ms"),
    }
}

fn bytes(number: i64) -> String {
    match number {
        _ if number % (1024 * 1024) == 0 => format!("{} MiB", number / (1024 * 1024)),
        _ if number % 1024 == 0 => format!("{} KiB", number / 1024),
        _ => format!("{} bytes", grouped(number)),
    }
}

#[test]
fn the_reference_has_the_limits_as_the_code_does() {
    let constants = Constants::read();
    let shown = |(what, name, unit): &(&str, &str, Unit)| {
        let folder = name.split("::").next().unwrap();
        let value = constants.value(folder, constants.get(name));
        let value = match unit {
            Things(things) => format!("{} {things}", grouped(value)).trim_end().to_owned(),
            Bytes => bytes(value),
            Time => time(value),
        };
        [(*what).to_owned(), value]
    };
    for (name, rows) in [
        ("requests", REQUESTS),
        ("orders", ORDERS),
        ("callbacks", CALLBACKS),
        ("jobs", JOBS),
        ("gateway", GATEWAY),
        ("processes", PROCESSES),
    ] {
        part("docs/reference/limits.md", name, &table(["what", "at most"], rows.iter().map(shown)));
    }
}

#[test]
fn the_reference_has_the_limits_of_connections() {
    let limits = ListenerLimits::of(4_096);
    let seconds = |time: std::time::Duration| time_of(time.as_millis());
    let number = |number: usize| grouped(i64::try_from(number).unwrap());
    let rows = [
        ("connections of the API, where enough files may be open", number(limits.slots)),
        ("of those, connections of one address (of a /64 network with IPv6)", number(limits.per_address)),
        ("answers that wait for slow readers, together", bytes(i64::try_from(limits.unsent_bytes).unwrap())),
        ("between two requests", seconds(limits.timings.idle)),
        ("until the head of a request is whole", seconds(limits.timings.head)),
        ("until an answer begins", seconds(limits.timings.work)),
        ("until an answer is read", seconds(limits.timings.send)),
        ("a connection; then the next answer is its last", seconds(limits.timings.life)),
    ];

    let rows = rows.map(|(what, most)| [what.to_owned(), most]);
    part("docs/reference/limits.md", "connections", &table(["what", "at most"], rows));
}

fn time_of(ms: u128) -> String {
    time(i64::try_from(ms).unwrap())
}
