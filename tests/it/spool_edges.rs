//! Edge cases of the spool: PostgreSQL is unavailable at the start, nothing works at all, or
//! PostgreSQL refuses a delivery.

use std::time::{Duration, Instant};

use qunfa::store::Spool;
use serde_json::Value;
use sqlx::{ConnectOptions, Executor};

use crate::support::cluster::Cluster;
use crate::support::load::jobs;
use crate::support::{Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually};

async fn ready(server: &Server) -> Value {
    server.json("/readyz").await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_before_postgresql_take_events_and_file_them_once_it_is_there() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    cluster.stop().await;
    let two = Setup::default().start_on(database.shared());
    let mut one = Setup::default().start_on(database);
    for (server, offset) in [(&one, 0), (&two, 10)] {
        assert_eq!(ready(server).await["status"], "degraded");
        for msg_id in 1..=10 {
            // Each replica has ten different jobs, and the same content of one.
            server
                .accepts(&SAFE, Event::new(offset + msg_id, 10).xml())
                .await;
            server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
        }
        let (status, body) = server.json("/api/v1/jobs").await;
        assert_eq!(status, 503, "{body}");
    }
    // The content of the spool survives the process.
    one.kill();
    one.restart();
    eventually("the deliveries wait", async || {
        ready(&one).await["spool"]["waiting"] == 20
    })
    .await;

    // No replica has migrated it yet.
    cluster.restart().await;
    for server in [&one, &two] {
        eventually("the spool is empty", async || {
            ready(server).await["status"] == "ready"
        })
        .await;
    }
    let safe = jobs(&one, &SAFE).await;
    assert_eq!(safe.len(), 20);
    assert!(safe.iter().all(|job| job["deliveries"] == 1), "{safe:?}");
    let plain = one.job(&PLAIN, "1").await;
    assert_eq!(
        (&plain["deliveries"], &plain["revision"]),
        (&20.into(), &1.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_neither_database_nor_spool_nothing_is_acknowledged() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let mut server = Setup::default().file_limit_kib(400).start_on(database);
    proxy.set(Way::Refused);
    let mut kept = 0;
    let refused = loop {
        // The largest accepted bodies, unparsed, so that the spool fills quickly.
        let body = format!("{kept:>60000}");
        let asked = Instant::now();
        let answer = server.push(&PLAIN, &body).await;
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
        match answer {
            (200, answer) => assert_eq!(answer, "success"),
            (503, _) => break body,
            other => panic!("{other:?}\n{}", server.log()),
        }
        kept += 1;
        assert!(kept < 100, "the disk is never full");
    };
    assert!(kept > 0);
    assert_eq!(server.push(&PLAIN, &refused).await.0, 503);

    // The database is enough.
    proxy.set(Way::Open);
    eventually("deliveries are taken again", async || {
        server.push(&PLAIN, &refused).await.0 == 200
    })
    .await;
    server.kill();
    server.file_limit_kib = None;
    server.restart();
    eventually("the spool is empty", async || {
        ready(&server).await["status"] == "ready"
    })
    .await;
    let deliveries = server.items("/api/v1/deliveries?limit=500").await;
    assert_eq!(deliveries.len(), kept + 1);
    for delivery in deliveries {
        assert_eq!(delivery["times"], 1);
    }
}

/// The database and the spool both hang for longer than a push may take, so that pushes are
/// answered before their outcome is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_nothing_could_keep_counts_once() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().with_metrics().start_on(database);
    let spool = server.database.directory().join("data/spool.db");
    let spool = sqlx::sqlite::SqliteConnectOptions::new().filename(spool);
    let mut spool = spool.connect().await.unwrap();
    spool.execute("begin exclusive").await.unwrap();
    proxy.set(Way::BlackHole);
    let pushes: tokio::task::JoinSet<_> = (1..=6)
        .map(|msg_id| {
            let push = PLAIN.sign(Event::new(msg_id, 10).xml());
            let url = server.url(&format!("/wechat/plain?{}", push.query));
            let request = server.client.post(url).body(push.body);
            async move {
                // Each arrives while the committer works on the one before.
                tokio::time::sleep(Duration::from_millis(50 * msg_id.unsigned_abs())).await;
                request.send().await.unwrap().status().as_u16()
            }
        })
        .collect();
    assert_eq!(pushes.join_all().await, [503; 6]);
    spool.execute("rollback").await.unwrap();
    eventually("pushes are taken again", async || {
        let event = Event::new(7, 10).xml();
        server.push(&PLAIN, event).await.0 == 200
    })
    .await;
    let metrics = server.metrics().await;
    let failed =
        "qunfa_pushes_total{account=\"plain\",event=\"MASSSENDJOBFINISH\",result=\"failed\"} 6";
    assert!(metrics.contains(failed), "{metrics}");
}

/// A poison delivery is set aside, the others are recorded, and once the cause is gone it is
/// recorded, too.
async fn poison(is_away_first: bool) {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().start_on(database);
    server.accepts(&SAFE, Event::new(1, 10).xml()).await;
    let constraint = "alter table jobs add constraint poison check (msg_id <> 13)";
    server.database.execute(constraint).await;
    if is_away_first {
        proxy.set(Way::Refused);
    }
    let pushes: tokio::task::JoinSet<_> = (2..=40)
        .map(|msg_id| {
            let push = SAFE.sign(Event::new(msg_id, 10).xml());
            let url = server.url(&format!("/wechat/safe?{}", push.query));
            let request = server.client.post(url).body(push.body);
            async move { request.send().await.unwrap().status().as_u16() }
        })
        .collect();
    assert_eq!(pushes.join_all().await, [200; 39]);
    proxy.set(Way::Open);

    let mut last = Value::Null;
    eventually("the others are filed", async || {
        last = ready(&server).await;
        last["status"] == "ready" && last["spool"]["refused"] == 1
    })
    .await;
    let filed = jobs(&server, &SAFE).await;
    assert_eq!(filed.len(), 39, "{last}");
    assert!(filed.iter().all(|job| job["deliveries"] == 1), "{filed:?}");
    assert_eq!(server.json("/api/v1/jobs/safe/13").await.0, 404);
    // It is in the spool with all its data.
    let spool = server.database.directory().join("data/spool.db");
    let spool = Spool::open(&spool).await.unwrap();
    let refused = spool.refused().await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].body, Event::new(13, 10).xml().as_bytes());
    assert!(refused[0].refusal.as_ref().unwrap().contains("poison"));

    server
        .database
        .execute("alter table jobs drop constraint poison")
        .await;
    assert_eq!(spool.retry_refused().await.unwrap(), 1);
    spool.close().await;
    eventually("it is filed", async || {
        ready(&server).await["spool"]["refused"] == 0
            && server.json("/api/v1/jobs/safe/13").await.0 == 200
    })
    .await;
    assert_eq!(server.job(&SAFE, "13").await["deliveries"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgresql_refuses_is_set_aside_and_spoils_no_batch() {
    poison(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgresql_refuses_blocks_no_other_in_the_spool() {
    poison(true).await;
}
