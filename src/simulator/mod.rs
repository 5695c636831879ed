//! Simulates WeChat, for trials and tests: signs and encrypts events and pushes them over HTTP, as
//! WeChat does.
//!
//! It shares [`wechat`](crate::wechat) with the receiver, so it only proves that the two agree;
//! tests compare both with vectors that WeChat published.

mod history;
mod load;
mod sample;
mod sealing;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::redirect::Policy;
use url::{Host, Url};

use crate::domain::Time;

pub use history::{History, PastEvent};
pub use load::{Histogram, Load, LoadError, Report, Trouble};
pub use sample::{NoElement, Sample, with_create_time, with_msg_id};
pub use sealing::{Sender, SignedPush};

/// WeChat gives up after 5 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A receiver's answer to one push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub took: Duration,
}

impl Answer {
    /// True if WeChat accepts it as an acknowledgement: 200 with `success` or nothing.
    pub fn is_legal(&self) -> bool {
        is_legal(self.status, self.body.as_bytes())
    }
}

fn is_legal(status: u16, body: &[u8]) -> bool {
    status == 200 && matches!(body, b"success" | b"")
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("the system gave no random bytes")]
    Random(#[from] getrandom::Error),
    #[error("no answer")]
    Http(#[source] reqwest::Error),
}

impl From<reqwest::Error> for PushError {
    /// Leaves out the URL, whose query has the signature.
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// Pushes to one callback URL.
#[derive(Debug)]
pub struct Simulator {
    client: Client,
    url: Url,
    sender: Sender,
}

impl Simulator {
    /// Like WeChat, it follows no redirects and uses no proxy.
    ///
    /// # Errors
    /// [`PushError::Http`] if the HTTP client cannot be set up.
    pub fn new(url: Url, sender: Sender) -> Result<Self, PushError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self {
            client,
            url,
            sender,
        })
    }

    /// Pushes a message with a new timestamp, nonce and signature. Pushing the same message again
    /// is like a retry of WeChat.
    pub async fn push(&self, message: &[u8]) -> Result<Answer, PushError> {
        self.send(self.sign(message)?).await
    }

    /// Signs a message with a new timestamp and nonce.
    ///
    /// # Errors
    /// [`PushError::Random`]
    pub fn sign(&self, message: &[u8]) -> Result<SignedPush, PushError> {
        Ok(self.sender.sign(message, Time::now())?)
    }

    /// # Errors
    /// [`PushError::Http`] if there is no answer.
    pub async fn send(&self, push: SignedPush) -> Result<Answer, PushError> {
        let SignedPush { query, body } = push;
        let mut url = self.url.clone();
        url.set_query(Some(&query));
        let started = Instant::now();
        let response = self
            .client
            .post(url)
            .header("Content-Type", "text/xml")
            .body(body)
            .send()
            .await?;
        Ok(Answer {
            status: response.status().as_u16(),
            body: response.text().await?,
            took: started.elapsed(),
        })
    }
}

/// True if the URL is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_localhost_and_its_addresses() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/wechat/a", true),
            ("http://localhost/wechat/a", true),
            ("http://[::1]:1/", true),
            ("https://wx.example.com/wechat/a", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://0.0.0.0/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn only_success_and_an_empty_body_are_legal() {
        let answer = |status, body: &str| Answer {
            status,
            body: body.to_owned(),
            took: Duration::ZERO,
        };
        assert!(answer(200, "success").is_legal());
        assert!(answer(200, "").is_legal());
        assert!(!answer(200, "Success").is_legal());
        assert!(!answer(204, "").is_legal());
        assert!(!answer(403, "forbidden").is_legal());
    }
}
