//! A setting's value, of the type that its key allows; whether it makes sense is for the check of the whole.

use std::path::PathBuf;

use secrecy::SecretString;

use super::key::{Form, Key, Kind};
use crate::domain::whole_number;

/// A value. It has no `Debug`: a text may be a secret that stands under the wrong key.
pub(super) enum Value {
    Text(String),
    Secret(SecretString),
    /// The file that the secret is in.
    SecretFile(PathBuf),
    Integer(i64),
    Boolean(bool),
    List(Vec<String>),
}

impl Value {
    /// The value from a TOML file; none if the key does not allow its type.
    pub(super) fn from_toml(key: Key, form: Form, value: toml::Value) -> Option<Self> {
        match (key.kind(), value) {
            (Kind::Text | Kind::Secret, toml::Value::String(text)) => {
                Some(Self::from_string(key, form, text))
            }
            (Kind::Integer(min, max), toml::Value::Integer(number)) => {
                Self::in_limits(number, min, max)
            }
            (Kind::Boolean, toml::Value::Boolean(value)) => Some(Self::Boolean(value)),
            (Kind::List, toml::Value::Array(entries)) => entries
                .into_iter()
                .map(|entry| match entry {
                    toml::Value::String(text) => Some(text),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map(Self::List),
            _ => None,
        }
    }

    /// The value from an environment variable; none if the key does not allow it.
    pub(super) fn from_text(key: Key, form: Form, text: String) -> Option<Self> {
        match key.kind() {
            Kind::Text | Kind::Secret => Some(Self::from_string(key, form, text)),
            Kind::Integer(min, max) => Self::in_limits(whole_number(&text)?, min, max),
            Kind::Boolean => text.parse().ok().map(Self::Boolean),
            Kind::List if text.trim().is_empty() => Some(Self::List(Vec::new())),
            Kind::List => {
                let entries = text.split(',').map(|entry| entry.trim().to_owned());
                Some(Self::List(entries.collect()))
            }
        }
    }

    fn from_string(key: Key, form: Form, text: String) -> Self {
        match (form, key.kind()) {
            (Form::File, _) => Self::SecretFile(text.into()),
            (Form::Value, Kind::Secret) => Self::Secret(text.into()),
            (Form::Value, _) => Self::Text(text),
        }
    }

    fn in_limits(number: i64, min: i64, max: i64) -> Option<Self> {
        (min..=max)
            .contains(&number)
            .then_some(Self::Integer(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(text: &str) -> Option<i64> {
        match Value::from_text(Key::BodyLimit, Form::Value, text.to_owned())? {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    fn list(text: &str) -> Vec<String> {
        match Value::from_text(Key::KeepEvents, Form::Value, text.to_owned()) {
            Some(Value::List(entries)) => entries,
            _ => panic!("a list takes any text"),
        }
    }

    #[test]
    fn whole_numbers_from_the_environment_are_digits_within_limits() {
        assert_eq!(integer("1"), Some(1));
        assert_eq!(integer("16777216"), Some(16_777_216));
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
    fn truth_values_from_the_environment_are_two_words() {
        for (text, taken) in [
            ("true", true),
            ("false", true),
            ("True", false),
            ("1", false),
        ] {
            let value = Value::from_text(Key::Migrate, Form::Value, text.to_owned());
            assert_eq!(value.is_some(), taken, "{text}");
        }
    }

    #[test]
    fn lists_from_the_environment_are_comma_separated() {
        assert_eq!(list(""), [""; 0]);
        assert_eq!(list("  "), [""; 0]);
        assert_eq!(list("A"), ["A"]);
        assert_eq!(list(" A , B"), ["A", "B"]);
        assert_eq!(list("A,,B"), ["A", "", "B"]);
    }

    #[test]
    fn only_the_type_that_the_key_allows_is_taken_from_toml() {
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
        for (key, taken) in [
            (Key::DataDir, &values[0]),
            (Key::Token, &values[0]),
            (Key::BodyLimit, &values[1]),
            (Key::Migrate, &values[2]),
            (Key::ApiKeys, &values[3]),
        ] {
            for value in &values {
                let mut table: toml::Table = format!("x = {value}").parse().expect("it is TOML");
                let parsed = table.remove("x").expect("it is there");
                assert_eq!(
                    Value::from_toml(key, Form::Value, parsed).is_some(),
                    value == taken,
                    "{key:?} = {value}"
                );
            }
        }
    }
}
