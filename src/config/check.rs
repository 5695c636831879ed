//! The check of the whole: settings become a [`Config`]. Accounts have a file of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use super::checker::{Checker, Noted};
use super::key::{Address, Key};
use super::mistake::Mistake;
use super::{Api, Config, Log, LogFormat, Metrics, PublicUrl, Server, StoreConfig, StoreUrl};
use crate::domain::{ApiKeyHash, InvalidApiKeyHash, Zone};

const DATABASE_FILE: &str = "qunfa.db";

impl Checker<'_> {
    /// Checks everything, so that every mistake is noted, before anything is put together.
    pub(super) fn config(&mut self) -> Result<Config, Noted> {
        let data_dir = self.data_dir();
        let server = self.server();
        let store = self.store(data_dir.as_deref().ok());
        let api_keys = self.list(&Address::general(Key::ApiKeys), api_key);
        let timezone = self.timezone();
        let metrics = self.metrics();
        let log = self.log();
        let api_listen = self.api_listen();
        let cors_origins = self.list(&Address::general(Key::CorsOrigins), origin);
        let clients = self.clients();
        let names = self.layer.accounts();
        let accounts: Vec<_> = names.map(|name| self.account(name)).collect();
        Ok(Config {
            data_dir: data_dir?,
            server: server?,
            store: store?,
            api: Api {
                keys: api_keys?,
                listen: api_listen?,
                clients: clients?,
                timezone: timezone?,
                cors_origins: cors_origins?,
            },
            metrics: metrics?,
            log: log?,
            accounts: accounts.into_iter().collect::<Result<_, _>>()?,
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// Refuses an API that is open to others: without a key, on an address that is not loopback.
    pub(super) fn exposure(&mut self) {
        let mut again = Checker::new(self.layer);
        let keys = Address::general(Key::ApiKeys);
        let (Ok(listen), Ok(own), Ok(hashes)) = (
            again.listen(),
            again.api_listen(),
            again.list(&keys, api_key),
        ) else {
            return;
        };
        let (name, listen) = match own {
            Some(own) => ("api.listen", own),
            None => ("server.listen", listen),
        };
        let is_open = hashes.is_empty() && self.layer.clients().next().is_none();
        if is_open && !listen.ip().to_canonical().is_loopback() {
            let problem = format!(
                "is empty, but `{name}` is no loopback address, so that anybody could read the API; \
                 add a key made by `qunfa key create`, or listen on 127.0.0.1"
            );
            let mistake = Mistake::without(keys, problem);
            self.mistakes.push(mistake);
        }
    }

    pub(super) fn listen(&mut self) -> Result<SocketAddr, Noted> {
        let rule = "allowed is an IP address with a port";
        self.required(&Address::general(Key::Listen), rule, socket_address)
    }

    fn api_listen(&mut self) -> Result<Option<SocketAddr>, Noted> {
        self.text(&Address::general(Key::ApiListen), socket_address)
    }

    /// Where the database is: in the data directory, unless it is set.
    pub(super) fn store_url(&mut self, data_dir: Option<&Path>) -> Result<StoreUrl, Noted> {
        let url = self.text(&Address::general(Key::StoreUrl), str::parse)?;
        url.or_else(|| Some(StoreUrl::Sqlite(data_dir?.join(DATABASE_FILE))))
            .ok_or(Noted)
    }

    pub(super) fn data_dir(&mut self) -> Result<PathBuf, Noted> {
        self.required(&Address::general(Key::DataDir), "allowed is a path", path)
    }

    fn server(&mut self) -> Result<Server, Noted> {
        let listen = self.listen();
        let public_url = self.public_url();
        let body_limit = self.integer(&Address::general(Key::BodyLimit));
        let timestamp_tolerance = self.integer(&Address::general(Key::TimestampTolerance));
        let max_connections = self.integer(&Address::general(Key::MaxConnections));
        let trusted_proxies = self.list(&Address::general(Key::TrustedProxies), str::parse);
        Ok(Server {
            listen: listen?,
            public_url: public_url?,
            body_limit: body_limit?,
            timestamp_tolerance: timestamp_tolerance?,
            max_connections: max_connections?,
            trusted_proxies: trusted_proxies?,
        })
    }

    fn public_url(&mut self) -> Result<Option<PublicUrl>, Noted> {
        let address = Address::general(Key::PublicUrl);
        let url = self.text(&address, str::parse::<PublicUrl>)?;
        if let Some(port) = url.as_ref().and_then(PublicUrl::unusual_port) {
            self.warn(
                &address,
                format!("has port {port}; WeChat calls only 80 and 443"),
            );
        }
        Ok(url)
    }

    fn store(&mut self, data_dir: Option<&Path>) -> Result<StoreConfig, Noted> {
        let migrate = self.boolean(&Address::general(Key::Migrate));
        let url = self.store_url(data_dir);
        if url.as_ref().is_ok_and(StoreUrl::is_unprotected) {
            self.warn(
                &Address::general(Key::StoreUrl),
                "leads over a network without an `sslmode` that protects it, so that anybody on the way can get the password; \
                 add `?sslmode=verify-full&sslrootcert=PATH`, or `?sslmode=disable` if the network is private",
            );
        }
        let budget = self.integer(&Address::general(Key::Budget));
        let keep_raw_days = self.optional_integer(&Address::general(Key::KeepRawDays));
        Ok(StoreConfig {
            migrate: migrate?,
            url: url?,
            budget: Duration::from_millis(budget?),
            keep_raw_days: keep_raw_days?,
        })
    }

    fn timezone(&mut self) -> Result<Zone, Noted> {
        let rule = "allowed are IANA names such as `Asia/Shanghai` and `UTC`";
        self.required(&Address::general(Key::Timezone), rule, |text| {
            text.parse().map_err(|_| format!("is no time zone; {rule}"))
        })
    }

    fn metrics(&mut self) -> Result<Metrics, Noted> {
        let rule = "allowed is an IP address with a port, or nothing";
        let address = Address::general(Key::MetricsListen);
        let listen = self.required(&address, rule, |text| {
            (!text.is_empty()).then(|| socket_address(text)).transpose()
        })?;
        let is_default = self.is_default(&address);
        Ok(Metrics { listen, is_default })
    }

    fn log(&mut self) -> Result<Log, Noted> {
        let format = self.word(
            &Address::general(Key::LogFormat),
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        );
        let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        let level = self.word(&Address::general(Key::LogLevel), &levels);
        Ok(Log {
            format: format?,
            level: level?.to_owned(),
        })
    }

    /// Reads one of these words, which must be given.
    pub(super) fn word<T: Copy>(
        &mut self,
        address: &Address,
        words: &[(&str, T)],
    ) -> Result<T, Noted> {
        let allowed: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let rule = format!("allowed are {}", allowed.join(", "));
        self.required(address, &rule, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("is not allowed; {rule}"))
        })
    }
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("is no path; leave it out for the default");
    }
    Ok(Path::new(text).to_owned())
}

fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    address.map_err(
        |_| "is no IP address with a port; allowed are such as `127.0.0.1:8080` and `[::1]:8080`",
    )
}

/// An origin as browsers write it, which is compared byte for byte.
fn origin(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "is no origin; allowed are such as `https://dash.example.com`, in lower case and without a path, \
                        and `http://localhost:3000` on this machine";
    let url = Url::parse(text).map_err(|_| RULE)?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    if is_safe && !text.contains('*') && url.origin().ascii_serialization() == text {
        Ok(text.to_owned())
    } else {
        Err(RULE)
    }
}

pub(super) fn api_key(text: &str) -> Result<ApiKeyHash, String> {
    text.parse()
        .map_err(|invalid: InvalidApiKeyHash| format!("is no hash; {invalid}"))
}

#[cfg(test)]
mod tests {
    use crate::config::settings::tests::{mistakes, settings};
    use crate::config::{Config, EXAMPLE, StoreUrl};

    fn checked(text: &str) -> Config {
        let settings = settings(text, &[]).expect("it is TOML");
        settings.check().expect(text)
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        for config in [checked(""), checked(EXAMPLE)] {
            assert_eq!(config.data_dir.to_str(), Some("data"));
            assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
            assert_eq!(config.server.public_url, None);
            assert_eq!(config.server.body_limit, 65_536);
            assert_eq!(config.server.timestamp_tolerance, 600);
            assert_eq!(config.server.max_connections, 10_000);
            assert!(config.store.migrate);
            assert!(
                matches!(&config.store.url, StoreUrl::Sqlite(path) if path.ends_with("data/qunfa.db"))
            );
            assert_eq!(config.api.keys, []);
            assert!(config.api.clients.is_empty());
            assert_eq!(Ok(config.api.timezone), "Asia/Shanghai".parse());
            assert_eq!(config.metrics.listen, Some(([127, 0, 0, 1], 9464).into()));
            assert_eq!(config.log.level, "info");
            assert!(config.accounts.is_empty() && config.warnings.is_empty());
        }
    }

    #[test]
    fn the_default_database_is_in_the_data_directory() {
        let url = checked("data_dir = \"/var/lib/qunfa\"").store.url;
        assert_eq!(url.to_string(), "sqlite:///var/lib/qunfa/qunfa.db");
    }

