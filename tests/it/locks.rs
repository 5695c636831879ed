//! A lock of another session, or a slow connection to PostgreSQL, delays only the jobs concerned.

use std::time::Duration;

use qunfa::store::{BatchId, StoreError};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::cluster::Cluster;
use crate::support::events::{arrival, record};
use crate::support::{Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually};

async fn is_drained(server: &Server) {
    eventually("the spool is empty", async || {
        server.json("/readyz").await.1["status"] == "ready"
    })
    .await;
}

async fn has_job(server: &Server, msg_id: i64) -> bool {
    let path = format!("/api/v1/jobs/safe/{msg_id}");
    server.json(&path).await.0 == 200
}

async fn counts(server: &Server, msg_id: i64) -> (i64, i64) {
    let job = server.job(&SAFE, &msg_id.to_string()).await;
    let count = |name: &str| job[name].as_i64().unwrap();
    (count("deliveries"), count("revision"))
}

/// Locks the rows that a query finds.
async fn lock(server: &Server, rows: &'static str) -> PgConnection {
    let mut holder = PgConnection::connect(&server.database.url).await.unwrap();
    holder.execute("begin").await.unwrap();
    holder.execute(rows).await.unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_job_holds_up_no_other() {
    let server = Server::start(Backend::Postgres).await;
    server.accepts(&SAFE, Event::new(1, 10).xml()).await;
    let mut holder = lock(&server, "select from jobs where msg_id = 1 for update").await;
    // Revisions of the locked job are in one batch with others.
    let events = (2..=40).flat_map(|msg_id| {
        let revision = (msg_id % 10 == 0).then(|| Event::new(1, 10 + msg_id));
        revision.into_iter().chain([Event::new(msg_id, 10)])
    });
    let pushes: tokio::task::JoinSet<_> = events
        .map(|event| {
            let push = SAFE.sign(event.xml());
            let url = server.url(&format!("/wechat/safe?{}", push.query));
            let request = server.client.post(url).body(push.body);
            async move { request.send().await.unwrap().status().as_u16() }
        })
        .collect();
    assert_eq!(pushes.join_all().await, [200; 43]);
    eventually("all other jobs are recorded", async || {
        server.ok("/api/v1/stats?account=safe").await["jobs"] == 40
    })
    .await;
    for msg_id in 41..=45 {
        server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
        assert!(has_job(&server, msg_id).await, "job {msg_id}");
    }
    assert_eq!(counts(&server, 1).await, (1, 1));
    holder.execute("rollback").await.unwrap();
    is_drained(&server).await;
    assert_eq!(counts(&server, 1).await, (5, 5));
    for msg_id in 2..=45 {
        assert_eq!(counts(&server, msg_id).await, (1, 1), "job {msg_id}");
    }
}

/// The locked row cannot be identified, so the batch is halved until the delivery is isolated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_delivery_in_the_spool_holds_up_no_other() {
    let mut database = Backend::Postgres.database().await;
    let direct = database.shared();
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().start_on(database);
    server.accepts(&SAFE, "<xml>").await;
    let mut holder = PgConnection::connect(&direct.url).await.unwrap();
    let rows = "begin; select from other_deliveries for update";
    holder.execute(rows).await.unwrap();
    proxy.set(Way::Refused);
    for msg_id in 1..=30 {
        if msg_id % 12 == 0 {
            server.accepts(&SAFE, "<xml>").await;
        }
        server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
    }
    proxy.set(Way::Open);
    eventually("the jobs are recorded", async || {
        let (status, stats) = server.json("/api/v1/stats?account=safe").await;
        status == 200 && stats["jobs"] == 30
    })
    .await;
    server.accepts(&SAFE, Event::new(31, 10).xml()).await;
    assert!(has_job(&server, 31).await);
    holder.execute("rollback").await.unwrap();
    is_drained(&server).await;
    let unparsed = server.items("/api/v1/deliveries?state=unparsed").await;
    assert_eq!((unparsed.len(), &unparsed[0]["times"]), (1, &3.into()));
    for msg_id in 1..=31 {
        assert_eq!(counts(&server, msg_id).await, (1, 1), "job {msg_id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_drain_over_a_slow_way() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().start_on(database);
    for msg_id in 1..=60 {
        server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
    }
    proxy.set(Way::Refused);
    for msg_id in 1..=60 {
        server.accepts(&SAFE, Event::new(msg_id, 20).xml()).await;
    }
    // The round trip.
    proxy.set(Way::Slow(Duration::from_millis(15)));
    is_drained(&server).await;
    for msg_id in 1..=60 {
        assert_eq!(counts(&server, msg_id).await, (2, 2), "job {msg_id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_tells_which_jobs_are_locked() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    let job = |msg_id, create_time| arrival("a", Event::new(msg_id, create_time).xml(), 1000);
    for msg_id in 1..=3 {
        record(&*store, job(msg_id, 10)).await.unwrap();
    }
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    let rows = "begin; select from jobs where msg_id = 2 for update";
    holder.execute(rows).await.unwrap();
    let batch = [
        job(1, 20),
        job(2, 20),
        arrival("a", "<xml>", 1000),
        job(2, 10),
        job(4, 10),
    ];
    let id = BatchId::random();
    let error = store.record(&batch, Some(id)).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Locked(places) if places == &[1, 3]),
        "{error:?}"
    );
    assert!(store.cancel(id).await.unwrap(), "nothing was recorded");
    // Copies, in one statement.
    let error = store
        .record(&[job(3, 10), job(2, 10)], None)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Locked(places) if places == &[1]),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_leave_no_error_in_the_log_of_postgresql() {
    let cluster = Cluster::start().await;
    let server = Setup::default().start_on(cluster.database().await);
    for content in [10, 20, 15, 30, 20] {
        for account in [&SAFE, &PLAIN] {
            server.accepts(account, Event::new(1, content).xml()).await;
        }
    }
    assert_eq!(counts(&server, 1).await, (5, 4));
    let log = cluster.log();
    assert!(log.contains("ready to accept connections"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}
