//! The columns of the tables, and the statements that are the same for both databases.

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
            $crate::store::query::result_columns!(),
            ", first_received_at, last_received_at, updated_at, deliveries, revision"
        )
    };
}

/// The number of a job's latest change, the delivery that it shows without its body, and the
/// `ToUserName` of its account.
macro_rules! shown_columns {
    () => {
        "change, shown_id, shown_sha256, shown_received_at, shown_last_received_at, shown_times, \
         shown_body is null as is_pruned, \
         (select name from account_names where account_names.account = jobs.account) as account_name"
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
        "shown_id as id, account, shown_sha256 as body_sha256, shown_body as body, 'stored' as state, \
         shown_event as event, msg_id, shown_error as error, finished_at, shown_received_at as received_at, \
         shown_last_received_at as last_received_at, shown_times as times"
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
pub(super) use {delivery_columns, job_columns, result_columns, shown_as_delivery, shown_columns};

/// Also by the time of receipt, because that is in the index.
pub(super) const DELIVERY: &str = "select * from deliveries where id = $1 and received_at = $2";

/// The contents of a job that it does not show.
pub(super) const OTHER_CONTENTS: &str = "select * from other_deliveries \
     where account = $1 and job = $2 and job > 0";

/// Copies the delivery that a job shows into `other_deliveries`, unless it was pruned. If rows of
/// `jobs` were deleted by hand, it may exist there.
pub(super) const DEMOTE: &str = concat!(
    "insert into other_deliveries (",
    delivery_columns!(),
    ") select ",
    shown_as_delivery!(),
    " from jobs where account = $1 and msg_id = $2 and shown_body is not null",
    add_copies!()
);

/// Inserts a job, or updates it if `$31`.
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

/// Adds copies to a content that its job does not show.
pub(super) const COUNT_OTHER: &str = "update other_deliveries set \
         times = times + $4, \
         last_received_at = case when $5 > last_received_at then $5 else last_received_at end \
     where account = $1 and body_sha256 = $2 and job = $3";
