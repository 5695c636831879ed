//! The connections that record batches.
//!
//! They are not part of the pool. They are lent without a check, and closed unless the call
//! succeeds; also if the caller gives up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::open::connect;

/// Connections that stay open between calls.
const MAX_IDLE: usize = 4;

/// A batch does not wait long for a row that another session has locked: the others are recorded
/// without it. Rows are found by their keys, so that no cached plan from when a table was small
/// reads all of it. JIT is off because these settings make the estimated cost of tables without an
/// index so high that PostgreSQL would compile the plan, for half a second.
const WRITING: &str = "select set_config('lock_timeout', '500', false), set_config('enable_seqscan', 'off', false), \
     set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false), \
     set_config('jit', 'off', false)";

/// Lends connections.
#[derive(Debug)]
pub(super) struct Writers {
    options: PgConnectOptions,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<PgConnection>,
    is_closed: bool,
}

/// A connection on loan. Dropping it closes it and the idle ones: they have most likely failed for
/// the same reason, and each would cost another timeout.
#[derive(Debug)]
pub(super) struct Writer {
    connection: Option<PgConnection>,
    idle: Arc<Mutex<Idle>>,
}

impl Writer {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection
            .as_mut()
            .expect("it is there until it is given back")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.connection.is_some() {
            locked(&self.idle).connections.clear();
        }
    }
}

fn locked(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    // Nothing that holds the lock can panic half-way.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writers {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            idle: Arc::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        locked(&self.idle)
    }

    /// An idle connection, or a new one.
    pub(super) async fn lend(&self) -> Result<Writer, sqlx::Error> {
        let idle = {
            let mut idle = self.idle();
            if idle.is_closed {
                return Err(sqlx::Error::PoolClosed);
            }
            idle.connections.pop()
        };
        match idle {
            Some(connection) => Ok(self.writer(connection)),
            None => self.open().await,
        }
    }

    pub(super) async fn open(&self) -> Result<Writer, sqlx::Error> {
        let mut connection = connect(&self.options).await?;
        sqlx::query(WRITING).execute(&mut connection).await?;
        Ok(self.writer(connection))
    }

    fn writer(&self, connection: PgConnection) -> Writer {
        Writer {
            connection: Some(connection),
            idle: Arc::clone(&self.idle),
        }
    }

    /// Keeps a connection for the next call.
    pub(super) fn give_back(&self, mut writer: Writer) {
        let connection = writer.connection.take();
        let mut idle = self.idle();
        if !idle.is_closed && idle.connections.len() < MAX_IDLE {
            idle.connections.extend(connection);
        }
    }

    pub(super) async fn close(&self) {
        let connections = {
            let mut idle = self.idle();
            idle.is_closed = true;
            std::mem::take(&mut idle.connections)
        };
        for connection in connections {
            // The server also notices by itself.
            let _ = connection.close().await;
        }
    }
}
