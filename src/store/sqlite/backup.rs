//! A backup: one consistent copy of the file, made while others read and write.

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
/// How long to wait for a process that has the whole file to itself, as for a checkpoint at its end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// No backup was made, and nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is there is left as it is.
    #[error("`{0}` exists already; it was left as it is")]
    Exists(PathBuf),
    /// The copy cannot be made, synced or put in place.
    #[error("`{path}` cannot be made")]
    File {
        /// The copy.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such database.
    #[error(transparent)]
    Missing(OpenStoreError),
    /// The database is not one that can be opened.
    #[error("the database cannot be opened")]
    Unreachable(#[source] sqlx::Error),
    /// Reading or writing failed half-way.
    #[error("the database cannot be copied")]
    Copy(#[source] sqlx::Error),
}

impl SqliteStore {
    /// Copies the database at `path` to the new file `to`, for the user's eyes only. What was committed before the call is in
    /// the copy; those who write meanwhile do not wait. When it returns, the copy is on disk.
    ///
    /// # Errors
    /// [`BackupError`]
    pub async fn back_up(path: &Path, to: &Path) -> Result<(), BackupError> {
        // A copy that is not whole never bears the name.
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
            // What went wrong is told already.
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

/// Gives the copy its name, never that of another file, and syncs both.
fn put_in_place(aside: &Path, to: &Path) -> io::Result<()> {
    File::open(aside)?.sync_all()?;
    // Not every file system for backups has hard links, so the name is taken first.
    create_private(to)?;
    fs::rename(aside, to)?;
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
