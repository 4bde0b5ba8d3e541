//! The connections of one process: how many there may be, and how long one may be silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use poem::http::uri::Scheme;
use poem::listener::{Acceptor, TcpAcceptor};
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tracing::warn;

use crate::minute_budget::MinuteBudget;

/// At most so many connections are open in one process; the next ones wait in the system's queue until one closes.
const CONNECTIONS: usize = 4_096;

/// A connection on which nothing is sent for this long is closed. Event streams send something every 15 s.
///
/// Longer than any answer may take, 30 s and the longest wait for a link, 30 s more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Where a connection cannot be taken, the next attempt fares no better at once: there are no more file descriptors.
const AFTER_A_FAILURE: Duration = Duration::from_millis(100);

/// So many warnings a minute about connections that cannot be taken.
const WARNINGS_PER_MINUTE: u32 = 6;

/// Takes connections, a bounded number, each of which is closed when it has been silent for too long.
pub(crate) struct Connections<A = TcpAcceptor> {
    acceptor: A,
    places: Arc<Semaphore>,
    warnings: MinuteBudget,
    idle_timeout: Duration,
}

impl<A> Connections<A> {
    /// The connections that come to this listener.
    pub(crate) fn new(acceptor: A) -> Self {
        Connections {
            acceptor,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            warnings: MinuteBudget::new(WARNINGS_PER_MINUTE),
            idle_timeout: IDLE_TIMEOUT,
        }
    }

    async fn place(&mut self) -> io::Result<OwnedSemaphorePermit> {
        if self.places.available_permits() == 0 && self.warnings.take() {
            warn!("all connections of this process are in use; new ones wait until one closes");
        }
        Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)
    }
}

impl<A: Acceptor<Io = TcpStream>> Acceptor for Connections<A> {
    type Io = Connection<TcpStream>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.acceptor.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let place = self.place().await?;
        loop {
            match self.acceptor.accept().await {
                Ok((stream, local, remote, scheme)) => {
                    // At once: the system would otherwise hold back an event while the one before it is unconfirmed,
                    // which clients do after 40 ms, and a paid order's page would show a pending one all that time.
                    // A connection that is gone already is noticed by whoever reads from it.
                    let _ = stream.set_nodelay(true);
                    return Ok((Connection::new(stream, place, self.idle_timeout), local, remote, scheme));
                }
                // The caller has hung up; that says nothing about the next one.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    if self.warnings.take() {
                        warn!(error = %error, "a connection could not be taken: {error}");
                    }
                    tokio::time::sleep(AFTER_A_FAILURE).await;
                }
            }
        }
    }
}

/// A connection with its place among those of the process.
///
/// It breaks with [`io::ErrorKind::TimedOut`] when nothing was written for as long as it may be idle, counted anew from
/// the first bytes that come after that. Later bytes do not count: who drips a request into it gains no time.
pub(crate) struct Connection<S> {
    stream: S,
    idle_timeout: Duration,
    ends: Pin<Box<Sleep>>,
    /// Whether bytes have come since something was written.
    is_asked: bool,
    _place: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(stream: S, place: OwnedSemaphorePermit, idle_timeout: Duration) -> Self {
        let ends = Box::pin(tokio::time::sleep(idle_timeout));
        Connection { stream, idle_timeout, ends, is_asked: false, _place: place }
    }

    fn came(&mut self) {
        if !self.is_asked {
            self.is_asked = true;
            self.begin_anew();
        }
    }

    fn went(&mut self) {
        self.is_asked = false;
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.ends.as_mut().reset(Instant::now() + self.idle_timeout);
    }

