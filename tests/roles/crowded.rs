//! Connections that are held open take nothing from other clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::{RunningApi, RunningRole, id};
use crate::support::wait::PATIENCE;

/// More connections than there are descriptors.
const HELD: u8 = 220;

/// Addresses that hold connections. Each holds fewer than all, and more than one address may have.
const HOLDERS: u8 = 5;

const OPEN: &str = r#"tasdiq_connections{listener="api"}"#;
const PLACES: &str = r#"tasdiq_connection_places{listener="api"}"#;

/// A running `tasdiq up` under this limit, and its address.
async fn up(limit: &str) -> (RunningApi, SocketAddr) {
    let [address, sandbox] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let environment = [("TASDIQ_LISTEN", address.as_str()), ("TASDIQ_SANDBOX_LISTEN", &sandbox)];
    let mut role = RunningRole::new(Program::start_limited(limit, &["up"], &environment), &address);
    role.ready().await;
    (RunningApi::new(role), address.parse().unwrap())
}

/// A metric's value.
async fn value(api: &RunningApi, name: &str) -> usize {
    let (_, metrics) = api.role.get("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim().parse().unwrap()
}

/// The answer to a request on a connection of its own.
async fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, reading).await.expect("answered").unwrap();
    answer
}

/// A connection from another address of this machine, with one request on it.
async fn held(address: SocketAddr, holder: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 11 + holder), 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream
}

/// Shows: INVARIANT-25
#[tokio::test]
async fn a_process_that_may_open_few_files_goes_on_while_more_connections_are_held_than_it_can_have() {
    http_server::raise_limit(); // this test holds as many itself
    // The limit of many shells and supervisors.
    let (api, address) = up("-n 1024").await;
    let mut connections = Vec::new();
    for _ in 0..HELD {
        for holder in 0..HOLDERS {
            connections.push(held(address, holder).await);
        }
    }

    for _ in 0..20 {
        let request = "POST /atmos/webhook/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let answer = tokio::time::timeout(Duration::from_secs(5), answer(address, request)).await.expect("in time");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"status\":0"), "{answer}");
    }

    // The database and the gateway still have their descriptors.
    let order = id(&api.create_order().await);
    api.wait_for_link(order).await;
    let [open, places] = [value(&api, OPEN).await, value(&api, PLACES).await];
    assert!(open <= places && places < 1_024, "{open} of {places}");
    let closed = value(&api, r#"tasdiq_connections_closed_total{listener="api",why="crowded"}"#).await;
    assert!(closed > 0, "{open} of {places}");
    assert_eq!(connections.len(), usize::from(HELD) * usize::from(HOLDERS));
}

#[tokio::test]
async fn a_limit_of_files_that_may_be_raised_is_raised_at_the_start() {
    let (api, _) = up("-S -n 256").await;

    // With 256 files there would be 48.
    let places = value(&api, PLACES).await;
    assert!(places > 400, "{places}");
}
