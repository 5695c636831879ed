//! Reading of settings one by one, where a mistake is noted and the reading goes on with the next.

use std::fmt::Display;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::key::Address;
use super::layer::Layer;
use super::mistake::{Mistake, Origin};
use super::value::Value;

/// There is no value, and a mistake was noted that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted;

/// The settings, and what was found wrong with them so far.
pub(super) struct Checker<'s> {
    pub(super) layer: &'s Layer,
    /// Those of the sources, then those of the check.
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

impl<'s> Checker<'s> {
    pub(super) fn new(layer: &'s Layer) -> Self {
        Self {
            layer,
            mistakes: layer.mistakes.clone(),
            warnings: Vec::new(),
        }
    }

    /// Reads a text or a secret, from its file where it is given so; none when it is not given.
    pub(super) fn text<T, E: Display>(
        &mut self,
        address: &Address,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Noted> {
        let read = |text: &str| read(text).map_err(|problem| problem.to_string());
        let result = match self.value(address)? {
            Some(Value::Text(text)) => read(text),
            Some(Value::Secret(secret)) => read(secret.expose_secret()),
            Some(Value::SecretFile(path)) => {
                secret_in(path).and_then(|secret| read(secret.expose_secret()))
            }
            _ => return Ok(None),
        };
        match result {
            Ok(value) => Ok(Some(value)),
            Err(problem) => Err(self.mistake(address, problem)),
        }
    }

    /// Reads a text that must be given; `rule` says what is allowed.
    pub(super) fn required<T, E: Display>(
        &mut self,
        address: &Address,
        rule: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Noted> {
        let found = self.text(address, read);
        self.needed(address, found, rule)
    }

    /// Insists on what may have been left out.
    pub(super) fn needed<T>(
        &mut self,
        address: &Address,
        found: Result<Option<T>, Noted>,
        rule: &str,
    ) -> Result<T, Noted> {
        found?.ok_or_else(|| self.mistake(address, format!("is missing; {rule}")))
    }

    /// Reads a whole number, which must be given. Its limits are the key's.
    pub(super) fn integer<T: TryFrom<i64>>(&mut self, address: &Address) -> Result<T, Noted> {
        let number = self.optional_integer(address)?;
        number.ok_or_else(|| self.mistake(address, address.key.kind().rule()))
    }

    /// Reads a whole number; none when it is not given.
    pub(super) fn optional_integer<T: TryFrom<i64>>(
        &mut self,
        address: &Address,
    ) -> Result<Option<T>, Noted> {
        Ok(match self.value(address)? {
            Some(Value::Integer(number)) => T::try_from(*number).ok(),
            _ => None,
        })
    }

    /// Reads a truth value, which must be given.
    pub(super) fn boolean(&mut self, address: &Address) -> Result<bool, Noted> {
        match self.value(address)? {
            Some(Value::Boolean(value)) => Ok(*value),
            _ => Err(self.mistake(address, address.key.kind().rule())),
        }
    }

    /// Reads a list of texts, which is empty when it is not given. Every bad entry is a mistake.
    pub(super) fn list<T, E: Display>(
        &mut self,
        address: &Address,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Noted> {
        let Some(Value::List(entries)) = self.value(address)? else {
            return Ok(Vec::new());
        };
        let entries: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                read(entry).map_err(|problem| {
                    self.mistake(address, format!("entry {} {problem}", index + 1))
                })
            })
            .collect();
        entries.into_iter().collect()
    }

    /// Notes a mistake in a setting.
    pub(super) fn mistake(&mut self, address: &Address, problem: impl Into<String>) -> Noted {
        let mistake = self.note(address, problem);
        self.mistakes.push(mistake);
        Noted
    }

    /// Notes something about a setting that works but should be known.
    pub(super) fn warn(&mut self, address: &Address, problem: impl Into<String>) {
        let warning = self.note(address, problem);
        self.warnings.push(warning);
    }

    /// Whether nobody has given it.
    pub(super) fn is_default(&self, address: &Address) -> bool {
        let setting = self.layer.settings.get(address);
        setting.is_none_or(|setting| setting.origin == Origin::Default)
    }

    fn note(&self, address: &Address, problem: impl Into<String>) -> Mistake {
        let address = address.clone();
        match self.layer.settings.get(&address) {
            Some(setting) => {
                Mistake::in_setting(address, setting.form, setting.origin.clone(), problem)
            }
            None => Mistake::without(address, problem),
        }
    }

    /// The value; none when the key is not set.
    fn value(&self, address: &Address) -> Result<Option<&'s Value>, Noted> {
        match self.layer.settings.get(address) {
            Some(setting) => setting.value.as_ref().map(Some).ok_or(Noted),
            None => Ok(None),
        }
    }
}

/// The content of the file, without one line end at its end.
fn secret_in(path: &Path) -> Result<SecretString, String> {
    let mut text = std::fs::read_to_string(path).map_err(|error| match evidently_path(path) {
        Some(path) => format!("`{path}` cannot be read: {error}"),
        None => format!("the file cannot be read: {error}; give its path, not the secret itself"),
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text.into())
}

/// The path as text, unless it might be the secret itself, put there by mistake: a token, a key, a database's URL.
fn evidently_path(path: &Path) -> Option<&str> {
    path.to_str()
        .filter(|path| path.contains(['/', '\\', '.']) && !path.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_cut_from_a_file() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("secret");
        for (content, secret) in [
            ("abc", "abc"),
            ("abc\n", "abc"),
            ("abc\r\n", "abc"),
            ("abc\n\n", "abc\n"),
            ("abc\r", "abc\r"),
            ("\n", ""),
            ("", ""),
        ] {
            std::fs::write(&path, content).expect("a file can be written");
            let read = secret_in(&path).expect("it can be read");
            assert_eq!(read.expose_secret(), secret, "{content:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_unless_it_might_be_the_secret() {
        let error = "No such file or directory (os error 2)";
        for (path, problem) in [
            (
                "/nowhere/token",
                format!("`/nowhere/token` cannot be read: {error}"),
            ),
            (
                "nowhere.txt",
                format!("`nowhere.txt` cannot be read: {error}"),
            ),
            (
                "CANARYCANARY",
                format!("the file cannot be read: {error}; give its path, not the secret itself"),
            ),
            (
                "postgres://user:CANARY@host/db",
                format!("the file cannot be read: {error}; give its path, not the secret itself"),
            ),
        ] {
            let refused = secret_in(Path::new(path)).map(|_| ());
            assert_eq!(refused, Err(problem));
        }
    }
}
