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
mod tests {
    use super::*;

    /// 32 bytes in base64.
    const GOOD: &str = "a+/456789012345678901234567890123456789012A=";
    /// Another text of that form, as a user may write it.
    const FAKE: &str = "FAKE56789012345678901234567890123456789012A=";

    fn found(body: &[u8]) -> Result<String, Missing> {
        let text = text_of(body);
        signed(&text, |encrypt| encrypt == GOOD)
    }

    #[test]
    fn an_envelope_is_found_beside_whatever_a_user_wrote() {
        let many = format!(
            "<xml>{}<Encrypt>{GOOD}</Encrypt></xml>",
            "<C/>".repeat(2000)
        );
        let fakes = format!("<Encrypt>{FAKE}</Encrypt>").repeat(300);
        let escaped = GOOD.replace('/', "\\/");
        for body in [
            format!(
                "<xml><Content><![CDATA[\u{8}\0]]></Content><Encrypt><![CDATA[{GOOD}]]></Encrypt></xml>"
            ),
            format!(
                "<xml><Content>&nbsp;& </Contents><Encrypt>\n<![CDATA[{GOOD}]]></Encrypt></xml>"
            ),
            format!(
                "<?xml version=\"1.0\"?> <!--<!DOCTYPE x>-->\n<xml><C>&<!DOCTYPE x></C><Encrypt>{GOOD}</Encrypt></xml>"
            ),
            format!(
                "<xml><Content><![CDATA[<Encrypt>b</Encrypt>]]></Content><Encrypt>{GOOD}</Encrypt></xml>"
            ),
            format!(
                "<xml><Content><![CDATA[<Encrypt>{FAKE}</Encrypt>]]></Content><Encrypt>{GOOD}</Encrypt></xml>"
            ),
            format!("<xml><C>\u{2}<Encrypt>{FAKE}</Encrypt></C><Encrypt>{GOOD}</Encrypt></xml>"),
            format!(
                "<xml><C>\u{2}<Encrypt><Encrypt><![CDATA[<Encrypt></C><Encrypt>{GOOD}</Encrypt></xml>"
            ),
            format!("<xml><Encrypt>{GOOD}</Encrypt>{fakes}</xml>"),
            format!("<xml>{fakes}<Encrypt>{GOOD}</Encrypt></xml>"),
            format!("<xml><Encrypt/><Encrypt>{GOOD}</Encrypt><Encrypt>{GOOD}</Encrypt></xml>"),
            format!("<xml><Encrypt a='1'>{GOOD}</Encrypt ></xml>"),
            format!("<xml><Encrypt>a&#43;{}</Encrypt></xml>", &GOOD[2..]),
            format!(
                "<xml><Encrypt><!-- --><![CDATA[a]]><![CDATA[{}]]></Encrypt></xml>",
                &GOOD[1..]
            ),
            many,
            format!("\u{feff}{{\"Content\":\"\\u0008\",\"Encrypt\":\"{escaped}\"}}"),
            format!("{{\"Content\":\"\u{8}\",\"Encrypt\": \"{escaped}\""),
            format!("{{\"Encrypt\":\"{FAKE}\",\"Encrypt\" : \"{GOOD}\",\"Encrypt\":7}}"),
            format!("{{\"Content\":\"\\\"Encrypt\\\":\\\"{FAKE}\\\"\",\"Encrypt\":\"{GOOD}\"}}"),
        ] {
            assert_eq!(found(body.as_bytes()).as_deref(), Ok(GOOD), "{body}");
        }
        let not_utf8 = [
            b"<xml><C>\xff</C><Encrypt>",
            GOOD.as_bytes(),
            b"</Encrypt></xml>",
        ]
        .concat();
        assert_eq!(found(&not_utf8).as_deref(), Ok(GOOD));
    }

