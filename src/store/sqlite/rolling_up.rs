//! Totals by way of those of hours, and taking newer jobs into these.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use crate::domain::Stats;
use crate::store::hours::{self, Part};
use crate::store::{StoreError, totals};

/// The totals of each part; none when they are soonest had from the jobs.
pub(super) async fn timeline(
    connection: &mut SqliteConnection,
    parts: &[Part],
) -> Result<Option<Vec<Stats>>, StoreError> {
    let mut snapshot = connection.begin().await?;
    let (rolled_up, are_many) = rolled_up(&mut snapshot, hours::NEWER).await?;
    let timeline = if are_many {
        None
    } else {
        let rows = hours::in_sqlite(parts, rolled_up)
            .build()
            .fetch_all(&mut *snapshot)
            .await?;
        Some(totals::timeline_of(&rows, parts.len())?)
    };
    snapshot.commit().await?;
    Ok(timeline)
}

/// Whether there were so many.
pub(super) async fn roll_up(
    connection: &mut SqliteConnection,
    limit: u32,
) -> Result<bool, StoreError> {
    let before: i64 = sqlx::query_scalar(hours::TAKE_ROLLED_UP_IN_SQLITE)
        .fetch_one(&mut *connection)
        .await?;
    let row = sqlx::query(hours::NEXT)
        .bind(before)
        .bind(i64::MAX)
        .bind(i64::from(limit))
        .fetch_one(&mut *connection)
        .await?;
    let next: Option<i64> = row.try_get("change")?;
    if let Some(next) = next {
        let last_row: i64 = sqlx::query_scalar(hours::LAST_ROW_IN_SQLITE)
            .fetch_one(&mut *connection)
            .await?;
        sqlx::query(hours::ADD_IN_SQLITE)
            .bind(before)
            .bind(next)
            .execute(&mut *connection)
            .await?;
        sqlx::query(hours::DELETE_ADDED_IN_SQLITE)
            .bind(last_row)
            .execute(&mut *connection)
            .await?;
        sqlx::query(hours::MOVE_ROLLED_UP)
            .bind(next)
            .execute(connection)
            .await?;
    }
    let jobs: i64 = row.try_get("jobs")?;
    Ok(jobs >= i64::from(limit))
}

/// Up to which change the totals of hours go, and whether more jobs than that are newer.
pub(super) async fn rolled_up(
    connection: &mut SqliteConnection,
    newer: i64,
) -> Result<(i64, bool), StoreError> {
    let row = sqlx::query(hours::ROLLED_UP)
        .bind(newer)
        .fetch_one(connection)
        .await?;
    Ok((row.try_get("change")?, row.try_get("are_more")?))
}
