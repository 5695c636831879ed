//! `qunfa reprocess`, end to end: what an older version kept without understanding becomes what it
//! is.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::events::{arrival, arrival_as, not_understood};
use crate::support::workplace::ended;
use crate::support::{
    Backend, Event, PLAIN, SAFE, Server, Setup, eventually, on_both_stores, preload,
};

/// The result of a run: exit code, standard output, standard error.
struct Run {
    code: Option<i32>,
    out: Vec<String>,
    talk: String,
}

fn reprocess(server: &Server, arguments: &[&str]) -> Run {
    let mut command = server.command();
    let output = command.arg("reprocess").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code(),
        out: text(output.stdout).lines().map(str::to_owned).collect(),
        talk: text(output.stderr),
    }
}

/// A successful run: its lines, and its summary.
fn done(server: &Server, arguments: &[&str]) -> (Vec<String>, String) {
    let run = reprocess(server, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.talk);
    (run.out, run.talk)
}

/// Everything that the API shows, except the times of changes.
async fn shown(server: &Server) -> Vec<Value> {
    let mut all = server.items("/api/v1/jobs").await;
    for job in &mut all {
        job.as_object_mut().unwrap().remove("updated_at");
    }
    all.extend(server.items("/api/v1/deliveries").await);
    all
}

/// As if an older version had received everything and parsed nothing.
async fn forget(server: &Server) {
    server
        .database
        .execute(
            "insert into other_deliveries (id, account, body_sha256, body, state, received_at, last_received_at, times) \
             select shown_id, account, shown_sha256, shown_body, 'unparsed', shown_received_at, shown_last_received_at, \
                 shown_times \
             from jobs",
        )
        .await;
    // Before the jobs are deleted, because that deletes their contents, too.
    server.database.execute("update other_deliveries set state = 'unparsed', error = 'x', event = null, msg_id = null, finished_at = null").await;
    server.database.execute("delete from jobs").await;
}

/// Two accounts: a job with two contents that arrived three times, one that arrived once, and an
/// unparsed delivery.
async fn filled(backend: Backend) -> Server {
    let server = Server::start(backend).await;
    server.accepts(&PLAIN, Event::new(1, 20).xml()).await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    server
        .accepts(&SAFE, Event::new(1, 10).status("err(10001)").xml())
        .await;
    server.accepts(&SAFE, "not a message").await;
    server
}

on_both_stores! {
    async fn what_was_not_understood_becomes_the_job_that_it_is(backend: Backend) {
        let server = filled(backend).await;
        let before = shown(&server).await;
        forget(&server).await;
        let forgotten = shown(&server).await;
        assert_eq!(server.items("/api/v1/jobs").await, [] as [Value; 0]);

        // While the server runs.
        let (lines, talk) = done(&server, &["--dry-run"]);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(talk.contains("deliveries reprocessed: 4, would change: 4, not understood: 1"), "{talk}");
        assert_eq!(shown(&server).await, forgotten);

        assert_eq!(done(&server, &["--unparsed"]).0, lines, "a dry run tells what is done");
        assert_eq!(shown(&server).await, before);

        let (lines, talk) = done(&server, &[]);
        assert_eq!(lines, [] as [&str; 0]);
        assert!(talk.contains("deliveries reprocessed: 1, changed: 0, not understood: 1"), "{talk}");
        let (lines, talk) = done(&server, &["--all"]);
        assert_eq!(lines, [] as [&str; 0]);
        assert!(talk.contains("deliveries reprocessed: 4, changed: 0, not understood: 1"), "{talk}");
        assert_eq!(shown(&server).await, before);
    }

    async fn everything_can_be_read_again_and_comes_out_the_same(backend: Backend) {
        let server = filled(backend).await;
        let before = shown(&server).await;
        server.database.execute("update jobs set sent_count = 999999, articles = '[]'").await;
        // Recorded under the wrong jobs, as an older version might have.
        server.database.execute("update jobs set msg_id = 2 where account = 'safe'").await;
        let (lines, _) = done(&server, &[]);
        assert_eq!(lines, [] as [&str; 0], "only what is unparsed is read");
        let (lines, _) = done(&server, &["--all"]);
        assert!(!lines.is_empty());
        assert_eq!(shown(&server).await, before);
        assert_eq!(done(&server, &["--all"]).0, [] as [&str; 0]);
    }

    async fn one_account_can_be_read_again_alone(backend: Backend) {
        let server = filled(backend).await;
        let before = shown(&server).await;
        forget(&server).await;
        let (lines, talk) = done(&server, &["--account", "safe"]);
        assert!(lines.iter().all(|line| line.starts_with("safe ")), "{lines:?}");
        assert!(talk.contains("deliveries reprocessed: 2"), "{talk}");
        let jobs = server.items("/api/v1/jobs").await;
        assert_eq!((jobs.len(), &jobs[0]["account"]), (1, &"safe".into()));
        done(&server, &["--all", "--account", "plain"]);
        assert_eq!(shown(&server).await, before);
    }
}

