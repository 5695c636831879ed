//! Floods of bodies and forged requests: memory is bounded, they have no effect, and authentic
//! pushes get through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use crate::support::process::resident_mib;
use crate::support::wire::{Reply, Wire, push};
use crate::support::{Backend, PLAIN, SAFE, Server, Setup, event, eventually};

/// A request that is not authentic, with a body of that size, or a `GET` without one.
fn forged(account: &str, length: Option<usize>) -> String {
    const QUERY: &str = "timestamp=1800000000&nonce=1&echostr=1\
        &signature=0000000000000000000000000000000000000000&msg_signature=0000000000000000000000000000000000000000";
    let Some(length) = length else {
        return format!("GET /wechat/{account}?{QUERY} HTTP/1.1\r\nHost: x\r\n\r\n");
    };
    let envelope = ["<xml><Encrypt>", "</Encrypt></xml>"];
    let encrypt = "A".repeat(length - envelope.concat().len());
    let body = envelope.join(&encrypt);
    format!(
        "POST /wechat/{account}?{QUERY} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn is_refusal(reply: &Reply) -> bool {
    reply.status == 403 && reply.body == "forbidden"
}

fn closes(reply: &Reply) -> bool {
    reply.head.contains("\r\nconnection: close\r\n")
}

/// Sends forged requests one after the other until it is dropped; counts the refusals.
fn flood(
    address: SocketAddr,
    request: String,
    refusals: &Arc<AtomicUsize>,
) -> AbortOnDropHandle<()> {
    let refusals = Arc::clone(refusals);
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let mut wire = Wire::connect(address).await;
            loop {
                wire.try_send(&request).await;
                let Some(reply) = wire.reply().await else {
                    break;
                };
                assert!(is_refusal(&reply), "{reply:?}");
                refusals.fetch_add(1, Relaxed);
                if closes(&reply) {
                    break;
                }
            }
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_flood_of_forged_requests_honest_pushes_are_quick_and_memory_is_bounded() {
    let server = Server::start(Backend::Sqlite).await;
    let at_rest = resident_mib(server.pid());
    let refusals = Arc::new(AtomicUsize::new(0));
    let floods: Vec<_> = ["plain", "safe"]
        .into_iter()
        .flat_map(|account| {
            [Some(60_000), Some(1_000), Some(1_000), None].map(|length| forged(account, length))
        })
        .map(|request| flood(server.address, request, &refusals))
        .collect();
    let started = Instant::now();
    let mut peak = 0;
    let mut times = Vec::new();
    // Long enough for the test's address to exceed its limit by far.
    while refusals.load(Relaxed) < 3_000 || times.len() < 20 {
        times.push(server.accepts_quickly().await);
        peak = peak.max(resident_mib(server.pid()));
    }
    let refused = refusals.load(Relaxed);
    let took = started.elapsed();
    drop(floods);
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    let grown = peak - at_rest;
    println!(
        "{refused} forged requests in {took:?}: {at_rest} MiB at rest, {grown} MiB more, {} pushes in {median:?}, at most {slowest:?}",
        times.len()
    );
    assert!(grown < 30, "{grown} MiB");
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 1);
    let log = server.log();
    let warnings = log
        .matches("too many requests from one address are refused")
        .count();
    assert_eq!(warnings, 1, "{log}");
}

/// The lines of the head that are the same in all responses.
fn constant_lines(reply: &Reply) -> Vec<&str> {
    let lines = reply.head.lines();
    lines
        .filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "))
        .collect()
}

/// The first refusal that closes its connection: then the address has exceeded its limit.
async fn closing_refusal(server: &Server, request: &str) -> Reply {
    let mut wire = Wire::connect(server.address).await;
    loop {
        wire.send(request).await;
        let reply = wire.reply().await.unwrap();
        assert!(is_refusal(&reply), "{reply:?}");
        if closes(&reply) {
            assert_eq!(wire.closed().await, b"");
            return reply;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_over_its_limit_gets_the_same_403_and_its_honest_pushes_do_not_notice() {
    let server = Server::start(Backend::Sqlite).await;
    let request = forged("plain", None);
    let mut wire = Wire::connect(server.address).await;
    wire.send(&request).await;
    let first = wire.reply().await.unwrap();
    for _ in 1..1_000 {
        wire.send(&request).await;
        let reply = wire.reply().await.unwrap();
        assert_eq!(constant_lines(&reply), constant_lines(&first));
    }
    for account in ["plain", "safe", "nobody"] {
        for length in [None, Some(100), Some(20_000)] {
            let reply = closing_refusal(&server, &forged(account, length)).await;
            let mut lines = constant_lines(&reply);
            lines.retain(|line| *line != "connection: close");
            assert_eq!(lines, constant_lines(&first));
        }
    }

    let mut honest = Wire::connect(server.address).await;
    for number in 1..=20 {
        let account = if number % 2 == 0 { PLAIN } else { SAFE };
        let (head, body) = push(&account, event(number));
        honest.send([head, body].concat()).await;
        let reply = honest.reply().await.unwrap();
        assert!(reply.is_success() && !closes(&reply), "{reply:?}");
    }
    assert_eq!(server.items("/api/v1/jobs").await.len(), 20);

    let mut other = Wire::connect_from([127, 0, 0, 2], server.address).await;
    other.send(&request).await;
    let reply = other.reply().await.unwrap();
    assert!(is_refusal(&reply) && !closes(&reply), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_tiny_chunks_give_way_long_before_they_fill_the_memory() {
    let setup = Setup::default()
        .toml("[server]\nbody_limit = 1048576")
        .with_metrics();
    let server = setup.start(Backend::Sqlite).await;
    let head = "POST /wechat/safe HTTP/1.1\r\nHost: x\r\n";
    let large = format!(
        "{head}Content-Length: 1048576\r\n\r\n{}",
        "x".repeat(1_000_000)
    );
    let tiny = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}",
        "1\r\nx\r\n".repeat(50_000)
    );
    // 26 MB in total, and the limit is 32 MiB.
    let bodies = [vec![&large; 24], vec![&tiny; 20]].concat();
    let has_one_given_way = async || {
        let metrics = server.metrics().await;
        metrics.contains("reason=\"gave_way\"")
    };
    eventually("one gives way", async || {
        let mut wires = Vec::new();
        for body in &bodies {
            let mut wire = Wire::connect(server.address).await;
            wire.try_send(body).await;
            wires.push(wire);
        }
        // After 5 s they are closed as too slow.
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_secs(4) {
            server.accepts_quickly().await;
            if has_one_given_way().await {
                return true;
            }
            // There is nothing to wait for but the metric; asking for it all the time would keep the server busy.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    })
    .await;
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_give_way_before_they_fill_the_memory() {
    let setup = Setup::default().toml("[server]\nbody_limit = 1048576");
    let server = setup.start(Backend::Sqlite).await;
    let at_rest = resident_mib(server.pid());
    let head = "POST /wechat/safe HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n";
    let most = format!("{head}{}", "x".repeat(1_000_000));
    let mut wires = Vec::new();
    let mut peak = 0;
    let mut slowest = Duration::ZERO;
    for _ in 0..40 {
        for _ in 0..5 {
            let mut wire = Wire::connect(server.address).await;
            wire.try_send(&most).await;
            wires.push(wire);
        }
        slowest = slowest.max(server.accepts_quickly().await);
        peak = peak.max(resident_mib(server.pid()));
    }
    let grown = peak - at_rest;
    println!(
        "200 MB of half-sent bodies: {at_rest} MiB at rest, {grown} MiB more, pushes in {slowest:?}"
    );
    assert!(grown < 80, "{grown} MiB");
    for wire in &mut wires {
        let answer = wire.reply().await.unwrap();
        assert_eq!((answer.status, &*answer.body), (408, "body too slow"));
    }
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 1);
}
