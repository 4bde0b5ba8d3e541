//! The way to a gateway, on which every call is counted as it passes.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::ports::free_port;

/// Forwards connections to a port of this machine and notes when each request passed. It ends when dropped.
pub(super) struct CountedWay {
    port: u16,
    passed_at: Arc<Mutex<Vec<Instant>>>,
    _tasks: JoinSet<()>,
}

impl CountedWay {
    /// Begins to forward to that port.
    pub(super) async fn start(to: u16) -> CountedWay {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let passed_at = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&passed_at);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward(client, to, Arc::clone(&noted)));
            }
        });
        CountedWay { port, passed_at, _tasks: tasks }
    }

    /// Where it is reached.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// When each call so far has passed.
    pub(super) fn calls(&self) -> Vec<Instant> {
        self.passed_at.lock().unwrap().clone()
    }

    /// Panics unless over every stretch of time the calls have kept within the rate limit.
    pub(super) fn assert_within(&self, per_second: u32, burst: u32) {
        let calls = self.calls();
        for (first, from) in calls.iter().enumerate() {
            for (last, to) in calls.iter().enumerate().skip(first) {
                // A loaded machine sends some a little late, and then they lie closer together.
                let stretch = *to - *from + Duration::from_millis(300);
                let most = stretch.as_millis() * u128::from(per_second) / 1_000 + u128::from(burst);
                let passed = (last - first + 1) as u128;
                assert!(passed <= most, "{passed} calls within {stretch:?}, {most} are allowed");
            }
        }
    }
}

async fn forward(client: TcpStream, to: u16, passed_at: Arc<Mutex<Vec<Instant>>>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    let there = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let read = from_client.read(&mut bytes).await?;
            if read == 0 {
                return std::io::Result::Ok(());
            }
            // A client sends its next request when it has the answer to the last, so each begins a piece.
            if bytes.starts_with(b"POST /") || bytes.starts_with(b"GET /") {
                passed_at.lock().unwrap().push(Instant::now());
            }
            to_server.write_all(&bytes[..read]).await?;
        }
    };
    tokio::select! {
        _ = back => (),
        _ = there => (),
    }
}
