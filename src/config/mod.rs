//! The configuration: a TOML file, the environment over it, then one check of the whole.
//!
//! It is read here and not by a library because every mistake is reported at once, with its origin,
//! and unknown keys are refused with a hint.
//!
//! No message, log or `Debug` of this module shows a secret, nor any value that was refused: people
//! paste secrets under the wrong key.

mod account;
mod check;
mod checks;
mod client;
mod environment;
mod file;
mod keys;
mod layer;
mod mistake;
mod public_url;
mod reader;
mod settings;
mod show;
mod store_url;
mod unknown;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

pub use mistake::{ConfigError, Mistake};
pub use public_url::PublicUrl;
pub use settings::Settings;
pub use store_url::StoreUrl;

use crate::domain::{AccountName, ApiClient, ApiKeyHash, Network, Zone};
use crate::wechat::Account;

/// The documented example, which `qunfa config init` writes.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// It may not exist yet.
    pub data_dir: PathBuf,
    pub server: Server,
    pub store: StoreConfig,
    pub api: Api,
    pub metrics: Metrics,
    pub log: Log,
    /// Sorted by name.
    pub accounts: Vec<Account>,
    /// What works but should be known, one sentence each.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Server {
    /// For WeChat, and for the API unless that has an address of its own. Port 0 takes any free
    /// one.
    pub listen: SocketAddr,
    /// The address under which WeChat reaches this server, for printing callback URLs.
    pub public_url: Option<PublicUrl>,
    /// In bytes.
    pub body_limit: usize,
    /// The largest difference between a push's timestamp and this machine's clock in plain mode, in
    /// seconds.
    pub timestamp_tolerance: u64,
    pub max_connections: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// True if `serve` applies migrations when it starts.
    pub migrate: bool,
    pub url: StoreUrl,
    /// How long storing a delivery may take.
    pub budget: Duration,
    /// For how many days raw deliveries are kept; `None` means for ever.
    pub keep_raw_days: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Api {
    /// `None` means at the same address as the callback.
    pub listen: Option<SocketAddr>,
    /// Keys with full access.
    pub keys: Vec<ApiKeyHash>,
    /// Sorted by name.
    pub clients: Vec<ApiClient>,
    /// The time zone of timelines.
    pub timezone: Zone,
    /// The origins whose pages may read the API in a browser.
    pub cors_origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics` is served; `None` means nowhere.
    pub listen: Option<SocketAddr>,
    /// True if the address is not configured: the server then starts even if it is taken.
    pub is_default: bool,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LevelFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    pub fn api_address(&self) -> SocketAddr {
        self.api.listen.unwrap_or(self.server.listen)
    }

    pub fn account(&self, name: &AccountName) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == *name)
    }
}

impl Api {
    /// True if everybody who reaches the API may read it.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty() && self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::settings::tests::settings;
    use super::*;

    /// Everything that can be printed of a configuration, right or wrong.
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
        let open = [keys::DATA_DIR.key, keys::KEEP_EVENTS.key];
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
                let places = keys::KEYS.iter().flat_map(|key| {
                    let section = match key.section {
                        keys::ACCOUNTS => "accounts.main",
                        keys::CLIENTS => "api.clients.grafana",
                        section => section,
                    };
                    let names = [key.name.to_owned(), format!("{}_file", key.name)];
                    names.map(|name| (key, section, name))
                });
                for (key, section, name) in places {
                    if open.contains(key) && name == key.name {
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
    fn without_a_key_the_api_is_only_for_this_machine() {
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
