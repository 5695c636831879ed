//! `qunfa spool`: deliveries that wait for PostgreSQL, and ones that it refuses.

use qunfa::store::Spool;

use crate::support::events::arrival;
use crate::support::workplace::{Ended, Workplace, ended};
use crate::support::{Backend, Event, PLAIN, Proxy, Server, Setup, Way, eventually};

fn spool(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = server.command();
    command.arg("spool").args(arguments);
    ended(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_what_waits_and_what_is_refused_which_can_be_tried_again() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().start_on(database);
    assert_eq!(
        spool(&server, &[]).with_code(0).output,
        "waiting 0\nrefused 0\n"
    );

    proxy.set(Way::Refused);
    for msg_id in 1..=2 {
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
    }
    let file = Spool::open(&server.database.directory().join("data/spool.db"))
        .await
        .unwrap();
    let refused = arrival("safe", Event::new(3, 10).xml(), 1_767_225_700_000);
    let bytes = refused.body.len();
    file.put_refused(&refused, "too\nodd").await.unwrap();
    file.close().await;
    let shown = spool(&server, &[]).with_code(0).output;
    let lines: Vec<_> = shown.lines().collect();
    let [waiting, oldest, count, one] = lines[..] else {
        panic!("{shown}")
    };
    assert_eq!((waiting, count), ("waiting 2", "refused 1"));
    assert!(
        oldest.starts_with("oldest 20") && oldest.ends_with('Z'),
        "{oldest}"
    );
    assert_eq!(
        one,
        format!("safe 2026-01-01T00:01:40Z {bytes} bytes: too\\nodd")
    );

    let retried = spool(&server, &["--retry"]).with_code(0);
    assert!(
        retried.output.starts_with("waiting 3\n") && retried.output.ends_with("refused 0\n"),
        "{retried:?}"
    );
    assert!(retried.talk.starts_with("1 deliveries"), "{retried:?}");
    proxy.set(Way::Open);
    eventually("the spool is empty", async || {
        server.json("/readyz").await.1["status"] == "ready"
    })
    .await;
    assert_eq!(server.items("/api/v1/jobs").await.len(), 3);
    assert_eq!(
        spool(&server, &["--retry"]).with_code(0).output,
        "waiting 0\nrefused 0\n"
    );
}

#[test]
fn where_there_is_none_none_is_made() {
    let place = Workplace::new();
    let sqlite = place.run(&["spool"]).with_code(2);
    assert!(sqlite.talk.contains("SQLite"), "{sqlite:?}");
    let variables = [("QUNFA_STORE__URL", "postgres://127.0.0.1:1/db")];
    let none = place
        .run_with(&variables, &["spool", "--retry"])
        .with_code(1);
    assert!(none.talk.contains("qunfa serve"), "{none:?}");
    assert!(!place.path("data").exists());
    place.write(
        "data/spool.db",
        "this is a text and no database at all, however long it may be",
    );
    place.run_with(&variables, &["spool"]).with_code(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_after_a_change_to_sqlite_is_told_and_moves_once_the_url_is_back() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let postgres = database.url.clone();
    let mut server = Setup::default().start_on(database);
    proxy.set(Way::Refused);
    for msg_id in 1..=3 {
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
    }
    server.kill();
    let waiting = spool(&server, &[]).with_code(0).output;
    let (_, oldest) = waiting.lines().nth(1).unwrap().split_once(' ').unwrap();

    let file = server.database.directory().join("qunfa.db");
    server.database.url = format!("sqlite://{}", file.display());
    server.restart();
    let log = server.log();
    let told = log
        .lines()
        .find(|line| line.contains("the spool holds results for a PostgreSQL database"))
        .unwrap();
    for part in ["WARN", "waiting=3", oldest, "`store.url` back"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let listed = spool(&server, &[]).with_code(0);
    assert_eq!(listed.output, waiting);
    assert!(listed.talk.contains("`store.url` back"), "{listed:?}");
    let mut doctor = server.command();
    doctor.arg("doctor");
    let examined = ended(doctor).with_code(1);
    let found =
        format!("has results for a PostgreSQL database, 3 waiting since {oldest}, 0 refused; put ");
    assert!(examined.output.contains(&found), "{examined:#?}");
    server.kill();

    server.database.url = postgres;
    proxy.set(Way::Open);
    server.restart();
    eventually("the results are in PostgreSQL", async || {
        server.items("/api/v1/jobs").await.len() == 3
    })
    .await;
}
