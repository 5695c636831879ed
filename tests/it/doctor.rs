//! `qunfa doctor` reports each check correctly, and leaves nothing behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use qunfa::domain::MsgId;
use qunfa::store::{JobFilter, Page};

use crate::support::events::{self, arrival};
use crate::support::workplace::{Ended, Workplace, ended, unused_address};
use crate::support::{
    Account, Backend, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, on_both_stores,
};

fn doctor(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = server.command();
    command
        .env("QUNFA_SERVER__LISTEN", server.address.to_string())
        .env("QUNFA_METRICS__LISTEN", server.metrics_address())
        .arg("doctor")
        .args(arguments);
    ended(command)
}

/// The result and the sentence of each line about a subject.
fn lines<'e>(ended: &'e Ended, subject: &str) -> Vec<&'e str> {
    let all = ended.output.lines();
    all.filter(|line| line[6..].starts_with(&format!("{subject}: ")))
        .collect()
}

fn line<'e>(ended: &'e Ended, subject: &str) -> &'e str {
    let [line] = lines(ended, subject)[..] else {
        panic!("one line about {subject}: {ended:#?}");
    };
    line
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A server whose files are private.
async fn server(backend: Backend, setup: Setup) -> Server {
    let server = setup.start(backend).await;
    chmod(&server.config, 0o600);
    server
}

async fn is_untouched(server: &Server) {
    assert!(server.items("/api/v1/jobs").await.is_empty());
    assert!(server.items("/api/v1/deliveries").await.is_empty());
}

