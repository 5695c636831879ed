//! API keys. Only their SHA-256 is configured.

mod access;
mod clients;

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State as FromState};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{debug, warn};

use super::problem::Problem;
use super::{State, TIMEOUT};
use crate::domain::{ApiKeyHash, ClientName, Time};
use crate::store::within;
use crate::web::rate_limit::{Reputation, network};

pub(in crate::web) use access::{Access, Caller, require};
pub(in crate::web) use clients::Clients;
use clients::Holder;

/// Middleware: once a key is configured, every request must carry one. What the key allows is added
/// to the request.
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
            // Tells the request log that the key was valid.
            response.extensions_mut().insert(access);
        }
        return response;
    }
    // A request without a key is not an attempt to guess one.
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
                warn!(client = %client.configured.name, "a client uses a key that has expired");
            }
            None
        }
    }
}

/// Records the use of a key, in a task that the request does not wait for.
async fn note_use(state: State, client: ClientName) {
    let noting = state.0.key_uses.note_client_use(&client, Time::now());
    if let Err(error) = within(TIMEOUT, noting).await {
        debug!(%client, %error, "the use of a key could not be recorded");
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

/// The key after `Bearer`, which may be in upper or lower case.
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
    fn the_key_is_in_one_header_after_its_scheme() {
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
