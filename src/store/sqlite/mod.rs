//! [`Store`] on an embedded SQLite file. Reads like its sibling [`super::postgres`], query by query.

mod backup;
mod filing;
mod open;
mod reading;
mod reprocess;
mod rolling_up;

pub use backup::BackupError;
pub(super) use open::open_file;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use sqlx::{Row, Sqlite, Transaction};

use super::copy::{CopySide, Side};
use super::hours::Part;
use super::names::KnownNames;
use super::{
    Announcements, BatchId, BatchOutcome, Change, ChangeKey, DeliveryFilter, DeliveryKey,
    Inspection, JobFilter, JobKey, Judge, LatestChange, NamedAccount, Page, Prunable, Prune,
    Pruned, Reprocessed, SealedTotal, Store, StoreError, StoredDelivery, changes, client_uses,
    hours, inspection, names, prune, query, row, sealed, totals,
};
use crate::domain::{
    AccountName, AccountStats, Accounts, ClientName, Delivery, Job, LastJob, MsgId, NewDelivery,
    ReasonStats, Stats, Time,
};

/// Takes the write lock at once, so that no transaction fails half-way because another has written.
pub(super) const BEGIN: &str = "begin immediate";

const PRUNE_SHOWN: &str = "update jobs set shown_body = null where rowid in ( \
         select rowid from jobs where shown_body is not null and shown_received_at < $1 \
         order by shown_received_at, shown_id limit $2)";

const PRUNE_OTHERS: &str = "delete from other_deliveries where id in ( \
         select id from other_deliveries where received_at < $1 and (state = 'stored' or state = 'unparsed' and $3 or state = 'sealed' and $4) \
         order by received_at, id limit $2)";

const LATEST_CHANGE: &str = "select last from delivery_ids";

const CANCEL: &str = "insert into batches (id, is_cancelled) values ($1, 1) \
     on conflict (id) do update set id = excluded.id returning is_cancelled";

const FORGET_BATCHES: &str = "delete from batches where id in ( \
         select id from batches where filed_at < cast(unixepoch('subsec') * 1000 as integer) - $1 order by filed_at limit $2)";

