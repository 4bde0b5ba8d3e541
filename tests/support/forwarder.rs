//! A way between a client and a server on which everything can stop without anybody being told.

use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ports::free_port;

/// Forwards connections to a port of this machine. It ends when dropped.
pub(crate) struct Forwarder {
    port: u16,
    way: watch::Sender<Way>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    to: u16,
    is_silent: bool,
}

impl Forwarder {
    /// Begins to forward to that port.
    pub(crate) async fn start(to: u16) -> Forwarder {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (way, seen) = watch::channel(Way { to, is_silent: false });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward(client, seen.clone()));
            }
        });
        Forwarder { port, way, _tasks: tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing passes in either direction and nothing is closed, as when the host behind it has vanished.
    /// Connections can still be made, and stay silent, too.
    pub(crate) fn silence(&self) {
        self.way.send_modify(|way| way.is_silent = true);
    }

    /// Forwards new connections again. Those of before stay silent: the host that came back does not know them.
    pub(crate) fn speak(&self) {
        self.way.send_modify(|way| way.is_silent = false);
    }

    /// Closes all connections, and leads new ones to another port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.way.send_modify(|way| way.to = port);
    }
}

async fn forward(mut client: TcpStream, mut changes: watch::Receiver<Way>) {
    let way = *changes.borrow_and_update();
    if !way.is_silent {
        // A server that is away closes the connection, as it should.
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, way.to)).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            changed = changes.changed() => {
                if changed.is_err() || !changes.borrow().is_silent {
                    return;
                }
            }
        }
        // Both ends are kept open.
        std::future::pending::<()>().await;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
