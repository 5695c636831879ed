//! The accept loop: HTTP/1 only, timeouts for request heads and for clients that read responses
//! slowly, a limit on connections, and a graceful shutdown.
//!
//! `axum::serve` has no timeout for the head, so a silent client would hold its connection for
//! ever. Only handlers read bodies, so they set the timeouts for them.

mod seats;
mod socket;
mod stream;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

pub use socket::Departure;

use seats::{Occupant, Seat, Seats};
use socket::Socket;
use stream::{Stream, Timeouts};

/// The most clients that wait to be accepted; the system may allow fewer. Without room, a client
/// retries after a second or more. A flood or a burst of pushes soon fills the usual 128.
const BACKLOG: u32 = 4096;
/// How long a client may be silent after connecting; then, and after each response, how long the
/// head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head, and the size of the read buffer that hyper allocates for each connection.
const HEAD_LIMIT: usize = 8 * 1024;
/// A page of the API can be many megabytes.
const TIMEOUTS: Timeouts = Timeouts {
    stall: Duration::from_secs(5),
    total: Duration::from_mins(1),
};
/// How much unsent data the system may hold. By default it takes megabytes, and takes more only
/// once a third is gone: a slow client would seem not to read at all.
const UNSENT: u32 = 16 * 1024;
/// How long a connection that is closed may take to send what it has.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(50);
/// How long after the shutdown begins a request may still arrive, and a finished response may take
/// to be sent.
const SHUTDOWN_DELAY: Duration = Duration::from_secs(1);
/// How long requests may take after the shutdown begins.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a full server looks for a connection to close, if no connection changes.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);
/// The delay after the system has refused a connection, usually for lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// The least time between two warnings about that, which outsiders can cause.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a server that has just stopped do not hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, then accepts no new connections, finishes requests that have begun, and
/// closes connections on which none begins within a second. Each request has the client's address
/// as [`ConnectInfo`], and a [`Departure`].
///
/// A client may close its sending side after its request, and still gets its response.
///
/// At `max_connections`, the connection idle longest is closed: without a request, or waiting for
/// the rest of one. One that sends a response is closed only if none is idle and its client has
/// stopped reading. `open` counts connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    open: IntGauge,
    shutdown: CancellationToken,
) {
    let seats = Arc::new(Seats::new(open));
    let connections = TaskTracker::new();
    let mut warned = None;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refused_by_system(&error, &seats, &mut warned).await;
                continue;
            }
        };
        while seats.taken() >= max_connections && !seats.evict() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = seats.changed.notified() => {}
                () = tokio::time::sleep(EVICTION_INTERVAL) => {}
            }
        }
        let seat = Seat::take(&seats);
        let connection = connection(stream, peer, router.clone(), seat, shutdown.clone());
        connections.spawn(connection);
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait())
        .await
        .is_err()
    {
        warn!(
            "requests were still running {} s after the shutdown began",
            DRAIN_TIMEOUT.as_secs()
        );
    }
}

async fn refused_by_system(error: &io::Error, seats: &Seats, warned: &mut Option<Instant>) {
    // The client left while it waited.
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    if warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
        *warned = Some(Instant::now());
        warn!(%error, "the system refused a connection; raise the limit on open files");
    }
    seats.evict();
    tokio::time::sleep(ACCEPT_BACKOFF).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    seat: Seat,
    shutdown: CancellationToken,
) {
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT));
    if let Err(error) = prepared {
        debug!(%error, "the client closed the connection at once");
        return;
    }
    // A silent client costs none of the memory that hyper allocates for a connection.
    let has_data = tokio::select! {
        biased;
        has_data = tokio::time::timeout(HEAD_TIMEOUT, stream.readable()) => matches!(has_data, Ok(Ok(()))),
        () = seat.occupant.evicted.cancelled() => false,
        () = shutdown.cancelled() => false,
    };
    if !has_data {
        return;
    }
    let socket = Socket::new(stream);
    let departure = socket.departure();
    let service = service_fn(|request| answer(request, peer, departure.clone(), &router, &seat));
    let stream = Stream::new(socket, TIMEOUTS, Some(Arc::clone(&seat.occupant)));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_LIMIT)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
    );
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = seat.occupant.evicted.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection).await;
            return;
        }
        () = shutdown.cancelled() => {
            // hyper would close a connection without a request at once, although one may be on its
            // way.
            let begun = poll_fn(|context| match connection.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if seat.occupant.in_request.load(Relaxed) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let begun = tokio::time::timeout(SHUTDOWN_DELAY, begun).await;
            if let Ok(Some(outcome)) = begun {
                outcome
            } else {
                connection.as_mut().graceful_shutdown();
                if begun.is_err() {
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection).await;
                    return;
                }
                connection.await
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection failed");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    departure: Departure,
    router: &Router,
    seat: &Seat,
) -> Result<hyper::Response<ResponseBody>, Infallible> {
    seat.request_begins();
    if request.body().is_end_stream() {
        seat.occupant.request_is_complete();
    }
    let occupant = Arc::clone(&seat.occupant);
    let mut request: Request = request.map(|body| Body::new(RequestBody { body, occupant }));
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(departure);
    let Ok(response) = router.clone().oneshot(request).await;
    seat.response_begins();
    let occupant = Arc::clone(&seat.occupant);
    Ok(response.map(|body| ResponseBody { body, occupant }))
}

/// A request's body. Once it is complete, the connection is no longer idle: a response is being
/// made.
struct RequestBody {
    body: Incoming,
    occupant: Arc<Occupant>,
}

/// A response's body. hyper drops it when it has taken all of it, or needs none of it.
struct ResponseBody {
    body: Body,
    occupant: Arc<Occupant>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.occupant.request_is_complete();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.occupant.response_is_complete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_connection_is_closed_as_soon_as_it_is_idle_again() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            move || async move {
                entered.notify_one();
                leave.notified().await;
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(handler));
        let open = IntGauge::new("open", "Open connections.").unwrap();
        let serving = serve(listener, router, 1, open.clone(), shutdown.clone());
        let server = tokio::spawn(serving);

        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(REQUEST).await.unwrap();
        entered.notified().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        // The second waits, and the first is not closed while its response is being made.
        let early = tokio::time::timeout(Duration::from_millis(100), entered.notified()).await;
        assert!(early.is_err(), "there is only one seat");
        assert_eq!(open.get(), 1);

        leave.notify_one();
        let served = tokio::time::timeout(HEAD_TIMEOUT / 2, entered.notified()).await;
        assert!(served.is_ok(), "the first still holds its seat");
        leave.notify_one();
        let mut answer = [0; 12];
        for mut client in [first, second] {
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
        shutdown.cancel();
        server.await.unwrap();
        assert_eq!(open.get(), 0);
    }
}
