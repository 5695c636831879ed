//! Mistakes in a configuration, in words that never quote a value.

use std::fmt;
use std::path::PathBuf;

use super::keys::{Address, Form};

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configuration file, its path as given.
    File(PathBuf),
    /// An environment variable, its name as given.
    Variable(String),
    /// The flag `--config`.
    Flag,
}

/// One mistake. Its `Display` is a line with the key, the origin of its value, what is wrong with
/// it, and what is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    subject: Subject,
    origin: Option<Origin>,
    problem: String,
}

/// What a mistake is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Setting(Box<Address>, Form),
    /// An unknown key, or a file.
    Other(String),
}

/// Every mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

impl Mistake {
    /// A mistake in a setting that was given.
    pub(super) fn in_setting(
        address: Address,
        form: Form,
        origin: Origin,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            subject: Subject::Setting(Box::new(address), form),
            origin: Some(origin),
            problem: problem.into(),
        }
    }

    /// A mistake about a setting that was not given.
    pub(super) fn without(address: Address, problem: impl Into<String>) -> Self {
        Self {
            subject: Subject::Setting(Box::new(address), Form::Value),
            origin: None,
            problem: problem.into(),
        }
    }

    /// A mistake about anything but a setting.
    pub(super) fn other(
        subject: impl Into<String>,
        origin: Option<Origin>,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            subject: Subject::Other(subject.into()),
            origin,
            problem: problem.into(),
        }
    }

    pub(super) fn is_about(&self, address: &Address, origin: &Origin) -> bool {
        matches!(&self.subject, Subject::Setting(subject, _) if **subject == *address)
            && self.origin.as_ref() == Some(origin)
    }
}

impl ConfigError {
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes }
    }

    /// Never empty.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Variable(name) => formatter.write_str(name),
            Self::Flag => formatter.write_str("--config"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Setting(address, form) => write!(formatter, "`{address}{}`", form.suffix())?,
            Subject::Other(name) => write!(formatter, "`{name}`")?,
        }
        if let Some(origin) = &self.origin {
            write!(formatter, " ({origin})")?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => formatter.write_str("the configuration has a mistake:")?,
            count => write!(formatter, "the configuration has {count} mistakes:")?,
        }
        for mistake in &self.mistakes {
            write!(formatter, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{ACCOUNTS, Owner, TOKEN};

    #[test]
    fn each_mistake_is_a_line_under_the_head() {
        let owner = Owner::read(ACCOUNTS, "main").ok();
        let address = Address {
            owner,
            key: TOKEN.key,
        };
        let mut mistakes = vec![Mistake::in_setting(
            address.clone(),
            Form::File,
            Origin::File("config.toml".into()),
            "is empty",
        )];
        assert_eq!(
            ConfigError::new(mistakes.clone()).to_string(),
            "the configuration has a mistake:\n  `accounts.main.token_file` (config.toml): is empty"
        );
        mistakes.push(Mistake::without(address, "is missing"));
        assert_eq!(
            ConfigError::new(mistakes).to_string(),
            "the configuration has 2 mistakes:\n  \
             `accounts.main.token_file` (config.toml): is empty\n  \
             `accounts.main.token`: is missing"
        );
    }
}
