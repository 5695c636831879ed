//! `qunfa copy`: moving everything from one database to another without loss.

use serde_json::Value;

use qunfa::domain::NewDelivery;
use qunfa::store::{self, Prune};

use crate::support::events::{self, arrival, at};
use crate::support::workplace::{Ended, Workplace};
use crate::support::{Backend, Database, Event, PLAIN, SAFE, Server, Setup, eventually, fixture};

use Backend::{Postgres, Sqlite};

/// Jobs of every kind, including pruned ones, contents that no job shows, and unparsed deliveries;
/// more than a page of rows.
async fn fill(database: &Database) {
    let store = database.store().await;
    let file = async |account: &str, body: Vec<u8>, millisecond| {
        events::record(&*store, arrival(account, body, millisecond))
            .await
            .unwrap();
    };
    for (index, name) in ["articles.xml", "articles.json"].iter().enumerate() {
        file(
            "safe",
            fixture(&format!("events/{name}")),
            10 + i64::try_from(index).unwrap(),
        )
        .await;
    }
    for (msg_id, status) in [
        (1, "send fail"),
        (2, "err(10001)"),
        (i64::MAX, "何 odd"),
        (4, ""),
    ] {
        file(
            "plain",
            Event::new(msg_id, 10).status(status).xml().into(),
            100,
        )
        .await;
    }
    file(
        "plain",
        Event::new(1, 5).counts([i64::MAX; 4]).xml().into(),
        200,
    )
    .await;
    file(
        "plain",
        Event::new(2, 20).counts([i64::MAX; 4]).xml().into(),
        200,
    )
    .await;
    file(
        "plain",
        Event::new(2, 20).counts([i64::MAX; 4]).xml().into(),
        300,
    )
    .await;
    file("plain", b"\xff\x00 not a message".to_vec(), 400).await;
    let what = Prune {
        received_before: at(150),
        unparsed: false,
        sealed: false,
    };
    store.prune(&what, 2).await.unwrap();
    let many: Vec<NewDelivery> = (1000..2200)
        .map(|id| arrival("plain", Event::new(id, 50).xml(), id))
        .collect();
    for batch in many.chunks(300) {
        store.record(batch, None).await.unwrap();
    }
    store.close().await;
}

fn copy(arguments: &[&str]) -> Ended {
    let place = Workplace::new();
    place.run(&[&["copy"], arguments].concat())
}

/// All data that the API shows.
async fn shown(server: &Server) -> Vec<Value> {
    let mut all = Vec::new();
    for list in ["jobs", "deliveries"] {
        let mut path = format!("/api/v1/{list}?limit=500");
        loop {
            let mut page = server.ok(&path).await;
            all.append(page["items"].as_array_mut().unwrap());
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/api/v1/{list}?limit=500&cursor={cursor}");
        }
    }
    all.push(server.ok("/api/v1/stats").await);
    all
}

/// The lines of the output: name, source, target.
fn sums(ended: &Ended) -> Vec<(&str, i128, i128)> {
    let lines = ended.output.lines().map(|line| {
        let [name, here, there] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        (name, here.parse().unwrap(), there.parse().unwrap())
    });
    lines.collect()
}

