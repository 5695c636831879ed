//! Opening: creates the file with mode 0600, turns on write-ahead logging and migrates it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::record::TAKE_IDS;
use super::{BEGIN, SqliteStore};
use crate::files::{create_private, create_private_directory};
use crate::store::names::KnownNames;
use crate::store::upkeep::migrate;
use crate::store::{Migrations, OpenStoreError};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

const READERS: u32 = 6;
/// For a connection, or for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
const BUSY_DELAY: Duration = Duration::from_millis(20);

impl SqliteStore {
    /// Opens the file and migrates its schema; only [`Migrations::Apply`] creates a file, with mode
    /// 0600.
    ///
    /// # Errors
    /// [`OpenStoreError`] when the file cannot be created or opened, or has another schema.
    pub async fn open(path: &Path, migrations: Migrations) -> Result<Self, OpenStoreError> {
        let (writer, options) = open_file(path, &MIGRATOR, migrations).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options.pragma("query_only", "on"));
        // If this fails, the next change does it. Until then followers that are ahead of a file
        // that was put back would get all jobs again.
        let _ = sqlx::query(TAKE_IDS).bind(0).execute(&writer).await;
        Ok(Self {
            names: KnownNames::default(),
            writer,
            readers,
        })
    }
}

/// Opens a file for writing through one connection, and migrates its schema. Creates it only with
/// [`Migrations::Apply`].
pub(in crate::store) async fn open_file(
    path: &Path,
    migrator: &Migrator,
    migrations: Migrations,
) -> Result<(SqlitePool, SqliteConnectOptions), OpenStoreError> {
    if migrations == Migrations::Apply {
        make_private(path).map_err(|source| OpenStoreError::File {
            path: path.to_owned(),
            source,
        })?;
    } else if matches!(path.try_exists(), Ok(false)) {
        return Err(OpenStoreError::Missing(path.to_owned()));
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let writer = connect_writer(&options)
        .await
        .map_err(OpenStoreError::Unreachable)?;
    let migrated = bring_up_to_date(&writer, migrator, migrations).await;
    if migrated.is_err() {
        // Closing the file removes SQLite's log and index.
        writer.close().await;
    }
    migrated.map(|()| (writer, options))
}

/// One process migrates while others wait for the lock.
async fn bring_up_to_date(
    writer: &SqlitePool,
    migrator: &Migrator,
    migrations: Migrations,
) -> Result<(), OpenStoreError> {
    let mut connection = writer
        .acquire()
        .await
        .map_err(OpenStoreError::Unreachable)?;
    let mut transaction = connection
        .begin_with(BEGIN)
        .await
        .map_err(OpenStoreError::Unreachable)?;
    migrate::run(migrator, &mut *transaction, migrations).await?;
    transaction
        .commit()
        .await
        .map_err(OpenStoreError::Unreachable)
}

/// Opens the file. While another process switches it to write-ahead logging, SQLite refuses at once
/// instead of waiting.
async fn connect_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let started = Instant::now();
    loop {
        let connected = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.clone())
            .await;
        match connected {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(BUSY_DELAY).await;
            }
            outcome => return outcome,
        }
    }
}

/// `SQLITE_BUSY`, whatever its extended code.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<i32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// Creates the file and its directory without rights for others; SQLite's other files get the same
/// rights. The directory entries are synced, so that the file with an acknowledged event survives a
/// power failure.
fn make_private(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    create_private_directory(&directory)?;
    match create_private(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    for directory in directory.canonicalize()?.ancestors().take(2) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
