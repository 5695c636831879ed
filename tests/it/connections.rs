//! Slow, silent and many clients: all have timeouts, the longest idle one is closed, authentic
//! pushes get through.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::process::{open_files, raise_file_limit, resident_mib};
use crate::support::wire::{Wire, chunked, push, push_with};
use crate::support::{Backend, PLAIN, SAFE, Server, Setup, event, eventually, fixture};

/// What a client sends, and how much more every half second.
struct Slow {
    what: &'static str,
    start: Vec<u8>,
    drip: &'static [u8],
    /// Statuses that may be sent before the connection is closed.
    answers: &'static [u16],
}

fn slow(
    what: &'static str,
    start: impl Into<Vec<u8>>,
    drip: &'static [u8],
    answers: &'static [u16],
) -> Slow {
    Slow {
        what,
        start: start.into(),
        drip,
        answers,
    }
}

/// Everything that a client can take too long for.
fn slow_clients() -> Vec<Slow> {
    const HALF_HEAD: &str = "POST /wechat/plain?signature=x HTTP/1.1\r\nHost: x\r\n";
    let (head, body) = push(&PLAIN, fixture("events/articles.xml"));
    let half_body = [&head, &body[..100]].concat();
    let chunk =
        "POST /wechat/plain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\n";
    vec![
        slow("says nothing", "", b"", &[]),
        slow("sends half a head", HALF_HEAD, b"", &[408]),
        slow("drips a head", HALF_HEAD, b"A: b\r\n", &[408]),
        slow("sends a head alone", head, b"", &[408]),
        slow("sends half a body", half_body.clone(), b"", &[408]),
        slow("drips a body", half_body, b" ", &[408]),
        slow("sends half a chunk", chunk, b"", &[408]),
        slow("drips a chunk", chunk, b"", &[408]),
        slow(
            "is idle after an answer",
            format!("{get}\r\n"),
            b"",
            &[200, 408],
        ),
        slow(
            "owes a body that nobody reads",
            format!("{get}Content-Length: 9\r\n\r\n"),
            b"",
            &[200, 408],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_are_closed_after_5_seconds() {
    let server = Server::start(Backend::Sqlite).await;
    let mut clients = JoinSet::new();
    for client in slow_clients() {
        let address = server.address;
        clients.spawn(async move {
            let mut wire = Wire::connect(address).await;
            let started = Instant::now();
            wire.send(&client.start).await;
            let mut answers = Vec::new();
            loop {
                tokio::select! {
                    reply = wire.reply() => match reply {
                        Some(reply) => answers.push(reply.status),
                        None => break,
                    },
                    // Dripping this slowly is what is tested.
                    () = tokio::time::sleep(Duration::from_millis(500)) => wire.try_send(client.drip).await,
                }
            }
            (client, answers, started.elapsed())
        });
    }
    while let Some(client) = clients.join_next().await {
        let (
            Slow {
                what,
                answers: allowed,
                ..
            },
            answers,
            took,
        ) = client.unwrap();
        assert!(
            answers.iter().all(|answer| allowed.contains(answer)),
            "who {what} gets {answers:?}"
        );
        // A connection with an unread body may be closed right after the response.
        let least = if what.starts_with("owes") { 0 } else { 3 };
        let expected = Duration::from_secs(least)..Duration::from_secs(9);
        assert!(
            expected.contains(&took),
            "who {what} is closed after {took:?}"
        );
    }
    assert!(server.items("/api/v1/deliveries").await.is_empty());
    server.accepts(&PLAIN, fixture("events/articles.xml")).await;
}

async fn get_livez(wire: &mut Wire) -> Option<u16> {
    wire.try_send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    wire.reply().await.map(|reply| reply.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_every_slow_client_gives_way_to_an_honest_push() {
    for client in slow_clients() {
        let setup = Setup::default().toml("[server]\nmax_connections = 4");
        let server = setup.start(Backend::Sqlite).await;
        let mut seats = Vec::new();
        for _ in 0..12 {
            let mut wire = Wire::connect(server.address).await;
            wire.try_send(&client.start).await;
            seats.push(wire);
        }
        for _ in 0..3 {
            server.accepts_quickly().await;
        }
        // The first connections have been closed.
        for wire in &mut seats[..8] {
            wire.closed().await;
        }
    }
}

/// The longest response of an empty server; a few thousand exceed the buffers in between.
const REASONS: &str = "GET /api/v1/reasons HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_answer_is_closed_after_5_seconds() {
    let server = Server::start(Backend::Sqlite).await;
    let mut wire = Wire::connect(server.address).await;
    let started = Instant::now();
    wire.send_until_closed(REASONS.repeat(200)).await;
    let took = started.elapsed();
    let expected = Duration::from_secs(3)..Duration::from_secs(15);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_who_reads_no_answer_gives_way() {
    let setup = Setup::default().toml("[server]\nmax_connections = 2");
    let server = setup.start(Backend::Sqlite).await;
    let mut senders = JoinSet::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(server.address).await;
        senders.spawn(async move {
            wire.send_until_closed(REASONS.repeat(200)).await;
        });
    }
    for _ in 0..3 {
        server.accepts_quickly().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_idle_connection_gives_way_first() {
    let setup = Setup::default().toml("[server]\nmax_connections = 4");
    let server = setup.start(Backend::Sqlite).await;
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(server.address).await;
        assert_eq!(get_livez(&mut wire).await, Some(200));
        wires.push(wire);
    }
    // A connection that has just been used is no longer the longest idle.
    assert_eq!(get_livez(&mut wires[0]).await, Some(200));
    let mut fifth = Wire::connect(server.address).await;
    assert_eq!(get_livez(&mut fifth).await, Some(200));
    wires[1].closed().await;
    for index in [0, 2, 3] {
        assert_eq!(get_livez(&mut wires[index]).await, Some(200), "{index}");
    }
    assert_eq!(get_livez(&mut fifth).await, Some(200));
}

/// Opens that many connections as fast as it can.
async fn open(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let opening = tokio::task::spawn_blocking(move || {
        let connect = |_| TcpStream::connect(address).unwrap();
        (0..number).map(connect).collect()
    });
    opening.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_clients_is_not_put_off() {
    raise_file_limit(2_500);
    let server = Server::start(Backend::Sqlite).await;
    // While it is stopped it accepts nobody: all of them wait in the backlog, or retry a second
    // later.
    server.signal(Signal::STOP);
    let opening = tokio::time::timeout(Duration::from_secs(20), open(server.address, 2_000));
    let opened = opening.await;
    server.signal(Signal::CONT);
    assert!(opened.is_ok(), "some were put off");
    server.accepts_quickly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn among_10_000_idle_connections_honest_pushes_are_quick_and_memory_is_bounded() {
    const IDLE: usize = 10_000;
    raise_file_limit(10_500);
    // One more connection than the limit gets a place, too.
    let setup = Setup::default().toml("[server]\nmax_connections = 10100");
    let server = setup.start(Backend::Sqlite).await;
    let process = server.pid();
    let at_rest = resident_mib(process);
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.extend(open(server.address, IDLE / 10).await);
        server.accepts_quickly().await;
    }
    // Half of them send something, so that the server has to read.
    for connection in idle.iter_mut().step_by(2) {
        connection
            .write_all(b"POST /wechat/plain HTTP/1.1\r\n")
            .unwrap();
    }
    for _ in 0..3 {
        server.accepts_quickly().await;
    }
    let open = open_files(process);
    assert!(open > IDLE, "{open}");
    let grown = resident_mib(process) - at_rest;
    println!("{IDLE} idle connections: {at_rest} MiB at rest, {grown} MiB more");
    assert!(grown < 150, "{grown} MiB");
    drop(idle);
    eventually("they are gone", async || open_files(process) < 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_sending_side_gets_every_answer() {
    let server = Setup::default().with_metrics().start(Backend::Sqlite).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let pushes = [PLAIN, SAFE].map(|account| push(&account, fixture("events/articles.xml")));
    let (chunked_head, body) = push_with(&PLAIN, event(7), "Transfer-Encoding: chunked\r\n");
    let requests = [
        vec![pushes[0].0.clone(), pushes[0].1.clone()],
        vec![pushes[1].0.clone(), pushes[1].1.clone()],
        vec![chunked_head, chunked(&body, 100)],
        vec![get("/livez")],
        vec![get("/api/v1/jobs")],
        vec![get("/api/v1/jobs.ndjson")],
        vec![get("/livez"), get("/api/v1/jobs"), get("/livez")],
    ];
    for parts in requests {
        let answers = parts
            .iter()
            .filter(|part| part.starts_with(b"GET "))
            .count()
            .max(1);
        let text = String::from_utf8_lossy(&parts[0]).into_owned();
        let mut wire = Wire::connect(server.address).await;
        for part in &parts {
            wire.send(part).await;
        }
        wire.finish().await;
        let got = String::from_utf8(wire.closed().await).unwrap();
        assert_eq!(
            got.matches("HTTP/1.1 200").count(),
            answers,
            "{text}: {got}"
        );
    }
    assert_eq!(server.items("/api/v1/jobs").await.len(), 3);
    assert_eq!(server.log().matches("a job result is kept").count(), 3);
    let metrics = server.metrics().await;
    assert!(
        metrics.contains("qunfa_acknowledgement_duration_seconds_count 3"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_client_that_left_ends_soon() {
    let server = Setup::default().with_metrics().start(Backend::Sqlite).await;
    let open = async || {
        let metrics = server.metrics().await;
        let open = metrics
            .lines()
            .find_map(|line| line.strip_prefix("qunfa_open_connections{listener=\"server\"} "));
        open.unwrap_or("0").parse::<usize>().unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut wire = Wire::connect(server.address).await;
        wire.send("GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        wire.read_a_little().await.expect("it begins");
        streams.push(wire);
    }
    assert_eq!(open().await, 20);
    let left = Instant::now();
    drop(streams);
    eventually("they are gone", async || open().await == 0).await;
    // Without a notification, the server would only find out when it next sends something.
    assert!(
        left.elapsed() < Duration::from_secs(10),
        "{:?}",
        left.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_an_answer_that_is_read_is_not_cut_for_silent_connections() {
    const JOBS: i64 = 300;
    let setup = Setup::default().toml("[server]\nmax_connections = 3");
    let server = setup.start(Backend::Sqlite).await;
    for number in 1..=JOBS {
        server.accepts(&PLAIN, event(number)).await;
    }
    let whole = server.get("/api/v1/deliveries?limit=300").await;
    let length = whole.bytes().await.unwrap().len();
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let mut wire = Wire::connect_narrowly(server.address).await;
        wire.send("GET /api/v1/deliveries?limit=300 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
        readers.spawn(async move {
            let mut read = 0;
            while let Some(piece) = wire.read_a_little().await {
                read += piece.len();
                // Reading this slowly is what is tested.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            read
        });
    }
    // Each silent connection replaces the previous one, and no others.
    let mut silent = Vec::new();
    while !readers.is_empty() {
        silent.push(Wire::connect(server.address).await);
        // At this rate the readers last for more than 20 of them.
        tokio::time::sleep(Duration::from_millis(10)).await;
        while let Some(read) = readers.try_join_next() {
            let read = read.unwrap();
            assert!(read > length, "{read} of {length} bytes and a head");
        }
    }
    assert!(silent.len() > 20, "{} are too few to tell", silent.len());
}
