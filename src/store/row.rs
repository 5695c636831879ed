//! Rows as values, the same for both databases.

use sqlx::query::Query;
use sqlx::types::Json;

use super::dialect::{BindValue, Dialect, StoreRow, required};
use super::rules::tally::{Content, Tally};
use super::{Change, ChangeKey, StoredDelivery};
use crate::domain::{
    Counts, Delivery, Job, LastJob, MassSendFinished, MsgId, Status, Time, is_foreign,
};

/// A row of `jobs`.
pub(super) fn job(row: &impl StoreRow) -> Result<Job, sqlx::Error> {
    Ok(Job {
        account: row.parsed("account")?,
        result: result(row)?,
        first_received_at: row.value("first_received_at")?,
        last_received_at: row.value("last_received_at")?,
        updated_at: row.value("updated_at")?,
        deliveries: row.value("deliveries")?,
        revision: row.value("revision")?,
    })
}

fn result(row: &impl StoreRow) -> Result<MassSendFinished, sqlx::Error> {
    let Json(articles) = row.value("articles")?;
    let status: Option<String> = row.value("status")?;
    Ok(MassSendFinished {
        msg_id: required(MsgId::new(row.value("msg_id")?), "msg_id")?,
        finished_at: row.value("finished_at")?,
        status: Status::read(status.as_deref()),
        counts: Counts {
            total: row.value("total_count")?,
            filter: row.value("filter_count")?,
            sent: row.value("sent_count")?,
            error: row.value("error_count")?,
        },
        check_state: row.value("check_state")?,
        copyright_count: row.value("copyright_count")?,
        article_url_count: row.value("article_url_count")?,
        articles,
        to_user_name: row.value("to_user_name")?,
        from_user_name: row.value("from_user_name")?,
    })
}

/// A row of `jobs` with the key of its latest change.
pub(super) fn change(row: &impl StoreRow) -> Result<Change, sqlx::Error> {
    Ok(Change {
        key: change_key(row)?,
        job: job(row)?,
    })
}

pub(super) fn change_key(row: &impl StoreRow) -> Result<ChangeKey, sqlx::Error> {
    Ok(ChangeKey {
        change: row.value("change")?,
        shown_id: row.value("shown_id")?,
    })
}

/// A row of [`STREAM_KEY`](super::read::changes::STREAM_KEY).
pub(super) fn stream_key(row: &impl StoreRow) -> Result<[u8; 16], sqlx::Error> {
    let key: Vec<u8> = row.value("key")?;
    required(key.try_into().ok(), "key")
}

/// The latest change of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Updated {
    pub(super) at: Time,
    pub(super) change: i64,
}

impl Updated {
    /// The next change of a job. Its time never goes back, even if the clock does.
    pub(super) fn next(self, at: Time, change: i64) -> Self {
        Self {
            at: self.at.max(at),
            change,
        }
    }
}

/// A row of [`LAST_JOBS`](super::read::lists::LAST_JOBS).
pub(super) fn last_job(row: &impl StoreRow) -> Result<LastJob, sqlx::Error> {
    Ok(LastJob {
        account: row.parsed("account")?,
        finished_at: row.value("finished_at")?,
        received_at: row.value("last_received_at")?,
        shown_received_at: row.value("shown_received_at")?,
    })
}

/// A row of `jobs` with the delivery that it shows, without its body.
#[derive(Debug)]
pub(super) struct StoredJob {
    pub(super) job: Job,
    /// The `ToUserName` of the account.
    pub(super) account_name: Option<String>,
    pub(super) shown: Content,
    pub(super) shown_sha256: Vec<u8>,
    pub(super) updated: Updated,
    /// The body of the delivery that it shows was deleted.
    pub(super) is_pruned: bool,
}

