//! How far one API client can affect others: database, memory, and the latency of pushes.

use std::time::{Duration, Instant};

use qunfa::domain::ApiKeyHash;
use reqwest::StatusCode;
use sqlx::{Connection, Executor, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::support::process::resident_mib;
use crate::support::{Backend, Database, PLAIN, Server, Setup, event, eventually, on_both_stores};

/// Reading this list takes forever after [`never_answer`].
const SLOW: &str = "/api/v1/deliveries";

fn two_clients() -> Setup {
    let client = |name, accounts| {
        let hash = ApiKeyHash::of(name);
        format!("[api.clients.{name}]\nkey = \"{hash}\"\n{accounts}\n")
    };
    Setup::default()
        .with_metrics()
        .toml(&client("greedy", "accounts = [\"plain\"]"))
        .toml(&client("other", ""))
}

fn ask(server: &Server, key: &str, path: &str) -> AbortOnDropHandle<(StatusCode, Duration)> {
    let request = server.client.get(server.url(path)).bearer_auth(key);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let started = Instant::now();
        let response = request.send().await.unwrap();
        (response.status(), started.elapsed())
    }))
}

/// Makes queries of deliveries hang, but not of jobs, until the value is dropped.
async fn never_answer(backend: Backend, database: &Database) -> Option<PgConnection> {
    match backend {
        Backend::Sqlite => {
            database
                .execute(
                    "alter table other_deliveries rename to hidden; \
                     create view other_deliveries as with recursive numbers (n) as ( \
                         select 1 union all select n + 1 from numbers \
                     ) select max(n) as id, 'plain' as account, x'00' as body_sha256, x'00' as body, 'stored' as state, \
                         null as event, null as msg_id, null as error, null as finished_at, 0 as job, 0 as received_at, \
                         0 as last_received_at, 1 as times from numbers",
                )
                .await;
            None
        }
        Backend::Postgres => {
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            connection
                .execute("begin; lock table other_deliveries in access exclusive mode")
                .await
                .unwrap();
            Some(connection)
        }
    }
}

/// The number of connections for reading, by state.
async fn readers(server: &Server, state: &str) -> u32 {
    let name = format!("qunfa_database_connections{{state=\"{state}\"}} ");
    let metrics = server.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap().parse().unwrap()
}

