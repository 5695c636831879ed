//! Conditional and compressed responses of the API, and CORS.

use reqwest::{Method, Response};

use crate::support::{Backend, Event, PLAIN, Server, Setup, on_both_stores};

const ORIGINS: &str =
    "[api]\ncors_origins = [\"https://dash.example.com\", \"http://localhost:3000\"]";
/// Every response that has an `ETag`.
const TAGGED: [&str; 5] = [
    "/api/v1/jobs",
    "/api/v1/jobs/plain/1",
    "/api/v1/jobs/plain/1/deliveries",
    "/api/v1/deliveries",
    "/api/v1/stats",
];

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = server.client.request(method, server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    ask(server, Method::GET, path, headers).await
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

on_both_stores! {
    async fn who_has_the_answer_already_gets_304_until_it_changes(backend: Backend) {
        let server = Server::start(backend).await;
        server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
        for path in TAGGED {
            let first = get(&server, path, &[]).await;
            assert_eq!(first.status(), 200, "{path}");
            assert_eq!(header(&first, "cache-control").as_deref(), Some("private, no-cache"), "{path}");
            let tag = header(&first, "etag").expect(path);
            assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{tag}");
            for known in [tag.clone(), tag[2..].to_owned(), format!("\"x\", {tag}"), "*".to_owned()] {
                for method in [Method::GET, Method::HEAD] {
                    let again = ask(&server, method, path, &[("if-none-match", &known)]).await;
                    assert_eq!(again.status(), 304, "{path} {known}");
                    assert_eq!(header(&again, "etag").as_ref(), Some(&tag));
                    assert_eq!(header(&again, "cache-control").as_deref(), Some("private, no-cache"));
                    assert_eq!(again.text().await.unwrap(), "");
                }
            }
            let other = get(&server, path, &[("if-none-match", "\"x\"")]).await;
            assert_eq!((other.status().as_u16(), header(&other, "etag")), (200, Some(tag.clone())));
            let head = ask(&server, Method::HEAD, path, &[]).await;
            assert_eq!((head.status().as_u16(), header(&head, "etag")), (200, Some(tag.clone())));

            // After a later copy, one of these responses has changed, and none is outdated.
            server.accepts(&PLAIN, Event::new(1, 11).xml().replace("</xml>", &format!("<!--{path}--></xml>"))).await;
            let changed = get(&server, path, &[("if-none-match", &tag)]).await;
            let body = get(&server, path, &[]).await;
            if changed.status() == 304 {
                assert_eq!(header(&body, "etag"), Some(tag), "{path}");
                assert_eq!(path, "/api/v1/stats");
            } else {
                assert_eq!(changed.text().await.unwrap(), body.text().await.unwrap());
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_of_its_own_is_not_kept() {
    let server = Server::start(Backend::Sqlite).await;
    for path in [
        "/api/v1/jobs/plain/1",
        "/api/v1/jobs?x=1",
        "/api/v1/reasons",
        "/api/x",
    ] {
        let response = get(&server, path, &[("if-none-match", "*")]).await;
        assert_ne!(response.status(), 304, "{path}");
        assert_eq!(
            header(&response, "cache-control").as_deref(),
            Some("no-store"),
            "{path}"
        );
        assert_eq!(header(&response, "etag"), None, "{path}");
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_takes_it() {
    let server = Server::start(Backend::Sqlite).await;
    let gzip = [("accept-encoding", "gzip, br")];
    let short = get(&server, "/api/v1/jobs", &gzip).await;
    assert_eq!(header(&short, "content-encoding"), None);
    for msg_id in 1..=20 {
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
    }
    let plain = get(&server, "/api/v1/jobs", &[]).await;
    assert_eq!(header(&plain, "content-encoding"), None);
    let tag = header(&plain, "etag").unwrap();
    let length = plain.bytes().await.unwrap().len();
    let packed = get(&server, "/api/v1/jobs", &gzip).await;
    assert_eq!(header(&packed, "content-encoding").as_deref(), Some("gzip"));
    assert!(header(&packed, "vary").unwrap().contains("accept-encoding"));
    assert_eq!(header(&packed, "etag"), Some(tag.clone()));
    let packed = packed.bytes().await.unwrap();
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < length / 4);
    let known = [gzip[0], ("if-none-match", tag.as_str())];
    let again = get(&server, "/api/v1/jobs", &known).await;
    assert_eq!(
        (again.status().as_u16(), header(&again, "content-encoding")),
        (304, None)
    );

    // Problems have no `ETag`, and WeChat's side is unchanged.
    let problem = get(&server, "/api/v1/jobs?x=1", &gzip).await;
    assert_eq!(header(&problem, "content-encoding"), None);
    assert!(problem.text().await.unwrap().contains("invalid-parameter"));
    let long = "x".repeat(2000);
    let query = PLAIN.sign_query("1", "n");
    let check = format!("/wechat/plain?{query}&echostr={long}");
    let echo = get(&server, &check, &gzip).await;
    assert_eq!(header(&echo, "content-encoding"), None);
    assert_eq!(echo.text().await.unwrap(), long);
}

#[tokio::test]
async fn pages_of_origins_that_are_listed_may_read() {
    let key = qunfa::domain::ApiKeyHash::of("key");
    let server = Setup::default()
        .toml(&format!("{ORIGINS}\nkeys = [\"{key}\"]"))
        .start(Backend::Sqlite)
        .await;
    let allowed = |response: &Response| header(response, "access-control-allow-origin");
    for (origin, is_listed) in [
        ("https://dash.example.com", true),
        ("http://localhost:3000", true),
        ("https://dash.example.com:8443", false),
        ("https://dash.example.com.evil.example", false),
        ("http://dash.example.com", false),
        ("null", false),
    ] {
        let expected = is_listed.then(|| origin.to_owned());
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let asked = ask(&server, Method::OPTIONS, "/api/v1/jobs", &preflight).await;
        assert_eq!(asked.status(), 200);
        assert_eq!(allowed(&asked), expected, "{origin}");
        let methods = header(&asked, "access-control-allow-methods");
        assert_eq!(methods.as_deref(), Some("GET,OPTIONS"));
        let headers = header(&asked, "access-control-allow-headers");
        assert_eq!(
            headers.as_deref(),
            Some("authorization,if-none-match,last-event-id")
        );
        assert_eq!(header(&asked, "access-control-allow-credentials"), None);

        let with_key = [("origin", origin), ("authorization", "Bearer key")];
        let read = get(&server, "/api/v1/jobs", &with_key).await;
        assert_eq!(
            (read.status().as_u16(), allowed(&read)),
            (200, expected.clone())
        );
        assert!(header(&read, "vary").unwrap().contains("origin"));
        let exposed = header(&read, "access-control-expose-headers").unwrap();
        assert!(exposed.contains("etag"), "{exposed}");
        // The page can also read that a key is required.
        let without = get(&server, "/api/v1/jobs", &[("origin", origin)]).await;
        assert_eq!(
            (without.status().as_u16(), allowed(&without)),
            (401, expected)
        );
    }
    let query = PLAIN.sign_query("1", "n");
    let check = format!("/wechat/plain?{query}&echostr=1");
    let echo = get(&server, &check, &[("origin", "https://dash.example.com")]).await;
    assert_eq!(allowed(&echo), None);
}

#[tokio::test]
async fn no_other_origin_may_read_unless_one_is_listed() {
    let server = Server::start(Backend::Sqlite).await;
    let origin = [("origin", "https://dash.example.com")];
    let read = get(&server, "/api/v1/jobs", &origin).await;
    assert_eq!(header(&read, "access-control-allow-origin"), None);
    let asked = ask(&server, Method::OPTIONS, "/api/v1/jobs", &origin).await;
    assert_eq!(asked.status(), 405);
    assert_eq!(header(&asked, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn pages_and_answers_keep_other_sites_and_needless_features_out() {
    let server = Setup::default().toml(ORIGINS).start(Backend::Sqlite).await;
    let origin = ("origin", "https://dash.example.com");
    for (path, headers) in [
        ("/", &[][..]),
        ("/docs", &[]),
        ("/openapi.json", &[]),
        ("/api/v1/jobs", &[origin]),
        ("/api/v1/nothing", &[]),
    ] {
        let response = get(&server, path, headers).await;
        for (name, value) in [
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(header(&response, name).as_deref(), Some(value), "{path}");
        }
        let features = header(&response, "permissions-policy").expect(path);
        assert!(features.contains("camera=()"), "{path}: {features}");
        if !headers.is_empty() {
            let allowed = header(&response, "access-control-allow-origin");
            assert_eq!(allowed.as_deref(), Some(origin.1));
        }
    }
}
