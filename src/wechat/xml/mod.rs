//! XML into a [`Document`]: strict about well-formedness, and without the features that WeChat does
//! not use.
//!
//! The event reader does not resolve or fetch anything. Checked here is what it does not check:
//! document type, processing instructions, undeclared entities, control characters, names,
//! attributes, and content outside the root.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::document::{
    CONTROL_CHARACTER, Document, MAX_DEPTH, MAX_ELEMENTS, Malformed, TOO_DEEP, TOO_MANY,
    first_forbidden, is_allowed,
};

const MAX_ATTRIBUTES: usize = 64;

const NOT_WELL_FORMED: Malformed = Malformed("not well-formed XML");
const UNDECLARED_ENTITY: Malformed = Malformed("an undeclared entity");
const CUT_OFF: Malformed = Malformed("cut off before its end");
const BAD_NAME: Malformed = Malformed("an element name that XML does not allow");
const BAD_ATTRIBUTE: Malformed = Malformed("a malformed attribute");

/// Parses a body without its byte-order mark. If it is malformed, the document has the part before
/// the fault.
pub(super) fn read(text: &str) -> (Document<'_>, Result<(), Malformed>) {
    let (builder, outcome) = build(text);
    let Builder {
        mut document, open, ..
    } = builder;
    for index in open {
        // The fault is inside this element, so its text is incomplete.
        document.clear_text(index);
    }
    (document, outcome)
}

/// How many elements are open at the end of the text; `None` if it has a fault.
pub(super) fn depth(text: &str) -> Option<usize> {
    let (builder, outcome) = build(text);
    (outcome == Err(CUT_OFF)).then_some(builder.open.len())
}

fn build(text: &str) -> (Builder<'_>, Result<(), Malformed>) {
    let (forbidden, has_returns) = first_forbidden(text);
    let mut builder = Builder {
        // An element has about 30 bytes.
        document: Document::with_capacity(text.len() / 32),
        open: Vec::with_capacity(MAX_DEPTH),
        has_returns,
    };
    let outcome = match forbidden {
        None => builder.read(text),
        Some(position) => {
            // Only for the part before it, which we cut off.
            let _ = builder.read(&text[..position]);
            Err(CONTROL_CHARACTER)
        }
    };
    (builder, outcome)
}

/// The positions of the root's children with that name in a well-formed document.
pub(super) fn children(text: &str, name: &str) -> Vec<Range<usize>> {
    let mut reader = Reader::from_str(text);
    let position = |at: u64| usize::try_from(at).unwrap_or(text.len());
    let mut found = Vec::new();
    let (mut depth, mut open) = (0, None);
    loop {
        let start = position(reader.buffer_position());
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                if depth == 1 && tag.name().into_inner() == name {
                    open = Some(start);
                }
                depth += 1;
            }
            Ok(Event::Empty(tag)) if depth == 1 && tag.name().into_inner() == name => {
                found.push(start..position(reader.buffer_position()));
            }
            Ok(Event::End(_)) => {
                depth -= 1;
                if depth == 1
                    && let Some(start) = open.take()
                {
                    found.push(start..position(reader.buffer_position()));
                }
            }
            Ok(Event::Eof) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

struct Builder<'a> {
    document: Document<'a>,
    /// The open elements, outermost first.
    open: Vec<usize>,
    has_returns: bool,
}

