//! LISTEN/NOTIFY: tells other processes on the database that jobs changed, and hears it from them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::store::{Announcements, StoreError};

/// Not part of the transaction that records a batch: transactions with a NOTIFY commit one after
/// the other.
pub(super) const ANNOUNCE: &str = "notify qunfa_changes";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Listens on a separate connection, so that a dead one does not take a place in the pool.
pub(super) async fn listen(options: &PgConnectOptions) -> Result<Listening, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("qunfa_changes").await?;
    Ok(Listening(listener))
}

pub(super) struct Listening(PgListener);

#[async_trait]
impl Announcements for Listening {
    async fn next(&mut self) -> Result<(), StoreError> {
        // `None` after a reconnect: notifications may have been missed.
        self.0.try_recv().await?;
        Ok(())
    }
}
