//! Conditional requests: adds an `ETag` to an answer; a client that has the same body gets 304.
//!
//! The tag is weak, because the body may be sent compressed or not. It saves transfer, not work:
//! the body is made before it is known to be the same.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::api::problem::Problem;
use super::static_file::{BY_ENCODING, GZIP, accepts_gzip, gzip, is_worth_compressing};

/// A browser may store the answer for its user only, and must ask each time whether it has changed.
pub(super) const REVALIDATED: &str = "private, no-cache";

/// Middleware of a route whose answers are whole bodies: tags and compresses them.
///
/// Compression is safe from BREACH, which needs a secret in the answer beside text of the attacker,
/// and a browser that sends its credentials by itself: no answer holds a secret, and a key is not a
/// cookie.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    let known: Vec<_> = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .cloned()
        .collect();
    let accepts_gzip = accepts_gzip(request.headers());
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return Problem::Internal.into_response();
    };
    let body = body.to_bytes();
    let tag = tag_of(&body);
    let headers = HeaderMap::from_iter([
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static(REVALIDATED)),
    ]);
    if known.iter().any(|known| names(known, &tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    parts.headers.extend(headers);
    if !is_worth_compressing(&body) {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.headers.insert(header::VARY, BY_ENCODING);
    if !accepts_gzip {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.headers.insert(header::CONTENT_ENCODING, GZIP);
    Response::from_parts(parts, Body::from(gzip(&body, Compression::fast())))
}

pub(super) fn tag_of(body: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(body);
    let tag = format!("W/\"{}\"", hex::encode(&hash[..16]));
    HeaderValue::try_from(tag).expect("a quoted hexadecimal number is a header value")
}

/// True if an `If-None-Match` contains the tag, weak or strong. Our tags have no commas.
pub(super) fn names(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let tag = opaque(tag.as_bytes());
    let mut listed = known.as_bytes().split(|byte| *byte == b',');
    listed.any(|listed| {
        let listed = listed.trim_ascii();
        listed == b"*" || opaque(listed) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list() {
        let tag = tag_of(b"abc");
        assert_eq!(tag, "W/\"ba7816bf8f01cfea414140de5dae2223\"");
        for (known, expected) in [
            ("W/\"ba7816bf8f01cfea414140de5dae2223\"", true),
            ("\"ba7816bf8f01cfea414140de5dae2223\"", true),
            (
                "\"x\",  W/\"ba7816bf8f01cfea414140de5dae2223\" ,\"y\"",
                true,
            ),
            ("*", true),
            ("\"x\", *", true),
            ("ba7816bf8f01cfea414140de5dae2223", false),
            ("\"ba7816bf8f01cfea414140de5dae222\"", false),
            ("\"*\"", false),
            ("", false),
        ] {
            assert_eq!(
                names(&HeaderValue::from_static(known), &tag),
                expected,
                "{known}"
            );
        }
    }
}