on_both_stores! {
    async fn what_is_well_is_ok_in_every_mode_and_nothing_is_left(backend: Backend) {
        let server = server(backend, Setup::default()).await;
        for name in ["plain", "compatible", "safe"] {
            let well = doctor(&server, &["--account", name]).with_code(0);
            // Plain mode always gives a warning.
            for line in well.output.lines() {
                assert!(line.starts_with("ok    ") || line.starts_with("warn  configuration: "), "{well:#?}");
            }
            for subject in ["files", "database", "durability", "server", "push"] {
                assert!(line(&well, subject).starts_with("ok "), "{well:#?}");
            }
            assert!(line(&well, "push").contains("read back from the API"), "{well:#?}");
            let clocks = if backend == Backend::Postgres { 2 } else { 1 };
            assert_eq!(lines(&well, "clock").len(), clocks);
            assert_eq!(lines(&well, "spool").len(), clocks - 1);
            is_untouched(&server).await;
        }
        assert_eq!(server.log().matches("a job result is kept").count(), 3);
    }

    async fn only_what_it_made_itself_is_taken_away(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let account = "plain".parse().unwrap();
        let id = MsgId::new(1).unwrap();
        let first = arrival("plain", Event::new(1, 10).xml(), 10);
        let second = arrival("plain", Event::new(1, 20).xml(), 20);
        events::record(&*store, first.clone()).await.unwrap();
        assert!(!store.withdraw(&account, id, &second.body_sha256).await.unwrap());
        assert!(!store.withdraw(&"safe".parse().unwrap(), id, &first.body_sha256).await.unwrap());
        events::record(&*store, second.clone()).await.unwrap();
        for content in [&first, &second] {
            assert!(!store.withdraw(&account, id, &content.body_sha256).await.unwrap());
        }
        let alone = arrival("plain", Event::new(2, 10).xml(), 30);
        events::record(&*store, alone.clone()).await.unwrap();
        let id = MsgId::new(2).unwrap();
        assert!(store.withdraw(&account, id, &alone.body_sha256).await.unwrap());
        assert_eq!(store.job(&account, id).await.unwrap(), None);
        assert_eq!(store.job_deliveries(&account, MsgId::new(1).unwrap()).await.unwrap().len(), 2);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_that_prometheus_does_not_find_are_a_warning() {
    let server = server(Backend::Sqlite, Setup::default().with_metrics()).await;
    let found = doctor(&server, &[]).with_code(0);
    assert!(line(&found, "metrics").starts_with("ok "), "{found:#?}");
    for (address, says) in [
        (unused_address().to_string(), "does not answer"),
        (server.address.to_string(), "something other than qunfa"),
    ] {
        let mut command = server.command();
        command
            .env("QUNFA_SERVER__LISTEN", server.address.to_string())
            .env("QUNFA_METRICS__LISTEN", address)
            .arg("doctor");
        let other = ended(command).with_code(0);
        let line = line(&other, "metrics");
        assert!(
            line.starts_with("warn ") && line.contains(says),
            "{other:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_the_way_out_of_the_api() {
    let place = Workplace::new();
    let created = place.run(&["key", "create"]).with_code(0).output;
    let (key, hash) = created.trim_end().split_once('\n').unwrap();
    let setup = Setup::default().toml(&format!("[api]\nkeys = [\"{hash}\"]"));
    let server = server(Backend::Sqlite, setup).await;
    let without = doctor(&server, &[]).with_code(0);
    assert!(
        line(&without, "push").contains("read back from the database"),
        "{without:#?}"
    );
    let good = place.write("key", format!("{key}\n"));
    let with = doctor(&server, &["--api-key-file", good.to_str().unwrap()]).with_code(0);
    assert!(
        line(&with, "push").contains("read back from the API"),
        "{with:#?}"
    );
    assert!(!with.output.contains(key));
    for wrong in [place.write("wrong", hash), place.path("none")] {
        let wrong = doctor(&server, &["--api-key-file", wrong.to_str().unwrap()]).with_code(1);
        assert!(line(&wrong, "push").starts_with("fail "), "{wrong:#?}");
    }
    let store = server.database.store().await;
    assert!(
        store
            .jobs(
                &JobFilter::default(),
                &Page {
                    after: None,
                    limit: 9
                }
            )
            .await
            .unwrap()
            .is_empty()
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_of_others_are_a_warning() {
    let server = server(Backend::Sqlite, Setup::default()).await;
    let data = server.database.directory().join("data");
    fs::create_dir_all(&data).unwrap();
    let token = data.join("demo.token");
    fs::write(&token, "x").unwrap();
    let paths = [server.config.clone(), data, token];
    for (path, closed, opened) in [
        (0, 0o600, 0o604),
        (0, 0o640, 0o660),
        (1, 0o750, 0o755),
        (2, 0o600, 0o644),
    ] {
        for path in &paths {
            chmod(path, 0o700);
        }
        chmod(&paths[path], closed);
        let well = doctor(&server, &[]).with_code(0);
        assert!(line(&well, "files").starts_with("ok "), "{well:#?}");
        chmod(&paths[path], opened);
        let warned = doctor(&server, &[]).with_code(0);
        let warning = line(&warned, "files");
        let expected = format!("`{}` has mode {opened:04o}", paths[path].display());
        assert!(
            warning.starts_with("warn ") && warning.contains(&expected),
            "{warned:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_configuration_is_found_out() {
    let server = server(Backend::Sqlite, Setup::default().accounts(&[SAFE])).await;
    // The token was changed without restarting the server.
    let changed = Account {
        token: "AnotherTokenOfTheTests9",
        ..SAFE
    };
    fs::write(&server.config, changed.toml()).unwrap();
    let found = doctor(&server, &[]).with_code(1);
    assert!(line(&found, "push").contains("answers 403"), "{found:#?}");
    assert!(found.talk.contains("1 check failed"), "{found:#?}");
    let nobody = doctor(&server, &["--account", "nobody"]).with_code(1);
    assert!(
        line(&nobody, "push").contains("no such account"),
        "{nobody:#?}"
    );
    assert!(
        doctor(&server, &["--account", "No Name"])
            .with_code(2)
            .output
            .is_empty()
    );
    is_untouched(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_fails_and_leaves_the_server_alone() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let server = Setup::default().start_on(database);
    proxy.set(Way::Refused);
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    let away = doctor(&server, &[]).with_code(1);
    assert!(line(&away, "database").starts_with("fail "), "{away:#?}");
    assert!(line(&away, "spool").starts_with("warn "), "{away:#?}");
    assert!(line(&away, "server").starts_with("warn "), "{away:#?}");
    assert!(line(&away, "push").contains("not tried"), "{away:#?}");
    assert_eq!(lines(&away, "durability"), [""; 0]);
}

#[test]
fn mistakes_and_what_is_not_there_fail_and_nothing_is_made() {
    let place = Workplace::new();
    place.write("config.toml", "colour = 1\n[server]\nbody_limit = 0\n");
    let wrong = place.run(&["doctor"]).with_code(1);
    assert_eq!(lines(&wrong, "configuration").len(), 2, "{wrong:#?}");
    assert_eq!(wrong.output.lines().count(), 2);
    place.write("config.toml", "this is no TOML");
    let none = place.run(&["doctor"]).with_code(1);
    assert!(
        line(&none, "configuration").starts_with("fail "),
        "{none:#?}"
    );

    place.write("config.toml", "");
    let address = unused_address().to_string();
    let variables = [("QUNFA_SERVER__LISTEN", address.as_str())];
    let new = place.run_with(&variables, &["doctor"]).with_code(1);
    assert!(
        line(&new, "database").contains("does not exist yet"),
        "{new:#?}"
    );
    assert!(line(&new, "server").contains("does not answer"), "{new:#?}");
    assert!(new.talk.contains("2 checks failed"), "{new:#?}");
    assert!(!place.path("data").exists());

    let variables = [
        ("QUNFA_SERVER__LISTEN", address.as_str()),
        ("QUNFA_STORE__URL", "postgres://user:CANARY@127.0.0.1:1/db"),
    ];
    let away = place.run_with(&variables, &["doctor"]).with_code(1);
    assert!(!format!("{away:?}").contains("CANARY"), "{away:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_its_migrations_fails() {
    let database = Backend::Postgres.database().await;
    let place = Workplace::new();
    let address = unused_address().to_string();
    let variables = [
        ("QUNFA_SERVER__LISTEN", address.as_str()),
        ("QUNFA_STORE__URL", database.url.as_str()),
    ];
    let outdated = place.run_with(&variables, &["doctor"]).with_code(1);
    assert!(
        line(&outdated, "database").contains("qunfa migrate"),
        "{outdated:#?}"
    );
    place.run_with(&variables, &["migrate"]).with_code(0);
    let migrated = place.run_with(&variables, &["doctor"]).with_code(1);
    assert!(
        line(&migrated, "database").starts_with("ok "),
        "{migrated:#?}"
    );
    assert!(
        line(&migrated, "durability").contains("fsync"),
        "{migrated:#?}"
    );
}
