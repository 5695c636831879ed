//! Bodies that cannot be parsed are answered, kept raw as `unparsed`, and do not become jobs.

use serde_json::Value;

use super::{Account, Backend, PLAIN, SAFE, Setup, event, fixture};

/// The name of the event, as WeChat writes it.
pub(crate) const NAME: &str = "MASSSENDJOBFINISH";

/// A body, and the parts of it that are readable.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) body: Vec<u8>,
    pub(crate) event: Option<&'static str>,
    pub(crate) msg_id: Option<&'static str>,
}

pub(crate) fn case(
    what: &str,
    body: impl Into<Vec<u8>>,
    event: Option<&'static str>,
    msg_id: Option<&'static str>,
) -> Case {
    Case {
        what: what.to_owned(),
        body: body.into(),
        event,
        msg_id,
    }
}

/// An authentic job result as JSON.
pub(crate) fn json_event(msg_id: i64) -> String {
    String::from_utf8(fixture("events/articles.json"))
        .unwrap()
        .replace("3147483999", &msg_id.to_string())
}

/// An authentic event, with the given text inserted before its end.
pub(crate) fn xml_with(ending: &str) -> String {
    event(7).replace("</xml>", ending)
}

pub(crate) fn json_with(ending: &str) -> String {
    let event = json_event(7);
    format!("{}{ending}", event.trim_end().strip_suffix('}').unwrap())
}

/// Every body is answered, kept and listed, in plain and in safe mode.
pub(crate) async fn all_are_kept_in_both_modes(backend: Backend, cases: fn() -> Vec<Case>) {
    all_are_kept(backend, PLAIN, cases()).await;
    all_are_kept(backend, SAFE, cases()).await;
}

/// Pushes every body to the account, then finds each in the list of unparsed deliveries.
async fn all_are_kept(backend: Backend, account: Account, cases: Vec<Case>) {
    let server = Setup::default()
        .toml("[server]\nbody_limit = 1000000")
        .start(backend)
        .await;
    for case in &cases {
        let answer = server.push(&account, &case.body).await;
        assert_eq!(answer, (200, "success".to_owned()), "{}", case.what);
    }
    let path = format!(
        "/api/v1/deliveries?state=unparsed&account={}&limit=500",
        account.name
    );
    let kept = server.items(&path).await;
    for case in &cases {
        let (text, base64) = match std::str::from_utf8(&case.body) {
            Ok(text) => (Value::from(text), Value::Null),
            Err(_) => (Value::Null, Value::from(base64(&case.body))),
        };
        let mut found = kept
            .iter()
            .filter(|one| one["body"] == text && one["body_base64"] == base64);
        let (Some(delivery), None) = (found.next(), found.next()) else {
            panic!(
                "{} is not there once: {}",
                case.what,
                String::from_utf8_lossy(&case.body)
            );
        };
        assert_eq!(delivery["event"].as_str(), case.event, "{}", case.what);
        assert_eq!(delivery["msg_id"].as_str(), case.msg_id, "{}", case.what);
        assert_eq!(delivery["body_sha256"], sha256(&case.body), "{}", case.what);
        let error = delivery["error"].as_str().unwrap_or_default();
        assert!(
            !error.is_empty() && error.len() < 200,
            "{}: {error}",
            case.what
        );
    }
    assert_eq!(kept.len(), cases.len());
    assert!(server.items("/api/v1/jobs").await.is_empty());
    server.accepts(&account, event(7)).await;
    assert_eq!(server.job(&account, "7").await["deliveries"], 1);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}
