//! Word to and from other processes on the same database.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::store::{Announcements, StoreError};

/// Not in the transaction that files a batch: those that announce commit one after the other.
pub(super) const ANNOUNCE: &str = "notify qunfa_changes";

/// How long the server may take to let us in.
const PATIENCE: Duration = Duration::from_secs(3);

/// Listens on a connection of its own: one that falls silent takes no place in the pool.
pub(super) async fn listen(options: &PgConnectOptions) -> Result<Listening, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("qunfa_changes").await?;
    Ok(Listening(listener))
}

pub(super) struct Listening(PgListener);

#[async_trait]
impl Announcements for Listening {
    async fn next(&mut self) -> Result<(), StoreError> {
        // None when the connection was lost and made again: something may have been said meanwhile.
        self.0.try_recv().await?;
        Ok(())
    }
}
