//! The accept loop: HTTP/1 only, deadlines for every request's head and for the reading of answers, a limit on
//! connections, and a stop that finishes what has begun or is on its way.
//!
//! `axum::serve` sets no deadline for the head, so a silent client would hold its connection for ever. Deadlines for
//! bodies are the handlers' business, as they alone read them.

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
use stream::{Patience, Stream};

/// Clients that have connected and wait to be accepted, at most; the system may allow fewer. When there is no room, a
/// client tries again after a second or more. The usual 128 are soon taken, by a flood or by a burst of pushes.
const BACKLOG: u32 = 4096;
/// How long a client may say nothing after connecting, and then, or after an answer, take to the end of a request's
/// head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// The largest head; also the largest piece of a body that is read at once. It is what hyper takes for reading on every
/// connection, so no head costs more memory than another.
const HEAD_LIMIT: usize = 8 * 1024;
/// How long a client may take to read an answer. A page of the API can be many megabytes.
const PATIENCE: Patience = Patience {
    stall: Duration::from_secs(5),
    lag: Duration::from_mins(1),
};
/// How much of an answer the system holds that it has not sent. Left to itself it takes megabytes, and more only once a
/// third of those is gone: a client that reads slowly would seem not to read at all.
const UNSENT: u32 = 16 * 1024;
/// How long a connection that has to go may still take to send out an answer.
const PARTING: Duration = Duration::from_millis(50);
/// How long after the stop an answer that is made may take to go out, and a request that is on its way to come in.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// How long requests under way may take after the stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How often a full server looks for a connection that may be sent away, when no connection changes.
const LOOK: Duration = Duration::from_millis(50);
/// The pause after the system has refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The least time between two warnings of that, which outsiders can cause.
const WARNING_PAUSE: Duration = Duration::from_mins(1);

/// Listens on an address.
///
/// # Errors
/// When it is not ours, or taken.
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

/// Serves until `shutdown`, then takes no new connections, finishes requests that have begun, and closes connections that
/// bring none within a second. Each request carries the client's address as [`ConnectInfo`], and its [`Departure`].
///
/// A client may close its sending side after its request, and still gets its answer.
///
/// At `max_connections`, the connection that has waited longest for a request, or for the rest of one, gives way. One whose
/// answer is going out does not wait; it gives way only when no other does and the client has stopped reading. `open`
/// shows how many connections there are.
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
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let seat = Seat::take(&seats);
        let connection = connection(stream, peer, router.clone(), seat, shutdown.clone());
        connections.spawn(connection);
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        warn!(
            "requests were still under way {} s after the stop",
            DRAIN.as_secs()
        );
    }
}

async fn refused_by_system(error: &io::Error, seats: &Seats, warned: &mut Option<Instant>) {
    // A client that left while it waited is no news.
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    if warned.is_none_or(|warned| warned.elapsed() >= WARNING_PAUSE) {
        *warned = Some(Instant::now());
        warn!(%error, "the system refused a connection; raise the limit on open files");
    }
    seats.evict();
    tokio::time::sleep(ACCEPT_PAUSE).await;
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
        debug!(%error, "the client left at once");
        return;
    }
    // Who says nothing yet needs none of the memory that hyper takes at once.
    let speaks = tokio::select! {
        biased;
        speaks = tokio::time::timeout(HEAD_DEADLINE, stream.readable()) => matches!(speaks, Ok(Ok(()))),
        () = seat.occupant.evicted.cancelled() => false,
        () = shutdown.cancelled() => false,
    };
    if !speaks {
        return;
    }
    let socket = Socket::new(stream);
    let departure = socket.departure();
    let service = service_fn(|request| answer(request, peer, departure.clone(), &router, &seat));
    let stream = Stream::new(socket, PATIENCE, Some(Arc::clone(&seat.occupant)));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(HEAD_LIMIT)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
    );
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = seat.occupant.evicted.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(PARTING, connection).await;
            return;
        }
        () = shutdown.cancelled() => {
            // Told at once, hyper would close a connection that has brought nothing yet, although a request is on its way.
            let begun = poll_fn(|context| match connection.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if seat.occupant.in_request.load(Relaxed) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let begun = tokio::time::timeout(LAST_CHANCE, begun).await;
            if let Ok(Some(outcome)) = begun {
                outcome
            } else {
                connection.as_mut().graceful_shutdown();
                if begun.is_err() {
                    let _ = tokio::time::timeout(PARTING, connection).await;
                    return;
                }
                connection.await
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection ended early");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    departure: Departure,
    router: &Router,
    seat: &Seat,
) -> Result<hyper::Response<GoingOut>, Infallible> {
    seat.request_begins();
    if request.body().is_end_stream() {
        seat.occupant.request_is_whole();
    }
    let occupant = Arc::clone(&seat.occupant);
    let mut request: Request = request.map(|body| Body::new(Arriving { body, occupant }));
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(departure);
    let Ok(response) = router.clone().oneshot(request).await;
    seat.answer_begins();
    let occupant = Arc::clone(&seat.occupant);
    Ok(response.map(|body| GoingOut { body, occupant }))
}

/// A request's body. Once all of it is here, the connection no longer waits: an answer is being made.
struct Arriving {
    body: Incoming,
    occupant: Arc<Occupant>,
}

/// An answer's body. hyper drops it when it has taken all of it, or wants none.
struct GoingOut {
    body: Body,
    occupant: Arc<Occupant>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.occupant.request_is_whole();
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

impl HttpBody for GoingOut {
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

impl Drop for GoingOut {
    fn drop(&mut self) {
        self.occupant.answer_is_complete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_connection_gives_way_as_soon_as_it_waits_again() {
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
        // The second is at the door, and the first cannot give way while its answer is being made.
        let early = tokio::time::timeout(Duration::from_millis(100), entered.notified()).await;
        assert!(early.is_err(), "there is one seat alone");
        assert_eq!(open.get(), 1);

        leave.notify_one();
        let served = tokio::time::timeout(HEAD_DEADLINE / 2, entered.notified()).await;
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
