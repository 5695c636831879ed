//! Totals by way of those of hours, and taking newer jobs into these.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::changes::FIRST_OPEN_CHANGE;
use super::upkeep::BEGIN_SNAPSHOT;
use crate::domain::Stats;
use crate::store::hours::{self, Part};
use crate::store::{StoreError, totals};

/// The totals of each part; none when they are soonest had from the jobs.
pub(super) async fn timeline(
    connection: &mut PgConnection,
    parts: &[Part],
) -> Result<Option<Vec<Stats>>, StoreError> {
    let mut snapshot = connection.begin_with(BEGIN_SNAPSHOT).await?;
    sqlx::query(hours::READ_IN_ORDER)
        .execute(&mut *snapshot)
        .await?;
    let (rolled_up, are_many) = rolled_up(&mut snapshot, hours::NEWER).await?;
    let timeline = if are_many {
        None
    } else {
        let rows = hours::in_postgres(parts, rolled_up)
            .build()
            .fetch_all(&mut *snapshot)
            .await?;
        let timeline: Result<_, _> = rows.iter().map(totals::stats_of).collect();
        Some(timeline?)
    };
    snapshot.commit().await?;
    Ok(timeline)
}

/// Whether there were so many.
pub(super) async fn roll_up(connection: &mut PgConnection, limit: u32) -> Result<bool, StoreError> {
    // Without a lock, which would be written down every time.
    let (_, are_some) = rolled_up(connection, 0).await?;
    if !are_some {
        return Ok(false);
    }
    let mut transaction = connection.begin().await?;
    sqlx::query(hours::READ_IN_ORDER)
        .execute(&mut *transaction)
        .await?;
    let before: Option<i64> = sqlx::query_scalar(hours::TAKE_ROLLED_UP_IN_POSTGRES)
        .fetch_optional(&mut *transaction)
        .await?;
    // In a statement of its own, before: what is over by now is seen by the next ones.
    let first_open: i64 = sqlx::query_scalar(FIRST_OPEN_CHANGE)
        .fetch_one(&mut *transaction)
        .await?;
    let row = sqlx::query(hours::NEXT)
        .bind(before)
        .bind(first_open)
        .bind(i64::from(limit))
        .fetch_one(&mut *transaction)
        .await?;
    let next: Option<i64> = row.try_get("change")?;
    if let Some(next) = next {
        sqlx::query(hours::ADD_IN_POSTGRES)
            .bind(before)
            .bind(next)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(hours::MOVE_ROLLED_UP)
            .bind(next)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    let jobs: i64 = row.try_get("jobs")?;
    Ok(jobs >= i64::from(limit))
}

/// Up to which change the totals of hours go, and whether more jobs than that are newer.
async fn rolled_up(connection: &mut PgConnection, newer: i64) -> Result<(i64, bool), StoreError> {
    let row = sqlx::query(hours::ROLLED_UP)
        .bind(newer)
        .fetch_one(connection)
        .await?;
    Ok((row.try_get("change")?, row.try_get("are_more")?))
}
