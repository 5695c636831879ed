//! JSON into a [`Document`]: field names equal the XML element names.
//!
//! An array is read as a repeated element, as WeChat's own converter does. So is a key that is
//! given twice, so that it is detected and not overwritten. Numbers keep their text, because JSON
//! does not limit them.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::document::{Document, MAX_DEPTH, MAX_ELEMENTS, Malformed, TOO_DEEP, TOO_MANY};

const NOT_WELL_FORMED: Malformed = Malformed("not well-formed JSON");

/// Parses a body without its byte-order mark. If it is malformed, the document has the part before
/// the fault.
pub(super) fn read(text: &str) -> (Document<'_>, Result<(), Malformed>) {
    let mut reader = Reader {
        text,
        at: 0,
        document: Document::default(),
        values: 0,
    };
    let outcome = reader.root();
    (reader.document, outcome)
}

struct Reader<'a> {
    text: &'a str,
    /// Position in bytes.
    at: usize,
    document: Document<'a>,
    /// Values so far, including arrays.
    values: usize,
}

#[derive(Clone, Copy)]
struct Place {
    /// The depth of its element in the document, where arrays do not count.
    depth: usize,
    /// The depth of the value, where arrays count.
    nesting: usize,
}

impl<'a> Reader<'a> {
    fn root(&mut self) -> Result<(), Malformed> {
        let place = Place {
            depth: 1,
            nesting: 1,
        };
        self.value(Cow::Borrowed(""), place)?;
        match self.next() {
            None => Ok(()),
            Some(_) => Err(NOT_WELL_FORMED),
        }
    }

    fn value(&mut self, name: Cow<'a, str>, place: Place) -> Result<(), Malformed> {
        if place.nesting > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        if self.values == MAX_ELEMENTS {
            return Err(TOO_MANY);
        }
        self.values += 1;
        match self.next() {
            Some(b'{') => self.object(name, place),
            Some(b'[') => {
                self.at += 1;
                if self.take(b']') {
                    return Ok(());
                }
                let place = Place {
                    nesting: place.nesting + 1,
                    ..place
                };
                loop {
                    self.value(name.clone(), place)?;
                    if self.take(b']') {
                        return Ok(());
                    }
                    if !self.take(b',') {
                        return Err(NOT_WELL_FORMED);
                    }
                }
            }
            Some(b'"') => {
                let text = self.string()?;
                self.element(name, place, text);
                Ok(())
            }
            _ => self.number_or_word(name, place),
        }
    }

