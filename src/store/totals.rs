//! The queries for what jobs add up to: in all, over time, by reason and by account.

use sqlx::types::Json;
use sqlx::{ColumnIndex, Database, Decode, Encode, Postgres, QueryBuilder, Row, Sqlite, Type};

use super::JobFilter;
use super::query::filter_jobs;
use super::row::parsed;
use crate::domain::{AccountStats, ReasonStats, Stats, Time};

/// Counts may be any i64, so each sum is taken in halves that cannot overflow.
macro_rules! totals {
    () => {
        "count(*) as jobs, \
         count(*) filter (where outcome = 'sent') as sent, \
         count(*) filter (where outcome = 'failed') as failed, \
         count(*) filter (where outcome = 'rejected') as rejected, \
         count(*) filter (where outcome = 'unknown') as unknown, \
         cast(coalesce(sum(total_count >> 32), 0) as bigint) as total_high, \
         cast(coalesce(sum(total_count & 4294967295), 0) as bigint) as total_low, \
         cast(coalesce(sum(filter_count >> 32), 0) as bigint) as filter_high, \
         cast(coalesce(sum(filter_count & 4294967295), 0) as bigint) as filter_low, \
         cast(coalesce(sum(sent_count >> 32), 0) as bigint) as sent_high, \
         cast(coalesce(sum(sent_count & 4294967295), 0) as bigint) as sent_low, \
         cast(coalesce(sum(error_count >> 32), 0) as bigint) as error_high, \
         cast(coalesce(sum(error_count & 4294967295), 0) as bigint) as error_low"
    };
}

/// `select` of the totals.
pub(super) fn stats<DB>(filter: &JobFilter) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!("select ", totals!(), " from jobs where true"));
    filter_jobs(&mut query, filter);
    query
}

/// `select` of the totals between each edge and the next, where there are any, with the number of the first of both edges.
pub(super) fn timeline_in_postgres(filter: &JobFilter, edges: &[Time]) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select cast(width_bucket(finished_at, ");
    query.push_bind(edges.to_vec());
    query.push(concat!(
        ") - 1 as bigint) as edge, ",
        totals!(),
        " from jobs where true"
    ));
    if let [first, .., last] = edges {
        query.push(" and finished_at >= ").push_bind(*first);
        query.push(" and finished_at < ").push_bind(*last);
    }
    filter_jobs(&mut query, filter);
    query.push(" group by edge");
    query
}

/// The same. Each part of the timeline is a search in the index; the order of the join is fixed so that it stays one.
pub(super) fn timeline_in_sqlite(filter: &JobFilter, edges: &[Time]) -> QueryBuilder<Sqlite> {
    let edges: Vec<_> = edges.iter().map(|edge| edge.milliseconds()).collect();
    let mut query = QueryBuilder::new(
        "with parts as materialized ( \
             select key as edge, value as start, lead(value) over (order by key) as stop from json_each(",
    );
    query.push_bind(Json(edges));
    query.push(concat!(
        ")) select edge, ",
        totals!(),
        " from parts cross join jobs on finished_at >= start and finished_at < stop where true"
    ));
    filter_jobs(&mut query, filter);
    query.push(" group by edge");
    query
}

/// `select` of each code with which jobs were rejected, the most frequent first.
pub(super) fn reasons<DB>(filter: &JobFilter) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(
        "select code, count(*) as jobs, max(finished_at) as last_finished_at from jobs where code is not null",
    );
    filter_jobs(&mut query, filter);
    query.push(" group by code order by jobs desc, code");
    query
}

/// `select` of each account's totals, the one whose job finished last first.
pub(super) fn accounts<DB>(filter: &JobFilter) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!(
        "select account, max(finished_at) as last_finished_at, max(last_received_at) as last_receipt, ",
        totals!(),
        " from jobs where true"
    ));
    filter_jobs(&mut query, filter);
    query.push(" group by account order by last_finished_at desc, account");
    query
}

/// The totals in a row.
pub(super) fn stats_of<R>(row: &R) -> Result<Stats, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let whole = |high: &str, low: &str| {
        let (high, low): (i64, i64) = (row.try_get(high)?, row.try_get(low)?);
        Ok::<_, sqlx::Error>((i128::from(high) << 32) + i128::from(low))
    };
    Ok(Stats {
        jobs: row.try_get("jobs")?,
        by_outcome: [
            row.try_get("sent")?,
            row.try_get("failed")?,
            row.try_get("rejected")?,
            row.try_get("unknown")?,
        ],
        total_count: whole("total_high", "total_low")?,
        filter_count: whole("filter_high", "filter_low")?,
        sent_count: whole("sent_high", "sent_low")?,
        error_count: whole("error_high", "error_low")?,
    })
}

/// The rows of a timeline, with zeros where there were none; one fewer than edges.
pub(super) fn timeline_of<R>(rows: &[R], edges: &[Time]) -> Result<Vec<Stats>, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut timeline = vec![Stats::default(); edges.len().saturating_sub(1)];
    for row in rows {
        let edge: i64 = row.try_get("edge")?;
        let place = usize::try_from(edge)
            .ok()
            .and_then(|edge| timeline.get_mut(edge));
        *place.ok_or(sqlx::Error::RowNotFound)? = stats_of(row)?;
    }
    Ok(timeline)
}

/// A row of [`reasons`].
pub(super) fn reason_of<R>(row: &R) -> Result<ReasonStats, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> i32: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(ReasonStats {
        code: row.try_get("code")?,
        jobs: row.try_get("jobs")?,
        last_finished_at: row.try_get("last_finished_at")?,
    })
}

/// A row of [`accounts`].
pub(super) fn account_of<R>(row: &R) -> Result<AccountStats, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(AccountStats {
        account: parsed(row, "account")?,
        stats: stats_of(row)?,
        last_finished_at: row.try_get("last_finished_at")?,
        last_received_at: row.try_get("last_receipt")?,
    })
}
