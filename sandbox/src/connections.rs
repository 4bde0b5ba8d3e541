//! Connections that can be cut before the answer leaves: the only honest way to lose one.

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

/// The open connections by their far ends, and when nobody is there to open more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    open: Arc<Mutex<HashMap<SocketAddr, Arc<Line>>>>,
    /// Counts what happens on any of them.
    last_event: Arc<AtomicU64>,
    away: Arc<Away>,
    /// Ends all connections there are.
    cut: Arc<Mutex<CancellationToken>>,
}

/// What is known of an open connection.
#[derive(Debug)]
struct Line {
    severed: AtomicBool,
    cut: CancellationToken,
    /// The number of the last event on it.
    last_event: AtomicU64,
}

/// How long the sandbox is to be away, from the moment at which its acceptor hears of it.
#[derive(Debug, Default)]
struct Away {
    wanted: Mutex<Option<Duration>>,
    told: Notify,
}

/// The port may be somebody else's for a moment.
const BIND_AGAIN: Duration = Duration::from_millis(50);

impl Connections {
    /// Lets nothing more be written to `peer`; its connection closes with the next attempt.
    pub(crate) fn sever(&self, peer: &RemoteAddr) {
        let Addr::SocketAddr(peer) = peer.0 else {
            return;
        };
        let open = self.open.lock();
        if let Some(line) = open.get(&peer) {
            line.severed.store(true, Ordering::Release);
        }
    }

    /// Cuts every connection and refuses new ones for `duration`, as a gateway that is not there.
    pub(crate) fn go_away(&self, duration: Duration) {
        *self.away.wanted.lock() = Some(duration);
        self.away.told.notify_one();
    }

    /// Waits until the sandbox is to be away, and gives how long.
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

    /// Adds a connection; one that has been silent for the longest goes where there are `places` already.
    fn add(&self, peer: SocketAddr, stream: TcpStream, places: usize) -> Connection {
        let cut = self.cut.lock().child_token();
        let line = Arc::new(Line { severed: AtomicBool::new(false), cut, last_event: AtomicU64::new(0) });
        self.note(&line);
        let mut open = self.open.lock();
        let silent = open.iter().min_by_key(|(_, line)| line.last_event.load(Ordering::Relaxed)).map(|(peer, _)| *peer);
        if open.len() >= places
            && let Some(line) = silent.and_then(|peer| open.remove(&peer))
        {
            line.cut.cancel();
        }
        open.insert(peer, Arc::clone(&line));
        drop(open);
        let cut = Box::pin(line.cut.clone().cancelled_owned());
        Connection { stream, peer, line, cut, said: 0, heard: 0, connections: self.clone() }
    }

    /// Something happens on a connection.
    fn note(&self, line: &Line) {
        let event = self.last_event.fetch_add(1, Ordering::Relaxed) + 1;
        line.last_event.store(event, Ordering::Relaxed);
    }
}

/// How a connection of HTTP/2 begins, and none of HTTP/1.1. Atmos is not known to speak it, we do not, and each of its
/// streams would be one more thing to bound.
const HTTP_2: &[u8] = b"PRI ";

/// So much is heard on a connection before something is answered; a merchant's request has some hundred bytes.
const HEARD_AT_MOST: usize = 64 * 1024;

/// Accepts connections that [`Connections::sever`] can cut.
pub(crate) struct SeveringAcceptor {
    /// None while the sandbox is away.
    pub(crate) listener: Option<TcpListener>,
    pub(crate) address: SocketAddr,
    pub(crate) connections: Connections,
    /// How many there may be.
    pub(crate) places: usize,
}

impl Acceptor for SeveringAcceptor {
    type Io = Connection;

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
        let connection = self.connections.add(peer, stream, self.places);
        Ok((connection, LocalAddr(self.address.into()), RemoteAddr(peer.into()), Scheme::HTTP))
    }
}

/// A connection that may be cut.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    line: Arc<Line>,
    /// How many of its first bytes were those of HTTP/2; more than there are once it is known to be none.
    said: usize,
    /// How many bytes came since something was written.
    heard: usize,
    /// Wakes a connection on which nothing is said when all are cut.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    connections: Connections,
}

impl Connection {
    /// The stream, unless it was cut.
    fn writable(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.line.severed.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "this answer is lost on purpose"));
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl Connection {
    /// Whether these next bytes show that HTTP/2 is spoken.
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

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        // The port may already belong to the next connection.
        if open.get(&self.peer).is_some_and(|line| Arc::ptr_eq(line, &self.line)) {
            open.remove(&self.peer);
        }
    }
}

impl AsyncRead for Connection {
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
            self.connections.note(&self.line);
            self.heard += came.len();
            if self.heard > HEARD_AT_MOST || self.is_http_2(came) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
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