impl<'a> Builder<'a> {
    fn read(&mut self, text: &'a str) -> Result<(), Malformed> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        loop {
            let start = reader.buffer_position();
            let event = reader.read_event().map_err(|_| NOT_WELL_FORMED)?;
            match event {
                Event::Start(tag) => {
                    let index = self.element(&tag, text, start)?;
                    self.open.push(index);
                }
                Event::Empty(tag) => {
                    self.element(&tag, text, start)?;
                }
                Event::End(_) => {
                    self.open.pop();
                }
                Event::Text(piece) => {
                    let piece = piece.into_inner();
                    // In short pieces, searching for one character first is faster.
                    if piece.contains('>') && piece.contains("]]>") {
                        return Err(NOT_WELL_FORMED);
                    }
                    let piece = self.with_line_feeds(piece);
                    self.text(piece)?;
                }
                Event::CData(piece) => {
                    let piece = self.with_line_feeds(piece.into_inner());
                    self.inside()?.push_piece(piece);
                }
                Event::GeneralRef(reference) => {
                    let piece = resolve(&reference)?;
                    self.inside()?.push_piece(piece);
                }
                Event::Comment(comment) if comment.ends_with('-') => return Err(NOT_WELL_FORMED),
                Event::Comment(_) => {}
                Event::Decl(declaration) if start == 0 => check_declaration(&declaration)?,
                Event::Decl(_) => return Err(Malformed("a misplaced XML declaration")),
                Event::PI(_) => return Err(Malformed("a processing instruction")),
                Event::DocType(_) => return Err(Malformed("a document type declaration")),
                Event::Eof if self.open.is_empty() && self.document.len() > 0 => return Ok(()),
                Event::Eof => return Err(CUT_OFF),
            }
        }
    }

    /// Appends the element whose tag starts at `start` in the text.
    fn element(
        &mut self,
        tag: &BytesStart<'a>,
        text: &'a str,
        start: u64,
    ) -> Result<usize, Malformed> {
        if self.open.is_empty() && self.document.len() > 0 {
            return Err(Malformed("something after the root element"));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        if self.document.len() == MAX_ELEMENTS {
            return Err(TOO_MANY);
        }
        let name = tag.name().into_inner();
        if !is_name(name) {
            return Err(BAD_NAME);
        }
        attribute_names(tag.attributes_raw())?;
        let name = lent(text, start, name);
        Ok(self.document.push(self.open.len() + 1, name))
    }

    /// Appends character data. Outside the root, only white space is allowed.
    fn text(&mut self, piece: Cow<'a, str>) -> Result<(), Malformed> {
        match self.open.last() {
            Some(&index) => self.document.push_text(index, piece),
            None if piece.trim_ascii().is_empty() => {}
            None => return Err(NOT_WELL_FORMED),
        }
        Ok(())
    }

    /// Normalises line ends as in XML 1.0, section 2.11. A reference to a carriage return is kept.
    fn with_line_feeds(&self, piece: Cow<'a, str>) -> Cow<'a, str> {
        if self.has_returns && piece.contains('\r') {
            Cow::Owned(piece.replace("\r\n", "\n").replace('\r', "\n"))
        } else {
            piece
        }
    }

    fn inside(&mut self) -> Result<Inside<'_, 'a>, Malformed> {
        let &index = self.open.last().ok_or(NOT_WELL_FORMED)?;
        Ok(Inside {
            document: &mut self.document,
            index,
        })
    }
}

/// The innermost open element, where CDATA and references are allowed.
struct Inside<'b, 'a> {
    document: &'b mut Document<'a>,
    index: usize,
}

impl<'a> Inside<'_, 'a> {
    fn push_piece(self, piece: Cow<'a, str>) {
        self.document.push_text(self.index, piece);
    }
}

/// Borrows the name of a tag that starts at `start` from the text: the reader lends it only until
/// the next event.
fn lent<'a>(text: &'a str, start: u64, name: &str) -> Cow<'a, str> {
    let part = usize::try_from(start)
        .ok()
        .and_then(|start| text.get(start + 1..start + 1 + name.len()));
    match part {
        Some(part) if std::ptr::eq(part, name) => Cow::Borrowed(part),
        _ => Cow::Owned(name.to_owned()),
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, Malformed> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) if is_allowed(character) => Ok(character.to_string().into()),
        Ok(Some(_)) => Err(CONTROL_CHARACTER),
        Ok(None) => resolve_predefined_entity(reference)
            .map(Cow::Borrowed)
            .ok_or(UNDECLARED_ENTITY),
        Err(_) => Err(NOT_WELL_FORMED),
    }
}

/// Checks the text between `<?` and `?>`. The encoding does not matter, because a body must be
/// UTF-8 in any case.
fn check_declaration(text: &str) -> Result<(), Malformed> {
    let names = text.strip_prefix("xml").map(attribute_names);
    match names.as_ref().map(|names| names.as_deref()) {
        Some(Ok(
            ["version"]
            | ["version", "encoding" | "standalone"]
            | ["version", "encoding", "standalone"],
        )) => Ok(()),
        _ => Err(Malformed("a malformed XML declaration")),
    }
}

/// The names in `name="value"` pairs, each after white space. WeChat sends no attributes, so values
/// are only checked.
fn attribute_names(mut rest: &str) -> Result<Vec<&str>, Malformed> {
    let mut names = Vec::new();
    while !rest.trim_ascii_start().is_empty() {
        let (name, after) = rest.split_once('=').ok_or(BAD_ATTRIBUTE)?;
        let spaced = name.starts_with(|character: char| character.is_ascii_whitespace());
        let name = name.trim_ascii();
        if !spaced || !is_name(name) || names.contains(&name) {
            return Err(BAD_ATTRIBUTE);
        }
        if names.len() == MAX_ATTRIBUTES {
            return Err(Malformed("more than 64 attributes"));
        }
        names.push(name);
        let after = after.trim_ascii_start();
        let quote = after
            .chars()
            .next()
            .filter(|quote| matches!(quote, '"' | '\''));
        let (value, after) = quote
            .and_then(|quote| after[1..].split_once(quote))
            .ok_or(BAD_ATTRIBUTE)?;
        match unescape(value) {
            Ok(text) if text.chars().all(is_allowed) && !value.contains('<') => {}
            _ => return Err(BAD_ATTRIBUTE),
        }
        rest = after;
    }
    Ok(names)
}

/// The `Name` rule of XML 1.0.
fn is_name(name: &str) -> bool {
    // A shortcut for all names that WeChat uses.
    if name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return true;
    }
    let mut characters = name.chars();
    characters.next().is_some_and(starts_name)
        && characters.all(|character| {
            starts_name(character)
                || matches!(character,
                    '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
        })
}

fn starts_name(character: char) -> bool {
    matches!(character,
        ':' | '_' | 'A'..='Z' | 'a'..='z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

#[cfg(test)]
mod tests;
