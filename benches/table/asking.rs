//! Requests to the API of a server on this machine, and their latencies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

/// A keep-alive connection, which reconnects if the server has closed it.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// A response with status 200.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// From the first byte of the request to the last of the response.
    pub(crate) took: Duration,
}

impl Answer {
    /// The cursor of the next page.
    pub(crate) fn next_cursor(&self) -> anyhow::Result<Option<String>> {
        let body: Value = serde_json::from_slice(&self.body)?;
        Ok(body["next_cursor"].as_str().map(str::to_owned))
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        if self.connection.is_some()
            && let Ok(answer) = self.try_get(path)
        {
            return answer.with_context(|| path.to_owned());
        }
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        self.connection = Some(BufReader::new(stream));
        self.try_get(path)
            .and_then(|answer| answer)
            .with_context(|| path.to_owned())
    }

    /// The outer error is of the connection, the inner one of the response.
    fn try_get(&mut self, path: &str) -> anyhow::Result<anyhow::Result<Answer>> {
        let connection = self.connection.as_mut().context("it is not connected")?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let started = Instant::now();
        connection.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        connection.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            ensure!(connection.read_line(&mut line)? > 0, "the answer broke off");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        let took = started.elapsed();
        if !status.starts_with("HTTP/1.1 200 ") {
            return Ok(Err(anyhow::anyhow!(
                "{} {}",
                status.trim_end(),
                String::from_utf8_lossy(&body)
            )));
        }
        Ok(Ok(Answer { body, took }))
    }
}
