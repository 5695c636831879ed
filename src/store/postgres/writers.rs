//! The connections that file batches.
//!
//! They are no part of the pool: what files takes a connection as it is, without asking it first, and throws it away when
//! anything but success came of it, be it a caller who would not wait any longer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::open::connect;

/// How many are kept open. No more are in use at once, unless a call is given up and its connection with it.
const IDLE: usize = 4;

/// Lends connections.
#[derive(Debug)]
pub(super) struct Writers {
    options: PgConnectOptions,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<PgConnection>,
    is_closed: bool,
}

/// A connection that is lent; dropping it closes it.
#[derive(Debug)]
pub(super) struct Writer {
    connection: PgConnection,
    /// Whether it was used before, so that the server may have left since.
    pub(super) lay_idle: bool,
}

impl Writer {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Writers {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing that holds the lock can panic half-way.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was used before, or else a new one.
    pub(super) async fn lend(&self) -> Result<Writer, sqlx::Error> {
        let idle = {
            let mut idle = self.idle();
            if idle.is_closed {
                return Err(sqlx::Error::PoolClosed);
            }
            idle.connections.pop()
        };
        match idle {
            Some(connection) => Ok(Writer {
                connection,
                lay_idle: true,
            }),
            None => self.open().await,
        }
    }

    /// A new connection.
    pub(super) async fn open(&self) -> Result<Writer, sqlx::Error> {
        Ok(Writer {
            connection: connect(&self.options).await?,
            lay_idle: false,
        })
    }

    /// Keeps a connection for the next call.
    pub(super) fn give_back(&self, writer: Writer) {
        let mut idle = self.idle();
        if !idle.is_closed && idle.connections.len() < IDLE {
            idle.connections.push(writer.connection);
        }
    }

    pub(super) async fn close(&self) {
        let connections = {
            let mut idle = self.idle();
            idle.is_closed = true;
            std::mem::take(&mut idle.connections)
        };
        for connection in connections {
            // The server notices by itself, too.
            let _ = connection.close().await;
        }
    }
}
