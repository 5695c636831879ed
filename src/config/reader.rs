//! Reads settings one by one. A mistake is recorded and reading goes on, so that every mistake is
//! reported at once.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::keys::{Address, Definition, Form, Key, Owner};
use super::layer::{Layer, Setting};
use super::mistake::Mistake;

/// The settings, and what was found wrong with them so far.
pub(super) struct Reader<'s> {
    pub(super) layer: &'s Layer,
    /// Whose keys are read.
    pub(super) owner: Option<Owner>,
    /// Those of the sources, then those of the check.
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(layer: &'s Layer) -> Self {
        Self {
            layer,
            owner: None,
            mistakes: layer.mistakes.clone(),
            warnings: Vec::new(),
        }
    }

    /// The value, or the default if it is not set. A wrong value is a mistake, and the default
    /// takes its place.
    pub(super) fn value<T>(&mut self, definition: &Definition<T>) -> T {
        self.optional(definition).unwrap_or_else(|| {
            let default = definition
                .key
                .default
                .and_then(|text| (definition.check)(text).ok());
            default.expect("a test checks every default")
        })
    }

    /// The value; none if it is not set or is wrong.
    pub(super) fn optional<T>(&mut self, definition: &Definition<T>) -> Option<T> {
        let setting = self.setting(definition.key)?;
        let text = setting.texts.as_ref()?.first()?;
        let value = match setting.form {
            Form::Value => (definition.check)(text),
            Form::File => secret_in(Path::new(text))
                .and_then(|secret| (definition.check)(secret.expose_secret())),
        };
        value
            .map_err(|problem| self.mistake(definition.key, problem))
            .ok()
    }

    /// True if it is set to something wrong.
    pub(super) fn is_wrong(&self, key: Key) -> bool {
        let address = self.address(key);
        self.setting(key).is_some_and(|setting| {
            let mut mistakes = self.mistakes.iter();
            mistakes.any(|mistake| mistake.is_about(&address, &setting.origin))
        })
    }

    /// Records a mistake if the value is not set; `rule` says what is missing.
    pub(super) fn require(&mut self, key: Key, rule: &str) {
        if self.setting(key).is_none() {
            self.mistake(key, format!("is missing; {rule}"));
        }
    }

    /// The entries that are right; none if the list is not set.
    pub(super) fn list<T>(&mut self, definition: &Definition<T>) -> Vec<T> {
        let setting = self.setting(definition.key);
        let texts = setting
            .and_then(|setting| setting.texts.as_deref())
            .unwrap_or_default();
        let mut values = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match (definition.check)(text) {
                Ok(value) => values.push(value),
                Err(problem) => {
                    self.mistake(definition.key, format!("entry {} {problem}", index + 1));
                }
            }
        }
        values
    }

    pub(super) fn mistake(&mut self, key: Key, problem: impl Into<String>) {
        let mistake = self.about(key, problem);
        self.mistakes.push(mistake);
    }

    /// Records something that works but should be known.
    pub(super) fn warn(&mut self, key: Key, problem: impl Into<String>) {
        let warning = self.about(key, problem);
        self.warnings.push(warning);
    }

    /// The setting, where one of the sources has it.
    pub(super) fn setting(&self, key: Key) -> Option<&'s Setting> {
        self.layer.settings.get(&self.address(key))
    }

    pub(super) fn address(&self, key: Key) -> Address {
        let owner = self.owner.clone();
        Address { owner, key }
    }

    fn about(&self, key: Key, problem: impl Into<String>) -> Mistake {
        let address = self.address(key);
        match self.setting(key) {
            Some(Setting { form, origin, .. }) => {
                Mistake::in_setting(address, *form, origin.clone(), problem)
            }
            None => Mistake::without(address, problem),
        }
    }
}

/// The content of the file, without one line end at its end.
fn secret_in(path: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path).map_err(|error| match evidently_path(path) {
        Some(path) => format!("`{path}` cannot be read: {error}"),
        None => format!("the file cannot be read: {error}; give its path, not the secret itself"),
    })?;
    let line = text.strip_suffix('\n');
    let line = line.map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).into())
}

/// The path as text, unless it might be the secret itself, put there by mistake: a token, a key, a
/// database's URL.
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
