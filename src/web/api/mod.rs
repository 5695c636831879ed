//! The JSON API, which dashboards read. Handlers read parameters, ask the store, and shape the
//! answer.

pub(super) mod accounts;
pub(super) mod answering;
pub(super) mod auth;
pub(super) mod callers;
mod cursor;
pub(super) mod deliveries;
pub(super) mod departure;
mod event_id;
pub(super) mod export;
pub(super) mod jobs;
pub(super) mod openapi;
mod paging;
mod parameters;
pub(super) mod problem;
pub(super) mod stats;
pub(super) mod stream;

use std::time::Duration;

use axum::Json;

use super::State;
use crate::store::{StoreError, within};
use problem::Problem;

/// For the database; the client then has a 503 within 5 s.
const TIMEOUT: Duration = Duration::from_secs(4);

type Answer<T> = Result<Json<T>, Problem>;

/// Any other path under `/api`.
pub(super) async fn not_found() -> Problem {
    Problem::NotFound("this route does not exist")
}

/// Any other method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::MethodNotAllowed
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
    Ok(within(TIMEOUT, call).await?)
}
