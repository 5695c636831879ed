//! `qunfa backup`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::{Failure, Outcome};
use crate::config::{Settings, StoreUrl};
use crate::store::SqliteStore;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The new file; an existing one is never overwritten
    file: PathBuf,
}

pub(super) async fn run(settings: &Settings, arguments: BackupArgs) -> Outcome {
    let config = settings.check()?;
    let StoreUrl::Sqlite(path) = &config.store.url else {
        return Err(Failure::usage(anyhow!(
            "`backup` is only for SQLite; back up PostgreSQL with `pg_dump -Fc -f FILE URL`"
        )));
    };
    SqliteStore::back_up(path, &arguments.file)
        .await
        .map_err(anyhow::Error::from)?;
    eprintln!(
        "backed up {} to `{}`",
        config.store.url,
        arguments.file.display()
    );
    Ok(())
}
