//! Exporting the list of jobs, from the server and the command line.

use std::process::Command;

use qunfa::domain::NewDelivery;
use reqwest::Response;
use serde_json::Value;

use crate::support::events::arrival;
use crate::support::wire::Wire;
use crate::support::workplace::{ended, permissions};
use crate::support::{
    Backend, Database, Event, PLAIN, Server, Setup, eventually, fixture, on_both_stores,
};

/// More than two of the pages that an export reads.
const JOBS: i64 = 1234;

/// A database with that many jobs of `plain`, some with another outcome.
async fn filled(backend: Backend, jobs: i64) -> Database {
    let database = backend.database().await;
    let store = database.store().await;
    let delivery = |msg_id: i64| -> NewDelivery {
        let event = Event::new(msg_id, msg_id / 3)
            .status(["send success", "err(10001)"][usize::from(msg_id % 10 == 0)]);
        arrival("plain", event.xml(), msg_id)
    };
    let deliveries: Vec<_> = (1..=jobs).map(delivery).collect();
    for batch in deliveries.chunks(200) {
        store.record(batch, None).await.unwrap();
    }
    store.close().await;
    database
}

async fn text(response: Response) -> String {
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

fn export(server: &Server, arguments: &[&str]) -> Command {
    let mut command = server.command();
    command.arg("export").args(arguments);
    command
}

/// The rows after the header, by column name.
fn rows(csv: &str) -> Vec<Vec<(String, String)>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        let cells = names.iter().zip(record.iter());
        cells
            .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
            .collect()
    };
    reader
        .records()
        .map(|record| row(record.unwrap()))
        .collect()
}

fn cell<'a>(row: &'a [(String, String)], name: &str) -> &'a str {
    &row.iter().find(|(found, _)| found == name).unwrap().1
}

