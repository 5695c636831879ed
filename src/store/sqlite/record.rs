//! The statements of a transaction that records a batch.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::domain::NewDelivery;
use crate::store::row::{self, JobUpdate, StoredJob, Updated};
use crate::store::rules::batch::{Bundle, Sorted};
use crate::store::rules::job_rows::JobRows;
use crate::store::rules::record::{RecordRows, Revision, record_rest};
use crate::store::rules::statements::{count_copies, insert_jobs};
use crate::store::rules::tally::Tally;
use crate::store::{BatchId, BatchOutcome, StoreError};

/// The values of a row.
macro_rules! row {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
}
macro_rules! four_rows {
    () => {
        concat!(row!(), ", ", row!(), ", ", row!(), ", ", row!())
    };
}
macro_rules! sixteen_rows {
    () => {
        concat!(
            four_rows!(),
            ", ",
            four_rows!(),
            ", ",
            four_rows!(),
            ", ",
            four_rows!()
        )
    };
}

/// Records contents that are new or shown by their jobs; leaves jobs alone that show another one.
macro_rules! record {
    ($rows:ident) => {
        concat!(
            insert_jobs!(),
            "values ",
            $rows!(),
            count_copies!("min", "max")
        )
    };
}

/// By the number of contents. Each statement is a round trip to SQLite's thread, which takes longer
/// than its work.
const RECORD: [(usize, &str); 3] = [
    (16, record!(sixteen_rows)),
    (4, record!(four_rows)),
    (1, record!(row)),
];

const ADMIT: &str = "insert into batches (id) values ($1) on conflict (id) do nothing";

const IS_CANCELLED: &str = "select is_cancelled from batches where id = $1";

/// Ids, and with them change numbers, are at least the microseconds since 1970. An older copy of
/// the file that is put back therefore continues beyond every number that was given out before.
pub(super) const TAKE_IDS: &str = "update delivery_ids \
     set last = max(last, cast(unixepoch('subsec') * 1000000 as integer)) + $1 returning last";

const COUNT_COPIES: &str = "update other_deliveries set times = times + $4, \
     last_received_at = max(last_received_at, $5) where account = $1 and job = $2 and body_sha256 = $3";

/// A transaction, and the ids that it gives to deliveries.
struct Recording<'c> {
    connection: &'c mut SqliteConnection,
    first_id: i64,
}

pub(super) async fn record(
    connection: &mut SqliteConnection,
    batch: &[NewDelivery],
    id: Option<BatchId>,
) -> Result<BatchOutcome, StoreError> {
    if let Some(id) = id
        && let Some(outcome) = admit(connection, id).await?
    {
        return Ok(outcome);
    }
    let mut sorted = Sorted::new(batch);
    let first_id = take_ids(connection, sorted.len()).await?;
    let mut recording = Recording {
        connection,
        first_id,
    };
    let copies = recording.record_contents(&sorted.contents).await?;
    record_rest(&mut recording, &mut sorted, copies).await?;
    Ok(BatchOutcome::Recorded(sorted.into_recorded()))
}

/// Stores the id of a batch; the outcome of the batch if the id exists.
async fn admit(
    connection: &mut SqliteConnection,
    id: BatchId,
) -> Result<Option<BatchOutcome>, StoreError> {
    let done = sqlx::query(ADMIT)
        .bind(&id.0[..])
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(None);
    }
    let is_cancelled: bool = sqlx::query_scalar(IS_CANCELLED)
        .bind(&id.0[..])
        .fetch_one(connection)
        .await?;
    Ok(Some(if is_cancelled {
        BatchOutcome::Cancelled
    } else {
        BatchOutcome::RecordedBefore
    }))
}

/// Takes ids; returns the first.
async fn take_ids(connection: &mut SqliteConnection, count: i64) -> Result<i64, StoreError> {
    let last: i64 = sqlx::query_scalar(TAKE_IDS)
        .bind(count)
        .fetch_one(connection)
        .await?;
    Ok(last - count + 1)
}

/// The number of a change. The latest change has the highest, as there is one writer.
pub(in crate::store) async fn next_change(
    connection: &mut SqliteConnection,
) -> Result<i64, StoreError> {
    take_ids(connection, 1).await
}

