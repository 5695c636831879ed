//! Lists of jobs and deliveries, and single jobs.

use sqlx::QueryBuilder;

use crate::domain::{DeliveryState, Time};
use crate::store::dialect::{Dialect, PushValue};
use crate::store::filters::{filter_accounts, filter_jobs, push_for_each_account};
use crate::store::rules::statements::{
    delivery_columns, job_columns, result_columns, shown_as_delivery,
};
use crate::store::{DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page};

pub(in crate::store) const JOB: &str = concat!(
    "select ",
    job_columns!(),
    " from jobs where account = $1 and msg_id = $2"
);

/// Searches the index on accounts once for each account, however many jobs there are.
pub(in crate::store) const LAST_JOBS: &str = "with recursive accounts (account) as ( \
         select min(account) from jobs \
         union all \
         select (select min(jobs.account) from jobs where jobs.account > accounts.account) from accounts \
         where accounts.account is not null \
     ) \
     select jobs.account, finished_at, last_received_at, shown_received_at from accounts cross join jobs \
     where jobs.account = accounts.account and jobs.msg_id = (select msg_id from jobs \
         where jobs.account = accounts.account order by finished_at desc, msg_id desc limit 1)";

/// Not through the view, which does not have the job that a delivery counts in.
pub(in crate::store) const JOB_DELIVERIES: &str = concat!(
    "select ",
    delivery_columns!(),
    " from other_deliveries where account = $1 and job = $2 and job > 0 union all select ",
    shown_as_delivery!(),
    " from jobs where account = $1 and msg_id = $2 and shown_body is not null order by received_at, id"
);

/// `select` of a page of jobs.
pub(in crate::store) fn jobs<D: Dialect>(
    filter: &JobFilter,
    page: &Page<JobKey>,
) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("select * from (");
    let account = filter.account.as_ref();
    push_for_each_account(&mut query, account, &filter.accounts, |query, account| {
        let of_one = JobFilter {
            account: account.cloned(),
            ..filter.clone()
        };
        page_of_jobs(query, &of_one, page);
    });
    query.push(") as merged");
    order_jobs(&mut query, page);
    query
}

/// Whether many jobs changed, so that [`jobs`] would sort many and [`recent_jobs`] is faster.
pub(in crate::store) const MANY_CHANGED: &str = "select coalesce((select updated_at from jobs \
     order by updated_at desc limit 1 offset 500) > $1, false) as are_many";

/// `select` of a page from the first thousand jobs of the list. If it is full, it is the page of
/// the whole list.
pub(in crate::store) fn recent_jobs<D: Dialect>(
    filter: &JobFilter,
    changed_after: Time,
    page: &Page<JobKey>,
) -> QueryBuilder<D> {
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
    query.push_value(changed_after);
    order_jobs(&mut query, page);
    query
}

