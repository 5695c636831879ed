//! [`Store`] on PostgreSQL 13 and newer. Reads like its sibling [`super::sqlite`], query by query.

mod announcing;
mod filing;
mod open;
mod reading;
mod reprocess;
mod revising;
mod rolling_up;
mod writers;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Postgres, Row};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::copy::{CopySide, Side};
use super::hours::Part;
use super::names::KnownNames;
use super::{
    Announcements, BatchId, BatchOutcome, Change, ChangeKey, DeliveryFilter, DeliveryKey,
    Inspection, JobFilter, JobKey, Judge, LatestChange, Migrations, NamedAccount, OpenStoreError,
    Page, Prunable, Prune, Pruned, Reprocessed, SealedTotal, Store, StoreError, StoredDelivery,
    changes, client_uses, hours, inspection, names, prune, query, row, sealed, totals,
};
use crate::domain::{
    AccountName, AccountStats, Accounts, ClientName, Delivery, Job, LastJob, MsgId, NewDelivery,
    ReasonStats, Stats, Time,
};
use open::try_write;
use writers::Writers;

/// Rows that others have locked are left out: it waits for nobody, so that it takes part in no deadlock.
const PRUNE_SHOWN: &str = "with old as materialized ( \
         select account, msg_id from jobs where shown_body is not null and shown_received_at < $1 \
         order by shown_received_at, shown_id limit $2 for update skip locked \
     ) \
     update jobs set shown_body = null from old where jobs.account = old.account and jobs.msg_id = old.msg_id";

const PRUNE_OTHERS: &str = "with old as materialized ( \
         select id from other_deliveries where received_at < $1 and (state = 'stored' or state = 'unparsed' and $3 or state = 'sealed' and $4) \
         order by received_at, id limit $2 for update skip locked \
     ) \
     delete from other_deliveries using old where other_deliveries.id = old.id";

macro_rules! lowest_number {
    ($xid:literal, $from:literal) => {
        concat!(
            "select min(case when id < lifted_at then base_before else base end + id) as number, count(*) as transactions \
             from (select next - ((next - ",
            $xid,
            "::text::bigint) & 4294967295) as id from ",
            $from,
            ") as ids where next - id < 2147483648"
        )
    };
}

/// `first_open`: the lowest number of a transaction in this database that is under way or prepared, or that of the next. It
/// only rises. Transactions in other databases of the server do not hold it back. Ids are compared as PostgreSQL does: half
/// of 2^32 are ahead. `next`: no number that was given out is as high.
///
/// Prepared transactions are looked up last, or one would be overlooked that is prepared between the two: hence the
/// reference to the count.
const FIRST_OPEN_CHANGE: &str = concat!(
    "select least(base + next, open.number, (select number from (",
    lowest_number!(
        "transaction",
        "pg_prepared_xacts where database = current_database() and open.transactions >= 0"
    ),
    ") as prepared)) as first_open, base + next as next \
     from (select *, pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next from change_numbers) as numbers \
     cross join lateral (",
    lowest_number!(
        "backend_xid",
        "pg_stat_activity where datname = current_database() and backend_xid is not null"
    ),
    ") as open"
);

const BEGIN_SNAPSHOT: &str = "begin isolation level repeatable read read only";

/// A statement over everything takes longer than those that somebody waits for.
const TAKE_TIME: &str = "select set_config('statement_timeout', '10min', true), \
     set_config('idle_in_transaction_session_timeout', '10min', true)";

/// Readers wait, too, rather than find nothing there.
const LOCK_ALL: &str =
    "lock table account_names, rolled_up, jobs, other_deliveries, batches in access exclusive mode";

const CANCEL: &str = "insert into batches (id, is_cancelled) values ($1, true) \
     on conflict (id) do update set id = excluded.id returning is_cancelled";

const FORGET_BATCHES: &str = "with old as materialized ( \
         select id from batches where filed_at < now() - $1 * interval '1 second' \
         order by filed_at limit $2 for update skip locked \
     ) \
     delete from batches using old where batches.id = old.id";

/// How often a batch is tried again that the server has rolled back to end a deadlock.
const TRIES: usize = 3;

/// PostgreSQL: connections that file batches, and a pool for all else.
#[derive(Debug)]
pub struct PostgresStore {
    writers: Writers,
    names: KnownNames,
    pool: PgPool,
    options: PgConnectOptions,
    migrations: Migrations,
    is_prepared: AtomicBool,
    /// Is under way, whoever waits for it.
    preparing: Mutex<Option<JoinHandle<Result<(), OpenStoreError>>>>,
}

#[async_trait]
impl Store for PostgresStore {
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

