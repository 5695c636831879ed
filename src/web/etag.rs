//! Conditional requests: an answer carries a tag of its body, and who has that body already is told so in its place.
//!
//! The tag is weak, as the same body may go out compressed or not. It saves the way, not the work: the body is made before
//! it is known to be the same.

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

/// A browser may keep the answer for its user only, and asks each time whether it has changed.
pub(super) const REVALIDATED: &str = "private, no-cache";

/// The middleware of a route whose answers are whole bodies: tags and compresses them.
///
/// BREACH finds a secret in a compressed answer that also holds a text of the attacker, who makes a victim's browser ask again
/// and again. No answer here holds a secret, and no browser sends the key by itself, as it would a cookie.
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
    HeaderValue::try_from(tag).expect("it is letters and digits in quotes")
}

/// Whether an `If-None-Match` names the tag; a weak tag and a strong one are alike here. No tag of ours holds a comma.
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
