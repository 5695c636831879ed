//! Reprocessing on PostgreSQL: a transaction for each batch, tried again when another one was
//! faster.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use crate::domain::{AccountName, MsgId, Time};
use crate::store::StoreError;
use crate::store::rules::reprocess::{self, Judge, Reprocessed, StoredDelivery};
use crate::store::rules::statements::stored_job;

pub(in crate::store) const LOCK_JOB: &str = concat!(
    "select ",
    stored_job!(),
    " from jobs where account = $1 and msg_id = $2 for update"
);

const NEXT_CHANGE: &str = "select next_change()";

const LOCK_JOBS: &str = "select from jobs \
     where (account, msg_id) in (select * from unnest($1::text[], $2::bigint[])) \
     order by account, msg_id for update";

const LOCK_OTHERS: &str = "select from other_deliveries where id = any($1) \
     order by account, body_sha256 for update";

/// How often a batch is tried again.
const TRIES: usize = 10;
/// How long a batch may hold its rows; whoever records copies of them waits.
const AT_MOST: Duration = Duration::from_millis(250);

pub(in crate::store) async fn reprocess(
    store: &PostgresStore,
    batch: &[StoredDelivery],
    judge: &Judge<'_>,
    now: Time,
    dry_run: bool,
) -> Result<Vec<Option<Reprocessed>>, StoreError> {
    let mut connection = store.pool().await?.acquire().await?;
    for _ in 0..TRIES {
        let mut transaction = connection.begin().await?;
        let outcome = reprocess::reprocess(&mut *transaction, batch, judge, now, AT_MOST).await;
        if dry_run || outcome.is_err() {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        if !matches!(outcome, Err(StoreError::Contended)) {
            return outcome;
        }
    }
    Err(StoreError::Contended)
}

/// The number of the changes that this transaction makes.
pub(in crate::store) async fn next_change(
    connection: &mut PgConnection,
) -> Result<i64, StoreError> {
    let change = sqlx::query_scalar(NEXT_CHANGE);
    Ok(change.fetch_one(connection).await?)
}

pub(in crate::store) async fn lock(
    connection: &mut PgConnection,
    jobs: &[(AccountName, MsgId)],
    others: &[i64],
) -> Result<(), StoreError> {
    let accounts: Vec<_> = jobs.iter().map(|(account, _)| account.as_str()).collect();
    let msg_ids: Vec<_> = jobs.iter().map(|(_, msg_id)| msg_id.get()).collect();
    sqlx::query(LOCK_JOBS)
        .bind(accounts)
        .bind(msg_ids)
        .execute(&mut *connection)
        .await?;
    sqlx::query(LOCK_OTHERS)
        .bind(others)
        .execute(connection)
        .await?;
    Ok(())
}
