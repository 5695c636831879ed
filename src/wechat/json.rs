//! JSON into a [`Document`]: field names equal the XML element names.
//!
//! An array is an element that repeats, as WeChat's own converter has it; a doubled key is one too, so that it is
//! found out and not overwritten.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::document::{
    CONTROL_CHARACTER, Document, MAX_DEPTH, MAX_ELEMENTS, Malformed, TOO_DEEP, TOO_MANY,
    first_forbidden,
};

const NOT_WELL_FORMED: Malformed = Malformed("not well-formed JSON");

/// Reads a body without its byte-order mark. After a fault, the document holds what stood before it.
pub(super) fn read(text: &str) -> (Document<'_>, Result<(), Malformed>) {
    let mut builder = Builder::default();
    let mut source = serde_json::Deserializer::from_str(text);
    let root = Value {
        builder: &mut builder,
        name: Cow::Borrowed(""),
        depth: 1,
        nesting: 1,
    };
    let read = root.deserialize(&mut source).and_then(|()| source.end());
    let Builder {
        mut document,
        fault,
        ..
    } = builder;
    let last = document.last_text();
    if !last.is_empty()
        && text.ends_with(last)
        && read.as_ref().is_err_and(serde_json::Error::is_eof)
    {
        // The body ends within a number, which may have had more digits.
        document.clear_text(document.len() - 1);
    }
    let outcome = read.map_err(|_| fault.unwrap_or(NOT_WELL_FORMED));
    (document, outcome)
}

#[derive(Default)]
struct Builder<'a> {
    document: Document<'a>,
    /// Values seen, arrays included.
    values: usize,
    /// Why we, and not the JSON parser, stopped.
    fault: Option<Malformed>,
}

impl Builder<'_> {
    fn stop<E: Error>(&mut self, fault: Malformed) -> E {
        self.fault = Some(fault);
        E::custom(fault.0)
    }
}

/// One value on its way into the document.
struct Value<'b, 'a> {
    builder: &'b mut Builder<'a>,
    name: Cow<'a, str>,
    /// Where its element stands in the document; arrays add nothing here.
    depth: usize,
    /// How deep the value is nested; arrays count.
    nesting: usize,
}

impl<'a> Value<'_, 'a> {
    fn scalar<E: Error>(self, text: Cow<'a, str>) -> Result<(), E> {
        if first_forbidden(&text).is_some() {
            return Err(self.builder.stop(CONTROL_CHARACTER));
        }
        let index = self.builder.document.push(self.depth, self.name);
        self.builder.document.push_text(index, text);
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Value<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, source: D) -> Result<(), D::Error> {
        if self.nesting > MAX_DEPTH {
            return Err(self.builder.stop(TOO_DEEP));
        }
        if self.builder.values == MAX_ELEMENTS {
            return Err(self.builder.stop(TOO_MANY));
        }
        self.builder.values += 1;
        source.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(Cow::Borrowed(""))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Cow::Borrowed(if value { "true" } else { "false" }))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value.to_string().into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(value.to_string().into())
    }

    /// A fraction, an exponent or a number beyond 64 bits: it keeps a mark that no reader of integers takes.
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(format!("{value:?}").into())
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<(), E> {
        self.scalar(Cow::Borrowed(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.scalar(Cow::Owned(value.to_owned()))
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<(), S::Error> {
        loop {
            let item = Value {
                builder: &mut *self.builder,
                name: self.name.clone(),
                depth: self.depth,
                nesting: self.nesting + 1,
            };
            if items.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<M: MapAccess<'a>>(self, mut fields: M) -> Result<(), M::Error> {
        self.builder.document.push(self.depth, self.name);
        while let Some(name) = fields.next_key::<Cow<'a, str>>()? {
            if first_forbidden(&name).is_some() {
                return Err(self.builder.stop(CONTROL_CHARACTER));
            }
            fields.next_value_seed(Value {
                builder: &mut *self.builder,
                name,
                depth: self.depth + 1,
                nesting: self.nesting + 1,
            })?;
        }
        Ok(())
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
            (r#"{"a":1,"b":"2\u0000"}"#, &["1"]),
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
            r#"{"a":"\u0000"}"#,
            r#"{"a":"\u001f"}"#,
            r#"{"\u0000":1}"#,
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(outcome(text).is_err(), "{text:?}");
        }
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
