//! The client's address: the peer's or, behind a proxy of `server.trusted_proxies`, the one that
//! the proxy reports.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State as FromState};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;

use super::State;
use crate::domain::Network;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Middleware: replaces the peer's address by the client's.
pub(super) async fn find(
    FromState(state): FromState<State>,
    mut request: Request,
    next: Next,
) -> Response {
    let proxies = &state.0.trusted_proxies;
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>()
        && is_trusted(proxies, peer.ip())
        && let Some(client) = client(proxies, request.headers())
    {
        // The port is unknown.
        let client = ConnectInfo(SocketAddr::new(client, 0));
        request.extensions_mut().insert(client);
    }
    next.run(request).await
}

fn is_trusted(proxies: &[Network], address: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(address))
}

/// The last hop that is not trusted, or the first if all are. `None` if a hop is malformed: anybody
/// may have written what precedes it.
fn client(proxies: &[Network], headers: &HeaderMap) -> Option<IpAddr> {
    let mut first = None;
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for hop in line.to_str().ok()?.rsplit(',') {
            let hop = address(hop.trim())?;
            if !is_trusted(proxies, hop) {
                return Some(hop);
            }
            first = Some(hop);
        }
    }
    first
}

/// Reads an address, to which some proxies add a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = bare.unwrap_or(text).parse().ok().or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn found(lines: &[&'static str]) -> Option<String> {
        let proxies = ["10.0.0.0/8", "127.0.0.1", "2001:db8::/32"];
        let proxies = proxies.map(|network| network.parse().expect("it is a network"));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        client(&proxies, &headers).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["192.0.2.9, 192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.9,192.0.2.1 , 10.1.2.3"], Some("192.0.2.1")),
            (
                &["192.0.2.9", "192.0.2.1", "10.1.2.3, 127.0.0.1"],
                Some("192.0.2.1"),
            ),
            (&["192.0.2.1:4711, 10.1.2.3"], Some("192.0.2.1")),
            (&["2a00::1, 2001:db8::7"], Some("2a00::1")),
            (&["[2a00::1]:4711"], Some("2a00::1")),
            (&["[2a00::1]"], Some("2a00::1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            // A header that the client sent precedes the hop that a proxy adds.
            (&["nonsense, 192.0.2.1"], Some("192.0.2.1")),
            (&["10.9.9.9, 10.1.2.3"], Some("10.9.9.9")),
            (&[], None),
            (&[""], None),
            (&["unknown"], None),
            (&["192.0.2.1, nonsense, 10.1.2.3"], None),
            (&["192.0.2.1,"], None),
            (&["192.0.2.1", ""], None),
        ] {
            assert_eq!(found(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
