//! The database is away: WeChat and dashboards get an honest answer in time, and all is well once it is back.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually};

async fn server_behind_a_proxy() -> (Server, Proxy) {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    (Setup::default().start_on(database), proxy)
}

/// Pushes and expects 503, never `success`, within 2 s.
async fn refuses_in_time(server: &Server, msg_id: i64) {
    let started = Instant::now();
    let push = SAFE.sign(Event::new(msg_id, 10).xml());
    let response = server.post("safe", &push.query, push.body).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert!(!response.text().await.unwrap().contains("success"));
}

async fn says_unavailable_in_time(server: &Server) {
    let paths = [
        "jobs",
        "jobs/safe/1",
        "jobs/safe/1/deliveries",
        "deliveries",
        "stats",
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
    let asked = Instant::now();
    let (status, body) = server.json("/readyz").await;
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (status, &body["status"]),
        (503, &Value::from("unavailable"))
    );
    assert!(!body.to_string().contains("postgres@"), "{body}");
    assert_eq!(server.get("/livez").await.status(), 200);
    server.ok("/api/v1/reasons").await;
}

async fn outage(way: Way) {
    let (server, proxy) = server_behind_a_proxy().await;
    let mut kept = 0;
    // What an outage leaves behind must not add up.
    for round in 1..=3 {
        kept += one_outage(&server, &proxy, way, round * 10_000_000).await;
        assert_eq!(server.ok("/api/v1/stats").await["jobs"], kept);
    }
}

/// Cuts the way under load and opens it again; how many new jobs were kept. Their ids are above `base`.
async fn one_outage(server: &Server, proxy: &Proxy, way: Way, base: i64) -> i64 {
    let push = async |msg_id: i64| server.push(&PLAIN, Event::new(msg_id, 10).xml()).await;
    // Twenty push one event after the other, so that the way is cut with every connection in use.
    let acknowledged = AtomicI64::new(0);
    let pushers = (1..=20).map(|pusher| {
        let (push, acknowledged) = (&push, &acknowledged);
        async move {
            for msg_id in (base + pusher * 100_000).. {
                let (status, body) = push(msg_id).await;
                if status == 503 {
                    assert!(!body.contains("success"));
                    return msg_id;
                }
                assert_eq!((status, &*body), (200, "success"));
                acknowledged.fetch_add(1, Relaxed);
            }
            unreachable!("the way is cut long before");
        }
    });
    let cut = async {
        eventually("the load is on", async || acknowledged.load(Relaxed) > 200).await;
        proxy.set(way);
    };
    let (unkept, ()) = tokio::join!(at_once(pushers), cut);
    refuses_in_time(server, base).await;
    says_unavailable_in_time(server).await;

    proxy.set(Way::Open);
    eventually("the server is ready again", async || {
        server.json("/readyz").await.0 == 200
    })
    .await;
    eventually("events are accepted again", async || {
        server.push(&SAFE, Event::new(base, 10).xml()).await.0 == 200
    })
    .await;
    // WeChat's retries: an event that had been kept before the answer got lost is a copy.
    for (status, body) in at_once(unkept.iter().map(|msg_id| push(*msg_id))).await {
        assert_eq!((status, &*body), (200, "success"));
    }
    for msg_id in unkept {
        assert_eq!(server.job(&PLAIN, &msg_id.to_string()).await["revision"], 1);
    }
    acknowledged.into_inner() + 21
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
async fn a_database_that_takes_no_writes_is_not_ready() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    store.ping().await.unwrap();
    store.close().await;

    let server = Setup::default().start_on(database);
    server.database.execute("do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$").await;
    let (status, body) = server.json("/readyz").await;
    assert_eq!(
        (status, &body["status"]),
        (503, &Value::from("unavailable")),
        "{body}"
    );
    assert!(
        server.log().contains("not ready to keep events"),
        "{}",
        server.log()
    );
    assert_eq!(server.push(&SAFE, Event::new(1, 10).xml()).await.0, 503);
}
