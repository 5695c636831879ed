//! Pushes to a server on this machine: a load of `qunfa simulate load`, and a single push.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use qunfa::domain::Time;
use qunfa::simulator::{Sender, SignedPush};
use qunfa::wechat::{AppId, EncodingAesKey, Encryption, Mode, Token};

/// An event with both result lists.
pub(crate) const FULL: &str = include_str!("../../src/simulator/samples/full.xml");

const TOKEN: &str = "benchmarkbenchmark";
const APP_ID: &str = "wx0123456789abcdef";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// An account of the measured servers, named after its mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Plain,
    Safe,
}

impl Account {
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Safe];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Safe => "safe",
        }
    }

    /// Its configuration for `qunfa serve`.
    pub(crate) fn environment(self) -> impl Iterator<Item = (String, &'static str)> {
        let encryption = [("APP_ID", APP_ID), ("ENCODING_AES_KEY", AES_KEY)];
        [("MODE", self.name()), ("TOKEN", TOKEN)]
            .into_iter()
            .chain(
                (self == Self::Safe)
                    .then_some(encryption)
                    .into_iter()
                    .flatten(),
            )
            .map(move |(key, value)| {
                let account = self.name().to_uppercase();
                (format!("QUNFA_ACCOUNTS__{account}__{key}"), value)
            })
    }

    pub(crate) fn sender(self) -> anyhow::Result<Sender> {
        let mode = match self {
            Self::Plain => Mode::Plain,
            Self::Safe => Mode::Safe(Encryption {
                app_id: AppId::new(APP_ID)?,
                key: EncodingAesKey::new(AES_KEY)?,
                previous_key: None,
            }),
        };
        Ok(Sender {
            token: Token::new(TOKEN)?,
            mode,
        })
    }
}

/// The report of `qunfa simulate load`.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) acknowledged: f64,
    /// Pushes that were not acknowledged, or that were due while no connection was free.
    pub(crate) failed: f64,
    pub(crate) seconds: f64,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// How hard to push.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) account: Account,
    pub(crate) connections: u16,
    /// Pushes a second; `None`: as fast as responses arrive.
    pub(crate) rate: Option<u32>,
    pub(crate) seconds: u32,
}

impl Load {
    pub(crate) fn run(self, address: SocketAddr) -> anyhow::Result<Report> {
        let name = self.account.name();
        let mut command = Command::new(super::QUNFA);
        command
            .args(["simulate", "load", "--token", TOKEN, "--mode", name])
            .args(["--url", &format!("http://{address}/wechat/{name}")])
            .args(["--connections", &self.connections.to_string()])
            .args(["--seconds", &self.seconds.to_string()]);
        if self.account == Account::Safe {
            command.args(["--aes-key", AES_KEY, "--app-id", APP_ID]);
        }
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        // With errors it exits with 1, but still reports them.
        let output = command.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout)?;
        let values: HashMap<&str, f64> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
            .collect();
        let value = |name| {
            values
                .get(name)
                .copied()
                .context("`simulate load` did not report")
        };
        Ok(Report {
            acknowledged: value("acknowledged")?,
            failed: value("pushes")? - value("acknowledged")? + value("unsent")?,
            seconds: value("seconds")?,
            rate: value("rate")?,
            p50: value("p50_ms")?,
            p90: value("p90_ms")?,
            p99: value("p99_ms")?,
            max: value("max_ms")?,
        })
    }
}

/// Pushes one event and waits until it is acknowledged.
pub(crate) fn push_one(address: SocketAddr) -> anyhow::Result<()> {
    let account = Account::Plain;
    let SignedPush { query, body } = account.sender()?.sign(FULL.as_bytes(), Time::now())?;
    let head = format!(
        "POST /wechat/{}?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        account.name(),
        body.len()
    );
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let acknowledged = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nsuccess");
    ensure!(
        acknowledged,
        "the first push was not acknowledged: {answer}"
    );
    Ok(())
}
