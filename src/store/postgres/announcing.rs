//! Word to and from other processes on the same database.

use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::PgListener;

use crate::store::{Announcements, StoreError};

/// Not in the transaction that files a batch: those that announce commit one after the other.
pub(super) const ANNOUNCE: &str = "notify qunfa_changes";

/// Listens on a connection of the pool.
pub(super) async fn listen(pool: &PgPool) -> Result<Listening, StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
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
