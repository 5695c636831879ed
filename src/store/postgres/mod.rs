//! [`Store`] on PostgreSQL 13 and newer. Reads like its sibling [`super::sqlite`], query by query.

mod filing;
mod open;

use async_trait::async_trait;
use sqlx::postgres::PgPool;
use sqlx::{Postgres, Row};

use super::tally::Standing;
use super::{
    DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page, Reader, Recorded, Reread, Store,
    StoreError, query, row,
};
use crate::domain::{AccountName, Delivery, DeliveryState, Job, MsgId, NewDelivery, Stats, Time};
use filing::{add_content, count_copy, file, keep, rebuild};

const LOCK_DELIVERY: &str = "select * from deliveries where id = $1 for update";

/// Changes nothing; refused, like every write, by a replica and by whoever lacks the right.
const TRY_WRITE: &str = "update deliveries set times = times where false";

/// PostgreSQL, through a pool of connections.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

#[async_trait]
impl Store for PostgresStore {
    async fn record(&self, delivery: &NewDelivery) -> Result<Recorded, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let (kept, standing) = keep(&mut transaction, delivery).await?;
        let is_counted = match standing {
            Standing::New => false,
            // However this copy was read: an older replica may not understand what a newer one has.
            Standing::Result => count_copy(&mut transaction, &kept, delivery.received_at).await?,
            Standing::Other => true,
        };
        if let Some(result) = delivery.reading.result().filter(|_| !is_counted) {
            add_content(&mut transaction, &kept, result, delivery.received_at).await?;
        }
        transaction.commit().await?;
        Ok(if kept.times == 1 {
            Recorded::New
        } else {
            Recorded::Duplicate
        })
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page<JobKey>) -> Result<Vec<Job>, StoreError> {
        let rows = query::jobs::<Postgres>(filter, page)
            .build()
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(row::job).collect::<Result<_, _>>()?)
    }

    async fn job(&self, account: &AccountName, msg_id: MsgId) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query(query::JOB)
            .bind(account.as_str())
            .bind(msg_id.get())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(row::job).transpose()?)
    }

    async fn job_deliveries(
        &self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = sqlx::query(query::JOB_DELIVERIES)
            .bind(account.as_str())
            .bind(msg_id.get())
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page<DeliveryKey>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = query::deliveries::<Postgres>(filter, page)
            .build()
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(row::delivery).collect::<Result<_, _>>()?)
    }

    async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError> {
        let row = query::stats::<Postgres>(filter)
            .build()
            .fetch_one(&self.pool)
            .await?;
        Ok(query::stats_of(&row)?)
    }

    async fn reread(
        &self,
        id: i64,
        read: Reader,
        now: Time,
        dry_run: bool,
    ) -> Result<Option<Reread>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let Some(row) = sqlx::query(LOCK_DELIVERY)
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?
        else {
            return Ok(None);
        };
        let before = row::delivery(&row)?;
        let was_result = row.try_get::<Option<Time>, _>("finished_at")?.is_some();
        let reading = read(&before.body);
        if before.state == DeliveryState::Stored && reading.state() == DeliveryState::Unparsed {
            let after = before.clone();
            return Ok(Some(Reread {
                before,
                after,
                job_changed: false,
            }));
        }
        let after = file(&mut transaction, id, &reading).await?;
        let mut jobs: Vec<MsgId> = Vec::new();
        jobs.extend(before.msg_id.filter(|_| was_result));
        jobs.extend(reading.result().map(|result| result.msg_id));
        jobs.sort_unstable();
        jobs.dedup();
        let mut job_changed = false;
        for msg_id in jobs {
            job_changed |= rebuild(&mut transaction, &before.account, msg_id, read, now).await?;
        }
        if dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok(Some(Reread {
            before,
            after,
            job_changed,
        }))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query(TRY_WRITE).execute(&self.pool).await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
