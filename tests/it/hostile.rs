//! Malformed authentic pushes are answered, kept raw as `unparsed`, and do not become jobs.

use crate::support::unparsed::{Case, NAME, all_are_kept_in_both_modes, case, json_with, xml_with};
use crate::support::{Backend, event, on_both_stores};

fn not_well_formed_xml() -> Vec<Case> {
    let mut cases: Vec<_> = [
        ("cut off", ""),
        ("cut off in a tag", "</xm"),
        ("another end tag", "</xmlx>"),
        ("a second root", "</xml><xml></xml>"),
        ("text after the root", "</xml>x"),
        ("an end tag after the root", "</xml></xml>"),
        ("an undeclared entity", "<x>&nbsp;</x></xml>"),
        ("a bare ampersand", "<x>a & b</x></xml>"),
        ("a processing instruction", "<?php echo 1 ?></xml>"),
        ("a late declaration", "<?xml version=\"1.0\"?></xml>"),
        ("a late DOCTYPE", "<!DOCTYPE xml></xml>"),
        ("a NUL", "<x>\0</x></xml>"),
        ("a NUL as a reference", "<x>&#0;</x></xml>"),
        ("a control character", "<x>\u{1}</x></xml>"),
        ("an escape character", "<x>\u{1b}[31m</x></xml>"),
        (
            "a control character in CDATA",
            "<x><![CDATA[\u{8}]]></x></xml>",
        ),
        ("a control character as a reference", "<x>&#x1F;</x></xml>"),
        ("a control character in an attribute", "<x a='&#1;'/></xml>"),
        ("half a surrogate pair", "<x>&#xD800;</x></xml>"),
        ("a number beyond Unicode", "<x>&#x110000;</x></xml>"),
        ("a non-character", "<x>\u{ffff}</x></xml>"),
        ("an attribute without a value", "<x a/></xml>"),
        ("an attribute twice", "<x a='' a=''/></xml>"),
        ("a name that begins with a digit", "<1/></xml>"),
        ("an unclosed CDATA", "<![CDATA[</xml>"),
        ("an unclosed comment", "<!-- </xml>"),
    ]
    .into_iter()
    .map(|(what, ending)| case(what, xml_with(ending), Some(NAME), Some("7")))
    .collect();
    let deep = |levels: usize| "<a>".repeat(levels) + &"</a>".repeat(levels) + "</xml>";
    cases.push(case(
        "17 levels",
        xml_with(&deep(16)),
        Some(NAME),
        Some("7"),
    ));
    cases.push(case(
        "10 000 levels",
        xml_with(&"<a>".repeat(10_000)),
        Some(NAME),
        Some("7"),
    ));
    let many = format!("{}</xml>", "<a/>".repeat(2000));
    cases.push(case(
        "over 2000 elements",
        xml_with(&many),
        Some(NAME),
        Some("7"),
    ));
    let attributes: Vec<_> = (0..4000).map(|n| format!(" a{n}=''")).collect();
    let attributes = attributes.concat();
    cases.push(case(
        "4000 attributes",
        xml_with(&format!("<a{attributes}/></xml>")),
        Some(NAME),
        Some("7"),
    ));
    let not_utf8 = [xml_with("<x>").as_bytes(), b"\xb7\xa2</x></xml>"].concat();
    cases.push(case("not UTF-8", not_utf8, Some(NAME), Some("7")));
    let overlong = [xml_with("<x>").as_bytes(), b"\xc0\xaf</x></xml>"].concat();
    cases.push(case("overlong UTF-8", overlong, Some(NAME), Some("7")));
    let latin = [
        b"<?xml version='1.0' encoding='ISO-8859-1'?>",
        event(7).as_bytes(),
        b"\xe9",
    ]
    .concat();
    cases.push(case("Latin-1", latin, Some(NAME), Some("7")));
    let utf16: Vec<u8> = event(7).encode_utf16().flat_map(u16::to_le_bytes).collect();
    cases.push(case("UTF-16", utf16, None, None));
    cases.push(case(
        "all bytes",
        (0..=255).collect::<Vec<u8>>(),
        None,
        None,
    ));
    cases
}

