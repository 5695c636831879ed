//! The shapes of jobs, deliveries and accounts in the API and in exports. Names and nulls are
//! public: a field that an event did not carry is null.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, Object, Schema, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{
    AccountName, Article, Delivery, DeliveryState, Job, LastJob, Outcome, Reason, Time, reason,
};
use crate::store::NamedAccount;

/// The result of one mass send, from all its deliveries. Fields that the event did not carry are
/// null.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobOut {
    /// The account that sent it.
    account: String,
    /// WeChat's id of the job, a counter of the account. It is a string, because it can exceed
    /// 2^53.
    #[schema(pattern = "^[1-9][0-9]{0,18}$")]
    msg_id: String,
    #[schema(schema_with = outcome)]
    outcome: &'static str,
    /// `Status` as received, without surrounding white space.
    status: Option<String>,
    /// Why WeChat rejected it; null unless `outcome` is `rejected`.
    reason: Option<ReasonOut>,
    /// `TotalCount`: followers under the tag, or entries in `touser`.
    #[schema(minimum = 0)]
    total_count: Option<i64>,
    /// `FilterCount`: followers **left** after filtering, not those filtered out.
    #[schema(minimum = 0)]
    filter_count: Option<i64>,
    /// `SentCount`.
    #[schema(minimum = 0)]
    sent_count: Option<i64>,
    /// `ErrorCount`.
    #[schema(minimum = 0)]
    error_count: Option<i64>,
    /// `total_count` − `filter_count`; null if either is.
    filtered_out: Option<i64>,
    /// `filter_count` − `sent_count` − `error_count`; null if one of them is. It can be negative.
    unaccounted: Option<i128>,
    /// `CheckState` of the originality check: 1 not a reprint, 2 a reprint that may be sent, 3 a
    /// reprint that must not be sent; 0 was observed, and seems to mean that nothing was checked.
    check_state: Option<i64>,
    /// `Count` of the originality check.
    copyright_count: Option<i64>,
    /// `Count` of the list of article URLs.
    article_url_count: Option<i64>,
    /// Both lists of the event, merged and in ascending order of `ArticleIdx`.
    articles: Vec<Article>,
    /// The account's original id, `gh_…`.
    to_user_name: Option<String>,
    /// Documented as the mass-send assistant, but in fact an OpenID.
    from_user_name: Option<String>,
    /// `CreateTime` of the event.
    finished_at: TimeOut,
    /// When its first delivery was received.
    first_received_at: TimeOut,
    /// When its latest delivery was received, including retries.
    last_received_at: TimeOut,
    /// When a shown value or `revision` last changed; a retry does not count.
    updated_at: TimeOut,
    /// Copies received, including retries.
    #[schema(minimum = 1)]
    deliveries: i64,
    /// Distinct contents received. The one with the latest `CreateTime` is shown; that of another
    /// WeChat account only if there is no other.
    #[schema(minimum = 1)]
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

/// A code of `err(num)` and its meaning.
#[derive(Serialize, ToSchema)]
#[schema(as = Reason)]
pub struct ReasonOut {
    /// The number in `err(num)`.
    #[schema(minimum = 0)]
    code: i32,
    /// In WeChat's words; null for a code that WeChat does not document.
    zh: Option<&'static str>,
    /// In English; null for a code that WeChat does not document.
    en: Option<&'static str>,
}

impl From<Reason> for ReasonOut {
    fn from(Reason { code, zh, en }: Reason) -> Self {
        Self { code, zh, en }
    }
}

/// A distinct body that was pushed to an account, as it was received. Either `body` or
/// `body_base64` is set.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryOut {
    /// Ascending in the order of acceptance.
    id: String,
    /// The account that it was pushed to.
    account: String,
    /// `Event` as received; null if unreadable.
    event: Option<String>,
    /// `MsgID`; null if unreadable. If the delivery is not a job result, it is not the id of a job.
    #[schema(pattern = "^[1-9][0-9]{0,18}$")]
    msg_id: Option<String>,
    /// The message, decrypted in the encrypted modes, or the envelope if it is `sealed`; null if it
    /// is not UTF-8.
    body: Option<String>,
    /// The body in Base64, if it is not UTF-8.
    #[schema(content_encoding = "base64")]
    body_base64: Option<String>,
    /// SHA-256 of the body, in lower-case hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    body_sha256: String,
    #[schema(schema_with = delivery_state)]
    state: &'static str,
    /// What could not be read, or why it is sealed.
    error: Option<String>,
    /// When it was first received.
    received_at: TimeOut,
    /// When it was last received.
    last_received_at: TimeOut,
    /// How many times it was received.
    #[schema(minimum = 1)]
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

/// An account and its last job.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountOut {
    /// The account.
    account: String,
    /// When the last of its jobs finished; null while it has none.
    last_finished_at: Option<TimeOut>,
    /// When the latest delivery of that job was received; null while it has none.
    last_received_at: Option<TimeOut>,
    /// The WeChat account that it belongs to, `gh_…`. Only present together with
    /// `other_to_user_name`.
    #[schema(value_type = String, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    to_user_name: Option<String>,
    /// Another WeChat account whose results were received here. They replace nothing, and
    /// `original_id` should be set. Only present if there is one.
    #[schema(value_type = String, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    other_to_user_name: Option<String>,
}

impl AccountOut {
    pub fn new(
        account: &AccountName,
        last: Option<&LastJob>,
        named: Option<&NamedAccount>,
    ) -> Self {
        let other = named.and_then(|named| named.other.as_ref());
        Self {
            account: account.to_string(),
            last_finished_at: last.map(|job| TimeOut(job.finished_at)),
            last_received_at: last.map(|job| TimeOut(job.received_at)),
            to_user_name: other.and_then(|_| Some(named?.name.clone())),
            other_to_user_name: other.map(|(other, _)| other.clone()),
        }
    }
}

/// A time as RFC 3339.
pub struct TimeOut(pub Time);

impl ToSchema for TimeOut {
    fn name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
}

impl PartialSchema for TimeOut {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        let time = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(format))
            .description(Some(
                "RFC 3339 in UTC with `Z`, to the millisecond, without a fraction of zero.",
            ));
        time.into()
    }
}

impl Serialize for TimeOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The schema of an outcome.
pub fn outcome() -> Object {
    let meaning = "`sent` (`send success`), `failed` (`send fail`), `rejected` (`err(num)`) or `unknown` (any other text, or none).";
    one_of(Outcome::ALL.map(Outcome::as_str), meaning)
}

/// The schema of the state of a delivery.
pub fn delivery_state() -> Object {
    let words = DeliveryState::ALL.map(DeliveryState::as_str);
    one_of(
        words,
        "`stored`, `unparsed` if it was not understood, or `sealed` if the account's configuration does not open it.",
    )
}

fn one_of<const N: usize>(words: [&'static str; N], meaning: &str) -> Object {
    let word = ObjectBuilder::new().schema_type(Type::String);
    word.enum_values(Some(words))
        .description(Some(meaning))
        .build()
}
