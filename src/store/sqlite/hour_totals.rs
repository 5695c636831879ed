//! Reads totals through `hour_totals`, and adds newer jobs to it.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite};

use crate::domain::Stats;
use crate::store::StoreError;
use crate::store::dialect::Dialect;
use crate::store::read::hour_totals::{self, Range};
use crate::store::read::totals;

/// The totals of each range; `None` if it is faster to add up the jobs.
pub(super) async fn timeline(
    connection: &mut SqliteConnection,
    ranges: &[Range],
) -> Result<Option<Vec<Stats>>, StoreError> {
    let mut snapshot = connection.begin().await?;
    let (rolled_up, are_many) = rolled_up(&mut snapshot, hour_totals::MAX_NEWER).await?;
    let mut timeline = None;
    if !are_many {
        let mut query = Sqlite::hour_totals(ranges, rolled_up);
        let rows = query.build().fetch_all(&mut *snapshot).await?;
        timeline = Some(totals::timeline_of(&rows, ranges.len())?);
    }
    snapshot.commit().await?;
    Ok(timeline)
}

/// True if it reached `limit`, so more jobs may be waiting.
pub(super) async fn roll_up(
    connection: &mut SqliteConnection,
    limit: u32,
) -> Result<bool, StoreError> {
    let before: i64 = sqlx::query_scalar(hour_totals::ROLLED_UP_IN_SQLITE)
        .fetch_one(&mut *connection)
        .await?;
    let next = sqlx::query(hour_totals::NEXT)
        .bind(before)
        .bind(i64::MAX)
        .bind(i64::from(limit))
        .fetch_one(&mut *connection)
        .await?;
    let (jobs, next) = hour_totals::next(&next)?;
    if let Some(next) = next {
        let last_row: i64 = sqlx::query_scalar(hour_totals::LAST_ROW_IN_SQLITE)
            .fetch_one(&mut *connection)
            .await?;
        sqlx::query(hour_totals::ADD_IN_SQLITE)
            .bind(before)
            .bind(next)
            .execute(&mut *connection)
            .await?;
        sqlx::query(hour_totals::DELETE_REPLACED_IN_SQLITE)
            .bind(last_row)
            .execute(&mut *connection)
            .await?;
        sqlx::query(hour_totals::MOVE_ROLLED_UP)
            .bind(next)
            .execute(connection)
            .await?;
    }
    Ok(jobs >= i64::from(limit))
}

pub(super) async fn rolled_up(
    connection: &mut SqliteConnection,
    newer: i64,
) -> Result<(i64, bool), StoreError> {
    let query = sqlx::query(hour_totals::ROLLED_UP).bind(newer);
    Ok(hour_totals::rolled_up(&query.fetch_one(connection).await?)?)
}