/// A row of `jobs` with the columns of the delivery that it shows.
pub(super) fn stored_job(row: &impl StoreRow) -> Result<StoredJob, sqlx::Error> {
    let job = job(row)?;
    let account_name: Option<String> = row.value("account_name")?;
    Ok(StoredJob {
        shown: Content {
            id: row.value("shown_id")?,
            finished_at: row.value("finished_at")?,
            received_at: row.value("shown_received_at")?,
            last_received_at: row.value("shown_last_received_at")?,
            times: row.value("shown_times")?,
            is_foreign: job.result.is_foreign_to(account_name.as_deref()),
        },
        job,
        account_name,
        shown_sha256: row.value("shown_sha256")?,
        updated: Updated {
            at: row.value("updated_at")?,
            change: row.value("change")?,
        },
        is_pruned: row.value("is_pruned")?,
    })
}

/// A row of `deliveries`.
pub(super) fn delivery(row: &impl StoreRow) -> Result<Delivery, sqlx::Error> {
    let body_sha256: Vec<u8> = row.value("body_sha256")?;
    let msg_id: Option<i64> = row.value("msg_id")?;
    Ok(Delivery {
        id: row.value("id")?,
        account: row.parsed("account")?,
        event: row.value("event")?,
        msg_id: msg_id.and_then(MsgId::new),
        body: row.value("body")?,
        body_sha256: required(body_sha256.try_into().ok(), "body_sha256")?,
        state: row.parsed("state")?,
        error: row.value("error")?,
        received_at: row.value("received_at")?,
        last_received_at: row.value("last_received_at")?,
        times: row.value("times")?,
    })
}

/// A row of `other_deliveries`.
pub(super) fn stored_other(row: &impl StoreRow) -> Result<StoredDelivery, sqlx::Error> {
    let shown_name: Option<String> = row.value("shown_to_user_name")?;
    let account_name: Option<String> = row.value("account_name")?;
    Ok(StoredDelivery {
        delivery: delivery(row)?,
        finished_at: row.value("finished_at")?,
        shown: None,
        foreign_to: account_name.filter(|name| is_foreign(shown_name.as_deref(), Some(name))),
    })
}

/// A row of `jobs` with the delivery that it shows.
pub(super) fn stored_shown(row: &impl StoreRow) -> Result<StoredDelivery, sqlx::Error> {
    let result = result(row)?;
    Ok(StoredDelivery {
        delivery: delivery(row)?,
        finished_at: Some(result.finished_at),
        // A content that can be shown instead has it.
        foreign_to: None,
        shown: Some(result),
    })
}

/// The new values of a job, and the delivery that it shows.
pub(super) struct JobUpdate<'s> {
    pub(super) result: &'s MassSendFinished,
    pub(super) tally: Tally,
    pub(super) updated: Updated,
    pub(super) shown: &'s Delivery,
}

/// Binds the columns of [`insert_jobs!`](super::rules::statements::insert_jobs).
pub(super) fn bind_job<'q, D: Dialect>(
    query: Query<'q, D, D::Arguments>,
    update: &JobUpdate<'_>,
) -> Query<'q, D, D::Arguments> {
    let JobUpdate {
        result,
        tally,
        updated,
        shown,
    } = update;
    query
        .bind_value(shown.account.as_str())
        .bind_value(result.msg_id.get())
        .bind_value(result.status.outcome.as_str())
        .bind_value(result.status.text.as_deref())
        .bind_value(result.status.code)
        .bind_value(result.counts.total)
        .bind_value(result.counts.filter)
        .bind_value(result.counts.sent)
        .bind_value(result.counts.error)
        .bind_value(result.check_state)
        .bind_value(result.copyright_count)
        .bind_value(result.article_url_count)
        .bind_value(Json(&result.articles))
        .bind_value(result.to_user_name.as_deref())
        .bind_value(result.from_user_name.as_deref())
        .bind_value(result.finished_at)
        .bind_value(tally.first_received_at)
        .bind_value(tally.last_received_at)
        .bind_value(updated.at)
        .bind_value(tally.deliveries)
        .bind_value(tally.revision)
        .bind_value(shown.id)
        .bind_value(shown.event.as_deref().unwrap_or_default())
        .bind_value(shown.error.as_deref())
        .bind_value(&shown.body[..])
        .bind_value(&shown.body_sha256[..])
        .bind_value(shown.received_at)
        .bind_value(shown.last_received_at)
        .bind_value(shown.times)
        .bind_value(updated.change)
}