on_both_stores! {
    async fn an_export_is_the_whole_list_in_both_formats_from_both_doors(backend: Backend) {
        let server = Setup::default().start_on(filled(backend, JOBS).await);
        let expected: Vec<String> = (1..=JOBS).rev().map(|msg_id| msg_id.to_string()).collect();

        let response = server.get("/api/v1/jobs.ndjson").await;
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/x-ndjson");
        assert_eq!(headers["content-disposition"], "attachment; filename=\"jobs.ndjson\"");
        let ndjson = text(response).await;
        let jobs: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<_> = jobs.iter().map(|job| job["msg_id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected);
        assert_eq!(jobs[0], server.job(&PLAIN, &JOBS.to_string()).await);

        let response = server.get("/api/v1/jobs.csv").await;
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/csv; charset=utf-8; header=present");
        assert_eq!(headers["content-disposition"], "attachment; filename=\"jobs.csv\"");
        assert_eq!(headers["cache-control"], "no-store");
        let csv = text(response).await;
        let rows = rows(&csv);
        let ids: Vec<_> = rows.iter().map(|row| cell(row, "msg_id")).collect();
        assert_eq!(ids, expected);
        assert!(csv.starts_with("account,msg_id,outcome,") && csv.ends_with("\r\n"));
        // Each cell has the same value as in the API.
        for (row, job) in rows.iter().zip(&jobs) {
            for (name, cell) in row {
                match (&job[name.as_str()], name.as_str()) {
                    (_, "articles") | (Value::Null, _) if name.starts_with("reason_") || name == "articles" => {}
                    (Value::Null, _) => assert_eq!(cell, "", "{name}"),
                    (Value::String(text), _) => assert_eq!(cell, text, "{name}"),
                    (other, _) => assert_eq!(*cell, other.to_string(), "{name}"),
                }
            }
            assert_eq!(cell(row, "reason_code") == "10001", job["outcome"] == "rejected");
        }

        let from_command = ended(export(&server, &[])).with_code(0);
        assert!(from_command.output == csv, "it differs from the API's");
        let file = server.database.directory().join("jobs.ndjson");
        let name = file.to_str().unwrap();
        ended(export(&server, &["--format", "ndjson", name])).with_code(0);
        assert!(std::fs::read_to_string(&file).unwrap() == ndjson, "it differs from the API's");
        assert_eq!(permissions(&file), 0o600);
        let again = ended(export(&server, &[name])).with_code(1);
        assert!(again.talk.contains("jobs.ndjson"), "{again:?}");
        assert!(std::fs::read_to_string(&file).unwrap() == ndjson, "it was written over");
    }

    async fn an_export_takes_the_filters_of_the_list(backend: Backend) {
        let server = Setup::default().start_on(filled(backend, JOBS).await);
        for (query, arguments) in [
            ("outcome=rejected", &["--outcome", "rejected"][..]),
            ("code=10001&account=plain", &["--code", "10001", "--account", "plain"]),
            ("from=1970-01-01T00:01:40Z&to=200000", &["--from", "1970-01-01T00:01:40Z", "--to", "200000"]),
            ("updated_after=1000", &["--updated-after", "1000"]),
            ("msg_id=77", &["--msg-id", "77"]),
            ("check_state=-1", &["--check-state", "-1"]),
            ("account=nobody", &["--account", "nobody"]),
        ] {
            let mut expected = server.items(&format!("/api/v1/jobs?limit=500&{query}")).await;
            let exported = text(server.get(&format!("/api/v1/jobs.ndjson?{query}")).await).await;
            let exported: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(exported, std::mem::take(&mut expected), "{query}");
            let csv = text(server.get(&format!("/api/v1/jobs.csv?{query}")).await).await;
            assert_eq!(rows(&csv).len(), exported.len(), "{query}");
            let from_command = ended(export(&server, arguments)).with_code(0);
            assert!(from_command.output == csv, "{query}: {from_command:?}");
        }
    }

    async fn a_database_that_fails_in_the_middle_breaks_the_export_off(backend: Backend) {
        let database = filled(backend, JOBS).await;
        // On the last page.
        database.execute("update jobs set articles = '5' where msg_id = 1").await;
        let server = Setup::default().start_on(database);
        for path in ["/api/v1/jobs.csv", "/api/v1/jobs.ndjson"] {
            for encoding in ["identity", "gzip"] {
                let request = server.client.get(server.url(path)).header("accept-encoding", encoding);
                // The connection may break off before anything was sent.
                let body = match request.send().await {
                    Ok(response) => {
                        assert_eq!(response.status(), 200);
                        response.bytes().await
                    }
                    Err(error) => Err(error),
                };
                body.expect_err("it is not whole, and says so");
            }
        }
        let log = server.log();
        assert!(log.contains("an export was aborted"), "{log}");
        let file = server.database.directory().join("jobs.csv");
        let failed = ended(export(&server, &[file.to_str().unwrap()])).with_code(1);
        assert!(!file.exists(), "{failed:?}");
        ended(export(&server, &[])).with_code(1);
        // On the first page, it is an ordinary problem.
        server.database.execute("update jobs set articles = '5' where msg_id = 1234").await;
        let (status, problem) = server.json("/api/v1/jobs.csv").await;
        assert_eq!((status, &problem["type"]), (500, &"urn:qunfa:problem:internal".into()));
    }
}

#[tokio::test]
async fn what_a_client_does_not_read_waits_in_the_database() {
    let database = filled(Backend::Sqlite, 8 * JOBS).await;
    let server = Setup::default().log_level("debug").start_on(database);
    let mut wire = Wire::connect(server.address).await;
    let request = "GET /api/v1/jobs.ndjson HTTP/1.1\r\nHost: localhost\r\n\r\n";
    wire.send(request).await;
    eventually("the client is given up", async || {
        server.log().contains("a connection failed")
    })
    .await;
    // Otherwise the system would buffer megabytes, and a slow client would seem not to read while
    // it processes them.
    let held = wire.closed().await.len();
    assert!(
        (1..1_000_000).contains(&held),
        "{held} bytes were on their way"
    );
    let whole = text(server.get("/api/v1/jobs.ndjson").await).await;
    assert!(
        whole.len() > 5_000_000,
        "{} bytes are too few to tell",
        whole.len()
    );
}

#[tokio::test]
async fn what_comes_from_outside_is_no_formula() {
    let server = Server::start(Backend::Sqlite).await;
    for (msg_id, status) in [
        (1, "=HYPERLINK(1)"),
        (2, "+1"),
        (3, "-1"),
        (4, "@x"),
        (5, "a \"b\", c"),
        (6, "群发"),
    ] {
        server
            .accepts(&PLAIN, Event::new(msg_id, 10).status(status).xml())
            .await;
    }
    server.accepts(&PLAIN, fixture("events/articles.xml")).await;
    let csv = text(server.get("/api/v1/jobs.csv?to=100000").await).await;
    let rows = rows(&csv);
    let statuses: Vec<_> = rows.iter().rev().map(|row| cell(row, "status")).collect();
    assert_eq!(
        statuses,
        ["'=HYPERLINK(1)", "'+1", "'-1", "'@x", "a \"b\", c", "群发"]
    );
    assert!(csv.contains(",\"a \"\"b\"\", c\","), "{csv}");
    let articles = text(server.get("/api/v1/jobs.csv?from=100000").await).await;
    let row = &self::rows(&articles)[0];
    assert!(
        cell(row, "first_article_url").starts_with("http"),
        "{row:?}"
    );
    assert_ne!(cell(row, "articles"), "0");
}

#[tokio::test]
async fn an_export_of_nothing_has_its_names_and_a_mark_only_on_request() {
    let server = Server::start(Backend::Sqlite).await;
    let names = text(server.get("/api/v1/jobs.csv").await).await;
    assert_eq!(names.matches("\r\n").count(), 1);
    assert_eq!(
        text(server.get("/api/v1/jobs.csv?bom=false").await).await,
        names
    );
    let marked = server
        .get("/api/v1/jobs.csv?bom=true")
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(marked, [b"\xef\xbb\xbf", names.as_bytes()].concat());
    assert_eq!(text(server.get("/api/v1/jobs.ndjson").await).await, "");
    let from_command = ended(export(&server, &["--bom"])).with_code(0);
    assert_eq!(from_command.output.as_bytes(), marked);
    ended(export(&server, &["--bom", "--format", "ndjson"])).with_code(2);

    for query in [
        "limit=1",
        "cursor=x",
        "bom=1",
        "bom=",
        "bom=true&bom=true",
        "outcome=x",
        "x=1",
    ] {
        let (status, problem) = server.json(&format!("/api/v1/jobs.csv?{query}")).await;
        assert_eq!(status, 400, "{query}: {problem}");
    }
    assert_eq!(server.json("/api/v1/jobs.ndjson?bom=true").await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_there_is_left_as_it_is() {
    let server = Server::start(Backend::Sqlite).await;
    let file = server.database.directory().join("jobs.csv");
    std::fs::write(&file, "mine").unwrap();
    let refused = ended(export(&server, &[file.to_str().unwrap()])).with_code(1);
    assert!(
        refused
            .talk
            .contains("exists already; it was left as it is"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
