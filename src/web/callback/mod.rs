//! WeChat's callback: the URL check, and pushes. Answers are short plain text; every refusal is the
//! same.

mod bodies;
mod refusals;
mod replay;

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
use super::warnings::Subject;
use crate::domain::{AccountName, DeliveryState, MsgId, NewDelivery, Outcome, Reading, Time};
use crate::ingest::{Accepted, IngestError};
use crate::store::Recorded;
use crate::wechat::Query;

pub(super) use bodies::Bodies;
use bodies::BodyError;
use refusals::Refusal;
pub(super) use replay::ReplayMemory;

/// `GET`: WeChat checks the URL when the server configuration is saved in its console.
pub(in crate::web) async fn check_url(
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
pub(in crate::web) async fn push(
    FromState(state): FromState<State>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let received_at = Time::now();
    let (parts, body) = request.into_parts();
    let reputation = || state.0.refusals.reputation(peer.ip());
    let body = match state
        .0
        .bodies
        .read(body, state.0.limits.body, reputation)
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
        recorded_at: received_at,
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

/// Answers `success` only once the delivery is on disk, if it is to be kept.
async fn accept(state: &State, delivery: NewDelivery) -> Response {
    let account = delivery.account.clone();
    let log = PushLog::new(&delivery.reading);
    match state.0.ingest.accept(delivery).await {
        Ok(accepted) => log.write(state, &account, accepted),
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

/// What the log says about a push, taken from its reading before that is handed on.
struct PushLog {
    state: DeliveryState,
    job: Option<(MsgId, Outcome)>,
    error: Option<String>,
}

impl PushLog {
    fn new(reading: &Reading) -> Self {
        let result = reading.result();
        Self {
            state: reading.state(),
            job: result.map(|result| (result.msg_id, result.status.outcome)),
            error: reading.error().map(str::to_owned),
        }
    }

    fn write(self, state: &State, account: &AccountName, accepted: Accepted) {
        let (is_copy, is_spooled) = match accepted {
            Accepted::Recorded(recorded) => (Some(recorded == Recorded::Duplicate), None),
            Accepted::Spooled => (None, Some(true)),
            Accepted::Ignored => {
                debug!(%account, "a push that is not kept");
                return;
            }
        };
        let error = self.error;
        match (self.state, self.job) {
            (DeliveryState::Stored, Some((msg_id, outcome))) => {
                let (outcome, note) = (outcome.as_str(), error);
                info!(%account, %msg_id, outcome, is_copy, is_spooled, note, "a job result is kept");
            }
            (DeliveryState::Stored, None) => {
                info!(%account, is_copy, is_spooled, "an event is kept");
            }
            (DeliveryState::Unparsed, _) => {
                warn!(%account, is_copy, is_spooled, error, "a push could not be understood; it is kept raw");
            }
            (DeliveryState::Sealed, _)
                if state.0.warnings.is_due(Subject::Sealed, Some(account)) =>
            {
                warn!(%account, is_copy, is_spooled, error, "a push does not open with the configuration of its account and is kept sealed");
            }
            (DeliveryState::Sealed, _) => {
                debug!(%account, is_copy, is_spooled, error, "a push is kept sealed");
            }
        }
    }
}

/// WeChat uses GET and POST only.
pub(in crate::web) async fn method_not_allowed() -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET,POST"));
    response
}

/// The answer after a handler panicked: WeChat retries.
pub(in crate::web) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    error!("a handler panicked");
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}