    /// What a stream that has nothing to say comes to: more waiting, or its end.
    fn silent<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.ends.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) else { return self.silent(cx) };
        if buf.filled().len() > before {
            // Bytes that never cease must not outlive the time either.
            if self.is_asked && self.ends.is_elapsed() {
                return self.silent(cx);
            }
            self.came();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, buf) else { return self.silent(cx) };
        self.went();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs) else {
            return self.silent(cx);
        };
        self.went();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.silent(cx),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.silent(cx),
            shut => shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use poem::{Route, Server, handler};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn listening() -> (Connections, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Connections::new(TcpAcceptor::from_tokio(listener).unwrap()), address)
    }

    async fn connection(stream: tokio::io::DuplexStream, idle_ms: u64) -> Connection<tokio::io::DuplexStream> {
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        Connection::new(stream, place, Duration::from_millis(idle_ms))
    }

    #[tokio::test]
    async fn an_event_does_not_wait_for_the_one_before_it_to_be_confirmed() {
        let (mut connections, address) = listening().await;
        let _client = TcpStream::connect(address).await.unwrap();

        let (connection, ..) = connections.accept().await.unwrap();

        assert!(connection.stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn one_connection_too_many_waits_until_another_closes() {
        let (mut connections, address) = listening().await;
        connections.places = Arc::new(Semaphore::new(1));
        let _first_client = TcpStream::connect(address).await.unwrap();
        let _second_client = TcpStream::connect(address).await.unwrap();
        let (first, ..) = connections.accept().await.unwrap();

        let waited = tokio::time::timeout(Duration::from_millis(100), connections.accept()).await;
        assert!(waited.is_err(), "there is a place for one");
        drop(first);

        tokio::time::timeout(SOON, connections.accept()).await.expect("a place is free").unwrap();
    }

    /// Fails as it was told to, then takes a connection.
    struct Failing(VecDeque<io::ErrorKind>, TcpAcceptor);

    impl Acceptor for Failing {
        type Io = TcpStream;

        fn local_addr(&self) -> Vec<LocalAddr> {
            self.1.local_addr()
        }

        async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
            match self.0.pop_front() {
                Some(kind) => Err(kind.into()),
                None => self.1.accept().await,
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_taken_is_waited_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let failures = VecDeque::from([io::ErrorKind::Other, io::ErrorKind::ConnectionAborted, io::ErrorKind::Other]);
        let mut connections = Connections::new(Failing(failures, TcpAcceptor::from_tokio(listener).unwrap()));
        let _client = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();

        tokio::time::timeout(SOON, connections.accept()).await.expect("taken in the end").unwrap();

        assert!(began.elapsed() >= AFTER_A_FAILURE * 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_silent_connection_ends() {
        let (_client, stream) = tokio::io::duplex(64);
        let mut connection = connection(stream, 50).await;

        let read = tokio::time::timeout(SOON, connection.read_u8()).await.expect("ends by itself");

        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_ends_its_connection() {
        let (_client, stream) = tokio::io::duplex(8);
        let mut connection = connection(stream, 50).await;

        let written = tokio::time::timeout(SOON, connection.write_all(&[7; 100])).await.expect("ends by itself");

        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_is_written_in_time_keeps_a_connection_open() {
        let (_client, stream) = tokio::io::duplex(64);
        let mut connection = connection(stream, 400).await;

        for _ in 0..8 {
            let silence = tokio::time::timeout(Duration::from_millis(100), connection.read_u8()).await;
            assert!(silence.is_err(), "it is in use: {silence:?}");
            connection.write_u8(b'.').await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_request_that_drips_gains_no_time() {
        let (mut client, stream) = tokio::io::duplex(64);
        let mut connection = connection(stream, 200).await;
        let dripping = tokio::spawn(async move {
            while client.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });

        let reading = async { while connection.read_u8().await.is_ok() {} };
        tokio::time::timeout(SOON, reading).await.expect("ends by itself");

        drop(connection);
        tokio::time::timeout(SOON, dripping).await.expect("noticed").unwrap();
    }

    #[handler]
    fn hello() -> &'static str {
        "hello"
    }

    /// The server's own idle time closes no connection on which a request was begun.
    #[tokio::test]
    async fn a_request_that_is_never_finished_loses_its_connection() {
        let routes = Route::new().at("/", hello);
        let (mut connections, address) = listening().await;
        connections.idle_timeout = Duration::from_millis(300);
        let server = tokio::spawn(Server::new_with_acceptor(connections).run(routes));
        let mut client = TcpStream::connect(address).await.unwrap();

        client.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nx-half").await.unwrap();

        let closed = tokio::time::timeout(SOON, client.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "still open");
        server.abort();
    }
}
