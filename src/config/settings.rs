//! What is set and where it came from, not yet checked.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::file::File;
use super::keys::Form;
use super::layer::Layer;
use super::reader::Reader;
use super::{Config, ConfigError, Mistake};

/// The file that is read if it exists and neither the flag nor the environment names another.
const STANDARD_FILE: &str = "config.toml";

/// What is set, and where it came from. `Display` lists it, with secrets hidden.
pub struct Settings {
    path: Option<PathBuf>,
    pub(super) layer: Layer,
}

impl Settings {
    /// Reads the configuration file and the environment.
    ///
    /// The file is `config` (the flag `--config`), else `QUNFA_CONFIG` unless that is empty, else
    /// `config.toml` in the working directory if it exists.
    ///
    /// # Errors
    /// If the file cannot be read or is not valid TOML. [`check`](Self::check) reports all other
    /// mistakes.
    pub fn load(
        config: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = Environment::new(environment);
        let file = File::find(config, environment.config(), Path::new(STANDARD_FILE));
        Self::layered(file, environment)
    }

    /// Lays the environment over the file.
    pub(super) fn layered(
        file: Result<Option<File>, Mistake>,
        environment: Environment,
    ) -> Result<Self, ConfigError> {
        let environment = environment.into_layer();
        let read = file.and_then(|file| match file {
            Some(file) => Ok((file.layer()?, Some(file.path))),
            None => Ok((Layer::default(), None)),
        });
        match read {
            Ok((mut layer, path)) => {
                layer.cover_with(environment);
                Ok(Self { path, layer })
            }
            Err(mistake) => {
                let mistakes = std::iter::once(mistake).chain(environment.mistakes);
                Err(ConfigError::new(mistakes.collect()))
            }
        }
    }

    /// The configuration file in use.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The files that secrets are read from.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let settings = self.layer.settings.values();
        let files = settings.filter(|setting| setting.form == Form::File);
        files.filter_map(|setting| setting.texts.as_ref()?.first().map(Path::new))
    }

    /// Checks every value. Reads the files of secrets.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let mut reader = Reader::new(&self.layer);
        let config = reader.config();
        reader.finish(config)
    }

    /// Checks every value, and that the API is not open to others.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check_to_serve(&self) -> Result<Config, ConfigError> {
        let mut reader = Reader::new(&self.layer);
        let config = reader.config();
        reader.refuse_open_api(&config);
        reader.finish(config)
    }
}

impl fmt::Debug for Settings {
    /// Without any value: they are not checked, so any of them may be a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tracing::level_filters::LevelFilter;

    use super::*;

    /// The settings of a file `config.toml` with that text, under those variables.
    pub(in crate::config) fn settings(
        text: &str,
        variables: &[(&str, &str)],
    ) -> Result<Settings, ConfigError> {
        let file = File {
            path: "config.toml".into(),
            text: text.to_owned(),
        };
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Settings::layered(Ok(Some(file)), Environment::new(variables))
    }

    /// The lines of the mistakes; none when it is good.
    pub(in crate::config) fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let config = settings(text, variables).and_then(|settings| settings.check());
        let error = config.err();
        let mistakes = error.iter().flat_map(ConfigError::mistakes);
        mistakes.map(ToString::to_string).collect()
    }

    fn level(text: &str, variables: &[(&str, &str)]) -> String {
        let settings = settings(text, variables).expect("it is TOML");
        settings.check().expect("it is good").log.level.to_string()
    }

    #[test]
    fn the_environment_wins_over_the_file_and_both_over_the_defaults() {
        let variable = [("QUNFA_LOG__LEVEL", "trace")];
        assert_eq!(level("", &[]), "info");
        assert_eq!(level("log.level = \"debug\"", &[]), "debug");
        assert_eq!(level("log.level = \"debug\"", &variable), "trace");
        assert_eq!(level("", &variable), "trace");
    }

    #[test]
    fn the_files_of_flag_and_variable_are_read() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("a.toml");
        std::fs::write(&path, "log.level = \"warn\"").expect("a file can be written");
        let variable = [("QUNFA_CONFIG".into(), path.clone().into())];
        for settings in [
            Settings::load(Some(&path), []),
            Settings::load(None, variable),
        ] {
            let settings = settings.expect("it is TOML");
            assert_eq!(settings.path(), Some(path.as_path()));
            let config = settings.check().expect("it is good");
            assert_eq!(config.log.level, LevelFilter::WARN);
        }
        let missing = Settings::load(Some(&directory.path().join("b.toml")), []);
        assert_eq!(missing.expect_err("it is not there").mistakes().len(), 1);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text =
            "colour = 1\nserver.body_limit = \"1\"\n[log]\nlevel = \"loud\"\n[accounts.main]\n";
        assert_eq!(
            mistakes(
                text,
                &[("QUNFA_COLOUR", "1"), ("QUNFA_SERVER__LISTEN", "x")]
            ),
            [
                "`colour` (config.toml): is unknown; known: `data_dir`, `server`, `store`, `api`, `metrics`, `log`, `accounts`",
                "`server.body_limit` (config.toml): must be a whole number from 1 to 16777216",
                "`QUNFA_COLOUR`: is unknown; known: `DATA_DIR`, `SERVER__…`, `STORE__…`, `API__…`, `METRICS__…`, `LOG__…`, `ACCOUNTS__…`",
                "`server.listen` (QUNFA_SERVER__LISTEN): is not an IP address and port, for example `127.0.0.1:8080` or `[::1]:8080`",
                "`log.level` (config.toml): must be `error`, `warn`, `info`, `debug` or `trace`",
                "`accounts.main.mode`: is missing; it must be `plain`, `compatible` or `safe`",
                "`accounts.main.token`: is missing; a token is 3 to 32 letters and digits",
            ]
        );
        assert_eq!(mistakes("colour =", &[("QUNFA_COLOUR", "1")]).len(), 2);
    }

    #[test]
    fn a_secret_in_the_environment_wins_over_both_forms_in_the_file() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("url").display().to_string();
        std::fs::write(&path, "sqlite:from-file\n").expect("a file can be written");
        let url = |text: &str, variables: &[(&str, &str)]| {
            let settings = settings(text, variables).expect("it is TOML");
            settings.check().expect("it is good").store.url.to_string()
        };
        let value = "store.url = \"sqlite:in-text\"";
        let file = format!("store.url_file = \"{path}\"");
        assert_eq!(url("", &[]), "sqlite://data/qunfa.db");
        assert_eq!(url(value, &[]), "sqlite://in-text");
        assert_eq!(url(&file, &[]), "sqlite://from-file");
        assert_eq!(
            url(value, &[("QUNFA_STORE__URL_FILE", &path)]),
            "sqlite://from-file"
        );
        let nowhere = "store.url_file = \"/nowhere\"";
        assert_eq!(
            url(nowhere, &[("QUNFA_STORE__URL", "sqlite:x")]),
            "sqlite://x"
        );
        assert_eq!(
            mistakes(nowhere, &[]),
            [
                "`store.url_file` (config.toml): `/nowhere` cannot be read: No such file or directory (os error 2)"
            ]
        );
    }
}