impl Recording<'_> {
    fn id(&self, bundle: &Bundle<'_>) -> i64 {
        self.first_id + bundle.number
    }
}

#[async_trait]
impl RecordRows for Recording<'_> {
    async fn record_contents(
        &mut self,
        bundles: &[Bundle<'_>],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let mut copies = Vec::with_capacity(bundles.len());
        let mut rest = bundles;
        for (size, statement) in RECORD {
            while let Some((chunk, after)) = rest.split_at_checked(size) {
                let mut query = sqlx::query(statement);
                for bundle in chunk {
                    let shown = bundle.as_delivery(self.id(bundle));
                    let tally = Tally {
                        shown: shown.id,
                        first_received_at: bundle.first_received_at,
                        last_received_at: bundle.last_received_at,
                        deliveries: bundle.times,
                        revision: 1,
                    };
                    let updated = Updated {
                        at: bundle.recorded_at,
                        change: shown.id,
                    };
                    let update = JobUpdate {
                        result: bundle.job_result(),
                        tally,
                        updated,
                        shown: &shown,
                    };
                    query = row::bind_job(query, &update);
                }
                let rows = query.fetch_all(&mut *self.connection).await?;
                // In any order.
                let mut recorded = Vec::with_capacity(rows.len());
                for row in &rows {
                    let key: (&str, i64) = (row.try_get("account")?, row.try_get("msg_id")?);
                    recorded.push((key, row.try_get("shown_times")?));
                }
                copies.extend(chunk.iter().map(|bundle| {
                    let found = recorded.iter().find(|(key, _)| *key == bundle.key());
                    found.map(|(_, times)| *times)
                }));
                rest = after;
            }
        }
        Ok(copies)
    }

    async fn jobs(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<Option<StoredJob>>, StoreError> {
        let mut jobs = Vec::with_capacity(bundles.len());
        for bundle in bundles {
            let msg_id = bundle.job_result().msg_id;
            jobs.push(
                self.connection
                    .job(&bundle.delivery.account, msg_id)
                    .await?,
            );
        }
        Ok(jobs)
    }

    async fn count_copies(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<bool>, StoreError> {
        let mut are_copies = Vec::with_capacity(bundles.len());
        for bundle in bundles {
            let (account, msg_id) = bundle.key();
            let done = sqlx::query(COUNT_COPIES)
                .bind(account)
                .bind(msg_id)
                .bind(&bundle.delivery.body_sha256[..])
                .bind(bundle.times)
                .bind(bundle.last_received_at)
                .execute(&mut *self.connection)
                .await?;
            are_copies.push(done.rows_affected() == 1);
        }
        Ok(are_copies)
    }

    async fn show_revisions(&mut self, revisions: &[Revision<'_>]) -> Result<(), StoreError> {
        for revision in revisions {
            let bundle = &revision.bundle;
            let shown = bundle.as_delivery(self.id(bundle));
            let result = bundle.job_result();
            self.connection
                .demote(&shown.account, result.msg_id)
                .await?;
            let update = JobUpdate {
                result,
                tally: revision.tally,
                updated: Updated {
                    at: revision.updated.at,
                    change: shown.id,
                },
                shown: &shown,
            };
            self.connection.show(&update, true).await?;
        }
        Ok(())
    }

    async fn count_revisions(&mut self, revisions: &[Revision<'_>]) -> Result<(), StoreError> {
        for revision in revisions {
            let mut updated = revision.updated;
            if revision.is_new {
                updated.change = self.id(&revision.bundle);
            }
            let msg_id = revision.bundle.job_result().msg_id;
            let account = &revision.bundle.delivery.account;
            self.connection
                .count(account, msg_id, &revision.tally, updated)
                .await?;
        }
        Ok(())
    }

    async fn keep_others(&mut self, bundles: &[Bundle<'_>]) -> Result<Vec<bool>, StoreError> {
        let mut are_new = Vec::with_capacity(bundles.len());
        for bundle in bundles {
            let delivery = bundle.as_delivery(self.id(bundle));
            let finished_at = bundle.result().map(|result| result.finished_at);
            let kept = self.connection.keep_other(&delivery, finished_at).await?;
            are_new.push(kept.times == bundle.times);
        }
        Ok(are_new)
    }
}
