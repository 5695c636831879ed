//! Files that do not change while the server runs. Each is compressed once.

use std::io::Write;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::etag;

/// Shorter bodies are not worth compressing.
const COMPRESSED_FROM: usize = 1024;

pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");
pub(super) const BY_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// A file and its headers.
pub(super) struct StaticFile {
    content_type: &'static str,
    cache_control: &'static str,
    /// Weak, because the compressed form has the same tag.
    tag: HeaderValue,
    body: Bytes,
    compressed: OnceLock<Bytes>,
}

impl StaticFile {
    pub(super) fn new(
        content_type: &'static str,
        cache_control: &'static str,
        tag: HeaderValue,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            content_type,
            cache_control,
            tag,
            body: body.into(),
            compressed: OnceLock::new(),
        }
    }

    /// The response to a request with these headers: the file, plain or compressed, or 304.
    pub(super) fn respond(&self, request: &HeaderMap) -> Response {
        let content_type = [(CONTENT_TYPE, HeaderValue::from_static(self.content_type))];
        let headers = [
            (CACHE_CONTROL, HeaderValue::from_static(self.cache_control)),
            (ETAG, self.tag.clone()),
            (VARY, BY_ENCODING),
        ];
        let mut known = request.get_all(IF_NONE_MATCH).iter();
        if known.any(|known| etag::names(known, &self.tag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if is_worth_compressing(&self.body) && accepts_gzip(request) {
            let compressed = self
                .compressed
                .get_or_init(|| gzip(&self.body, Compression::best()));
            let body = Body::from(compressed.clone());
            return (headers, content_type, [(CONTENT_ENCODING, GZIP)], body).into_response();
        }
        (headers, content_type, Body::from(self.body.clone())).into_response()
    }
}

pub(super) fn is_worth_compressing(body: &[u8]) -> bool {
    body.len() >= COMPRESSED_FROM
}

pub(super) fn gzip(body: &[u8], level: Compression) -> Bytes {
    const IN_MEMORY: &str = "writing to memory does not fail";
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), level);
    encoder.write_all(body).expect(IN_MEMORY);
    let mut compressed = encoder.finish().expect(IN_MEMORY);
    compressed.shrink_to_fit();
    compressed.into()
}

/// True if `Accept-Encoding` lists gzip, or `*`, with a weight above zero.
pub(super) fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut any = false;
    for coding in codings {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let (_, weight) = parameters.split_once('=').unwrap_or(("q", "1"));
        let is_accepted = weight
            .trim()
            .parse::<f32>()
            .is_ok_and(|weight| weight > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return is_accepted,
            "*" => any = is_accepted,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(encodings: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(encodings))])
    }

    #[tokio::test]
    async fn a_file_is_compressed_once() {
        let body = "a line that repeats\n".repeat(500);
        let tag = HeaderValue::from_static("W/\"1\"");
        let file = StaticFile::new("text/plain", "no-cache", tag, body.clone());
        let mut places = Vec::new();
        for _ in 0..3 {
            let response = file.respond(&accepting("gzip"));
            assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
            places.push(bytes.unwrap().as_ptr());
        }
        let compressed = file.compressed.get().unwrap();
        assert_eq!(
            places,
            vec![compressed.as_ptr(); 3],
            "it was compressed again"
        );
        let mut plain = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&compressed[..]);
        std::io::Read::read_to_string(&mut decoder, &mut plain).unwrap();
        assert_eq!(plain, body);
    }

    #[test]
    fn gzip_is_used_where_the_client_accepts_it() {
        for (encodings, expected) in [
            ("gzip", true),
            ("GZIP", true),
            ("br, gzip;q=0.5", true),
            ("br;q=1.0, *;q=0.1", true),
            ("*, gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("identity", false),
            ("gzip;q=much", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&accepting(encodings)), expected, "{encodings}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
