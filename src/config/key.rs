//! Every key that there is: its section, its name and what it may hold.

use std::fmt;

use crate::domain::{AccountName, ClientName};

/// The section of the keys that stand before all sections.
pub(super) const ROOT: &str = "";
/// The section whose parts are accounts, each with the same keys.
pub(super) const ACCOUNTS: &str = "accounts";
/// The same for clients of the API.
pub(super) const CLIENTS: &str = "api.clients";
/// The sections, in the order of the documentation.
pub(super) const SECTIONS: [&str; 7] = [
    "server", "store", "api", CLIENTS, "metrics", "log", ACCOUNTS,
];

/// A key, in the order of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::enum_variant_names,
    reason = "`EncodingAESKey` is WeChat's word"
)]
pub(super) enum Key {
    DataDir,
    Listen,
    PublicUrl,
    BodyLimit,
    TimestampTolerance,
    MaxConnections,
    TrustedProxies,
    Migrate,
    StoreUrl,
    Budget,
    KeepRawDays,
    ApiKeys,
    Timezone,
    ApiListen,
    CorsOrigins,
    ClientKey,
    ClientScopes,
    ClientAccounts,
    ClientExpires,
    MetricsListen,
    LogFormat,
    LogLevel,
    Mode,
    Token,
    AppId,
    EncodingAesKey,
    OriginalId,
    PreviousToken,
    PreviousEncodingAesKey,
    KeepEvents,
}

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A text that is never shown, and that may also be given as the path of a file.
    Secret,
    /// A whole number in these limits, both included.
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

/// Whose a key is, in the sections that have parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(ClientName),
    Account(AccountName),
}

/// A key and its owner, if it has one. They sort as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) owner: Option<Owner>,
    pub(super) key: Key,
}

impl Key {
    pub(super) const ALL: [Self; 30] = [
        Self::DataDir,
        Self::Listen,
        Self::PublicUrl,
        Self::BodyLimit,
        Self::TimestampTolerance,
        Self::MaxConnections,
        Self::TrustedProxies,
        Self::Migrate,
        Self::StoreUrl,
        Self::Budget,
        Self::KeepRawDays,
        Self::ApiKeys,
        Self::Timezone,
        Self::ApiListen,
        Self::CorsOrigins,
        Self::ClientKey,
        Self::ClientScopes,
        Self::ClientAccounts,
        Self::ClientExpires,
        Self::MetricsListen,
        Self::LogFormat,
        Self::LogLevel,
        Self::Mode,
        Self::Token,
        Self::AppId,
        Self::EncodingAesKey,
        Self::OriginalId,
        Self::PreviousToken,
        Self::PreviousEncodingAesKey,
        Self::KeepEvents,
    ];

    /// Section, name and kind: the whole table on one screen.
    const fn row(self) -> (&'static str, &'static str, Kind) {
        match self {
            Self::DataDir => (ROOT, "data_dir", Kind::Text),
            Self::Listen => ("server", "listen", Kind::Text),
            Self::PublicUrl => ("server", "public_url", Kind::Text),
            Self::BodyLimit => ("server", "body_limit", Kind::Integer(1, 16_777_216)),
            Self::TimestampTolerance => (
                "server",
                "timestamp_tolerance",
                Kind::Integer(1, 10_000_000_000),
            ),
            Self::MaxConnections => ("server", "max_connections", Kind::Integer(1, 1_000_000)),
            Self::TrustedProxies => ("server", "trusted_proxies", Kind::List),
            Self::Migrate => ("store", "migrate", Kind::Boolean),
            Self::StoreUrl => ("store", "url", Kind::Secret),
            Self::Budget => ("store", "budget_ms", Kind::Integer(100, 3000)),
            Self::KeepRawDays => ("store", "keep_raw_days", Kind::Integer(1, 36_500)),
            Self::ApiKeys => ("api", "keys", Kind::List),
            Self::Timezone => ("api", "timezone", Kind::Text),
            Self::ApiListen => ("api", "listen", Kind::Text),
            Self::CorsOrigins => ("api", "cors_origins", Kind::List),
            Self::ClientKey => (CLIENTS, "key", Kind::Text),
            Self::ClientScopes => (CLIENTS, "scopes", Kind::List),
            Self::ClientAccounts => (CLIENTS, "accounts", Kind::List),
            Self::ClientExpires => (CLIENTS, "expires", Kind::Text),
            Self::MetricsListen => ("metrics", "listen", Kind::Text),
            Self::LogFormat => ("log", "format", Kind::Text),
            Self::LogLevel => ("log", "level", Kind::Text),
            Self::Mode => (ACCOUNTS, "mode", Kind::Text),
            Self::Token => (ACCOUNTS, "token", Kind::Secret),
            Self::AppId => (ACCOUNTS, "app_id", Kind::Text),
            Self::EncodingAesKey => (ACCOUNTS, "encoding_aes_key", Kind::Secret),
            Self::OriginalId => (ACCOUNTS, "original_id", Kind::Text),
            Self::PreviousToken => (ACCOUNTS, "previous_token", Kind::Secret),
            Self::PreviousEncodingAesKey => (ACCOUNTS, "previous_encoding_aes_key", Kind::Secret),
            Self::KeepEvents => (ACCOUNTS, "keep_events", Kind::List),
        }
    }

