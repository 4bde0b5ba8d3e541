//! The limits as callers notice them, over real connections.

use std::net::Ipv4Addr;
use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, EndpointExt, IntoEndpoint, Response, Route, handler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

const SOON: Duration = Duration::from_secs(5);
const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// A running server. It ends with the test.
struct TestServer {
    address: SocketAddr,
    closing: Arc<Notify>,
    /// Notified when a request for `/late` arrives.
    is_asked: Arc<Notify>,
    running: JoinHandle<()>,
}

impl TestServer {
    async fn start(limits: ListenerLimits) -> Self {
        Self::with(limits, |server| server).await
    }

    async fn with(limits: ListenerLimits, change: impl FnOnce(HttpServer) -> HttpServer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = change(HttpServer::new("test", listener, limits));
        let routes = Route::new().at("/", hello).at("/large", large).at("/late", late).at("/drip", drip);
        let is_asked = Arc::new(Notify::new());
        let routes = routes.data(Arc::clone(&is_asked));
        let closing = Arc::new(Notify::new());
        let closed = Arc::clone(&closing);
        let running = tokio::spawn(server.run(
            routes.into_endpoint(),
            async move { closed.notified().await },
            Duration::from_millis(1_500),
        ));
        TestServer { address, closing, is_asked, running }
    }

