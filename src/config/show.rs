//! What is set and where it came from, for `qunfa config show`: a line for each value, secrets hidden.

use std::collections::BTreeMap;
use std::fmt;

use super::Settings;
use super::checker::Checker;
use super::key::{Address, Form, Key};
use super::layer::Setting;
use super::mistake::Origin;
use super::value::Value;
use crate::domain::ApiKeyHash;

/// What stands for a value that cannot be used: it may be a secret in the wrong place.
const INVALID: &str = "(invalid)";

impl fmt::Display for Settings {
    /// A line for each value, as `server.listen = "127.0.0.1:8080"  # default`: secrets are hidden, and `(invalid)` stands
    /// for what cannot be used. Reads the files that secrets are in.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut checker = Checker::new(&self.layer);
        let data_dir = checker.data_dir();
        let store_url = checker.store_url(data_dir.as_deref().ok());
        // Only for its mistakes.
        let _ = checker.config();
        let is_invalid = |address: &Address, setting: &Setting| {
            checker
                .mistakes
                .iter()
                .any(|mistake| mistake.is_about(address) && mistake.comes_from(&setting.origin))
        };

        let mut lines = BTreeMap::new();
        if let Ok(url) = &store_url {
            let line = (quoted(&url.to_string()), Origin::Default.to_string());
            lines.insert(Address::general(Key::StoreUrl), line);
        }
        for (address, setting) in &self.layer.settings {
            let value = match &setting.value {
                Some(value) if !is_invalid(address, setting) => match (address.key, &store_url) {
                    (Key::StoreUrl, Ok(url)) => quoted(&url.to_string()),
                    (key, _) => shown(key, value),
                },
                _ => INVALID.to_owned(),
            };
            lines.insert(address.clone(), (value, origin(address.key, setting)));
        }
        for (address, (value, origin)) in lines {
            writeln!(formatter, "{address} = {value}  # {origin}")?;
        }
        Ok(())
    }
}

fn origin(key: Key, setting: &Setting) -> String {
    match (&setting.origin, setting.form) {
        (Origin::File(_), Form::File) => {
            format!("{} ({})", setting.origin, key.spelling(Form::File))
        }
        (origin, _) => origin.to_string(),
    }
}

/// A value that is known to be good.
fn shown(key: Key, value: &Value) -> String {
    match value {
        Value::Text(text) => match text.parse::<ApiKeyHash>() {
            Ok(hash) => quoted(&hash.shortened()),
            Err(_) => quoted(text),
        },
        Value::Secret(_) | Value::SecretFile(_) => quoted("********"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::List(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| match (key, entry.parse::<ApiKeyHash>()) {
                    (Key::ApiKeys, Ok(hash)) => quoted(&hash.shortened()),
                    (Key::ApiKeys, Err(_)) => INVALID.to_owned(),
                    _ => quoted(entry),
                })
                .collect();
            format!("[{}]", entries.join(", "))
        }
    }
}

/// The text as TOML writes it.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' | '\\' => format!("\\{character}"),
        control if control.is_control() => format!("\\u{:04X}", u32::from(control)),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::settings;

    fn show(text: &str, variables: &[(&str, &str)]) -> String {
        settings(text, variables).expect("it is TOML").to_string()
    }

    #[test]
    fn every_value_stands_beside_its_origin() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("key").display().to_string();
        std::fs::write(&path, "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\n")
            .expect("it can be written");
        let text = format!(
            "data_dir = 'a\"b'\n[api]\nkeys = ['sha256:{}']\n[accounts.main]\nmode = 'plain'\n\
             token = 'abcdef'\nencoding_aes_key_file = '{path}'\nkeep_events = ['A', 'B']\n",
            "0f".repeat(32)
        );
        let variables = [
            ("QUNFA_STORE__URL", "postgres://user:CANARY@host/db"),
            ("QUNFA_ACCOUNTS__MAIN__PREVIOUS_TOKEN", "abcdef"),
        ];
        assert_eq!(
            show(&text, &variables),
            "data_dir = \"a\\\"b\"  # config.toml\n\
             server.listen = \"127.0.0.1:8080\"  # default\n\
             server.body_limit = 65536  # default\n\
             server.timestamp_tolerance = 600  # default\n\
             server.max_connections = 10000  # default\n\
             server.trusted_proxies = []  # default\n\
             store.migrate = true  # default\n\
             store.url = \"postgres://user:***@host/db\"  # QUNFA_STORE__URL\n\
             store.budget_ms = 1500  # default\n\
             api.keys = [\"sha256:0f0f0f0f…\"]  # config.toml\n\
             api.timezone = \"Asia/Shanghai\"  # default\n\
             api.cors_origins = []  # default\n\
             metrics.listen = \"127.0.0.1:9464\"  # default\n\
             log.format = \"text\"  # default\n\
             log.level = \"info\"  # default\n\
             accounts.main.mode = \"plain\"  # config.toml\n\
             accounts.main.token = \"********\"  # config.toml\n\
             accounts.main.encoding_aes_key = \"********\"  # config.toml (encoding_aes_key_file)\n\
             accounts.main.previous_token = \"********\"  # QUNFA_ACCOUNTS__MAIN__PREVIOUS_TOKEN\n\
             accounts.main.keep_events = [\"A\", \"B\"]  # config.toml\n"
        );
    }

    #[test]
    fn what_cannot_be_used_is_not_shown() {
        let shown = show(
            "colour = 'CANARY'\nserver.listen = 'CANARY'\nstore.url = 'CANARY'\nlog.level = 5\n\
             [accounts.main]\ntoken = 'x'\nmode = 'CANARY'\ntoken_file = 'CANARY'",
            &[("QUNFA_SERVER__BODY_LIMIT", "CANARY")],
        );
        for line in [
            "server.listen = (invalid)  # config.toml\n",
            "server.body_limit = (invalid)  # QUNFA_SERVER__BODY_LIMIT\n",
            "store.url = (invalid)  # config.toml\n",
            "log.level = (invalid)  # config.toml\n",
            "log.format = \"text\"  # default\n",
            "accounts.main.mode = (invalid)  # config.toml\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
        assert!(!shown.contains("CANARY"), "{shown}");
    }

    #[test]
    fn a_mistake_in_the_file_does_not_hide_what_wins_over_it() {
        let shown = show("log.level = 5", &[("QUNFA_LOG__LEVEL", "warn")]);
        assert!(
            shown.contains("log.level = \"warn\"  # QUNFA_LOG__LEVEL\n"),
            "{shown}"
        );
    }

    #[test]
    fn the_default_database_is_shown_where_it_is() {
        let shown = show("data_dir = '/d'", &[]);
        assert!(
            shown.contains("store.url = \"sqlite:///d/qunfa.db\"  # default\n"),
            "{shown}"
        );
    }

    #[test]
    fn texts_are_quoted_as_toml_quotes_them() {
        let text = "a\"b\\c\nd\u{7f}群";
        let table: toml::Table = format!("x = {}", quoted(text)).parse().expect("it is TOML");
        assert_eq!(table["x"].as_str(), Some(text));
    }
}
