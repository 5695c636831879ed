//! `qunfa backup`: a complete copy, made while the server writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::load::{self, ids, ids_of};
use crate::support::workplace::{Ended, Workplace, ended, permissions};
use crate::support::{Backend, Event, PLAIN, Server, Setup, eventually};

fn backup(server: &Server, file: &Path) -> Ended {
    let mut command = server.command();
    command.arg("backup").arg(file);
    ended(command)
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_all_that_was_acknowledged_before() {
    let server = Server::start(Backend::Sqlite).await;
    let place = Workplace::new();
    let acknowledged = place.path("acknowledged");
    let rate = ["--rate", "400", "--connections", "4"];
    let file = ["--acknowledged", acknowledged.to_str().unwrap()];
    load::load(
        &server,
        &PLAIN,
        &[rate, [file[0], file[1], "--repeats", "20"]].concat(),
    )
    .with_code(0);
    let before: BTreeSet<String> = ids(&place.read("acknowledged")).into_iter().collect();
    assert!(!before.is_empty());

    let mut command = load::command(&server, &PLAIN, &["--seconds", "3"]);
    command.args(rate);
    let load = std::thread::spawn(move || ended(command));
    let count = async || server.ok("/api/v1/stats").await["jobs"].as_u64().unwrap();
    eventually("the second load is on", async || {
        count().await > before.len() as u64
    })
    .await;
    let copy = place.path("copy.db");
    backup(&server, &copy).with_code(0);
    let right_after = count().await;
    load.join().unwrap().with_code(0);
    assert!(count().await > right_after, "the server wrote on");
    assert_eq!(permissions(&copy), 0o600);
    assert_eq!(
        names(copy.parent().unwrap()),
        BTreeSet::from(["acknowledged".to_owned(), "copy.db".to_owned()])
    );

    let mut database = Backend::Sqlite.database().await;
    database.url = format!("sqlite://{}", copy.display());
    let restored = Setup::default().start_on(database);
    let jobs = load::jobs(&restored, &PLAIN).await;
    assert!(jobs.len() as u64 <= right_after);
    assert!(
        ids_of(&jobs).is_superset(&before),
        "acknowledged before, and not in the copy"
    );
    // They are complete: the jobs and their raw deliveries.
    let originals = load::jobs(&server, &PLAIN).await;
    for job in jobs
        .iter()
        .filter(|job| before.contains(job["msg_id"].as_str().unwrap()))
    {
        assert!(originals.contains(job), "{job}");
    }
    let last = jobs[0]["msg_id"].as_str().unwrap();
    let path = format!("/api/v1/jobs/plain/{last}/deliveries");
    assert_eq!(
        restored.items(&path).await[0]["body"],
        server.items(&path).await[0]["body"]
    );
    restored.accepts(&PLAIN, Event::new(1, 10).xml()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_never_overwrites_and_leaves_nothing_half_done() {
    let server = Server::start(Backend::Sqlite).await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    let place = Workplace::new();
    let file = place.write("copy.db", "precious");
    let refused = backup(&server, &file).with_code(1);
    assert!(
        refused.talk.contains("copy.db` exists already"),
        "{refused:?}"
    );
    assert_eq!(place.read("copy.db"), "precious");
    let link = place.path("link");
    std::os::unix::fs::symlink(place.path("nowhere"), &link).unwrap();
    backup(&server, &link).with_code(1);
    backup(&server, &place.path("none/copy.db")).with_code(1);
    // Too large for the remaining disk space.
    let mut command = server.command();
    command.arg("backup").arg(place.path("large.db"));
    let failed = ended(crate::support::server::limited(&command, 16)).with_code(1);
    assert!(failed.talk.contains("cannot be copied"), "{failed:?}");
    assert_eq!(
        names(file.parent().unwrap()),
        BTreeSet::from(["copy.db".to_owned(), "link".to_owned()])
    );
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let place = Workplace::new();
    let missing = place.run(&["backup", "copy.db"]).with_code(1);
    assert!(missing.talk.contains("there is no database"), "{missing:?}");
    assert_eq!(names(&place.path("")), BTreeSet::new());
    place.write(
        "data/qunfa.db",
        "this is a text of more than a few bytes, and no database at all",
    );
    place.run(&["backup", "copy.db"]).with_code(1);
    assert!(!place.path("copy.db").exists());
}

#[test]
fn postgresql_has_a_tool_of_its_own() {
    let place = Workplace::new();
    let variables = [("QUNFA_STORE__URL", "postgres://user:CANARY@127.0.0.1:1/db")];
    let refused = place
        .run_with(&variables, &["backup", "copy.db"])
        .with_code(2);
    assert!(
        refused.talk.contains("pg_dump") && !refused.talk.contains("CANARY"),
        "{refused:?}"
    );
    assert!(!place.path("copy.db").exists());
}
