//! `simulate load` against the real program: both count the same.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::load::{Values, command, ids, ids_of, jobs, load};
use crate::support::stub::answer_always;
use crate::support::workplace::{Workplace, ended, unused_address};
use crate::support::{Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup, eventually, on_both_stores};

on_both_stores! {
    async fn both_sides_count_the_same(backend: Backend) {
        let server = Server::start(backend).await;
        for account in [PLAIN, COMPATIBLE, SAFE] {
            let file = server.database.directory().join(account.name);
            let loaded = load(
                &server,
                &account,
                &["--rate", "150", "--repeats", "30", "--acknowledged", file.to_str().unwrap()],
            )
            .with_code(0);
            let values = Values::new(&loaded.output);
            let jobs = jobs(&server, &account).await;
            let listed = ids(&std::fs::read_to_string(&file).unwrap());
            assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), ids_of(&jobs));
            assert_eq!(listed.len(), jobs.len(), "each id stands there once");
            assert_eq!(values.count("events"), jobs.len());
            assert_eq!(values.count("acknowledged"), values.count("pushes"));
            let times = jobs.iter().map(|job| job["deliveries"].as_u64().unwrap());
            let deliveries = usize::try_from(times.sum::<u64>()).unwrap();
            assert_eq!(values.count("pushes"), deliveries);
            assert!(deliveries > jobs.len(), "{loaded:?}");
            for job in jobs {
                assert_eq!(job["revision"], 1, "a repeat is the same body");
                assert_eq!(job["articles"].as_array().unwrap().len(), 2);
                assert!(job["articles"][1]["url"].is_string());
                assert!(job["articles"][1]["copyright"].is_object());
            }
        }
        let unparsed = server.items("/api/v1/deliveries?state=unparsed").await;
        assert!(unparsed.is_empty(), "{unparsed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rate_every_connection_is_busy_and_two_runs_do_not_meet() {
    let server = Server::start(Backend::Sqlite).await;
    let mut pushes = 0;
    for _ in 0..2 {
        let loaded = load(&server, &PLAIN, &["--connections", "4"]).with_code(0);
        let values = Values::new(&loaded.output);
        assert!(values.count("pushes") > 4, "{loaded:?}");
        assert!(
            values.number("p50_ms") > 0.0 && values.number("p50_ms") <= values.number("p99_ms"),
            "{loaded:?}"
        );
        assert!(
            values.number("p99_ms") <= values.number("max_ms") && values.number("max_ms") < 5000.0,
            "{loaded:?}"
        );
        pushes += values.count("pushes");
    }
    let stats = server.ok("/api/v1/stats").await;
    assert_eq!(stats["jobs"], pushes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_kept() {
    let server = Server::start(Backend::Sqlite).await;
    let arguments = [
        "--seconds",
        "2",
        "--rate",
        "50",
        "--connections",
        "3",
        "--first-msg-id",
        "1000",
    ];
    let loaded = ended(command(&server, &PLAIN, &arguments)).with_code(0);
    let values = Values::new(&loaded.output);
    assert_eq!(
        values.count("pushes") + values.count("unsent"),
        100,
        "{loaded:?}"
    );
    assert!((25.0..=52.0).contains(&values.number("rate")), "{loaded:?}");
    assert!((1.9..8.0).contains(&values.number("seconds")), "{loaded:?}");
    assert_eq!(server.job(&PLAIN, "1000").await["outcome"], "sent");
    assert_eq!(server.job(&PLAIN, "1049").await["deliveries"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_by_status_and_exit_code_1() {
    let server = Server::start(Backend::Sqlite).await;
    let file = server.database.directory().join("ids");
    let url = server.url("/wechat/plain");
    let mut command = server.command();
    command.args([
        "simulate",
        "load",
        "--token",
        "wrongwrongwrong",
        "--seconds",
        "1",
        "--rate",
        "20",
    ]);
    command.args(["--url", &url, "--acknowledged"]).arg(&file);
    let refused = ended(command).with_code(1);
    let values = Values::new(&refused.output);
    assert_eq!(
        values.count("status_403"),
        values.count("pushes"),
        "{refused:?}"
    );
    assert_eq!(
        (
            values.count("acknowledged"),
            values.count("events"),
            values.count("errors")
        ),
        (0, 0, 0)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    assert!(server.items("/api/v1/deliveries").await.is_empty());
    assert!(!refused.talk.contains("signature="), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_servers_are_judged_as_wechat_does() {
    let place = Workplace::new();
    let load = |url: &str| {
        let target = ["simulate", "load", "--url", url, "--token", PLAIN.token];
        let little = ["--seconds", "1", "--rate", "20", "--connections", "2"];
        place.run(&[&target[..], &little].concat())
    };
    for (status, body, closes, name) in [
        ("200 OK", "success", false, "acknowledged"),
        ("200 OK", "", false, "acknowledged"),
        // A server may close the connection after any response.
        ("200 OK", "success", true, "acknowledged"),
        (
            "200 OK\r\nConnection: close",
            "success",
            true,
            "acknowledged",
        ),
        ("200 OK", "ok", false, "status_200"),
        ("503 Service Unavailable", "success", false, "status_503"),
    ] {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        let loaded = load(&answer_always(answer, closes));
        let values = Values::new(&loaded.output);
        assert_eq!(
            values.count(name),
            values.count("pushes"),
            "{status}: {loaded:?}"
        );
        assert_ne!(values.count(name), 0, "{loaded:?}");
        assert_eq!(
            loaded.code,
            Some(i32::from(name != "acknowledged")),
            "{loaded:?}"
        );
    }
    let broken = load(&answer_always(
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuc".to_owned(),
        true,
    ));
    assert!(Values::new(&broken.with_code(1).output).count("error_broken_off") > 0);
    let away = load(&format!("http://{}/any", unused_address()));
    assert!(Values::new(&away.with_code(1).output).count("error_not_connected") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_with_a_report_and_the_file() {
    let server = Server::start(Backend::Sqlite).await;
    let file = server.database.directory().join("ids");
    let arguments = ["--seconds", "600", "--acknowledged", file.to_str().unwrap()];
    let mut command = command(&server, &PLAIN, &arguments);
    let child: Child = command.stdout(Stdio::piped()).spawn().unwrap();
    eventually("something is pushed", async || {
        server.ok("/api/v1/stats").await["jobs"] != 0
    })
    .await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let output = String::from_utf8(output.stdout).unwrap();
    let listed = ids(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(Values::new(&output).count("events"), listed.len());
    assert_eq!(
        listed.into_iter().collect::<BTreeSet<_>>(),
        ids_of(&jobs(&server, &PLAIN).await)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_an_error_and_what_it_acknowledged_is_kept() {
    let mut server = Server::start(Backend::Sqlite).await;
    let file = server.database.directory().join("ids");
    let arguments = [
        "--seconds",
        "2",
        "--repeats",
        "10",
        "--acknowledged",
        file.to_str().unwrap(),
    ];
    let mut command = command(&server, &PLAIN, &arguments);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than can be in progress at once, so that some were acknowledged.
    eventually("something is pushed", async || {
        server.ok("/api/v1/stats").await["jobs"].as_i64() > Some(50)
    })
    .await;
    server.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(
        Values::new(&output).count("error_not_connected") > 0,
        "{output}"
    );
    server.restart();
    let kept = ids_of(&jobs(&server, &PLAIN).await);
    let listed = ids(&std::fs::read_to_string(&file).unwrap());
    assert!(!listed.is_empty());
    for id in listed {
        assert!(kept.contains(&id), "{id} was acknowledged and is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_an_original_id_takes_it() {
    let setup = Setup::default().accounts(&[]).toml(&format!(
        "{}original_id = \"gh_ffffffffffff\"",
        PLAIN.toml()
    ));
    let server = setup.start(Backend::Sqlite).await;
    load(&server, &PLAIN, &["--rate", "5", "--first-msg-id", "7"]).with_code(0);
    let job = server.job(&PLAIN, "7").await;
    assert_eq!(job["to_user_name"], "gh_ffffffffffff");
}

#[test]
fn what_it_does_not_take_is_exit_code_2() {
    let place = Workplace::new();
    let here = "http://127.0.0.1:1/wechat/x";
    for (url, more, said) in [
        ("https://127.0.0.1:1/wechat/x", &[] as &[&str], "http"),
        ("http://192.0.2.1/wechat/x", &[], "--remote"),
        (here, &["--connections", "0"], "--connections"),
        (here, &["--connections", "10001"], "--connections"),
        (here, &["--seconds", "0"], "--seconds"),
        (here, &["--seconds", "3601"], "--seconds"),
        (here, &["--rate", "0"], "--rate"),
        (here, &["--repeats", "101"], "--repeats"),
        (here, &["--first-msg-id", "0"], "--first-msg-id"),
        (here, &["--acknowledged", "none/ids"], "--acknowledged"),
        (here, &["--account", "demo"], "--token"),
    ] {
        let target = ["simulate", "load", "--url", url, "--token", PLAIN.token];
        let refused = place.run(&[&target, more].concat()).with_code(2);
        assert!(refused.talk.contains(said), "{more:?}: {refused:?}");
        assert_eq!(refused.output, "", "{more:?}");
    }
    place.run(&["simulate", "load"]).with_code(2);
}