fn document_types() -> Vec<Case> {
    let laughs: Vec<_> = (1..10)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let laughs = laughs.concat();
    [
        ("a DOCTYPE", "<!DOCTYPE xml>".to_owned()),
        (
            "a DOCTYPE with an address",
            "<!DOCTYPE xml SYSTEM \"http://127.0.0.1:1/x.dtd\">".to_owned(),
        ),
        (
            "a file as an entity",
            "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>".to_owned(),
        ),
        (
            "a parameter entity",
            "<!DOCTYPE x [<!ENTITY % e SYSTEM \"http://127.0.0.1:1/\"> %e;]>".to_owned(),
        ),
        (
            "a billion laughs",
            format!("<!DOCTYPE x [<!ENTITY l0 \"lol\">{laughs}]>"),
        ),
        (
            "a quadratic blow-up",
            format!("<!DOCTYPE x [<!ENTITY l9 \"{}\">]>", "a".repeat(20_000)),
        ),
        (
            "a processing instruction first",
            "<?xml-stylesheet href='x'?>".to_owned(),
        ),
        (
            "white space before the declaration",
            " <?xml version='1.0'?>".to_owned(),
        ),
    ]
    .into_iter()
    .map(|(what, before)| {
        let body = event(7).replace("send success", "&l9;&l9;&e;");
        case(what, before + &body, None, None)
    })
    .collect()
}

fn not_well_formed_json() -> Vec<Case> {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let numbers = vec!["0"; 2000].join(",");
    let mut cases: Vec<_> = [
        ("cut off", String::new()),
        ("a trailing comma", ",}".to_owned()),
        ("a second root", "}{}".to_owned()),
        ("text after the root", "}x".to_owned()),
        ("NaN", ",\"x\":NaN}".to_owned()),
        ("a leading zero", ",\"x\":01}".to_owned()),
        ("single quotes", ",'x':1}".to_owned()),
        ("a comment", "/**/}".to_owned()),
        ("a raw NUL", ",\"x\":\"\0\"}".to_owned()),
        ("a raw line end", ",\"x\":\"\n\"}".to_owned()),
        ("half a surrogate pair", ",\"x\":\"\\ud800\"}".to_owned()),
        ("17 levels", format!(",\"x\":{}}}", deep(16))),
        ("10 000 levels", format!(",\"x\":{}", "[".repeat(10_000))),
        ("over 2000 values", format!(",\"x\":[{numbers}]}}")),
        (
            "over 2000 values of one name",
            format!(",\"x\":1{}}}", ",\"x\":1".repeat(2000)),
        ),
    ]
    .into_iter()
    .map(|(what, ending)| {
        case(
            &format!("{what} in JSON"),
            json_with(&ending),
            Some(NAME),
            Some("7"),
        )
    })
    .collect();
    let not_utf8 = [json_with(",\"x\":\"").as_bytes(), b"\xff\"}"].concat();
    cases.push(case("JSON, not UTF-8", not_utf8, Some(NAME), Some("7")));
    cases
}

fn no_message() -> Vec<Case> {
    [
        ("white space", " \r\n\t"),
        ("a byte-order mark", "\u{feff}"),
        ("a word", "success"),
        ("a JSON text", "\"x\""),
        ("a JSON list", "[{\"MsgType\":\"event\"}]"),
        ("an empty element", "<xml/>"),
        ("an empty object", "{}"),
        ("only text", "<xml>text</xml>"),
        ("an end tag", "</xml>"),
        ("a form", "MsgType=event&Event=MASSSENDJOBFINISH&MsgID=7"),
    ]
    .into_iter()
    .map(|(what, body)| case(what, body, None, None))
    .collect()
}

on_both_stores! {
    async fn xml_that_is_not_well_formed_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, not_well_formed_xml).await;
    }

    async fn nothing_of_a_document_type_is_expanded_or_fetched(backend: Backend) {
        all_are_kept_in_both_modes(backend, document_types).await;
    }

    async fn json_that_is_not_well_formed_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, not_well_formed_json).await;
    }

    async fn what_is_no_message_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, no_message).await;
    }
}
