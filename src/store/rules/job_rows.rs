//! The row operations that reprocessing is written in.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use super::statements;
use super::tally::{Content, Tally};
use crate::domain::{AccountName, Delivery, MsgId, Time};
use crate::store::dialect::{Column, StoreRow};
use crate::store::row::{self, JobUpdate, StoredJob, Updated};
use crate::store::{DeliveryKey, StoreError, names, postgres, sqlite};

/// A transaction that changes rows of `jobs` and `other_deliveries`.
#[async_trait]
pub(in crate::store) trait JobRows: Send {
    /// Locks jobs, which are sorted, and rows of `other_deliveries` until the end of the
    /// transaction.
    async fn lock(
        &mut self,
        jobs: &[(AccountName, MsgId)],
        others: &[i64],
    ) -> Result<(), StoreError>;

    /// A delivery, and its `CreateTime` if it counts in a job.
    async fn find(
        &mut self,
        key: &DeliveryKey,
    ) -> Result<Option<(Delivery, Option<Time>)>, StoreError>;

    /// A job, locked until the end of the transaction.
    async fn job(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Option<StoredJob>, StoreError>;

    /// The contents of a job that it does not show, each with its `CreateTime`.
    async fn other_contents(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> Result<Vec<(Delivery, Time)>, StoreError>;

    /// The `ToUserName` of the WeChat account that belongs to an account.
    async fn account_name(&mut self, account: &AccountName) -> Result<Option<String>, StoreError>;

    /// Remembers the `ToUserName` of an account that has none yet.
    async fn remember_name(&mut self, account: &AccountName, name: &str) -> Result<(), StoreError>;

    /// The number of a change that this transaction makes.
    async fn next_change(&mut self) -> Result<i64, StoreError>;

    /// Copies the delivery that a job shows into `other_deliveries`, unless its body was pruned.
    async fn demote(&mut self, account: &AccountName, msg_id: MsgId) -> Result<(), StoreError>;

    /// Inserts into `other_deliveries`, or adds the copies to the row with the same content;
    /// returns that row.
    async fn keep_other(
        &mut self,
        delivery: &Delivery,
        finished_at: Option<Time>,
    ) -> Result<Delivery, StoreError>;

    /// Removes a job result from `other_deliveries` and returns it with its `CreateTime`.
    async fn take_other(&mut self, id: i64) -> Result<(Delivery, Time), StoreError>;

    async fn delete_other(&mut self, id: i64) -> Result<(), StoreError>;

    /// Inserts a job, or updates the existing one if `may_exist`; false if it exists and may not.
    async fn show(&mut self, update: &JobUpdate<'_>, may_exist: bool) -> Result<bool, StoreError>;

    /// Updates a job's sums.
    async fn count(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
        tally: &Tally,
        updated: Updated,
    ) -> Result<(), StoreError>;

    /// Updates the copies of the content that a job shows.
    async fn count_shown(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
        shown: &Content,
    ) -> Result<(), StoreError>;

    async fn delete_job(&mut self, account: &AccountName, msg_id: MsgId) -> Result<(), StoreError>;
}

/// A delivery with its `CreateTime`.
fn content<T: Column>(row: &impl StoreRow) -> Result<(Delivery, T), sqlx::Error> {
    Ok((row::delivery(row)?, row.value("finished_at")?))
}

/// `$module` has what the databases do differently.
macro_rules! job_rows {
    ($connection:ty, $module:ident) => {
        #[async_trait]
        impl JobRows for $connection {
            async fn lock(
                &mut self,
                jobs: &[(AccountName, MsgId)],
                others: &[i64],
            ) -> Result<(), StoreError> {
                $module::lock(self, jobs, others).await
            }

            async fn find(
                &mut self,
                key: &DeliveryKey,
            ) -> Result<Option<(Delivery, Option<Time>)>, StoreError> {
                let row = sqlx::query(statements::DELIVERY)
                    .bind(key.id)
                    .bind(key.received_at)
                    .fetch_optional(self)
                    .await?;
                Ok(row.as_ref().map(content).transpose()?)
            }

            async fn job(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Option<StoredJob>, StoreError> {
                let row = sqlx::query($module::LOCK_JOB)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .fetch_optional(self)
                    .await?;
                Ok(row.as_ref().map(row::stored_job).transpose()?)
            }

            async fn other_contents(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Vec<(Delivery, Time)>, StoreError> {
                let rows = sqlx::query(statements::OTHER_CONTENTS)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .fetch_all(self)
                    .await?;
                Ok(rows.iter().map(content).collect::<Result<_, _>>()?)
            }

            async fn account_name(
                &mut self,
                account: &AccountName,
            ) -> Result<Option<String>, StoreError> {
                let name = sqlx::query_scalar(names::NAME).bind(account.as_str());
                Ok(name.fetch_optional(self).await?)
            }

            async fn remember_name(
                &mut self,
                account: &AccountName,
                name: &str,
            ) -> Result<(), StoreError> {
                let remember = sqlx::query(names::REMEMBER)
                    .bind(account.as_str())
                    .bind(name);
                remember.execute(self).await?;
                Ok(())
            }

            async fn next_change(&mut self) -> Result<i64, StoreError> {
                $module::next_change(self).await
            }

            async fn demote(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<(), StoreError> {
                let demote = sqlx::query(statements::DEMOTE)
                    .bind(account.as_str())
                    .bind(msg_id.get());
                demote.execute(self).await?;
                Ok(())
            }

            async fn keep_other(
                &mut self,
                delivery: &Delivery,
                finished_at: Option<Time>,
            ) -> Result<Delivery, StoreError> {
                let row = sqlx::query(statements::KEEP_OTHER)
                    .bind(delivery.id)
                    .bind(delivery.account.as_str())
                    .bind(&delivery.body_sha256[..])
                    .bind(&delivery.body[..])
                    .bind(delivery.state.as_str())
                    .bind(delivery.event.as_deref())
                    .bind(delivery.msg_id.map(MsgId::get))
                    .bind(delivery.error.as_deref())
                    .bind(finished_at)
                    .bind(delivery.received_at)
                    .bind(delivery.last_received_at)
                    .bind(delivery.times)
                    .fetch_one(self)
                    .await?;
                Ok(row::delivery(&row)?)
            }

            async fn take_other(&mut self, id: i64) -> Result<(Delivery, Time), StoreError> {
                let take = sqlx::query(statements::TAKE_OTHER).bind(id);
                Ok(content(&take.fetch_one(self).await?)?)
            }

            async fn delete_other(&mut self, id: i64) -> Result<(), StoreError> {
                let delete = sqlx::query(statements::DELETE_OTHER).bind(id);
                delete.execute(self).await?;
                Ok(())
            }

            async fn show(
                &mut self,
                update: &JobUpdate<'_>,
                may_exist: bool,
            ) -> Result<bool, StoreError> {
                let show = row::bind_job(sqlx::query(statements::SHOW), update).bind(may_exist);
                Ok(show.execute(self).await?.rows_affected() == 1)
            }

            async fn count(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
                tally: &Tally,
                updated: Updated,
            ) -> Result<(), StoreError> {
                sqlx::query(statements::COUNT)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .bind(tally.first_received_at)
                    .bind(tally.last_received_at)
                    .bind(tally.deliveries)
                    .bind(tally.revision)
                    .bind(updated.at)
                    .bind(updated.change)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn count_shown(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
                shown: &Content,
            ) -> Result<(), StoreError> {
                sqlx::query(statements::COUNT_SHOWN)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .bind(shown.times)
                    .bind(shown.received_at)
                    .bind(shown.last_received_at)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn delete_job(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<(), StoreError> {
                let delete = sqlx::query(statements::DELETE_JOB)
                    .bind(account.as_str())
                    .bind(msg_id.get());
                delete.execute(self).await?;
                Ok(())
            }
        }
    };
}

job_rows!(SqliteConnection, sqlite);
job_rows!(PgConnection, postgres);
