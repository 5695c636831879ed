//! A client's connection with timeouts for writes, which hyper does not have.

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
pub(super) struct Timeouts {
    /// Without reading a byte of what is there.
    pub(super) stall: Duration,
    /// Until it has read everything: a response, or the streamed part of one.
    pub(super) total: Duration,
}

/// Writes fail if the client takes too long to read.
pub(super) struct Stream<T> {
    inner: T,
    timeouts: Timeouts,
    /// When the client fell behind; `None` if it has read everything.
    behind_since: Option<Instant>,
    /// Runs while it reads nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// Learns when the client stalls, and when everything is written.
    occupant: Option<Arc<Occupant>>,
}

impl<T> Stream<T> {
    pub(super) fn new(inner: T, timeouts: Timeouts, occupant: Option<Arc<Occupant>>) -> Self {
        Self {
            inner,
            timeouts,
            behind_since: None,
            stall: None,
            occupant,
        }
    }

    /// The outcome of a write: one that must wait fails at the deadline.
    fn within_deadline(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.stall.take().is_some()
                && let Some(occupant) = &self.occupant
            {
                occupant.resumes();
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
            let deadline = (now + self.timeouts.stall).min(since + self.timeouts.total);
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

    /// hyper flushes once it has written everything that it has.
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

    /// A connection with a buffer of 100 bytes.
    fn connection(stall: Duration, total: Duration) -> (Stream<DuplexStream>, DuplexStream) {
        let (server, client) = tokio::io::duplex(100);
        (Stream::new(server, Timeouts { stall, total }, None), client)
    }

    /// How long until the stream fails.
    async fn given_up(mut stream: Stream<DuplexStream>) -> Duration {
        let started = Instant::now();
        let error = stream.write_all(&PIECE).await.expect_err("it is given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        started.elapsed()
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_times_out() {
        let stall = Duration::from_millis(100);
        let (stream, _client) = connection(stall, LONG);
        assert!((stall..LONG).contains(&given_up(stream).await));
    }

    #[tokio::test]
    async fn a_client_that_reads_a_little_at_a_time_times_out_in_the_end() {
        let total = Duration::from_millis(300);
        let (stream, mut client) = connection(LONG, total);
        tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!((total..LONG).contains(&given_up(stream).await));
    }

    #[tokio::test]
    async fn a_client_that_reads_every_piece_does_not_time_out() {
        let total = Duration::from_secs(1);
        let (mut stream, mut client) = connection(LONG, total);
        tokio::spawn(async move { while client.read_u8().await.is_ok() {} });
        let started = Instant::now();
        while started.elapsed() < total * 3 / 2 {
            stream.write_all(&PIECE).await.expect("it is taken");
            stream.flush().await.expect("it is taken");
        }
    }
}
