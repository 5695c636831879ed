//! The JSON API: what dashboards read. Handlers read parameters, ask the store once, and shape the answer.

pub(super) mod accounts;
mod document;
mod event_id;
mod export;
pub(super) mod out;
pub(super) mod stats;
pub(super) mod stream;

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as FromState};
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::access::Access;
use super::cursor;
use super::parameters::Parameters;
use super::problem::Problem;
use crate::domain::{AccountName, CATALOGUE, MsgId, Time, whole_number};
use crate::store::{DeliveryFilter, JobFilter, Page, StoreError};
use document::asked::{DeliveryFilters, JobFilters, JobKey, Paging};
pub(super) use document::{DOCUMENT, Tagged, openapi_json};
use document::{NoJob, examples};
pub(super) use export::{jobs_csv, jobs_ndjson};
use out::{DeliveryOut, JobOut, ReasonOut};

/// How long the database may take; the answer is then 503, within 5 s.
const PATIENCE: Duration = Duration::from_secs(4);

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

const ACCOUNT: &str = "1 to 64 of a-z, 0-9, `_` and `-`, without `__`";
const OUTCOME: &str = "one of sent, failed, rejected, unknown";
const CODE: &str = "a number from 0 to 2147483647";
const CHECK_STATE: &str = "an integer";
const STATE: &str = "stored, unparsed or sealed";
const EVENT: &str = "the name of an event";
const MSG_ID: &str = "a number from 1 to 9223372036854775807";
const LIMIT: &str = "a number from 1 to 500";
const TIME: &str =
    "RFC 3339, such as 2026-01-01T08:00:00+08:00 with + written as %2B, or milliseconds since 1970";
const CURSOR: &str = "the `next_cursor` of a page with the same filters";

/// What chooses jobs.
const JOB_FILTERS: &[&str] = &[
    "account",
    "outcome",
    "code",
    "check_state",
    "from",
    "to",
    "updated_after",
    "msg_id",
];
/// What chooses a page of a list.
const PAGE: &[&str] = &["limit", "cursor"];

type Answer<T> = Result<Json<T>, Problem>;

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(super) struct PageOut<T> {
    items: Vec<T>,
    /// For the parameter `cursor` of the next page; null on the last one. Opaque, and good with the same filters only.
    next_cursor: Option<String>,
}

/// A whole list.
#[derive(Serialize, ToSchema)]
#[schema(as = List)]
pub(super) struct ListOut<T> {
    items: Vec<T>,
}

/// Jobs, the latest first
///
/// Descending by (`finished_at`, `account`, `msg_id` as a number).
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "Jobs",
    params(JobFilters, Paging),
    responses(
        (status = 200, description = "A page of jobs.", body = PageOut<JobOut>, example = examples::jobs),
        Tagged,
    ),
)]
pub(super) async fn jobs(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<PageOut<JobOut>> {
    let parameters = Parameters::read(&uri, &[JOB_FILTERS, PAGE])?;
    let filter = job_filter(&parameters, &access)?;
    let page = page(&parameters, &filter)?;
    let jobs = in_time(state.0.store.jobs(&filter, &page)).await?;
    Ok(page_out(&filter, &page, &jobs))
}

/// A job
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{account}/{msg_id}",
    tag = "Jobs",
    params(JobKey),
    responses(
        (status = 200, description = "The job.", body = JobOut, example = examples::job),
        Tagged,
        NoJob,
    ),
)]
pub(super) async fn job(
    FromState(state): FromState<State>,
    access: Access,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Answer<JobOut> {
    Parameters::read(&uri, &[])?;
    let (account, msg_id) = job_key(path, &access)?;
    let job = in_time(state.0.store.job(&account, msg_id)).await?;
    Ok(Json(JobOut::from(&job.ok_or(NO_JOB)?)))
}

/// What was received for a job, the oldest first
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{account}/{msg_id}/deliveries",
    tag = "Jobs",
    params(JobKey),
    responses(
        (status = 200, description = "Its deliveries.", body = ListOut<DeliveryOut>, example = examples::job_deliveries),
        Tagged,
        NoJob,
    ),
)]
pub(super) async fn job_deliveries(
    FromState(state): FromState<State>,
    access: Access,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Answer<ListOut<DeliveryOut>> {
    Parameters::read(&uri, &[])?;
    let (account, msg_id) = job_key(path, &access)?;
    let deliveries = in_time(state.0.store.job_deliveries(&account, msg_id)).await?;
    // Those of an old job may have been pruned.
    if deliveries.is_empty() {
        let job = in_time(state.0.store.job(&account, msg_id)).await?;
        job.ok_or(NO_JOB)?;
    }
    let items = deliveries.iter().map(DeliveryOut::from).collect();
    Ok(Json(ListOut { items }))
}

/// Everything that is kept, the latest first
///
/// Descending by (`received_at`, `id`). A delivery that could not be understood is `unparsed`, one that the account's key,
/// `AppID` or original id does not open is `sealed`.
#[utoipa::path(
    get,
    path = "/api/v1/deliveries",
    tag = "Deliveries",
    params(DeliveryFilters, Paging),
    responses(
        (status = 200, description = "A page of deliveries.", body = PageOut<DeliveryOut>, example = examples::deliveries),
        Tagged,
    ),
)]
pub(super) async fn deliveries(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Answer<PageOut<DeliveryOut>> {
    let parameters = Parameters::read(&uri, &[&["account", "state", "event", "from", "to"], PAGE])?;
    let filter = DeliveryFilter {
        account: parameters.get("account", ACCOUNT)?,
        accounts: access.accounts(),
        state: parameters.get("state", STATE)?,
        event: parameters.get_with("event", EVENT, event)?,
        from: parameters.get_with("from", TIME, bound)?,
        to: parameters.get_with("to", TIME, bound)?,
    };
    let page = page(&parameters, &filter)?;
    let deliveries = in_time(state.0.store.deliveries(&filter, &page)).await?;
    Ok(page_out(&filter, &page, &deliveries))
}

/// The catalogue of `err(num)` codes
///
/// Every code known, ascending. WeChat adds to them without notice.
#[utoipa::path(
    get,
    path = "/api/v1/reasons",
    tag = "Jobs",
    operation_id = "catalogue",
    responses(
        (status = 200, description = "The codes.", body = ListOut<ReasonOut>, example = examples::reasons),
    ),
)]
pub(super) async fn reasons(uri: Uri) -> Answer<ListOut<ReasonOut>> {
    Parameters::read(&uri, &[])?;
    let items = CATALOGUE
        .iter()
        .map(|reason| ReasonOut::from(*reason))
        .collect();
    Ok(Json(ListOut { items }))
}

