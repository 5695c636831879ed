//! Finds `Encrypt` in the body of a push, and removes it.
//!
//! In compatible mode a clear message is beside it, with any text that a user wrote. It may be
//! malformed, or contain another `Encrypt`. So every text that looks like one is a candidate, and
//! `msg_signature` decides.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

use super::document::Node;
use super::xml;

const NAME: &str = "Encrypt";
/// The shortest ciphertext, 32 bytes, in base64 without padding. It bounds the number of candidates
/// in a body.
const MIN_LENGTH: usize = 43;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is no candidate.
    Absent,
    /// No candidate is signed.
    Unsigned,
}

/// A text that may be an `Encrypt`.
struct Candidate<'t> {
    text: Cow<'t, str>,
    /// Of its XML element or JSON member.
    range: Range<usize>,
}

/// A body as text. Each byte that is not UTF-8 becomes `?`, so that positions do not change.
pub(super) fn text_of(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let chunks = body.utf8_chunks();
    let pieces =
        chunks.flat_map(|chunk| [chunk.valid().to_owned(), "?".repeat(chunk.invalid().len())]);
    Cow::Owned(pieces.collect())
}

/// The `Encrypt` of an envelope: the first candidate that `is_signed`.
pub(super) fn signed(
    text: &str,
    mut is_signed: impl FnMut(&str) -> bool,
) -> Result<String, Missing> {
    let text = without_mark(text);
    let mut missing = Missing::Absent;
    let found = candidates(text).find(|candidate| {
        missing = Missing::Unsigned;
        is_signed(&candidate.text)
    });
    match found {
        Some(found) if is_json(text) || is_child(text, &found) => Ok(found.text.into_owned()),
        Some(_) => Err(Missing::Absent),
        None => unusual(text, missing == Missing::Unsigned)
            .into_iter()
            .find(|encrypt| is_signed(encrypt))
            .ok_or(missing),
    }
}

/// The `Encrypt` of an envelope that has only one candidate.
pub(super) fn sole(body: &[u8]) -> Option<String> {
    let text = text_of(body);
    let mut candidates = candidates(without_mark(&text));
    match (candidates.next(), candidates.next()) {
        (Some(sole), None) => Some(sole.text.into_owned()),
        _ => None,
    }
}

/// The body without its `Encrypt`, which differs in every copy of a push; `None` if there is
/// nothing to remove.
///
/// Also removes the line of an element that has its own line, and the comma of a JSON member.
pub(super) fn removed(body: &[u8], is_well_formed: bool) -> Option<Vec<u8>> {
    let text = text_of(body);
    let offset = text.len() - without_mark(&text).len();
    let text = &text[offset..];
    let ranges: Vec<_> = if is_json(text) {
        let members = in_json(text).map(|candidate| with_comma(text, candidate.range));
        members.collect()
    } else if is_well_formed {
        let children = xml::children(text, NAME).into_iter();
        children.map(|range| with_line(text, range)).collect()
    } else {
        // WeChat writes it last.
        let last = in_xml(text).last();
        last.map(|candidate| with_line(text, candidate.range))
            .into_iter()
            .collect()
    };
    if ranges.is_empty() {
        return None;
    }
    let mut rest = body.to_vec();
    for range in ranges.into_iter().rev() {
        rest.drain(range.start + offset..range.end + offset);
    }
    Some(rest)
}

fn candidates(text: &str) -> Box<dyn Iterator<Item = Candidate<'_>> + '_> {
    if is_json(text) {
        Box::new(in_json(text))
    } else {
        Box::new(in_xml(text))
    }
}

/// Candidates in XML: elements without attributes, with bare text or one CDATA section.
fn in_xml(text: &str) -> impl Iterator<Item = Candidate<'_>> {
    let mut at = 0;
    iter::from_fn(move || {
        loop {
            let start = at + text[at..].find('<')?;
            at = start + 1;
            if let Some(candidate) = element(text, start) {
                at = candidate.range.end;
                return Some(candidate);
            }
        }
    })
}