    pub(super) const fn section(self) -> &'static str {
        self.row().0
    }

    pub(super) const fn name(self) -> &'static str {
        self.row().1
    }

    pub(super) const fn kind(self) -> Kind {
        self.row().2
    }

    /// Whether it may hold nothing: that turns off what it is for.
    pub(super) const fn may_be_empty(self) -> bool {
        matches!(self, Self::MetricsListen) || matches!(self.kind(), Kind::List)
    }

    /// The name as written for that form.
    pub(super) fn spelling(self, form: Form) -> String {
        format!("{}{}", self.name(), form.suffix())
    }

    /// The forms that it may be given in.
    pub(super) const fn forms(self) -> &'static [Form] {
        match self.kind() {
            Kind::Secret => &[Form::Value, Form::File],
            Kind::Text | Kind::Integer(..) | Kind::Boolean | Kind::List => &[Form::Value],
        }
    }

    /// Every key of the section, in every form that it may be given in.
    pub(super) fn of_section(section: &str) -> impl Iterator<Item = (Self, Form)> {
        Self::ALL
            .into_iter()
            .filter(move |key| key.section() == section)
            .flat_map(|key| key.forms().iter().map(move |form| (key, *form)))
    }

    /// The key that is written like that in the section.
    pub(super) fn find(section: &str, spelling: &str) -> Option<(Self, Form)> {
        Self::of_section(section).find(|(key, form)| key.spelling(*form) == spelling)
    }
}

impl Form {
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::File => "_file",
        }
    }
}

impl Kind {
    /// What is allowed, for the message about anything else.
    pub(super) fn rule(self) -> String {
        match self {
            Self::Text | Self::Secret => "must be a text in quotes".to_owned(),
            Self::Integer(min, max) => format!("must be a whole number from {min} to {max}"),
            Self::Boolean => "must be `true` or `false`".to_owned(),
            Self::List => "must be a list of texts in quotes".to_owned(),
        }
    }
}

impl Address {
    /// A key outside the sections that have parts.
    pub(super) const fn general(key: Key) -> Self {
        Self { owner: None, key }
    }

    /// A key of an account.
    pub(super) fn of(account: &AccountName, key: Key) -> Self {
        let owner = Some(Owner::Account(account.clone()));
        Self { owner, key }
    }

    /// A key of a client.
    pub(super) fn of_client(client: &ClientName, key: Key) -> Self {
        let owner = Some(Owner::Client(client.clone()));
        Self { owner, key }
    }
}

impl Owner {
    /// The owner of that name in a section that has parts; else why there is none.
    pub(super) fn read(section: &str, name: &str) -> Result<Self, String> {
        if section == CLIENTS {
            let client = name.parse().map(Self::Client);
            client.map_err(|invalid| format!("names no client; {invalid}"))
        } else {
            let account = name.parse().map(Self::Account);
            account.map_err(|invalid| format!("names no account; {invalid}"))
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Client(name) => name.as_str(),
            Self::Account(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Address {
    /// The full key, as `accounts.main.token`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (section, name) = (self.key.section(), self.key.name());
        match &self.owner {
            Some(owner) => write!(formatter, "{section}.{}.{name}", owner.as_str()),
            None if section == ROOT => formatter.write_str(name),
            None => write!(formatter, "{section}.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_keys_is_ordered_and_each_is_found_by_its_name() {
        assert!(Key::ALL.is_sorted());
        for key in Key::ALL {
            for form in key.forms() {
                let found = Key::find(key.section(), &key.spelling(*form));
                assert_eq!(found, Some((key, *form)));
            }
        }
        assert_eq!(Key::find(ACCOUNTS, "mode_file"), None);
        assert_eq!(Key::find(ROOT, "listen"), None);
    }

    #[test]
    fn addresses_are_full_keys() {
        let name = "main".parse().expect("it is a name");
        let client = "grafana".parse().expect("it is a name");
        for (address, shown) in [
            (Address::general(Key::DataDir), "data_dir"),
            (Address::general(Key::StoreUrl), "store.url"),
            (Address::of(&name, Key::Token), "accounts.main.token"),
            (
                Address::of_client(&client, Key::ClientKey),
                "api.clients.grafana.key",
            ),
        ] {
            assert_eq!(address.to_string(), shown);
        }
    }
}
