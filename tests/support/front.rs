//! A small load balancer: a listener that passes each connection to an API that is ready.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ports::free_port;
use super::role::client;
use super::wait::{PATIENCE, wait_until};

/// The interval of the readiness checks. Load balancers check about every second, and a stopping API gives them two
/// seconds.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// A small load balancer. It ends when dropped.
pub(crate) struct Front {
    pub(crate) url: String,
    ready: Arc<Mutex<Vec<u16>>>,
    _tasks: JoinSet<()>,
}

impl Front {
    /// Like [`Front::begin`], and waits until both APIs are ready.
    pub(crate) async fn start(apis: [u16; 2]) -> Front {
        let front = Front::begin(apis).await;
        let both = async || (front.ready.lock().unwrap().len() == apis.len()).then_some(());
        wait_until("both APIs to be seen ready", PATIENCE, both).await;
        front
    }

    /// Starts passing connections to the ready ones of the APIs at these ports.
    pub(crate) async fn begin(apis: [u16; 2]) -> Front {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let ready = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_asking(apis, Arc::clone(&ready)));
        let asked = Arc::clone(&ready);
        tasks.spawn(async move {
            let (mut connections, turn) = (JoinSet::new(), AtomicUsize::new(0));
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let ready = asked.lock().unwrap().clone();
                connections.spawn(hand_on(client, ready, turn.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Front { url: format!("http://127.0.0.1:{port}"), ready, _tasks: tasks }
    }
}

async fn keep_asking(apis: [u16; 2], ready: Arc<Mutex<Vec<u16>>>) {
    let client = client();
    loop {
        let mut now = Vec::new();
        for port in apis {
            let answer = client.get(format!("http://127.0.0.1:{port}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                now.push(port);
            }
        }
        *ready.lock().unwrap() = now;
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

/// Connects to the next ready API in turn; to the other one if that one refuses.
async fn hand_on(mut client: TcpStream, ready: Vec<u16>, turn: usize) {
    for next in 0..ready.len() {
        let port = ready[(turn + next) % ready.len()];
        if let Ok(mut api) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            let _ = copy_bidirectional(&mut client, &mut api).await;
            return;
        }
    }
}
