//! Keys of the API: only their SHA-256 is configured.

use axum::extract::{Request, State as FromState};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::State;
use super::problem::Problem;
use crate::domain::ApiKeyHash;

/// The middleware: once a key is configured, every request must carry one.
pub(super) async fn require_key(
    FromState(state): FromState<State>,
    request: Request,
    next: Next,
) -> Response {
    let keys = &state.0.api_keys;
    if keys.is_empty() || carries_one_of(keys, request.headers()) {
        next.run(request).await
    } else {
        Problem::Unauthorized.into_response()
    }
}

fn carries_one_of(keys: &[ApiKeyHash], headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some(key) = bearer(value.as_bytes()) else {
        return false;
    };
    ApiKeyHash::of(key).is_in(keys)
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
    fn only_a_configured_key_in_one_header_opens() {
        let keys = [ApiKeyHash::of(b"first"), ApiKeyHash::of(b"second")];
        let opens = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            carries_one_of(&keys, &headers)
        };
        for value in ["Bearer first", "bearer second", "BEARER  first"] {
            assert!(opens(&[value]), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer third",
            "Basic first",
            "first",
            "Bearerfirst",
        ] {
            assert!(!opens(&[value]), "{value}");
        }
        assert!(!opens(&[]));
        assert!(!opens(&["Bearer first", "Bearer first"]));
    }
}
