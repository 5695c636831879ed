//! The queries that both databases understand alike: lists, single rows and totals.

use sqlx::{Database, Encode, QueryBuilder, Row, Type};

use super::{DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page};
use crate::domain::{Stats, Time};

pub(super) const JOB: &str = "select * from jobs where account = $1 and msg_id = $2";

pub(super) const DELIVERY: &str = "select * from deliveries where id = $1";

pub(super) const JOB_DELIVERIES: &str = "select * from deliveries \
     where account = $1 and msg_id = $2 and finished_at is not null order by received_at, id";

/// The deliveries that make up a job, without their bodies.
pub(super) const JOB_CONTENTS: &str = "select id, finished_at, received_at, last_received_at, times from deliveries \
     where account = $1 and msg_id = $2 and finished_at is not null";

/// Counts may be any i64, so each sum is taken in halves that cannot overflow.
const STATS: &str = "select count(*) as jobs, \
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
     cast(coalesce(sum(error_count & 4294967295), 0) as bigint) as error_low \
     from jobs where true";

/// `select` of a page of jobs.
pub(super) fn jobs<DB>(filter: &JobFilter, page: &Page<JobKey>) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("select * from jobs where true");
    filter_jobs(&mut query, filter);
    if let Some(after) = &page.after {
        query.push(" and (finished_at, account, msg_id) < (");
        query.push_bind(after.finished_at);
        query
            .push(", ")
            .push_bind(after.account.as_str().to_owned());
        query.push(", ").push_bind(after.msg_id.get()).push(")");
    }
    query.push(" order by finished_at desc, account desc, msg_id desc limit ");
    query.push_bind(i64::from(page.limit));
    query
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
    let mut query = QueryBuilder::new(STATS);
    filter_jobs(&mut query, filter);
    query
}

/// The one row of [`stats`].
pub(super) fn stats_of<R>(row: &R) -> Result<Stats, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: sqlx::ColumnIndex<R>,
    for<'r> i64: sqlx::Decode<'r, R::Database> + Type<R::Database>,
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

/// `select` of a page of deliveries.
pub(super) fn deliveries<DB>(filter: &DeliveryFilter, page: &Page<DeliveryKey>) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("select * from deliveries where true");
    if let Some(account) = &filter.account {
        query
            .push(" and account = ")
            .push_bind(account.as_str().to_owned());
    }
    if let Some(state) = filter.state {
        // Literal, so that the planner can use the partial index.
        query.push(" and state = '").push(state.as_str()).push("'");
    }
    if let Some(event) = &filter.event {
        query
            .push(" and lower(event) = ")
            .push_bind(event.to_ascii_lowercase());
    }
    if let Some(from) = filter.from {
        query.push(" and received_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" and received_at < ").push_bind(to);
    }
    if let Some(after) = &page.after {
        query
            .push(" and (received_at, id) < (")
            .push_bind(after.received_at);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" order by received_at desc, id desc limit ");
    query.push_bind(i64::from(page.limit));
    query
}

fn filter_jobs<DB>(query: &mut QueryBuilder<DB>, filter: &JobFilter)
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    if let Some(account) = &filter.account {
        query
            .push(" and account = ")
            .push_bind(account.as_str().to_owned());
    }
    if let Some(outcome) = filter.outcome {
        query
            .push(" and outcome = ")
            .push_bind(outcome.as_str().to_owned());
    }
    if let Some(code) = filter.code {
        query.push(" and code = ").push_bind(code);
    }
    if let Some(check_state) = filter.check_state {
        query.push(" and check_state = ").push_bind(check_state);
    }
    if let Some(from) = filter.from {
        query.push(" and finished_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" and finished_at < ").push_bind(to);
    }
    if let Some(updated_after) = filter.updated_after {
        query.push(" and updated_at > ").push_bind(updated_after);
    }
    if let Some(msg_id) = filter.msg_id {
        query.push(" and msg_id = ").push_bind(msg_id.get());
    }
}
