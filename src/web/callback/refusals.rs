//! Requests for callback URLs that are not taken: what the caller is told, and what the log is.

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

/// Why a request was refused; for the log alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
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

impl State {
    /// The account that the path names, and whether there is one. The name is taken as it stands in the path: names need
    /// no escapes.
    pub(super) fn account(&self, uri: &Uri) -> (&Account, bool) {
        let name = uri.path().rsplit('/').next().unwrap_or_default();
        match self.0.accounts.get(name) {
            Some(account) => (account, true),
            None => (&self.0.decoy, false),
        }
    }

    /// Answers a body that could not be read, or has nothing to be read. If it is WeChat's, an event may be lost.
    pub(super) fn turn_away(&self, uri: &Uri, error: &BodyError) -> Response {
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

    /// The constant 403. The reason goes to the log only; loudly once a minute per account, because a wrong token of our
    /// own would otherwise lose events in silence.
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
                warn!(address = %peer.ip(), "an address is refused all the time; its refusals are no longer logged one by one");
            }
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}
