//! Reprocessing on SQLite: it holds the only write lock, so batches are short.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use crate::domain::{AccountName, MsgId, Time};
use crate::store::StoreError;
use crate::store::rules::reprocess::{self, Judge, Reprocessed, StoredDelivery};
use crate::store::rules::statements::stored_job;

pub(in crate::store) const LOCK_JOB: &str = concat!(
    "select ",
    stored_job!(),
    " from jobs where account = $1 and msg_id = $2"
);

/// How long a batch may hold the lock.
const AT_MOST: Duration = Duration::from_millis(25);

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
pub(in crate::store) async fn lock(
    _: &mut SqliteConnection,
    _: &[(AccountName, MsgId)],
    _: &[i64],
) -> Result<(), StoreError> {
    Ok(())
}
