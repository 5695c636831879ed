//! Jobs: the list, a single job with its deliveries, and the catalogue of reasons.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as FromState};
use axum::http::Uri;

use super::auth::Access;
use super::openapi::parameters::{JobFilters, JobKey, Paging};
use super::openapi::{NoJob, Tagged, examples};
use super::paging::{ListOut, PAGE, PageOut, page, page_out};
use super::parameters::{ACCOUNT, Parameters, TIME, bound};
use super::problem::Problem;
use super::{Answer, State, in_time};
use crate::domain::{AccountName, CATALOGUE, MsgId, Time, whole_number};
use crate::output::{DeliveryOut, JobOut, ReasonOut};
use crate::store::JobFilter;

const OUTCOME: &str = "one of sent, failed, rejected, unknown";
const CODE: &str = "a number from 0 to 2147483647";
const CHECK_STATE: &str = "an integer";
const MSG_ID: &str = "a number from 1 to 9223372036854775807";

/// What chooses jobs.
pub(super) const JOB_FILTERS: &[&str] = &[
    "account",
    "outcome",
    "code",
    "check_state",
    "from",
    "to",
    "updated_after",
    "msg_id",
];

pub(super) const NO_JOB: Problem = Problem::NotFound("there is no such job in this account");

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
pub(in crate::web) async fn jobs(
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
pub(in crate::web) async fn job(
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
pub(in crate::web) async fn job_deliveries(
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
pub(in crate::web) async fn reasons(uri: Uri) -> Answer<ListOut<ReasonOut>> {
    Parameters::read(&uri, &[])?;
    let items = CATALOGUE
        .iter()
        .map(|reason| ReasonOut::from(*reason))
        .collect();
    Ok(Json(ListOut { items }))
}

/// The jobs that were asked for, as far as the key sees them.
pub(super) fn job_filter(parameters: &Parameters, access: &Access) -> Result<JobFilter, Problem> {
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
