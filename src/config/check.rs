//! The check of the whole: settings become a [`Config`].

use super::keys::{
    API_KEYS, API_LISTEN, BODY_LIMIT, BUDGET, CLIENTS, CORS_ORIGINS, DATA_DIR, KEEP_RAW_DAYS,
    LISTEN, LOG_FORMAT, LOG_LEVEL, MAX_CONNECTIONS, METRICS_LISTEN, MIGRATE, Owner, PUBLIC_URL,
    STORE_URL, TIMESTAMP_TOLERANCE, TIMEZONE, TRUSTED_PROXIES,
};
use super::reader::Reader;
use super::{Api, Config, ConfigError, Log, Metrics, PublicUrl, Server, StoreConfig, StoreUrl};

const DATABASE_FILE: &str = "qunfa.db";

impl Reader<'_> {
    /// Everything that is set. A wrong value is recorded, and replaced by its default or left out.
    pub(super) fn config(&mut self) -> Config {
        let data_dir = self.value(&DATA_DIR);
        let mut config = Config {
            server: self.server(),
            store: StoreConfig {
                migrate: self.value(&MIGRATE),
                url: self
                    .store_url()
                    .unwrap_or_else(|| StoreUrl::Sqlite(data_dir.join(DATABASE_FILE))),
                budget: self.value(&BUDGET),
                keep_raw_days: self.optional(&KEEP_RAW_DAYS),
            },
            api: Api {
                keys: self.list(&API_KEYS),
                clients: Vec::new(),
                timezone: self.value(&TIMEZONE),
                listen: self.optional(&API_LISTEN),
                cors_origins: self.list(&CORS_ORIGINS),
            },
            metrics: Metrics {
                listen: self.value(&METRICS_LISTEN),
                is_default: self.setting(METRICS_LISTEN.key).is_none(),
            },
            log: Log {
                format: self.value(&LOG_FORMAT),
                level: self.value(&LOG_LEVEL),
            },
            data_dir,
            accounts: Vec::new(),
            warnings: Vec::new(),
        };
        for owner in &self.layer.owners {
            self.owner = Some(owner.clone());
            match owner {
                Owner::Client(name) => {
                    let client = self.client(name, &config.api);
                    config.api.clients.extend(client);
                }
                Owner::Account(name) => config.accounts.extend(self.account(name)),
            }
        }
        self.owner = None;
        config
    }

    /// The configuration, if nothing is wrong with it.
    pub(super) fn finish(self, config: Config) -> Result<Config, ConfigError> {
        if !self.mistakes.is_empty() {
            return Err(ConfigError::new(self.mistakes));
        }
        let warnings = self.warnings.iter().map(ToString::to_string).collect();
        Ok(Config { warnings, ..config })
    }

    /// Refuses an API that others can read: without a key, on an address that is not loopback.
    pub(super) fn refuse_open_api(&mut self, config: &Config) {
        let mut owners = self.layer.owners.iter();
        let has_key = !config.api.keys.is_empty()
            || owners.any(|owner| owner.section() == CLIENTS)
            || self.is_wrong(API_KEYS.key);
        let is_exposed = !config.api_address().ip().to_canonical().is_loopback()
            && !self.is_wrong(API_LISTEN.key);
        if is_exposed && !has_key {
            let listen = match config.api.listen {
                Some(_) => "api.listen",
                None => "server.listen",
            };
            let problem = format!(
                "is empty and `{listen}` is not a loopback address, so anybody could read the API; \
                 add a key from `qunfa key create`, or listen on 127.0.0.1"
            );
            self.mistake(API_KEYS.key, problem);
        }
    }

    fn server(&mut self) -> Server {
        let public_url = self.optional(&PUBLIC_URL);
        if let Some(port) = public_url.as_ref().and_then(PublicUrl::unusual_port) {
            let problem = format!("has port {port}, but WeChat only calls ports 80 and 443");
            self.warn(PUBLIC_URL.key, problem);
        }
        Server {
            listen: self.value(&LISTEN),
            public_url,
            body_limit: self.value(&BODY_LIMIT),
            timestamp_tolerance: self.value(&TIMESTAMP_TOLERANCE),
            max_connections: self.value(&MAX_CONNECTIONS),
            trusted_proxies: self.list(&TRUSTED_PROXIES),
        }
    }

    fn store_url(&mut self) -> Option<StoreUrl> {
        let url = self.optional(&STORE_URL);
        if url.as_ref().is_some_and(StoreUrl::is_unprotected) {
            self.warn(
                STORE_URL.key,
                "connects over a network without an `sslmode` that enforces encryption, so the \
                 password can be intercepted; add `?sslmode=verify-full&sslrootcert=PATH`, or \
                 `?sslmode=disable` if the network is private",
            );
        }
        url
    }
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
    fn without_a_file_the_defaults_of_the_example_apply() {
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
            assert_eq!(config.log.level.to_string(), "info");
            assert!(config.accounts.is_empty() && config.warnings.is_empty());
        }
    }

    #[test]
    fn the_default_database_is_in_the_data_directory() {
        let url = checked("data_dir = \"/var/lib/qunfa\"").store.url;
        assert_eq!(url.to_string(), "sqlite:///var/lib/qunfa/qunfa.db");
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
                "`data_dir` (config.toml): is not a path; omit it to use the default",
            ),
            (
                "log.format = \"JSON\"",
                "`log.format` (config.toml): must be `text` or `json`",
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
                "`api.timezone` (config.toml): is not a time zone; use an IANA name such as `Asia/Shanghai` or `UTC`",
            ),
            (
                "api.cors_origins = [\"*\"]",
                "`api.cors_origins` (config.toml): entry 1 is not an origin such as `https://dash.example.com`, in lower case and \
                 without a path, or `http://localhost:3000` on this machine",
            ),
            (
                "api.keys = [\"secret\"]",
                "`api.keys` (config.toml): entry 1 is not a hash; a key is given as `sha256:` and 64 hexadecimal digits; `qunfa key create` makes one",
            ),
        ] {
            assert_eq!(mistakes(text, &[]), [expected]);
        }
    }

    #[test]
    fn a_port_that_wechat_does_not_call_is_a_warning() {
        assert_eq!(
            checked("server.public_url = \"https://a:8443/\"").warnings,
            [
                "`server.public_url` (config.toml): has port 8443, but WeChat only calls ports 80 and 443"
            ]
        );
    }
}
