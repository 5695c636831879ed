//! [`Queries`] for both databases.

use async_trait::async_trait;
use sqlx::{Postgres, Row, Sqlite};

use super::{
    DeliveryFilter, DeliveryKey, JobFilter, JobKey, NamedAccount, Page, PostgresStore, Queries,
    SealedTotal, SqliteStore, StoreError, changes, hours, names, query, row, sealed, totals,
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
                    let many = sqlx::query(query::MANY_CHANGED).bind(changed_after);
                    if self.list(many, |row| row.try_get(0)).await?[0] {
                        let mut recent =
                            query::recent_jobs::<$database>(filter, changed_after, page);
                        let jobs = self.list(recent.build(), row::job).await?;
                        if jobs.len() >= page.limit as usize {
                            return Ok(jobs);
                        }
                    }
                }
                let mut jobs = query::jobs::<$database>(filter, page);
                self.list(jobs.build(), row::job).await
            }

            async fn job(
                &self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Option<Job>, StoreError> {
                let job = sqlx::query(query::JOB)
                    .bind(account.as_str())
                    .bind(msg_id.get());
                Ok(self.list(job, row::job).await?.pop())
            }

            async fn job_deliveries(
                &self,
                account: &AccountName,
                msg_id: MsgId,
            ) -> Result<Vec<Delivery>, StoreError> {
                let deliveries = sqlx::query(query::JOB_DELIVERIES)
                    .bind(account.as_str())
                    .bind(msg_id.get());
                self.list(deliveries, row::delivery).await
            }

            async fn deliveries(
                &self,
                filter: &DeliveryFilter,
                page: &Page<DeliveryKey>,
            ) -> Result<Vec<Delivery>, StoreError> {
                let mut deliveries = query::deliveries::<$database>(filter, page);
                self.list(deliveries.build(), row::delivery).await
            }

            async fn last_jobs(&self) -> Result<Vec<LastJob>, StoreError> {
                self.list(sqlx::query(query::LAST_JOBS), row::last_job)
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
                if let Some(part) = hours::part(filter)
                    && let Some(timeline) = self.by_hours(&[part]).await?
                {
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
                if let Some(parts) = hours::parts(filter, edges)
                    && let Some(timeline) = self.by_hours(&parts).await?
                {
                    return Ok(timeline);
                }
                self.timeline_of_jobs(filter, edges).await
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
