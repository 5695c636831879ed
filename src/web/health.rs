//! Health, open to all, with nothing private in it.

use std::error::Error;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::Mutex;
use tracing::warn;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::State;
use super::warnings::Subject;
use crate::domain::Time;
use crate::store::{Depth, SealedTotal, StoreError, within};

/// For the database and the spool.
const TIMEOUT: Duration = Duration::from_secs(2);
/// For the numbers of sealed deliveries; after that the last known ones are used.
const SEALED_TIMEOUT: Duration = Duration::from_millis(500);
/// An answer is cached, so that many requests do not put load on the database.
const CACHE_TIME: Duration = Duration::from_secs(1);

const READY: &str = "ready";
const DEGRADED: &str = "degraded";
const UNAVAILABLE: &str = "unavailable";
const STATUSES: [&str; 3] = [READY, DEGRADED, UNAVAILABLE];

/// Whether events can be accepted.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Ready)]
pub struct ReadyOut {
    /// `ready`; `degraded`: the spool is in use or does not work, or deliveries are sealed, and
    /// events are still accepted; `unavailable`: nothing can be accepted.
    #[schema(schema_with = status)]
    pub(super) status: &'static str,
    /// `sqlite` or `postgresql`.
    #[schema(example = "postgresql")]
    database: &'static str,
    /// The status in words.
    #[schema(example = "the database answers")]
    detail: &'static str,
    /// Sealed deliveries, for the metrics.
    #[serde(skip)]
    pub sealed: Vec<SealedTotal>,
    /// Only with PostgreSQL, and while the spool can be read.
    #[schema(value_type = SpoolOut, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolOut>,
}

/// What is stored outside of the database.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Spool)]
pub struct SpoolOut {
    /// Deliveries that wait for the database.
    pub waiting: i64,
    /// How long the oldest of them has waited; only while there are any.
    #[schema(value_type = i64, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<i64>,
    /// Deliveries that the database refuses because of their content.
    pub refused: i64,
}

/// The last answer of [`health`], and when it was found.
pub(super) type LastAnswer = Mutex<Option<(Instant, StatusCode, ReadyOut)>>;

fn status() -> Object {
    let word = ObjectBuilder::new().schema_type(Type::String);
    word.enum_values(Some(STATUSES)).build()
}

/// Liveness
#[utoipa::path(
    get,
    path = "/livez",
    tag = "Server",
    responses((status = 200, description = "The process is running.", body = String, content_type = "text/plain", example = "ok")),
)]
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// Readiness
///
/// Whether an event would be accepted, into the database or the spool. Answers are cached for a
/// second.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Server",
    responses(
        (status = 200, description = "`ready` or `degraded`: it would.", body = ReadyOut),
        (status = 503, description = "`unavailable`: it would not.", body = ReadyOut),
    ),
)]
pub(super) async fn readyz(FromState(state): FromState<State>) -> (StatusCode, Json<ReadyOut>) {
    let (code, out) = health(&state).await;
    (code, Json(out))
}

impl State {
    pub async fn health(&self) -> ReadyOut {
        health(self).await.1
    }
}

impl ReadyOut {
    /// True if events can be kept.
    pub fn is_available(&self) -> bool {
        self.status != UNAVAILABLE
    }

    /// Every status, and whether it is the current one.
    pub fn statuses(&self) -> impl Iterator<Item = (&'static str, bool)> {
        STATUSES
            .map(|status| (status, status == self.status))
            .into_iter()
    }
}

async fn health(state: &State) -> (StatusCode, ReadyOut) {
    let mut last = state.0.last_answer.lock().await;
    if let Some((found, code, out)) = &*last
        && found.elapsed() < CACHE_TIME
    {
        return (*code, out.clone());
    }
    let sealed = last.as_ref().map(|(.., out)| out.sealed.clone());
    let (code, out) = find_out(state, sealed.unwrap_or_default()).await;
    *last = Some((Instant::now(), code, out.clone()));
    (code, out)
}

async fn find_out(state: &State, mut sealed: Vec<SealedTotal>) -> (StatusCode, ReadyOut) {
    let (pinged, depth) = tokio::join!(
        within(TIMEOUT, state.0.store.ping()),
        within(TIMEOUT, state.0.ingest.depth()),
    );
    let failure = pinged.err();
    if failure.is_none()
        && let Ok(totals) = within(SEALED_TIMEOUT, state.0.store.sealed()).await
    {
        sealed = totals;
    }
    let is_sealed = sealed.iter().any(|total| total.deliveries > 0);
    let waiting = match &depth {
        Ok(Some(depth)) => depth.waiting,
        Ok(None) | Err(_) => 0,
    };
    let (code, status, detail) = match (&failure, &depth) {
        (None, Err(_)) => (
            StatusCode::OK,
            DEGRADED,
            "the database answers; the spool does not",
        ),
        (None, Ok(_)) if waiting > 0 => (
            StatusCode::OK,
            DEGRADED,
            "the database answers; deliveries are being moved to it from the spool",
        ),
        (None, Ok(_)) if is_sealed => (
            StatusCode::OK,
            DEGRADED,
            "the database answers; some deliveries are sealed, because the configuration of their account does not open them: \
             see `qunfa doctor`",
        ),
        (None, Ok(_)) => (StatusCode::OK, READY, "the database answers"),
        (Some(_), Ok(Some(_))) => (
            StatusCode::OK,
            DEGRADED,
            "the database does not work; deliveries are stored in the spool",
        ),
        (Some(StoreError::TimedOut), _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            "the database did not answer in time",
        ),
        (Some(_), _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            "the database is not available",
        ),
    };
    let error = failure.as_ref().or(depth.as_ref().err());
    if let Some(error) = error
        && state.0.warnings.is_due(Subject::Ready, None)
    {
        let source = error.source().map(ToString::to_string);
        warn!(
            status,
            detail, source, "the server is not fully ready to accept events"
        );
    }
    let out = ReadyOut {
        status,
        database: state.0.database,
        detail,
        sealed,
        spool: depth.ok().flatten().map(SpoolOut::new),
    };
    (code, out)
}

impl SpoolOut {
    fn new(depth: Depth) -> Self {
        let age = |oldest: Time| {
            Time::now()
                .seconds()
                .saturating_sub(oldest.seconds())
                .max(0)
        };
        Self {
            waiting: depth.waiting,
            oldest_age_seconds: depth.oldest.map(age),
            refused: depth.refused,
        }
    }
}
