//! Reprocessing on SQLite: it holds the only write lock, so batches are short.

use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{SqliteStore, record};
use crate::domain::{AccountName, Delivery, Job, MsgId, Time};
use crate::store::row::{self, Showing, Standing, Updated};
use crate::store::rules::job_rows::{self, job_rows};
use crate::store::rules::reprocess::{self, Judge, Reprocessed, StoredDelivery};
use crate::store::rules::tally::{Content, Tally};
use crate::store::{DeliveryKey, StoreError, names, query};

/// How long a batch may hold the lock.
const AT_MOST: Duration = Duration::from_millis(25);

job_rows!(SqliteConnection, load_job);

pub(in crate::store) async fn reprocess(
    store: &SqliteStore,
    batch: &[StoredDelivery],
    judge: &Judge<'_>,
    now: Time,
    dry_run: bool,
) -> Result<Vec<Option<Reprocessed>>, StoreError> {
    let mut transaction = store.begin().await?;
    let done = reprocess::reprocess(&mut *transaction, batch, judge, now, AT_MOST).await?;
    if dry_run {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
    }
    Ok(done)
}

/// The transaction holds the lock for everything.
#[expect(clippy::unused_async, reason = "PostgreSQL's takes a statement")]
async fn lock(
    _: &mut SqliteConnection,
    _: &[(AccountName, MsgId)],
    _: &[i64],
) -> Result<(), StoreError> {
    Ok(())
}
