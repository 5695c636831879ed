//! [`Store`] on an embedded SQLite file.

mod backup;
mod hour_totals;
mod open;
mod reading;
mod record;
mod reprocess;
mod upkeep;

pub use backup::BackupError;
pub(super) use open::open_file;
pub(super) use record::next_change;
pub(super) use reprocess::{LOCK_JOB, lock, reprocess};
pub(super) use upkeep::{
    FORGET_BATCHES, PRUNE_OTHERS, PRUNE_SHOWN, copy_source, copy_target, inspect, roll_up,
};

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Sqlite, Transaction};

use super::names::{self, KnownNames};
use super::read::changes;
use super::read::hour_totals::Range;
use super::{
    Announcements, BatchId, BatchOutcome, Change, ChangeFeed, ChangeKey, JobFilter, LatestChange,
    Ping, Recorder, Store, StoreError, row, sealed,
};
use crate::domain::{Accounts, NewDelivery, Stats, Time};

/// Takes the write lock at once, so that no transaction fails half-way because another has written.
pub(super) const BEGIN: &str = "begin immediate";

const LATEST_CHANGE: &str = "select last from delivery_ids";

const CANCEL: &str = "insert into batches (id, is_cancelled) values ($1, 1) \
     on conflict (id) do update set id = excluded.id returning is_cancelled";

/// One SQLite file: one connection that writes, and some that read.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) names: KnownNames,
    pub(super) readers: SqlitePool,
    writer: SqlitePool,
}

/// Nobody announces anything.
struct Silence;

#[async_trait]
impl Announcements for Silence {
    async fn next(&mut self) -> Result<(), StoreError> {
        std::future::pending().await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl Ping for SqliteStore {
    /// Takes the write lock and releases it.
    async fn ping(&self) -> Result<(), StoreError> {
        self.begin().await?.rollback().await?;
        Ok(())
    }
}

#[async_trait]
impl Recorder for SqliteStore {
    async fn record(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<BatchOutcome, StoreError> {
        if self.names.has_news(batch) {
            // In its own transactions: what is known must be in the database.
            let mut writer = self.writer.acquire().await?;
            names::learn_on_sqlite(&mut writer, &self.names, batch).await?;
        }
        let mut transaction = self.begin().await?;
        let outcome = record::record(&mut transaction, batch, id).await?;
        if matches!(outcome, BatchOutcome::Recorded(_)) {
            sealed::limit_on_sqlite(&mut transaction, batch).await?;
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn cancel(&self, id: BatchId) -> Result<bool, StoreError> {
        let is_cancelled = sqlx::query_scalar(CANCEL)
            .bind(&id.0[..])
            .fetch_one(&self.writer)
            .await?;
        Ok(is_cancelled)
    }
}

/// There is one writer, so the numbers of changes come in the order of commits.
#[async_trait]
impl ChangeFeed for SqliteStore {
    async fn latest_change(&self) -> Result<LatestChange, StoreError> {
        let latest: i64 = sqlx::query_scalar(LATEST_CHANGE)
            .fetch_one(&self.readers)
            .await?;
        let latest = ChangeKey::before(latest + 1);
        Ok(LatestChange {
            settled: latest,
            given_out: latest,
        })
    }

    async fn changes(
        &self,
        accounts: &Accounts,
        after: ChangeKey,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let mut changes = changes::changes::<Sqlite>(accounts, after, i64::MAX, limit);
        self.list(changes.build(), row::change).await
    }

    async fn newest_change(
        &self,
        accounts: &Accounts,
        until: ChangeKey,
        but: u32,
    ) -> Result<Option<ChangeKey>, StoreError> {
        let mut newest = changes::newest::<Sqlite>(accounts, until, but);
        Ok(self.list(newest.build(), row::change_key).await?.pop())
    }

    /// A file has one server, which finds what the commands change by looking.
    async fn announce(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        Ok(Box::new(Silence))
    }
}

impl SqliteStore {
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with(BEGIN).await?)
    }

    /// The rows of a query as values.
    pub(super) async fn list<T>(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
        read: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.all(query).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Executes a statement; returns the number of rows.
    pub(super) async fn execute(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<u64, StoreError> {
        Ok(query.execute(&self.writer).await?.rows_affected())
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
        let mut connection = self.reading().await?;
        hour_totals::timeline(&mut connection, &ranges).await
    }
}
