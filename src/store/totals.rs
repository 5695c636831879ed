//! The queries for what jobs add up to: in all, over time, by reason and by account.

use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{ColumnIndex, Database, Decode, Encode, Postgres, QueryBuilder, Row, Sqlite, Type};

use super::JobFilter;
use super::query::filter_jobs;
use super::row::parsed;
use crate::domain::{AccountStats, ReasonStats, Stats, Time};

macro_rules! jobs_by_outcome {
    () => {
        "count(*) as jobs, \
         count(*) filter (where outcome = 'sent') as sent, \
         count(*) filter (where outcome = 'failed') as failed, \
         count(*) filter (where outcome = 'rejected') as rejected, \
         count(*) filter (where outcome = 'unknown') as unknown, "
    };
}

/// PostgreSQL's sums are exact and have no limit.
macro_rules! halves_in_postgres {
    () => {
        "cast(coalesce(div(sum(total_count), 4294967296), 0) as bigint) as total_high, \
         cast(coalesce(mod(sum(total_count), 4294967296), 0) as bigint) as total_low, \
         cast(coalesce(div(sum(filter_count), 4294967296), 0) as bigint) as filter_high, \
         cast(coalesce(mod(sum(filter_count), 4294967296), 0) as bigint) as filter_low, \
         cast(coalesce(div(sum(sent_count), 4294967296), 0) as bigint) as sent_high, \
         cast(coalesce(mod(sum(sent_count), 4294967296), 0) as bigint) as sent_low, \
         cast(coalesce(div(sum(error_count), 4294967296), 0) as bigint) as error_high, \
         cast(coalesce(mod(sum(error_count), 4294967296), 0) as bigint) as error_low"
    };
}

/// A sum of SQLite's that overflows is an error; those of halves cannot.
macro_rules! halves_in_sqlite {
    () => {
        "coalesce(sum(total_count >> 32), 0) as total_high, coalesce(sum(total_count & 4294967295), 0) as total_low, \
         coalesce(sum(filter_count >> 32), 0) as filter_high, coalesce(sum(filter_count & 4294967295), 0) as filter_low, \
         coalesce(sum(sent_count >> 32), 0) as sent_high, coalesce(sum(sent_count & 4294967295), 0) as sent_low, \
         coalesce(sum(error_count >> 32), 0) as error_high, coalesce(sum(error_count & 4294967295), 0) as error_low"
    };
}
pub(super) use {halves_in_postgres, halves_in_sqlite, jobs_by_outcome};

/// What a database makes of the columns of totals. Counts may be any i64, so sums come in halves.
pub(super) trait Adding: Database {
    /// The columns of a `select`.
    const TOTALS: &'static str;
}

impl Adding for Postgres {
    const TOTALS: &'static str = concat!(jobs_by_outcome!(), halves_in_postgres!());
}

impl Adding for Sqlite {
    const TOTALS: &'static str = concat!(jobs_by_outcome!(), halves_in_sqlite!());
}

/// `select` of the totals.
pub(super) fn stats<DB>(filter: &JobFilter) -> QueryBuilder<DB>
where
    DB: Adding,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("select ");
    query.push(DB::TOTALS).push(" from jobs where true");
    filter_jobs(&mut query, filter);
    query
}

/// `select` of the totals between each edge and the next, in that order. Each is a search of its own in the index: grouped
/// by `width_bucket`, PostgreSQL takes twice as long.
pub(super) fn timeline_in_postgres(filter: &JobFilter, edges: &[Time]) -> QueryBuilder<Postgres> {
    let stops = edges.get(1..).unwrap_or_default();
    let starts = &edges[..stops.len()];
    let mut query = QueryBuilder::new("select totals.* from unnest(");
    query.push_bind(starts.to_vec());
    query.push(", ").push_bind(stops.to_vec());
    query.push(") with ordinality as part (start, stop, number) cross join lateral (select ");
    query.push(Postgres::TOTALS);
    query.push(" from jobs where finished_at >= start and finished_at < stop");
    filter_jobs(&mut query, filter);
    query.push(") as totals order by number");
    query
}

/// The same. Without `cross`, SQLite may turn the join round.
pub(super) fn timeline_in_sqlite(filter: &JobFilter, edges: &[Time]) -> QueryBuilder<Sqlite> {
    let edges: Vec<_> = edges.iter().map(|edge| edge.milliseconds()).collect();
    let mut query = QueryBuilder::new(
        "with parts as materialized ( \
             select key as number, value as start, lead(value) over (order by key) as stop from json_each(",
    );
    query.push_bind(Json(edges));
    query.push(")) select number, ").push(Sqlite::TOTALS);
    query.push(
        " from parts cross join jobs on finished_at >= start and finished_at < stop where true",
    );
    filter_jobs(&mut query, filter);
    query.push(" group by number");
    query
}

/// `select` of each code with which jobs were rejected, the most frequent first.
pub(super) fn reasons<DB>(filter: &JobFilter) -> QueryBuilder<DB>
where
    DB: Adding,
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
    DB: Adding,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    // The receipt is looked up: it stands in no index, for it moves with every retry.
    let mut query = QueryBuilder::new(
        "select totals.*, (select max(last_received_at) from jobs \
             where account = totals.account and finished_at = totals.last_finished_at) as last_received_at \
         from (select account, max(finished_at) as last_finished_at, ",
    );
    query.push(DB::TOTALS).push(" from jobs where true");
    filter_jobs(&mut query, filter);
    query.push(" group by account) as totals order by last_finished_at desc, account");
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

/// Rows of totals by `number`, added up, with zeros where there were none.
pub(super) fn timeline_of(rows: &[SqliteRow], parts: usize) -> Result<Vec<Stats>, sqlx::Error> {
    let mut timeline = vec![Stats::default(); parts];
    for row in rows {
        let number: i64 = row.try_get("number")?;
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| timeline.get_mut(number));
        *place.ok_or(sqlx::Error::RowNotFound)? += stats_of(row)?;
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
        last_received_at: row.try_get("last_received_at")?,
    })
}
