//! Parses the body of an authentic push into a [`Reading`].

use super::document::{Document, Malformed, Node};
use super::{json, mass_send, xml};
use crate::domain::{MASS_SEND_FINISHED, MsgId, Reading};

/// A parsed body and its addressee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub reading: Reading,
    /// `ToUserName`, if the body is well-formed and has only one.
    pub to_user_name: Option<String>,
}

/// Parses the decrypted body of an authentic push. It never fails: a body that cannot be parsed is
/// [`Reading::Unparsed`].
///
/// A malformed user's message is still recognised: WeChat writes `MsgType` and `Event` before
/// anything that a user wrote, so their values before the fault decide whether the body may be a
/// job result. [`Reading::is_kept`] says which bodies are kept.
///
/// XML and JSON are distinguished by the first character, because the headers of pushes are not
/// documented.
pub fn read(body: &[u8]) -> Push {
    examine(body).push
}

pub(super) struct Examined {
    pub(super) push: Push,
    pub(super) is_well_formed: bool,
    /// It has `Encrypt`, or is malformed and may have it.
    pub(super) has_encrypt: bool,
    /// It is an envelope of safe mode: `Encrypt` without a message beside it.
    pub(super) is_bare_envelope: bool,
}

pub(super) fn examine(body: &[u8]) -> Examined {
    let text = valid_start(body);
    let (document, mut outcome) = document(without_mark(text));
    if text.len() < body.len() {
        outcome = Err(Malformed("not UTF-8"));
    }
    let is_well_formed = outcome.is_ok();
    let Some(root) = document.root() else {
        let fault = outcome.err().unwrap_or(Malformed("empty"));
        return Examined {
            push: Push {
                reading: Reading::Unparsed {
                    error: not_a_message(fault),
                    event: None,
                    msg_id: None,
                },
                to_user_name: None,
            },
            is_well_formed: false,
            has_encrypt: true,
            is_bare_envelope: false,
        };
    };
    let has = |name| root.named(name).next().is_some();
    let has_encrypt = has("Encrypt");
    let to_user_name = if is_well_formed {
        sole_text(root, "ToUserName")
    } else {
        None
    };
    let reading = match not_an_event(root) {
        Some(reading) => reading,
        None => outcome
            .map_err(not_a_message)
            .and_then(|()| event(&document, root))
            .unwrap_or_else(|error| Reading::Unparsed {
                error,
                event: event_name(root),
                msg_id: any_msg_id(root),
            }),
    };
    Examined {
        push: Push {
            reading,
            to_user_name,
        },
        is_well_formed,
        has_encrypt: has_encrypt || !is_well_formed,
        is_bare_envelope: is_well_formed && has_encrypt && !has("MsgType"),
    }
}

fn not_a_message(fault: Malformed) -> String {
    format!("the body is not a message: {}", fault.0)
}

/// The reading of a body that cannot be an event, whatever else is in it.
///
/// The first of two elements decides, because the second may be in a user's text.
fn not_an_event(root: Node<'_>) -> Option<Reading> {
    match root.first("MsgType") {
        Some(msg_type) if !msg_type.eq_ignore_ascii_case("event") => Some(Reading::Other {
            event: None,
            msg_id: any_msg_id(root),
        }),
        None if root.first("Event").is_none() && root.first("InfoType").is_some() => {
            Some(Reading::Platform)
        }
        _ => None,
    }
}

fn valid_start(body: &[u8]) -> &str {
    match str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn document(text: &str) -> (Document<'_>, Result<(), Malformed>) {
    match text.trim_start().as_bytes().first() {
        Some(b'<') => xml::read(text),
        Some(b'{') => json::read(text),
        Some(_) => (
            Document::default(),
            Err(Malformed("neither XML nor a JSON object")),
        ),
        None => (Document::default(), Err(Malformed("empty"))),
    }
}

fn event(document: &Document<'_>, root: Node<'_>) -> Result<Reading, String> {
    for name in ["ToUserName", "FromUserName", "CreateTime"] {
        root.sole(name)?;
    }
    root.required("MsgType")?;
    let event = root.sole("Event")?.and_then(Node::value);
    let event = event.ok_or("the event has no `Event`")?.to_owned();
    if !event.eq_ignore_ascii_case(MASS_SEND_FINISHED) {
        return Ok(Reading::Other {
            event: Some(event),
            msg_id: any_msg_id(root),
        });
    }
    let (result, note) = mass_send::read(root)?;
    let nul = document
        .had_nul()
        .then(|| "the character U+0000 is read as U+FFFD".to_owned());
    let notes: Vec<_> = note.into_iter().chain(nul).collect();
    Ok(Reading::Result {
        event,
        result: Box::new(result),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

fn sole_text(root: Node<'_>, name: &'static str) -> Option<String> {
    let node = root.sole(name).ok().flatten()?;
    node.value().map(str::to_owned)
}

/// The name of the event. If it is given twice, the first counts, unless it is a job result, which
/// is ambiguous.
fn event_name(root: Node<'_>) -> Option<String> {
    let first = root.first("Event")?;
    let is_result = first.eq_ignore_ascii_case(MASS_SEND_FINISHED);
    (!is_result || root.sole("Event").is_ok()).then(|| first.to_owned())
}

/// `MsgID` of an event or `MsgId` of a message.
fn any_msg_id(root: Node<'_>) -> Option<MsgId> {
    match (sole_text(root, "MsgID"), sole_text(root, "MsgId")) {
        (Some(id), None) | (None, Some(id)) => id.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
