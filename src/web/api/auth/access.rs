//! Who asks, and what they may see. Handlers that answer about jobs or deliveries take an [`Access`], and narrow what they
//! ask the store for by its accounts.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State as FromState};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::domain::{AccountName, Accounts, ApiClient, ApiKeyHash, Scope, Time};
use crate::web::State;
use crate::web::api::problem::Problem;

/// Whom a limit counts for: each key, or each address where no key is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::web) enum Caller {
    Key(ApiKeyHash),
    /// The network of 64 bits for IPv6.
    Network(IpAddr),
}

/// What the key of a request allows. The middleware that checks keys puts it there.
#[derive(Clone, Debug)]
pub(in crate::web) struct Access {
    /// None: everything.
    client: Option<Arc<ApiClient>>,
    caller: Caller,
}

impl Access {
    /// Access to everything: with a key that does not belong to a client, or where no key is needed.
    pub(in crate::web) const fn full(caller: Caller) -> Self {
        Self {
            client: None,
            caller,
        }
    }

    pub(in crate::web) fn of(client: &Arc<ApiClient>) -> Self {
        Self {
            client: Some(Arc::clone(client)),
            caller: Caller::Key(client.key),
        }
    }

    pub(in crate::web) fn caller(&self) -> Caller {
        self.caller
    }

    /// The accounts whose jobs and deliveries may be seen: for the filter of whatever is asked of the store.
    pub(in crate::web) fn accounts(&self) -> Accounts {
        match &self.client {
            Some(client) => client.accounts.clone(),
            None => Accounts::All,
        }
    }

    /// Whether that account may be seen. Who may not see it is told what an account without jobs is told.
    pub(in crate::web) fn includes(&self, account: &AccountName) -> bool {
        match &self.client {
            Some(client) => client.accounts.include(account),
            None => true,
        }
    }

    /// Whether its time is over, which may be in the middle of a long answer.
    pub(in crate::web) fn has_expired(&self, now: Time) -> bool {
        let client = self.client.as_ref();
        client.is_some_and(|client| client.has_expired(now))
    }

    fn may(&self, scope: Scope) -> bool {
        self.client.as_ref().is_none_or(|client| client.may(scope))
    }
}

impl FromRequestParts<State> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        // Outside of the API nobody is known.
        parts.extensions.get().cloned().ok_or(Problem::Internal)
    }
}

/// The middleware of one route: the key must have that scope.
pub(in crate::web) async fn require(
    FromState(scope): FromState<Scope>,
    request: Request,
    next: Next,
) -> Response {
    match request.extensions().get::<Access>() {
        Some(access) if access.may(scope) => next.run(request).await,
        Some(_) => Problem::Forbidden(scope).into_response(),
        None => Problem::Internal.into_response(),
    }
}
