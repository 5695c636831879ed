//! [`Store`] on PostgreSQL 13 and newer.

mod changes;
mod connections;
mod hour_totals;
mod notify;
mod open;
mod reading;
mod record;
mod reprocess;
mod revise;
mod upkeep;

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgRow};
use sqlx::query::Query;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::names::{self, KnownNames};
use super::read::hour_totals::Range;
use super::{
    BatchId, BatchOutcome, JobFilter, Migrations, OpenStoreError, Ping, Recorder, Store, StoreError,
};
use crate::domain::{NewDelivery, Stats, Time};
use connections::Writers;
use open::try_write;

pub(super) use reprocess::{LOCK_JOB, lock, next_change, reprocess};
pub(super) use upkeep::{
    FORGET_BATCHES, PRUNE_OTHERS, PRUNE_SHOWN, copy_source, copy_target, inspect, roll_up,
};

const CANCEL: &str = "insert into batches (id, is_cancelled) values ($1, true) \
     on conflict (id) do update set id = excluded.id returning is_cancelled";

/// How often a batch is tried that the server rolls back to end a deadlock.
const TRIES: usize = 3;

/// PostgreSQL: connections that record batches, and a pool for everything else.
#[derive(Debug)]
pub struct PostgresStore {
    pub(super) names: KnownNames,
    pub(super) readers: PgPool,
    writers: Writers,
    options: PgConnectOptions,
    migrations: Migrations,
    is_prepared: AtomicBool,
    /// Continues even if nobody waits for it.
    preparing: Mutex<Option<JoinHandle<Result<(), OpenStoreError>>>>,
}

#[async_trait]
impl Store for PostgresStore {
    async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
    }
}

#[async_trait]
impl Ping for PostgresStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.prepare().await?;
        let mut writer = self.writers.lend().await?;
        let mut pinged = try_write(writer.connection()).await;
        if pinged.is_err() {
            // It may only have been idle for too long.
            writer = self.writers.open().await?;
            pinged = try_write(writer.connection()).await;
        }
        pinged?;
        self.writers.give_back(writer);
        Ok(())
    }
}

#[async_trait]
impl Recorder for PostgresStore {
    async fn record(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<BatchOutcome, StoreError> {
        for _ in 1..TRIES {
            match self.try_record(batch, id).await {
                Err(StoreError::Contended) => {}
                Err(StoreError::Locked(_)) => return Err(self.locked(batch).await),
                outcome => return outcome,
            }
        }
        self.try_record(batch, id).await
    }

    async fn cancel(&self, id: BatchId) -> Result<bool, StoreError> {
        self.prepare().await?;
        let mut writer = self.writers.lend().await?;
        let is_cancelled = sqlx::query_scalar(CANCEL)
            .bind(&id.0[..])
            .fetch_one(writer.connection())
            .await?;
        self.writers.give_back(writer);
        Ok(is_cancelled)
    }
}

impl PostgresStore {
    async fn pool(&self) -> Result<&PgPool, StoreError> {
        self.prepare().await?;
        Ok(&self.readers)
    }

    /// The rows of a query as values.
    pub(super) async fn list<T>(
        &self,
        query: Query<'_, Postgres, PgArguments>,
        read: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.all(query).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Executes a statement outside of recording; returns the number of rows.
    pub(super) async fn execute(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, StoreError> {
        let done = query.execute(self.pool().await?).await?;
        Ok(done.rows_affected())
    }

    /// Totals between each edge and the next, through `hour_totals`; `None` if the jobs must be
    /// added up.
    pub(super) async fn by_hours(
        &self,
        filter: &JobFilter,
        edges: &[Time],
    ) -> Result<Option<Vec<Stats>>, StoreError> {
        let Some(ranges) = Range::between(filter, edges) else {
            return Ok(None);
        };
        let mut reading = self.reading().await?;
        let timeline = hour_totals::timeline(&mut reading, &ranges).await;
        reading.finish();
        timeline
    }

    /// The error for a batch of which others have locked jobs.
    async fn locked(&self, batch: &[NewDelivery]) -> StoreError {
        let places = async {
            let mut writer = self.writers.lend().await?;
            let places = record::locked(writer.connection(), batch).await?;
            self.writers.give_back(writer);
            Ok::<_, StoreError>(places)
        };
        StoreError::Locked(places.await.unwrap_or_default())
    }

    async fn try_record(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<BatchOutcome, StoreError> {
        self.prepare().await?;
        let mut writer = self.writers.lend().await?;
        if self.names.has_news(batch) {
            names::learn_on_postgres(writer.connection(), &self.names, batch).await?;
        }
        let outcome = record::record(writer.connection(), batch, id).await?;
        self.writers.give_back(writer);
        Ok(outcome)
    }
}
