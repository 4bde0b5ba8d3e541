//! Connections that can be cut before the answer is sent: only this shows what a really lost answer does.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use poem::Addr;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The open connections by their peers, and the outages of the sandbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    open: Arc<Mutex<HashMap<SocketAddr, Arc<ConnectionState>>>>,
    /// The number of the last event on any connection.
    last_event: Arc<AtomicU64>,
    away: Arc<RequestedOutage>,
    /// Cuts all open connections.
    cut: Arc<Mutex<CancellationToken>>,
}

/// The state of an open connection.
#[derive(Debug)]
struct ConnectionState {
    severed: AtomicBool,
    cut: CancellationToken,
    /// The number of its last event.
    last_event: AtomicU64,
}

/// A requested outage of the sandbox, for its acceptor.
#[derive(Debug, Default)]
struct RequestedOutage {
    wanted: Mutex<Option<Duration>>,
    told: Notify,
}

/// Pause between attempts to bind: another program may have taken the port for a moment.
const BIND_AGAIN: Duration = Duration::from_millis(50);

impl Connections {
    /// Sends nothing more to `peer`; its connection closes at the next attempt to write.
    pub(crate) fn sever(&self, peer: &RemoteAddr) {
        let Addr::SocketAddr(peer) = peer.0 else {
            return;
        };
        let open = self.open.lock();
        if let Some(state) = open.get(&peer) {
            state.severed.store(true, Ordering::Release);
        }
    }

    /// Cuts every connection and refuses new ones for `duration`, like a gateway that is down.
    pub(crate) fn go_away(&self, duration: Duration) {
        *self.away.wanted.lock() = Some(duration);
        self.away.told.notify_one();
    }

    /// Waits until an outage is requested, and returns its duration.
    async fn leaving(&self) -> Duration {
        loop {
            let wanted = self.away.wanted.lock().take();
            match wanted {
                Some(duration) => return duration,
                None => self.away.told.notified().await,
            }
        }
    }

    fn cut_all(&self) {
        std::mem::take(&mut *self.cut.lock()).cancel();
    }

    /// Adds a connection; if there are `max_connections` already, closes the one that has been silent for the longest
    /// time.
    fn add(&self, peer: SocketAddr, stream: TcpStream, max_connections: usize) -> SeverableConnection {
        let cut = self.cut.lock().child_token();
        let state = Arc::new(ConnectionState { severed: AtomicBool::new(false), cut, last_event: AtomicU64::new(0) });
        self.note(&state);
        let mut open = self.open.lock();
        let silent =
            open.iter().min_by_key(|(_, state)| state.last_event.load(Ordering::Relaxed)).map(|(peer, _)| *peer);
        if open.len() >= max_connections
            && let Some(state) = silent.and_then(|peer| open.remove(&peer))
        {
            state.cut.cancel();
        }
        open.insert(peer, Arc::clone(&state));
        drop(open);
        let cut = Box::pin(state.cut.clone().cancelled_owned());
        SeverableConnection { stream, peer, state, cut, said: 0, heard: 0, connections: self.clone() }
    }

    /// Notes an event on a connection.
    fn note(&self, state: &ConnectionState) {
        let event = self.last_event.fetch_add(1, Ordering::Relaxed) + 1;
        state.last_event.store(event, Ordering::Relaxed);
    }
}

/// The first bytes of an HTTP/2 connection; no HTTP/1.1 request begins with them. Atmos is not known to speak HTTP/2,
/// and each of its streams would be one more thing to bound.
const HTTP_2: &[u8] = b"PRI ";

/// The most bytes read on a connection before an answer is written; a merchant's request has some hundred bytes.
const HEARD_AT_MOST: usize = 64 * 1024;

/// Accepts connections that [`Connections::sever`] can cut.
pub(crate) struct SeveringAcceptor {
    /// `None` during an outage.
    pub(crate) listener: Option<TcpListener>,
    pub(crate) address: SocketAddr,
    pub(crate) connections: Connections,
    /// The most open connections.
    pub(crate) max_connections: usize,
}

impl Acceptor for SeveringAcceptor {
    type Io = SeverableConnection;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(self.address.into())]
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, peer) = loop {
            let Some(listener) = &self.listener else {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => self.listener = Some(listener),
                    Err(_) => tokio::time::sleep(BIND_AGAIN).await,
                }
                continue;
            };
            tokio::select! {
                accepted = listener.accept() => break accepted?,
                duration = self.connections.leaving() => {
                    self.listener = None;
                    self.connections.cut_all();
                    tokio::time::sleep(duration).await;
                }
            }
        };
        // An answer in two writes must not wait for the caller's acknowledgment.
        stream.set_nodelay(true)?;
        let connection = self.connections.add(peer, stream, self.max_connections);
        Ok((connection, LocalAddr(self.address.into()), RemoteAddr(peer.into()), Scheme::HTTP))
    }
}

/// A connection that can be cut.
pub(crate) struct SeverableConnection {
    stream: TcpStream,
    peer: SocketAddr,
    state: Arc<ConnectionState>,
    /// How many of its first bytes match HTTP/2; greater than their number once it is not HTTP/2.
    said: usize,
    /// How many bytes came since the last write.
    heard: usize,
    /// Wakes an idle connection when all are cut.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    connections: Connections,
}

impl SeverableConnection {
    /// The stream, unless it was cut.
    fn writable(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.state.severed.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "this answer is lost on purpose"));
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl SeverableConnection {
    /// Whether these bytes complete the beginning of HTTP/2.
    fn is_http_2(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match HTTP_2.get(self.said) {
                Some(expected) if expected == byte => self.said += 1,
                Some(_) => self.said = HTTP_2.len() + 1,
                None => break,
            }
        }
        self.said == HTTP_2.len()
    }
}

impl Drop for SeverableConnection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        // The port may already belong to the next connection.
        if open.get(&self.peer).is_some_and(|state| Arc::ptr_eq(state, &self.state)) {
            open.remove(&self.peer);
        }
    }
}

impl AsyncRead for SeverableConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            self.connections.note(&self.state);
            self.heard += came.len();
            if self.heard > HEARD_AT_MOST || self.is_http_2(came) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        read
    }
}

impl AsyncWrite for SeverableConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard = 0;
        self.writable()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.heard = 0;
        self.writable()?.poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
