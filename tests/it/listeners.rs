//! The API on a separate listener.

use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;

use crate::support::wire::{Wire, push};
use crate::support::workplace::ended;
use crate::support::{Backend, Event, PLAIN, Server, Setup, eventually};

/// A server with two listeners, and the address of the second.
async fn two_listeners(setup: Setup) -> (Server, SocketAddr) {
    let server = setup
        .variable("QUNFA_API__LISTEN", "127.0.0.1:0")
        .start(Backend::Sqlite)
        .await;
    let mut api = None;
    eventually("it tells where the API is", async || {
        let log = server.log();
        let after = log.split_once("api_address=").map(|(_, after)| after);
        let word = after.and_then(|after| after.split_whitespace().next());
        api = word.and_then(|word| word.parse().ok());
        api.is_some()
    })
    .await;
    (server, api.unwrap())
}

async fn status(server: &Server, address: SocketAddr, path: &str) -> (u16, String) {
    let response = server.client.get(format!("http://{address}{path}")).send();
    let response = response.await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn each_listener_serves_its_own_side_and_health() {
    let (server, api) = two_listeners(Setup::default()).await;
    assert_ne!(server.address, api);
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    for path in ["/api/v1/jobs", "/api/v1/jobs/plain/1", "/api/v1/reasons"] {
        assert_eq!(status(&server, api, path).await.0, 200, "{path}");
    }
    assert!(
        status(&server, api, "/api/v1/jobs/plain/1")
            .await
            .1
            .contains("\"plain\"")
    );
    // On the other listener, a route does not exist.
    let nothing = (404, "not found".to_owned());
    for path in ["/api", "/api/v1/jobs", "/api/v1/reasons", "/", "/nothing"] {
        assert_eq!(
            status(&server, server.address, path).await,
            nothing,
            "{path}"
        );
    }
    let query = PLAIN.sign_query("1", "n");
    let check = format!("/wechat/plain?{query}&echostr=1");
    assert_eq!(status(&server, api, &check).await, nothing);
    assert_eq!(status(&server, server.address, &check).await.0, 200);
    for address in [server.address, api] {
        assert_eq!(
            status(&server, address, "/livez").await,
            (200, "ok".to_owned())
        );
        assert_eq!(status(&server, address, "/readyz").await.0, 200);
    }
    let mut command = server.command();
    command
        .arg("healthcheck")
        .env("QUNFA_SERVER__LISTEN", server.address.to_string());
    ended(command).with_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_has_begun_on_both() {
    let (mut server, api) = two_listeners(Setup::default()).await;
    let (head, body) = push(&PLAIN, Event::new(1, 10).xml());
    let head = String::from_utf8(head).unwrap();
    let mut slow = Wire::connect(server.address).await;
    slow.send(head.replace("Content-Length", "Expect: 100-continue\r\nContent-Length"))
        .await;
    assert_eq!(slow.reply().await.unwrap().status, 100);
    let mut idle = Wire::connect(api).await;
    server.signal(Signal::TERM);
    idle.closed().await;
    for address in [server.address, api] {
        eventually("new connections are refused", async || {
            Wire::try_connect(address).await.is_err()
        })
        .await;
    }
    slow.send(body).await;
    assert!(slow.reply().await.expect("an answer").is_success());
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_handed_over_is_that_of_the_callback() {
    // An API without a key on this address would be open to others; on the separate one, it is not.
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let (server, api) = two_listeners(Setup::default().socket(socket)).await;
    assert_eq!(server.address.port(), port);
    let callback = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(status(&server, callback, "/api/v1/jobs").await.0, 404);
    assert_eq!(status(&server, callback, "/readyz").await.0, 200);
    assert_eq!(status(&server, api, "/api/v1/jobs").await.0, 200);
}
