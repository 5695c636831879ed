//! PostgreSQL is unavailable: pushes go to the spool and are acknowledged in time, API clients get
//! an error, and afterwards every event is in the database, counted once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::load::jobs;
use crate::support::{Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually};

async fn server_behind_a_proxy() -> (Server, Proxy) {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    (Setup::default().start_on(database), proxy)
}

/// Pushes and expects `success` within 2 s.
async fn takes_in_time(server: &Server, msg_id: i64) {
    let started = Instant::now();
    server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

async fn the_api_says_unavailable_in_time(server: &Server) {
    let paths = [
        "jobs",
        "jobs/safe/1",
        "jobs/safe/1/deliveries",
        "deliveries",
        "stats",
        "stats/timeline",
        "stats/reasons",
        "stats/accounts",
        "accounts",
    ];
    let answers = paths.map(|path| async move {
        let asked = Instant::now();
        let (status, body) = server.json(&format!("/api/v1/{path}")).await;
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{path}: {:?}",
            asked.elapsed()
        );
        assert_eq!(status, 503, "{path}: {body}");
        assert_eq!(body["type"], "urn:qunfa:problem:unavailable");
    });
    at_once(answers).await;
    assert_eq!(server.get("/livez").await.status(), 200);
    server.ok("/api/v1/reasons").await;
}

/// The response of `/readyz` once it has that status.
async fn readiness(server: &Server, status: &str) -> Value {
    let mut last = Value::Null;
    eventually(&format!("readyz says {status}"), async || {
        let asked = Instant::now();
        last = server.json("/readyz").await.1;
        assert!(asked.elapsed() < Duration::from_secs(5));
        last["status"] == status
    })
    .await;
    assert!(!last.to_string().contains("postgres@"), "{last}");
    last
}

async fn outage(way: Way) {
    let (server, proxy) = server_behind_a_proxy().await;
    let mut copies = HashMap::new();
    // Leftovers of an outage must not accumulate.
    for round in 1..=3 {
        copies.extend(one_outage(&server, &proxy, way, round * 10_000_000).await);
        let jobs = jobs(&server, &PLAIN).await;
        assert_eq!(jobs.len(), copies.len());
        for job in jobs {
            let msg_id = job["msg_id"].as_str().unwrap().parse::<i64>().unwrap();
            assert_eq!(
                (job["deliveries"].as_i64(), job["revision"].as_i64()),
                (Some(copies[&msg_id]), Some(1)),
                "job {msg_id}"
            );
        }
    }
}

/// Cuts the connection under load and restores it; returns the acknowledged copies of each job. Ids
/// are above `base`.
async fn one_outage(server: &Server, proxy: &Proxy, way: Way, base: i64) -> HashMap<i64, i64> {
    let copies = Mutex::new(HashMap::new());
    let acknowledged = AtomicI64::new(0);
    let (is_cut, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    // Twenty tasks push, some events twice, so that all connections are in use when they are cut.
    let pushers = (1..=20).map(|pusher| {
        let (copies, acknowledged) = (&copies, &acknowledged);
        let (is_cut, is_over) = (&is_cut, &is_over);
        async move {
            for msg_id in (base + pusher * 100_000).. {
                for _ in 0..=(msg_id % 2) {
                    let pushed = Instant::now();
                    server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
                    let taken = pushed.elapsed();
                    assert!(taken < Duration::from_secs(5), "{taken:?}");
                    *copies.lock().unwrap().entry(msg_id).or_default() += 1;
                    acknowledged.fetch_add(1, Relaxed);
                }
                if is_cut.load(Relaxed) {
                    // A lower load: the test waits until all of it is in the database.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                if is_over.load(Relaxed) {
                    return;
                }
            }
        }
    });
    let more = async |count: i64| {
        let goal = acknowledged.load(Relaxed) + count;
        eventually("the load goes on", async || {
            acknowledged.load(Relaxed) > goal
        })
        .await;
    };
    let cut = async {
        more(200).await;
        proxy.set(way);
        is_cut.store(true, Relaxed);
        more(200).await;
        takes_in_time(server, base).await;
        let readiness = readiness(server, "degraded").await;
        assert!(
            readiness["spool"]["waiting"].as_i64() > Some(0),
            "{readiness}"
        );
        assert!(
            readiness["spool"]["oldest_age_seconds"].is_i64(),
            "{readiness}"
        );
        the_api_says_unavailable_in_time(server).await;
        proxy.set(Way::Open);
        more(200).await;
        is_over.store(true, Relaxed);
    };
    tokio::join!(at_once(pushers), cut);
    let readiness = readiness(server, "ready").await;
    assert_eq!(readiness["spool"]["waiting"], 0);
    assert_eq!(server.job(&SAFE, &base.to_string()).await["deliveries"], 1);
    copies.into_inner().unwrap()
}

/// All of them at once.
async fn at_once<T>(calls: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls
        .into_iter()
        .map(|call| (Box::pin(call), None))
        .collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (call, answer) in calls.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match call.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *answer = Some(value),
                std::task::Poll::Pending => is_done = false,
            }
        }
        if is_done {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, answer)| answer).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_connections_costs_nothing_but_its_time() {
    outage(Way::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_costs_nothing_but_its_time() {
    outage(Way::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_is_not_ready_and_gets_the_events_later() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    store.ping().await.unwrap();
    store.close().await;

    let server = Setup::default().start_on(database);
    let read_only = "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$";
    server.database.execute(read_only).await;
    assert_eq!(server.json("/readyz").await.1["status"], "degraded");
    assert!(
        server.log().contains("not fully ready to accept events"),
        "{}",
        server.log()
    );
    server.accepts(&SAFE, Event::new(1, 10).xml()).await;
    let (status, _) = server.json("/api/v1/jobs/safe/1").await;
    assert_eq!(status, 404);

    let writable = "begin read write; do $$ begin \
         execute format('alter database %I set default_transaction_read_only = off', current_database()); end $$; commit";
    server.database.execute(writable).await;
    eventually("the job is in the database", async || {
        server.json("/api/v1/jobs/safe/1").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn a_server_starts_without_its_database_and_fills_it_later() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    proxy.set(Way::Refused);
    let server = Setup::default().start_on(database);
    assert_eq!(server.json("/readyz").await.1["status"], "degraded");
    for msg_id in 1..=3 {
        server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
    }
    the_api_says_unavailable_in_time(&server).await;
    proxy.set(Way::Open);
    readiness(&server, "ready").await;
    assert_eq!(server.ok("/api/v1/stats").await["jobs"], 3);
}
