//! Who calls the API, and what they may see. Handlers about jobs or deliveries take an [`Access`],
//! and restrict what they read to its accounts.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State as FromState};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::domain::{AccountName, Accounts, ApiClient, ApiKeyHash, Scope, Time};
use crate::web::State;
use crate::web::api::problem::Problem;

/// Whom a limit applies to: a key or, where none is required, an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::web) enum Caller {
    Key(ApiKeyHash),
    /// An IPv4 address or a /64 network of IPv6.
    Network(IpAddr),
}

/// What the key of a request allows. The middleware that checks keys adds it to the request.
#[derive(Clone, Debug)]
pub(in crate::web) struct Access {
    /// `None` for full access.
    client: Option<Arc<ApiClient>>,
    caller: Caller,
}

impl Access {
    /// Access to everything: with a key of `api.keys`, or where no key is required.
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

    /// The accounts whose jobs and deliveries the key may see.
    pub(in crate::web) fn accounts(&self) -> Accounts {
        match &self.client {
            Some(client) => client.accounts.clone(),
            None => Accounts::All,
        }
    }

    /// True if the key may see that account. Others get the answer for an account without jobs.
    pub(in crate::web) fn includes(&self, account: &AccountName) -> bool {
        match &self.client {
            Some(client) => client.accounts.include(account),
            None => true,
        }
    }

    /// True if the key has expired, which can happen during a long answer.
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
        // Only the routes of the API check keys.
        parts.extensions.get().cloned().ok_or(Problem::Internal)
    }
}

/// Middleware of a route: the key must have this scope.
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