/// Bodies that an older version could not parse and kept raw.
const NOT_FOR_US: [&str; 4] = [
    "<xml><MsgType>text</MsgType><Content>secret\u{2}</Content><MsgId>5</MsgId></xml>",
    "{\"MsgType\":\"text\",\"Content\":\"secret\\u0002\"}",
    "<xml><AppId>wx1</AppId><InfoType>component_verify_ticket</InfoType><ComponentVerifyTicket>secret</ComponentVerifyTicket></xml>",
    "<xml><MsgType>event</MsgType><Event>SCAN</Event><EventKey>secret\u{1d}</EventKey></xml>",
];

on_both_stores! {
    async fn messages_that_were_stored_as_unparsed_are_removed(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let kept_event = Event::new(9, 10).xml().replace("MASSSENDJOBFINISH", "PUBLISHJOBFINISH");
        let cut_off = Event::new(7, 10).xml().replace("</xml>", "");
        let others = [&kept_event, &cut_off, "not a message"];
        for (millisecond, body) in (1..).zip(NOT_FOR_US.iter().chain(&others)) {
            store.record(&[arrival_as("safe", *body, millisecond, not_understood)], None).await.unwrap();
        }
        // A job whose delivery would no longer count as a result.
        store.record(&[arrival("safe", Event::new(8, 10).xml(), 9)], None).await.unwrap();
        store.close().await;
        if backend == Backend::Sqlite {
            database.execute("update jobs set shown_body = cast(replace(shown_body, 'event<', 'text<') as blob)").await;
        } else {
            database.execute("update jobs set shown_body = convert_to(replace(convert_from(shown_body, 'UTF8'), 'event<', 'text<'), 'UTF8')").await;
        }
        let keep = "\n[accounts.safe]\nkeep_events = [\"publishjobfinish\"]";
        let safe = SAFE.toml().replace("[accounts.safe]", keep.trim_start());
        let server = Setup::default().accounts(&[PLAIN]).toml(&safe).start_on(database);
        let before = shown(&server).await;

        for arguments in [&["--dry-run"][..], &["--dry-run", "--all"]] {
            let (lines, talk) = done(&server, arguments);
            assert!(talk.contains("would be forgotten: 4"), "{talk}");
            assert!(!talk.contains("secret") && !lines.concat().contains("secret"), "{talk}");
            assert_eq!(shown(&server).await, before);
        }
        let (lines, talk) = done(&server, &[]);
        assert!(talk.contains("deliveries reprocessed: 7, changed: 3, not understood: 2, forgotten: 4"), "{talk}");
        assert_eq!(lines.len(), 3, "{lines:?}");
        let bodies: Vec<_> = server.items("/api/v1/deliveries").await.into_iter().map(|one| one["body"].as_str().unwrap().to_owned()).collect();
        assert_eq!(bodies.len(), 4, "{bodies:?}");
        assert!(others.iter().all(|body| bodies.iter().any(|kept| kept == body)), "{bodies:?}");

        let (lines, talk) = done(&server, &["--all"]);
        assert_eq!(lines, [] as [&str; 0]);
        assert!(talk.contains("reprocessed: 4, changed: 0, not understood: 2, forgotten: 0"), "{talk}");
        assert_eq!(server.job(&SAFE, "8").await["deliveries"], 1, "a job is never removed with its delivery");
    }

    async fn a_run_that_is_interrupted_can_be_run_again(backend: Backend) {
        const JOBS: i64 = 800;
        let database = backend.database().await;
        let store = database.store().await;
        let all: Vec<_> = (1..=JOBS).map(|id| arrival("plain", Event::new(id, 10).xml(), id)).collect();
        store.record(&all, None).await.unwrap();
        store.close().await;
        database.execute("update jobs set sent_count = 999999").await;
        let server = Setup::default().start_on(database);
        let mut command = server.command();
        let out = server.database.directory().join("lines");
        command.args(["reprocess", "--all"]).stdout(std::fs::File::create(&out).unwrap());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = || std::fs::read_to_string(&out).unwrap().lines().count();
        eventually("some are done", async || lines() > 0).await;
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap();
        assert_eq!(code, Some(1));
        let first = lines();
        assert!(first < all.len(), "{first}");
        // Nothing is half done: reported batches are in the database, and the current one may be.
        let (second, _) = done(&server, &["--all"]);
        assert!((1..=all.len() - first).contains(&second.len()), "{first} {}", second.len());
        assert_eq!(done(&server, &["--all"]).0, [] as [&str; 0]);
        assert_eq!(server.ok("/api/v1/stats").await["sent_count"], 75 * JOBS);
    }
}