    #[test]
    fn addresses_are_numbers_with_a_port_or_localhost() {
        for (text, address) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:0", "[::]:0"),
            ("localhost:81", "127.0.0.1:81"),
        ] {
            let config = checked(&format!("server.listen = \"{text}\""));
            assert_eq!(config.server.listen.to_string(), address);
        }
        for text in [
            "",
            ":80",
            "127.0.0.1",
            "::1:80",
            "localhost",
            "localhost:+1",
            "host:80",
            "1.1.1.1:65536",
        ] {
            let mistakes = mistakes(&format!("server.listen = \"{text}\""), &[]);
            assert_eq!(mistakes.len(), 1, "{text}");
        }
    }

    #[test]
    fn metrics_are_turned_off_by_an_empty_address() {
        let metrics = |text: &str, variables: &[(&str, &str)]| {
            let settings = settings(text, variables).expect("it is TOML");
            settings.check().expect("it is good").metrics.listen
        };
        let address = Some(([0, 0, 0, 0], 80).into());
        assert_eq!(metrics("metrics.listen = \"0.0.0.0:80\"", &[]), address);
        assert_eq!(metrics("metrics.listen = \"\"", &[]), None);
        assert_eq!(metrics("", &[("QUNFA_METRICS__LISTEN", "")]), None);
        assert_eq!(mistakes("metrics.listen = \"9464\"", &[]).len(), 1);
    }

    #[test]
    fn an_address_for_metrics_is_the_default_only_where_nobody_gives_it() {
        let is_default = |text: &str, variables: &[(&str, &str)]| {
            let settings = settings(text, variables).expect("it is TOML");
            settings.check().expect("it is good").metrics.is_default
        };
        assert!(is_default("", &[]));
        assert!(!is_default("metrics.listen = \"127.0.0.1:9464\"", &[]));
        assert!(!is_default(
            "",
            &[("QUNFA_METRICS__LISTEN", "127.0.0.1:9464")]
        ));
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        let good = "server.trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8::/32\"]";
        assert_eq!(checked(good).server.trusted_proxies.len(), 3);
        for wrong in ["", "localhost", "10.0.0.0/33", "*"] {
            let text = format!("server.trusted_proxies = [{wrong:?}]");
            let start =
                "`server.trusted_proxies` (config.toml): entry 1 is not an IP address or network";
            let mistakes = mistakes(&text, &[]);
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with(start),
                "{wrong}: {mistakes:?}"
            );
        }
    }

    #[test]
    fn numbers_have_limits() {
        for (key, least, most) in [
            ("body_limit", 1_i64, 16_777_216),
            ("timestamp_tolerance", 1, 10_000_000_000),
            ("max_connections", 1, 1_000_000),
        ] {
            for (number, good) in [
                (least - 1, false),
                (least, true),
                (most, true),
                (most + 1, false),
            ] {
                let mistakes = mistakes(&format!("server.{key} = {number}"), &[]);
                assert_eq!(mistakes.is_empty(), good, "{key} = {number}: {mistakes:?}");
            }
        }
    }

    #[test]
    fn raw_deliveries_are_kept_for_ever_unless_a_number_of_days_is_set() {
        for (text, days) in [
            ("", None),
            ("store.keep_raw_days = 1", Some(1)),
            ("store.keep_raw_days = 36500", Some(36_500)),
        ] {
            assert_eq!(checked(text).store.keep_raw_days, days, "{text}");
        }
        for wrong in ["0", "36501", "-1", "true", "\"400\""] {
            let mistakes = mistakes(&format!("store.keep_raw_days = {wrong}"), &[]);
            assert_eq!(mistakes.len(), 1, "{wrong}: {mistakes:?}");
        }
    }

    #[test]
    fn each_wrong_value_is_one_mistake_that_says_what_is_allowed() {
        for (text, expected) in [
            (
                "data_dir = \"\"",
                "`data_dir` (config.toml): is no path; leave it out for the default",
            ),
            (
                "log.format = \"JSON\"",
                "`log.format` (config.toml): is not allowed; allowed are `text`, `json`",
            ),
            (
                "server.public_url = \"wx.example.com\"",
                "`server.public_url` (config.toml): must start with `http://` or `https://`",
            ),
            (
                "store.url = \"mysql://host\"",
                "`store.url` (config.toml): must start with `sqlite://`, `postgres://` or `postgresql://`",
            ),
            (
                "api.timezone = \"China\"",
                "`api.timezone` (config.toml): is no time zone; allowed are IANA names such as `Asia/Shanghai` and `UTC`",
            ),
            (
                "api.keys = [\"secret\"]",
                "`api.keys` (config.toml): entry 1 is no hash; a key is given as `sha256:` and 64 hexadecimal digits; `qunfa key create` makes one",
            ),
        ] {
            assert_eq!(mistakes(text, &[]), [expected]);
        }
    }

    #[test]
    fn origins_are_exact_and_safe() {
        let good = [
            "https://dash.example.com",
            "https://dash.example.com:8443",
            "http://localhost:3000",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
        ];
        let text = format!("api.cors_origins = {good:?}");
        assert_eq!(checked(&text).api.cors_origins, good);
        for wrong in [
            "*",
            "null",
            "",
            "dash.example.com",
            "https://dash.example.com/",
            "https://dash.example.com:443",
            "https://Dash.example.com",
            "https://*.example.com",
            "https://user@dash.example.com",
            "http://dash.example.com",
            "http://localhost.example.com",
            "file:///x",
        ] {
            let mistakes = mistakes(&format!("api.cors_origins = [{wrong:?}]"), &[]);
            let start =
                "`api.cors_origins` (config.toml): entry 1 is no origin; allowed are such as";
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with(start),
                "{wrong}: {mistakes:?}"
            );
        }
    }

    #[test]
    fn a_port_that_wechat_does_not_call_is_a_warning() {
        assert_eq!(
            checked("server.public_url = \"https://a:8443/\"").warnings,
            ["`server.public_url` (config.toml): has port 8443; WeChat calls only 80 and 443"]
        );
    }
}
