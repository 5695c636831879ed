//! Logs: JSON objects, one per line, with the request they belong to; nobody can fill the log, or
//! block the server through it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::wire::Wire;
use crate::support::workplace::{MOMENT, Workplace};
use crate::support::{Backend, PLAIN, Setup, event, eventually};

#[tokio::test]
async fn every_line_is_an_object_that_names_its_request() {
    let setup = Setup::default().toml("[log]\nformat = \"json\"");
    let server = setup.log_level("debug").start(Backend::Sqlite).await;
    server.accepts(&PLAIN, event(7)).await;
    let answer = server.get("/api/v1/jobs/plain/7?secret=1").await;
    assert_eq!(answer.status(), 400);
    let request_id = answer.headers()["x-request-id"].to_str().unwrap();

    let lines: Vec<Value> = server
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let message = |text: &str| {
        let mut found = lines.iter().filter(|line| line["message"] == text);
        found
            .next_back()
            .unwrap_or_else(|| panic!("no line says {text}"))
    };
    let kept = message("a job result is kept");
    assert_eq!(
        (&kept["level"], &kept["msg_id"]),
        (&"INFO".into(), &"7".into())
    );
    assert_eq!(kept["span"]["route"], "/wechat/{account}");

    let answered = message("answered");
    assert_eq!(answered["status"], 400);
    assert!(answered["duration_ms"].is_u64(), "{answered}");
    assert_eq!(answered["span"]["request_id"], request_id);
    assert_eq!(answered["span"]["method"], "GET");
    assert_eq!(answered["span"]["route"], "/api/v1/jobs/{account}/{msg_id}");
}

#[tokio::test]
async fn who_has_no_right_key_leaves_no_line_but_a_warning() {
    let hash = qunfa::domain::ApiKeyHash::of("key");
    let setup = Setup::default().toml(&format!("[api]\nkeys = [\"{hash}\"]"));
    let server = setup.start(Backend::Sqlite).await;
    let mut wire = Wire::connect(server.address).await;
    eventually("it is ready", async || server.log().contains(" ready ")).await;
    let before = server.log().lines().count();
    let long = "X".repeat(5000);
    for method in ["GET", "POST", "OPTIONS", "PROPFIND", &long] {
        for key in ["", "Authorization: Bearer wrong\r\n"] {
            for path in ["/api/v1/jobs", "/api/nothing", "/", "/readyz", "/nothing"] {
                wire.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{key}\r\n"))
                    .await;
                wire.reply().await.expect("an answer");
            }
        }
    }
    let log = server.log();
    assert_eq!(log.lines().count(), before, "{log}");
    let request = server.client.get(server.url("/api/v1/jobs"));
    request.bearer_auth("key").send().await.unwrap();
    let log = server.log();
    assert_eq!(log.lines().count(), before + 1, "{log}");
}

#[tokio::test]
async fn a_method_that_is_not_known_is_one_word() {
    let server = Setup::default()
        .log_level("debug")
        .start(Backend::Sqlite)
        .await;
    let mut wire = Wire::connect(server.address).await;
    let method = "FORGED-LINE".repeat(400);
    wire.send(format!("{method} /livez HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    assert_eq!(wire.reply().await.unwrap().status, 405);
    let log = server.log();
    assert!(log.contains("method=\"other\""), "{log}");
    assert!(!log.contains("FORGED-LINE"));
}

/// `serve` whose standard error is a pipe.
struct Piped(Child);

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    const CALLS: usize = 500;
    let place = Workplace::new();
    let config = PLAIN.toml() + "[log]\nlevel = \"debug\"\n[metrics]\nlisten = \"127.0.0.1:0\"";
    place.write("config.toml", config);
    let mut command = place.program();
    let child = command
        .arg("serve")
        .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut serve = Piped(child.unwrap());
    let mut banner = BufReader::new(serve.0.stdout.take().unwrap()).lines();
    let mut after = |words: &str| {
        let line = banner.find_map(|line| Some(line.unwrap().split_once(words)?.1.to_owned()));
        line.expect(words)
    };
    let address = after(" listens on ").parse().unwrap();
    let metrics = after("metrics for Prometheus: ");

    // More than the pipe and the server's buffer can hold.
    let mut wire = Wire::connect(address).await;
    for number in 0..40 {
        wire.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(CALLS))
            .await;
        for _ in 0..CALLS {
            assert_eq!(wire.reply().await.unwrap().status, 200);
        }
        for msg_id in 1..=20 {
            let (head, body) = crate::support::wire::push(&PLAIN, event(20 * number + msg_id));
            wire.send([head, body].concat()).await;
            assert!(wire.reply().await.unwrap().is_success());
        }
    }
    let text = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let dropped = text
        .lines()
        .find_map(|line| line.strip_prefix("qunfa_log_lines_dropped_total "));
    let dropped: f64 = dropped.expect("it is counted").parse().unwrap();
    assert!(dropped > 1000.0, "{dropped}");

    // Once somebody reads, the log continues and reports what is missing; the last line is there.
    let log = BufReader::new(serve.0.stderr.take().unwrap());
    let reading = tokio::task::spawn_blocking(move || {
        let lines = log.lines().map(Result::unwrap);
        lines.collect::<Vec<_>>()
    });
    let pid = Pid::from_child(&serve.0);
    eventually("the log goes on", async || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
        let mut stats =
            tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
        stats.any(|stat| stat.is_ok_and(|stat| stat.contains(" (log) S ")))
    })
    .await;
    kill_process(pid, Signal::TERM).unwrap();
    let lines = tokio::time::timeout(MOMENT, reading)
        .await
        .unwrap()
        .unwrap();
    let told = lines
        .iter()
        .filter(|line| line.contains("lines of the log were dropped"));
    assert_eq!(told.count(), 1);
    assert!(
        lines.last().unwrap().contains("stopped"),
        "{:?}",
        lines.last()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_does_not_hold_up_the_stop() {
    let place = Workplace::new();
    place.write("config.toml", PLAIN.toml() + "[log]\nlevel = \"debug\"");
    let mut command = place.program();
    let child = command
        .arg("serve")
        .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0")
        .env("QUNFA_METRICS__LISTEN", "")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut serve = Piped(child.unwrap());
    let mut first = String::new();
    let mut banner = BufReader::new(serve.0.stdout.take().unwrap());
    banner.read_line(&mut first).unwrap();
    let address = first
        .trim_end()
        .rsplit_once(' ')
        .unwrap()
        .1
        .parse()
        .unwrap();
    let mut wire = Wire::connect(address).await;
    for _ in 0..2000 {
        wire.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(wire.reply().await.unwrap().status, 200);
    }
    kill_process(Pid::from_child(&serve.0), Signal::TERM).unwrap();
    let mut code = None;
    eventually("it ends", async || {
        code = serve.0.try_wait().unwrap();
        code.is_some()
    })
    .await;
    assert_eq!(code.unwrap().code(), Some(0));
}
