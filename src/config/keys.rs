//! Every configuration key, defined once. Reading the file and the environment, the defaults, the
//! check, the hints for unknown keys and `config show` all follow from this table.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::LogFormat;
use super::checks::{self, EncryptionMode};
use super::{PublicUrl, StoreUrl};
use crate::domain::{
    AccountName, ApiKeyHash, ClientName, Network, Scope, Time, Zone, whole_number,
};
use crate::wechat::{AppId, EncodingAesKey, Token};

/// The section of keys that are outside all tables.
pub(super) const ROOT: &str = "";
/// The section with a table for each account.
pub(super) const ACCOUNTS: &str = "accounts";
/// The section with a table for each client of the API.
pub(super) const CLIENTS: &str = "api.clients";
/// Every section, in the order of the documentation.
pub(super) const SECTIONS: [&str; 7] = [
    "server", "store", "api", CLIENTS, "metrics", "log", ACCOUNTS,
];

/// A key: where it is written, and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Written as in the environment.
    pub(super) default: Option<&'static str>,
}

/// A key, and how its text (for a list: each entry) becomes a value.
pub(super) struct Definition<T: 'static> {
    pub(super) key: Key,
    pub(super) check: fn(&str) -> Result<T, String>,
}

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Text,
    /// A text that is never shown, and that can also be given as the path of a file, in
    /// `<name>_file`.
    Secret,
    /// A whole number in this range, both ends included.
    Integer(i64, i64),
    Boolean,
    /// A list of texts.
    List,
}

/// How a value is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `x = …`
    Value,
    /// `x_file = "path"`, for secrets.
    File,
}

macro_rules! definitions {
    ($($id:ident: $type:ty = $section:expr, $name:literal, $kind:expr, $default:expr, $check:expr;)*) => {
        $(pub(super) const $id: Definition<$type> = Definition {
            key: Key { section: $section, name: $name, kind: $kind, default: $default },
            check: $check,
        };)*

        /// Every key, in the order of the documentation.
        pub(super) const KEYS: &[Key] = &[$($id.key),*];
    };
}

use Kind::{Boolean, Integer, List, Secret, Text};

definitions! {
    DATA_DIR: PathBuf = ROOT, "data_dir", Text, Some("data"), checks::path;

    LISTEN: SocketAddr = "server", "listen", Text, Some("127.0.0.1:8080"), checks::address;
    PUBLIC_URL: PublicUrl = "server", "public_url", Text, None, checks::parse;
    BODY_LIMIT: usize = "server", "body_limit", Integer(1, 16_777_216), Some("65536"), checks::parse;
    TIMESTAMP_TOLERANCE: u64 =
        "server", "timestamp_tolerance", Integer(1, 10_000_000_000), Some("600"), checks::parse;
    MAX_CONNECTIONS: usize =
        "server", "max_connections", Integer(1, 1_000_000), Some("10000"), checks::parse;
    TRUSTED_PROXIES: Network = "server", "trusted_proxies", List, Some(""), checks::parse;

    MIGRATE: bool = "store", "migrate", Boolean, Some("true"), checks::parse;
    STORE_URL: StoreUrl = "store", "url", Secret, None, checks::parse;
    BUDGET: Duration = "store", "budget_ms", Integer(100, 3000), Some("1500"), checks::milliseconds;
    KEEP_RAW_DAYS: u32 = "store", "keep_raw_days", Integer(1, 36_500), None, checks::parse;

    API_KEYS: ApiKeyHash = "api", "keys", List, Some(""), checks::hash;
    TIMEZONE: Zone = "api", "timezone", Text, Some("Asia/Shanghai"), checks::time_zone;
    API_LISTEN: SocketAddr = "api", "listen", Text, None, checks::address;
    CORS_ORIGINS: String = "api", "cors_origins", List, Some(""), checks::origin;
    CLIENT_KEY: ApiKeyHash = CLIENTS, "key", Text, None, checks::hash;
    CLIENT_SCOPES: Scope = CLIENTS, "scopes", List, None, checks::scope;
    CLIENT_ACCOUNTS: AccountName = CLIENTS, "accounts", List, None, checks::account;
    CLIENT_EXPIRES: Time = CLIENTS, "expires", Text, None, checks::expiry;

    METRICS_LISTEN: Option<SocketAddr> =
        "metrics", "listen", Text, Some("127.0.0.1:9464"), checks::optional_address;

    LOG_FORMAT: LogFormat = "log", "format", Text, Some("text"), checks::log_format;
    LOG_LEVEL: LevelFilter = "log", "level", Text, Some("info"), checks::log_level;

    MODE: Option<EncryptionMode> = ACCOUNTS, "mode", Text, None, checks::mode;
    TOKEN: Token = ACCOUNTS, "token", Secret, None, checks::token;
    APP_ID: AppId = ACCOUNTS, "app_id", Text, None, checks::app_id;
    AES_KEY: EncodingAesKey = ACCOUNTS, "encoding_aes_key", Secret, None, checks::aes_key;
    ORIGINAL_ID: String = ACCOUNTS, "original_id", Text, None, checks::original_id;
    PREVIOUS_TOKEN: Token = ACCOUNTS, "previous_token", Secret, None, checks::token;
    PREVIOUS_AES_KEY: EncodingAesKey =
        ACCOUNTS, "previous_encoding_aes_key", Secret, None, checks::aes_key;
    KEEP_EVENTS: String = ACCOUNTS, "keep_events", List, None, checks::event;
}

