//! Checks the `Host` of a request. While the API has no key, it must be a name of this machine:
//! otherwise a foreign web page could read the API through a browser by making its own name point
//! here (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{Request, State as FromState};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::State;
use super::api::problem::Problem;

/// Middleware of every listener: there must be exactly one `Host`, as HTTP/1.1 demands. WeChat's
/// check of a URL was seen in HTTP/1.0 without one.
pub(super) async fn require_one(request: Request, next: Next) -> Response {
    let is_right = match request.headers().get_all(header::HOST).iter().count() {
        0 => request.version() <= Version::HTTP_10,
        1 => true,
        _ => false,
    };
    if is_right {
        next.run(request).await
    } else if request.uri().path().starts_with("/api/") {
        invalid().into_response()
    } else {
        (StatusCode::BAD_REQUEST, "exactly one Host is needed").into_response()
    }
}

/// Middleware of what is open to all: `Host` must be a name of this machine, or the host of
/// `server.public_url`.
pub(super) async fn require_ours(
    FromState(state): FromState<State>,
    request: Request,
    next: Next,
) -> Response {
    let own = state.0.public_host.as_deref();
    match judge(request.headers(), request.uri().authority(), own) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// True for a listener that only this machine can reach, to which [`require_ours`] applies.
pub(super) fn is_local(listener: SocketAddr) -> bool {
    listener.ip().to_canonical().is_loopback()
}

fn invalid() -> Problem {
    Problem::InvalidParameter("exactly one `Host` is needed".to_owned())
}

fn judge(
    headers: &HeaderMap,
    target: Option<&Authority>,
    own: Option<&str>,
) -> Result<(), Problem> {
    let host = headers.get(header::HOST).ok_or_else(invalid)?;
    let host = host.to_str().map_err(|_| Problem::ForeignHost)?;
    let is_ours = |host: &str| {
        let authority: Option<Authority> = host.parse().ok();
        authority.is_some_and(|authority| is_ours(authority.host(), own))
    };
    // A target in absolute form names a host as well.
    let target = target.map(Authority::as_str);
    if is_ours(host) && target.is_none_or(is_ours) {
        Ok(())
    } else {
        Err(Problem::ForeignHost)
    }
}

fn is_ours(host: &str, own: Option<&str>) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_loopback = match literal {
        Some(address) => address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.to_canonical().is_loopback()),
        None => name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback()),
    };
    let is = |own: &str| name.eq_ignore_ascii_case(own.strip_suffix('.').unwrap_or(own));
    is_loopback || is("localhost") || own.is_some_and(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const OURS: [&str; 12] = [
        "localhost",
        "localhost:8080",
        "LocalHost:1",
        "localhost.",
        "localhost.:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.9.8.7:65535",
        "[::1]",
        "[::1]:8080",
        "[::ffff:127.0.0.1]:8080",
        "[0:0:0:0:0:0:0:1]",
    ];
    const FOREIGN: [&str; 14] = [
        "",
        "x",
        "evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "0.0.0.0:8080",
        "10.0.0.1",
        "[::]",
        "[2001:db8::1]:8080",
        "localhost, evil.example",
        "evil.example@localhost.evil.example",
        "wx.example.com.evil.example",
        "[wx.example.com]",
    ];

    fn is_accepted(host: &str, target: Option<&str>, own: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        let target = target.map(|target| target.parse().unwrap());
        judge(&headers, target.as_ref(), own).is_ok()
    }

    #[test]
    fn names_of_this_machine_and_the_public_host_are_accepted() {
        let own = Some("wx.example.com");
        for host in OURS {
            assert!(is_accepted(host, None, None), "{host}");
            assert!(is_accepted(host, None, own), "{host}");
        }
        for host in FOREIGN {
            assert!(!is_accepted(host, None, own), "{host}");
        }
        for host in ["wx.example.com", "WX.Example.Com:443", "wx.example.com."] {
            assert!(is_accepted(host, None, own), "{host}");
            assert!(!is_accepted(host, None, None), "{host}");
        }
        assert!(is_accepted(
            "[2001:db8::1]:8443",
            None,
            Some("[2001:db8::1]")
        ));
    }

    #[test]
    fn a_target_with_a_host_must_be_ours_as_well() {
        assert!(is_accepted("localhost", Some("127.0.0.1:80"), None));
        assert!(!is_accepted("localhost", Some("evil.example"), None));
        assert!(!is_accepted("evil.example", Some("localhost"), None));
    }
}
