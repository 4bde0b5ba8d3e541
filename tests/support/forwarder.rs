//! A TCP forwarder between a client and a server, which can stop everything without closing a connection.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::ports::free_port;

/// Forwards connections to a port of this machine. It ends when dropped.
pub(crate) struct Forwarder {
    port: u16,
    way: watch::Sender<ForwarderState>,
    opened: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ForwarderState {
    to: u16,
    is_silent: bool,
    /// Whether existing connections still pass data.
    keeps_open: bool,
}

impl Forwarder {
    /// Starts forwarding to that port.
    pub(crate) async fn start(to: u16) -> Forwarder {
        Forwarder::start_with(to, None).await
    }

    /// Like [`Forwarder::start`], but forgets connections that are idle for this long, like a load balancer: data sent
    /// after that is dropped, and the connection closes without an answer.
    pub(crate) async fn start_forgetful(to: u16, rest: Duration) -> Forwarder {
        Forwarder::start_with(to, Some(rest)).await
    }

    /// Starts forwarding to that port, with this delay in each direction.
    pub(crate) async fn start_slow(to: u16, later: Duration) -> Forwarder {
        let forwarder = Forwarder::start(to).await;
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                connections.spawn(pass_later(from_client, to_server, later));
                connections.spawn(pass_later(from_server, to_client, later));
            }
        });
        Forwarder { port, _tasks: tasks, ..forwarder }
    }

    async fn start_with(to: u16, rest: Option<Duration>) -> Forwarder {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (way, seen) = watch::channel(ForwarderState { to, is_silent: false, keeps_open: false });
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (seen, counted) = (seen.clone(), Arc::clone(&counted));
                match rest {
                    Some(rest) => connections.spawn(async move {
                        let _ended = forward_forgetfully(client, to, rest, counted).await;
                    }),
                    None => connections.spawn(forward(client, seen)),
                };
            }
        });
        Forwarder { port, way, opened, _tasks: tasks }
    }

    /// The number of connections opened so far through a forgetful forwarder.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing passes in either direction and nothing is closed, as if the host had disappeared. New
    /// connections are accepted but stay silent too.
    pub(crate) fn silence(&self) {
        self.way.send_modify(|way| way.is_silent = true);
    }

    /// Forwards new connections again. Old ones stay silent, because the restarted host does not know them.
    pub(crate) fn speak(&self) {
        self.way.send_modify(|way| way.is_silent = false);
    }

    /// Closes all connections, and forwards new ones to another port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.way.send_modify(|way| (way.to, way.keeps_open) = (port, false));
    }

    /// Forwards new connections to another port, as after a change in DNS. Existing ones stay as they are.
    pub(crate) fn lead_new_ones_to(&self, port: u16) {
        self.way.send_modify(|way| (way.to, way.keeps_open) = (port, true));
    }
}

/// Passes data on, each part with the same delay; several parts can be in transit, as on a long line.
async fn pass_later(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, later: Duration) {
    let (on_its_way, mut arriving) = mpsc::unbounded_channel();
    let receiving = async move {
        let mut part = vec![0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut part).await {
            let _ = on_its_way.send((Instant::now() + later, part[..length].to_vec()));
        }
    };
    let sending = async move {
        while let Some((due, part)) = arriving.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&part).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(receiving, sending);
}

async fn forward(mut client: TcpStream, mut changes: watch::Receiver<ForwarderState>) {
    let way = *changes.borrow_and_update();
    if !way.is_silent {
        // If the server is down, the connection is closed.
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, way.to)).await else { return };
        {
            let mut copying = std::pin::pin!(copy_bidirectional(&mut client, &mut server));
            loop {
                tokio::select! {
                    _ = &mut copying => return,
                    changed = changes.changed() => match *changes.borrow_and_update() {
                        ForwarderState { is_silent: true, .. } if changed.is_ok() => break,
                        ForwarderState { keeps_open: true, .. } if changed.is_ok() => (),
                        ForwarderState { .. } => return,
                    },
                }
            }
        }
        // Both ends stay open.
        std::future::pending::<()>().await;
    }
    std::future::pending().await
}

async fn forward_forgetfully(client: TcpStream, to: u16, rest: Duration, opened: Arc<AtomicUsize>) -> Option<()> {
    opened.fetch_add(1, Ordering::Relaxed);
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.ok()?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            read = from_client.read(&mut asked) => {
                let bytes = read.ok().filter(|bytes| *bytes > 0)?;
                if last.elapsed() > rest {
                    return None;
                }
                to_server.write_all(&asked[..bytes]).await.ok()?;
            }
            read = from_server.read(&mut answered) => {
                let bytes = read.ok().filter(|bytes| *bytes > 0)?;
                to_client.write_all(&answered[..bytes]).await.ok()?;
            }
        }
        last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_silence_closes_nothing_and_what_was_silent_stays_so() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let forwarder = Forwarder::start(server.local_addr().unwrap().port()).await;
        let echo = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut connection, _) = server.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut from, mut to) = connection.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let connect = async || TcpStream::connect((Ipv4Addr::LOCALHOST, forwarder.port())).await.unwrap();
        let ask = async |connection: &mut TcpStream| {
            connection.write_all(b"x").await.unwrap();
            timeout(Duration::from_millis(300), connection.read_u8()).await.map(Result::unwrap)
        };
        let mut before = connect().await;
        assert_eq!(ask(&mut before).await, Ok(b'x'));

        forwarder.silence();
        let mut meanwhile = connect().await;
        assert!(ask(&mut before).await.is_err() && ask(&mut meanwhile).await.is_err());
        forwarder.speak();
        let mut after = connect().await;

        assert_eq!(ask(&mut after).await, Ok(b'x'));
        assert!(ask(&mut before).await.is_err() && ask(&mut meanwhile).await.is_err());
        echo.abort();
    }
}