impl Key {
    /// True if an empty value has a meaning: nothing.
    pub(super) fn may_be_empty(self) -> bool {
        self.kind == List || self == METRICS_LISTEN.key
    }

    /// The name as written in that form.
    pub(super) fn spelling(self, form: Form) -> String {
        format!("{}{}", self.name, form.suffix())
    }

    /// The forms in which it can be given.
    pub(super) fn forms(self) -> &'static [Form] {
        match self.kind {
            Secret => &[Form::Value, Form::File],
            _ => &[Form::Value],
        }
    }

    /// Every key of the section, in every form.
    pub(super) fn of_section(section: &str) -> impl Iterator<Item = (Self, Form)> {
        KEYS.iter()
            .filter(move |key| key.section == section)
            .flat_map(|key| key.forms().iter().map(|form| (*key, *form)))
    }

    /// The key that is written like that in the section.
    pub(super) fn find(section: &str, spelling: &str) -> Option<(Self, Form)> {
        Self::of_section(section).find(|(key, form)| key.spelling(*form) == spelling)
    }
}

impl Form {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::File => "_file",
        }
    }
}

impl Kind {
    /// The text in a TOML value, or the texts of a list; none if the kind does not allow the value.
    pub(super) fn texts_of_toml(self, value: toml::Value) -> Option<Vec<String>> {
        use toml::Value as Toml;
        let text = match (self, value) {
            (Text | Secret, Toml::String(text)) => text,
            (Integer(min, max), Toml::Integer(number)) if (min..=max).contains(&number) => {
                number.to_string()
            }
            (Boolean, Toml::Boolean(value)) => value.to_string(),
            (List, Toml::Array(entries)) => {
                let entries = entries.into_iter().map(|entry| match entry {
                    Toml::String(text) => Some(text),
                    _ => None,
                });
                return entries.collect();
            }
            _ => return None,
        };
        Some(vec![text])
    }

    /// The text of an environment variable, or the comma-separated texts of a list; none if the
    /// kind does not allow it.
    pub(super) fn texts_of_variable(self, text: String) -> Option<Vec<String>> {
        match self {
            Text | Secret => Some(vec![text]),
            Integer(min, max) => {
                let number = whole_number(&text).filter(|number| (min..=max).contains(number));
                number.map(|number| vec![number.to_string()])
            }
            Boolean => text.parse::<bool>().is_ok().then(|| vec![text]),
            List if text.trim().is_empty() => Some(Vec::new()),
            List => Some(
                text.split(',')
                    .map(|entry| entry.trim().to_owned())
                    .collect(),
            ),
        }
    }

    /// What is allowed, for the message about anything else.
    pub(super) fn rule(self) -> String {
        match self {
            Text | Secret => "must be a quoted string".to_owned(),
            Integer(min, max) => format!("must be a whole number from {min} to {max}"),
            Boolean => "must be `true` or `false`".to_owned(),
            List => "must be a list of quoted strings".to_owned(),
        }
    }
}

