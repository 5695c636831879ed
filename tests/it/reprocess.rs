//! `qunfa reprocess`, end to end: what an older version kept without understanding becomes what it is.

use serde_json::Value;

use crate::support::{Backend, Event, PLAIN, SAFE, Server, on_both_stores};

/// What a run said: exit code, standard output, standard error.
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

/// A run that does its work: its lines, and what it said at the end.
fn done(server: &Server, arguments: &[&str]) -> (Vec<String>, String) {
    let run = reprocess(server, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.talk);
    (run.out, run.talk)
}

/// Everything that the API shows, but for when it was changed.
async fn shown(server: &Server) -> Vec<Value> {
    let mut all = server.items("/api/v1/jobs").await;
    for job in &mut all {
        job.as_object_mut().unwrap().remove("updated_at");
    }
    all.extend(server.items("/api/v1/deliveries").await);
    all
}

/// As if an older version had received everything and understood nothing.
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
    server.database.execute("delete from jobs").await;
    server.database.execute("update other_deliveries set state = 'unparsed', error = 'x', event = null, msg_id = null, finished_at = null").await;
}

/// Two accounts: a job of two contents that came three times, one that came once, and what nobody understands.
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
        assert!(talk.contains("deliveries read again: 4, would change: 4, not understood: 1"), "{talk}");
        assert_eq!(shown(&server).await, forgotten);

        assert_eq!(done(&server, &["--unparsed"]).0, lines, "a dry run tells what is done");
        assert_eq!(shown(&server).await, before);

        let (lines, talk) = done(&server, &[]);
        assert_eq!(lines, [] as [&str; 0]);
        assert!(talk.contains("deliveries read again: 1, changed: 0, not understood: 1"), "{talk}");
        let (lines, talk) = done(&server, &["--all"]);
        assert_eq!(lines, [] as [&str; 0]);
        assert!(talk.contains("deliveries read again: 4, changed: 0, not understood: 1"), "{talk}");
        assert_eq!(shown(&server).await, before);
    }

    async fn everything_can_be_read_again_and_comes_out_the_same(backend: Backend) {
        let server = filled(backend).await;
        let before = shown(&server).await;
        server.database.execute("update jobs set sent_count = 999999, articles = '[]'").await;
        // Filed as jobs that they are not, as an older version might have.
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
        assert!(talk.contains("deliveries read again: 2"), "{talk}");
        let jobs = server.items("/api/v1/jobs").await;
        assert_eq!((jobs.len(), &jobs[0]["account"]), (1, &"safe".into()));
        done(&server, &["--all", "--account", "plain"]);
        assert_eq!(shown(&server).await, before);
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
