//! The settings in use and where each came from, for `qunfa config show`: secrets are hidden.

use std::fmt;

use super::Settings;
use super::keys::{Form, KEYS, Key, Kind, Owner, STORE_URL};
use super::layer::Setting;
use super::mistake::Origin;
use super::reader::Reader;
use crate::domain::ApiKeyHash;

impl fmt::Display for Settings {
    /// A line for each value, such as `server.listen = "127.0.0.1:8080"  # default`. Secrets are
    /// hidden, and a value that cannot be used is `(invalid)`: it may be a secret under the wrong
    /// key. Reads the files of secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reader = Reader::new(&self.layer);
        let store_url = reader.config().store.url.to_string();
        let owners = self.layer.owners.iter().cloned().map(Some);
        for owner in std::iter::once(None).chain(owners) {
            let section = owner.as_ref().map(Owner::section);
            reader.owner = owner;
            for key in KEYS {
                if section.is_some_and(|section| section != key.section) {
                    continue;
                }
                let setting = reader.setting(*key);
                let value = match setting {
                    Some(_) if reader.is_wrong(*key) => "(invalid)".to_owned(),
                    _ if *key == STORE_URL.key => quoted(&store_url),
                    Some(Setting { texts, .. }) => {
                        shown(*key, texts.as_deref().unwrap_or_default())
                    }
                    None => match key
                        .default
                        .and_then(|text| key.kind.texts_of_variable(text.to_owned()))
                    {
                        Some(texts) => shown(*key, &texts),
                        None => continue,
                    },
                };
                let origin = setting.map_or("default".to_owned(), |setting| origin(*key, setting));
                writeln!(formatter, "{} = {value}  # {origin}", reader.address(*key))?;
            }
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

/// A value that is known to be good, as TOML writes it.
fn shown(key: Key, texts: &[String]) -> String {
    let strings = texts.iter().map(|text| match text.parse::<ApiKeyHash>() {
        Ok(hash) => quoted(&hash.shortened()),
        Err(_) => quoted(text),
    });
    match key.kind {
        Kind::Secret => quoted("********"),
        Kind::Integer(..) | Kind::Boolean => texts.concat(),
        Kind::Text => strings.collect(),
        Kind::List => format!("[{}]", strings.collect::<Vec<_>>().join(", ")),
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
