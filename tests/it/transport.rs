//! Request heads and bodies of every size and shape over plain TCP.

use crate::support::wire::{Wire, chunked, push, push_with};
use crate::support::{Account, Backend, PLAIN, SAFE, Server, Setup, fixture};

/// An event with exactly that many bytes.
fn event_of(length: usize) -> Vec<u8> {
    let event = String::from_utf8(fixture("events/articles.xml")).unwrap();
    let blanks = " ".repeat(length - event.len());
    let (start, end) = event.split_at(event.rfind("</xml>").unwrap());
    format!("{start}{blanks}{end}").into_bytes()
}

/// Sends it on a new connection; the status of the response, `None` if the connection was only
/// closed.
async fn status(server: &Server, head: &[u8], body: &[u8]) -> Option<u16> {
    let mut wire = Wire::connect(server.address).await;
    wire.send(head).await;
    wire.try_send(body).await;
    wire.reply().await.map(|reply| reply.status)
}

async fn kept(server: &Server) -> usize {
    server.items("/api/v1/deliveries").await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_taken_up_to_the_limit_and_not_a_byte_more() {
    for (limit, setup) in [
        (65_536, Setup::default()),
        (3_000, Setup::default().toml("[server]\nbody_limit = 3000")),
    ] {
        let server = setup.start(Backend::Sqlite).await;
        for (length, expected) in [
            (limit - 1, 200),
            (limit, 200),
            (limit + 1, 413),
            (2 * limit, 413),
        ] {
            let message = event_of(length);
            let (head, body) = push(&PLAIN, &message);
            assert_eq!(
                status(&server, &head, &body).await,
                Some(expected),
                "{length}"
            );
            for size in [1_000, length] {
                let (head, body) = push_with(&PLAIN, &message, "Transfer-Encoding: chunked\r\n");
                let body = chunked(&body, size);
                let in_chunks = status(&server, &head, &body).await;
                assert_eq!(in_chunks, Some(expected), "{length} in chunks of {size}");
            }
        }
        // Two contents were kept, each complete.
        let bodies = server.items("/api/v1/deliveries").await;
        let mut lengths: Vec<_> = bodies
            .iter()
            .map(|delivery| delivery["body"].as_str().unwrap().len())
            .collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [limit - 1, limit]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_of_a_much_too_big_body_still_sees_413() {
    let server = Server::start(Backend::Sqlite).await;
    for megabytes in [1, 3, 20] {
        let message = event_of(megabytes * 1_000_000);
        let (head, body) = push(&PLAIN, &message);
        assert_eq!(
            status(&server, &head, &body).await,
            Some(413),
            "{megabytes} MB"
        );
        let (head, body) = push_with(&PLAIN, &message, "Transfer-Encoding: chunked\r\n");
        let body = chunked(&body, 50_000);
        assert_eq!(
            status(&server, &head, &body).await,
            Some(413),
            "{megabytes} MB in chunks"
        );
    }
    // It does not depend on the account or the signature.
    let head = b"POST /wechat/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    assert_eq!(status(&server, head, &vec![b'x'; 100_000]).await, Some(413));
    // The server does not wait for an announced body.
    assert_eq!(status(&server, head, b"").await, Some(413));
    assert_eq!(kept(&server).await, 0);
    server.accepts(&PLAIN, event_of(2_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_leaves_nothing() {
    let server = Server::start(Backend::Sqlite).await;
    let message = fixture("events/articles.xml");
    for account in [PLAIN, SAFE] {
        let (head, body) = push(&account, &message);
        let half = &body[..body.len() / 2];
        let (chunked_head, _) = push_with(&account, &message, "Transfer-Encoding: chunked\r\n");
        let whole_chunk = chunked(&body, body.len());
        // Without the last chunk, a body is incomplete, too.
        let unfinished = &whole_chunk[..whole_chunk.len() - 5];
        for (head, sent) in [(&head, half), (&head, b""), (&chunked_head, unfinished)] {
            let mut wire = Wire::connect(server.address).await;
            wire.send(head).await;
            wire.send(sent).await;
            wire.finish().await;
            let reply = wire.reply().await;
            assert!(
                reply.as_ref().is_none_or(|reply| reply.status == 400),
                "{reply:?}"
            );
            // The same without waiting for a response.
            let mut wire = Wire::connect(server.address).await;
            wire.send(head).await;
            wire.send(sent).await;
        }
    }
    server.accepts(&PLAIN, &message).await;
    assert_eq!(kept(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_lies_is_no_way_in() {
    let server = Server::start(Backend::Sqlite).await;
    let message = fixture("events/articles.xml");
    let length = SAFE.sign(&message).body.len();
    let half = length / 2;
    let same = length;
    for (headers, expected) in [
        // The rest of the body would be parsed as the next request.
        (format!("Content-Length: {half}\r\n"), 403),
        (
            format!("Content-Length: {same}\r\nContent-Length: {half}\r\n"),
            400,
        ),
        (
            format!("Content-Length: {half}\r\nContent-Length: {same}\r\n"),
            400,
        ),
        (format!("Content-Length: -{same}\r\n"), 400),
        (format!("Content-Length: +{same}\r\n"), 400),
        (format!("Content-Length: {same}, {half}\r\n"), 400),
        ("Content-Length: 99999999999999999999\r\n".to_owned(), 400),
        ("Transfer-Encoding: gzip\r\n".to_owned(), 400),
        // Without either header there is no body.
        (String::new(), 403),
    ] {
        let (head, body) = push_with(&SAFE, &message, &headers);
        assert_eq!(
            status(&server, &head, &body).await,
            Some(expected),
            "{headers}"
        );
    }
    // Only chunked bodies are decoded as chunks.
    let (head, body) = push_with(&SAFE, &message, "Transfer-Encoding: chunked\r\n");
    assert_eq!(status(&server, &head, &body).await, Some(400));
    assert_eq!(kept(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_takes_many_requests_also_all_at_once() {
    let server = Server::start(Backend::Sqlite).await;
    let message = |number: usize| event_of(2_000 + number);
    let mut wire = Wire::connect(server.address).await;
    for number in 0..5 {
        let (head, body) = push(&SAFE, message(number));
        wire.send([head, body].concat()).await;
        assert!(wire.reply().await.unwrap().is_success());
    }
    let mut burst = Vec::new();
    for number in 5..10 {
        let (head, body) = push(&SAFE, message(number));
        burst.extend([head, body].concat());
    }
    burst.extend_from_slice(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.send(burst).await;
    for _ in 5..10 {
        assert!(wire.reply().await.unwrap().is_success());
    }
    assert_eq!(wire.reply().await.unwrap().body, "ok");
    assert_eq!(kept(&server).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_asks_first_is_told_to_go_on() {
    let server = Server::start(Backend::Sqlite).await;
    let message = fixture("events/articles.xml");
    let length = PLAIN.sign(&message).body.len();
    let headers = format!("Content-Length: {length}\r\nExpect: 100-continue\r\n");
    let (head, body) = push_with(&PLAIN, &message, &headers);
    let mut wire = Wire::connect(server.address).await;
    wire.send(head).await;
    assert_eq!(wire.reply().await.unwrap().status, 100);
    wire.send(body).await;
    assert!(wire.reply().await.unwrap().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_answered_and_closed() {
    let server = Server::start(Backend::Sqlite).await;
    let (head, body) = push(&PLAIN, fixture("events/articles.xml"));
    let head = String::from_utf8(head)
        .unwrap()
        .replace("HTTP/1.1", "HTTP/1.0");
    for (request, expected) in [
        (b"GET /livez HTTP/1.0\r\n\r\n".to_vec(), "ok"),
        ([head.into_bytes(), body].concat(), "success"),
    ] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(request).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, expected));
        assert_eq!(wire.closed().await, b"");
    }
}

/// Sends invalid requests; each gets one of these statuses or a close, and has no effect.
async fn refused(account: Option<&Account>, request: &[u8], allowed: &[u16]) {
    let server = Server::start(Backend::Sqlite).await;
    let mut wire = Wire::connect(server.address).await;
    wire.try_send(request).await;
    let text = String::from_utf8_lossy(&request[..request.len().min(40)]).into_owned();
    if let Some(reply) = wire.reply().await {
        assert!(allowed.contains(&reply.status), "{text}: {reply:?}");
    }
    wire.closed().await;
    assert_eq!(kept(&server).await, 0, "{text}");
    if let Some(account) = account {
        server
            .accepts(account, fixture("events/articles.xml"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_at_once() {
    for garbage in [
        &b"hello\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a greeting of TLS \r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\n\r\n",
        b"POST /wechat/plain HTTP/1.1\r\nHost x\r\n\r\n",
        b"POST /wechat/plain HTTP/1.1\r\n: x\r\n\r\n",
        &[0; 100],
        &[0xff; 100],
    ] {
        refused(None, garbage, &[400]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_big_is_refused() {
    let filler = "x".repeat(20_000);
    let query = format!("POST /wechat/plain?signature={filler} HTTP/1.1\r\nHost: x\r\n\r\n");
    let header = format!("POST /wechat/plain HTTP/1.1\r\nHost: x\r\nX: {filler}\r\n\r\n");
    let many = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(1_000)
    );
    for head in [query, header, many] {
        refused(Some(&PLAIN), head.as_bytes(), &[400, 414, 431]).await;
    }
}
