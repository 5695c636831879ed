//! Rows into values, the same for both databases.

use sqlx::types::Json;
use sqlx::{ColumnIndex, Database, Decode, Row, Type};

use super::rules::tally::{Content, Tally};
use super::{Change, ChangeKey, StoredDelivery};
use crate::domain::{
    Article, Counts, Delivery, DeliveryState, Job, LastJob, MassSendFinished, MsgId, Status, Time,
    is_foreign,
};

/// A row of `jobs`.
pub(super) fn job<R>(row: &R) -> Result<Job, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Json<Vec<Article>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let Json(articles) = row.try_get("articles")?;
    let status: Option<String> = row.try_get("status")?;
    Ok(Job {
        account: parsed(row, "account")?,
        result: MassSendFinished {
            msg_id: required(MsgId::new(row.try_get("msg_id")?), "msg_id")?,
            finished_at: row.try_get("finished_at")?,
            status: Status::read(status.as_deref()),
            counts: Counts {
                total: row.try_get("total_count")?,
                filter: row.try_get("filter_count")?,
                sent: row.try_get("sent_count")?,
                error: row.try_get("error_count")?,
            },
            check_state: row.try_get("check_state")?,
            copyright_count: row.try_get("copyright_count")?,
            article_url_count: row.try_get("article_url_count")?,
            articles,
            to_user_name: row.try_get("to_user_name")?,
            from_user_name: row.try_get("from_user_name")?,
        },
        first_received_at: row.try_get("first_received_at")?,
        last_received_at: row.try_get("last_received_at")?,
        updated_at: row.try_get("updated_at")?,
        deliveries: row.try_get("deliveries")?,
        revision: row.try_get("revision")?,
    })
}

/// A row of `jobs` with the key of its latest change.
pub(super) fn change<R>(row: &R) -> Result<Change, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i32: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Json<Vec<Article>>: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(Change {
        key: change_key(row)?,
        job: job(row)?,
    })
}

/// The key of a job's latest change.
pub(super) fn change_key<R>(row: &R) -> Result<ChangeKey, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(ChangeKey {
        change: row.try_get("change")?,
        shown_id: row.try_get("shown_id")?,
    })
}

/// A row of [`STREAM_KEY`](super::changes::STREAM_KEY).
pub(super) fn stream_key<R>(row: &R) -> Result<[u8; 16], sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let key: Vec<u8> = row.try_get("key")?;
    required(key.try_into().ok(), "key")
}

/// When a job was last changed, and the number of that change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Updated {
    pub(super) at: Time,
    pub(super) change: i64,
}

impl Updated {
    /// The next change of a job: its time does not go back, whatever the clocks do.
    pub(super) fn next(self, at: Time, change: i64) -> Self {
        Self {
            at: self.at.max(at),
            change,
        }
    }
}

/// A row of [`LAST_JOBS`](super::query::LAST_JOBS).
pub(super) fn last_job<R>(row: &R) -> Result<LastJob, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(LastJob {
        account: parsed(row, "account")?,
        finished_at: row.try_get("finished_at")?,
        received_at: row.try_get("last_received_at")?,
        shown_received_at: row.try_get("shown_received_at")?,
    })
}

/// A row of `jobs` with the delivery that it shows, but its body.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) job: Job,
    /// The `ToUserName` that the account stands for.
    pub(super) account_name: Option<String>,
    pub(super) shown: Content,
    pub(super) shown_sha256: Vec<u8>,
    pub(super) updated: Updated,
    /// The body of what it shows is no longer kept.
    pub(super) is_pruned: bool,
}

/// A row of `jobs` with the columns of the delivery that it shows.
pub(super) fn standing<R>(row: &R) -> Result<Standing, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> bool: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Json<Vec<Article>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let job = job(row)?;
    let account_name: Option<String> = row.try_get("account_name")?;
    Ok(Standing {
        shown: Content {
            id: row.try_get("shown_id")?,
            finished_at: row.try_get("finished_at")?,
            received_at: row.try_get("shown_received_at")?,
            last_received_at: row.try_get("shown_last_received_at")?,
            times: row.try_get("shown_times")?,
            is_foreign: job.result.is_foreign_to(account_name.as_deref()),
        },
        job,
        account_name,
        shown_sha256: row.try_get("shown_sha256")?,
        updated: Updated {
            at: row.try_get("updated_at")?,
            change: row.try_get("change")?,
        },
        is_pruned: row.try_get("is_pruned")?,
    })
}

