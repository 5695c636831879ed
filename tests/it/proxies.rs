//! The client of a request: the peer, or the client of a trusted proxy.

use crate::support::{Backend, PLAIN, Server, Setup, event, eventually};

const KEY: &str = "key";

async fn server(trusted: &str) -> Server {
    let hash = qunfa::domain::ApiKeyHash::of(KEY);
    let setup = Setup::default().toml(&format!(
        "[server]\ntrusted_proxies = [{trusted}]\n[api]\nkeys = [\"{hash}\"]"
    ));
    setup.start(Backend::Sqlite).await
}

/// Sends a wrong key for that client.
async fn guess(server: &Server, forwarded: &str) -> u16 {
    let request = server.client.get(server.url("/api/v1/reasons"));
    let request = request.bearer_auth("wrong");
    let response = request.header("X-Forwarded-For", forwarded).send().await;
    response.unwrap().status().as_u16()
}

/// Sends wrong keys for that client until there are too many.
async fn guess_too_often(server: &Server, forwarded: &str) {
    for _ in 0..200 {
        if guess(server, forwarded).await == 429 {
            return;
        }
    }
    panic!("{forwarded} may guess on and on");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_client_behind_a_trusted_proxy() {
    let server = server("\"127.0.0.0/8\", \"10.0.0.0/8\"").await;
    guess_too_often(&server, "192.0.2.1").await;
    // Entries written by the client itself are ignored, and so are further proxies.
    for same in ["8.8.8.8, 192.0.2.1", "192.0.2.1, 10.1.2.3"] {
        assert_eq!(guess(&server, same).await, 429, "{same}");
    }
    for other in ["192.0.2.2", "192.0.2.1, 192.0.2.3", "2001:db8::1"] {
        assert_eq!(guess(&server, other).await, 401, "{other}");
    }
    // If the header cannot be parsed, the client is the proxy.
    guess_too_often(&server, "nonsense").await;
    assert_eq!(guess(&server, "192.0.2.1, nonsense").await, 429);
    assert_eq!(guess(&server, "192.0.2.9").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_not_believed() {
    for trusted in ["", "\"10.0.0.0/8\""] {
        let server = server(trusted).await;
        guess_too_often(&server, "192.0.2.1").await;
        assert_eq!(guess(&server, "192.0.2.2").await, 429, "{trusted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warning_of_a_flood_names_the_client() {
    let server = server("\"127.0.0.1\"").await;
    let forge = async || {
        let request = server.client.get(server.url("/wechat/plain?signature=x"));
        let response = request.header("X-Forwarded-For", "192.0.2.1").send().await;
        assert_eq!(response.unwrap().status(), 403);
    };
    eventually("it is told", async || {
        for _ in 0..100 {
            forge().await;
        }
        server.log().contains("address=192.0.2.1")
    })
    .await;
    server.accepts(&PLAIN, event(7)).await;
}
