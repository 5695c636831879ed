//! Reads are interrupted when their callers are gone: SQLite would finish the statement.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rustix::process::{getpriority_process, setpriority_process};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};

use super::SqliteStore;
use crate::store::StoreError;

/// Instructions of SQLite's virtual machine between two checks whether the caller still waits:
/// under 1 ms.
const INSTRUCTIONS: i32 = 10_000;
/// The niceness of a thread that has run a long read, so that pushes go first.
const NICENESS: i32 = 5;

/// A connection for reading. Dropping it interrupts the statement that it runs.
pub(super) struct Reading {
    connection: PoolConnection<Sqlite>,
    _waited_for: Arc<()>,
}

impl Deref for Reading {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl SqliteStore {
    /// Acquires a connection for reading.
    pub(super) async fn reading(&self) -> Result<Reading, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let waited_for = Arc::new(());
        let waiter = Arc::downgrade(&waited_for);
        let mut is_nice = false;
        // It is called on the connection's own thread.
        let goes_on = move || {
            if !is_nice {
                give_way();
                is_nice = true;
            }
            waiter.strong_count() > 0
        };
        connection
            .lock_handle()
            .await?
            .set_progress_handler(INSTRUCTIONS, goes_on);
        Ok(Reading {
            connection,
            _waited_for: waited_for,
        })
    }

    pub(in crate::store) async fn all(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut reading = self.reading().await?;
        Ok(query.fetch_all(&mut *reading).await?)
    }
}

/// Lowers the priority of the calling thread. If that is not permitted, long reads have the same
/// priority as pushes.
fn give_way() {
    if getpriority_process(None).is_ok_and(|niceness| niceness < NICENESS) {
        let _ = setpriority_process(None, NICENESS);
    }
}
