//! `qunfa doctor`: a line for each check.

mod database;
mod files;
mod server;

use std::fmt::{Display, Write};
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::{Outcome, print};
use crate::config::{ConfigError, Settings};
use crate::domain::AccountName;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The account to push as [default: the first]
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// A file with a key of the API; if one is needed and not given, the result is read from the
    /// database
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Report {
    lines: String,
    failed: usize,
}

impl Report {
    fn line(&mut self, outcome: &str, subject: &str, message: impl Display) {
        // Writing to memory does not fail.
        let _ = writeln!(self.lines, "{outcome:4}  {subject}: {message}");
    }

    fn ok(&mut self, subject: &str, message: impl Display) {
        self.line("ok", subject, message);
    }

    fn warn(&mut self, subject: &str, message: impl Display) {
        self.line("warn", subject, message);
    }

    fn fail(&mut self, subject: &str, message: impl Display) {
        self.line("fail", subject, message);
        self.failed += 1;
    }

    /// Records why a check could not be made, with the causes.
    fn result(&mut self, subject: &str, checked: anyhow::Result<()>) {
        if let Err(error) = checked {
            self.fail(subject, format!("{error:#}"));
        }
    }
}

/// Checks everything and prints the report.
pub(super) async fn run(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: DoctorArgs,
) -> Outcome {
    let mut report = Report::default();
    examine(settings, &arguments, &mut report).await;
    print(report.lines)?;
    match report.failed {
        0 => Ok(()),
        1 => Err(anyhow!("1 check failed").into()),
        failed => Err(anyhow!("{failed} checks failed").into()),
    }
}

async fn examine(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: &DoctorArgs,
    report: &mut Report,
) {
    const SUBJECT: &str = "configuration";
    let checked = settings().and_then(|settings| Ok((settings.check_to_serve()?, settings)));
    let (config, settings) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            for mistake in error.mistakes() {
                report.fail(SUBJECT, mistake);
            }
            return;
        }
    };
    for warning in &config.warnings {
        report.warn(SUBJECT, warning);
    }
    let file = match settings.path() {
        Some(path) => format!("`{}` is valid", path.display()),
        None => "the environment and the defaults are valid; there is no file".to_owned(),
    };
    report.ok(SUBJECT, file);
    files::examine(&config, &settings, report);
    let store = database::examine(&config, report).await;
    database::examine_spool(&config, report).await;
    server::examine(&config, arguments, store.as_deref(), report).await;
    if let Some(store) = store {
        store.close().await;
    }
}