on_both_stores! {
    async fn slow_reads_of_one_client_end_in_time_and_leave_room_for_others(backend: Backend) {
        let server = two_clients().start(backend).await;
        server.accepts(&PLAIN, event(1)).await;
        let _lock = never_answer(backend, &server.database).await;
        let slow: Vec<_> = (0..20).map(|_| ask(&server, "greedy", SLOW)).collect();
        eventually("the slow reads run", async || readers(&server, "busy").await >= 2).await;
        for _ in 0..5 {
            let (status, took) = ask(&server, "other", "/api/v1/jobs").await.unwrap();
            assert_eq!(status, 200, "{}", server.log());
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
        for slow in slow {
            let (status, took) = slow.await.unwrap();
            assert_eq!(status, 503);
            assert!(took < Duration::from_secs(8), "{took:?}");
        }
        eventually("nothing goes on for nobody", async || readers(&server, "busy").await == 0).await;
        server.accepts(&PLAIN, event(2)).await;
    }

    async fn a_client_that_leaves_ends_what_the_database_does_for_it(backend: Backend) {
        let server = two_clients().start(backend).await;
        let _lock = never_answer(backend, &server.database).await;
        let slow: Vec<_> = (0..4).map(|_| ask(&server, "greedy", SLOW)).collect();
        eventually("the slow reads run", async || readers(&server, "busy").await >= 2).await;
        let left = Instant::now();
        drop(slow);
        eventually("they have ended", async || readers(&server, "busy").await == 0).await;
        let took = left.elapsed();
        // Without this, the statement would end after 5 s in PostgreSQL, and never in SQLite.
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

/// Stores that many jobs with bodies of about 2 kB.
async fn store_jobs(server: &Server, count: i64) {
    let filler = format!("<!--{}--></xml>", "0123456789abcdef".repeat(120));
    for msg_id in 1..=count {
        let message = event(msg_id).replace("</xml>", &filler);
        server.accepts(&PLAIN, message).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_take_a_bounded_memory_and_pushes_go_on() {
    /// One client's share: three copies of each response in progress, and the buffers of each
    /// connection.
    fn bound_mib(answer: usize, connections: usize) -> u64 {
        let bytes = 16 * 1024 * 1024 + 2 * 3 * answer + connections * 64 * 1024;
        u64::try_from(bytes).unwrap() / 1024 / 1024 + 30
    }
    const CONNECTIONS: usize = 300;
    let server = two_clients().start(Backend::Sqlite).await;
    store_jobs(&server, 500).await;
    let path = "/api/v1/deliveries?limit=500";
    let whole = server.client.get(server.url(path)).bearer_auth("greedy");
    let answer = whole.send().await.unwrap().bytes().await.unwrap().len();
    assert!(answer > 1_000_000);
    let at_rest = resident_mib(server.pid());

    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer greedy\r\n\r\n");
    let mut wires = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut wire = TcpStream::connect(server.address).await.unwrap();
        wire.write_all(request.as_bytes()).await.unwrap();
        wires.push(wire);
    }
    let started = Instant::now();
    let (mut peak, mut slowest) = (0, Duration::ZERO);
    let mut others = 0;
    while started.elapsed() < Duration::from_secs(5) {
        slowest = slowest.max(server.accepts_quickly().await);
        peak = peak.max(resident_mib(server.pid()));
        let (status, _) = ask(&server, "other", "/api/v1/jobs?limit=1").await.unwrap();
        assert_eq!(status, 200);
        others += 1;
    }
    let grown = peak.saturating_sub(at_rest);
    let bound = bound_mib(answer, CONNECTIONS);
    println!(
        "{CONNECTIONS} slow readers of {answer} bytes: {grown} MiB of {bound}, {others} other answers, pushes in {slowest:?}"
    );
    assert!(grown < bound, "{grown} MiB, and the bound is {bound}");
    assert!(bound < u64::try_from(CONNECTIONS * answer / 1024 / 1024).unwrap() / 2);

    // Responses that got no memory in time were 503.
    let mut told = 0;
    for wire in &mut wires {
        let mut head = [0; 12];
        if wire.read_exact(&mut head).await.is_ok() && head == *b"HTTP/1.1 503" {
            told += 1;
        }
    }
    assert!(told > CONNECTIONS / 2, "{told}");
    drop(wires);
    eventually("the memory is free again", async || {
        ask(&server, "greedy", path).await.unwrap().0 == 200
    })
    .await;
}

/// The length of a response including its head, once the head is complete.
fn length_of(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    Some(end + 4 + length.unwrap().parse::<usize>().unwrap())
}

/// Requests a file repeatedly on one connection, and reads the responses.
fn download(server: &Server, path: &str) -> AbortOnDropHandle<()> {
    let address = server.address;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut wire = TcpStream::connect(address).await.unwrap();
        let mut unread = Vec::new();
        loop {
            wire.write_all(request.as_bytes()).await.unwrap();
            let mut length = None;
            while length.is_none_or(|length| unread.len() < length) {
                let read = wire.read_buf(&mut unread).await.unwrap();
                assert!(read > 0, "the server has closed the connection");
                length = length.or_else(|| length_of(&unread));
            }
            unread.clear();
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_go_on_while_many_clients_download_the_page_and_compressed_lists() {
    let server = Server::start(Backend::Sqlite).await;
    store_jobs(&server, 100).await;
    let index = server.get("/").await.text().await.unwrap();
    let main = index.split('"').find(|part| part.ends_with("/main.js"));
    let chart = main
        .unwrap()
        .replace("main.js", "vendor/uplot/uPlot.esm.js");
    let chart = format!("/{chart}");
    for path in [
        chart.as_str(),
        "/openapi.json",
        "/api/v1/deliveries?limit=100",
    ] {
        let downloads: Vec<_> = (0..100).map(|_| download(&server, path)).collect();
        let mut times = Vec::new();
        for _ in 0..20 {
            let started = Instant::now();
            let pushing = server.push(&PLAIN, event(1));
            let answer = tokio::time::timeout(Duration::from_secs(5), pushing).await;
            assert_eq!(
                answer.expect("a push took 5 s"),
                (200, "success".to_owned()),
                "{path}"
            );
            times.push(started.elapsed());
        }
        times.sort_unstable();
        println!("{path}: pushes in {:?}, at most {:?}", times[10], times[19]);
        assert!(downloads.iter().all(|download| !download.is_finished()));
    }
}