#[tokio::test]
async fn wrong_usage_changes_nothing() {
    let server = filled(Backend::Sqlite).await;
    forget(&server).await;
    let forgotten = shown(&server).await;
    for arguments in [
        &["--all", "--unparsed"][..],
        &["--account", "nobody"],
        &["--account", "A"],
        &["--account"],
        &["--none"],
        &["x"],
    ] {
        let run = reprocess(&server, arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.talk);
        assert_eq!(run.out, [] as [&str; 0], "{arguments:?}");
        assert!(!run.talk.is_empty(), "{arguments:?}");
    }
    assert_eq!(shown(&server).await, forgotten);
}

#[tokio::test]
async fn a_database_that_is_away_is_a_failure() {
    let mut server = filled(Backend::Sqlite).await;
    server.kill();
    "postgres://postgres@127.0.0.1:1/none".clone_into(&mut server.database.url);
    let run = reprocess(&server, &[]);
    assert_eq!((run.code, run.out.len()), (Some(1), 0), "{}", run.talk);
}

/// With a slow disk, like those of clouds: a batch spends nearly all of its time waiting for it,
/// with the lock held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_keep_their_latency_while_everything_is_reprocessed() {
    const JOBS: i64 = 1000;
    const INTERVAL: Duration = Duration::from_millis(100);
    let database = Backend::Sqlite.database().await;
    let store = database.store().await;
    let all: Vec<_> = (1..=JOBS)
        .map(|number| arrival("plain", Event::new(number, 10).xml(), number))
        .collect();
    store.record(&all, None).await.unwrap();
    store.close().await;
    database
        .execute("update jobs set sent_count = 999999")
        .await;
    let slow_disk = preload("slow_disk.c", &database.directory());
    let variables = [
        ("LD_PRELOAD", slow_disk.to_str().unwrap()),
        ("FSYNC_DELAY_MS", "20"),
    ];
    let mut setup = Setup::default();
    for (name, value) in variables {
        setup = setup.variable(name, value);
    }
    let server = Arc::new(setup.start_on(database));
    let mut command = server.command();
    command.args(["reprocess", "--all"]).envs(variables);
    let run = tokio::task::spawn_blocking(|| ended(command));
    let mut pushes = Vec::new();
    while !run.is_finished() {
        let server = Arc::clone(&server);
        let event = Event::new(JOBS + 1 + i64::try_from(pushes.len()).unwrap(), 10).xml();
        pushes.push(tokio::spawn(async move {
            let started = Instant::now();
            let (status, _) = server.push(&SAFE, event).await;
            (status, started.elapsed())
        }));
        tokio::time::sleep(INTERVAL).await;
    }
    let run = run.await.unwrap().with_code(0);
    assert_eq!(run.output.lines().count(), usize::try_from(JOBS).unwrap());
    assert!(pushes.len() > 10, "{}", pushes.len());
    let mut longest = Duration::ZERO;
    for push in pushes {
        let (status, took) = push.await.unwrap();
        assert_eq!(status, 200, "{took:?}: {}", server.log());
        longest = longest.max(took);
    }
    // Pushes that take longer than `store.budget_ms` are answered 503.
    assert!(longest < Duration::from_millis(1500), "{longest:?}");
    let wrong = server.items("/api/v1/jobs?account=plain&limit=500").await;
    assert!(wrong.iter().all(|job| job["sent_count"] == 75), "{wrong:?}");
}