/// Any other path under `/api`.
pub(super) async fn not_found() -> Problem {
    Problem::NotFound("there is no such route")
}

/// Any other method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::MethodNotAllowed
}

const NO_JOB: Problem = Problem::NotFound("there is no such job in this account");

/// The jobs that were asked for, as far as the key sees them.
fn job_filter(parameters: &Parameters, access: &Access) -> Result<JobFilter, Problem> {
    Ok(JobFilter {
        account: parameters.get("account", ACCOUNT)?,
        accounts: access.accounts(),
        outcome: parameters.get("outcome", OUTCOME)?,
        code: parameters.get_with("code", CODE, whole_number)?,
        check_state: parameters.get("check_state", CHECK_STATE)?,
        from: parameters.get_with("from", TIME, bound)?,
        to: parameters.get_with("to", TIME, bound)?,
        updated_after: parameters.get_with("updated_after", TIME, |text| {
            Time::parse_rounding_down(text).ok()
        })?,
        msg_id: parameters.get("msg_id", MSG_ID)?,
    })
}

/// A path that cannot name a job names none; nor, for this key, does one of an account that it does not see.
fn job_key(
    path: Result<Path<(String, String)>, PathRejection>,
    access: &Access,
) -> Result<(AccountName, MsgId), Problem> {
    let Path((account, msg_id)) = path.map_err(|_| NO_JOB)?;
    match (account.parse(), msg_id.parse()) {
        (Ok(account), Ok(msg_id)) if access.includes(&account) => Ok((account, msg_id)),
        _ => Err(NO_JOB),
    }
}

/// One row more than asked for is fetched: it tells whether there is a next page.
fn page<K: cursor::Key>(
    parameters: &Parameters,
    filter: &impl std::fmt::Debug,
) -> Result<Page<K>, Problem> {
    let limit = parameters.get_with("limit", LIMIT, |text| {
        whole_number(text).filter(|limit| (1..=MAX_LIMIT).contains(limit))
    })?;
    Ok(Page {
        after: parameters.get_with("cursor", CURSOR, |text| cursor::decode(filter, text))?,
        limit: limit.unwrap_or(DEFAULT_LIMIT) + 1,
    })
}

fn page_out<'r, R, O, K>(
    filter: &impl std::fmt::Debug,
    page: &Page<K>,
    rows: &'r [R],
) -> Json<PageOut<O>>
where
    O: From<&'r R>,
    K: From<&'r R> + cursor::Key,
{
    let limit = usize::try_from(page.limit - 1).unwrap_or(usize::MAX);
    let shown = &rows[..rows.len().min(limit)];
    let next_cursor = match shown.last() {
        Some(last) if rows.len() > limit => Some(cursor::encode(filter, &K::from(last))),
        _ => None,
    };
    Json(PageOut {
        items: shown.iter().map(O::from).collect(),
        next_cursor,
    })
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Problem::Unavailable),
    }
}

/// No event is called by a NUL, which PostgreSQL takes in no text.
fn event(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| text.to_owned())
}

/// `from` and `to`: a time between two milliseconds counts as the later one, so that no job before it is in.
fn bound(text: &str) -> Option<Time> {
    Time::parse_rounding_up(text).ok()
}
