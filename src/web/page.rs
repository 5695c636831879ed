//! The page: static files, which read the API as any other client does. They hold no data, so they need no key.

use std::sync::LazyLock;

use axum::extract::{Path, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::conditional;

/// The files in `page/`; a debug build reads them at run time, so that an edit needs no new build.
#[derive(RustEmbed)]
#[folder = "page/"]
struct Files;

const INDEX: &str = "index.html";
const DOCS: &str = "docs.html";

/// Nothing but what comes from here; no markup made of texts, in browsers that can refuse it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

/// One version for all files: it stands in their path, so that each may be kept for ever and none meets those of
/// another version.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort_unstable();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update(
            Files::get(&name)
                .expect("it is listed")
                .metadata
                .sha256_hash(),
        );
    }
    hex::encode(&hash.finalize()[..8])
});

/// `GET /`.
pub(super) async fn index(headers: HeaderMap) -> Response {
    entry(&headers, INDEX)
}

/// `GET /docs`: the document of the API, for people.
pub(super) async fn docs(headers: HeaderMap) -> Response {
    entry(&headers, DOCS)
}

/// What names the files of this version.
fn entry(headers: &HeaderMap, name: &str) -> Response {
    let file = Files::get(name).expect("it is embedded");
    let text = String::from_utf8_lossy(&file.data).replace("{version}", &VERSION);
    answer(headers, name, "no-cache", text.into_bytes())
}

/// `GET /assets/{version}/{*path}`.
pub(super) async fn asset(
    Path((version, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match Files::get(&path) {
        Some(file) if version == *VERSION => {
            let forever = "public, max-age=31536000, immutable";
            answer(&headers, &path, forever, file.data.into_owned())
        }
        _ => (StatusCode::NOT_FOUND, "not found").into_response(),
    }
}

/// The middleware: what a browser may do with an answer.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn answer(headers: &HeaderMap, path: &str, kept: &'static str, body: Vec<u8>) -> Response {
    // Weak, as a compressed answer carries it, too.
    let tag = format!("W/\"{}\"", *VERSION);
    let tag = HeaderValue::try_from(tag).expect("it is letters and digits in quotes");
    let fixed = [(CACHE_CONTROL, kept), (CONTENT_TYPE, content_type(path))];
    let mut known = headers.get_all(IF_NONE_MATCH).iter();
    if known.any(|known| conditional::names(known, &tag)) {
        return (StatusCode::NOT_MODIFIED, fixed, [(ETAG, tag)]).into_response();
    }
    (fixed, [(ETAG, tag)], body).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
