//! A plain TCP connection to the server, for requests that an HTTP client would not send.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Account;

/// The timeout for a response or a close.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        self.status == 200 && self.body == "success"
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// Connects from that address of this machine.
    pub(crate) async fn connect_from(local: [u8; 4], address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((local, 0).into()).unwrap();
        Self {
            stream: socket.connect(address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    /// Connects with a small receive buffer.
    pub(crate) async fn connect_narrowly(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self {
            stream: socket.connect(address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    /// Reads some of the received data; `None` at the end.
    pub(crate) async fn read_a_little(&mut self) -> Option<Vec<u8>> {
        let mut piece = [0; 1024];
        let reading = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece)).await;
        let length = reading.expect("nothing comes").unwrap_or_default();
        (length > 0).then(|| piece[..length].to_vec())
    }

    pub(crate) async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address).await?,
            unread: Vec::new(),
        })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends as much as the other side accepts.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends the data repeatedly without reading, until the other side closes.
    pub(crate) async fn send_until_closed(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async { while self.stream.write_all(bytes.as_ref()).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, sending)
            .await
            .expect("the connection stays open");
    }

    /// Closes the sending side.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next response; `None` if the connection is closed instead.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply())
            .await
            .expect("neither an answer nor a close")
    }

    /// Waits until the other side closes; returns everything received.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let close = async { while self.read().await {} };
        tokio::time::timeout(PATIENCE, close)
            .await
            .expect("the connection stays open");
        std::mem::take(&mut self.unread)
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let head = loop {
            let found = self.unread.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = found {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            if !self.read().await {
                assert!(self.unread.is_empty(), "closed within a head");
                return None;
            }
        };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read().await, "closed within a body");
        }
        let body = self.unread.drain(..length).collect();
        Some(Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }

    /// False if the other side has closed.
    async fn read(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.unread).await;
        read.unwrap_or_default() > 0
    }
}

/// A signed push as bytes: its head, with these header lines instead of `Content-Length`, and its
/// body.
pub(crate) fn push_with(
    account: &Account,
    message: impl AsRef<[u8]>,
    headers: &str,
) -> (Vec<u8>, Vec<u8>) {
    let push = account.sign(message);
    let head = format!(
        "POST /wechat/{}?{} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n{headers}\r\n",
        account.name, push.query
    );
    (head.into_bytes(), push.body)
}

/// A signed push as bytes: its head and its body.
pub(crate) fn push(account: &Account, message: impl AsRef<[u8]>) -> (Vec<u8>, Vec<u8>) {
    let length = account.sign(&message).body.len();
    push_with(account, message, &format!("Content-Length: {length}\r\n"))
}

/// The body in chunks of that size, including the last chunk.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for chunk in body.chunks(size) {
        let mut line = String::new();
        write!(line, "{:x}\r\n", chunk.len()).unwrap();
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(chunk);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n\r\n");
    text
}
