//! All matching jobs as a download. A client reads at its own pace: the next page is fetched once
//! the previous one has been sent.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State as FromState;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tracing::warn;

use super::auth::Access;
use super::openapi::examples;
use super::parameters::{Bom, JobFilters, Query};
use super::{Problem, State, in_time};
use crate::output::{Export, Format};
use crate::store::JobFilter;

/// The most bytes that are sent at once. A client has a minute for each piece.
const PIECE: usize = 64 * 1024;

/// Every job that matches, as CSV
///
/// In the order of the list, as a download, in UTF-8 with a header line. A text that a spreadsheet
/// would take for a formula is prefixed with `'`, also after a `;`, `,`, tab or line end inside a
/// text; null is an empty field. If the database fails midway, the connection is closed, so that a
/// part is never mistaken for the whole.
#[utoipa::path(
    get,
    path = "/api/v1/jobs.csv",
    tag = "Jobs",
    params(JobFilters, Bom),
    responses((
        status = 200,
        description = "The jobs.",
        headers(("content-disposition" = String, description = "`attachment`, with a file name.")),
        content_type = "text/csv",
        body = String,
        example = examples::csv,
    )),
)]
pub(in crate::web) async fn jobs_csv(
    FromState(state): FromState<State>,
    access: Access,
    Query((filters, Bom { bom })): Query<(JobFilters, Bom)>,
) -> Result<Response, Problem> {
    let bom = bom.unwrap_or(false);
    export(&state, filters.visible(&access), Format::Csv { bom }).await
}

/// Every job that matches, as NDJSON
///
/// In the order of the list, as a download with one Job per line. If the database fails midway, the
/// connection is closed, so that a part is never mistaken for the whole.
#[utoipa::path(
    get,
    path = "/api/v1/jobs.ndjson",
    tag = "Jobs",
    params(JobFilters),
    responses((
        status = 200,
        description = "The jobs.",
        headers(("content-disposition" = String, description = "`attachment`, with a file name.")),
        content_type = "application/x-ndjson",
        body = String,
        example = examples::ndjson,
    )),
)]
pub(in crate::web) async fn jobs_ndjson(
    FromState(state): FromState<State>,
    access: Access,
    Query(filters): Query<JobFilters>,
) -> Result<Response, Problem> {
    export(&state, filters.visible(&access), Format::Ndjson).await
}

/// The first page is read before the answer starts, so that an outage is answered 503 as usual.
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
                    warn!(?problem, "an export was aborted");
                    return Err(Aborted);
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

/// The database failed midway. The connection is closed, so that a part is not mistaken for the
/// whole.
#[derive(Debug, thiserror::Error)]
#[error("the export was aborted")]
struct Aborted;
