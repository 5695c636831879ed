//! The configuration: the example's defaults, a TOML file over them, the environment over both, then one check of the whole.
//!
//! It is read here and not by the `config` crate because every mistake is reported at once, each value knows where it
//! came from, and unknown keys are refused with a hint.
//!
//! No message, log or `Debug` of this module shows a secret's value, nor any value that was refused: people paste secrets
//! under the wrong key.

mod account;
mod check;
mod checker;
mod client;
mod environment;
mod file;
mod key;
mod layer;
mod mistake;
mod public_url;
mod settings;
mod show;
mod store_url;
mod unknown;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use mistake::{ConfigError, Mistake};
pub use public_url::PublicUrl;
pub use settings::Settings;
pub use store_url::StoreUrl;

use crate::domain::{AccountName, ApiClient, ApiKeyHash, Network, Zone};
use crate::wechat::Account;

/// The documented example, which is also where the defaults come from; `qunfa config init` writes it.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// A configuration without a mistake.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory for what is qunfa's own. It need not be there yet.
    pub data_dir: PathBuf,
    /// The listener and its limits.
    pub server: Server,
    /// The database.
    pub store: StoreConfig,
    /// The API, and who may read it.
    pub api: Api,
    /// Where Prometheus finds the metrics.
    pub metrics: Metrics,
    /// What is logged, and how.
    pub log: Log,
    /// The accounts by name; none when none is configured.
    pub accounts: Vec<Account>,
    /// What works but should be known, one sentence each.
    pub warnings: Vec<String>,
}

/// The listener and its limits.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen for WeChat's side, and for the API unless that has a listener of its own; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The address under which WeChat reaches this server, for printing callback URLs.
    pub public_url: Option<PublicUrl>,
    /// The largest body that is taken, in bytes.
    pub body_limit: usize,
    /// How far a timestamp may be from our clock in plain mode, in seconds.
    pub timestamp_tolerance: u64,
    /// Open connections at a time.
    pub max_connections: usize,
    /// Proxies that are believed when they say for whom they ask.
    pub trusted_proxies: Vec<Network>,
}

/// The database.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Whether `serve` applies migrations at its start.
    pub migrate: bool,
    /// Where the database is.
    pub url: StoreUrl,
    /// How long it may take to keep a delivery.
    pub budget: Duration,
    /// For how many days raw deliveries are kept; none: for ever.
    pub keep_raw_days: Option<u32>,
}

/// The API, and who may read it: anybody, when there is no key at all.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it is served apart from the callback; none: where the callback is.
    pub listen: Option<SocketAddr>,
    /// Keys with full access.
    pub keys: Vec<ApiKeyHash>,
    /// Clients by name.
    pub clients: Vec<ApiClient>,
    /// The time zone of timelines.
    pub timezone: Zone,
    /// Whose pages may read it in a browser.
    pub cors_origins: Vec<String>,
}

/// Where Prometheus finds the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The address; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// Nobody has configured the address, so the server also starts when it cannot have it.
    pub is_default: bool,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// The shape of a line.
    pub format: LogFormat,
    /// The least level that is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// The shape of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Where the API is served.
    pub fn api_address(&self) -> SocketAddr {
        self.api.listen.unwrap_or(self.server.listen)
    }
}

impl Config {
    pub fn account(&self, name: &AccountName) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == *name)
    }
}

impl Api {
    /// Whether anybody may read it who can reach it.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty() && self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::settings::tests::settings;
    use super::*;

    /// Everything that can be printed of a configuration, good or bad.
    fn everything(text: &str, variables: &[(&str, &str)]) -> String {
        let mut output = String::new();
        let mut print = |error: &ConfigError| {
            write!(output, "{error} {error:?} {error:#?}").expect("a text takes any text");
        };
        let settings = match settings(text, variables) {
            Ok(settings) => settings,
            Err(error) => {
                print(&error);
                return output;
            }
        };
        let config = settings.check();
        config.as_ref().err().map(&mut print);
        let config = config.ok();
        write!(output, "{settings} {settings:?} {config:?} {config:#?}")
            .expect("it takes any text");
        output
    }

