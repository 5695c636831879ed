//! The parts of [`Upkeep`](crate::store::Upkeep) that are SQLite's own.

use sqlx::Row;

use super::{SqliteStore, hour_totals};
use crate::store::upkeep::copy::Side;
use crate::store::{CopySide, Inspection, StoreError};

pub(in crate::store) const PRUNE_SHOWN: &str = "update jobs set shown_body = null where rowid in ( \
         select rowid from jobs where shown_body is not null and shown_received_at < $1 \
         order by shown_received_at, shown_id limit $2)";

pub(in crate::store) const PRUNE_OTHERS: &str = "delete from other_deliveries where id in ( \
         select id from other_deliveries where received_at < $1 and (state = 'stored' or state = 'unparsed' and $3 \
             or state = 'sealed' and $4) \
         order by received_at, id limit $2)";

pub(in crate::store) const FORGET_BATCHES: &str = "delete from batches where id in ( \
         select id from batches where filed_at < cast(unixepoch('subsec') * 1000 as integer) - $1 \
         order by filed_at limit $2)";

const INSPECT: &str = "select sqlite_version() as version, \
     (select journal_mode from pragma_journal_mode) as journal_mode, \
     (select synchronous from pragma_synchronous) as synchronous";

pub(in crate::store) async fn roll_up(store: &SqliteStore, limit: u32) -> Result<bool, StoreError> {
    // Without the lock, which would delay recording.
    let mut reader = store.readers.acquire().await?;
    let (_, are_some) = hour_totals::rolled_up(&mut reader, 0).await?;
    if !are_some {
        return Ok(false);
    }
    drop(reader);
    let mut transaction = store.begin().await?;
    let are_more = hour_totals::roll_up(&mut transaction, limit).await?;
    transaction.commit().await?;
    Ok(are_more)
}

pub(in crate::store) async fn copy_source(store: &SqliteStore) -> Result<CopySide, StoreError> {
    let transaction = store.readers.begin().await?;
    Ok(CopySide::new(Side::Sqlite(transaction)))
}

pub(in crate::store) async fn copy_target(store: &SqliteStore) -> Result<CopySide, StoreError> {
    Ok(CopySide::new(Side::Sqlite(store.begin().await?)))
}

/// Asks the connection that writes: `synchronous` is a setting of each connection.
pub(in crate::store) async fn inspect(store: &SqliteStore) -> Result<Inspection, StoreError> {
    let row = sqlx::query(INSPECT).fetch_one(&store.writer).await?;
    let version: String = row.try_get("version")?;
    let synchronous: i64 = row.try_get("synchronous")?;
    let synchronous = match synchronous {
        0 => "off",
        1 => "normal",
        2 => "full",
        _ => "extra",
    };
    Ok(Inspection {
        version: format!("SQLite {version}"),
        settings: vec![
            ("journal_mode", row.try_get("journal_mode")?),
            ("synchronous", synchronous.to_owned()),
        ],
        clock: None,
    })
}
