//! `qunfa config init|check|show`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use super::{Outcome, new_file, print};
use crate::app::exposed_files;
use crate::config::{EXAMPLE, Settings};

/// Writes the example to a private file.
pub(super) fn init(path: Option<PathBuf>) -> Outcome {
    let path = path
        .or_else(|| {
            std::env::var_os("QUNFA_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        })
        .unwrap_or_else(|| PathBuf::from("config.toml"));
    let mut file = new_file(&path)?;
    file.write_all(EXAMPLE.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    eprintln!(
        "wrote `{}`: add your accounts there, then run `qunfa config check`",
        path.display()
    );
    Ok(())
}

/// Reports all mistakes at once.
pub(super) fn check(settings: &Settings) -> Outcome {
    let config = settings.check_to_serve()?;
    let exposed = exposed_files(&config, settings);
    for warning in config.warnings.iter().chain(&exposed) {
        eprintln!("warning: {warning}");
    }
    let accounts = config.accounts.len();
    match accounts {
        0 => eprintln!(
            "the configuration is valid; it has no account, so `qunfa serve` creates `demo`"
        ),
        1 => eprintln!("the configuration is valid: 1 account"),
        _ => eprintln!("the configuration is valid: {accounts} accounts"),
    }
    Ok(())
}

/// Prints the effective values, then any mistakes.
pub(super) fn show(settings: &Settings) -> Outcome {
    print(settings)?;
    settings.check()?;
    Ok(())
}
