//! `simulate push` against the real program, and against servers with other responses.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use qunfa::domain::{SAMPLE_NAME, Time};
use qunfa::simulator::Sample;

use crate::support::workplace::{Ended, ended, unused_address};
use crate::support::{
    Account, Backend, COMPATIBLE, PLAIN, SAFE, Server, Setup, fixture, on_both_stores,
};

/// The built-in events and their outcomes.
const SAMPLES: [(&str, &str); 6] = [
    ("success", "sent"),
    ("articles", "sent"),
    ("rejected", "rejected"),
    ("failed", "failed"),
    ("minimal", "sent"),
    ("unknown-code", "rejected"),
];

/// `simulate push` for that server, with its configuration.
fn push(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = server.command();
    command
        .env("QUNFA_SERVER__LISTEN", server.address.to_string())
        .args(["simulate", "push"])
        .args(arguments);
    ended(command)
}

/// The arguments to push as that account.
fn described(server: &Server, account: &Account) -> Vec<String> {
    let url = server.url(&format!("/wechat/{}", account.name));
    let mut arguments = vec![
        "--url".to_owned(),
        url,
        "--token".to_owned(),
        account.token.to_owned(),
    ];
    if account.mode != "plain" {
        let encryption = [
            "--mode",
            account.mode,
            "--aes-key",
            account.aes_key,
            "--app-id",
            account.app_id,
        ];
        arguments.extend(encryption.map(str::to_owned));
    }
    arguments
}

