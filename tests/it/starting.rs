//! When `serve` cannot start: its message and exit code; and when it starts without its database.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::pooler::Pooler;
use crate::support::workplace::{Ended, MOMENT, Workplace, unused_address};
use crate::support::{Backend, Database, on_both_stores};

const FREE_PORT: (&str, &str) = ("QUNFA_SERVER__LISTEN", "127.0.0.1:0");
const NO_METRICS: (&str, &str) = ("QUNFA_METRICS__LISTEN", "");

/// Runs `serve` on that database; it must end immediately.
fn refused(database: &Database, migrate: &str) -> Ended {
    let place = Workplace::new();
    let started = Instant::now();
    let variables = [
        FREE_PORT,
        NO_METRICS,
        ("QUNFA_STORE__URL", &database.url),
        ("QUNFA_STORE__MIGRATE", migrate),
    ];
    let ended = place.run_with(&variables, &["serve"]).with_code(1);
    assert!(
        started.elapsed() < MOMENT,
        "trying again is no use: {ended:?}"
    );
    assert_eq!(ended.output, "", "it was never ready");
    ended
}

#[test]
fn a_port_in_use_is_exit_code_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let place = Workplace::new();
    let ended = place
        .run_with(&[("QUNFA_SERVER__LISTEN", &address)], &["serve"])
        .with_code(1);
    assert!(ended.talk.contains(&address), "{ended:?}");
    assert_eq!(ended.output, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_the_default_port_for_metrics_is_in_use_it_serves_without_metrics() {
    const DEFAULT: &str = "127.0.0.1:9464";
    // Another program may use it already.
    let _other = TcpListener::bind(DEFAULT);
    let place = Workplace::new();
    let mut command = place.program();
    command
        .arg("serve")
        .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0");
    let serving = place.started(command).await;
    assert!(
        serving.output().contains(&format!(
            "metrics for Prometheus: nowhere, as {DEFAULT} cannot be used\n"
        )),
        "{}",
        serving.output()
    );
    let talk = serving.talk();
    let warning = talk.lines().find(|line| line.contains(" WARN "));
    let warning = warning.expect("it warns");
    assert!(
        warning.contains("`metrics.listen`") && warning.contains(DEFAULT),
        "{talk}"
    );
    let ready = talk.lines().find(|line| line.contains(" ready ")).unwrap();
    assert!(
        ready.contains("metrics=\"nowhere, as 127.0.0.1:9464 cannot be used\""),
        "{talk}"
    );

    let address = serving.address.to_string();
    let doctor = place.run_with(&[("QUNFA_SERVER__LISTEN", &address)], &["doctor"]);
    let line = doctor
        .output
        .lines()
        .find(|line| line.contains(" metrics: "))
        .unwrap();
    assert!(line.starts_with("warn "), "{line}");
    assert_eq!(serving.stop().await, Some(0));

    // If it is configured explicitly, the same address must be free.
    let variables = [FREE_PORT, ("QUNFA_METRICS__LISTEN", DEFAULT)];
    let ended = place.run_with(&variables, &["serve"]).with_code(1);
    assert!(ended.talk.contains("`metrics.listen`"), "{ended:?}");
}

#[test]
fn a_port_for_metrics_that_is_in_use_is_told_by_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let place = Workplace::new();
    let variables = [FREE_PORT, ("QUNFA_METRICS__LISTEN", &address)];
    let ended = place.run_with(&variables, &["serve"]).with_code(1);
    for words in [
        &address,
        "`metrics.listen`",
        "QUNFA_METRICS__LISTEN",
        "\"\"",
    ] {
        assert!(ended.talk.contains(words), "{words}: {ended:?}");
    }
    assert_eq!(ended.output, "");
}

