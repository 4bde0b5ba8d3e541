//! One connection: serves HTTP/1.1 on it until it ends or takes too long.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use poem::Endpoint;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, ConnectionCloseReason};
use crate::progress::Stage;
use crate::slots::ConnectionSlot;

/// The most bytes that the head of a request may have. Browsers send one or two thousand, proxies little more.
const HEAD_BYTES: usize = 16 * 1024;

/// A response extension: the body is shared with other responses, so it costs no memory of its own.
#[derive(Clone, Copy, Debug)]
pub struct SharedBody;

/// Serves one connection until the caller or the server ends it, a time limit passes, or its slot is needed.
pub(crate) async fn serve<E: Endpoint + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
    endpoint: Arc<E>,
    stopping: CancellationToken,
) {
    let slot = Arc::new(slot);
    let local = stream.local_addr().unwrap_or(peer);
    let io = TokioIo::new(TrackedStream { stream, slot: Arc::clone(&slot) });
    let answering = Arc::clone(&slot);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        answering.progress.head_is_complete();
        let (endpoint, slot) = (Arc::clone(&endpoint), Arc::clone(&answering));
        // Boxed: an idle connection reserves memory for its request's future, and thousands of connections are idle.
        Box::pin(async move {
            let request = (request, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP);
            let response = endpoint.get_response(request.into()).await;
            Ok::<_, Infallible>(answer(response.into(), slot))
        })
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .header_read_timeout(None)
        .serve_connection(io, service);
    tokio::pin!(connection);

    let mut ends_at = slot.progress.ends_at();
    let timer = tokio::time::sleep_until(ends_at);
    let closing = slot.progress.closing.notified();
    let stopped = stopping.cancelled();
    tokio::pin!(timer, closing, stopped);
    let mut is_stopping = false;
    std::future::poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !is_stopping && stopped.as_mut().poll(cx).is_ready() {
            if slot.progress.stage().0 == Stage::Idle {
                return Poll::Ready(());
            }
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        // Everything that changes the deadline is polled above, so this deadline is current.
        let ends = slot.progress.ends_at();
        if ends != ends_at {
            ends_at = ends;
            timer.as_mut().reset(ends);
        }
        timer.as_mut().poll(cx).map(|()| metrics::count_closed(slot.listener(), ConnectionCloseReason::Late))
    })
    .await;
}

/// The response as it is sent: counted for its slot, and with `connection: close` when the connection is old.
fn answer<B: Body>(mut response: hyper::Response<B>, slot: Arc<ConnectionSlot>) -> hyper::Response<TrackedBody<B>> {
    let size = response.body().size_hint().exact().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let is_shared = response.extensions().get::<SharedBody>().is_some();
    slot.response_starts(size.map(|size| if is_shared { 0 } else { size }));
    if slot.progress.is_old() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| TrackedBody { body, slot })
}

/// A body that tells its slot when all of it has been handed to the connection.
struct TrackedBody<B> {
    body: B,
    slot: Arc<ConnectionSlot>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.slot.progress.handed_over();
    }
}

/// A stream that reports to its slot which bytes came and went.
struct TrackedStream {
    stream: TcpStream,
    slot: Arc<ConnectionSlot>,
}

impl AsyncRead for TrackedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.slot.progress.bytes_came();
        }
        read
    }
}

impl TrackedStream {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.slot.progress.bytes_went();
        }
        written
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this after it has written all of its buffer.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.slot.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