    fn object(&mut self, name: Cow<'a, str>, place: Place) -> Result<(), Malformed> {
        self.document.push(place.depth, name);
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(NOT_WELL_FORMED);
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err(NOT_WELL_FORMED);
            }
            let place = Place {
                depth: place.depth + 1,
                nesting: place.nesting + 1,
            };
            self.value(name, place)?;
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(NOT_WELL_FORMED);
            }
        }
    }

    /// Reads a string, starting with its first quote.
    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let start = self.at;
        let mut end = start + 1;
        let mut has_escapes = false;
        loop {
            match self.text.as_bytes().get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    end += 2;
                }
                Some(b' '..) => end += 1,
                Some(_) | None => return Err(NOT_WELL_FORMED),
            }
        }
        self.at = end + 1;
        if !has_escapes {
            return Ok(Cow::Borrowed(&self.text[start + 1..end]));
        }
        let mut text: String =
            serde_json::from_str(&self.text[start..=end]).map_err(|_| NOT_WELL_FORMED)?;
        if text.contains('\0') {
            // The only character that PostgreSQL does not store.
            text = text.replace('\0', "\u{fffd}");
            self.document.note_nul();
        }
        Ok(Cow::Owned(text))
    }

    fn number_or_word(&mut self, name: Cow<'a, str>, place: Place) -> Result<(), Malformed> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let length = rest.bytes().position(|byte| !is_part(byte));
        let Some(length) = length else {
            // The number may have had more digits.
            self.element(name, place, Cow::Borrowed(""));
            return Err(NOT_WELL_FORMED);
        };
        let word = &rest[..length];
        if serde_json::from_str::<IgnoredAny>(word).is_err() {
            return Err(NOT_WELL_FORMED);
        }
        self.at += length;
        let text = if word == "null" { "" } else { word };
        self.element(name, place, Cow::Borrowed(text));
        Ok(())
    }

    fn element(&mut self, name: Cow<'a, str>, place: Place, text: Cow<'a, str>) {
        let index = self.document.push(place.depth, name);
        self.document.push_text(index, text);
    }

    /// Skips the byte if it is the next one after white space.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Skips white space, and returns the byte after it.
    fn next(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let spaces = rest.iter().take_while(|byte| is_space(byte)).count();
        self.at += spaces;
        rest.get(spaces).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Node, Text};
    use super::*;

    fn outcome(text: &str) -> Result<(), Malformed> {
        read(text).1
    }

    #[test]
    fn values_become_texts_and_arrays_repeat_their_name() {
        let (document, outcome) =
            read(r#"{"a":1,"b":"x\ny","c":null,"d":[1,{"e":true}],"a":-2,"f":1.0,"g":[]}"#);
        assert_eq!(outcome, Ok(()));
        let root = document.root().expect("it has a root");
        let seen: Vec<_> = root
            .children()
            .map(|node| (node.name(), node.text()))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", Text::Value("1")),
                ("b", Text::Value("x\ny")),
                ("c", Text::Empty),
                ("d", Text::Value("1")),
                ("d", Text::Nested),
                ("a", Text::Value("-2")),
                ("f", Text::Value("1.0")),
            ]
        );
        let inner: Vec<_> = root
            .children()
            .flat_map(Node::children)
            .map(Node::text)
            .collect();
        assert_eq!(inner, [Text::Value("true")]);
    }

    #[test]
    fn what_stood_before_a_fault_is_there() {
        for (text, expected) in [
            (r#"{"a":1,"b":2,"#, ["1", "2"].as_slice()),
            (r#"{"a":1,"b":2,}"#, &["1", "2"]),
            (r#"{"a":1,"b":2 "#, &["1", "2"]),
            (r#"{"a":1,"b":"2""#, &["1", "2"]),
            (r#"{"a":1,"b":2"#, &["1", ""]),
            (r#"{"a":1,"b":"2"#, &["1"]),
            ("{\"a\":1,\"b\":\"2\0\"}", &["1"]),
        ] {
            let (document, outcome) = read(text);
            assert!(outcome.is_err(), "{text}");
            let root = document.root().expect("it has a root");
            let texts: Vec<_> = root
                .children()
                .map(|child| match child.text() {
                    Text::Value(text) => text,
                    Text::Empty | Text::Nested => "",
                })
                .collect();
            assert_eq!(texts, expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{\"a\":\"\u{1}\"}",
            "{\"\0\":1}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\"#,
            r#"{"a":"\q"}"#,
            "{\"a\":1\u{a0}}",
            r#"{"a":+1}"#,
            r#"{"a":1e}"#,
            r#"{"a":nul}"#,
            r#"{"a":truefalse}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 "b":2}"#,
            "{,}",
            r#"{"a":[1,]}"#,
        ] {
            assert!(outcome(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_and_texts_are_what_json_says() {
        let text = r#"{"a":1e400,"b":-0.5E+7,"c":"\ud83d\ude00\/","d":"\u0001","e":"x\u0000y","\u0000":2}"#;
        let (document, outcome) = read(text);
        assert_eq!(outcome, Ok(()));
        assert!(document.had_nul());
        let root = document.root().expect("it has a root");
        let texts: Vec<_> = root.children().filter_map(Node::value).collect();
        let expected = ["1e400", "-0.5E+7", "\u{1f600}/", "\u{1}", "x\u{fffd}y", "2"];
        assert_eq!(texts, expected);
        assert!(!read(r#"{"a":"\u0001"}"#).0.had_nul());
    }

    #[test]
    fn depth_and_number_are_limited_where_the_limits_say() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(outcome(&nested(16)), Ok(()));
        assert_eq!(outcome(&nested(17)), Err(TOO_DEEP));
        assert_eq!(outcome(&nested(100_000)), Err(TOO_DEEP));
        let many = |count: usize| format!("[{}]", vec!["0"; count - 1].join(","));
        assert_eq!(outcome(&many(2000)), Ok(()));
        assert_eq!(outcome(&many(2001)), Err(TOO_MANY));
    }
}
