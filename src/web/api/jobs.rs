//! Jobs: the list, a single job with its deliveries, and the catalogue of reasons.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State as FromState};
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::auth::Access;
use super::openapi::{NoJob, Tagged, examples};
use super::paging::{ListOut, PageOut, Paged};
use super::parameters::{ACCOUNT, JobFilters, MSG_ID, Paging, Query, described};
use super::problem::Problem;
use super::{Answer, State, in_time};
use crate::domain::{AccountName, CATALOGUE, MsgId};
use crate::output::{DeliveryOut, JobOut, ReasonOut};
use crate::store::{JobFilter, JobKey};

pub(super) const NO_JOB: Problem = Problem::NotFound("this account has no such job");

/// Jobs, the latest first
///
/// In descending order of (`finished_at`, `account`, `msg_id` as a number).
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
    Query(query): Query<Paged<JobFilters, JobKey>>,
) -> Answer<PageOut<JobOut>> {
    let filter = query.filters.visible(&access);
    let jobs = in_time(state.0.store.jobs(&filter, &query.page)).await?;
    Ok(query.answer(&jobs))
}

/// One job
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{account}/{msg_id}",
    tag = "Jobs",
    params(JobPath),
    responses(
        (status = 200, description = "The job.", body = JobOut, example = examples::job),
        Tagged,
        NoJob,
    ),
)]
pub(in crate::web) async fn job(
    FromState(state): FromState<State>,
    _: Query<()>,
    JobPath { account, msg_id }: JobPath,
) -> Answer<JobOut> {
    let job = in_time(state.0.store.job(&account, msg_id)).await?;
    Ok(Json(JobOut::from(&job.ok_or(NO_JOB)?)))
}

/// What was received for a job, the oldest first
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{account}/{msg_id}/deliveries",
    tag = "Jobs",
    params(JobPath),
    responses(
        (status = 200, description = "The deliveries of the job.", body = ListOut<DeliveryOut>, example = examples::job_deliveries),
        Tagged,
        NoJob,
    ),
)]
pub(in crate::web) async fn job_deliveries(
    FromState(state): FromState<State>,
    _: Query<()>,
    JobPath { account, msg_id }: JobPath,
) -> Answer<ListOut<DeliveryOut>> {
    let deliveries = in_time(state.0.store.job_deliveries(&account, msg_id)).await?;
    // The deliveries of an old job may have been pruned.
    if deliveries.is_empty() {
        let job = in_time(state.0.store.job(&account, msg_id)).await?;
        job.ok_or(NO_JOB)?;
    }
    let items = deliveries.iter().map(DeliveryOut::from).collect();
    Ok(Json(ListOut { items }))
}

/// The catalogue of `err(num)` codes
///
/// Every known code, in ascending order. WeChat adds codes without notice.
#[utoipa::path(
    get,
    path = "/api/v1/reasons",
    tag = "Jobs",
    operation_id = "catalogue",
    responses(
        (status = 200, description = "The codes.", body = ListOut<ReasonOut>, example = examples::reasons),
    ),
)]
pub(in crate::web) async fn reasons(_: Query<()>) -> Answer<ListOut<ReasonOut>> {
    let items = CATALOGUE.iter().copied().map(ReasonOut::from).collect();
    Ok(Json(ListOut { items }))
}

impl JobFilters {
    /// The jobs that match, as far as the key may see them.
    pub(super) fn visible(&self, access: &Access) -> JobFilter {
        JobFilter {
            account: self.account.clone(),
            accounts: access.accounts(),
            outcome: self.outcome,
            code: self.code,
            check_state: self.check_state,
            from: self.from,
            to: self.to,
            updated_after: self.updated_after,
            msg_id: self.msg_id,
        }
    }
}

/// The job that a path names. A path that cannot name a job, or names one of an account that the
/// key may not see, is answered like a job that does not exist.
pub(in crate::web) struct JobPath {
    account: AccountName,
    msg_id: MsgId,
}

impl FromRequestParts<State> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((account, msg_id)) = path.map_err(|_| NO_JOB)?;
        let access = Access::from_request_parts(parts, state).await?;
        match (account.parse(), msg_id.parse()) {
            (Ok(account), Ok(msg_id)) if access.includes(&account) => Ok(Self { account, msg_id }),
            _ => Err(NO_JOB),
        }
    }
}

impl IntoParams for JobPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter =
            |name, description, schema| described(ParameterIn::Path, name, description, schema);
        vec![
            parameter("account", "The account.", (ACCOUNT.schema)()),
            parameter("msg_id", "The id of the job.", (MSG_ID.schema)()),
        ]
    }
}
