//! A client of server-sent events.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::Value;

use super::Server;

/// One event of a stream. Missing fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Block {
    pub(crate) fn msg_id(&self) -> i64 {
        let job: Value = serde_json::from_str(&self.data).unwrap();
        job["msg_id"].as_str().unwrap().parse().unwrap()
    }
}

/// An open stream.
pub(crate) struct EventStream {
    response: Response,
    unread: String,
}

impl EventStream {
    /// Opens the stream of a server, after the event with that id. Also returns the id that the
    /// stream starts with.
    pub(crate) async fn follow(
        server: &Server,
        query: &str,
        after: Option<&str>,
    ) -> (Self, String) {
        let url = server.url("/api/v1/stream") + query;
        let (stream, hello) = Self::open(&server.client, &url, after).await.unwrap();
        let hello = hello.unwrap();
        assert_eq!((&*hello.event, &*hello.data), ("", ""));
        (stream, hello.id)
    }

    /// Opens the stream at a URL and reads its first event. Fails if there is no server or it
    /// responds with an error.
    pub(crate) async fn open(
        client: &Client,
        url: &str,
        after: Option<&str>,
    ) -> Result<(Self, Option<Block>), reqwest::Error> {
        let mut request = client.get(url).timeout(Duration::from_mins(5));
        if let Some(id) = after {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await?.error_for_status()?;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self {
            response,
            unread: String::new(),
        };
        let hello = stream.read().await?;
        Ok((stream, hello))
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        self.read().await.unwrap()
    }

    /// The next event; an error if the stream breaks off.
    async fn read(&mut self) -> Result<Option<Block>, reqwest::Error> {
        loop {
            if let Some(end) = self.unread.find("\n\n") {
                let block = parse(&self.unread[..end]);
                self.unread.drain(..end + 2);
                return Ok(Some(block));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk());
            let Some(chunk) = chunk.await.expect("something comes")? else {
                return Ok(None);
            };
            self.unread += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event; `None` if the stream has ended or broken off.
    pub(crate) async fn block_unless_ended(&mut self) -> Option<Block> {
        self.read().await.ok().flatten()
    }

    /// The next job; `None` if the server has ended the stream because it was not read.
    pub(crate) async fn job_unless_cut(&mut self) -> Option<Block> {
        loop {
            match self.read().await {
                Ok(block) => {
                    let block = block.expect("it goes on");
                    if block.event == "job" {
                        return Some(block);
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// The next job.
    pub(crate) async fn job(&mut self) -> Block {
        loop {
            let block = self.block().await.expect("it goes on");
            if block.event == "job" {
                return block;
            }
            assert_eq!(
                (&*block.event, &*block.data),
                ("", ""),
                "nothing but ids beside jobs"
            );
        }
    }
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        let (field, value) = line.split_once(": ").unwrap();
        match field {
            "id" => value.clone_into(&mut block.id),
            "event" => value.clone_into(&mut block.event),
            "data" => value.clone_into(&mut block.data),
            "retry" => assert_eq!(value, "2000"),
            _ => panic!("{line}"),
        }
    }
    block
}
