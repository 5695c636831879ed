//! The files of the page: how they are served, and what they must never contain.

use std::collections::BTreeSet;
use std::path::PathBuf;

use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};

use crate::support::{Backend, Setup};

/// Our own files, without vendored ones, as name and text.
fn files() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("page");
    let directories = [directory.clone(), directory.join("style")];
    let entries = directories
        .iter()
        .flat_map(|path| std::fs::read_dir(path).unwrap());
    let files = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn the_page_is_open_strict_and_kept_by_browsers_for_as_long_as_it_is_the_same() {
    let hash = qunfa::domain::ApiKeyHash::of("key");
    let setup = Setup::default().toml(&format!("[api]\nkeys = [\"{hash}\"]"));
    let server = setup.start(Backend::Sqlite).await;
    let index = server.get("/").await;
    assert_eq!(index.status(), 200);
    let headers = index.headers().clone();
    assert_eq!(headers[CONTENT_TYPE], "text/html; charset=utf-8");
    assert_eq!(headers[CACHE_CONTROL], "no-cache");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let policy = headers["content-security-policy"].to_str().unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(
            policy.split("; ").any(|directive| directive == part),
            "{part}"
        );
    }
    assert!(!policy.contains("unsafe"));
    let text = index.text().await.unwrap();
    let again = server
        .client
        .get(server.url("/"))
        .header(IF_NONE_MATCH, &headers[ETAG]);
    assert_eq!(again.send().await.unwrap().status(), 304);

    let main = text
        .split('"')
        .find(|part| part.ends_with("/main.js"))
        .unwrap();
    for (name, kind) in [
        ("main.js", "text/javascript; charset=utf-8"),
        ("style/theme.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        (
            "vendor/uplot/uPlot.esm.js",
            "text/javascript; charset=utf-8",
        ),
        ("vendor/uplot/LICENSE", "text/plain; charset=utf-8"),
    ] {
        let path = format!("/{}", main.replace("main.js", name));
        let request = server
            .client
            .get(server.url(&path))
            .header(ACCEPT_ENCODING, "gzip");
        let asset = request.send().await.unwrap();
        assert_eq!(asset.status(), 200, "{path}");
        assert_eq!(asset.headers()[CONTENT_TYPE], kind);
        let kept = asset.headers()[CACHE_CONTROL].to_str().unwrap();
        assert!(kept.contains("immutable"), "{kept}");
        if name.contains("uPlot") {
            assert_eq!(asset.headers()["content-encoding"], "gzip");
            assert!(asset.bytes().await.unwrap().len() < 60_000);
        }
    }
    for path in [
        "/assets/0000000000000000/main.js".to_owned(),
        format!("/{}", main.replace("main.js", "nothing.js")),
        format!("/{}", main.replace("main.js", "..%2FCargo.toml")),
    ] {
        assert_eq!(server.get(&path).await.status(), 404, "{path}");
    }
    assert_eq!(
        server
            .client
            .post(server.url("/"))
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
}

/// The paths in the commented block "Page and API". One that ends in `/` is a prefix.
fn let_through(proxy_file: &str, mark: &str, separator: char) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(proxy_file);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, block) = text
        .split_once("# Page and API, for known networks")
        .unwrap();
    let line = block.lines().find(|line| line.contains(mark)).unwrap();
    let (_, places) = line.split_once(mark).unwrap();
    let places = places.trim_end_matches([')', '{', ' ']).split(separator);
    places
        .map(|place| place.replace(['\\', '$', '*'], ""))
        .collect()
}

#[test]
fn the_proxy_files_let_everything_through_that_the_page_asks_for() {
    use qunfa::web::{Group, routes};
    let nginx = let_through("deploy/nginx.conf", "# location ~ ^/(", '|');
    let nginx = nginx.iter().map(|place| format!("/{place}")).collect();
    let caddy = let_through("deploy/Caddyfile", "#     path ", ' ');
    for places in [nginx, caddy] {
        let passes = |path: &str| {
            places.iter().any(|place| {
                path == place || place.len() > 1 && place.ends_with('/') && path.starts_with(place)
            })
        };
        for route in routes() {
            // Monitoring on the same machine uses this one.
            let is_meant = route.group != Group::Callback && route.path != "/livez";
            assert_eq!(passes(&route.path), is_meant, "{} {places:?}", route.path);
        }
        assert!(!passes("/metrics") && !passes("/apix"), "{places:?}");
    }
}

#[test]
fn nothing_makes_markup_or_code_of_a_text() {
    let files = files();
    assert!(files.len() > 30);
    for (name, text) in &files {
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "srcdoc",
            "eval(",
            "new Function",
            "style=",
            "setAttribute('style'",
            " onclick=\"",
            "<script>",
            "https://",
            "http://",
        ] {
            // The namespace of SVG.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(forbidden), "{name}: {forbidden}");
        }
    }
}

#[test]
fn both_languages_have_every_word_that_is_asked_for() {
    let files = files();
    let text = |wanted: &str| &files.iter().find(|(name, _)| name == wanted).unwrap().1;
    let keys = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("  '")?.split_once("':"));
        lines.map(|(key, _)| key.to_owned()).collect()
    };
    let english = keys(text("words-en.js"));
    assert!(english.len() > 150);
    assert_eq!(english, keys(text("words-zh.js")));
    let asked: BTreeSet<_> = files
        .iter()
        .flat_map(|(_, text)| text.split("t('").skip(1))
        .filter_map(|rest| rest.split_once('\'').map(|(key, _)| key))
        .filter(|key| key.contains('.') && !key.contains(' '))
        .collect();
    let missing: Vec<_> = asked
        .iter()
        .filter(|key| !english.iter().any(|known| known == *key))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
