//! Totals of jobs: overall, over time, by reason and by account.

use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Sqlite};

use crate::domain::{AccountStats, ByOutcome, ReasonStats, Stats, Time};
use crate::store::JobFilter;
use crate::store::dialect::{Dialect, PushValue, StoreRow};
use crate::store::filters::filter_jobs;

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

/// SQLite's sums fail when they overflow; those of halves cannot.
macro_rules! halves_in_sqlite {
    () => {
        "coalesce(sum(total_count >> 32), 0) as total_high, \
         coalesce(sum(total_count & 4294967295), 0) as total_low, \
         coalesce(sum(filter_count >> 32), 0) as filter_high, \
         coalesce(sum(filter_count & 4294967295), 0) as filter_low, \
         coalesce(sum(sent_count >> 32), 0) as sent_high, \
         coalesce(sum(sent_count & 4294967295), 0) as sent_low, \
         coalesce(sum(error_count >> 32), 0) as error_high, \
         coalesce(sum(error_count & 4294967295), 0) as error_low"
    };
}
pub(super) use {halves_in_postgres, halves_in_sqlite, jobs_by_outcome};

/// [`Dialect::TOTALS`]. Counts may be any i64, so sums come in halves.
pub(in crate::store) const IN_POSTGRES: &str = concat!(jobs_by_outcome!(), halves_in_postgres!());
pub(in crate::store) const IN_SQLITE: &str = concat!(jobs_by_outcome!(), halves_in_sqlite!());

/// `select` of the totals.
pub(in crate::store) fn stats<D: Dialect>(filter: &JobFilter) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("select ");
    query.push(D::TOTALS).push(" from jobs where true");
    filter_jobs(&mut query, filter);
    query
}

/// [`Dialect::timeline`]. Each total is a search in the index: grouping by `width_bucket` takes
/// twice as long.
pub(in crate::store) fn timeline_in_postgres(
    filter: &JobFilter,
    edges: &[Time],
) -> QueryBuilder<Postgres> {
    let stops = edges.get(1..).unwrap_or_default();
    let starts = &edges[..stops.len()];
    let mut query = QueryBuilder::new("select number - 1 as number, totals.* from unnest(");
    query.push_bind(starts.to_vec());
    query.push(", ").push_bind(stops.to_vec());
    query.push(") with ordinality as part (start, stop, number) cross join lateral (select ");
    query.push(Postgres::TOTALS);
    query.push(" from jobs where finished_at >= start and finished_at < stop");
    filter_jobs(&mut query, filter);
    query.push(") as totals");
    query
}

/// [`Dialect::timeline`]. Without `cross`, SQLite may swap the sides of the join.
pub(in crate::store) fn timeline_in_sqlite(
    filter: &JobFilter,
    edges: &[Time],
) -> QueryBuilder<Sqlite> {
    let edges: Vec<_> = edges.iter().map(|edge| edge.milliseconds()).collect();
    let mut query = QueryBuilder::new(
        "with parts as materialized ( \
             select key as number, value as start, lead(value) over (order by key) as stop from json_each(",
    );
    query.push_value(Json(edges));
    query.push(")) select number, ").push(Sqlite::TOTALS);
    query.push(
        " from parts cross join jobs on finished_at >= start and finished_at < stop where true",
    );
    filter_jobs(&mut query, filter);
    query.push(" group by number");
    query
}

/// `select` of each code with which jobs were rejected, the most frequent first.
pub(in crate::store) fn reasons<D: Dialect>(filter: &JobFilter) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new(
        "select code, count(*) as jobs, max(finished_at) as last_finished_at from jobs where code is not null",
    );
    filter_jobs(&mut query, filter);
    query.push(" group by code order by jobs desc, code");
    query
}

/// `select` of each account's totals, the one whose job finished last first.
pub(in crate::store) fn accounts<D: Dialect>(filter: &JobFilter) -> QueryBuilder<D> {
    // `last_received_at` changes with every retry, so it is in no index and is looked up.
    let mut query = QueryBuilder::new(
        "select totals.*, (select max(last_received_at) from jobs \
             where account = totals.account and finished_at = totals.last_finished_at) as last_received_at \
         from (select account, max(finished_at) as last_finished_at, ",
    );
    query.push(D::TOTALS).push(" from jobs where true");
    filter_jobs(&mut query, filter);
    query.push(" group by account) as totals order by last_finished_at desc, account");
    query
}

/// The totals in a row.
pub(in crate::store) fn stats_of(row: &impl StoreRow) -> Result<Stats, sqlx::Error> {
    let whole = |high: &str, low: &str| {
        let (high, low): (i64, i64) = (row.value(high)?, row.value(low)?);
        Ok::<_, sqlx::Error>((i128::from(high) << 32) + i128::from(low))
    };
    Ok(Stats {
        jobs: row.value("jobs")?,
        by_outcome: ByOutcome {
            sent: row.value("sent")?,
            failed: row.value("failed")?,
            rejected: row.value("rejected")?,
            unknown: row.value("unknown")?,
        },
        total_count: whole("total_high", "total_low")?,
        filter_count: whole("filter_high", "filter_low")?,
        sent_count: whole("sent_high", "sent_low")?,
        error_count: whole("error_high", "error_low")?,
    })
}

/// Adds up rows of totals by their `number`.
pub(in crate::store) fn timeline_of(
    rows: &[impl StoreRow],
    length: usize,
) -> Result<Vec<Stats>, sqlx::Error> {
    let mut timeline = vec![Stats::default(); length];
    for row in rows {
        let number: i64 = row.value("number")?;
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| timeline.get_mut(number));
        *place.ok_or(sqlx::Error::RowNotFound)? += stats_of(row)?;
    }
    Ok(timeline)
}

/// A row of [`reasons`].
pub(in crate::store) fn reason_of(row: &impl StoreRow) -> Result<ReasonStats, sqlx::Error> {
    Ok(ReasonStats {
        code: row.value("code")?,
        jobs: row.value("jobs")?,
        last_finished_at: row.value("last_finished_at")?,
    })
}

/// A row of [`accounts`].
pub(in crate::store) fn account_of(row: &impl StoreRow) -> Result<AccountStats, sqlx::Error> {
    Ok(AccountStats {
        account: row.parsed("account")?,
        stats: stats_of(row)?,
        last_finished_at: row.value("last_finished_at")?,
        last_received_at: row.value("last_received_at")?,
    })
}