fn element(text: &str, start: usize) -> Option<Candidate<'_>> {
    const END: &str = "</Encrypt>";
    let content = text[start..].strip_prefix("<Encrypt>")?;
    let (is_section, content) = match content.trim_start().strip_prefix("<![CDATA[") {
        Some(content) => (true, content),
        None => (false, content),
    };
    // Base64 has no `<`, so no byte is examined twice.
    let (value, rest) = content.split_at(content.find('<')?);
    if !rest.starts_with(END) {
        return None;
    }
    let value = value.trim();
    let value = if is_section {
        value.strip_suffix("]]>")?.trim()
    } else {
        value
    };
    (value.len() >= MIN_LENGTH).then(|| Candidate {
        text: Cow::Borrowed(value),
        range: start..text.len() - rest.len() + END.len(),
    })
}

/// Candidates in JSON: members whose value is a string.
fn in_json(text: &str) -> impl Iterator<Item = Candidate<'_>> {
    const KEY: &str = "\"Encrypt\"";
    text.match_indices(KEY).filter_map(move |(start, _)| {
        let rest = text[start + KEY.len()..].trim_start().strip_prefix(':')?;
        let rest = rest.trim_start().strip_prefix('"')?;
        let (value, after) = rest.split_once('"')?;
        let value = if value.contains('\\') {
            serde_json::from_str(&format!("\"{value}\"")).ok()?
        } else {
            Cow::Borrowed(value)
        };
        (value.len() >= MIN_LENGTH).then_some(Candidate {
            text: value,
            range: start..text.len() - after.len(),
        })
    })
}

/// The `Encrypt` of a well-formed document that is written differently from WeChat's.
fn unusual(text: &str, has_candidates: bool) -> Vec<String> {
    let is_usual = has_candidates && !text.contains("&#");
    if is_usual || is_json(text) || !text.contains("<Encrypt") {
        return Vec::new();
    }
    let (document, outcome) = xml::read(text);
    let Some(root) = document.root().filter(|_| outcome.is_ok()) else {
        return Vec::new();
    };
    let values = root.named(NAME).filter_map(Node::value);
    values
        .filter(|value| value.len() >= MIN_LENGTH)
        .map(str::to_owned)
        .collect()
}

/// True if the candidate is a child of the root, or may be one in a malformed document.
fn is_child(text: &str, candidate: &Candidate<'_>) -> bool {
    if xml::depth(&text[..candidate.range.start]) == Some(1) {
        return true;
    }
    match xml::read(text) {
        (document, Ok(())) => document.root().is_some_and(|root| {
            root.named(NAME)
                .any(|child| child.value() == Some(&*candidate.text))
        }),
        (_, Err(_)) => has_plain_prolog(text),
    }
}

/// True if there is no DOCTYPE and no processing instruction before the root element, where no user
/// writes.
fn has_plain_prolog(text: &str) -> bool {
    let mut rest = text.trim_start();
    if let Some(declaration) = rest.strip_prefix("<?xml ") {
        rest = declaration.split_once("?>").map_or("", |(_, rest)| rest);
    }
    while let Some(comment) = rest.trim_start().strip_prefix("<!--") {
        rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    let rest = rest.trim_start();
    !rest.starts_with("<!") && !rest.starts_with("<?")
}

fn with_line(text: &str, range: Range<usize>) -> Range<usize> {
    const BLANK: [char; 2] = [' ', '\t'];
    let before = text[..range.start].trim_end_matches(BLANK);
    let after = text[range.end..].trim_start_matches(BLANK);
    let rest = after.strip_prefix("\r\n").or(after.strip_prefix('\n'));
    match rest {
        Some(rest) if before.ends_with('\n') => before.len()..text.len() - rest.len(),
        _ => range,
    }
}

fn with_comma(text: &str, range: Range<usize>) -> Range<usize> {
    if let Some(before) = text[..range.start].trim_end().strip_suffix(',') {
        return before.len()..range.end;
    }
    match text[range.end..].trim_start().strip_prefix(',') {
        Some(after) => range.start..text.len() - after.len(),
        None => range,
    }
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests;
