//! The commands as seen by a shell: help, usage, exit codes, standard output and error.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use reqwest::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use crate::support::server::client;
use crate::support::workplace::{Workplace, unused_address};
use crate::support::{Backend, Server, Setup, on_both_stores};

/// Every command as it is typed.
const COMMANDS: [&[&str]; 20] = [
    &[],
    &["serve"],
    &["migrate"],
    &["healthcheck"],
    &["config"],
    &["config", "init"],
    &["config", "check"],
    &["config", "show"],
    &["key"],
    &["key", "create"],
    &["key", "list"],
    &["reprocess"],
    &["export"],
    &["prune"],
    &["backup"],
    &["copy"],
    &["spool"],
    &["doctor"],
    &["simulate", "push"],
    &["simulate", "load"],
];

#[test]
fn every_command_explains_itself() {
    let place = Workplace::new();
    for command in COMMANDS {
        for flag in ["--help", "-h"] {
            let arguments = [command, &[flag]].concat();
            let ended = place.run(&arguments).with_code(0);
            assert!(
                ended.output.contains("Usage: qunfa"),
                "{arguments:?}: {ended:?}"
            );
            assert_eq!(ended.talk, "", "{arguments:?}");
        }
    }
    let version = place.run(&["--version"]).with_code(0);
    assert_eq!(
        version.output,
        concat!("qunfa ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = place.run(&["--help"]).output;
    for (name, command) in COMMANDS
        .iter()
        .filter_map(|words| Some((words.first()?, words)))
    {
        assert!(help.contains(&format!("\n  {name}")), "{command:?}: {help}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_leaves_standard_output_empty() {
    let place = Workplace::new();
    let url = "http://127.0.0.1:1/wechat/x";
    for arguments in [
        &[] as &[&str],
        &["sing"],
        &["serve", "now"],
        &["serve", "--colour"],
        &["--config"],
        &["migrate", "--config"],
        &["config"],
        &["config", "sing"],
        &["config", "check", "x"],
        &["key"],
        &["simulate"],
        &["reprocess", "--unparsed", "--all"],
        &["reprocess", "--account"],
        &["reprocess", "--account", "No Name"],
        &["reprocess", "--account", "nobody"],
        &["simulate", "push"],
        &["simulate", "push", "--account", "nobody"],
        &["simulate", "push", "--account", "No Name"],
        &["simulate", "push", "--account", "a", "--url", url],
        &["simulate", "push", "--account", "a", "--token", "abc"],
        &["simulate", "push", "--url", url],
        &["simulate", "push", "--url", "here", "--token", "abc"],
        &[
            "simulate",
            "push",
            "--url",
            "ftp://127.0.0.1/",
            "--token",
            "abc",
        ],
        &["simulate", "push", "--url", url, "--token", "a"],
        &["simulate", "push", "--url", url, "--token-file", "none"],
        &[
            "simulate",
            "push",
            "--url",
            url,
            "--token",
            "abc",
            "--token-file",
            "x",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--mode", "open",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--mode", "safe",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--sample", "none",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--event", "none",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--event", "e", "--sample",
            "failed",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--msg-id", "0",
        ],
        &[
            "simulate",
            "push",
            "--url",
            url,
            "--token",
            "abc",
            "--msg-id",
            "9223372036854775808",
        ],
        &[
            "simulate", "push", "--url", url, "--token", "abc", "--repeat", "0",
        ],
        &[
            "simulate",
            "push",
            "--url",
            url,
            "--token",
            "abc",
            "--create-time",
            "253402300800",
        ],
    ] {
        is_wrong_usage(&place, arguments);
    }
    // Nothing was created, so a typing error does no harm.
    assert!(!place.path("data").exists());
}

fn is_wrong_usage(place: &Workplace, arguments: &[&str]) {
    let ended = place.run(arguments);
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:#?}");
    assert_eq!(ended.output, "", "{arguments:?}");
    assert_ne!(ended.talk, "", "{arguments:?}");
}

#[test]
fn so_it_is_where_things_are_removed_copied_or_examined() {
    let place = Workplace::new();
    for arguments in [
        &[] as &[&str],
        &["prune"],
        &["prune", "--yes"],
        &["prune", "--older-than"],
        &["prune", "--older-than", "400"],
        &["prune", "--older-than", "0d"],
        &["prune", "--older-than", "99999999d"],
        &["prune", "--older-than", "1d", "--all"],
        &["backup"],
        &["backup", "a", "b"],
        &["copy"],
        &["copy", "--to"],
        &["copy", "--to", "here"],
        &["copy", "--to-file", "none"],
        &["copy", "--to", "sqlite://a.db", "--to-file", "b"],
        &["copy", "--from", "sqlite://a.db", "--to", "sqlite:a.db"],
        &["spool"],
        &["spool", "--again"],
        &["doctor", "now"],
        &["doctor", "--account", "No Name"],
    ] {
        is_wrong_usage(&place, arguments);
    }
    assert!(!place.path("data").exists());
}

#[test]
fn a_new_key_is_printed_once_beside_its_hash() {
    let place = Workplace::new();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let ended = place.run(&["key", "create"]).with_code(0);
        let [key, hash] = ended.output.lines().collect::<Vec<_>>()[..] else {
            panic!("two lines: {ended:?}");
        };
        assert_eq!(hash, format!("sha256:{}", hex::encode(Sha256::digest(key))));
        assert!(key.len() >= 32, "{ended:?}");
        assert!(!ended.talk.contains(key));
        keys.push(key.to_owned());
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_key_opens_the_api_and_nothing_else_does() {
    let ended = Workplace::new().run(&["key", "create"]).with_code(0);
    let (key, hash) = ended.output.trim_end().split_once('\n').unwrap();
    let server = Setup::default()
        .toml(&format!("[api]\nkeys = [\"{hash}\"]"))
        .start(Backend::Sqlite)
        .await;
    let url = server.url("/api/v1/jobs");
    for (authorization, status) in [
        (None, 401),
        (Some(format!("Bearer {key}")), 200),
        (Some(format!("bearer {key}")), 200),
        (Some(format!("Bearer {hash}")), 401),
        (Some(format!("Bearer {key}x")), 401),
        (Some(format!("Basic {key}")), 401),
    ] {
        let mut request = client().get(&url);
        if let Some(value) = &authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{authorization:?}");
    }
    assert_eq!(server.get("/livez").await.status(), 200);
}

/// A server that gives the same response to every request.
fn stub(status: &'static str, body: &'static str) -> SocketAddr {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or_default();
            let status = if head[..read].starts_with(b"GET /readyz ") {
                status
            } else {
                "404 Not Found"
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_succeeds_exactly_while_events_are_accepted() {
    let place = Workplace::new();
    let check =
        |address: &str| place.run_with(&[("QUNFA_SERVER__LISTEN", address)], &["healthcheck"]);
    let mut server = Server::start(Backend::Sqlite).await;
    let healthy = check(&server.address.to_string()).with_code(0);
    assert!(
        healthy.output.contains(r#""status":"ready""#),
        "{healthy:?}"
    );
    // For a wildcard address, it connects to loopback.
    check(&format!("0.0.0.0:{}", server.address.port())).with_code(0);
    place.write("config.toml", "[accounts.main]\nmode = \"none\"\n");
    check(&server.address.to_string()).with_code(2);
    place.write("config.toml", "");
    server.kill();
    let away = check(&server.address.to_string()).with_code(1);
    assert_eq!(away.output, "");
    assert!(away.talk.contains(&server.address.to_string()), "{away:?}");

    check(&stub("200 OK", r#"{"status":"degraded"}"#).to_string()).with_code(0);
    let unavailable = r#"{"status":"unavailable"}"#;
    check(&stub("503 Service Unavailable", unavailable).to_string()).with_code(1);
    check("nowhere").with_code(2);
}

on_both_stores! {
    async fn migrating_twice_is_as_good_as_once(backend: Backend) {
        let database = backend.database().await;
        let place = Workplace::new();
        // `store.migrate` only applies to `serve`.
        let variables = [("QUNFA_STORE__URL", database.url.as_str()), ("QUNFA_STORE__MIGRATE", "false")];
        for _ in 0..3 {
            let ended = place.run_with(&variables, &["migrate"]).with_code(0);
            assert_eq!(ended.output, "");
            assert!(ended.talk.contains("up to date"), "{ended:?}");
        }
        let server = Setup::default().toml("[store]\nmigrate = false").start_on(database);
        assert!(server.items("/api/v1/jobs").await.is_empty());
    }
}

/// Every command that needs an existing database.
const ON_WHAT_IS_THERE: [&[&str]; 9] = [
    &["reprocess"],
    &["reprocess", "--all", "--dry-run"],
    &["export"],
    &["export", "jobs.csv"],
    &["key", "list"],
    &["prune", "--older-than", "1d"],
    &["prune", "--older-than", "1d", "--yes"],
    &["copy", "--to", "sqlite://copy.db"],
    &["doctor"],
];

#[test]
fn in_a_wrong_directory_nothing_is_made_and_the_exit_code_is_1() {
    let place = Workplace::new();
    let mut commands = ON_WHAT_IS_THERE.to_vec();
    commands.push(&["backup", "copy.db"]);
    let listen = unused_address().to_string();
    for command in commands {
        for migrate in ["true", "false"] {
            let variables = [
                ("QUNFA_SERVER__LISTEN", &*listen),
                ("QUNFA_STORE__MIGRATE", migrate),
            ];
            let ended = place.run_with(&variables, command).with_code(1);
            let said = format!("{}{}", ended.output, ended.talk);
            assert!(said.contains("data/qunfa.db"), "{command:?}: {ended:#?}");
            if command != ["doctor"] {
                assert!(
                    said.contains(
                        "there is no database at `data/qunfa.db`; is this the right directory?"
                    ),
                    "{ended:#?}"
                );
                assert!(
                    said.contains("`--config` or `QUNFA_DATA_DIR`"),
                    "{ended:#?}"
                );
                assert_eq!(ended.output, "", "{command:?}");
            }
            let left: Vec<_> = std::fs::read_dir(place.path("")).unwrap().collect();
            assert!(left.is_empty(), "{command:?}: {left:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_for_systemd_in_the_documents_finds_what_the_service_uses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = std::fs::read_to_string(root.join("deploy/qunfa.service")).unwrap();
    for setting in [
        "LoadCredential=config.toml:/etc/qunfa/config.toml",
        "StateDirectory=qunfa",
    ] {
        assert!(unit.lines().any(|line| line == setting), "{setting}");
    }
    let place = Workplace::new();
    place.write("etc/config.toml", "");
    let serving = place
        .serve(
            &[
                ("QUNFA_CONFIG", "etc/config.toml"),
                ("QUNFA_DATA_DIR", "lib"),
            ],
            &[],
        )
        .await;
    for document in ["docs/OPERATIONS.md", "docs/OPERATIONS.zh-CN.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("sudo env "))
            .unwrap();
        let (variables, command) = line.split_once(" qunfa ").unwrap();
        assert!(command.starts_with("doctor "));
        let variables = variables
            .replace("/etc/qunfa", "etc")
            .replace("/var/lib/qunfa", "lib");
        let variables: Vec<_> = variables
            .split(' ')
            .filter_map(|one| one.split_once('='))
            .collect();
        place.run_with(&variables, &["reprocess"]).with_code(0);
        let mut variables = variables;
        let address = serving.address.to_string();
        variables.push(("QUNFA_SERVER__LISTEN", &address));
        variables.push(("QUNFA_METRICS__LISTEN", ""));
        place.run_with(&variables, &["doctor"]).with_code(0);
    }
    assert!(!place.path("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_postgresql_database_no_table_is_made() {
    let database = Backend::Postgres.database().await;
    let place = Workplace::new();
    let listen = unused_address().to_string();
    for command in ON_WHAT_IS_THERE {
        for migrate in ["true", "false"] {
            let variables = [
                ("QUNFA_SERVER__LISTEN", &*listen),
                ("QUNFA_STORE__URL", &*database.url),
                ("QUNFA_STORE__MIGRATE", migrate),
            ];
            let ended = place.run_with(&variables, command).with_code(1);
            let said = format!("{}{}", ended.output, ended.talk);
            assert!(said.contains("qunfa migrate"), "{command:?}: {ended:#?}");
            assert!(database.is_untouched().await, "{command:?}");
            let left: Vec<_> = std::fs::read_dir(place.path("")).unwrap().collect();
            assert!(left.is_empty(), "{command:?}: {left:?}");
        }
    }
}

#[test]
fn migrating_what_cannot_be_reached_is_exit_code_1_without_the_password() {
    let place = Workplace::new();
    let file = place.write("file", "");
    for url in [
        format!("postgres://user:CANARY@{}/db", unused_address()),
        format!("sqlite://{}/qunfa.db", file.display()),
    ] {
        let ended = place
            .run_with(&[("QUNFA_STORE__URL", &url)], &["migrate"])
            .with_code(1);
        assert!(!ended.talk.contains("CANARY"), "{ended:?}");
        assert!(ended.talk.contains("cannot"), "{ended:?}");
    }
}
