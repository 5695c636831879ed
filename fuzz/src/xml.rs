//! XML bodies: the invariants of every reading, and another parser agrees with it.

use qunfa::wechat::read;
use roxmltree::{Document, Node};
use serde_json::Value;

use super::reading::{self, MAX_DEPTH, MAX_ELEMENTS, document};

/// Errors that only we report: on purpose, or because the other parser is less strict.
const REFUSED: [&str; 6] = [
    "a malformed XML declaration",
    "a misplaced XML declaration",
    "a processing instruction",
    "more than 2000 elements",
    "more than 64 attributes",
    "nested deeper than 16 levels",
];

/// Panics unless the invariants of XML bodies hold for this one.
pub fn check(body: &[u8]) {
    reading::check(body);
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('<') {
        check_agreement(text);
    }
}

/// If we accept a document, another parser does, too, and the same document in JSON reads the same.
fn check_agreement(text: &str) {
    // The other parser checks namespaces, which we do not support.
    let text = text.replace(':', "\u{10000}");
    let push = read(text.as_bytes());
    let theirs = Document::parse(&text);
    match document(&push.reading) {
        None => {}
        Some(Ok(())) => {
            let document = theirs.expect("what we find well-formed is well-formed");
            check_limits(&document);
            let json = as_json(document.root_element());
            assert_eq!(read(json.as_bytes()), push, "{json}");
        }
        Some(Err(reason)) => {
            // It does not check references to characters that do not exist.
            let may_differ = REFUSED.contains(&reason) || text.contains("&#");
            assert!(may_differ || theirs.is_err(), "well-formed, but {reason}");
        }
    }
}

fn check_limits(document: &Document<'_>) {
    let elements = || document.descendants().filter(Node::is_element);
    let depth = |element: Node<'_, '_>| element.ancestors().filter(Node::is_element).count();
    assert!(elements().count() <= MAX_ELEMENTS);
    assert!(elements().all(|element| depth(element) <= MAX_DEPTH));
}

/// The elements of an element, in order, as an object that may have several fields of the same
/// name.
fn as_json(element: Node<'_, '_>) -> String {
    let fields = element.children().filter(Node::is_element).map(|child| {
        let is_leaf = !child.children().any(|inner| inner.is_element());
        let value = if is_leaf {
            let pieces = child
                .children()
                .filter_map(|inner| inner.is_text().then(|| inner.text())?);
            Value::from(pieces.collect::<String>()).to_string()
        } else {
            as_json(child)
        };
        format!("{}:{value}", Value::from(child.tag_name().name()))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}
