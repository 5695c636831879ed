//! One connection that is kept alive, and made again when it has closed.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// No answer of ours is near that long, in bytes.
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

/// The status and body of an answer.
pub(super) type Answer = (u16, Bytes);

/// The connection of one worker. When a call is dropped, so is the connection.
pub(super) struct Connection<'a> {
    addresses: &'a [SocketAddr],
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<hyper::Result<()>>,
}

enum Sent {
    Answered(Answer),
    /// The connection had closed before; nothing was sent.
    Unsent(Box<Request<Full<Bytes>>>),
}

impl<'a> Connection<'a> {
    pub(super) fn new(addresses: &'a [SocketAddr]) -> Self {
        Self {
            addresses,
            open: None,
        }
    }

    /// Sends a request and reads the answer.
    pub(super) async fn answer(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Trouble> {
        let request = match self.open.take() {
            Some(open) => match self.send(open, request).await? {
                Sent::Answered(answer) => return Ok(answer),
                Sent::Unsent(request) => *request,
            },
            None => request,
        };
        let open = self.connect().await.ok_or(Trouble::NotConnected)?;
        match self.send(open, request).await? {
            Sent::Answered(answer) => Ok(answer),
            Sent::Unsent(_) => Err(Trouble::BrokenOff),
        }
    }

    async fn connect(&self) -> Option<Open> {
        let stream = TcpStream::connect(self.addresses).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        Some(Open {
            sender,
            _driver: AbortOnDropHandle::new(tokio::spawn(driver)),
        })
    }

    async fn send(
        &mut self,
        mut open: Open,
        request: Request<Full<Bytes>>,
    ) -> Result<Sent, Trouble> {
        if open.sender.ready().await.is_err() {
            return Ok(Sent::Unsent(Box::new(request)));
        }
        let response = match open.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                let unsent = error.take_message().ok_or(Trouble::BrokenOff)?;
                return Ok(Sent::Unsent(Box::new(unsent)));
            }
        };
        let status = response.status().as_u16();
        let body = body(response.into_body()).await.ok_or(Trouble::BrokenOff)?;
        self.open = Some(open);
        Ok(Sent::Answered((status, body)))
    }
}

async fn body(body: Incoming) -> Option<Bytes> {
    let body = Limited::new(body, MAX_ANSWER).collect().await.ok()?;
    Some(body.to_bytes())
}
