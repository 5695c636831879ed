//! WeChat's side: the check of the URL, and pushes. Answers are short plain text; every refusal is the same.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State as FromState};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tracing::{debug, error, info, warn};

use super::State;
use super::bodies::BodyError;
use super::refusals::Standing;
use super::warnings::Subject;
use crate::domain::{AccountName, MsgId, NewDelivery, Reading, Time};
use crate::ingest::{Accepted, IngestError, Kept};
use crate::store::Recorded;
use crate::wechat::{Account, OpenError, Query};

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

impl Refusal {
    /// The word that it is counted under.
    const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownAccount => "unknown_account",
            Self::NotAuthentic(error) => error.reason(),
            Self::Replayed => "replayed",
        }
    }
}

/// `GET`: WeChat checks the URL when the owner saves the server configuration.
pub(super) async fn check_url(
    FromState(state): FromState<State>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Response {
    let query = Query::parse(uri.query().unwrap_or_default());
    let (account, known) = state.account(&uri);
    let echo = match account.check_url(query) {
        Ok(echo) if known => echo,
        Ok(_) => return state.refuse(peer, None, &Refusal::UnknownAccount),
        Err(error) => return state.refuse_at(peer, account, known, error),
    };
    if let Some(signature) = echo.unbound_signature {
        state.0.replay.note_check(&account.name, signature);
    }
    info!(account = %account.name, "WeChat has checked the URL");
    text(StatusCode::OK, echo.echostr)
}

/// `POST`: an event or a user's message.
pub(super) async fn push(
    FromState(state): FromState<State>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let received_at = Time::now();
    let (parts, body) = request.into_parts();
    let standing = || state.0.refusals.standing(peer.ip());
    let body = match state
        .0
        .bodies
        .read(body, state.0.limits.body, standing)
        .await
    {
        Ok(body) => body,
        Err(error) => return state.turn_away(&parts.uri, &error),
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let (account, known) = state.account(&parts.uri);
    let tolerance = state.0.limits.timestamp_tolerance;
    let opened = match account.open(&query, body, received_at, tolerance) {
        Ok(opened) if known => opened,
        Ok(_) => return state.refuse(peer, None, &Refusal::UnknownAccount),
        Err(error) => return state.refuse_at(peer, account, known, error),
    };
    let body_sha256 = Sha256::digest(&opened.body).into();
    let replay = &state.0.replay;
    if let Some(signature) = opened.unbound_signature {
        if !replay.admits(&account.name, signature, &body_sha256) {
            return state.refuse(peer, Some(account), &Refusal::Replayed);
        }
        if opened.body.is_empty() {
            replay.settle(&account.name, signature, false);
            return state.turn_away(&parts.uri, &BodyError::Empty);
        }
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
        filed_at: received_at,
        reading: opened.reading,
    };
    if let Some(skew) = opened.skew {
        state.0.metrics.skew(&account.name, skew);
    }
    let response = accept(&state, delivery).await;
    if let Some(signature) = opened.unbound_signature {
        let is_accepted = response.status() == StatusCode::OK;
        replay.settle(&account.name, signature, is_accepted);
    }
    state.0.metrics.acknowledged(started.elapsed());
    response
}

/// Says `success` only after what must be kept is on disk.
async fn accept(state: &State, delivery: NewDelivery) -> Response {
    let account = delivery.account.clone();
    let told = Told::of(&delivery.reading);
    match state.0.ingest.accept(delivery).await {
        Ok(Accepted::Kept(kept)) => told.log(state, &account, kept),
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
    Sealed(String),
}

impl Told {
    fn of(reading: &Reading) -> Self {
        match reading {
            Reading::Result { result, note, .. } => {
                Self::Result(result.msg_id, result.status.outcome.as_str(), note.clone())
            }
            Reading::Other { .. } | Reading::Platform => Self::Other,
            Reading::Unparsed { error, .. } => Self::Unparsed(error.clone()),
            Reading::Sealed { error } => Self::Sealed(error.clone()),
        }
    }

    fn log(&self, state: &State, account: &AccountName, kept: Kept) {
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
            Self::Sealed(error) if state.0.warnings.is_due(Subject::Sealed, Some(account)) => {
                warn!(%account, is_copy, is_spooled, error, "a push does not open with the configuration of its account and is kept sealed");
            }
            Self::Sealed(error) => {
                debug!(%account, is_copy, is_spooled, error, "a push is kept sealed");
            }
        }
    }
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

    /// Answers a body that could not be read, or has nothing to be read. If it is WeChat's, an event may be lost.
    fn turn_away(&self, uri: &Uri, error: &BodyError) -> Response {
        let (account, known) = self.account(uri);
        let name = known.then_some(&account.name);
        self.0.metrics.refused(name, error.reason());
        let shown = name.map(tracing::field::display);
        if self.0.warnings.is_due(Subject::Body, name) {
            warn!(account = shown, %error, "a body was not taken; more of these within a minute are logged at debug level only");
        } else {
            debug!(account = shown, %error, "a body was not taken");
        }
        match error {
            BodyError::TooLong => text(StatusCode::PAYLOAD_TOO_LARGE, "body too long"),
            BodyError::TooSlow | BodyError::GaveWay => {
                text(StatusCode::REQUEST_TIMEOUT, "body too slow")
            }
            BodyError::Broken => text(StatusCode::BAD_REQUEST, "body broken off"),
            BodyError::Empty => text(StatusCode::BAD_REQUEST, "body empty"),
        }
    }

    fn refuse_at(
        &self,
        peer: SocketAddr,
        account: &Account,
        known: bool,
        error: OpenError,
    ) -> Response {
        if known {
            self.refuse(peer, Some(account), &Refusal::NotAuthentic(error))
        } else {
            self.refuse(peer, None, &Refusal::UnknownAccount)
        }
    }

    /// The constant 403. The reason goes to the log only; loudly once a minute per account, because a wrong token of our
    /// own would otherwise lose events in silence.
    fn refuse(&self, peer: SocketAddr, account: Option<&Account>, refusal: &Refusal) -> Response {
        let standing = self.0.refusals.count(peer.ip());
        let name = account.map(|account| &account.name);
        self.0.metrics.refused(name, refusal.reason());
        let shown = name.map(tracing::field::display);
        if self.0.warnings.is_due(Subject::Refused, name) {
            warn!(account = shown, reason = %refusal, "refused; more of these within a minute are logged at debug level only");
        } else if standing == Standing::Good {
            debug!(account = shown, reason = %refusal, "refused");
        }
        let mut response = text(StatusCode::FORBIDDEN, "forbidden");
        if standing == Standing::OverLimit {
            if self.0.warnings.is_due(Subject::Flood, None) {
                warn!(address = %peer.ip(), "an address is refused all the time; its refusals are no longer logged one by one");
            }
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}
