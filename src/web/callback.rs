//! WeChat's side: the check of the URL, and pushes. Answers are short plain text; every refusal is the same.

use std::any::Any;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State as FromState};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tracing::{debug, error, info, warn};

use super::State;
use super::bodies::{Bodies, ComingIn, GaveWay};
use super::warnings::Subject;
use crate::domain::{AccountName, MsgId, NewDelivery, Reading, Time};
use crate::ingest::{Accepted, IngestError, Kept};
use crate::store::Recorded;
use crate::wechat::{Account, OpenError, Query};

/// How long a body may take to come in.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// How much of a body that is too long is still read, so that its sender sees the answer and not a broken connection.
const OVERRUN: usize = 1024 * 1024;
/// How long that may take where the length was declared.
const OVERRUN_PATIENCE: Duration = Duration::from_millis(500);

/// Why a request was refused; for the log alone.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no such account is configured")]
    UnknownAccount,
    #[error(transparent)]
    NotAuthentic(#[from] OpenError),
    #[error("this signature came with another body before")]
    Replayed,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is longer than `server.body_limit`")]
    TooLong,
    #[error("the body did not come within 5 s")]
    TooSlow,
    #[error(transparent)]
    GaveWay(#[from] GaveWay),
    #[error("the body broke off")]
    Broken,
}

/// `GET`: WeChat checks the URL when the owner saves the server configuration.
pub(super) async fn check_url(FromState(state): FromState<State>, uri: Uri) -> Response {
    let query = Query::parse(uri.query().unwrap_or_default());
    let (account, known) = state.account(&uri);
    let echo = match account.check_url(query) {
        Ok(echo) if known => echo,
        Ok(_) => return state.refuse(None, &Refusal::UnknownAccount),
        Err(error) => return state.refuse_at(account, known, error),
    };
    if let Some(signature) = echo.unbound_signature {
        state.0.replay.note_check(&account.name, signature);
    }
    info!(account = %account.name, "WeChat has checked the URL");
    text(StatusCode::OK, echo.echostr)
}

/// `POST`: an event or a user's message.
pub(super) async fn push(FromState(state): FromState<State>, request: Request) -> Response {
    let received_at = Time::now();
    let (parts, body) = request.into_parts();
    let body = match read_body(body, state.0.limits.body, &state.0.bodies).await {
        Ok(body) => body,
        Err(error) => return state.turn_away(&parts.uri, &error),
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let (account, known) = state.account(&parts.uri);
    let tolerance = state.0.limits.timestamp_tolerance;
    let opened = match account.open(&query, body, received_at, tolerance) {
        Ok(opened) if known => opened,
        Ok(_) => return state.refuse(None, &Refusal::UnknownAccount),
        Err(error) => return state.refuse_at(account, known, error),
    };
    let body_sha256 = Sha256::digest(&opened.body).into();
    if let Some(signature) = opened.unbound_signature
        && !state
            .0
            .replay
            .admits(&account.name, signature, &body_sha256)
    {
        return state.refuse(Some(account), &Refusal::Replayed);
    }
    if opened.skew.is_none_or(|skew| skew > tolerance)
        && state.0.warnings.is_due(Subject::Skew, Some(&account.name))
    {
        warn!(account = %account.name, skew_s = opened.skew, "WeChat's timestamp is far from this clock");
    }
    let delivery = NewDelivery {
        account: account.name.clone(),
        body: opened.body,
        body_sha256,
        received_at,
        reading: opened.reading,
    };
    accept(&state, delivery).await
}

/// Says `success` only after what must be kept is on disk.
async fn accept(state: &State, delivery: NewDelivery) -> Response {
    let account = delivery.account.clone();
    let told = Told::of(&delivery.reading);
    match state.0.ingest.accept(delivery).await {
        Ok(Accepted::Kept(kept)) => told.log(&account, kept),
        Ok(Accepted::NotKept) => debug!(%account, "a push that is not kept"),
        Err(error) => {
            if error == IngestError::Full && state.0.warnings.is_due(Subject::Full, None) {
                error!(%error, "pushes are refused; WeChat will try again");
            }
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            return response;
        }
    }
    text(StatusCode::OK, "success")
}

/// What the log tells of a push that is kept.
enum Told {
    Result(MsgId, &'static str, Option<String>),
    Other,
    Unparsed(String),
}

impl Told {
    fn of(reading: &Reading) -> Self {
        match reading {
            Reading::Result { result, note, .. } => {
                Self::Result(result.msg_id, result.status.outcome.as_str(), note.clone())
            }
            Reading::Other { .. } => Self::Other,
            Reading::Unparsed { error, .. } => Self::Unparsed(error.clone()),
        }
    }

    fn log(&self, account: &AccountName, kept: Kept) {
        let is_copy = (kept != Kept::Spooled).then_some(kept == Kept::Filed(Recorded::Duplicate));
        let is_spooled = (kept == Kept::Spooled).then_some(true);
        match self {
            Self::Result(msg_id, outcome, note) => {
                info!(%account, %msg_id, outcome, is_copy, is_spooled, note, "a job result is kept");
            }
            Self::Other => info!(%account, is_copy, is_spooled, "an event is kept"),
            Self::Unparsed(error) => {
                warn!(%account, is_copy, is_spooled, error, "a push could not be understood; it is kept raw");
            }
        }
    }
}

/// The whole body. One that is too long is thrown away as it comes; it is never cut silently.
async fn read_body(body: Body, limit: usize, bodies: &Bodies) -> Result<Vec<u8>, BodyError> {
    let is_declared_too_long =
        usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > limit);
    let reading = receive(body, limit, bodies);
    if is_declared_too_long {
        let _ = tokio::time::timeout(OVERRUN_PATIENCE, reading).await;
        return Err(BodyError::TooLong);
    }
    tokio::time::timeout(BODY_DEADLINE, reading)
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

async fn receive(mut body: Body, limit: usize, bodies: &Bodies) -> Result<Vec<u8>, BodyError> {
    let mut coming_in: Option<ComingIn<'_>> = None;
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| BodyError::Broken)?.into_data();
        let data: Bytes = data.unwrap_or_default();
        length = length.saturating_add(data.len());
        if length > limit {
            coming_in = None;
            if length > limit.saturating_add(OVERRUN) {
                break;
            }
        } else if coming_in.is_none() && body.is_end_stream() {
            // It came in one piece, as most do, and never waits.
            return Ok(data.to_vec());
        } else {
            coming_in.get_or_insert_with(|| bodies.enter()).add(&data)?;
        }
    }
    if length > limit {
        return Err(BodyError::TooLong);
    }
    Ok(coming_in.map_or(Ok(Vec::new()), ComingIn::finish)?)
}

/// WeChat uses GET and POST only.
pub(super) async fn method_not_allowed() -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET,POST"));
    response
}

