//! Checks the invariants of the fuzz targets on their corpora, on damaged copies of those, and on
//! random combinations of pieces.
//!
//! The inputs are always the same, so that failures are reproducible; `scripts/fuzz` searches for
//! new ones.

use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngSeed, TestError, TestRunner};

#[expect(unreachable_pub, reason = "the fuzz targets use it from outside")]
#[path = "../../fuzz/src/lib.rs"]
mod properties;

/// Beginnings of bodies, and pieces with a meaning to one of the parsers.
const STARTS: [&str; 5] = ["", "<xml>", "<xml><Event>", "{\"a\":", "signature="];
const PIECES: [&str; 40] = [
    "<",
    ">",
    "/",
    "</",
    "/>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!DOCTYPE x [",
    "&",
    ";",
    "&#0;",
    "&#x41;",
    "\"",
    "'",
    "=",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\u0000",
    "\0",
    "\u{feff}",
    "群",
    "<a>",
    "</a>",
    "<a/>",
    "<Encrypt>",
    "</Encrypt>",
    "\"Encrypt\":\"",
    "signature",
    "timestamp",
    "echostr",
    "%",
    "+",
];

#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize),
    Piece(Index, &'static str),
    Byte(Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Damage::Cut),
        (index(), 1..40_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (index(), 1..200_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (index(), select(&PIECES[..])).prop_map(|(at, piece)| Damage::Piece(at, piece)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
    ]
}

fn apply(input: &mut Vec<u8>, damage: &Damage) {
    if input.is_empty() {
        return;
    }
    match damage {
        Damage::Cut(at) => input.truncate(at.index(input.len())),
        Damage::Remove(at, length) => {
            let start = at.index(input.len());
            input.drain(start..(start + length).min(input.len()));
        }
        Damage::Repeat(at, length) => {
            let start = at.index(input.len());
            let piece = input[start..(start + length).min(input.len())].to_vec();
            input.splice(start..start, piece);
        }
        Damage::Piece(at, piece) => {
            let at = at.index(input.len());
            input.splice(at..at, piece.bytes());
        }
        Damage::Byte(at, byte) => {
            let at = at.index(input.len());
            input[at] = *byte;
        }
    }
}

/// The input with all damage applied.
fn damaged((mut input, damages): (Vec<u8>, Vec<Damage>)) -> Vec<u8> {
    for damage in &damages {
        apply(&mut input, damage);
    }
    input
}

fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(path)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Checks the target's invariants on its corpus, and on inputs made from it.
fn hold(target: &str, property: fn(&[u8])) {
    let mut seeds = Vec::new();
    for file in files(&fuzz("corpus").join(target)) {
        println!("{}", file.display()); // Seen only when the property does not hold.
        let seed = std::fs::read(file).unwrap();
        property(&seed);
        seeds.push(seed);
    }
    let damaged = (select(seeds), vec(damage(), 1..6)).prop_map(damaged);
    let heap = (select(&STARTS[..]), vec(select(&PIECES[..]), 0..60))
        .prop_map(|(start, pieces)| (start.to_owned() + &pieces.concat()).into_bytes());
    let bytes = (select(&STARTS[..]), vec(any::<u8>(), 0..300))
        .prop_map(|(start, bytes)| [start.as_bytes(), &bytes].concat());
    let config = ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    };
    let run =
        TestRunner::new(config).run(&prop_oneof![6 => damaged, 1 => heap, 1 => bytes], |input| {
            property(&input);
            Ok(())
        });
    if let Err(TestError::Fail(reason, input)) = &run {
        panic!("{target}: {reason}\n{}", input.escape_ascii());
    }
    run.unwrap();
}

#[test]
fn any_envelope_keeps_the_promises() {
    hold("envelope", properties::envelope::check);
}

#[test]
fn any_json_keeps_the_promises() {
    hold("json", properties::json::check);
}

#[test]
fn any_query_keeps_the_promises() {
    hold("query", properties::query::check);
}

#[test]
fn any_xml_keeps_the_promises() {
    hold("xml", properties::xml::check);
}

#[test]
fn every_fuzz_target_has_its_test_here() {
    let names = files(&fuzz("fuzz_targets"));
    let names: Vec<_> = names.iter().map(|file| file.file_stem().unwrap()).collect();
    assert_eq!(names, ["envelope", "json", "query", "xml"]);
}