async fn everything_arrives(from: Backend, to: Backend) {
    let (source, target) = (from.database().await, to.database().await);
    fill(&source).await;
    let done = copy(&["--from", &source.url, "--to", &target.url]).with_code(0);
    let source = Setup::default().start_on(source);
    let target = Setup::default().start_on(target);
    let there = shown(&target).await;
    assert_eq!(there, shown(&source).await);
    let stats = there.last().unwrap();
    for (name, here, there) in sums(&done) {
        assert_eq!(here, there, "{done:?}");
        if let Some(count) = stats[name].as_i64().or(stats["by_outcome"][name].as_i64()) {
            assert_eq!(here, count.into(), "{name}: {done:?}");
        }
    }
    // Jobs, bodies and the totals.
    let [jobs, bodies] = ["jobs", "bodies"].map(|name| {
        let found = sums(&done).into_iter().find(|(found, ..)| *found == name);
        usize::try_from(found.unwrap().1).unwrap()
    });
    assert_eq!(jobs + bodies + 1, there.len());

    // Both behave the same afterwards: copies, revisions, and new ids.
    for server in [&source, &target] {
        server
            .accepts(&PLAIN, Event::new(1, 10).status("send fail").xml())
            .await;
        server.accepts(&PLAIN, Event::new(2, 30).xml()).await;
        server.accepts(&SAFE, Event::new(9, 30).xml()).await;
        let id = |delivery: &Value| delivery["id"].as_str()?.parse::<i64>().ok();
        let largest = there.iter().filter_map(id).max().unwrap();
        let new = server.items("/api/v1/deliveries?limit=2").await;
        assert!(new.iter().all(|one| id(one).unwrap() > largest), "{new:?}");
        let tallies = ["plain/1", "plain/2", "safe/9"].map(async |job| {
            let job = server.ok(&format!("/api/v1/jobs/{job}")).await;
            (
                job["deliveries"].as_i64().unwrap(),
                job["revision"].as_i64().unwrap(),
            )
        });
        let [first, second, third] = tallies;
        assert_eq!(
            (first.await, second.await, third.await),
            ((3, 2), (4, 3), (1, 1))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_postgresql() {
    everything_arrives(Sqlite, Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_sqlite() {
    everything_arrives(Postgres, Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_start_while_the_copy_is_under_way() {
    let (source, target) = (Sqlite.database().await, Postgres.database().await);
    fill(&source).await;
    let (from, to) = (source.store().await, target.store().await);
    let mut into = to.copy_target().await.unwrap();
    assert!(into.is_empty().await.unwrap());

    let server = Setup::default().start_on(target);
    // A copy of a job that is being copied, a revision, and a new job.
    for event in [
        Event::new(1000, 50),
        Event::new(1001, 60),
        Event::new(5000, 50),
    ] {
        server.accepts(&PLAIN, event.xml()).await;
    }
    let (status, ready) = server.json("/readyz").await;
    assert_eq!(
        (status, &ready["status"]),
        (200, &"degraded".into()),
        "{ready}"
    );
    assert_eq!(ready["spool"]["waiting"], 3);
    assert_eq!(
        server.json("/api/v1/jobs").await.0,
        503,
        "rather than an empty list"
    );

    let mut snapshot = from.copy_source().await.unwrap();
    store::copy(&mut snapshot, &mut into, |_| ()).await.unwrap();
    assert_eq!(into.sums().await.unwrap(), snapshot.sums().await.unwrap());
    into.commit().await.unwrap();
    drop(snapshot);
    eventually("the spool is empty", async || {
        server.json("/readyz").await.1["status"] == "ready"
    })
    .await;
    for (id, expected) in [
        ("1000", (2, 1)),
        ("1001", (2, 2)),
        ("1002", (1, 1)),
        ("5000", (1, 1)),
    ] {
        let job = server.job(&PLAIN, id).await;
        assert_eq!(
            (
                job["deliveries"].as_i64().unwrap(),
                job["revision"].as_i64().unwrap()
            ),
            expected,
            "{id}"
        );
    }
    to.close().await;
    from.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_never_touched() {
    for (from, to) in [(Sqlite, Postgres), (Postgres, Sqlite)] {
        let (source, target) = (from.database().await, to.database().await);
        fill(&source).await;
        let store = target.store().await;
        events::record(&*store, arrival("plain", "not a message", 1))
            .await
            .unwrap();
        store.close().await;
        let refused = copy(&["--from", &source.url, "--to", &target.url]).with_code(1);
        assert!(refused.talk.contains("not empty"), "{refused:?}");
        assert_eq!(refused.output, "");
        let target = Setup::default().start_on(target);
        assert_eq!(target.items("/api/v1/deliveries").await.len(), 1);
        assert!(target.items("/api/v1/jobs").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_breaks_off_leaves_nothing() {
    let (source, target) = (Sqlite.database().await, Postgres.database().await);
    fill(&source).await;
    // PostgreSQL allows no NUL in text; qunfa never writes one.
    source
        .execute(
            "update jobs set status = 'a' || char(0) || 'b' where msg_id = 9223372036854775807",
        )
        .await;
    let failed = copy(&["--from", &source.url, "--to", &target.url]).with_code(1);
    assert!(failed.talk.contains("nothing was copied"), "{failed:?}");
    source
        .execute("update jobs set status = 'ab' where msg_id = 9223372036854775807")
        .await;
    copy(&["--from", &source.url, "--to", &target.url]).with_code(0);
    copy(&["--from", &source.url, "--to", &target.url]).with_code(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configured_database_stands_for_the_side_that_is_not_named() {
    let (source, target) = (Sqlite.database().await, Postgres.database().await);
    fill(&source).await;
    let place = Workplace::new();
    let file = place.write("url", format!("{}\n", target.url));
    let variables = [("QUNFA_STORE__URL", source.url.as_str())];
    place
        .run_with(&variables, &["copy", "--to-file", file.to_str().unwrap()])
        .with_code(0);
    let back = format!("sqlite://{}", place.path("back.db").display());
    let variables = [("QUNFA_STORE__URL", back.as_str())];
    place
        .run_with(&variables, &["copy", "--from-file", file.to_str().unwrap()])
        .with_code(0);

    let same = place
        .run_with(&variables, &["copy", "--from", &back])
        .with_code(2);
    assert!(same.talk.contains("are both"), "{same:?}");
    let missing = format!("sqlite://{}", place.path("none.db").display());
    place
        .run_with(&variables, &["copy", "--from", &missing])
        .with_code(1);
    assert!(!place.path("none.db").exists());
    for wrong in ["mysql://user:CANARY@host/db", "CANARY"] {
        let refused = place
            .run_with(&variables, &["copy", "--to", wrong])
            .with_code(2);
        assert!(
            !refused.talk.contains("CANARY") && refused.talk.contains("--to"),
            "{refused:?}"
        );
    }
    let away = place
        .run(&["copy", "--to", "postgres://user:CANARY@127.0.0.1:1/db"])
        .with_code(1);
    assert!(!away.talk.contains("CANARY"), "{away:?}");
}