/// A handler panicked: WeChat must try again.
pub(super) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    error!("a handler panicked");
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

impl State {
    /// The account that the path names, and whether there is one. The name is taken as it stands in the path: names need
    /// no escapes.
    fn account(&self, uri: &Uri) -> (&Account, bool) {
        let name = uri.path().rsplit('/').next().unwrap_or_default();
        match self.0.accounts.get(name) {
            Some(account) => (account, true),
            None => (&self.0.decoy, false),
        }
    }

    /// Answers a body that could not be read. Nobody has shown to be WeChat yet, but if it was, an event may be lost.
    fn turn_away(&self, uri: &Uri, error: &BodyError) -> Response {
        let (account, known) = self.account(uri);
        let name = known.then_some(&account.name);
        let shown = name.map(tracing::field::display);
        if self.0.warnings.is_due(Subject::Body, name) {
            warn!(account = shown, %error, "a body was not taken; more of these within a minute are logged at debug level only");
        } else {
            debug!(account = shown, %error, "a body was not taken");
        }
        match error {
            BodyError::TooLong => text(StatusCode::PAYLOAD_TOO_LARGE, "body too long"),
            BodyError::TooSlow | BodyError::GaveWay(_) => {
                text(StatusCode::REQUEST_TIMEOUT, "body too slow")
            }
            BodyError::Broken => text(StatusCode::BAD_REQUEST, "body broken off"),
        }
    }

    fn refuse_at(&self, account: &Account, known: bool, error: OpenError) -> Response {
        if known {
            self.refuse(Some(account), &Refusal::NotAuthentic(error))
        } else {
            self.refuse(None, &Refusal::UnknownAccount)
        }
    }

    /// The constant 403. The reason goes to the log only; loudly once a minute per account, because a wrong token of our
    /// own would otherwise lose events in silence.
    fn refuse(&self, account: Option<&Account>, refusal: &Refusal) -> Response {
        self.0.ingest.counters().refused();
        let name = account.map(|account| &account.name);
        let shown = name.map(tracing::field::display);
        if self.0.warnings.is_due(Subject::Refused, name) {
            warn!(account = shown, reason = %refusal, "refused; more of these within a minute are logged at debug level only");
        } else {
            debug!(account = shown, reason = %refusal, "refused");
        }
        text(StatusCode::FORBIDDEN, "forbidden")
    }
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}
