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
        format!("<xml><Content>&nbsp;& </Contents><Encrypt>\n<![CDATA[{GOOD}]]></Encrypt></xml>"),
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
