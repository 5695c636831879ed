//! The table `hour_totals`, and totals over all accounts that are read through it.
//!
//! The totals of a range are those of its whole hours in the table, of jobs that changed since the
//! table was updated, and of the jobs in the incomplete hours at both ends, all in one snapshot.

use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Sqlite};

use super::totals::{halves_in_postgres, halves_in_sqlite, jobs_by_outcome};
use crate::domain::Time;
use crate::store::JobFilter;
use crate::store::dialect::{PushValue, StoreRow};

const HOUR: i64 = 3_600_000;

/// If more jobs are newer than the table, it is faster to add up all jobs.
pub(in crate::store) const MAX_NEWER: i64 = 20_000;

/// The edges of a single range. Jobs finish in whole seconds, so none does in the last millisecond,
/// which is left out.
pub(in crate::store) const ALL_TIME: [Time; 2] = [Time::FIRST, Time::LAST];

macro_rules! sums_by_outcome {
    () => {
        "cast(coalesce(sum(jobs), 0) as bigint) as jobs, cast(coalesce(sum(sent), 0) as bigint) as sent, \
         cast(coalesce(sum(failed), 0) as bigint) as failed, cast(coalesce(sum(rejected), 0) as bigint) as rejected, \
         cast(coalesce(sum(unknown), 0) as bigint) as unknown, "
    };
}
macro_rules! hour_in_postgres {
    () => {
        "date_trunc('hour', finished_at, 'UTC') as hour, "
    };
}
macro_rules! hour_in_sqlite {
    () => {
        "finished_at - (finished_at % 3600000 + 3600000) % 3600000 as hour, "
    };
}
macro_rules! counts_in_postgres {
    () => {
        "coalesce(sum(total_count), 0) as total_count, coalesce(sum(filter_count), 0) as filter_count, \
         coalesce(sum(sent_count), 0) as sent_count, coalesce(sum(error_count), 0) as error_count"
    };
}
macro_rules! sums_of_halves {
    () => {
        "coalesce(sum(total_high), 0) as total_high, coalesce(sum(total_low), 0) as total_low, \
         coalesce(sum(filter_high), 0) as filter_high, coalesce(sum(filter_low), 0) as filter_low, \
         coalesce(sum(sent_high), 0) as sent_high, coalesce(sum(sent_low), 0) as sent_low, \
         coalesce(sum(error_high), 0) as error_high, coalesce(sum(error_low), 0) as error_low"
    };
}

/// For the transaction: reads newer jobs in the order of their index. PostgreSQL underestimates how
/// many there are, and would read all of them to sort them.
pub(in crate::store) const READ_IN_ORDER: &str =
    "select set_config('enable_bitmapscan', 'off', true)";

/// The last change that `hour_totals` includes, and whether more than `$1` jobs are newer.
pub(in crate::store) const ROLLED_UP: &str = "select change, exists (select 1 from (select change from jobs \
         where change > rolled_up.change order by change limit 1 offset $1) as newer) as are_more \
     from rolled_up";

/// A row of [`ROLLED_UP`].
pub(in crate::store) fn rolled_up(row: &impl StoreRow) -> Result<(i64, bool), sqlx::Error> {
    Ok((row.value("change")?, row.value("are_more")?))
}

/// Locks the position for an update; no row if another session has locked it.
pub(in crate::store) const LOCK_ROLLED_UP_IN_POSTGRES: &str =
    "select change from rolled_up for update skip locked";

pub(in crate::store) const ROLLED_UP_IN_SQLITE: &str = "select change from rolled_up";

/// The next `$3` jobs after change `$1` and before `$2`: how many there are, and their last change.
pub(in crate::store) const NEXT: &str = "select count(*) as jobs, max(change) as change from (select change from jobs \
     where change > $1 and change < $2 order by change limit $3) as newer";

/// A row of [`NEXT`].
pub(in crate::store) fn next(row: &impl StoreRow) -> Result<(i64, Option<i64>), sqlx::Error> {
    Ok((row.value("jobs")?, row.value("change")?))
}

pub(in crate::store) const MOVE_ROLLED_UP: &str = "update rolled_up set change = $1";

/// Adds the jobs after change `$1`, up to `$2`, to the rows of their hours.
pub(in crate::store) const ADD_IN_POSTGRES: &str = concat!(
    "with newer as materialized (select ",
    hour_in_postgres!(),
    jobs_by_outcome!(),
    counts_in_postgres!(),
    " from jobs where change > $1 and change <= $2 group by 1), \
     taken as (delete from hour_totals where hour = any (array(select hour from newer)) returning *) \
     insert into hour_totals select hour, ",
    sums_by_outcome!(),
    counts_in_postgres!(),
    " from (select * from newer union all select * from taken) as parts group by hour"
);

pub(in crate::store) const LAST_ROW_IN_SQLITE: &str =
    "select coalesce(max(rowid), 0) from hour_totals";

/// Like [`ADD_IN_POSTGRES`], but keeps the rows that the new ones replace.
pub(in crate::store) const ADD_IN_SQLITE: &str = concat!(
    "with newer as materialized (select ",
    hour_in_sqlite!(),
    jobs_by_outcome!(),
    halves_in_sqlite!(),
    " from jobs where change > $1 and change <= $2 group by hour) \
     insert into hour_totals select hour, ",
    sums_by_outcome!(),
    sums_of_halves!(),
    " from (select * from newer union all select * from hour_totals where hour in (select hour from newer)) group by hour"
);

/// Deletes the rows that [`ADD_IN_SQLITE`] has replaced: `$1` was the last row before it.
pub(in crate::store) const DELETE_REPLACED_IN_SQLITE: &str = "delete from hour_totals where rowid <= $1 and hour in ( \
         select hour from hour_totals where rowid > $1)";

