//! The parts of [`Upkeep`](crate::store::Upkeep) that are PostgreSQL's own.

use sqlx::Row;

use super::{PostgresStore, hour_totals};
use crate::store::upkeep::copy::Side;
use crate::store::{CopySide, Inspection, StoreError};

/// Skips rows that others have locked: it waits for nobody, so it cannot be part of a deadlock.
pub(in crate::store) const PRUNE_SHOWN: &str = "with old as materialized ( \
         select account, msg_id from jobs where shown_body is not null and shown_received_at < $1 \
         order by shown_received_at, shown_id limit $2 for update skip locked \
     ) \
     update jobs set shown_body = null from old where jobs.account = old.account and jobs.msg_id = old.msg_id";

pub(in crate::store) const PRUNE_OTHERS: &str = "with old as materialized ( \
         select id from other_deliveries where received_at < $1 and (state = 'stored' or state = 'unparsed' and $3 \
             or state = 'sealed' and $4) \
         order by received_at, id limit $2 for update skip locked \
     ) \
     delete from other_deliveries using old where other_deliveries.id = old.id";

pub(in crate::store) const FORGET_BATCHES: &str = "with old as materialized ( \
         select id from batches where filed_at < now() - $1 * interval '1 millisecond' \
         order by filed_at limit $2 for update skip locked \
     ) \
     delete from batches using old where batches.id = old.id";

pub(super) const BEGIN_SNAPSHOT: &str = "begin isolation level repeatable read read only";

/// A statement over everything takes longer than those that somebody waits for.
const TAKE_TIME: &str = "select set_config('statement_timeout', '10min', true), \
     set_config('idle_in_transaction_session_timeout', '10min', true)";

/// Readers wait as well, rather than find nothing there.
const LOCK_ALL: &str =
    "lock table account_names, rolled_up, jobs, other_deliveries, batches in access exclusive mode";

const INSPECT: &str = "select current_setting('server_version') as version, \
     current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes, \
     current_setting('synchronous_commit') as synchronous_commit, clock_timestamp() as clock";

pub(in crate::store) async fn roll_up(
    store: &PostgresStore,
    limit: u32,
) -> Result<bool, StoreError> {
    let mut connection = store.pool().await?.acquire().await?;
    hour_totals::roll_up(&mut connection, limit).await
}

pub(in crate::store) async fn copy_source(store: &PostgresStore) -> Result<CopySide, StoreError> {
    let mut transaction = store.pool().await?.begin_with(BEGIN_SNAPSHOT).await?;
    sqlx::query(TAKE_TIME).execute(&mut *transaction).await?;
    Ok(CopySide::new(Side::Postgres(transaction)))
}

pub(in crate::store) async fn copy_target(store: &PostgresStore) -> Result<CopySide, StoreError> {
    let mut transaction = store.pool().await?.begin().await?;
    sqlx::query(TAKE_TIME).execute(&mut *transaction).await?;
    sqlx::query(LOCK_ALL).execute(&mut *transaction).await?;
    Ok(CopySide::new(Side::Postgres(transaction)))
}

pub(in crate::store) async fn inspect(store: &PostgresStore) -> Result<Inspection, StoreError> {
    let row = &store.all(sqlx::query(INSPECT)).await?[0];
    let version: String = row.try_get("version")?;
    let setting = |name| Ok::<_, sqlx::Error>((name, row.try_get(name)?));
    Ok(Inspection {
        version: format!("PostgreSQL {version}"),
        settings: vec![
            setting("fsync")?,
            setting("full_page_writes")?,
            setting("synchronous_commit")?,
        ],
        clock: Some(row.try_get("clock")?),
    })
}
