//! The whole list of jobs as a download. A client reads at its own pace: the next page is fetched when the last has gone out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State as FromState;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tracing::warn;

use super::auth::Access;
use super::jobs::{JOB_FILTERS, job_filter};
use super::openapi::examples;
use super::openapi::parameters::{Bom, JobFilters};
use super::parameters::Parameters;
use super::{Problem, State, in_time};
use crate::output::{Export, Format};
use crate::store::JobFilter;

/// The largest piece that goes out at once: a client has a minute for each.
const PIECE: usize = 64 * 1024;

const BOM: &str = "true or false";

/// Every job that matches, as CSV
///
/// In the order of the list, as a download, in UTF-8 with a line of names. What a spreadsheet would take for a formula has a `'`
/// before it, also inside of a text behind `;`, `,`, a tab or a line end; null is an empty field. A database that fails on the way breaks the connection off, so that no part is taken for the
/// whole.
#[utoipa::path(
    get,
    path = "/api/v1/jobs.csv",
    tag = "Jobs",
    params(JobFilters, Bom),
    responses((
        status = 200,
        description = "The jobs.",
        headers(("content-disposition" = String, description = "`attachment`, with the name of a file.")),
        content_type = "text/csv",
        body = String,
        example = examples::csv,
    )),
)]
pub(in crate::web) async fn jobs_csv(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(&uri, &[JOB_FILTERS, &["bom"]])?;
    let bom = parameters.get("bom", BOM)?.unwrap_or(false);
    let filter = job_filter(&parameters, &access)?;
    export(&state, filter, Format::Csv { bom }).await
}

/// Every job that matches, as NDJSON
///
/// In the order of the list, as a download: a Job a line. A database that fails on the way breaks the connection off, so that no part
/// is taken for the whole.
#[utoipa::path(
    get,
    path = "/api/v1/jobs.ndjson",
    tag = "Jobs",
    params(JobFilters),
    responses((
        status = 200,
        description = "The jobs.",
        headers(("content-disposition" = String, description = "`attachment`, with the name of a file.")),
        content_type = "application/x-ndjson",
        body = String,
        example = examples::ndjson,
    )),
)]
pub(in crate::web) async fn jobs_ndjson(
    FromState(state): FromState<State>,
    access: Access,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(&uri, &[JOB_FILTERS])?;
    let filter = job_filter(&parameters, &access)?;
    export(&state, filter, Format::Ndjson).await
}

/// The first page is there before the answer begins, so that a database that is away is told as ever.
async fn export(state: &State, filter: JobFilter, format: Format) -> Result<Response, Problem> {
    let mut export = Export::new(Arc::clone(&state.0.store), filter, format);
    let first = in_time(export.next()).await?;
    let rest = Bytes::from(first.unwrap_or_default());
    let pieces = stream::try_unfold((export, rest), |(mut export, mut rest)| async {
        while rest.is_empty() {
            match in_time(export.next()).await {
                Ok(Some(part)) => rest = part.into(),
                Ok(None) => return Ok(None),
                Err(problem) => {
                    warn!(?problem, "an export was broken off");
                    return Err(BrokenOff);
                }
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Ok(Some((piece, (export, rest))))
    });
    let (content_type, disposition) = match format {
        Format::Csv { .. } => (
            "text/csv; charset=utf-8; header=present",
            "attachment; filename=\"jobs.csv\"",
        ),
        Format::Ndjson => (
            "application/x-ndjson",
            "attachment; filename=\"jobs.ndjson\"",
        ),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static(disposition),
        ),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// The database failed in the middle. The connection is cut, so that nobody takes what came for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the export was broken off")]
struct BrokenOff;