/// Rebuilds the table after a copy. The change of copied jobs is 0.
pub(in crate::store) const REBUILD_IN_POSTGRES: [&str; 3] = [
    "update rolled_up set change = greatest(change, 0)",
    "delete from hour_totals",
    concat!(
        "insert into hour_totals select ",
        hour_in_postgres!(),
        jobs_by_outcome!(),
        counts_in_postgres!(),
        " from jobs group by 1"
    ),
];

/// Like [`REBUILD_IN_POSTGRES`].
pub(in crate::store) const REBUILD_IN_SQLITE: [&str; 3] = [
    "update rolled_up set change = max(change, 0)",
    "delete from hour_totals",
    concat!(
        "insert into hour_totals select ",
        hour_in_sqlite!(),
        jobs_by_outcome!(),
        halves_in_sqlite!(),
        " from jobs group by hour"
    ),
];

/// A range of time, divided into its whole hours and what comes before and after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Range {
    start: Time,
    /// Start of the first whole hour; `stop` if there is none.
    first: Time,
    /// End of the last whole hour.
    last: Time,
    stop: Time,
}

impl Range {
    fn new(start: Time, stop: Time) -> Self {
        let into_hour = |time: Time| time.milliseconds().rem_euclid(HOUR);
        let hour = |milliseconds| Time::from_milliseconds(milliseconds);
        let first = hour(start.milliseconds() + (HOUR - into_hour(start)) % HOUR);
        let last = hour(stop.milliseconds() - into_hour(stop));
        let (first, last) = match (first, last) {
            (Some(first), Some(last)) if first < last => (first, last),
            _ => (stop, stop),
        };
        Self {
            start,
            first,
            last,
            stop,
        }
    }

    /// The range of a filter between each edge and the next; `None` if the filter selects by
    /// anything but the time.
    pub(in crate::store) fn between(filter: &JobFilter, edges: &[Time]) -> Option<Vec<Self>> {
        let range = JobFilter {
            from: filter.from,
            to: filter.to,
            ..JobFilter::default()
        };
        if *filter != range {
            return None;
        }
        let from = filter.from.unwrap_or(Time::FIRST);
        let to = filter.to.unwrap_or(Time::LAST);
        let pairs = edges.windows(2);
        let ranges = pairs.map(|pair| Self::new(pair[0].max(from), pair[1].min(to)));
        Some(ranges.collect())
    }
}

/// [`Dialect::hour_totals`](crate::store::dialect::Dialect::hour_totals). `rolled_up` is a literal:
/// for a parameter PostgreSQL would estimate that a third of all jobs is newer.
pub(in crate::store) fn in_postgres(ranges: &[Range], rolled_up: i64) -> QueryBuilder<Postgres> {
    let times = |time: fn(&Range) -> Time| ranges.iter().map(time).collect::<Vec<_>>();
    let mut query = QueryBuilder::new(concat!(
        "with newer as materialized (select ",
        hour_in_postgres!(),
        jobs_by_outcome!(),
        counts_in_postgres!(),
        " from jobs where change > "
    ));
    query
        .push(rolled_up)
        .push(" group by 1) select number - 1 as number, totals.* from unnest(");
    query.push_bind(times(|range| range.start));
    query.push(", ").push_bind(times(|range| range.first));
    query.push(", ").push_bind(times(|range| range.last));
    query.push(", ").push_bind(times(|range| range.stop));
    query.push(concat!(
        ") with ordinality as part (start, first, last, stop, number) cross join lateral (select ",
        sums_by_outcome!(),
        halves_in_postgres!(),
        " from (select * from hour_totals where hour >= first and hour < last \
         union all select * from newer where hour >= first and hour < last \
         union all select start, ",
        jobs_by_outcome!(),
        counts_in_postgres!(),
        " from jobs where finished_at >= start and finished_at < first \
         union all select last, ",
        jobs_by_outcome!(),
        counts_in_postgres!(),
        " from jobs where finished_at >= last and finished_at < stop) as pieces) as totals",
    ));
    query
}

/// [`Dialect::hour_totals`](crate::store::dialect::Dialect::hour_totals), with several rows for
/// each range.
pub(in crate::store) fn in_sqlite(ranges: &[Range], rolled_up: i64) -> QueryBuilder<Sqlite> {
    let ranges: Vec<_> = ranges
        .iter()
        .map(|range| [range.start, range.first, range.last, range.stop].map(Time::milliseconds))
        .collect();
    let mut query = QueryBuilder::new(
        "with parts as materialized (select key as number, value ->> 0 as start, value ->> 1 as first, \
             value ->> 2 as last, value ->> 3 as stop from json_each(",
    );
    query.push_value(Json(ranges));
    query.push(concat!(
        ")), newer as materialized (select ",
        hour_in_sqlite!(),
        jobs_by_outcome!(),
        halves_in_sqlite!(),
        " from jobs where change > "
    ));
    query.push(rolled_up).push(concat!(
        " group by hour) select number, ",
        sums_by_outcome!(),
        sums_of_halves!(),
        " from parts cross join hour_totals on hour >= first and hour < last group by number \
         union all select number, ",
        sums_by_outcome!(),
        sums_of_halves!(),
        " from parts cross join newer on hour >= first and hour < last group by number \
         union all select number, ",
        jobs_by_outcome!(),
        halves_in_sqlite!(),
        " from parts cross join jobs on finished_at >= start and finished_at < first group by number \
         union all select number, ",
        jobs_by_outcome!(),
        halves_in_sqlite!(),
        " from parts cross join jobs on finished_at >= last and finished_at < stop group by number",
    ));
    query
}
