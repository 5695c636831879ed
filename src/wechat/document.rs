//! The common form of XML and JSON bodies: named elements with text and children, in the order of
//! the body.
//!
//! WeChat uses the same names in both formats.

use std::borrow::Cow;
use std::iter;

/// Including the root.
pub(super) const MAX_DEPTH: usize = 16;
/// Including the root; in JSON, values.
pub(super) const MAX_ELEMENTS: usize = 2000;

/// Why a body is not a document, in words that do not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

pub(super) const TOO_DEEP: Malformed = Malformed("nested deeper than 16 levels");
pub(super) const TOO_MANY: Malformed = Malformed("more than 2000 elements");
pub(super) const CONTROL_CHARACTER: Malformed = Malformed("a control character");

/// The elements of a body, or those before the fault if it is malformed.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    elements: Vec<Element<'a>>,
    /// The latest element and its ancestors, outermost first.
    path: Vec<usize>,
    had_nul: bool,
}

#[derive(Debug)]
struct Element<'a> {
    name: Cow<'a, str>,
    text: Cow<'a, str>,
    /// The first element after this one and its descendants; `usize::MAX` if there is none.
    after: usize,
}

impl<'a> Document<'a> {
    pub(super) fn with_capacity(elements: usize) -> Self {
        Self {
            elements: Vec::with_capacity(elements.min(MAX_ELEMENTS)),
            path: Vec::with_capacity(MAX_DEPTH),
            had_nul: false,
        }
    }

    /// Appends an element; its parent is the latest one with a smaller depth. The root has depth 1,
    /// and no element is deeper by more than 1 than the one before it.
    pub(super) fn push(&mut self, depth: usize, name: Cow<'a, str>) -> usize {
        let index = self.elements.len();
        while self.path.len() >= depth
            && let Some(ended) = self.path.pop()
        {
            self.elements[ended].after = index;
        }
        self.path.push(index);
        self.elements.push(Element {
            name,
            text: Cow::Borrowed(""),
            after: usize::MAX,
        });
        index
    }

    /// Appends text to an element, without leading white space.
    pub(super) fn push_text(&mut self, index: usize, piece: Cow<'a, str>) {
        let text = &mut self.elements[index].text;
        if !text.is_empty() {
            text.to_mut().push_str(&piece);
        } else if !piece.trim_start().is_empty() {
            *text = piece;
        }
    }

    /// Notes that a NUL was replaced by U+FFFD.
    pub(super) fn note_nul(&mut self) {
        self.had_nul = true;
    }

    pub(super) fn had_nul(&self) -> bool {
        self.had_nul
    }

    pub(super) fn clear_text(&mut self, index: usize) {
        self.elements[index].text = Cow::Borrowed("");
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn root(&self) -> Option<Node<'_>> {
        (!self.elements.is_empty()).then_some(Node {
            elements: &self.elements,
            index: 0,
        })
    }
}

/// An element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'d> {
    elements: &'d [Element<'d>],
    index: usize,
}

/// The content of an element that should have one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text<'d> {
    /// Only white space.
    Empty,
    /// The trimmed text.
    Value(&'d str),
    /// Other elements.
    Nested,
}

