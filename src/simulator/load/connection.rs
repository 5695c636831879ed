//! One connection that is kept alive, and made again when it has closed.
//!
//! Load shares its machine with the server that it measures. So a push is one write and, as a rule, one read, without the
//! tasks, queues and header maps of an HTTP client.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::Answer;

/// An answer of ours has a few hundred bytes.
const USUAL_ANSWER: usize = 1024;
/// And none is near that long.
const MAX_ANSWER: usize = 64 * 1024;

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No connection could be made.
    NotConnected,
    /// The connection broke off, or the answer was no HTTP or too long.
    BrokenOff,
    /// Nothing within the time that WeChat waits, 5 s.
    TooLate,
}

impl Trouble {
    /// One word for it, with underscores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::BrokenOff => "broken_off",
            Self::TooLate => "too_late",
        }
    }
}

/// The connection of one worker. When a call is dropped, so is the connection.
pub(super) struct Connection<'a> {
    addresses: &'a [SocketAddr],
    open: Option<TcpStream>,
    /// What has come of the answer.
    received: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(addresses: &'a [SocketAddr]) -> Self {
        Self {
            addresses,
            open: None,
            received: Vec::with_capacity(USUAL_ANSWER),
        }
    }

    /// Sends a request, head and body, and reads the answer.
    pub(super) async fn answer(&mut self, request: &[u8]) -> Result<Answer, Trouble> {
        let mut stream = match self.open.take() {
            Some(stream) if is_open(&stream) => stream,
            _ => self.connect().await.map_err(|_| Trouble::NotConnected)?,
        };
        let answer = self.exchange(&mut stream, request).await;
        let answer = answer.ok().flatten().ok_or(Trouble::BrokenOff)?;
        if answer.keeps_alive {
            self.open = Some(stream);
        }
        Ok(answer)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.addresses).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The answer; none when it is no HTTP, too long, or not whole.
    async fn exchange(
        &mut self,
        stream: &mut TcpStream,
        request: &[u8],
    ) -> io::Result<Option<Answer>> {
        stream.write_all(request).await?;
        self.received.clear();
        while self.received.len() < MAX_ANSWER {
            let closed = stream.read_buf(&mut self.received).await? == 0;
            match Answer::read(&self.received, closed) {
                Ok(None) if !closed => {}
                read => return Ok(read.ok().flatten()),
            }
        }
        Ok(None)
    }
}

/// Whether the server has neither closed nor spoken since its last answer.
fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
