//! The queries that both databases understand alike: lists and single rows.

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::{DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page};
use crate::domain::{AccountName, Accounts, DeliveryState, Outcome, Time};

/// Up to so many accounts, each gives a page of its own by the index on accounts, and these are merged. With more, the index
/// on times finds enough of their rows soon.
const MERGED: usize = 50;

/// What a job shows: all columns but those of the delivery that it shows.
macro_rules! job_columns {
    () => {
        "account, msg_id, outcome, status, code, total_count, filter_count, sent_count, error_count, check_state, \
         copyright_count, article_url_count, articles, to_user_name, from_user_name, finished_at, first_received_at, \
         last_received_at, updated_at, deliveries, revision"
    };
}

/// The number of a job's latest change, and the delivery that it shows, but its body.
macro_rules! shown_columns {
    () => {
        concat!(
            "change, shown_id, shown_sha256, shown_received_at, shown_last_received_at, shown_times, shown_body is null as is_pruned, ",
            "(select name from account_names where account_names.account = jobs.account) as account_name"
        )
    };
}
pub(super) use {job_columns, shown_columns};

pub(super) const JOB: &str = concat!(
    "select ",
    job_columns!(),
    " from jobs where account = $1 and msg_id = $2"
);

/// Looks into the index by account once for each account and no more, however many jobs there are.
pub(super) const LAST_JOBS: &str = "with recursive accounts (account) as ( \
         select min(account) from jobs \
         union all \
         select (select min(jobs.account) from jobs where jobs.account > accounts.account) from accounts \
         where accounts.account is not null \
     ) \
     select jobs.account, finished_at, last_received_at, shown_received_at from accounts cross join jobs \
     where jobs.account = accounts.account and jobs.msg_id = (select msg_id from jobs \
         where jobs.account = accounts.account order by finished_at desc, msg_id desc limit 1)";

/// By the time of receipt, too, because the index is on that.
pub(super) const DELIVERY: &str = "select * from deliveries where id = $1 and received_at = $2";

/// Not by way of the view, which knows of no job that a delivery counts in.
pub(super) const JOB_DELIVERIES: &str = "select id, account, body_sha256, body, state, event, msg_id, error, received_at, \
         last_received_at, times from other_deliveries where account = $1 and job = $2 and job > 0 \
     union all \
     select shown_id, account, shown_sha256, shown_body, 'stored', shown_event, msg_id, shown_error, shown_received_at, \
         shown_last_received_at, shown_times from jobs where account = $1 and msg_id = $2 and shown_body is not null \
     order by received_at, id";

/// The deliveries that make up a job but are not shown.
pub(super) const OTHER_CONTENTS: &str = "select * from other_deliveries \
     where account = $1 and job = $2 and job > 0";

/// Moves the delivery that a job shows to the others, where that was not pruned. Where rows of `jobs` were deleted by hand,
/// its content may be there already.
pub(super) const DEMOTE: &str = "insert into other_deliveries \
         (id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     select shown_id, account, shown_sha256, shown_body, 'stored', shown_event, msg_id, shown_error, finished_at, \
         shown_received_at, shown_last_received_at, shown_times \
     from jobs where account = $1 and msg_id = $2 and shown_body is not null \
     on conflict (account, body_sha256, job) do update set times = other_deliveries.times + excluded.times, \
         received_at = case when excluded.received_at < other_deliveries.received_at \
             then excluded.received_at else other_deliveries.received_at end, \
         last_received_at = case when excluded.last_received_at > other_deliveries.last_received_at \
             then excluded.last_received_at else other_deliveries.last_received_at end";

