//! Logs as JSON: one object a line, whose fields say which request it belongs to and how it went.

use serde_json::Value;

use crate::support::{Backend, PLAIN, Setup, event};

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
