//! One connection: HTTP/1.1 on it, until it ends or has taken too long.

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

use crate::metrics::{self, Why};
use crate::places::Place;
use crate::progress::Stage;

/// At most so many bytes of a request's head. Browsers send one or two thousand, and proxies little more.
const HEAD_BYTES: usize = 16 * 1024;

/// Marks an answer whose body is shared with others and costs no memory of its own: an extension of the response.
#[derive(Clone, Copy, Debug)]
pub struct SharedBody;

/// Serves one connection until it ends: by its caller, for want of time or place, or with the server.
pub(crate) async fn serve<E: Endpoint + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    endpoint: Arc<E>,
    stopping: CancellationToken,
) {
    let place = Arc::new(place);
    let local = stream.local_addr().unwrap_or(peer);
    let io = TokioIo::new(Watched { stream, place: Arc::clone(&place) });
    let answering = Arc::clone(&place);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        answering.progress.asked();
        let (endpoint, place) = (Arc::clone(&endpoint), Arc::clone(&answering));
        // Boxed, because a connection keeps the room for its request's future while it is idle, and thousands are.
        Box::pin(async move {
            let request = (request, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP);
            let response = endpoint.get_response(request.into()).await;
            Ok::<_, Infallible>(answer(response.into(), place))
        })
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .header_read_timeout(None)
        .serve_connection(io, service);
    tokio::pin!(connection);

    let mut ends_at = place.progress.ends_at();
    let timer = tokio::time::sleep_until(ends_at);
    let closing = place.progress.closing.notified();
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
            if place.progress.stage().0 == Stage::Idle {
                return Poll::Ready(());
            }
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        // Whatever brings a connection further is polled above, so its time is never older than this.
        let ends = place.progress.ends_at();
        if ends != ends_at {
            ends_at = ends;
            timer.as_mut().reset(ends);
        }
        timer.as_mut().poll(cx).map(|()| metrics::count_closed(place.listener(), Why::Late))
    })
    .await;
}

/// The answer as it goes out.
fn answer<B: Body>(mut response: hyper::Response<B>, place: Arc<Place>) -> hyper::Response<Answer<B>> {
    let size = response.body().size_hint().exact().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let is_shared = response.extensions().get::<SharedBody>().is_some();
    place.answers(size.map(|size| if is_shared { 0 } else { size }));
    if place.progress.is_old() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Answer { body, place })
}

/// A body that tells when all of it was handed over.
struct Answer<B> {
    body: B,
    place: Arc<Place>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
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

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.place.progress.handed_over();
    }
}

/// A stream that tells how far its connection is.
struct Watched {
    stream: TcpStream,
    place: Arc<Place>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.place.progress.came();
        }
        read
    }
}

impl Watched {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.place.progress.went();
        }
        written
    }
}

impl AsyncWrite for Watched {
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

    /// Asked for once everything that was buffered above is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.place.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