    #[test]
    fn what_is_not_the_encrypt_of_an_envelope_is_not_taken_for_one() {
        let half = &GOOD[..20];
        for body in [
            String::new(),
            "a".to_owned(),
            "<xml/>".to_owned(),
            "<xml><Encrypt></Encrypt></xml>".to_owned(),
            format!("<xml><Encrypt>{half}</Encrypt></xml>"),
            format!("<xml><a><Encrypt>{GOOD}</Encrypt></a></xml>"),
            format!("<xml><a><![CDATA[<Encrypt>{GOOD}</Encrypt>]]></a></xml>"),
            format!("<Encrypt>{GOOD}</Encrypt>"),
            format!("<!DOCTYPE x [<!ENTITY e '{GOOD}'>]><xml><Encrypt>&e;</Encrypt></xml>"),
            format!("<!DOCTYPE xml><xml><Encrypt>{GOOD}</Encrypt></xml>"),
            format!(
                "<?xml version=\"1.0\"?><!-- --><!DOCTYPE xml><xml><Encrypt>{GOOD}</Encrypt></xml>"
            ),
            format!("<?pi?><xml><Encrypt>{GOOD}</Encrypt></xml>"),
            format!("<xml><Encrypt>{GOOD}"),
            format!("<xml><Encrypt><![CDATA[{GOOD}</Encrypt></xml>"),
            "{}".to_owned(),
            format!(r#"{{"Encrypt":["{GOOD}"]}}"#),
            r#"{"Encrypt""#.to_owned(),
        ] {
            assert_eq!(found(body.as_bytes()), Err(Missing::Absent), "{body}");
        }
        for body in [
            format!("<xml><Encrypt>{FAKE}</Encrypt></xml>"),
            format!(r#"{{"Encrypt":"{FAKE}"}}"#),
        ] {
            assert_eq!(found(body.as_bytes()), Err(Missing::Unsigned), "{body}");
        }
    }

    #[test]
    fn each_byte_is_hashed_once_however_many_elements_there_are() {
        let nested = "<Encrypt>".repeat(7000);
        let sections = "<Encrypt><![CDATA[".repeat(3500);
        let candidates = format!("<Encrypt>{FAKE}</Encrypt>").repeat(1000);
        for body in [nested, sections, candidates] {
            let (mut calls, mut bytes) = (0, 0);
            let outcome = signed(&body, |encrypt| {
                calls += 1;
                bytes += encrypt.len();
                false
            });
            assert!(outcome.is_err());
            assert!(calls <= 1000 && bytes <= body.len(), "{calls} {bytes}");
        }
    }

    #[test]
    fn without_encrypt_the_rest_is_left_byte_for_byte() {
        let removed_from = |body: &str, is_well_formed| {
            let rest = removed(body.as_bytes(), is_well_formed);
            rest.map(|rest| String::from_utf8(rest).unwrap())
        };
        let element = format!("<Encrypt><![CDATA[{GOOD}]]></Encrypt>");
        let text =
            format!("<C><![CDATA[<Encrypt>{GOOD}</Encrypt>]]></C><!--{element}--><a>{element}</a>");
        for (body, rest) in [
            (
                format!("<xml>\n<A>1</A>\n{element}\n</xml>"),
                "<xml>\n<A>1</A>\n</xml>".to_owned(),
            ),
            (
                format!("<xml>\r\n  <A/>\r\n  {element} \r\n</xml>\n"),
                "<xml>\r\n  <A/>\r\n</xml>\n".to_owned(),
            ),
            (
                format!("<xml><A>1</A>\n{element}</xml>"),
                "<xml><A>1</A>\n</xml>".to_owned(),
            ),
            (
                format!("\u{feff}<xml>{element} <A>1</A></xml>"),
                "\u{feff}<xml> <A>1</A></xml>".to_owned(),
            ),
            (
                format!("<xml>{text}{element}</xml>"),
                format!("<xml>{text}</xml>"),
            ),
            (
                format!("<xml><A/>{element}<Encrypt a=''>x</Encrypt ><Encrypt/><B/></xml>"),
                "<xml><A/><B/></xml>".to_owned(),
            ),
        ] {
            assert_eq!(removed_from(&body, true), Some(rest), "{body}");
        }
        let member = format!("\"Encrypt\":\"{GOOD}\"");
        for (body, rest) in [
            (format!("{{\"A\":1,{member}}}"), "{\"A\":1}"),
            (format!("{{\n \"A\": 1,\n {member}\n}}"), "{\n \"A\": 1\n}"),
            (format!("{{{member}, \"A\":1}}"), "{ \"A\":1}"),
            (format!("\u{feff}{{{member}}}"), "\u{feff}{}"),
            (
                format!("{{\"A\":1,{member},\"B\":2,{member}}}"),
                "{\"A\":1,\"B\":2}",
            ),
            (format!("{{\"A\":\"\u{2}\",{member}}}"), "{\"A\":\"\u{2}\"}"),
        ] {
            for is_well_formed in [true, false] {
                assert_eq!(
                    removed_from(&body, is_well_formed).as_deref(),
                    Some(rest),
                    "{body}"
                );
            }
        }
        let faulty = format!("<xml><C>\u{2}{element}</C>\n{element}\n</xml>");
        let rest = format!("<xml><C>\u{2}{element}</C>\n</xml>");
        assert_eq!(removed_from(&faulty, false), Some(rest));
        let not_utf8 = [b"<xml><C>\xff\xff</C>", element.as_bytes(), b"\xff</xml>"].concat();
        assert_eq!(
            removed(&not_utf8, false).as_deref(),
            Some(&b"<xml><C>\xff\xff</C>\xff</xml>"[..])
        );
        for body in ["<xml><A>1</A></xml>", "{\"A\":1}", "", "x"] {
            assert_eq!(removed_from(body, true), None, "{body}");
        }
    }
}
