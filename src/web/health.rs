//! Health: open to all, and nothing private in it.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use tracing::warn;

use super::State;
use super::warnings::Subject;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether events can be accepted.
#[derive(Serialize)]
pub(super) struct ReadyOut {
    status: &'static str,
    database: &'static str,
    detail: &'static str,
}

/// The process runs.
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// The database answers, so an event would be kept.
pub(super) async fn readyz(FromState(state): FromState<State>) -> (StatusCode, Json<ReadyOut>) {
    let database = state.0.database;
    let out = |status, detail| ReadyOut {
        status,
        database,
        detail,
    };
    let answer = tokio::time::timeout(PATIENCE, state.0.store.ping()).await;
    let (detail, source) = match answer {
        Ok(Ok(())) => return (StatusCode::OK, Json(out("ready", "the database answers"))),
        Ok(Err(error)) => {
            let source = error.source().map(ToString::to_string);
            ("the database is not available", source)
        }
        Err(_) => ("the database did not answer in time", None),
    };
    if state.0.warnings.is_due(Subject::Ready, None) {
        warn!(detail, source, "not ready to keep events");
    }
    let code = StatusCode::SERVICE_UNAVAILABLE;
    (code, Json(out("unavailable", detail)))
}

/// Outside of every route. A path near the callback's may be a slip in WeChat's console, where nobody sees it.
pub(super) async fn not_found(
    FromState(state): FromState<State>,
    uri: Uri,
) -> (StatusCode, &'static str) {
    if uri.path().starts_with("/wechat") && state.0.warnings.is_due(Subject::Path, None) {
        warn!(
            "a request under /wechat is for no callback URL: those are /wechat/ACCOUNT, without a slash at the end"
        );
    }
    (StatusCode::NOT_FOUND, "not found")
}