fn page_of_jobs<D: Dialect>(query: &mut QueryBuilder<D>, filter: &JobFilter, page: &Page<JobKey>) {
    query.push(concat!("select ", job_columns!(), " from "));
    if filter.updated_after.is_none() {
        query.push("jobs where true");
        filter_jobs(query, filter);
        after(query, page);
    } else {
        // The index on changes has all columns that determine the page. The inner limit limits
        // nothing: it keeps the databases from reading in the order of the list, all of it if few
        // jobs have changed.
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

fn after<D: Dialect>(query: &mut QueryBuilder<D>, page: &Page<JobKey>) {
    if let Some(after) = &page.after {
        query.push(" and (finished_at, account, msg_id) < (");
        query.push_value(after.finished_at);
        query.push(", ").push_value(after.account.as_str());
        query.push(", ").push_value(after.msg_id.get()).push(")");
    }
}

fn order_jobs<D: Dialect>(query: &mut QueryBuilder<D>, page: &Page<JobKey>) {
    query.push(" order by finished_at desc, account desc, msg_id desc limit ");
    query.push_value(i64::from(page.limit));
}

/// One of the two tables with deliveries, and the prefix of its columns.
struct Half {
    select: &'static str,
    prefix: &'static str,
}

const OTHERS: Half = Half {
    select: concat!(
        "select ",
        delivery_columns!(),
        " from other_deliveries where true"
    ),
    prefix: "",
};

const SHOWN: Half = Half {
    select: concat!(
        "select ",
        shown_as_delivery!(),
        " from jobs where shown_body is not null"
    ),
    prefix: "shown_",
};

/// [`OTHERS`] with the `ToUserName` that is shown by the job that a delivery counts in, and that of
/// its account.
const STORED_OTHERS: Half = Half {
    select: "select *, \
         (select to_user_name from jobs \
             where jobs.account = other_deliveries.account and jobs.msg_id = other_deliveries.job) as shown_to_user_name, \
         (select name from account_names where account_names.account = other_deliveries.account) as account_name \
         from other_deliveries where true",
    ..OTHERS
};

/// [`SHOWN`] with the values of the job.
const STORED_SHOWN: Half = Half {
    select: concat!(
        "select ",
        shown_as_delivery!(),
        ", ",
        result_columns!(),
        " from jobs where shown_body is not null"
    ),
    ..SHOWN
};

/// `select` of a page of the deliveries that no job shows.
pub(in crate::store) fn stored_others<D: Dialect>(
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("");
    half_of_deliveries(&mut query, &STORED_OTHERS, filter, page);
    query
}

/// `select` of a page of the deliveries that jobs show; `None` if none of them matches the filter.
pub(in crate::store) fn stored_shown<D: Dialect>(
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) -> Option<QueryBuilder<D>> {
    if !has_shown(filter) {
        return None;
    }
    let mut query = QueryBuilder::new("");
    half_of_deliveries(&mut query, &STORED_SHOWN, filter, page);
    Some(query)
}

fn has_shown(filter: &DeliveryFilter) -> bool {
    filter
        .state
        .is_none_or(|state| state == DeliveryState::Stored)
}

/// `select` of a page of deliveries. Each table gives a page by its own index; the view would sort
/// all rows.
pub(in crate::store) fn deliveries<D: Dialect>(
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) -> QueryBuilder<D> {
    let mut query = QueryBuilder::new("select * from (select * from (");
    half_of_deliveries(&mut query, &OTHERS, filter, page);
    query.push(") as others");
    if has_shown(filter) {
        query.push(" union all select * from (");
        half_of_deliveries(&mut query, &SHOWN, filter, page);
        query.push(") as shown");
    }
    query.push(") as deliveries order by received_at desc, id desc limit ");
    query.push_value(i64::from(page.limit));
    query
}

fn half_of_deliveries<D: Dialect>(
    query: &mut QueryBuilder<D>,
    half: &Half,
    filter: &DeliveryFilter,
    page: &Page<DeliveryKey>,
) {
    let Half { select, prefix } = half;
    query.push(select);
    filter_accounts(query, filter.account.as_ref(), &filter.accounts);
    // What jobs show is `stored`. The partial indexes need literals.
    match filter.state {
        Some(DeliveryState::Stored) if prefix.is_empty() => query.push(" and state = 'stored'"),
        Some(DeliveryState::Unparsed) => query.push(" and state = 'unparsed'"),
        Some(DeliveryState::Sealed) => query.push(" and state = 'sealed'"),
        Some(DeliveryState::Stored) | None => query,
    };
    if let Some(event) = &filter.event {
        query.push(format_args!(" and lower({prefix}event) = "));
        query.push_value(event.to_ascii_lowercase());
    }
    if let Some(from) = filter.from {
        query.push(format_args!(" and {prefix}received_at >= "));
        query.push_value(from);
    }
    if let Some(to) = filter.to {
        query.push(format_args!(" and {prefix}received_at < "));
        query.push_value(to);
    }
    if let Some(after) = &page.after {
        query.push(format_args!(" and ({prefix}received_at, {prefix}id) < ("));
        query.push_value(after.received_at);
        query.push(", ").push_value(after.id).push(")");
    }
    query.push(format_args!(
        " order by {prefix}received_at desc, {prefix}id desc limit "
    ));
    query.push_value(i64::from(page.limit));
}