/// A row of `deliveries`.
pub(super) fn delivery<R>(row: &R) -> Result<Delivery, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let body_sha256: Vec<u8> = row.try_get("body_sha256")?;
    let msg_id: Option<i64> = row.try_get("msg_id")?;
    Ok(Delivery {
        id: row.try_get("id")?,
        account: parsed(row, "account")?,
        event: row.try_get("event")?,
        msg_id: msg_id.and_then(MsgId::new),
        body: row.try_get("body")?,
        body_sha256: required(body_sha256.try_into().ok(), "body_sha256")?,
        state: parsed(row, "state")?,
        error: row.try_get("error")?,
        received_at: row.try_get("received_at")?,
        last_received_at: row.try_get("last_received_at")?,
        times: row.try_get("times")?,
    })
}

/// A row of `other_deliveries`.
pub(super) fn stored_other<R>(row: &R) -> Result<StoredDelivery, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let shown_name: Option<String> = row.try_get("shown_to_user_name")?;
    let account_name: Option<String> = row.try_get("account_name")?;
    Ok(StoredDelivery {
        delivery: delivery(row)?,
        finished_at: row.try_get("finished_at")?,
        shown: None,
        foreign_to: account_name.filter(|name| is_foreign(shown_name.as_deref(), Some(name))),
    })
}

/// A row of `jobs` with the delivery that it shows.
pub(super) fn stored_shown<R>(row: &R) -> Result<StoredDelivery, sqlx::Error>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Time: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Json<Vec<Article>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let Job {
        account, result, ..
    } = job(row)?;
    let body_sha256: Vec<u8> = row.try_get("shown_sha256")?;
    Ok(StoredDelivery {
        delivery: Delivery {
            id: row.try_get("shown_id")?,
            account,
            event: row.try_get("shown_event")?,
            msg_id: Some(result.msg_id),
            body: row.try_get("shown_body")?,
            body_sha256: required(body_sha256.try_into().ok(), "shown_sha256")?,
            state: DeliveryState::Stored,
            error: row.try_get("shown_error")?,
            received_at: row.try_get("shown_received_at")?,
            last_received_at: row.try_get("shown_last_received_at")?,
            times: row.try_get("shown_times")?,
        },
        finished_at: Some(result.finished_at),
        // A content that can be shown instead says so by itself.
        foreign_to: None,
        shown: Some(result),
    })
}

/// A column's text as the type that it is written from.
pub(super) fn parsed<T, R>(row: &R, column: &'static str) -> Result<T, sqlx::Error>
where
    T: std::str::FromStr,
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
{
    let text: String = row.try_get(column)?;
    required(text.parse().ok(), column)
}

/// A column's value, unless the database holds what no qunfa writes.
fn required<T>(value: Option<T>, column: &'static str) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "the value is not one that qunfa writes".into(),
    })
}

/// A job as it is to stand, and the delivery that it shows.
pub(super) struct Showing<'s> {
    pub(super) result: &'s MassSendFinished,
    pub(super) tally: Tally,
    pub(super) updated: Updated,
    pub(super) shown: &'s Delivery,
}

/// Binds the values of a job in the order of [`query::SHOW`](super::query::SHOW).
///
/// Kept beside the reading of rows, so that the two lists are compared at a glance.
pub(super) fn bind_showing<'q, DB>(
    query: sqlx::query::Query<'q, DB, DB::Arguments>,
    showing: &Showing<'_>,
) -> sqlx::query::Query<'q, DB, DB::Arguments>
where
    DB: Database,
    for<'e> i64: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> Option<i64>: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> Option<i32>: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> String: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> Option<String>: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> Vec<u8>: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> Time: sqlx::Encode<'e, DB> + Type<DB>,
    for<'e> Json<Vec<Article>>: sqlx::Encode<'e, DB> + Type<DB>,
{
    let Showing {
        result,
        tally,
        updated,
        shown,
    } = showing;
    query
        .bind(shown.account.to_string())
        .bind(result.msg_id.get())
        .bind(result.status.outcome.as_str().to_owned())
        .bind(result.status.text.clone())
        .bind(result.status.code)
        .bind(result.counts.total)
        .bind(result.counts.filter)
        .bind(result.counts.sent)
        .bind(result.counts.error)
        .bind(result.check_state)
        .bind(result.copyright_count)
        .bind(result.article_url_count)
        .bind(Json(result.articles.clone()))
        .bind(result.to_user_name.clone())
        .bind(result.from_user_name.clone())
        .bind(result.finished_at)
        .bind(tally.first_received_at)
        .bind(tally.last_received_at)
        .bind(updated.at)
        .bind(tally.deliveries)
        .bind(tally.revision)
        .bind(shown.id)
        .bind(shown.event.clone().unwrap_or_default())
        .bind(shown.error.clone())
        .bind(shown.body.clone())
        .bind(shown.body_sha256.to_vec())
        .bind(shown.received_at)
        .bind(shown.last_received_at)
        .bind(shown.times)
        .bind(updated.change)
}