impl<'d> Node<'d> {
    pub(super) fn children(self) -> impl Iterator<Item = Node<'d>> {
        let elements = self.elements;
        let end = elements[self.index].after.min(elements.len());
        let mut next = self.index + 1;
        iter::from_fn(move || {
            let index = next;
            let child = elements[..end].get(index)?;
            next = child.after;
            Some(Node { elements, index })
        })
    }

    pub(super) fn named(self, name: &'static str) -> impl Iterator<Item = Node<'d>> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The text of the first child with that name.
    pub(super) fn first(self, name: &'static str) -> Option<&'d str> {
        self.named(name).next().and_then(Node::value)
    }

    /// The only child with that name. It is an error if there are two.
    pub(super) fn sole(self, name: &'static str) -> Result<Option<Node<'d>>, String> {
        let mut found = self.named(name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("`{name}` is given twice")),
            (child, None) => Ok(child),
        }
    }

    /// The text of the only child with that name. It is an error if there are two, or if there is
    /// no text.
    pub(super) fn required(self, name: &'static str) -> Result<&'d str, String> {
        self.sole(name)?
            .and_then(Node::value)
            .ok_or_else(|| format!("`{name}` is missing"))
    }

    pub(super) fn value(self) -> Option<&'d str> {
        match self.text() {
            Text::Value(text) => Some(text),
            Text::Empty | Text::Nested => None,
        }
    }

    pub(super) fn name(self) -> &'d str {
        &self.elements[self.index].name
    }

    pub(super) fn text(self) -> Text<'d> {
        if self.children().next().is_some() {
            return Text::Nested;
        }
        match self.elements[self.index].text.trim() {
            "" => Text::Empty,
            text => Text::Value(text),
        }
    }
}

/// The position of the first character that XML does not allow, and whether there are carriage
/// returns.
pub(super) fn first_forbidden(text: &str) -> (Option<usize>, bool) {
    const SUSPICIOUS: u8 = 1;
    const RETURN: u8 = 2;
    // Looking at bytes is much faster, and enough for nearly every text. U+FFFE and U+FFFF begin
    // with 0xef.
    let suspicious = |byte| matches!(byte, 0..=8 | 0xb | 0xc | 0xe..=0x1f | 0xef);
    let found = text.bytes().fold(0, |found, byte| {
        found | (SUSPICIOUS * u8::from(suspicious(byte))) | (RETURN * u8::from(byte == b'\r'))
    });
    let forbidden = if found & SUSPICIOUS == 0 {
        None
    } else {
        text.find(|character| !is_allowed(character))
    };
    (forbidden, found & RETURN != 0)
}

pub(super) fn is_allowed(character: char) -> bool {
    !matches!(character,
        '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_by_depth_and_text_is_cut() {
        let mut document = Document::default();
        let root = document.push(1, "xml".into());
        document.push_text(root, "\n ".into());
        let group = document.push(2, "A".into());
        document.push(3, "B".into());
        let last = document.push(2, "B".into());
        document.push_text(last, " send ".into());
        document.push_text(last, " success\n".into());

        let root = document.root().expect("it has a root");
        let names: Vec<_> = root.children().map(Node::name).collect();
        assert_eq!(names, ["A", "B"]);
        let texts: Vec<_> = root.named("B").map(Node::text).collect();
        assert_eq!(texts, [Text::Value("send  success")]);
        assert_eq!(root.text(), Text::Nested);
        assert_eq!(document.elements[group].text, "");
    }

    #[test]
    fn a_child_follows_after_all_that_is_inside_of_the_one_before() {
        let mut document = Document::default();
        for (depth, name) in [
            (1, "r"),
            (2, "a"),
            (3, "x"),
            (4, "y"),
            (3, "z"),
            (2, "b"),
            (3, "x"),
        ] {
            document.push(depth, name.into());
        }
        let names = |node: Node<'_>| {
            node.children()
                .map(|child| child.name().to_owned())
                .collect::<Vec<_>>()
        };
        let root = document.root().expect("it has a root");
        assert_eq!(names(root), ["a", "b"]);
        let inner: Vec<_> = root.children().map(names).collect();
        assert_eq!(inner, [vec!["x", "z"], vec!["x"]]);
        let innermost: Vec<_> = root
            .children()
            .flat_map(Node::children)
            .map(names)
            .collect();
        assert_eq!(innermost, [vec!["y"], vec![], vec![]]);
    }

    proptest::proptest! {
        #[test]
        fn a_forbidden_character_is_found_where_it_stands(text in "[ -~\\t\\r\\n，中\u{fffd}]{0,40}[\\x00-\\x20\u{fffd}-\u{10000}]?[ -~，\u{ffff}]{0,3}") {
            proptest::prop_assert_eq!(first_forbidden(&text), (text.find(|character| !is_allowed(character)), text.contains('\r')));
        }
    }
}
