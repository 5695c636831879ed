//! The page: static files, which read the API like any other client. They hold no data, so they
//! need no key.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::{Path, Request};
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::static_file::StaticFile;

/// The files in `page/`. A debug build reads them on the first request, so that an edit needs only
/// a restart.
#[derive(RustEmbed)]
#[folder = "page/"]
struct Files;

const INDEX: &str = "index.html";
const DOCS: &str = "docs.html";

const FOREVER: &str = "public, max-age=31536000, immutable";

/// Allows only content from this server, and in browsers that support it, no markup made from
/// strings.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

static PAGE: LazyLock<Page> = LazyLock::new(Page::load);

struct Page {
    /// Part of the path of each asset, so that browsers can cache it for ever and never mix
    /// versions.
    version: String,
    index: StaticFile,
    docs: StaticFile,
    assets: HashMap<String, StaticFile>,
}

impl Page {
    fn load() -> Self {
        let mut names: Vec<_> = Files::iter().collect();
        names.sort_unstable();
        let files: Vec<_> = names
            .into_iter()
            .map(|name| {
                let file = Files::get(&name).expect("it is listed");
                (name.into_owned(), file)
            })
            .collect();
        let mut hash = Sha256::new();
        for (name, file) in &files {
            hash.update(name.as_bytes());
            hash.update(file.metadata.sha256_hash());
        }
        let version = hex::encode(&hash.finalize()[..8]);
        let tag = HeaderValue::try_from(format!("W/\"{version}\""));
        let tag = tag.expect("a quoted hexadecimal number is a header value");

        let entry = |wanted: &str| {
            let file = files.iter().find(|(name, _)| name == wanted);
            let (_, file) = file.expect("it is embedded");
            let text = String::from_utf8_lossy(&file.data).replace("{version}", &version);
            StaticFile::new(content_type(wanted), "no-cache", tag.clone(), text)
        };
        let (index, docs) = (entry(INDEX), entry(DOCS));
        let assets = files.into_iter().map(|(name, file)| {
            let kind = content_type(&name);
            let asset = StaticFile::new(kind, FOREVER, tag.clone(), file.data.into_owned());
            (name, asset)
        });
        Self {
            index,
            docs,
            assets: assets.collect(),
            version,
        }
    }
}

/// `GET /`.
pub(super) async fn index(headers: HeaderMap) -> Response {
    PAGE.index.respond(&headers)
}

/// `GET /docs`: the OpenAPI document as a page.
pub(super) async fn docs(headers: HeaderMap) -> Response {
    PAGE.docs.respond(&headers)
}

/// `GET /assets/{version}/{*path}`.
pub(super) async fn asset(
    Path((version, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match PAGE.assets.get(&path) {
        Some(asset) if version == PAGE.version => asset.respond(&headers),
        _ => (StatusCode::NOT_FOUND, "not found").into_response(),
    }
}

/// Middleware: restricts what a browser may do with an answer.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
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