/// The account or client that a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(ClientName),
    Account(AccountName),
}

impl Owner {
    /// The owner with that name in a section of owners; else what is wrong with the name.
    pub(super) fn read(section: &str, name: &str) -> Result<Self, String> {
        if section == CLIENTS {
            let client = name.parse().map(Self::Client);
            client.map_err(|invalid| format!("is not a client name; {invalid}"))
        } else {
            let account = name.parse().map(Self::Account);
            account.map_err(|invalid| format!("is not an account name; {invalid}"))
        }
    }

    pub(super) fn section(&self) -> &'static str {
        match self {
            Self::Client(_) => CLIENTS,
            Self::Account(_) => ACCOUNTS,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Client(name) => name.as_str(),
            Self::Account(name) => name.as_str(),
        }
    }
}

/// A key, and the owner that it is set for, if its section has owners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) owner: Option<Owner>,
    pub(super) key: Key,
}

impl fmt::Display for Address {
    /// The full key, such as `accounts.main.token`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { section, name, .. } = self.key;
        match &self.owner {
            Some(owner) => write!(formatter, "{section}.{}.{name}", owner.name()),
            None if section == ROOT => formatter.write_str(name),
            None => write!(formatter, "{section}.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_found_by_its_section_and_name() {
        for key in KEYS {
            for form in key.forms() {
                let found = Key::find(key.section, &key.spelling(*form));
                assert_eq!(found, Some((*key, *form)));
            }
        }
        assert_eq!(Key::find(ACCOUNTS, "mode_file"), None);
        assert_eq!(Key::find(ROOT, "listen"), None);
    }

    #[test]
    fn addresses_are_full_keys() {
        let account = Owner::read(ACCOUNTS, "main").expect("it is a name");
        let client = Owner::read(CLIENTS, "grafana").expect("it is a name");
        for (owner, key, shown) in [
            (None, DATA_DIR.key, "data_dir"),
            (None, STORE_URL.key, "store.url"),
            (Some(account), TOKEN.key, "accounts.main.token"),
            (Some(client), CLIENT_KEY.key, "api.clients.grafana.key"),
        ] {
            assert_eq!(Address { owner, key }.to_string(), shown);
        }
    }

    #[test]
    fn whole_numbers_from_the_environment_are_digits_within_limits() {
        let integer = |text: &str| BODY_LIMIT.key.kind.texts_of_variable(text.to_owned());
        for number in ["1", "16777216"] {
            assert_eq!(integer(number), Some(vec![number.to_owned()]));
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            " 1",
            "1.0",
            "1_000",
            "0x10",
            "16777217",
            "99999999999999999999",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_from_the_environment_are_two_words() {
        for (text, accepted) in [
            ("true", true),
            ("false", true),
            ("True", false),
            ("1", false),
        ] {
            let value = Boolean.texts_of_variable(text.to_owned());
            assert_eq!(value.is_some(), accepted, "{text}");
        }
    }

    #[test]
    fn lists_from_the_environment_are_comma_separated() {
        let list = |text: &str| {
            List.texts_of_variable(text.to_owned())
                .expect("any text is a list")
        };
        assert_eq!(list(""), [""; 0]);
        assert_eq!(list("  "), [""; 0]);
        assert_eq!(list("A"), ["A"]);
        assert_eq!(list(" A , B"), ["A", "B"]);
        assert_eq!(list("A,,B"), ["A", "", "B"]);
    }

    #[test]
    fn toml_values_must_have_the_type_of_the_key() {
        let values = [
            r#""text""#,
            "5",
            "true",
            r#"["text"]"#,
            r#"["text", 5]"#,
            "1.5",
            "2026-01-01",
            "{ a = 1 }",
        ];
        for (kind, accepted) in [
            (Text, values[0]),
            (Secret, values[0]),
            (Integer(1, 5), values[1]),
            (Boolean, values[2]),
            (List, values[3]),
        ] {
            for value in values {
                let mut table: toml::Table = format!("x = {value}").parse().expect("it is TOML");
                let parsed = table.remove("x").expect("it is there");
                let read = kind.texts_of_toml(parsed);
                assert_eq!(read.is_some(), value == accepted, "{kind:?} = {value}");
            }
        }
    }
}