/// Makes a job, or lets it show another content. `$31`: whether it may be there already.
pub(super) const SHOW: &str = concat!(
    "insert into jobs (",
    job_columns!(),
    ", shown_id, shown_event, shown_error, shown_body, shown_sha256, shown_received_at, shown_last_received_at, \
         shown_times, change) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
         $24, $25, $26, $27, $28, $29, $30) \
     on conflict (account, msg_id) do update set \
         outcome = excluded.outcome, status = excluded.status, code = excluded.code, total_count = excluded.total_count, \
         filter_count = excluded.filter_count, sent_count = excluded.sent_count, error_count = excluded.error_count, \
         check_state = excluded.check_state, copyright_count = excluded.copyright_count, \
         article_url_count = excluded.article_url_count, articles = excluded.articles, \
         to_user_name = excluded.to_user_name, from_user_name = excluded.from_user_name, \
         finished_at = excluded.finished_at, first_received_at = excluded.first_received_at, \
         last_received_at = excluded.last_received_at, updated_at = excluded.updated_at, \
         deliveries = excluded.deliveries, revision = excluded.revision, shown_id = excluded.shown_id, \
         shown_event = excluded.shown_event, shown_error = excluded.shown_error, shown_body = excluded.shown_body, \
         shown_sha256 = excluded.shown_sha256, shown_received_at = excluded.shown_received_at, \
         shown_last_received_at = excluded.shown_last_received_at, shown_times = excluded.shown_times, \
         change = excluded.change \
     where $31"
);

/// Changes what a job counts, and not what it shows.
pub(super) const COUNT: &str = "update jobs set first_received_at = $3, last_received_at = $4, deliveries = $5, \
     revision = $6, updated_at = $7, change = $8 where account = $1 and msg_id = $2";

pub(super) const DELETE_JOB: &str = "delete from jobs where account = $1 and msg_id = $2";

pub(super) const DELETE_OTHER: &str = "delete from other_deliveries where id = $1";

/// Keeps a delivery that no job shows, or adds its copies to those of the same bytes that are there.
pub(super) const KEEP_OTHER: &str = "insert into other_deliveries \
         (id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
     on conflict (account, body_sha256, job) do update set \
         times = other_deliveries.times + excluded.times, \
         received_at = case when excluded.received_at < other_deliveries.received_at \
             then excluded.received_at else other_deliveries.received_at end, \
         last_received_at = case when excluded.last_received_at > other_deliveries.last_received_at \
             then excluded.last_received_at else other_deliveries.last_received_at end \
     returning *";

/// Counts copies of a content that its job does not show.
pub(super) const COUNT_OTHER: &str = "update other_deliveries set \
         times = times + $4, \
         last_received_at = case when $5 > last_received_at then $5 else last_received_at end \
     where account = $1 and body_sha256 = $2 and job = $3";

/// `select` of a page of jobs.
pub(super) fn jobs<DB>(filter: &JobFilter, page: &Page<JobKey>) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let names = match (&filter.account, &filter.accounts) {
        (None, Accounts::Only(names)) if (2..=MERGED).contains(&names.len()) => names,
        _ => {
            let mut query = QueryBuilder::new("");
            page_of_jobs(&mut query, filter, page);
            return query;
        }
    };
    let mut query = QueryBuilder::new("select * from (");
    for (index, name) in names.iter().enumerate() {
        let of_one = JobFilter {
            account: Some(name.clone()),
            ..filter.clone()
        };
        query.push(if index == 0 { "" } else { " union all " });
        query.push("select * from (");
        page_of_jobs(&mut query, &of_one, page);
        query.push(") as of_one");
    }
    query.push(") as merged");
    order_jobs(&mut query, page);
    query
}

/// Whether so many jobs changed that [`jobs`] would have many to sort, and [`recent_jobs`] finds a page sooner.
pub(super) const MANY_CHANGED: &str = "select coalesce((select updated_at from jobs \
     order by updated_at desc limit 1 offset 500) > $1, false)";

/// `select` of what is on the page among the first thousand jobs in the order of the list. A full page is the page.
pub(super) fn recent_jobs<DB>(
    filter: &JobFilter,
    changed_after: Time,
    page: &Page<JobKey>,
) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let whenever_changed = JobFilter {
        updated_after: None,
        ..filter.clone()
    };
    let first = Page {
        after: page.after.clone(),
        limit: 1000,
    };
    let mut query = QueryBuilder::new("select * from (");
    page_of_jobs(&mut query, &whenever_changed, &first);
    query.push(") as recent where updated_at > ");
    query.push_bind(changed_after);
    order_jobs(&mut query, page);
    query
}

