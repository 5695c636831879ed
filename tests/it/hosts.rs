//! Which `Host` headers are accepted, by route and listener.

use std::net::SocketAddr;

use crate::support::wire::{Reply, Wire, push};
use crate::support::{Backend, PLAIN, Server, Setup, event};

const PATHS: [&str; 9] = [
    "/livez",
    "/readyz",
    "/wechat/plain",
    "/api/v1/jobs",
    "/api/v1/nothing",
    "/openapi.json",
    "/",
    "/docs",
    "/nothing",
];
/// Routes that are open to everyone while there is no key.
const OPEN: [&str; 6] = [
    "/api/v1/jobs",
    "/api/v1/nothing",
    "/api/v1/stream",
    "/openapi.json",
    "/",
    "/docs",
];
const OURS: [&str; 6] = [
    "localhost",
    "LOCALHOST.:1",
    "127.0.0.1:8080",
    "127.1.2.3",
    "[::1]:8080",
    "wx.example.com",
];
const FOREIGN: [&str; 5] = [
    "evil.example",
    "evil.example:8080",
    "0.0.0.0",
    "localhost.evil.example",
    "",
];
const PUBLIC: &str = "[server]\npublic_url = \"https://wx.example.com/qunfa\"";

/// Sends these header lines; `None` if the connection is closed without a response.
async fn ask(address: SocketAddr, target: &str, version: &str, headers: &str) -> Reply {
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {target} HTTP/{version}\r\n{headers}\r\n"))
        .await;
    wire.reply().await.expect("an answer")
}

async fn with_host(address: SocketAddr, target: &str, host: &str) -> Reply {
    ask(address, target, "1.1", &format!("Host: {host}\r\n")).await
}

fn metrics_address(server: &Server) -> SocketAddr {
    server.metrics_address().parse().unwrap()
}

fn assert_is_problem(reply: &Reply, id: &str) {
    assert!(
        reply
            .head
            .contains("content-type: application/problem+json"),
        "{reply:?}"
    );
    let id = format!("\"urn:qunfa:problem:{id}\"");
    assert!(reply.body.contains(&id), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_exactly_one_host_nothing_is_served() {
    let hash = qunfa::domain::ApiKeyHash::of("key");
    let guarded = format!("[api]\nkeys = [\"{hash}\"]");
    for setup in [Setup::default(), Setup::default().toml(&guarded)] {
        let server = setup.with_metrics().start(Backend::Sqlite).await;
        let metrics = metrics_address(&server);
        let everywhere = PATHS.map(|path| (server.address, path));
        for (address, path) in everywhere.into_iter().chain([(metrics, "/metrics")]) {
            for (version, headers) in [
                ("1.1", ""),
                ("1.1", "Host: localhost\r\nHost: localhost\r\n"),
                ("1.1", "Host: localhost\r\nhost: evil.example\r\n"),
                ("1.0", "Host: localhost\r\nHost: localhost\r\n"),
            ] {
                let reply = ask(address, path, version, headers).await;
                assert_eq!(reply.status, 400, "{path} {version} {headers}: {reply:?}");
                if path.starts_with("/api/") {
                    assert_is_problem(&reply, "invalid-parameter");
                }
            }
        }
        // The same goes for a push.
        let (head, body) = push(&PLAIN, event(7));
        let head = String::from_utf8(head).unwrap();
        let without = head.replace("Host: localhost\r\n", "");
        assert_ne!(head, without);
        let mut wire = Wire::connect(server.address).await;
        wire.send([without.as_bytes(), &body].concat()).await;
        assert_eq!(wire.reply().await.unwrap().status, 400);
        server.accepts(&PLAIN, event(8)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_api_is_only_served_under_names_of_its_own() {
    let server = Setup::default().toml(PUBLIC).start(Backend::Sqlite).await;
    for path in OPEN {
        for host in OURS {
            // A stream does not end.
            if !path.ends_with("stream") {
                let reply = with_host(server.address, path, host).await;
                assert_ne!(reply.status, 403, "{path} {host}: {reply:?}");
                assert_ne!(reply.status, 400, "{path} {host}: {reply:?}");
            }
        }
        for host in FOREIGN {
            let reply = with_host(server.address, path, host).await;
            assert_eq!(reply.status, 403, "{path} {host}: {reply:?}");
            assert_is_problem(&reply, "forbidden");
        }
        // The host in the request target counts, too.
        let target = format!("http://evil.example{path}");
        let reply = with_host(server.address, &target, "localhost").await;
        assert_eq!(reply.status, 403, "{target}: {reply:?}");
        let reply = ask(server.address, path, "1.0", "").await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
    }
    // Routes without data accept any name.
    for path in ["/livez", "/readyz"] {
        let reply = with_host(server.address, path, "evil.example").await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let reply = ask(server.address, path, "1.0", "").await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    let (head, body) = push(&PLAIN, event(7));
    let head = String::from_utf8(head).unwrap();
    let head = head.replace("Host: localhost", "Host: evil.example");
    let mut wire = Wire::connect(server.address).await;
    wire.send([head.as_bytes(), &body].concat()).await;
    assert!(wire.reply().await.unwrap().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_any_name_will_do() {
    let hash = qunfa::domain::ApiKeyHash::of("key");
    let setup = Setup::default().toml(&format!("[api]\nkeys = [\"{hash}\"]"));
    let server = setup.start(Backend::Sqlite).await;
    for (path, headers, status) in [
        ("/", "", 200),
        ("/openapi.json", "", 200),
        ("/api/v1/jobs", "", 401),
        ("/api/v1/jobs", "Authorization: Bearer key\r\n", 200),
    ] {
        let headers = format!("Host: dash.example.com\r\n{headers}");
        let reply = ask(server.address, path, "1.1", &headers).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_on_loopback_are_only_served_under_names_of_their_own() {
    let setup = Setup::default().toml(PUBLIC).with_metrics();
    let server = setup.start(Backend::Sqlite).await;
    let address = metrics_address(&server);
    for host in OURS {
        let reply = with_host(address, "/metrics", host).await;
        assert_eq!(reply.status, 200, "{host}: {reply:?}");
    }
    for host in FOREIGN {
        let reply = with_host(address, "/metrics", host).await;
        assert_eq!(reply.status, 403, "{host}: {reply:?}");
        assert!(!reply.body.contains("qunfa_"), "{reply:?}");
    }

    let setup = Setup::default().variable("QUNFA_METRICS__LISTEN", "0.0.0.0:0");
    let server = setup.with_metrics().start(Backend::Sqlite).await;
    let port = metrics_address(&server).port();
    let reply = with_host(([127, 0, 0, 1], port).into(), "/metrics", "qunfa:9464").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}
