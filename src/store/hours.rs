//! Totals over all accounts by way of `hour_totals`, and keeping that up to date.
//!
//! What it holds of whole hours, what newer jobs come to, and the jobs of the hours that a range cuts through make up the
//! totals of the range, in one snapshot.

use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Sqlite};

use super::JobFilter;
use super::totals::{halves_in_postgres, halves_in_sqlite, jobs_by_outcome};
use crate::domain::Time;

const HOUR: i64 = 3_600_000;

/// With more newer jobs, it is faster to add up the jobs.
pub(super) const NEWER: i64 = 20_000;

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

/// For the transaction: newer jobs are read in the order of their index. PostgreSQL takes them for few, and would read all
/// of them to sort them.
pub(super) const READ_IN_ORDER: &str = "select set_config('enable_bitmapscan', 'off', true)";

/// Up to which change jobs are in `hour_totals`, and whether more than `$1` are newer.
pub(super) const ROLLED_UP: &str = "select change, exists (select 1 from (select change from jobs \
         where change > rolled_up.change order by change limit 1 offset $1) as newer) as are_more \
     from rolled_up";

/// For the one who is to move it; none while another one does.
pub(super) const TAKE_ROLLED_UP_IN_POSTGRES: &str =
    "select change from rolled_up for update skip locked";

/// One alone writes.
pub(super) const TAKE_ROLLED_UP_IN_SQLITE: &str = "select change from rolled_up";

/// The `$3` jobs that follow `$1`, before `$2`: how many they are, and their last change.
pub(super) const NEXT: &str = "select count(*) as jobs, max(change) as change from (select change from jobs \
     where change > $1 and change < $2 order by change limit $3) as newer";

pub(super) const MOVE_ROLLED_UP: &str = "update rolled_up set change = $1";

/// Puts the jobs after `$1`, up to `$2`, into the rows of their hours.
pub(super) const ADD_IN_POSTGRES: &str = concat!(
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

pub(super) const LAST_ROW_IN_SQLITE: &str = "select coalesce(max(rowid), 0) from hour_totals";

/// The same; the rows that it takes the place of are still there.
pub(super) const ADD_IN_SQLITE: &str = concat!(
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

/// Those, when `$1` was the last row before.
pub(super) const DELETE_ADDED_IN_SQLITE: &str = "delete from hour_totals where rowid <= $1 and hour in ( \
         select hour from hour_totals where rowid > $1)";

/// Makes it anew, from jobs that were copied; their change is 0.
pub(super) const REBUILD_IN_POSTGRES: [&str; 3] = [
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

/// The same.
pub(super) const REBUILD_IN_SQLITE: [&str; 3] = [
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

/// A range of time: its whole hours, and what is before and after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    start: Time,
    /// Where its first whole hour starts; its end when there is none.
    first: Time,
    /// Where its last whole hour ends.
    last: Time,
    stop: Time,
}

impl Part {
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
}

/// What a filter asks for between each edge and the next, where it asks about all accounts.
pub(super) fn parts(filter: &JobFilter, edges: &[Time]) -> Option<Vec<Part>> {
    let (from, to) = bounds(filter)?;
    let pairs = edges.windows(2);
    let parts = pairs.map(|pair| Part::new(pair[0].max(from), pair[1].min(to)));
    Some(parts.collect())
}

/// The same without edges.
pub(super) fn part(filter: &JobFilter) -> Option<Part> {
    let (from, to) = bounds(filter)?;
    Some(Part::new(from, to))
}

/// The range that it asks about, all of it.
fn bounds(filter: &JobFilter) -> Option<(Time, Time)> {
    let range = JobFilter {
        from: filter.from,
        to: filter.to,
        ..JobFilter::default()
    };
    // Jobs finish in whole seconds, so that none does at the last millisecond, which is left out.
    (*filter == range).then(|| {
        (
            filter.from.unwrap_or(Time::FIRST),
            filter.to.unwrap_or(Time::LAST),
        )
    })
}

/// `select` of the totals of each part, in their order. Jobs after the change `rolled_up` are added; that number is written
/// out, as else PostgreSQL takes a third of all jobs for newer.
pub(super) fn in_postgres(parts: &[Part], rolled_up: i64) -> QueryBuilder<Postgres> {
    let times = |time: fn(&Part) -> Time| parts.iter().map(time).collect::<Vec<_>>();
    let mut query = QueryBuilder::new(concat!(
        "with newer as materialized (select ",
        hour_in_postgres!(),
        jobs_by_outcome!(),
        counts_in_postgres!(),
        " from jobs where change > "
    ));
    query
        .push(rolled_up)
        .push(" group by 1) select totals.* from unnest(");
    query.push_bind(times(|part| part.start));
    query.push(", ").push_bind(times(|part| part.first));
    query.push(", ").push_bind(times(|part| part.last));
    query.push(", ").push_bind(times(|part| part.stop));
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
        " from jobs where finished_at >= last and finished_at < stop) as pieces) as totals order by number",
    ));
    query
}

/// The same; a part has a row for each of its pieces that there is.
pub(super) fn in_sqlite(parts: &[Part], rolled_up: i64) -> QueryBuilder<Sqlite> {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| [part.start, part.first, part.last, part.stop].map(Time::milliseconds))
        .collect();
    let mut query = QueryBuilder::new(
        "with parts as materialized (select key as number, value ->> 0 as start, value ->> 1 as first, \
             value ->> 2 as last, value ->> 3 as stop from json_each(",
    );
    query.push_bind(Json(parts));
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
