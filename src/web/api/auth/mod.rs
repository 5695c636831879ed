//! Keys of the API: only their SHA-256 is configured.

mod access;
mod clients;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State as FromState};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{debug, warn};

use super::State;
use super::problem::Problem;
use crate::domain::{ApiKeyHash, ClientName, Time};
use crate::web::rate_limit::{Reputation, network};

pub(in crate::web) use access::{Access, Caller, require};
pub(in crate::web) use clients::Clients;
use clients::Holder;

/// How long the database may take to note the use of a key.
const PATIENCE: Duration = Duration::from_secs(4);

/// The middleware: once a key is configured, every request must carry one. What it allows goes with the request.
pub(in crate::web) async fn require_key(
    FromState(state): FromState<State>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::from([0; 4]), |ConnectInfo(peer)| peer.ip());
    if let Some(access) = access(&state, request.headers(), peer) {
        request.extensions_mut().insert(access.clone());
        let mut response = next.run(request).await;
        if !state.0.clients.is_open() {
            // Whoever logs the answer then knows that a right key came with the request.
            response.extensions_mut().insert(access);
        }
        return response;
    }
    // Who sends no key does not guess.
    let guesses = request.headers().contains_key(header::AUTHORIZATION);
    let problem = if guesses && state.0.failed_keys.count(peer) == Reputation::OverLimit {
        Problem::TooManyRequests
    } else {
        Problem::Unauthorized
    };
    problem.into_response()
}

fn access(state: &State, headers: &HeaderMap, peer: IpAddr) -> Option<Access> {
    let clients = &state.0.clients;
    if clients.is_open() {
        return Some(Access::full(Caller::Network(network(peer))));
    }
    let key = key(headers)?;
    match clients.holder(key, Time::now())? {
        Holder::Full => Some(Access::full(Caller::Key(ApiKeyHash::of(key)))),
        Holder::Client(client) => {
            if client.usage.is_due() {
                tokio::spawn(note_use(state.clone(), client.configured.name.clone()));
            }
            Some(Access::of(&client.configured))
        }
        Holder::Expired(client) => {
            if client.expiry.is_due() {
                warn!(client = %client.configured.name, "a key is in use that has expired");
            }
            None
        }
    }
}

/// Beside the request, which does not wait for it.
async fn note_use(state: State, client: ClientName) {
    let noting = state.0.key_uses.note_client_use(&client, Time::now());
    match tokio::time::timeout(PATIENCE, noting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%client, %error, "the use of a key could not be noted"),
        Err(_) => debug!(%client, "the use of a key could not be noted in time"),
    }
}

/// The key in the one `Authorization` header.
fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => bearer(value.as_bytes()),
        _ => None,
    }
}

/// The key behind `Bearer`, the scheme in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_key_stands_in_one_header_behind_its_scheme() {
        let key = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            key(&headers).map(<[u8]>::to_vec)
        };
        for value in ["Bearer first", "bearer first", "BEARER  first "] {
            assert_eq!(key(&[value]).as_deref(), Some(&b"first"[..]), "{value}");
        }
        for value in ["", "Bearer", "Basic first", "first", "Bearerfirst"] {
            assert_eq!(key(&[value]), None, "{value}");
        }
        assert_eq!(key(&[]), None);
        assert_eq!(key(&["Bearer first", "Bearer first"]), None);
    }
}
