//! The statements of a transaction that records a batch with revisions: each is about all jobs of
//! the batch.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::record::{
    bind_contents, column, contents, names, record_contents, same_job, shown_values, values,
};
use crate::domain::MsgId;
use crate::store::StoreError;
use crate::store::row::{self, StoredJob};
use crate::store::rules::batch::Bundle;
use crate::store::rules::record::{RecordRows, Revision};
use crate::store::rules::statements::{add_copies, demote, insert_jobs, replace_jobs, stored_job};

const JOBS: &str = concat!(
    "select ",
    stored_job!(),
    " from jobs where (msg_id, account || '') in \
         (select msg_id, account from unnest($1::text[], $2::bigint[]) as key (account, msg_id))"
);

const COUNT_COPIES: &str = "update other_deliveries as other set times = other.times + copy.times, \
         last_received_at = greatest(other.last_received_at, copy.last_received_at) \
     from unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::timestamptz[]) \
         as copy (account, job, sha256, times, last_received_at) \
     where other.account = copy.account and other.body_sha256 = copy.sha256 and other.job = copy.job \
     returning other.account, other.job";

const SHOW_REVISIONS: &str = concat!(
    "with new as materialized (select * from unnest(",
    contents!(),
    ", $25::timestamptz[], $26::timestamptz[], $27::timestamptz[], $28::bigint[], $29::bigint[]) as new (",
    names!(),
    ", job_first_received_at, job_last_received_at, updated_at, deliveries, revision)), demoted as (",
    demote!("jobs join new on ", same_job!(), " where true"),
    ") ",
    insert_jobs!(),
    "select ",
    values!(),
    "new.job_first_received_at, new.job_last_received_at, new.updated_at, new.deliveries, new.revision",
    shown_values!(),
    "from new",
    replace_jobs!()
);

const COUNT_REVISIONS: &str = concat!(
    "update jobs set first_received_at = new.first_received_at, \
         last_received_at = new.last_received_at, updated_at = new.updated_at, deliveries = new.deliveries, \
         revision = new.revision, \
         change = case when new.is_changed then (select next_change()) else jobs.change end \
     from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], \
             $7::bigint[], $8::bool[]) \
         as new (account, msg_id, first_received_at, last_received_at, updated_at, deliveries, revision, is_changed) \
     where ",
    same_job!()
);

const KEEP_OTHERS: &str = concat!(
    "insert into other_deliveries (account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, \
         last_received_at, times) \
     select * from unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::text[], \
         $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::bigint[])",
    add_copies!(),
    " returning account, body_sha256, times"
);

fn owned_key(bundle: &Bundle<'_>) -> (String, i64) {
    let (account, msg_id) = bundle.key();
    (account.to_owned(), msg_id)
}

#[async_trait]
impl RecordRows for PgConnection {
    async fn record_contents(
        &mut self,
        bundles: &[Bundle<'_>],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let recorded = record_contents(self, bundles, None, false).await?;
        Ok(recorded.copies(bundles))
    }

    async fn jobs(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<Option<StoredJob>>, StoreError> {
        let rows = sqlx::query(JOBS)
            .bind(column(bundles, |bundle| bundle.key().0))
            .bind(column(bundles, |bundle| bundle.key().1))
            .fetch_all(self)
            .await?;
        let mut jobs = HashMap::with_capacity(rows.len());
        for row in &rows {
            let stored = row::stored_job(row)?;
            let msg_id = stored.job.result.msg_id.get();
            jobs.insert((stored.job.account.to_string(), msg_id), stored);
        }
        Ok(column(bundles, |bundle| jobs.remove(&owned_key(bundle))))
    }

    async fn count_copies(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<bool>, StoreError> {
        let counted: Vec<(String, i64)> = sqlx::query_as(COUNT_COPIES)
            .bind(column(bundles, |bundle| bundle.key().0))
            .bind(column(bundles, |bundle| bundle.key().1))
            .bind(column(bundles, |bundle| &bundle.delivery.body_sha256[..]))
            .bind(column(bundles, |bundle| bundle.times))
            .bind(column(bundles, |bundle| bundle.last_received_at))
            .fetch_all(self)
            .await?;
        let counted: HashSet<_> = counted.into_iter().collect();
        Ok(column(bundles, |bundle| {
            counted.contains(&owned_key(bundle))
        }))
    }

    async fn show_revisions(&mut self, revisions: &[Revision<'_>]) -> Result<(), StoreError> {
        if revisions.is_empty() {
            return Ok(());
        }
        let bundles = column(revisions, |revision| revision.bundle);
        bind_contents(sqlx::query(SHOW_REVISIONS), &bundles)?
            .bind(column(revisions, |one| one.tally.first_received_at))
            .bind(column(revisions, |one| one.tally.last_received_at))
            .bind(column(revisions, |one| one.updated.at))
            .bind(column(revisions, |one| one.tally.deliveries))
            .bind(column(revisions, |one| one.tally.revision))
            .execute(self)
            .await?;
        Ok(())
    }

    async fn count_revisions(&mut self, revisions: &[Revision<'_>]) -> Result<(), StoreError> {
        if revisions.is_empty() {
            return Ok(());
        }
        sqlx::query(COUNT_REVISIONS)
            .bind(column(revisions, |one| one.bundle.key().0))
            .bind(column(revisions, |one| one.bundle.key().1))
            .bind(column(revisions, |one| one.tally.first_received_at))
            .bind(column(revisions, |one| one.tally.last_received_at))
            .bind(column(revisions, |one| one.updated.at))
            .bind(column(revisions, |one| one.tally.deliveries))
            .bind(column(revisions, |one| one.tally.revision))
            .bind(column(revisions, |one| one.is_new))
            .execute(self)
            .await?;
        Ok(())
    }

    async fn keep_others(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<bool>, StoreError> {
        if bundles.is_empty() {
            return Ok(Vec::new());
        }
        let deliveries = || bundles.iter().map(|bundle| bundle.delivery);
        let kept: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(KEEP_OTHERS)
            .bind(column(deliveries(), |new| new.account.as_str()))
            .bind(column(deliveries(), |new| &new.body_sha256[..]))
            .bind(column(deliveries(), |new| &new.body[..]))
            .bind(column(deliveries(), |new| new.reading.state().as_str()))
            .bind(column(deliveries(), |new| new.reading.event()))
            .bind(column(deliveries(), |new| {
                new.reading.msg_id().map(MsgId::get)
            }))
            .bind(column(deliveries(), |new| new.reading.error()))
            .bind(column(bundles, |bundle| {
                bundle.result().map(|result| result.finished_at)
            }))
            .bind(column(bundles, |bundle| bundle.first_received_at))
            .bind(column(bundles, |bundle| bundle.last_received_at))
            .bind(column(bundles, |bundle| bundle.times))
            .fetch_all(self)
            .await?;
        let mut times = HashMap::new();
        for (account, body_sha256, kept) in &kept {
            times.insert((account.as_str(), &body_sha256[..]), *kept);
        }
        Ok(column(bundles, |bundle| {
            let delivery = bundle.delivery;
            let kept = times.get(&(delivery.account.as_str(), &delivery.body_sha256[..]));
            kept == Some(&bundle.times)
        }))
    }
}
