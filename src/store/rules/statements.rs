//! The columns of the tables, and the statements that decide what a job shows and counts, for both
//! databases.

/// The values of a job that are in its result.
macro_rules! result_columns {
    () => {
        "msg_id, outcome, status, code, total_count, filter_count, sent_count, error_count, check_state, \
         copyright_count, article_url_count, articles, to_user_name, from_user_name, finished_at"
    };
}

/// The columns of `jobs`, except those of the delivery that it shows.
macro_rules! job_columns {
    () => {
        concat!(
            "account, ",
            $crate::store::rules::statements::result_columns!(),
            ", first_received_at, last_received_at, updated_at, deliveries, revision"
        )
    };
}

macro_rules! delivery_columns {
    () => {
        "id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times"
    };
}

/// The delivery that a job shows, as [`delivery_columns`].
macro_rules! shown_as_delivery {
    () => {
        "jobs.shown_id as id, jobs.account, jobs.shown_sha256 as body_sha256, jobs.shown_body as body, \
         'stored' as state, jobs.shown_event as event, jobs.msg_id, jobs.shown_error as error, jobs.finished_at, \
         jobs.shown_received_at as received_at, jobs.shown_last_received_at as last_received_at, \
         jobs.shown_times as times"
    };
}

/// The columns of a [`StoredJob`](crate::store::row::StoredJob).
macro_rules! stored_job {
    () => {
        concat!(
            $crate::store::rules::statements::job_columns!(),
            ", change, shown_id, shown_sha256, shown_received_at, shown_last_received_at, \
             shown_times, shown_body is null as is_pruned, \
             (select name from account_names where account_names.account = jobs.account) as account_name"
        )
    };
}

/// Followed by the rows, with the columns in the order of
/// [`bind_job`](crate::store::row::bind_job).
macro_rules! insert_jobs {
    () => {
        concat!(
            "insert into jobs (",
            $crate::store::rules::statements::job_columns!(),
            ", shown_id, shown_event, shown_error, shown_body, shown_sha256, shown_received_at, \
             shown_last_received_at, shown_times, change) "
        )
    };
}

/// Counts copies of an insert into `jobs` if the job shows the same bytes; otherwise only locks it.
/// The first time of a job with several contents stays, as it decides a tie.
macro_rules! count_copies {
    ($least:literal, $greatest:literal) => {
        concat!(
            " on conflict (account, msg_id) do update set \
                 deliveries = jobs.deliveries + excluded.deliveries, \
                 shown_times = jobs.shown_times + excluded.shown_times, \
                 first_received_at = case when jobs.revision = 1 then ",
            $least,
            "(jobs.first_received_at, excluded.first_received_at) else jobs.first_received_at end, \
                 last_received_at = ",
            $greatest,
            "(jobs.last_received_at, excluded.last_received_at), \
                 shown_received_at = case when jobs.revision = 1 then ",
            $least,
            "(jobs.shown_received_at, excluded.shown_received_at) else jobs.shown_received_at end, \
                 shown_last_received_at = ",
            $greatest,
            "(jobs.shown_last_received_at, excluded.shown_last_received_at) \
             where jobs.shown_sha256 = excluded.shown_sha256 \
             returning account, msg_id, shown_times"
        )
    };
}

/// Lets jobs that exist show the content of an insert into `jobs`.
macro_rules! replace_jobs {
    () => {
        " on conflict (account, msg_id) do update set \
             outcome = excluded.outcome, status = excluded.status, code = excluded.code, \
             total_count = excluded.total_count, filter_count = excluded.filter_count, \
             sent_count = excluded.sent_count, error_count = excluded.error_count, \
             check_state = excluded.check_state, copyright_count = excluded.copyright_count, \
             article_url_count = excluded.article_url_count, articles = excluded.articles, \
             to_user_name = excluded.to_user_name, from_user_name = excluded.from_user_name, \
             finished_at = excluded.finished_at, first_received_at = excluded.first_received_at, \
             last_received_at = excluded.last_received_at, updated_at = excluded.updated_at, \
             deliveries = excluded.deliveries, revision = excluded.revision, shown_id = excluded.shown_id, \
             shown_event = excluded.shown_event, shown_error = excluded.shown_error, \
             shown_body = excluded.shown_body, shown_sha256 = excluded.shown_sha256, \
             shown_received_at = excluded.shown_received_at, \
             shown_last_received_at = excluded.shown_last_received_at, shown_times = excluded.shown_times, \
             change = excluded.change"
    };
}

/// Copies the deliveries that jobs show into `other_deliveries`, unless they were pruned. If rows
/// of `jobs` were deleted by hand, they may exist there. `$jobs` is a `from` clause that ends with
/// a condition.
macro_rules! demote {
    ($($jobs:tt)+) => {
        concat!(
            "insert into other_deliveries (",
            $crate::store::rules::statements::delivery_columns!(),
            ") select ",
            $crate::store::rules::statements::shown_as_delivery!(),
            " from ",
            $($jobs)+,
            " and jobs.shown_body is not null",
            $crate::store::rules::statements::add_copies!()
        )
    };
}

/// Adds the copies of an insert into `other_deliveries` to the row with the same bytes.
macro_rules! add_copies {
    () => {
        " on conflict (account, body_sha256, job) do update set \
             times = other_deliveries.times + excluded.times, \
             received_at = case when excluded.received_at < other_deliveries.received_at \
                 then excluded.received_at else other_deliveries.received_at end, \
             last_received_at = case when excluded.last_received_at > other_deliveries.last_received_at \
                 then excluded.last_received_at else other_deliveries.last_received_at end"
    };
}
pub(in crate::store) use {
    add_copies, count_copies, delivery_columns, demote, insert_jobs, job_columns, replace_jobs,
    result_columns, shown_as_delivery, stored_job,
};

/// Also by the time of receipt, because that is in the index.
pub(super) const DELIVERY: &str = "select * from deliveries where id = $1 and received_at = $2";

/// The contents of a job that it does not show.
pub(super) const OTHER_CONTENTS: &str = "select * from other_deliveries \
     where account = $1 and job = $2 and job > 0";

pub(super) const DEMOTE: &str = demote!("jobs where account = $1 and msg_id = $2");

/// `$31`: the job may exist.
pub(super) const SHOW: &str = concat!(
    insert_jobs!(),
    "values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
         $24, $25, $26, $27, $28, $29, $30)",
    replace_jobs!(),
    " where $31"
);

/// Updates the counts of a job, but not what it shows.
pub(super) const COUNT: &str = "update jobs set first_received_at = $3, last_received_at = $4, deliveries = $5, \
     revision = $6, updated_at = $7, change = $8 where account = $1 and msg_id = $2";

pub(super) const DELETE_JOB: &str = "delete from jobs where account = $1 and msg_id = $2";

pub(super) const DELETE_OTHER: &str = "delete from other_deliveries where id = $1";

/// Inserts a delivery that no job shows, or adds its copies to the row with the same bytes.
pub(super) const KEEP_OTHER: &str = concat!(
    "insert into other_deliveries (",
    delivery_columns!(),
    ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    add_copies!(),
    " returning *"
);

/// Removes a delivery from `other_deliveries`.
pub(super) const TAKE_OTHER: &str = "delete from other_deliveries where id = $1 returning *";

/// Updates the copies of the content that a job shows.
pub(super) const COUNT_SHOWN: &str = "update jobs set shown_times = $3, shown_received_at = $4, \
     shown_last_received_at = $5 where account = $1 and msg_id = $2";
