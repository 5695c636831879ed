//! A client's connection with deadlines for its reading: hyper has none for what it writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::seats::Occupant;

/// How long a client may take to read.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Without taking a byte of what is there for it.
    pub(super) stall: Duration,
    /// For all that is there: an answer, or a piece of one that is streamed.
    pub(super) lag: Duration,
}

/// Fails when the client takes too long to read.
pub(super) struct Stream<T> {
    inner: T,
    patience: Patience,
    /// Since when there has been something that the client did not take; none once all is taken.
    behind_since: Option<Instant>,
    /// Runs while it takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// Is told when the client stalls, and when all is written.
    occupant: Option<Arc<Occupant>>,
}

impl<T> Stream<T> {
    pub(super) fn new(inner: T, patience: Patience, occupant: Option<Arc<Occupant>>) -> Self {
        Self {
            inner,
            patience,
            behind_since: None,
            stall: None,
            occupant,
        }
    }

    /// What becomes of a write: one that must wait fails at the deadline.
    fn within_deadline(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.stall.take().is_some()
                && let Some(occupant) = &self.occupant
            {
                occupant.reads_on();
            }
            return written;
        }
        if self.stall.is_none()
            && let Some(occupant) = &self.occupant
        {
            occupant.stalls();
        }
        let stall = self.stall.get_or_insert_with(|| {
            let now = Instant::now();
            let since = *self.behind_since.get_or_insert(now);
            let deadline = (now + self.patience.stall).min(since + self.patience.lag);
            Box::pin(tokio::time::sleep_until(deadline))
        });
        ready!(stall.as_mut().poll(context));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the client does not read");
        Poll::Ready(Err(error))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.within_deadline(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.within_deadline(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes once it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind_since = None;
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        if let Some(occupant) = &self.occupant {
            occupant.flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const PIECE: [u8; 1_000] = [0; 1_000];
    const LONG: Duration = Duration::from_mins(1);

    /// A connection that holds 100 bytes between its ends.
    fn connection(stall: Duration, lag: Duration) -> (Stream<DuplexStream>, DuplexStream) {
        let (server, client) = tokio::io::duplex(100);
        (Stream::new(server, Patience { stall, lag }, None), client)
    }

    /// After how long it is given up.
    async fn given_up(mut stream: Stream<DuplexStream>) -> Duration {
        let started = Instant::now();
        let error = stream.write_all(&PIECE).await.expect_err("it is given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        started.elapsed()
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let stall = Duration::from_millis(100);
        let (stream, _client) = connection(stall, LONG);
        assert!((stall..LONG).contains(&given_up(stream).await));
    }

    #[tokio::test]
    async fn a_client_that_takes_a_little_at_a_time_is_given_up_in_the_end() {
        let lag = Duration::from_millis(300);
        let (stream, mut client) = connection(LONG, lag);
        tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!((lag..LONG).contains(&given_up(stream).await));
    }

    #[tokio::test]
    async fn a_client_that_takes_every_piece_is_not_given_up() {
        let lag = Duration::from_secs(1);
        let (mut stream, mut client) = connection(LONG, lag);
        tokio::spawn(async move { while client.read_u8().await.is_ok() {} });
        let started = Instant::now();
        while started.elapsed() < lag * 3 / 2 {
            stream.write_all(&PIECE).await.expect("it is taken");
            stream.flush().await.expect("it is taken");
        }
    }
}