    /// A connection with a request in progress.
    async fn busy(&self, last_header: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let request = format!("GET /late HTTP/1.1\r\nhost: shop.test\r\n{last_header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        self.is_asked.notified().await;
        stream
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// From another address of this machine.
    async fn connect_from(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

fn limits(slots: usize) -> ListenerLimits {
    ListenerLimits { per_address: usize::MAX, ..ListenerLimits::of(slots) }
}

#[handler]
fn hello() -> &'static str {
    "hello"
}

/// More than the system buffers for a reader that does not read.
#[handler]
fn large() -> Vec<u8> {
    vec![b'x'; 16 * 1024 * 1024]
}

#[handler]
async fn late(is_asked: Data<&Arc<Notify>>) -> &'static str {
    is_asked.notify_one();
    tokio::time::sleep(Duration::from_millis(600)).await;
    "late"
}

/// An endless response.
#[handler]
fn drip() -> Response {
    let (mut writing, reading) = tokio::io::duplex(64);
    tokio::spawn(async move {
        while writing.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    Response::builder().status(StatusCode::OK).body(Body::from_async_read(reading))
}

/// Sends a request and reads the response, whose body is `hello`.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(ASK).await.unwrap();
    let mut text = String::new();
    let reading = async {
        while !text.ends_with("hello") {
            let byte = stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {text:?}"));
            text.push(char::from(byte));
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("answered");
    text
}

/// Whether the server closes the connection soon; returns the bytes it sent before.
async fn ends(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    match tokio::time::timeout(SOON, stream.read_to_end(&mut said)).await {
        Ok(_) => Some(said),
        Err(_elapsed) => None,
    }
}

/// Whether the connection is still open after a short wait.
async fn stays(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn an_event_does_not_wait_until_the_previous_one_is_acknowledged() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = HttpServer::new("test", listener, limits(1));
    let _client = TcpStream::connect(address).await.unwrap();

    let (stream, ..) = server.take().await;

    assert!(stream.nodelay().unwrap());
}

/// Shows: INVARIANT-25
#[tokio::test]
async fn http_2_is_refused_at_its_first_bytes() {
    let server = TestServer::start(limits(8)).await;
    let mut client = server.connect().await;

    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();

    let said = ends(&mut client).await.expect("closed");
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{said:?}");
}

/// Shows: INVARIANT-25
#[tokio::test]
async fn a_new_connection_gets_in_when_idle_ones_use_all_slots() {
    let server = TestServer::start(limits(2)).await;
    let mut oldest = server.connect().await;
    ask(&mut oldest).await;
    let mut newer = server.connect().await;
    ask(&mut newer).await;

    let mut new = server.connect().await;
    ask(&mut new).await;

    assert!(ends(&mut oldest).await.is_some(), "it has been idle for the longest");
    assert!(stays(&mut newer).await);
}

/// Shows: INVARIANT-25
#[tokio::test]
async fn an_address_with_many_idle_connections_loses_one_before_an_address_with_few() {
    let server = TestServer::start(limits(4)).await;
    let mut gateway = server.connect_from(7).await;
    ask(&mut gateway).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut one = server.connect_from(8).await;
        ask(&mut one).await;
        held.push(one);
    }

    let mut new = server.connect_from(9).await;
    ask(&mut new).await;

    assert!(stays(&mut gateway).await, "it is older, and the only one of its address");
    assert!(ends(&mut held[0]).await.is_some());
}

#[tokio::test]
async fn a_connection_with_a_request_is_not_closed_for_a_new_one() {
    let server = TestServer::start(limits(1)).await;
    let mut busy = server.busy("connection: close\r\n").await;

    let mut new = server.connect().await;
    ask(&mut new).await;

    let said = ends(&mut busy).await.expect("its answer is its last");
    assert!(said.ends_with(b"late"), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn the_connections_of_one_address_are_limited() {
    let server = TestServer::start(ListenerLimits { per_address: 2, ..ListenerLimits::of(100) }).await;
    let mut first = server.connect_from(7).await;
    ask(&mut first).await;
    let mut second = server.connect_from(7).await;
    ask(&mut second).await;

    let mut third = server.connect_from(7).await;
    ask(&mut third).await;

    assert!(ends(&mut first).await.is_some(), "its own make room");
    let mut other = server.connect_from(8).await;
    ask(&mut other).await;
    assert!(stays(&mut second).await, "what others do takes nothing from it");
}

#[tokio::test]
async fn a_connection_above_the_limit_of_an_address_is_refused_while_the_others_are_in_use() {
    let server = TestServer::start(ListenerLimits { per_address: 1, ..ListenerLimits::of(100) }).await;
    let mut busy = server.busy("connection: close\r\n").await;

    let mut one_too_many = server.connect().await;

    assert_eq!(ends(&mut one_too_many).await.map(|said| said.len()), Some(0));
    assert!(ends(&mut busy).await.is_some_and(|said| said.ends_with(b"late")));
}

#[tokio::test]
async fn a_favored_address_has_any_number_and_is_closed_last() {
    let is_favored = |address: IpAddr| address == IpAddr::from([127, 0, 0, 7]);
    let few = ListenerLimits { per_address: 1, ..ListenerLimits::of(3) };
    let server = TestServer::with(few, |server| server.favoring(is_favored)).await;
    let mut favored = Vec::new();
    for _ in 0..2 {
        let mut one = server.connect_from(7).await;
        ask(&mut one).await;
        favored.push(one);
    }
    let mut stranger = server.connect_from(8).await;
    ask(&mut stranger).await;

    let mut new = server.connect_from(9).await;
    ask(&mut new).await;

    assert!(ends(&mut stranger).await.is_some());
    assert!(stays(&mut favored[0]).await && stays(&mut favored[1]).await);
}

fn hasty() -> Timings {
    Timings {
        idle: Duration::from_millis(300),
        head: Duration::from_millis(300),
        send: Duration::from_millis(300),
        silence: Duration::from_millis(300),
        ..Timings::default()
    }
}

fn in_haste() -> ListenerLimits {
    ListenerLimits { timings: hasty(), ..limits(8) }
}

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let server = TestServer::start(in_haste()).await;
    let mut unused = server.connect().await;
    let mut used = server.connect().await;
    ask(&mut used).await;

    assert!(ends(&mut unused).await.is_some());
    assert!(ends(&mut used).await.is_some());
}

#[tokio::test]
async fn a_connection_with_occasional_requests_stays_open() {
    let server = TestServer::start(in_haste()).await;
    let mut client = server.connect().await;

    for _ in 0..8 {
        ask(&mut client).await;
        assert!(tokio::time::timeout(Duration::from_millis(80), client.read_u8()).await.is_err(), "it is in use");
    }
}

#[tokio::test]
async fn a_head_that_drips_gains_no_time() {
    let server = TestServer::start(in_haste()).await;
    let (mut reading, mut writing) = server.connect().await.into_split();
    writing.write_all(b"GET / HTTP/1.1\r\nx-drip: ").await.unwrap();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });

    let closed = tokio::time::timeout(SOON, reading.read_to_end(&mut Vec::new())).await;

    assert!(closed.is_ok(), "still open");
    dripping.abort();
}

#[tokio::test]
async fn an_answer_that_is_read_in_drips_gains_no_time() {
    let server = TestServer::start(in_haste()).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /large HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();

    let mut read = 0;
    let reading = async {
        let mut buffer = [0; 512];
        while let Ok(1..) = client.read(&mut buffer).await {
            read += buffer.len();
            tokio::time::sleep(Duration::from_millis(5)).await;
            if read > 512 * 200 {
                // Far past the deadline now, so the rest, which the system has buffered, is read at once.
                while let Ok(size @ 1..) = client.read(&mut [0; 65_536]).await {
                    read += size;
                }
                break;
            }
        }
    };
    tokio::time::timeout(SOON * 2, reading).await.expect("closed");

    assert!(read < 16 * 1024 * 1024, "the whole response came");
}

#[tokio::test]
async fn an_endless_response_stays_open_while_it_sends() {
    let server = TestServer::start(in_haste()).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /drip HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();

    for _ in 0..60 {
        tokio::time::timeout(SOON, client.read_u8()).await.expect("in time").expect("it is in use");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

#[tokio::test]
async fn an_old_connection_is_closed_after_its_response() {
    let timings = Timings { life: Duration::from_millis(200), ..Timings::default() };
    let server = TestServer::start(ListenerLimits { timings, ..limits(8) }).await;
    let mut client = server.connect().await;

    let young = ask(&mut client).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    let old = ask(&mut client).await;

    assert!(!young.contains("connection: close"), "{young}");
    assert!(old.contains("connection: close"), "{old}");
    assert!(ends(&mut client).await.is_some());
}

#[tokio::test]
async fn a_head_above_16_kib_is_refused_and_not_kept() {
    let server = TestServer::start(limits(8)).await;
    let mut client = server.connect().await;
    let head = [b"GET / HTTP/1.1\r\nx-long: ", vec![b'x'; 20_000].as_slice()].concat();

    client.write_all(&head).await.unwrap();

    let said = ends(&mut client).await.expect("closed");
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&said));
}

/// Shows: INVARIANT-25
#[tokio::test]
async fn the_unsent_bytes_of_all_slow_readers_together_are_limited() {
    let server = TestServer::start(ListenerLimits { unsent_bytes: 40 * 1024 * 1024, ..limits(64) }).await;
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut client = server.connect().await;
        client.write_all(b"GET /large HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
        client.read_u8().await.unwrap();
        slow.push(client);
    }

    let mut cut = 0;
    for client in &mut slow {
        let mut read = 1;
        let reading = async {
            while let Ok(size @ 1..) = client.read(&mut [0; 65_536]).await {
                read += size;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
        cut += usize::from(read < 16 * 1024 * 1024);
    }

    assert_eq!(cut, 4, "two answers of 16 MiB fit into 40");
}

/// A closing connection still counts as unsent, which must not close more connections.
#[tokio::test]
async fn as_few_slow_readers_as_possible_are_closed_and_favored_ones_last() {
    let favored = IpAddr::from([192, 0, 2, 1]);
    let mut slots = ConnectionSlots::new("test", ListenerLimits { unsent_bytes: 40, ..limits(8) });
    slots.favor(move |peer| peer == favored);
    let slots = Arc::new(slots);
    let mut slow = Vec::new();
    for last in 1..=6 {
        let slot = slots.admit(IpAddr::from([192, 0, 2, last])).await.unwrap();
        slot.response_starts(Some(16));
        slow.push(slot);
    }

    let mut is_closed = Vec::new();
    for slot in &slow {
        is_closed.push(tokio::time::timeout(Duration::ZERO, slot.progress.closing.notified()).await.is_ok());
    }

    assert_eq!(is_closed, [false, true, true, true, true, false], "two answers of 16 bytes fit into 40");
}

#[tokio::test]
async fn a_stop_waits_for_requests_but_not_for_idle_connections() {
    let server = TestServer::start(limits(8)).await;
    let (mut never_asked, mut asked) = (server.connect().await, server.connect().await);
    ask(&mut asked).await;
    let mut busy = server.busy("").await;
    let began = std::time::Instant::now();

    server.closing.notify_one();

    assert!(ends(&mut busy).await.is_some_and(|said| said.ends_with(b"late")));
    tokio::time::timeout(SOON, server.running).await.expect("ended").unwrap();
    assert!(began.elapsed() < Duration::from_millis(1_400), "{:?}", began.elapsed());
    assert!(ends(&mut never_asked).await.is_some() && ends(&mut asked).await.is_some());
}

#[test]
fn one_ipv6_subscriber_counts_as_one_caller() {
    let [a, b, other] = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"].map(|a| a.parse().unwrap());

    assert_eq!(network_of(a), network_of(b));
    assert_ne!(network_of(a), network_of(other));
    assert_eq!(network_of("::ffff:203.0.113.7".parse().unwrap()), IpAddr::from([203, 0, 113, 7]));
}
