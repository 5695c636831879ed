//! Reads totals through `hour_totals`, and adds newer jobs to it.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Postgres};

use super::changes::FIRST_OPEN_CHANGE;
use super::upkeep::BEGIN_SNAPSHOT;
use crate::domain::Stats;
use crate::store::StoreError;
use crate::store::dialect::Dialect;
use crate::store::read::hour_totals::{self, Range};
use crate::store::read::totals;

/// The totals of each range; `None` if it is faster to add up the jobs.
pub(super) async fn timeline(
    connection: &mut PgConnection,
    ranges: &[Range],
) -> Result<Option<Vec<Stats>>, StoreError> {
    let mut snapshot = connection.begin_with(BEGIN_SNAPSHOT).await?;
    sqlx::query(hour_totals::READ_IN_ORDER)
        .execute(&mut *snapshot)
        .await?;
    let (rolled_up, are_many) = rolled_up(&mut snapshot, hour_totals::MAX_NEWER).await?;
    let mut timeline = None;
    if !are_many {
        let mut query = Postgres::hour_totals(ranges, rolled_up);
        let rows = query.build().fetch_all(&mut *snapshot).await?;
        timeline = Some(totals::timeline_of(&rows, ranges.len())?);
    }
    snapshot.commit().await?;
    Ok(timeline)
}

/// True if it reached `limit`, so more jobs may be waiting.
pub(super) async fn roll_up(connection: &mut PgConnection, limit: u32) -> Result<bool, StoreError> {
    // Without a lock: each one writes to disk.
    let (_, are_some) = rolled_up(connection, 0).await?;
    if !are_some {
        return Ok(false);
    }
    let mut transaction = connection.begin().await?;
    sqlx::query(hour_totals::READ_IN_ORDER)
        .execute(&mut *transaction)
        .await?;
    let before: Option<i64> = sqlx::query_scalar(hour_totals::LOCK_ROLLED_UP_IN_POSTGRES)
        .fetch_optional(&mut *transaction)
        .await?;
    // In a statement of its own, before: later statements see every transaction that has ended by
    // now.
    let first_open: i64 = sqlx::query_scalar(FIRST_OPEN_CHANGE)
        .fetch_one(&mut *transaction)
        .await?;
    let next = sqlx::query(hour_totals::NEXT)
        .bind(before)
        .bind(first_open)
        .bind(i64::from(limit))
        .fetch_one(&mut *transaction)
        .await?;
    let (jobs, next) = hour_totals::next(&next)?;
    if let Some(next) = next {
        sqlx::query(hour_totals::ADD_IN_POSTGRES)
            .bind(before)
            .bind(next)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(hour_totals::MOVE_ROLLED_UP)
            .bind(next)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(jobs >= i64::from(limit))
}

async fn rolled_up(connection: &mut PgConnection, newer: i64) -> Result<(i64, bool), StoreError> {
    let query = sqlx::query(hour_totals::ROLLED_UP).bind(newer);
    Ok(hour_totals::rolled_up(&query.fetch_one(connection).await?)?)
}