/// One SQLite file: one connection that writes, and some that read.
#[derive(Debug)]
pub struct SqliteStore {
    names: KnownNames,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with(BEGIN).await?)
    }

    async fn by_hours(&self, parts: &[Part]) -> Result<Option<Vec<Stats>>, StoreError> {
        let mut connection = self.reading().await?;
        rolling_up::timeline(&mut connection, parts).await
    }
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
    async fn record(
        &self,
        batch: &[NewDelivery],
        id: Option<BatchId>,
    ) -> Result<BatchOutcome, StoreError> {
        if self.names.has_news(batch) {
            // In transactions of their own: what is known must be in the database.
            let mut writer = self.writer.acquire().await?;
            names::learn_on_sqlite(&mut writer, &self.names, batch).await?;
        }
        let mut transaction = self.begin().await?;
        let outcome = filing::record(&mut transaction, batch, id).await?;
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

    async fn forget_batches(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let done = sqlx::query(FORGET_BATCHES)
            .bind(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected())
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page<JobKey>) -> Result<Vec<Job>, StoreError> {
        if let Some(changed_after) = filter.changed_in_any_account() {
            let query = sqlx::query(query::MANY_CHANGED).bind(changed_after);
            let rows = self.all(query).await?;
            if rows[0].try_get(0)? {
                let rows = self
                    .all(query::recent_jobs::<Sqlite>(filter, changed_after, page).build())
                    .await?;
                if rows.len() >= page.limit as usize {
                    return Ok(rows.iter().map(row::job).collect::<Result<_, _>>()?);
                }
            }
        }
        let rows = self
            .all(query::jobs::<Sqlite>(filter, page).build())
            .await?;
        Ok(rows.iter().map(row::job).collect::<Result<_, _>>()?)
    }

    async fn job(&self, account: &AccountName, msg_id: MsgId) -> Result<Option<Job>, StoreError> {
        let query = sqlx::query(query::JOB)
            .bind(account.as_str())
            .bind(msg_id.get());
        let rows = self.all(query).await?;
        Ok(rows.first().map(row::job).transpose()?)
    }

    async fn job_deliveries(
        &self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Vec<Delivery>, StoreError> {
        let query = sqlx::query(query::JOB_DELIVERIES)
            .bind(account.as_str())
            .bind(msg_id.get());
        let rows = self.all(query).await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = self
            .all(query::deliveries::<Sqlite>(filter, page).build())
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn last_jobs(&self) -> Result<Vec<LastJob>, StoreError> {
        let rows = self.all(sqlx::query(query::LAST_JOBS)).await?;
        Ok(rows.iter().map(row::last_job).collect::<Result<_, _>>()?)
    }

    async fn sealed(&self) -> Result<Vec<SealedTotal>, StoreError> {
        let rows = sqlx::query(sealed::TOTALS).fetch_all(&self.readers).await?;
        Ok(rows.iter().map(sealed::total).collect::<Result<_, _>>()?)
    }

    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError> {
        if let Some(part) = hours::part(filter)
            && let Some(timeline) = self.by_hours(&[part]).await?
        {
            return Ok(timeline[0]);
        }
        let rows = self.all(totals::stats::<Sqlite>(filter).build()).await?;
        Ok(totals::stats_of(&rows[0])?)
    }

    async fn timeline(&self, filter: &JobFilter, edges: &[Time]) -> Result<Vec<Stats>, StoreError> {
        if let Some(parts) = hours::parts(filter, edges)
            && let Some(timeline) = self.by_hours(&parts).await?
        {
            return Ok(timeline);
        }
        let rows = self
            .all(totals::timeline_in_sqlite(filter, edges).build())
            .await?;
        Ok(totals::timeline_of(&rows, edges.len().saturating_sub(1))?)
    }

    async fn roll_up(&self, limit: u32) -> Result<bool, StoreError> {
        // Without the lock, for which those who file would wait.
        let mut reader = self.readers.acquire().await?;
        let (_, are_some) = rolling_up::rolled_up(&mut reader, 0).await?;
        if !are_some {
            return Ok(false);
        }
        drop(reader);
        let mut transaction = self.begin().await?;
        let are_more = rolling_up::roll_up(&mut transaction, limit).await?;
        transaction.commit().await?;
        Ok(are_more)
    }

    async fn reasons(&self, filter: &JobFilter) -> Result<Vec<ReasonStats>, StoreError> {
        let rows = self.all(totals::reasons::<Sqlite>(filter).build()).await?;
        Ok(rows
            .iter()
            .map(totals::reason_of)
            .collect::<Result<_, _>>()?)
    }

    async fn accounts(&self, filter: &JobFilter) -> Result<Vec<AccountStats>, StoreError> {
        let rows = self.all(totals::accounts::<Sqlite>(filter).build()).await?;
        Ok(rows
            .iter()
            .map(totals::account_of)
            .collect::<Result<_, _>>()?)
    }

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
        let rows = changes::changes::<Sqlite>(accounts, after, i64::MAX, limit)
            .build()
            .fetch_all(&mut *self.reading().await?)
            .await?;
        Ok(rows.iter().map(row::change).collect::<Result<_, _>>()?)
    }

    async fn newest_change(
        &self,
        accounts: &Accounts,
        until: ChangeKey,
        but: u32,
    ) -> Result<Option<ChangeKey>, StoreError> {
        let row = changes::newest::<Sqlite>(accounts, until, but)
            .build()
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(row::change_key).transpose()?)
    }

    async fn stream_key(&self) -> Result<[u8; 16], StoreError> {
        let row = sqlx::query(changes::STREAM_KEY)
            .fetch_one(&self.readers)
            .await?;
        Ok(row::stream_key(&row)?)
    }

    /// A file has one server; what the commands change, it finds by looking.
    async fn announce(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        Ok(Box::new(Silence))
    }

    async fn stored(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let mut others = query::stored_others(filter, page);
        let others = others.build().fetch_all(&self.readers).await?;
        let mut stored = Vec::with_capacity(2 * others.len());
        for row in &others {
            stored.push(row::stored_other(row)?);
        }
        if let Some(mut shown) = query::stored_shown(filter, page) {
            for row in &shown.build().fetch_all(&self.readers).await? {
                stored.push(row::stored_shown(row)?);
            }
        }
        Ok(StoredDelivery::page(stored, page))
    }

    async fn reprocess(
        &self,
        batch: &[StoredDelivery],
        judge: &Judge<'_>,
        now: Time,
        dry_run: bool,
    ) -> Result<Vec<Option<Reprocessed>>, StoreError> {
        let transaction = self.begin().await?;
        reprocess::reprocess(transaction, batch, judge, now, dry_run).await
    }

    async fn prunable(
        &self,
        prune: &Prune,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Prunable>, StoreError> {
        let (time, id) = match &page.after {
            Some(key) => (key.received_at, key.id),
            None => (Time::EPOCH, 0),
        };
        let rows = sqlx::query(prune::PRUNABLE)
            .bind(prune.received_before)
            .bind(prune.unparsed)
            .bind(time)
            .bind(id)
            .bind(i64::from(page.limit))
            .bind(prune.sealed)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(prune::prunable).collect::<Result<_, _>>()?)
    }

    async fn prune(&self, prune: &Prune, limit: u32) -> Result<Pruned, StoreError> {
        let shown = sqlx::query(PRUNE_SHOWN)
            .bind(prune.received_before)
            .bind(i64::from(limit))
            .execute(&self.writer)
            .await?;
        let others = sqlx::query(PRUNE_OTHERS)
            .bind(prune.received_before)
            .bind(i64::from(limit))
            .bind(prune.unparsed)
            .bind(prune.sealed)
            .execute(&self.writer)
            .await?;
        Ok(Pruned {
            shown: shown.rows_affected(),
            others: others.rows_affected(),
        })
    }

    async fn copy_source(&self) -> Result<CopySide, StoreError> {
        let transaction = self.readers.begin().await?;
        Ok(CopySide::new(Side::Sqlite(transaction)))
    }

    async fn copy_target(&self) -> Result<CopySide, StoreError> {
        Ok(CopySide::new(Side::Sqlite(self.begin().await?)))
    }

    async fn withdraw(
        &self,
        account: &AccountName,
        msg_id: MsgId,
        body_sha256: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(inspection::WITHDRAW)
            .bind(account.as_str())
            .bind(msg_id.get())
            .bind(&body_sha256[..])
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn withdraw_sealed(
        &self,
        account: &AccountName,
        body_sha256: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(inspection::WITHDRAW_SEALED)
            .bind(account.as_str())
            .bind(&body_sha256[..])
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn account_names(&self) -> Result<Vec<NamedAccount>, StoreError> {
        let rows = sqlx::query(names::ALL).fetch_all(&self.readers).await?;
        Ok(rows
            .iter()
            .map(names::named_account)
            .collect::<Result<_, _>>()?)
    }

    async fn set_account_name(&self, account: &AccountName, name: &str) -> Result<(), StoreError> {
        sqlx::query(names::SET)
            .bind(account.as_str())
            .bind(name)
            .execute(&self.writer)
            .await?;
        self.names.set(account, name.to_owned());
        Ok(())
    }

    async fn note_client_use(&self, client: &ClientName, used_at: Time) -> Result<(), StoreError> {
        sqlx::query(client_uses::NOTE)
            .bind(client.as_str())
            .bind(used_at)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn client_uses(&self) -> Result<BTreeMap<String, Time>, StoreError> {
        let rows = sqlx::query(client_uses::ALL)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows
            .iter()
            .map(client_uses::client_use)
            .collect::<Result<_, _>>()?)
    }

    async fn inspect(&self) -> Result<Inspection, StoreError> {
        let row = sqlx::query(inspection::SQLITE)
            .fetch_one(&self.writer)
            .await?;
        Ok(inspection::of_sqlite(&row)?)
    }

    /// Takes the write lock and gives it back: an event could be written.
    async fn ping(&self) -> Result<(), StoreError> {
        self.begin().await?.rollback().await?;
        Ok(())
    }

    fn readers(&self) -> usize {
        usize::try_from(open::READERS).unwrap_or(usize::MAX)
    }

    fn connections(&self) -> (usize, usize) {
        let open = usize::try_from(self.readers.size()).unwrap_or(usize::MAX);
        (open, self.readers.num_idle())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
