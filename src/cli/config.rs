//! `qunfa config init|check|show`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, anyhow};

use super::Outcome;
use crate::app::exposed_files;
use crate::config::{EXAMPLE, Settings};

/// Writes the example, for the user's eyes only.
pub(super) fn init(path: Option<PathBuf>) -> Outcome {
    let path = path
        .or_else(|| {
            std::env::var_os("QUNFA_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        })
        .unwrap_or_else(|| PathBuf::from("config.toml"));
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut file = match made {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(
                anyhow!("`{}` exists already; it was left as it is", path.display()).into(),
            );
        }
        Err(error) => {
            return Err(anyhow!(error)
                .context(format!("cannot make `{}`", path.display()))
                .into());
        }
    };
    file.write_all(EXAMPLE.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    eprintln!(
        "wrote `{}`: add your accounts there, then run `qunfa config check`",
        path.display()
    );
    Ok(())
}

/// Reports every mistake at once.
pub(super) fn check(settings: &Settings) -> Outcome {
    let config = settings.check_to_serve()?;
    let exposed = exposed_files(&config, settings);
    for warning in config.warnings.iter().chain(&exposed) {
        eprintln!("warning: {warning}");
    }
    let accounts = config.accounts.len();
    match accounts {
        0 => eprintln!(
            "the configuration is good; with no account in it, `qunfa serve` makes `demo`"
        ),
        1 => eprintln!("the configuration is good: 1 account"),
        _ => eprintln!("the configuration is good: {accounts} accounts"),
    }
    Ok(())
}

/// Prints the effective values, then the mistakes, if there are any.
pub(super) fn show(settings: &Settings) -> Outcome {
    io::stdout()
        .write_all(settings.to_string().as_bytes())
        .context("cannot write to standard output")?;
    settings.check()?;
    Ok(())
}
