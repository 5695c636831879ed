//! SIGTERM and SIGINT: running requests are finished, idle connections are closed, and the process
//! ends by itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::wire::{Wire, push};
use crate::support::{Backend, Event, PLAIN, Server, eventually, fixture};

/// Idle clients, and stopping, take far less than any timeout.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn stopping(signal: Signal) {
    let mut server = Server::start(Backend::Sqlite).await;
    let event = fixture("events/articles.xml");
    let mut silent = Wire::connect(server.address).await;
    let mut idle = Wire::connect(server.address).await;
    idle.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.reply().await.unwrap().body, "ok");
    let mut half_head = Wire::connect(server.address).await;
    half_head.send("POST /wechat/plain HTTP/1.1\r\n").await;
    let (head, body) = push(&PLAIN, &event);
    let (first, rest) = body.split_at(100);
    let expect = String::from_utf8(head).unwrap();
    let expect = expect.replace("Content-Length", "Expect: 100-continue\r\nContent-Length");
    let mut slow = Wire::connect(server.address).await;
    slow.send(expect).await;
    // Once the body is requested, the request is in progress.
    assert_eq!(slow.reply().await.unwrap().status, 100);
    slow.send(first).await;

    server.signal(signal);
    let signalled = Instant::now();
    for wire in [&mut silent, &mut idle, &mut half_head] {
        wire.closed().await;
    }
    assert!(
        signalled.elapsed() < AT_ONCE,
        "idle connections are closed soon"
    );
    eventually("new connections are refused", async || {
        Wire::try_connect(server.address).await.is_err()
    })
    .await;
    slow.send(rest).await;
    let answered = slow
        .reply()
        .await
        .expect("the push that had begun is answered");
    assert!(answered.is_success(), "{answered:?}");
    slow.closed().await;
    let answered_at = Instant::now();
    let status = server.wait().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(answered_at.elapsed() < AT_ONCE);

    server.restart();
    let job = server.job(&PLAIN, "3147483999").await;
    assert_eq!(job["deliveries"], 1, "what was acknowledged is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_has_begun() {
    stopping(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_does_the_same() {
    stopping(Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_on_its_way_is_answered_when_the_stop_overtakes_it() {
    let mut server = Server::start(Backend::Sqlite).await;
    let mut pushes = Vec::new();
    for msg_id in 1..=50 {
        let (head, body) = push(&PLAIN, Event::new(msg_id, 10).xml());
        pushes.push((Wire::connect(server.address).await, [head, body].concat()));
    }
    // Connections are accepted in order, so with this response all of them are.
    server.accepts(&PLAIN, Event::new(51, 10).xml()).await;
    server.signal(Signal::TERM);
    for (wire, bytes) in &mut pushes {
        wire.send(bytes).await;
    }
    for (wire, _) in &mut pushes {
        assert!(wire.reply().await.expect("an answer").is_success());
    }
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
    server.restart();
    assert_eq!(server.ok("/api/v1/stats").await["jobs"], 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_does_not_hold_up_the_stop() {
    let mut server = Server::start(Backend::Sqlite).await;
    let (head, _) = push(&PLAIN, fixture("events/articles.xml"));
    let mut slow = Wire::connect(server.address).await;
    let expect = String::from_utf8(head).unwrap();
    slow.send(expect.replace("Content-Length", "Expect: 100-continue\r\nContent-Length"))
        .await;
    assert_eq!(slow.reply().await.unwrap().status, 100);
    server.signal(Signal::TERM);
    let signalled = Instant::now();
    let status = server.wait().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(signalled.elapsed() < Duration::from_secs(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_answer_does_not_hold_up_the_stop() {
    let mut server = Server::start(Backend::Sqlite).await;
    let mut wire = Wire::connect(server.address).await;
    let flood = tokio::spawn(async move {
        let requests = "GET /api/v1/reasons HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
        for _ in 0..200 {
            wire.try_send(&requests).await;
        }
    });
    server.accepts(&PLAIN, fixture("events/articles.xml")).await;
    server.signal(Signal::TERM);
    let signalled = Instant::now();
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
    assert!(signalled.elapsed() < AT_ONCE);
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_changes_nothing() {
    let mut server = Server::start(Backend::Sqlite).await;
    server.signal(Signal::TERM);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
}
