//! Acknowledged means kept, whatever happens to the program or the database, or concurrently.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qunfa::domain::MsgId;
use reqwest::Client;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinSet;

use crate::support::events::{arrival, record};
use crate::support::workplace::ended;
use crate::support::{Backend, Event, PLAIN, SAFE, Server, Setup, eventually, on_both_stores};

/// The target of pushes, independent of the server.
#[derive(Clone)]
struct Target {
    client: Client,
    url: String,
}

impl Target {
    fn of(server: &Server) -> Self {
        Self {
            client: server.client.clone(),
            url: server.url("/wechat/plain"),
        }
    }

    /// True if it was acknowledged; `None` without a response.
    async fn push(&self, event: &Event) -> Option<bool> {
        let push = PLAIN.sign(event.xml());
        let request = self
            .client
            .post(format!("{}?{}", self.url, push.query))
            .body(push.body);
        let response = request.send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        assert_eq!(status == 200, text == "success", "{status}: {text}");
        Some(status == 200)
    }
}

on_both_stores! {
    async fn an_event_is_there_after_a_kill_right_behind_its_acknowledgement(backend: Backend) {
        let mut server = Server::start(backend).await;
        for msg_id in 1..=5 {
            server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
            server.kill();
            server.restart();
            assert_eq!(server.job(&SAFE, &msg_id.to_string()).await["deliveries"], 1);
        }
        assert_eq!(server.items("/api/v1/deliveries").await.len(), 5);
    }

    async fn fifty_copies_at_once_are_one_job(backend: Backend) {
        let server = Server::start(backend).await;
        let target = Target::of(&server);
        let mut copies: JoinSet<_> = (0..50).map(|_| {
            let target = target.clone();
            async move { target.push(&Event::new(7, 10)).await }
        }).collect();
        while let Some(copy) = copies.join_next().await {
            assert_eq!(copy.unwrap(), Some(true));
        }
        let job = server.job(&PLAIN, "7").await;
        assert_eq!((&job["deliveries"], &job["revision"]), (&50.into(), &1.into()));
        let deliveries = server.items("/api/v1/deliveries").await;
        assert_eq!((deliveries.len(), &deliveries[0]["times"]), (1, &50.into()));
    }

    async fn a_job_that_was_deleted_by_hand_comes_again_with_all_its_contents(backend: Backend) {
        let server = Server::start(backend).await;
        for delete in ["delete from jobs", if backend == Backend::Sqlite { "delete from jobs" } else { "truncate jobs" }] {
            for content in [10, 20, 30, 20, 10] {
                server.accepts(&SAFE, Event::new(7, content).xml()).await;
            }
            let job = server.job(&SAFE, "7").await;
            assert_eq!((&job["deliveries"], &job["revision"]), (&5.into(), &3.into()), "{job}");
            assert_eq!(server.items("/api/v1/deliveries").await.len(), 3);
            server.database.execute(delete).await;
            assert_eq!(server.items("/api/v1/deliveries").await.len(), 0, "after {delete}");
        }
    }

    async fn contents_that_a_job_left_behind_in_the_version_before_are_counted_with_it(backend: Backend) {
        let server = Server::start(backend).await;
        for content in [10, 20] {
            server.accepts(&SAFE, Event::new(7, content).xml()).await;
        }
        let delete = if backend == Backend::Sqlite {
            "drop trigger delete_contents_of_deleted_job; delete from jobs"
        } else {
            "drop trigger delete_contents_of_deleted_job on jobs; delete from jobs"
        };
        server.database.execute(delete).await;
        // The content of 10 exists already when it is no longer shown.
        for content in [10, 20, 30] {
            server.accepts(&SAFE, Event::new(7, content).xml()).await;
        }
        let times: Vec<_> = server.items("/api/v1/jobs/safe/7/deliveries").await;
        let times: Vec<_> = times.iter().map(|delivery| delivery["times"].as_i64().unwrap()).collect();
        assert_eq!(times, [2, 1, 1]);
        assert_eq!(server.job(&SAFE, "7").await["revision"], 3);
    }

    async fn retries_count_and_other_contents_are_revisions(backend: Backend) {
        let server = Server::start(backend).await;
        let first = Event::new(7, 10).counts([9, 9, 1, 0]);
        for _ in 0..3 {
            server.accepts(&SAFE, first.xml()).await;
        }
        let job = server.job(&SAFE, "7").await;
        assert_eq!((&job["deliveries"], &job["revision"]), (&3.into(), &1.into()));
        assert_eq!(job["updated_at"], job["first_received_at"]);
        assert!(job["last_received_at"].as_str() > job["first_received_at"].as_str());
        for (create_time, sent, shown, revision) in [(20, 2, 2, 2), (15, 3, 2, 3), (20, 4, 4, 4), (20, 2, 4, 4), (10, 1, 4, 4)] {
            server.accepts(&SAFE, Event::new(7, create_time).counts([9, 9, sent, 0]).xml()).await;
            let job = server.job(&SAFE, "7").await;
            assert_eq!((&job["sent_count"], &job["revision"]), (&shown.into(), &revision.into()), "after {sent}");
        }
        assert_eq!(server.job(&SAFE, "7").await["deliveries"], 8);
    }
}

