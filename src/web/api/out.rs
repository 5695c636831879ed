//! The shapes of the API's answers. Names and nulls are public: what an event did not carry is null.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::domain::{Article, Delivery, Job, Reason, Time, reason};

/// A job.
#[derive(Serialize)]
pub(in crate::web) struct JobOut {
    account: String,
    msg_id: String,
    outcome: &'static str,
    status: Option<String>,
    reason: Option<ReasonOut>,
    total_count: Option<i64>,
    filter_count: Option<i64>,
    sent_count: Option<i64>,
    error_count: Option<i64>,
    filtered_out: Option<i64>,
    unaccounted: Option<i128>,
    check_state: Option<i64>,
    copyright_count: Option<i64>,
    article_url_count: Option<i64>,
    articles: Vec<Article>,
    to_user_name: Option<String>,
    from_user_name: Option<String>,
    finished_at: TimeOut,
    first_received_at: TimeOut,
    last_received_at: TimeOut,
    updated_at: TimeOut,
    deliveries: i64,
    revision: i64,
}

impl From<&Job> for JobOut {
    fn from(job: &Job) -> Self {
        let result = &job.result;
        let counts = &result.counts;
        Self {
            account: job.account.to_string(),
            msg_id: result.msg_id.to_string(),
            outcome: result.status.outcome.as_str(),
            status: result.status.text.clone(),
            reason: result.status.code.map(|code| ReasonOut::from(reason(code))),
            total_count: counts.total,
            filter_count: counts.filter,
            sent_count: counts.sent,
            error_count: counts.error,
            filtered_out: counts.filtered_out(),
            unaccounted: counts.unaccounted(),
            check_state: result.check_state,
            copyright_count: result.copyright_count,
            article_url_count: result.article_url_count,
            articles: result.articles.clone(),
            to_user_name: result.to_user_name.clone(),
            from_user_name: result.from_user_name.clone(),
            finished_at: TimeOut(result.finished_at),
            first_received_at: TimeOut(job.first_received_at),
            last_received_at: TimeOut(job.last_received_at),
            updated_at: TimeOut(job.updated_at),
            deliveries: job.deliveries,
            revision: job.revision,
        }
    }
}

/// A code of `err(num)` and what it means.
#[derive(Serialize)]
pub(in crate::web) struct ReasonOut {
    code: i32,
    zh: Option<&'static str>,
    en: Option<&'static str>,
}

impl From<Reason> for ReasonOut {
    fn from(Reason { code, zh, en }: Reason) -> Self {
        Self { code, zh, en }
    }
}

/// A delivery: either `body`, when it is UTF-8, or `body_base64` is set.
#[derive(Serialize)]
pub(in crate::web) struct DeliveryOut {
    id: String,
    account: String,
    event: Option<String>,
    msg_id: Option<String>,
    body: Option<String>,
    body_base64: Option<String>,
    body_sha256: String,
    state: &'static str,
    error: Option<String>,
    received_at: TimeOut,
    last_received_at: TimeOut,
    times: i64,
}

impl From<&Delivery> for DeliveryOut {
    fn from(delivery: &Delivery) -> Self {
        let body = std::str::from_utf8(&delivery.body).ok().map(str::to_owned);
        let body_base64 = body.is_none().then(|| STANDARD.encode(&delivery.body));
        Self {
            id: delivery.id.to_string(),
            account: delivery.account.to_string(),
            event: delivery.event.clone(),
            msg_id: delivery.msg_id.map(|msg_id| msg_id.to_string()),
            body,
            body_base64,
            body_sha256: hex::encode(delivery.body_sha256),
            state: delivery.state.as_str(),
            error: delivery.error.clone(),
            received_at: TimeOut(delivery.received_at),
            last_received_at: TimeOut(delivery.last_received_at),
            times: delivery.times,
        }
    }
}

/// A time as RFC 3339.
pub(super) struct TimeOut(pub(super) Time);

impl Serialize for TimeOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