on_both_stores! {
    async fn a_database_of_a_newer_program_is_refused(backend: Backend) {
        let database = backend.database().await;
        database.store().await.close().await;
        database
            .execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                      select 9999, description, success, checksum, execution_time from _sqlx_migrations limit 1")
            .await;
        for migrate in ["true", "false"] {
            let ended = refused(&database, migrate);
            assert!(ended.talk.contains("newer qunfa"), "{ended:?}");
            assert!(ended.talk.contains("9999"), "{ended:?}");
        }
        let place = Workplace::new();
        let ended = place.run_with(&[("QUNFA_STORE__URL", &database.url)], &["migrate"]).with_code(1);
        assert!(ended.talk.contains("newer qunfa"), "{ended:?}");
    }

    async fn without_migrations_an_empty_database_is_refused_with_the_remedy(backend: Backend) {
        let database = backend.database().await;
        let ended = refused(&database, "false");
        let cause = match backend {
            Backend::Sqlite => "there is no database at",
            Backend::Postgres => "`store.migrate`",
        };
        assert!(ended.talk.contains("`qunfa migrate`") && ended.talk.contains(cause), "{ended:?}");
        let place = Workplace::new();
        let url = ("QUNFA_STORE__URL", database.url.as_str());
        place.run_with(&[url], &["migrate"]).with_code(0);
        let serving = place.serve(&[url, ("QUNFA_STORE__MIGRATE", "false")], &[]).await;
        assert_eq!(serving.stop().await, Some(0));
    }
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_is_refused_with_the_remedy() {
    let database = Database::of_a_role_without_rights().await;
    let ended = refused(&database, "true");
    let remedy = "grant create on schema public to \"App\"";
    assert!(ended.talk.contains(remedy), "{ended:?}");
    let place = Workplace::new();
    let variables = [("QUNFA_STORE__URL", database.url.as_str())];
    for command in ["migrate", "reprocess"] {
        let ended = place.run_with(&variables, &[command]).with_code(1);
        assert!(ended.talk.contains(remedy), "{ended:?}");
    }
    let doctor = place.run_with(&variables, &["doctor"]).with_code(1);
    assert!(doctor.output.contains(remedy), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_no_sessions_is_refused_with_the_remedy() {
    let mut database = Backend::Postgres.database().await;
    let _pooler = Pooler::before(&mut database, "transaction").await;
    let ended = refused(&database, "true");
    let remedy = "`pool_mode = session`";
    assert!(ended.talk.contains(remedy), "{ended:?}");
    let variables = [("QUNFA_STORE__URL", database.url.as_str())];
    let doctor = Workplace::new()
        .run_with(&variables, &["doctor"])
        .with_code(1);
    assert!(doctor.output.contains(remedy), "{doctor:?}");
}

#[test]
fn a_database_file_that_cannot_be_is_told_at_once() {
    let place = Workplace::new();
    place.write("file", "");
    place.write(
        "text.db",
        "this is no database, but a text that is long enough to be looked at".repeat(9),
    );
    for (url, name) in [
        ("sqlite://file/x.db", "file/x.db"),
        ("sqlite://text.db", "text.db"),
    ] {
        let ended = place
            .run_with(&[FREE_PORT, ("QUNFA_STORE__URL", url)], &["migrate"])
            .with_code(1);
        assert!(ended.talk.contains(name), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_is_away_starts_on_its_spool_and_stops_again() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [unused_address(), silent.local_addr().unwrap()] {
        let place = Workplace::new();
        let url = format!("postgres://user:CANARY@{address}/db");
        let started = Instant::now();
        let serving = place.serve(&[("QUNFA_STORE__URL", &url)], &[]).await;
        assert!(started.elapsed() < Duration::from_secs(8));
        let log = place.read("serve.err");
        assert!(log.contains("starting on the spool"), "{log}");
        assert!(!log.contains("CANARY"), "{log}");
        let stopped = Instant::now();
        assert_eq!(serving.stop().await, Some(0));
        assert!(stopped.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn a_database_that_is_away_cannot_be_migrated() {
    let place = Workplace::new();
    let url = format!("postgres://user:CANARY@{}/db", unused_address());
    let ended = place
        .run_with(&[("QUNFA_STORE__URL", &url)], &["migrate"])
        .with_code(1);
    assert!(ended.talk.contains("cannot be opened"), "{ended:?}");
    assert!(!ended.talk.contains("CANARY"), "{ended:?}");
}