fn file(server: &Server, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = server.database.directory().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

on_both_stores! {
    async fn every_sample_is_a_new_job_of_now(backend: Backend) {
        let server = Server::start(backend).await;
        let before = Time::now().seconds();
        for (sample, _) in SAMPLES.into_iter().chain(SAMPLES) {
            let pushed = push(&server, &["--account", "plain", "--sample", sample]).with_code(0);
            assert!(pushed.output.starts_with("1/1 200 success"), "{pushed:?}");
        }
        let mut jobs = server.items("/api/v1/jobs").await;
        assert_eq!(jobs.len(), 12);
        // The ids increase with time.
        jobs.sort_by_key(|job| job["msg_id"].as_str().unwrap().parse::<i64>().unwrap());
        for (job, (sample, outcome)) in jobs.iter().zip(SAMPLES.into_iter().chain(SAMPLES)) {
            assert_eq!(job["outcome"], outcome, "{sample}");
            assert_eq!((job["deliveries"].as_i64(), job["revision"].as_i64()), (Some(1), Some(1)));
            let finished = Time::parse_rounding_down(job["finished_at"].as_str().unwrap()).unwrap();
            assert!((before..=Time::now().seconds()).contains(&finished.seconds()), "{job}");
        }
        let unparsed = server.items("/api/v1/deliveries?state=unparsed").await;
        assert!(unparsed.is_empty(), "{unparsed:?}");
    }

    async fn a_sample_with_both_numbers_given_is_always_the_same_bytes(backend: Backend) {
        let server = Server::start(backend).await;
        for sample in Sample::ALL {
            let event = String::from_utf8(fixture(&format!("../../src/simulator/samples/{}.xml", sample.as_str()))).unwrap();
            let event = event.replace("gh_0a1b2c3d4e5f", SAMPLE_NAME);
            let number = |name: &str| {
                let (_, rest) = event.split_once(&format!("<{name}>")).unwrap();
                rest.split_once('<').unwrap().0.to_owned()
            };
            let (msg_id, create_time) = (number("MsgID"), number("CreateTime"));
            let arguments = ["--account", "safe", "--sample", sample.as_str(), "--msg-id", &msg_id, "--create-time", &create_time];
            for _ in 0..2 {
                push(&server, &arguments).with_code(0);
            }
            let received = server.items(&format!("/api/v1/jobs/safe/{msg_id}/deliveries")).await;
            let [delivery] = &received[..] else { panic!("{received:?}") };
            assert_eq!(delivery["body"], event.as_str());
            assert_eq!(delivery["times"], 2);
        }
        let arguments = ["--account", "safe", "--msg-id", "7", "--create-time", "1398000000"];
        push(&server, &arguments).with_code(0);
        assert_eq!(server.job(&SAFE, "7").await["finished_at"], "2014-04-20T13:20:00Z");
    }

    async fn repeats_are_copies_of_one_revision(backend: Backend) {
        let server = Server::start(backend).await;
        for account in [PLAIN, COMPATIBLE, SAFE] {
            let arguments = ["--account", account.name, "--repeat", "3", "--msg-id", "77"];
            let pushed = push(&server, &arguments).with_code(0);
            let answers: Vec<_> = pushed.output.lines().collect();
            assert_eq!(answers.len(), 3, "{pushed:?}");
            assert!(answers.iter().all(|line| line.contains(" 200 success")), "{pushed:?}");
            let job = server.job(&account, "77").await;
            assert_eq!((job["deliveries"].as_u64(), job["revision"].as_u64()), (Some(3), Some(1)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_is_pushed_by_url() {
    let server = Server::start(Backend::Sqlite).await;
    for account in [PLAIN, COMPATIBLE, SAFE] {
        let arguments = described(&server, &account);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        push(&server, &arguments).with_code(0);
        // The token can be in a file, with or without a line break.
        for content in [account.token.to_owned(), format!("{}\n", account.token)] {
            let path = file(&server, "token", content);
            let mut arguments = arguments.clone();
            arguments[2] = "--token-file";
            arguments[3] = path.to_str().unwrap();
            push(&server, &arguments).with_code(0);
        }
        let query = format!("/api/v1/jobs?account={}", account.name);
        assert_eq!(server.items(&query).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_ones_own_is_pushed_byte_for_byte() {
    let server = Server::start(Backend::Sqlite).await;
    for (name, msg_id) in [
        ("events/articles.xml", "3147483999"),
        ("events/articles.json", "3147483999"),
    ] {
        let content = fixture(name);
        let path = file(&server, "event", &content);
        let event = path.to_str().unwrap();
        for account in [PLAIN, COMPATIBLE, SAFE] {
            push(&server, &["--account", account.name, "--event", event]).with_code(0);
            let received = server
                .items(&format!(
                    "/api/v1/jobs/{}/{msg_id}/deliveries",
                    account.name
                ))
                .await;
            let body = received.last().unwrap()["body"].as_str().unwrap();
            assert_eq!(body.as_bytes(), content, "{name} in {} mode", account.mode);
        }
        push(
            &server,
            &[
                "--account",
                "safe",
                "--event",
                event,
                "--msg-id",
                "9223372036854775807",
            ],
        )
        .with_code(0);
        assert_eq!(
            server.job(&SAFE, "9223372036854775807").await["outcome"],
            "sent"
        );
        let arguments = [
            "--account",
            "safe",
            "--event",
            event,
            "--msg-id",
            "8",
            "--create-time",
            "0",
        ];
        push(&server, &arguments).with_code(0);
        assert_eq!(
            server.job(&SAFE, "8").await["finished_at"],
            "1970-01-01T00:00:00Z"
        );
    }
    let path = file(&server, "event", b"\xff no event");
    let event = path.to_str().unwrap();
    push(&server, &["--account", "safe", "--event", event]).with_code(0);
    assert_eq!(
        server
            .items("/api/v1/deliveries?state=unparsed")
            .await
            .len(),
        1
    );
    push(
        &server,
        &["--account", "safe", "--event", event, "--msg-id", "1"],
    )
    .with_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_for_an_account_with_an_original_id_is_addressed_to_it() {
    let setup = Setup::default().accounts(&[]).toml(&format!(
        "{}original_id = \"gh_ffffffffffff\"",
        PLAIN.toml()
    ));
    let server = setup.start(Backend::Sqlite).await;
    push(&server, &["--account", "plain", "--msg-id", "7"]).with_code(0);
    let job = server.job(&PLAIN, "7").await;
    assert_eq!(job["to_user_name"], "gh_ffffffffffff");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_is_exit_code_1_and_the_answer_is_printed() {
    let server = Server::start(Backend::Sqlite).await;
    let url = server.url("/wechat/plain");
    let refused = push(
        &server,
        &["--url", &url, "--token", "wrongwrongwrong", "--repeat", "2"],
    )
    .with_code(1);
    assert!(refused.output.contains("1/2 403 forbidden"), "{refused:?}");
    assert!(refused.output.contains("2/2 403 forbidden"), "{refused:?}");
    assert!(server.items("/api/v1/deliveries").await.is_empty());

    let away = format!("http://{}/wechat/plain", unused_address());
    let unanswered = push(&server, &["--url", &away, "--token", PLAIN.token]).with_code(1);
    assert_eq!(unanswered.output, "");
    assert!(!unanswered.talk.contains("signature="), "{unanswered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_200_with_success_or_nothing_is_legal() {
    let server = Server::start(Backend::Sqlite).await;
    for (status, body, code) in [
        ("200 OK", "success", 0),
        ("200 OK", "", 0),
        ("200 OK", "ok", 1),
        ("200 OK", "success\n", 1),
        ("204 No Content", "", 1),
        ("302 Found\r\nLocation: /", "", 1),
        ("503 Service Unavailable", "success", 1),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/any", listener.local_addr().unwrap());
        let stub = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = [0; 8192];
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("</xml>") {
                let count = stream.read(&mut read).unwrap();
                assert_ne!(count, 0, "the push broke off");
                request.extend_from_slice(&read[..count]);
            }
            let length = if status.starts_with("204") {
                String::new()
            } else {
                format!("Content-Length: {}\r\n", body.len())
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{length}Connection: close\r\n\r\n{body}"
            )
            .unwrap();
            String::from_utf8(request).unwrap()
        });
        let answered = push(&server, &["--url", &url, "--token", PLAIN.token]);
        assert_eq!(answered.code, Some(code), "{status} {body:?}: {answered:?}");
        let request = stub.join().unwrap();
        assert!(request.starts_with("POST /any?signature="), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_this_machine_is_pushed_to_unless_told_otherwise() {
    let server = Server::start(Backend::Sqlite).await;
    // Addresses reserved for documentation; no request is sent.
    for url in [
        "http://192.0.2.1/wechat/a",
        "http://wx.example.com/",
        "http://127.0.0.1.example.com/",
        "https://[2001:db8::1]/",
    ] {
        let refused = push(&server, &["--url", url, "--token", PLAIN.token]).with_code(2);
        assert!(refused.talk.contains("--remote"), "{refused:?}");
        assert_eq!(refused.output, "");
    }
    // With `--remote` it tries: no server can have this name.
    let url = "http://nobody.invalid/";
    let tried = push(&server, &["--url", url, "--token", PLAIN.token, "--remote"]).with_code(1);
    assert!(!tried.talk.contains("--remote"), "{tried:?}");
    let url = server.url("/wechat/plain");
    push(
        &server,
        &["--url", &url, "--token", PLAIN.token, "--remote"],
    )
    .with_code(0);
}
