//! The row operations that the rules about jobs are written in, so that each rule exists once for both databases.

use crate::domain::{AccountName, Delivery, Job, MsgId, Time};

use super::tally::{Content, Tally};
use crate::store::row::{Showing, Standing, Updated};
use crate::store::{DeliveryKey, StoreError};

/// Takes a delivery out of `other_deliveries`.
pub(in crate::store) const TAKE_OTHER: &str =
    "delete from other_deliveries where id = $1 returning *";

/// Adds copies to the content that a job shows.
pub(in crate::store) const COUNT_SHOWN: &str = "update jobs set shown_times = $3, shown_received_at = $4, \
     shown_last_received_at = $5 where account = $1 and msg_id = $2";

/// A transaction on a database that can change rows of `jobs` and `other_deliveries`.
pub(in crate::store) trait JobRows: Send {
    /// Locks jobs, which are sorted, and rows of `other_deliveries` until the end of the transaction.
    fn lock(
        &mut self,
        jobs: &[(AccountName, MsgId)],
        others: &[i64],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A delivery, and its `CreateTime` where it counts in a job.
    fn find(
        &mut self,
        key: &DeliveryKey,
    ) -> impl Future<Output = Result<Option<(Delivery, Option<Time>)>, StoreError>> + Send;

    /// A job, locked until the end of the transaction.
    fn job(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> impl Future<Output = Result<Option<Standing>, StoreError>> + Send;

    /// The contents of a job that it does not show, each with its `CreateTime`.
    fn other_contents(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> impl Future<Output = Result<Vec<(Delivery, Time)>, StoreError>> + Send;

    /// The `ToUserName` that an account stands for.
    fn account_name(
        &mut self,
        account: &AccountName,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Remembers the `ToUserName` of an account that has none yet.
    fn remember_name(
        &mut self,
        account: &AccountName,
        name: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The number of a change that this transaction makes.
    fn next_change(&mut self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Copies the delivery that a job shows into `other_deliveries`, unless its body was pruned.
    fn demote(&mut self, job: &Job) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts into `other_deliveries`, or adds the copies to the row with the same content; returns that row.
    fn keep_other(
        &mut self,
        delivery: &Delivery,
        finished_at: Option<Time>,
    ) -> impl Future<Output = Result<Delivery, StoreError>> + Send;

    /// Removes a job result from `other_deliveries` and returns it with its `CreateTime`.
    fn take_other(
        &mut self,
        id: i64,
    ) -> impl Future<Output = Result<(Delivery, Time), StoreError>> + Send;

    fn delete_other(&mut self, id: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts a job, or updates the one that is there if `may_exist`; false if it exists and may not.
    fn show(
        &mut self,
        showing: &Showing<'_>,
        may_exist: bool,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Updates a job's sums.
    fn count(
        &mut self,
        job: &Job,
        tally: &Tally,
        updated: Updated,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Updates the copies of the content that a job shows.
    fn count_shown(
        &mut self,
        job: &Job,
        shown: &Content,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn delete_job(
        &mut self,
        account: &AccountName,
        msg_id: MsgId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Implements [`JobRows`] for a connection, with the functions `lock` and `$job` of the module that it is used in.
macro_rules! job_rows {
    ($connection:ty, $job:ident) => {
        impl $crate::store::rules::job_rows::JobRows for $connection {
            async fn lock(
                &mut self,
                jobs: &[(AccountName, MsgId)],
                others: &[i64],
            ) -> Result<(), StoreError> {
                lock(self, jobs, others).await
            }

            async fn find(
                &mut self,
                key: &DeliveryKey,
            ) -> Result<Option<(Delivery, Option<Time>)>, StoreError> {
                let row = sqlx::query(query::DELIVERY)
                    .bind(key.id)
                    .bind(key.received_at)
                    .fetch_optional(self)
                    .await?;
                let found = row.map(|row| Ok((row::delivery(&row)?, row.try_get("finished_at")?)));
                Ok(found.transpose().map_err(|error: sqlx::Error| error)?)
            }

            async fn job(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Option<Standing>, StoreError> {
                record::$job(self, account, msg_id).await
            }

            async fn other_contents(
                &mut self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Vec<(Delivery, Time)>, StoreError> {
                let rows = sqlx::query(query::OTHER_CONTENTS)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .fetch_all(self)
                    .await?;
                let contents = rows
                    .iter()
                    .map(|row| Ok((row::delivery(row)?, row.try_get("finished_at")?)));
                Ok(contents.collect::<Result<_, sqlx::Error>>()?)
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
                sqlx::query(names::REMEMBER)
                    .bind(account.as_str())
                    .bind(name)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn next_change(&mut self) -> Result<i64, StoreError> {
                record::next_change(self).await
            }

            async fn demote(&mut self, job: &Job) -> Result<(), StoreError> {
                record::demote(self, job).await
            }

            async fn keep_other(
                &mut self,
                delivery: &Delivery,
                finished_at: Option<Time>,
            ) -> Result<Delivery, StoreError> {
                record::keep_other(self, delivery, finished_at).await
            }

            async fn take_other(&mut self, id: i64) -> Result<(Delivery, Time), StoreError> {
                let row = sqlx::query(job_rows::TAKE_OTHER)
                    .bind(id)
                    .fetch_one(self)
                    .await?;
                Ok((row::delivery(&row)?, row.try_get("finished_at")?))
            }

            async fn delete_other(&mut self, id: i64) -> Result<(), StoreError> {
                let delete = sqlx::query(query::DELETE_OTHER).bind(id);
                delete.execute(self).await?;
                Ok(())
            }

            async fn show(
                &mut self,
                showing: &Showing<'_>,
                may_exist: bool,
            ) -> Result<bool, StoreError> {
                record::show(self, showing, may_exist).await
            }

            async fn count(
                &mut self,
                job: &Job,
                tally: &Tally,
                updated: Updated,
            ) -> Result<(), StoreError> {
                record::count(self, job, tally, updated).await
            }

            async fn count_shown(&mut self, job: &Job, shown: &Content) -> Result<(), StoreError> {
                sqlx::query(job_rows::COUNT_SHOWN)
                    .bind(job.account.as_str())
                    .bind(job.result.msg_id.get())
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
                sqlx::query(query::DELETE_JOB)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .execute(self)
                    .await?;
                Ok(())
            }
        }
    };
}
pub(in crate::store) use job_rows;