fn page_of_jobs<DB>(query: &mut QueryBuilder<DB>, filter: &JobFilter, page: &Page<JobKey>)
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    query.push(concat!("select ", job_columns!(), " from "));
    if filter.updated_after.is_none() {
        query.push("jobs where true");
        filter_jobs(query, filter);
        after(query, page);
    } else {
        // By the index on changes, which has all that tells the page. The inner limit is none: it keeps the databases from
        // reading in the order of the list instead, all of it where little has changed.
        query.push(
            "(select account, msg_id from (select account, msg_id, finished_at from jobs where true",
        );
        filter_jobs(query, filter);
        after(query, page);
        query.push(" limit 9223372036854775807) as changed");
        order_jobs(query, page);
        query.push(") as listed join jobs using (account, msg_id)");
    }
    order_jobs(query, page);
}

/// Those after the last one of the page before.
fn after<DB>(query: &mut QueryBuilder<DB>, page: &Page<JobKey>)
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    if let Some(after) = &page.after {
        query.push(" and (finished_at, account, msg_id) < (");
        query.push_bind(after.finished_at);
        query
            .push(", ")
            .push_bind(after.account.as_str().to_owned());
        query.push(", ").push_bind(after.msg_id.get()).push(")");
    }
}

fn order_jobs<DB>(query: &mut QueryBuilder<DB>, page: &Page<JobKey>)
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
{
    query.push(" order by finished_at desc, account desc, msg_id desc limit ");
    query.push_bind(i64::from(page.limit));
}

/// A half of the deliveries: a table, and what the columns are called there.
struct Half {
    select: &'static str,
    received_at: &'static str,
    id: &'static str,
    event: &'static str,
}

const OTHERS: Half = Half {
    select: "select id, account, body_sha256, body, state, event, msg_id, error, received_at, last_received_at, times \
         from other_deliveries where true",
    received_at: "received_at",
    id: "id",
    event: "event",
};

const SHOWN: Half = Half {
    select: "select shown_id, account, shown_sha256, shown_body, 'stored', shown_event, msg_id, shown_error, \
         shown_received_at, shown_last_received_at, shown_times from jobs where shown_body is not null",
    received_at: "shown_received_at",
    id: "shown_id",
    event: "shown_event",
};

/// [`OTHERS`] with the `ToUserName` that is shown by the job that a delivery counts in, and that of its account.
const STORED_OTHERS: Half = Half {
    select: "select *, \
         (select to_user_name from jobs \
             where jobs.account = other_deliveries.account and jobs.msg_id = other_deliveries.job) as shown_to_user_name, \
         (select name from account_names where account_names.account = other_deliveries.account) as account_name \
         from other_deliveries where true",
    ..OTHERS
};

/// The same as [`SHOWN`], with the values of the job.
const STORED_SHOWN: Half = Half {
    select: concat!(
        "select ",
        job_columns!(),
        ", shown_id, shown_event, shown_error, shown_body, shown_sha256, shown_received_at, shown_last_received_at, \
         shown_times from jobs where shown_body is not null"
    ),
    ..SHOWN
};

/// `select` of a page of the deliveries that no job shows.
pub(super) fn stored_others<DB>(
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("");
    half_of_deliveries(&mut query, &STORED_OTHERS, filter, page);
    query
}

/// `select` of a page of the deliveries that jobs show; none where the filter leaves none.
pub(super) fn stored_shown<DB>(
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) -> Option<QueryBuilder<DB>>
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    if !has_shown(filter) {
        return None;
    }
    let mut query = QueryBuilder::new("");
    half_of_deliveries(&mut query, &STORED_SHOWN, filter, page);
    Some(query)
}