#[tokio::test]
async fn a_locked_sqlite_database_is_never_a_success() {
    let server = Server::start(Backend::Sqlite).await;
    let event = Event::new(1, 10).xml();
    let path = server.database.url.strip_prefix("sqlite://").unwrap();
    let mut other = sqlx::SqliteConnection::connect(path).await.unwrap();
    other.execute("begin exclusive").await.unwrap();
    let started = Instant::now();
    let (status, body) = server.push(&SAFE, &event).await;
    assert_eq!((status, &*body), (503, "unavailable"));
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    other.execute("rollback").await.unwrap();
    eventually("events are accepted again", async || {
        server.push(&SAFE, &event).await.0 == 200
    })
    .await;
    assert_eq!(server.job(&SAFE, "1").await["revision"], 1);
}

#[tokio::test]
async fn what_sqlite_refuses_for_its_content_is_kept_raw_and_can_be_reprocessed() {
    let server = Server::start(Backend::Sqlite).await;
    let poison = "create trigger poison before insert on jobs when new.msg_id = 13 begin select raise(abort, 'poison'); end";
    server.database.execute(poison).await;
    let target = Target::of(&server);
    let pushes: JoinSet<_> = (10..=20)
        .map(|msg_id| {
            let target = target.clone();
            async move { target.push(&Event::new(msg_id, 10)).await }
        })
        .collect();
    assert_eq!(pushes.join_all().await, [Some(true); 11]);
    server.accepts(&PLAIN, Event::new(13, 10).xml()).await;
    assert_eq!(server.items("/api/v1/jobs").await.len(), 10);
    let unparsed = server.items("/api/v1/deliveries?state=unparsed").await;
    assert_eq!((unparsed.len(), &unparsed[0]["times"]), (1, &2.into()));
    assert!(
        unparsed[0]["error"].to_string().contains("poison"),
        "{unparsed:?}"
    );
    assert_eq!(unparsed[0]["msg_id"], "13");

    server.database.execute("drop trigger poison").await;
    let mut reprocess = server.command();
    reprocess.arg("reprocess");
    ended(reprocess).with_code(0);
    assert_eq!(server.job(&PLAIN, "13").await["deliveries"], 2);
    assert_eq!(
        server
            .items("/api/v1/deliveries?state=unparsed")
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn what_a_locked_table_keeps_waiting_goes_to_the_spool_and_counts_once() {
    let server = Server::start(Backend::Postgres).await;
    let mut other = PgConnection::connect(&server.database.url).await.unwrap();
    let lock = "begin; lock table jobs in access exclusive mode";
    other.execute(lock).await.unwrap();
    let started = Instant::now();
    server.accepts(&SAFE, Event::new(1, 10).xml()).await;
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    // The cancelled statement continues in the server, and may record the event.
    other.execute("rollback").await.unwrap();
    eventually("the spool is empty", async || {
        server.json("/readyz").await.1["status"] == "ready"
    })
    .await;
    assert_eq!(server.job(&SAFE, "1").await["deliveries"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_on_one_database_count_together() {
    let one = Server::start(Backend::Postgres).await;
    let mut database = Backend::Sqlite.database().await;
    database.url.clone_from(&one.database.url);
    let two = Setup::default().start_on(database);
    let targets = [&one, &two].map(Target::of);
    // Ten jobs with three contents each; every content is sent five times to each replica, in
    // opposite order. Sixteen at a time: more would only wait for each other, too long on a busy
    // machine.
    let mut pushes = JoinSet::new();
    let mut answers = Vec::new();
    for n in 0..300_i64 {
        let target = targets[usize::try_from(n % 2).unwrap()].clone();
        let n = if n % 2 == 0 { n / 2 } else { 149 - n / 2 };
        let event = Event::new(1 + n % 10, 10 + n / 10 % 3).counts([9, 9, n / 10 % 3, 0]);
        if pushes.len() == 16 {
            answers.extend(pushes.join_next().await);
        }
        pushes.spawn(async move { target.push(&event).await });
    }
    answers.extend(pushes.join_all().await.into_iter().map(Ok));
    for answer in answers {
        assert_eq!(answer.unwrap(), Some(true), "{}{}", one.log(), two.log());
    }
    for msg_id in 1..=10 {
        let job = one.job(&PLAIN, &msg_id.to_string()).await;
        assert_eq!(job, two.job(&PLAIN, &msg_id.to_string()).await);
        assert_eq!(
            (&job["deliveries"], &job["revision"], &job["sent_count"]),
            (&30.into(), &3.into(), &2.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_while_a_revision_waits_for_it_is_made_again() {
    let database = Backend::Postgres.database().await;
    let store = database.store().await;
    let first = arrival("main", Event::new(1, 10).xml(), 0);
    let account = first.account.clone();
    record(&*store, first).await.unwrap();

    // What reprocessing does to a content that turns out to belong to another job.
    let mut reread = PgConnection::connect(&database.url).await.unwrap();
    let lock = "begin; select * from jobs for update";
    reread.execute(lock).await.unwrap();
    let revision = tokio::spawn({
        let store = Arc::clone(&store);
        let second = arrival("main", Event::new(1, 20).xml(), 1);
        async move { record(&*store, second).await }
    });
    let mut watch = PgConnection::connect(&database.url).await.unwrap();
    eventually("the revision waits", async || {
        let waits = "select exists (select from pg_stat_activity \
             where datname = current_database() and wait_event_type = 'Lock')";
        let waits = sqlx::query_scalar(waits).fetch_one(&mut watch).await;
        waits.unwrap()
    })
    .await;
    let delete = "delete from jobs; commit";
    reread.execute(delete).await.unwrap();

    revision.await.unwrap().unwrap();
    let msg_id = MsgId::new(1).unwrap();
    let job = store.job(&account, msg_id).await.unwrap();
    assert_eq!(job.map(|job| (job.deliveries, job.revision)), Some((1, 1)));
}

#[tokio::test]
async fn a_full_disk_is_never_a_success() {
    let mut server = Setup::default()
        .file_limit_kib(400)
        .start(Backend::Sqlite)
        .await;
    let mut kept = 0;
    let refused = loop {
        // The largest accepted bodies, unparsed, so that the database fills quickly.
        let body = format!("{kept:>60000}");
        match server.push(&PLAIN, &body).await {
            (200, answer) => assert_eq!(answer, "success"),
            (503, answer) => break (body, answer),
            other => panic!("{other:?}\n{}", server.log()),
        }
        kept += 1;
        assert!(kept < 100, "the disk is never full");
    };
    assert_eq!(refused.1, "unavailable");
    assert!(kept > 0);
    // Still full, and reading still works.
    assert_eq!(server.push(&PLAIN, &refused.0).await.0, 503);
    assert_eq!(server.items("/api/v1/deliveries").await.len(), kept);

    server.kill();
    server.file_limit_kib = None;
    server.restart();
    assert_eq!(server.items("/api/v1/deliveries").await.len(), kept);
    server.accepts(&PLAIN, &refused.0).await;
    assert_eq!(server.items("/api/v1/deliveries").await.len(), kept + 1);
}
