//! The examples in the documents on the API and the database work.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::TryStreamExt;
use qunfa::simulator::Sample;
use sqlx::{Connection, PgConnection};

use crate::support::workplace::Workplace;
use crate::support::{Backend, Event, PLAIN, SAFE, Server, eventually, fixture};

const LANGUAGES: [&str; 2] = ["docs/API.md", "docs/API.zh-CN.md"];

/// The code blocks of that language in a document.
fn blocks(path: &str, kind: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).unwrap();
    let fence = format!("```{kind}\n");
    let parts = text.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

async fn with_results() -> Server {
    let server = Server::start(Backend::Postgres).await;
    let now = qunfa::domain::Time::now().seconds();
    for (msg_id, age, status, counts) in [
        (1, 60, "send success", [100, 90, 80, 10]),
        (2, 50, "err(30003)", [0; 4]),
    ] {
        let event = Event::new(msg_id, now - age).status(status).counts(counts);
        server.accepts(&PLAIN, event.xml()).await;
    }
    server.accepts(&SAFE, Sample::Rejected.xml()).await;
    server.accepts(&SAFE, fixture("events/articles.xml")).await;
    server.accepts(&SAFE, b"\xff\xfe no text at all").await;
    server
}

#[test]
fn both_languages_have_the_same_examples() {
    for kind in ["sh", "python", "sql"] {
        let [english, chinese] = LANGUAGES.map(|path| blocks(path, kind).len());
        assert!(english > 0);
        assert_eq!(english, chinese, "{kind}");
    }
    let [english, chinese] = LANGUAGES.map(|path| blocks(path, "sql"));
    assert_eq!(english, chinese);
    let [english, chinese] = LANGUAGES.map(|path| blocks(path, "python"));
    assert_eq!(english, chinese);
}

#[tokio::test]
async fn every_query_runs_and_finds_something() {
    let server = with_results().await;
    let mut connection = PgConnection::connect(&server.database.url).await.unwrap();
    for query in blocks(LANGUAGES[0], "sql") {
        // The SQL lives as long as the program.
        let query: &'static str = query.leak();
        let found = if query.starts_with("copy") {
            let lines = connection.copy_out_raw(query).await.unwrap();
            lines.try_collect::<Vec<_>>().await.unwrap().len()
        } else {
            let rows = sqlx::query(query).fetch_all(&mut connection).await;
            rows.unwrap().len()
        };
        assert!(found > 0, "{query}");
    }
}

/// Runs a script of the document, with its output in the file.
fn python(server: &Server, script: &str, output: &Path) -> Child {
    Command::new("python3")
        .args(["-c", script])
        .env("QUNFA", server.url(""))
        .env_remove("KEY")
        .stdout(File::create(output).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_read_every_job_and_follow_changes() {
    let place = Workplace::new();
    let server = with_results().await;
    let [all, changes] = &blocks(LANGUAGES[0], "python")[..] else {
        panic!("there are two");
    };
    let listed = place.path("listed");
    let status = python(&server, all, &listed).wait().unwrap();
    assert!(status.success());
    let lines = [
        "plain 2 rejected 0",
        "plain 1 sent 80",
        "safe 1000000042 rejected 0",
        "safe 3147483999 sent 1148",
        "",
    ];
    assert_eq!(place.read("listed"), lines.join("\n"));

    let followed = place.path("followed");
    let mut following = python(&server, changes, &followed);
    let mut msg_id = 100;
    eventually("the script has begun to follow", async || {
        msg_id += 1;
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
        place.read("followed").contains("plain")
    })
    .await;
    server.accepts(&PLAIN, Event::new(7, 10).xml()).await;
    eventually("it tells of a change", async || {
        place.read("followed").contains("plain 7 sent")
    })
    .await;
    following.kill().unwrap();
    following.wait().unwrap();
}