/// Whether a delivery that a job shows may be among them.
fn has_shown(filter: &DeliveryFilter) -> bool {
    filter
        .state
        .is_none_or(|state| state == DeliveryState::Stored)
}

/// `select` of a page of deliveries. Each half is cut to a page by its own index; through the view all would be sorted.
pub(super) fn deliveries<DB>(filter: &DeliveryFilter, page: &Page<DeliveryKey>) -> QueryBuilder<DB>
where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("select * from (select * from (");
    half_of_deliveries(&mut query, &OTHERS, filter, page);
    query.push(") as others");
    if has_shown(filter) {
        query.push(" union all select * from (");
        half_of_deliveries(&mut query, &SHOWN, filter, page);
        query.push(") as shown");
    }
    query.push(") as deliveries order by received_at desc, id desc limit ");
    query.push_bind(i64::from(page.limit));
    query
}

fn half_of_deliveries<DB>(
    query: &mut QueryBuilder<DB>,
    half: &Half,
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) where
    DB: Database,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    let (received_at, id) = (half.received_at, half.id);
    query.push(half.select);
    filter_accounts(query, filter.account.as_ref(), &filter.accounts);
    // What jobs show is stored; the partial indexes need literals.
    match filter.state {
        Some(DeliveryState::Stored) if half.id == OTHERS.id => query.push(" and state = 'stored'"),
        Some(DeliveryState::Unparsed) => query.push(" and state = 'unparsed'"),
        Some(DeliveryState::Sealed) => query.push(" and state = 'sealed'"),
        Some(DeliveryState::Stored) | None => query,
    };
    if let Some(event) = &filter.event {
        query.push(" and lower(").push(half.event).push(") = ");
        query.push_bind(event.to_ascii_lowercase());
    }
    if let Some(from) = filter.from {
        query
            .push(" and ")
            .push(received_at)
            .push(" >= ")
            .push_bind(from);
    }
    if let Some(to) = filter.to {
        query
            .push(" and ")
            .push(received_at)
            .push(" < ")
            .push_bind(to);
    }
    if let Some(after) = &page.after {
        query.push(" and (").push(received_at).push(", ").push(id);
        query.push(") < (").push_bind(after.received_at);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" order by ").push(received_at).push(" desc, ");
    query.push(id).push(" desc limit ");
    query.push_bind(i64::from(page.limit));
}

pub(super) fn filter_jobs<DB>(query: &mut QueryBuilder<DB>, filter: &JobFilter)
where
    DB: Database,
    for<'e> i32: Encode<'e, DB> + Type<DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> String: Encode<'e, DB> + Type<DB>,
    for<'e> Time: Encode<'e, DB> + Type<DB>,
{
    filter_accounts(query, filter.account.as_ref(), &filter.accounts);
    if let Some(outcome) = filter.outcome {
        query
            .push(" and outcome = ")
            .push_bind(outcome.as_str().to_owned());
        // Literal, so that the planner can use the partial index.
        if outcome != Outcome::Sent {
            query.push(" and outcome <> 'sent'");
        }
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

/// One account, where it is among those allowed; else all that are allowed.
pub(super) fn filter_accounts<DB>(
    query: &mut QueryBuilder<DB>,
    account: Option<&AccountName>,
    allowed: &Accounts,
) where
    DB: Database,
    for<'e> String: Encode<'e, DB> + Type<DB>,
{
    match (account, allowed) {
        (Some(account), allowed) if allowed.include(account) => {
            query.push(" and account = ");
            query.push_bind(account.as_str().to_owned());
        }
        (None, Accounts::All) => {}
        (None, Accounts::Only(names)) if !names.is_empty() => {
            query.push(" and account in (");
            let mut list = query.separated(", ");
            for name in names {
                list.push_bind(name.as_str().to_owned());
            }
            query.push(")");
        }
        (Some(_), _) | (None, Accounts::Only(_)) => {
            query.push(" and false");
        }
    }
}
