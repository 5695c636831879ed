//! Refused requests for callback URLs: the answer, the log and the metric.

use std::net::SocketAddr;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use tracing::{debug, warn};

use super::bodies::BodyError;
use super::text;
use crate::web::State;
use crate::web::rate_limit::Reputation;
use crate::web::warnings::Subject;
use crate::wechat::{Account, OpenError};

/// Why a request was refused, for the log only.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no such account is configured")]
    UnknownAccount,
    #[error(transparent)]
    NotAuthentic(#[from] OpenError),
    #[error("this signature was used with another body before")]
    Replayed,
}

impl Refusal {
    /// The `reason` in the metric.
    const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownAccount => "unknown_account",
            Self::NotAuthentic(error) => error.reason(),
            Self::Replayed => "replayed",
        }
    }
}

impl State {
    /// The account that the path names, and true if it is configured. Names need no escapes, so
    /// none are decoded.
    pub(super) fn account(&self, uri: &Uri) -> (&Account, bool) {
        let name = uri.path().rsplit('/').next().unwrap_or_default();
        match self.0.accounts.get(name) {
            Some(account) => (account, true),
            None => (&self.0.decoy, false),
        }
    }

    /// Answers a request whose body is empty or could not be read. If it is from WeChat, an event
    /// may be lost.
    pub(super) fn turn_away(&self, uri: &Uri, error: &BodyError) -> Response {
        let (account, known) = self.account(uri);
        let name = known.then_some(&account.name);
        self.0.metrics.refused(name, error.reason());
        let shown = name.map(tracing::field::display);
        if self.0.warnings.is_due(Subject::Body, name) {
            warn!(account = shown, %error, "a body was refused; more of these within a minute are logged at debug level only");
        } else {
            debug!(account = shown, %error, "a body was refused");
        }
        match error {
            BodyError::TooLong => text(StatusCode::PAYLOAD_TOO_LARGE, "body too long"),
            BodyError::TooSlow | BodyError::Evicted => {
                text(StatusCode::REQUEST_TIMEOUT, "body too slow")
            }
            BodyError::Broken => text(StatusCode::BAD_REQUEST, "body broken off"),
            BodyError::Empty => text(StatusCode::BAD_REQUEST, "body empty"),
        }
    }

    pub(super) fn refuse_at(
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

    /// The constant 403. Only the log has the reason, as a warning once a minute for each account:
    /// a wrong token in the configuration would otherwise lose events silently.
    pub(super) fn refuse(
        &self,
        peer: SocketAddr,
        account: Option<&Account>,
        refusal: &Refusal,
    ) -> Response {
        let reputation = self.0.refusals.count(peer.ip());
        let name = account.map(|account| &account.name);
        self.0.metrics.refused(name, refusal.reason());
        let shown = name.map(tracing::field::display);
        if self.0.warnings.is_due(Subject::Refused, name) {
            warn!(account = shown, reason = %refusal, "refused; more of these within a minute are logged at debug level only");
        } else if reputation == Reputation::Good {
            debug!(account = shown, reason = %refusal, "refused");
        }
        let mut response = text(StatusCode::FORBIDDEN, "forbidden");
        if reputation == Reputation::OverLimit {
            if self.0.warnings.is_due(Subject::Flood, None) {
                warn!(address = %peer.ip(), "too many requests from one address are refused; its refusals are no longer logged one by one");
            }
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}
