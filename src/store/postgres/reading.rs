//! Reads are cancelled when their callers are gone: the server would finish the statement.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, Postgres};
use tracing::debug;

use super::PostgresStore;
use crate::store::StoreError;

/// For cancelling a statement. It also ends at its own timeout.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// The process of the server behind the connection that is being acquired. Only the hooks of
    /// the pool see the connection before, and asking later would be another round trip.
    static BACKEND: Cell<Option<i32>>;
}

/// A connection for reading. Dropping it before [`Reading::finish`] cancels the statement that it
/// runs.
pub(super) struct Reading<'s> {
    options: &'s PgConnectOptions,
    connection: Option<PoolConnection<Postgres>>,
    backend: Option<i32>,
}

impl Reading<'_> {
    /// Returns the connection to the pool after its last statement.
    pub(super) fn finish(mut self) {
        self.connection = None;
    }
}

impl Deref for Reading<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection
            .as_ref()
            .expect("it is `Some` until `finish` or `drop`")
    }
}

impl DerefMut for Reading<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection
            .as_mut()
            .expect("it is `Some` until `finish` or `drop`")
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let (Some(connection), Some(backend)) = (self.connection.take(), self.backend) {
            tokio::spawn(cancel(self.options.clone(), backend, connection));
        }
    }
}

/// Cancels the statement of the connection. The connection returns to the pool afterwards, so no
/// other statement is hit.
async fn cancel(options: PgConnectOptions, backend: i32, connection: PoolConnection<Postgres>) {
    let cancelling = async {
        let mut other = PgConnection::connect_with(&options).await?;
        sqlx::query("select pg_cancel_backend($1)")
            .bind(backend)
            .execute(&mut other)
            .await?;
        other.close().await
    };
    match tokio::time::timeout(CANCEL_TIMEOUT, cancelling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an abandoned read could not be cancelled"),
        Err(_) => debug!("an abandoned read could not be cancelled in time"),
    }
    drop(connection);
}

impl PostgresStore {
    /// Acquires a connection for reading.
    pub(super) async fn reading(&self) -> Result<Reading<'_>, StoreError> {
        self.prepare().await?;
        let lending = async {
            let connection = self.readers.acquire().await?;
            Ok(Reading {
                options: &self.options,
                connection: Some(connection),
                backend: BACKEND.with(Cell::get),
            })
        };
        BACKEND.scope(Cell::new(None), lending).await
    }

    pub(in crate::store) async fn all(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut reading = self.reading().await?;
        let rows = query.fetch_all(&mut *reading).await;
        reading.finish();
        Ok(rows?)
    }
}

/// For the hooks of the pool: notes the process of the server behind the connection.
pub(super) fn note_backend(backend: i32) {
    // Only reads ask for it.
    let _ = BACKEND.try_with(|noted| noted.set(Some(backend)));
}