    #[test]
    fn a_secret_in_whatever_wrong_place_is_never_printed() {
        const SECRETS: [&str; 4] = [
            "CANARYCANARYCANARY",
            "CANARYabcdefghijklmnopqrstuvwxyz0123456789A",
            "postgres://user:CANARY@host/db",
            "CANARY with blanks",
        ];
        let number = everything("accounts.main.token = 98765432109876543210", &[]);
        assert!(!number.contains("98765"), "{number}");
        // `data_dir` and `keep_events` take any text.
        let open = [key::Key::DataDir, key::Key::KeepEvents];
        for secret in SECRETS {
            for wrong in [
                "=",
                "= {s}",
                "= \"{s}",
                "= '{s}' '{s}'",
                "= [\"{s}\"",
                "= \"\\q{s}\"",
                "\"{s}\"",
            ] {
                let wrong = wrong.replace("{s}", secret);
                let text = format!("[accounts.main]\ntoken = \"{secret}\"\ntoken {wrong}\n");
                let output = everything(&text, &[]);
                assert!(!output.contains("CANARY"), "{text}\n{output}");
            }
            for value in [
                format!("\"{secret}\""),
                format!("[\"{secret}\"]"),
                format!("{{ a = \"{secret}\" }}"),
                format!("[{{ a = \"{secret}\" }}]"),
            ] {
                let places = key::Key::ALL.into_iter().flat_map(|key| {
                    let section = match key.section() {
                        key::ACCOUNTS => "accounts.main",
                        key::CLIENTS => "api.clients.grafana",
                        section => section,
                    };
                    let names = [key.name().to_owned(), format!("{}_file", key.name())];
                    names.map(|name| (key, section, name))
                });
                for (key, section, name) in places {
                    if open.contains(&key) && name == key.name() {
                        continue;
                    }
                    let path = [section, &name].join(".");
                    let text = format!("{} = {value}", path.trim_start_matches('.'));
                    let output = everything(&text, &[]);
                    assert!(!output.contains("CANARY"), "{text}\n{output}");

                    let variable =
                        format!("QUNFA_{}", path.trim_start_matches('.').replace('.', "__"));
                    let output = everything("", &[(&variable, secret), ("QUNFA_X", secret)]);
                    assert!(!output.contains("CANARY"), "{variable}\n{output}");
                }
                for path in [
                    "colour",
                    "server",
                    "server.colour",
                    "accounts",
                    "accounts.main",
                    "accounts.Main",
                    "accounts.main.colour",
                    "api.clients",
                    "api.clients.grafana",
                    "api.clients.Grafana",
                    "api.clients.grafana.colour",
                ] {
                    let text = format!("{path} = {value}");
                    let output = everything(&text, &[]);
                    assert!(!output.contains("CANARY"), "{text}\n{output}");
                }
            }
        }
    }

    #[test]
    fn an_api_without_a_key_is_for_this_machine_alone() {
        let key = ApiKeyHash::of("key").to_string();
        for (listen, key, allowed) in [
            ("127.0.0.1:80", "", true),
            ("127.9.9.9:80", "", true),
            ("[::1]:80", "", true),
            ("[::ffff:127.0.0.1]:80", "", true),
            ("localhost:80", "", true),
            ("0.0.0.0:80", "", false),
            ("[::]:80", "", false),
            ("10.0.0.1:80", "", false),
            ("0.0.0.0:80", key.as_str(), true),
        ] {
            let variables = [("QUNFA_SERVER__LISTEN", listen), ("QUNFA_API__KEYS", key)];
            let settings = settings("", &variables).expect("it is TOML");
            assert!(settings.check().is_ok(), "{listen}");
            assert_eq!(settings.check_to_serve().is_ok(), allowed, "{listen}");
        }
        for (api_listen, allowed) in [("127.0.0.1:81", true), ("0.0.0.0:81", false)] {
            for server_listen in ["127.0.0.1:80", "0.0.0.0:80"] {
                let variables = [
                    ("QUNFA_SERVER__LISTEN", server_listen),
                    ("QUNFA_API__LISTEN", api_listen),
                ];
                let settings = settings("", &variables).expect("it is TOML");
                assert_eq!(settings.check_to_serve().is_ok(), allowed, "{api_listen}");
            }
        }
        let variables = [
            ("QUNFA_SERVER__LISTEN", "0.0.0.0:80"),
            ("QUNFA_LOG__LEVEL", "x"),
        ];
        let settings = settings("", &variables).expect("it is TOML");
        let error = settings.check_to_serve().expect_err("it is not good");
        assert_eq!(error.mistakes().len(), 2);
    }
}
