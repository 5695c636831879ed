//! JSON bodies: the invariants of every reading, and another parser agrees with it.

use qunfa::domain::{MassSendFinished, Reading, whole_number};
use serde_json::Value;

use super::reading::{self, MAX_DEPTH, MAX_ELEMENTS, document};

/// Panics unless the invariants of JSON bodies hold for this one.
pub fn check(body: &[u8]) {
    let push = reading::check(body);
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    if !body.trim_ascii_start().starts_with(b"{") {
        return;
    }
    match (
        document(&push.reading),
        serde_json::from_slice::<Value>(body),
    ) {
        (Some(Err("not well-formed JSON" | "not UTF-8")), Ok(_)) => panic!("it is well-formed"),
        // The other parser limits numbers, which JSON does not.
        (Some(Ok(())), Err(error)) if error.to_string().starts_with("number out of range") => {}
        (Some(Ok(())), Err(error)) => panic!("it is not well-formed: {error}"),
        (Some(Ok(())), Ok(value)) => {
            check_limits(&value);
            if let Reading::Result { result, .. } = &push.reading {
                check_agreement(result, &value);
            }
        }
        (Some(Err(_)) | None, _) => {}
    }
}

fn check_limits(value: &Value) {
    let mut level: Vec<_> = vec![value];
    let (mut depth, mut values) = (0, 0);
    while !level.is_empty() {
        depth += 1;
        values += level.len();
        level = level.into_iter().flat_map(children).collect();
    }
    assert!(depth <= MAX_DEPTH && values <= MAX_ELEMENTS);
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// The numbers and the status are those in the object. If there is a list or nothing, a field of
/// the same name may have come before it.
fn check_agreement(result: &MassSendFinished, object: &Value) {
    let counts = &result.counts;
    for (name, ours) in [
        ("MsgID", Some(result.msg_id.get())),
        ("MsgId", Some(result.msg_id.get())),
        ("CreateTime", Some(result.finished_at.seconds())),
        ("TotalCount", counts.total),
        ("FilterCount", counts.filter),
        ("SentCount", counts.sent),
        ("ErrorCount", counts.error),
    ] {
        let theirs = match &object[name] {
            Value::Number(number) => whole_number(&number.to_string()),
            Value::String(text) => whole_number(text.trim()),
            _ => continue,
        };
        assert_eq!(ours, theirs, "{name}");
    }
    if let Value::String(status) = &object["Status"] {
        assert_eq!(
            result.status.text.as_deref().unwrap_or_default(),
            status.replace('\0', "\u{fffd}").trim()
        );
    }
}
