//! A keep-alive connection, reopened if it was closed.
//!
//! Load often runs on the same machine as the server that it measures, so a push is one write and
//! usually one read, without the tasks, queues and header maps of an HTTP client.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::Answer;

/// Answers of this server have a few hundred bytes.
const USUAL_ANSWER: usize = 1024;
const MAX_ANSWER: usize = 64 * 1024;

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    NotConnected,
    /// The connection failed, or the answer was not HTTP or too long.
    BrokenOff,
    /// No answer within the 5 s that WeChat waits.
    TooLate,
}

impl Trouble {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::BrokenOff => "broken_off",
            Self::TooLate => "too_late",
        }
    }
}

/// The connection of one worker. It is closed if a call is cancelled.
pub(super) struct Connection<'a> {
    addresses: &'a [SocketAddr],
    open: Option<TcpStream>,
    /// The part of the answer that has arrived.
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

    /// The answer; `None` if it is not HTTP, too long or incomplete.
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

/// True if the server has neither closed the connection nor sent anything since its last answer.
fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
