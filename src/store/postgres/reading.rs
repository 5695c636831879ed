//! Reads that stop when nobody waits for them any longer: the server would finish a statement whose caller has gone.

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

/// How long cancelling a statement may take. The statement ends at its own timeout, too.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// The process of the server behind the connection that is being lent: only the hooks of the pool see the connection
    /// before it is lent, and asking for it later would be another round trip.
    static BACKEND: Cell<Option<i32>>;
}

/// A connection for reading. Dropping it before [`Reading::finish`] cancels the statement that it runs.
pub(super) struct Reading<'s> {
    options: &'s PgConnectOptions,
    connection: Option<PoolConnection<Postgres>>,
    backend: Option<i32>,
}

impl Reading<'_> {
    /// Gives the connection back after its last statement.
    pub(super) fn finish(mut self) {
        self.connection = None;
    }
}

impl Deref for Reading<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is there until the end")
    }
}

impl DerefMut for Reading<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until the end")
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let (Some(connection), Some(backend)) = (self.connection.take(), self.backend) {
            tokio::spawn(cancel(self.options.clone(), backend, connection));
        }
    }
}

/// Cancels what the connection runs. The connection is lent again only afterwards, so no other statement is hit.
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
        Ok(Err(error)) => debug!(%error, "a read that was given up could not be cancelled"),
        Err(_) => debug!("a read that was given up could not be cancelled in time"),
    }
    drop(connection);
}

impl PostgresStore {
    /// Lends a connection for reading.
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

    /// All rows of a query.
    pub(super) async fn all(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut reading = self.reading().await?;
        let rows = query.fetch_all(&mut *reading).await;
        reading.finish();
        Ok(rows?)
    }
}

/// For the hooks of the pool: the connection that they see is that of this process.
pub(super) fn note_backend(backend: i32) {
    // Others than reads do not ask.
    let _ = BACKEND.try_with(|noted| noted.set(Some(backend)));
}
