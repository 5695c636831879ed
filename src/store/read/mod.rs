//! [`Queries`] for both databases.

pub(super) mod changes;
pub(super) mod hour_totals;
pub(super) mod lists;
pub(super) mod totals;

use async_trait::async_trait;
use sqlx::{Postgres, Sqlite};

use super::dialect::{Dialect, StoreRow};
use super::{
    DeliveryFilter, DeliveryKey, JobFilter, JobKey, NamedAccount, Page, PostgresStore, Queries,
    SealedTotal, SqliteStore, StoreError, names, row, sealed,
};
use crate::domain::{
    AccountName, AccountStats, Delivery, Job, LastJob, MsgId, ReasonStats, Stats, Time,
};

macro_rules! queries {
    ($store:ty, $database:ty) => {
        #[async_trait]
        impl Queries for $store {
            async fn jobs(
                &self,
                filter: &JobFilter,
                page: &Page<JobKey>,
            ) -> Result<Vec<Job>, StoreError> {
                if let Some(changed_after) = filter.changed_in_any_account() {
                    let many = sqlx::query(lists::MANY_CHANGED).bind(changed_after);
                    if self.list(many, |row| row.value("are_many")).await?[0] {
                        let mut recent =
                            lists::recent_jobs::<$database>(filter, changed_after, page);
                        let jobs = self.list(recent.build(), row::job).await?;
                        if jobs.len() >= page.limit as usize {
                            return Ok(jobs);
                        }
                    }
                }
                let mut jobs = lists::jobs::<$database>(filter, page);
                self.list(jobs.build(), row::job).await
            }

            async fn job(
                &self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Option<Job>, StoreError> {
                let job = sqlx::query(lists::JOB)
                    .bind(account.as_str())
                    .bind(msg_id.get());
                Ok(self.list(job, row::job).await?.pop())
            }

            async fn job_deliveries(
                &self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Vec<Delivery>, StoreError> {
                let deliveries = sqlx::query(lists::JOB_DELIVERIES)
                    .bind(account.as_str())
                    .bind(msg_id.get());
                self.list(deliveries, row::delivery).await
            }

            async fn deliveries(
                &self,
                filter: &DeliveryFilter,
                page: &Page<DeliveryKey>,
            ) -> Result<Vec<Delivery>, StoreError> {
                let mut deliveries = lists::deliveries::<$database>(filter, page);
                self.list(deliveries.build(), row::delivery).await
            }

            async fn last_jobs(&self) -> Result<Vec<LastJob>, StoreError> {
                self.list(sqlx::query(lists::LAST_JOBS), row::last_job)
                    .await
            }

            async fn sealed(&self) -> Result<Vec<SealedTotal>, StoreError> {
                self.list(sqlx::query(sealed::TOTALS), sealed::total).await
            }

            async fn account_names(&self) -> Result<Vec<NamedAccount>, StoreError> {
                self.list(sqlx::query(names::ALL), names::named_account)
                    .await
            }

            async fn stats(&self, filter: &JobFilter) -> Result<Stats, StoreError> {
                if let Some(timeline) = self.by_hours(filter, &hour_totals::ALL_TIME).await? {
                    return Ok(timeline[0]);
                }
                let mut stats = totals::stats::<$database>(filter);
                Ok(self.list(stats.build(), totals::stats_of).await?[0])
            }

            async fn timeline(
                &self,
                filter: &JobFilter,
                edges: &[Time],
            ) -> Result<Vec<Stats>, StoreError> {
                if let Some(timeline) = self.by_hours(filter, edges).await? {
                    return Ok(timeline);
                }
                let mut timeline = <$database>::timeline(filter, edges);
                let rows = self.all(timeline.build()).await?;
                Ok(totals::timeline_of(&rows, edges.len().saturating_sub(1))?)
            }

            async fn reasons(&self, filter: &JobFilter) -> Result<Vec<ReasonStats>, StoreError> {
                let mut reasons = totals::reasons::<$database>(filter);
                self.list(reasons.build(), totals::reason_of).await
            }

            async fn accounts(&self, filter: &JobFilter) -> Result<Vec<AccountStats>, StoreError> {
                let mut accounts = totals::accounts::<$database>(filter);
                self.list(accounts.build(), totals::account_of).await
            }

            async fn stream_key(&self) -> Result<[u8; 16], StoreError> {
                let key = sqlx::query(changes::STREAM_KEY);
                Ok(self.list(key, row::stream_key).await?[0])
            }

            fn readers(&self) -> usize {
                let readers = self.readers.options().get_max_connections();
                usize::try_from(readers).unwrap_or(usize::MAX)
            }

            fn connections(&self) -> (usize, usize) {
                let open = usize::try_from(self.readers.size()).unwrap_or(usize::MAX);
                (open, self.readers.num_idle())
            }
        }
    };
}

queries!(SqliteStore, Sqlite);
queries!(PostgresStore, Postgres);