    async fn forget_batches(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let done = sqlx::query(FORGET_BATCHES)
            .bind(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .execute(self.pool().await?)
            .await?;
        Ok(done.rows_affected())
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page<JobKey>) -> Result<Vec<Job>, StoreError> {
        if let Some(changed_after) = filter.changed_in_any_account() {
            let query = sqlx::query(query::MANY_CHANGED).bind(changed_after);
            let rows = self.all(query).await?;
            if rows[0].try_get(0)? {
                let rows = self
                    .all(query::recent_jobs::<Postgres>(filter, changed_after, page).build())
                    .await?;
                if rows.len() >= page.limit as usize {
                    return Ok(rows.iter().map(row::job).collect::<Result<_, _>>()?);
                }
            }
        }
        let rows = self
            .all(query::jobs::<Postgres>(filter, page).build())
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
            .all(query::deliveries::<Postgres>(filter, page).build())
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn last_jobs(&self) -> Result<Vec<LastJob>, StoreError> {
        let rows = self.all(sqlx::query(query::LAST_JOBS)).await?;
        Ok(rows.iter().map(row::last_job).collect::<Result<_, _>>()?)
    }

    async fn sealed(&self) -> Result<Vec<SealedTotal>, StoreError> {
        let rows = sqlx::query(sealed::TOTALS)
            .fetch_all(self.pool().await?)
            .await?;
        Ok(rows.iter().map(sealed::total).collect::<Result<_, _>>()?)
    }

    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError> {
        if let Some(part) = hours::part(filter)
            && let Some(timeline) = self.by_hours(&[part]).await?
        {
            return Ok(timeline[0]);
        }
        let rows = self.all(totals::stats::<Postgres>(filter).build()).await?;
        Ok(totals::stats_of(&rows[0])?)
    }

    async fn timeline(&self, filter: &JobFilter, edges: &[Time]) -> Result<Vec<Stats>, StoreError> {
        if let Some(parts) = hours::parts(filter, edges)
            && let Some(timeline) = self.by_hours(&parts).await?
        {
            return Ok(timeline);
        }
        let rows = self
            .all(totals::timeline_in_postgres(filter, edges).build())
            .await?;
        Ok(rows
            .iter()
            .map(totals::stats_of)
            .collect::<Result<_, _>>()?)
    }

    async fn roll_up(&self, limit: u32) -> Result<bool, StoreError> {
        let mut connection = self.pool().await?.acquire().await?;
        rolling_up::roll_up(&mut connection, limit).await
    }

    async fn reasons(&self, filter: &JobFilter) -> Result<Vec<ReasonStats>, StoreError> {
        let rows = self
            .all(totals::reasons::<Postgres>(filter).build())
            .await?;
        Ok(rows
            .iter()
            .map(totals::reason_of)
            .collect::<Result<_, _>>()?)
    }

    async fn accounts(&self, filter: &JobFilter) -> Result<Vec<AccountStats>, StoreError> {
        let rows = self
            .all(totals::accounts::<Postgres>(filter).build())
            .await?;
        Ok(rows
            .iter()
            .map(totals::account_of)
            .collect::<Result<_, _>>()?)
    }

    async fn latest_change(&self) -> Result<LatestChange, StoreError> {
        let row = sqlx::query(FIRST_OPEN_CHANGE)
            .fetch_one(self.pool().await?)
            .await?;
        let next: i64 = row.try_get("next")?;
        Ok(LatestChange {
            settled: ChangeKey::before(row.try_get("first_open")?),
            given_out: ChangeKey::before(next),
        })
    }

    async fn changes(
        &self,
        accounts: &Accounts,
        after: ChangeKey,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let mut connection = self.pool().await?.acquire().await?;
        // In a statement of its own, before: what is over by now is seen by the next one.
        let first_open: i64 = sqlx::query_scalar(FIRST_OPEN_CHANGE)
            .fetch_one(&mut *connection)
            .await?;
        let rows = changes::changes::<Postgres>(accounts, after, first_open, limit)
            .build()
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(row::change).collect::<Result<_, _>>()?)
    }

    async fn newest_change(
        &self,
        accounts: &Accounts,
        until: ChangeKey,
        but: u32,
    ) -> Result<Option<ChangeKey>, StoreError> {
        let row = changes::newest::<Postgres>(accounts, until, but)
            .build()
            .fetch_optional(self.pool().await?)
            .await?;
        Ok(row.as_ref().map(row::change_key).transpose()?)
    }

    async fn stream_key(&self) -> Result<[u8; 16], StoreError> {
        let row = sqlx::query(changes::STREAM_KEY)
            .fetch_one(self.pool().await?)
            .await?;
        Ok(row::stream_key(&row)?)
    }

    async fn announce(&self) -> Result<(), StoreError> {
        sqlx::query(announcing::ANNOUNCE)
            .execute(self.pool().await?)
            .await?;
        Ok(())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        self.prepare().await?;
        Ok(Box::new(announcing::listen(&self.options).await?))
    }

    async fn stored(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let mut others = query::stored_others(filter, page);
        let others = others.build().fetch_all(self.pool().await?).await?;
        let mut stored = Vec::with_capacity(2 * others.len());
        for row in &others {
            stored.push(row::stored_other(row)?);
        }
        if let Some(mut shown) = query::stored_shown(filter, page) {
            for row in &shown.build().fetch_all(self.pool().await?).await? {
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
        let mut connection = self.pool().await?.acquire().await?;
        reprocess::reprocess(&mut connection, batch, judge, now, dry_run).await
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
            .fetch_all(self.pool().await?)
            .await?;
        Ok(rows.iter().map(prune::prunable).collect::<Result<_, _>>()?)
    }

    async fn prune(&self, prune: &Prune, limit: u32) -> Result<Pruned, StoreError> {
        let shown = sqlx::query(PRUNE_SHOWN)
            .bind(prune.received_before)
            .bind(i64::from(limit))
            .execute(self.pool().await?)
            .await?;
        let others = sqlx::query(PRUNE_OTHERS)
            .bind(prune.received_before)
            .bind(i64::from(limit))
            .bind(prune.unparsed)
            .bind(prune.sealed)
            .execute(self.pool().await?)
            .await?;
        Ok(Pruned {
            shown: shown.rows_affected(),
            others: others.rows_affected(),
        })
    }

    async fn copy_source(&self) -> Result<CopySide, StoreError> {
        let mut transaction = self.pool().await?.begin_with(BEGIN_SNAPSHOT).await?;
        sqlx::query(TAKE_TIME).execute(&mut *transaction).await?;
        Ok(CopySide::new(Side::Postgres(transaction)))
    }

    async fn copy_target(&self) -> Result<CopySide, StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        sqlx::query(TAKE_TIME).execute(&mut *transaction).await?;
        sqlx::query(LOCK_ALL).execute(&mut *transaction).await?;
        Ok(CopySide::new(Side::Postgres(transaction)))
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
            .execute(self.pool().await?)
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
            .execute(self.pool().await?)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn account_names(&self) -> Result<Vec<NamedAccount>, StoreError> {
        let rows = sqlx::query(names::ALL)
            .fetch_all(self.pool().await?)
            .await?;
        Ok(rows
            .iter()
            .map(names::named_account)
            .collect::<Result<_, _>>()?)
    }

    async fn set_account_name(&self, account: &AccountName, name: &str) -> Result<(), StoreError> {
        sqlx::query(names::SET)
            .bind(account.as_str())
            .bind(name)
            .execute(self.pool().await?)
            .await?;
        self.names.set(account, name.to_owned());
        Ok(())
    }

    async fn note_client_use(&self, client: &ClientName, used_at: Time) -> Result<(), StoreError> {
        sqlx::query(client_uses::NOTE)
            .bind(client.as_str())
            .bind(used_at)
            .execute(self.pool().await?)
            .await?;
        Ok(())
    }

    async fn client_uses(&self) -> Result<BTreeMap<String, Time>, StoreError> {
        let rows = sqlx::query(client_uses::ALL)
            .fetch_all(self.pool().await?)
            .await?;
        Ok(rows
            .iter()
            .map(client_uses::client_use)
            .collect::<Result<_, _>>()?)
    }

    async fn inspect(&self) -> Result<Inspection, StoreError> {
        let row = sqlx::query(inspection::POSTGRES)
            .fetch_one(self.pool().await?)
            .await?;
        Ok(inspection::of_postgres(&row)?)
    }

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

    fn readers(&self) -> usize {
        usize::try_from(open::MAX_CONNECTIONS).unwrap_or(usize::MAX)
    }

    fn connections(&self) -> (usize, usize) {
        let open = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        (open, self.pool.num_idle())
    }

    async fn close(&self) {
        self.writers.close().await;
        self.pool.close().await;
    }
}

impl PostgresStore {
    async fn pool(&self) -> Result<&PgPool, StoreError> {
        self.prepare().await?;
        Ok(&self.pool)
    }

    async fn by_hours(&self, parts: &[Part]) -> Result<Option<Vec<Stats>>, StoreError> {
        let mut reading = self.reading().await?;
        let timeline = rolling_up::timeline(&mut reading, parts).await;
        reading.finish();
        timeline
    }

    /// What to say of a batch that others have locked something of.
    async fn locked(&self, batch: &[NewDelivery]) -> StoreError {
        let places = async {
            let mut writer = self.writers.lend().await?;
            let places = filing::locked(writer.connection(), batch).await?;
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
        let outcome = filing::record(writer.connection(), batch, id).await?;
        self.writers.give_back(writer);
        Ok(outcome)
    }
}
