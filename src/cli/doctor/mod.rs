//! `qunfa doctor`: one line for each thing that should be as it is.

mod database;
mod files;
mod server;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::Outcome;
use crate::config::{ConfigError, Settings};
use crate::domain::AccountName;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Push as this account [default: the first]
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// A file with a key of the API; without it, where the API wants one, the result is read from the database
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

/// The lines so far.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    failed: usize,
}

impl Report {
    fn ok(&mut self, subject: &str, says: impl Display) {
        self.lines.push(format!("ok    {subject}: {says}"));
    }

    fn warn(&mut self, subject: &str, says: impl Display) {
        self.lines.push(format!("warn  {subject}: {says}"));
    }

    fn fail(&mut self, subject: &str, says: impl Display) {
        self.lines.push(format!("fail  {subject}: {says}"));
        self.failed += 1;
    }

    /// A failure with its causes.
    fn failed(&mut self, subject: &str, error: &anyhow::Error) {
        self.fail(subject, format!("{error:#}"));
    }
}

/// Checks everything, and prints what was found.
pub(super) async fn run(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: DoctorArgs,
) -> Outcome {
    let mut report = Report::default();
    examine(settings, &arguments, &mut report).await;
    let mut output = io::stdout().lock();
    for line in &report.lines {
        writeln!(output, "{line}").context("cannot write to standard output")?;
    }
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
        Some(path) => format!("`{}` is good", path.display()),
        None => "there is no file; the defaults and the environment are good".to_owned(),
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
