//! A consistent copy of the file, made while others read and write.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::SqliteStore;
use crate::files::create_private;
use crate::store::OpenStoreError;

const VACUUM_INTO: &str = "vacuum into $1";
/// For a process that locks the whole file, as for the checkpoint when it closes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// No backup was made, and no partial file is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{0}` exists already; it was left as it is")]
    Exists(PathBuf),
    /// The copy cannot be created, synced or renamed.
    #[error("`{path}` cannot be created")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Missing(OpenStoreError),
    #[error("the database cannot be opened")]
    Unreachable(#[source] sqlx::Error),
    /// Reading or writing failed half-way.
    #[error("the database cannot be copied")]
    Copy(#[source] sqlx::Error),
}

impl SqliteStore {
    /// Copies the database at `path` to the new file `to`, with mode 0600. The copy has everything
    /// that was committed before the call, writers do not wait for it, and it is on disk when the
    /// call returns.
    ///
    /// # Errors
    /// [`BackupError`]
    pub async fn back_up(path: &Path, to: &Path) -> Result<(), BackupError> {
        // An incomplete copy never has the name.
        let mut aside = OsString::from(to);
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let not_made = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
            _ => BackupError::File {
                path: to.to_owned(),
                source,
            },
        };
        if to.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(to.to_owned()));
        }
        if !path.exists() {
            return Err(BackupError::Missing(OpenStoreError::Missing(
                path.to_owned(),
            )));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(BackupError::Unreachable)?;
        // SQLite fills an empty file, and leaves its permissions alone.
        create_private(&aside).map_err(not_made)?;
        let copied = copy(connection, &aside).await;
        let put = copied.and_then(|()| put_in_place(&aside, to).map_err(not_made));
        if put.is_err() {
            // The error is reported already.
            let _ = fs::remove_file(&aside);
        }
        put
    }
}

async fn copy(mut connection: SqliteConnection, to: &Path) -> Result<(), BackupError> {
    let to = to.to_str().ok_or_else(|| BackupError::File {
        path: to.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"),
    })?;
    sqlx::query(VACUUM_INTO)
        .bind(to)
        .execute(&mut connection)
        .await
        .map_err(BackupError::Copy)?;
    connection.close().await.map_err(BackupError::Copy)
}

/// Renames the copy, without replacing another file, and syncs both.
fn put_in_place(aside: &Path, to: &Path) -> io::Result<()> {
    File::open(aside)?.sync_all()?;
    // Not every file system for backups has hard links, so an empty file reserves the name.
    create_private(to)?;
    fs::rename(aside, to)?;
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
