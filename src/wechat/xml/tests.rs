use super::super::document::{Node, Text};
use super::*;

fn outcome(text: &str) -> Result<(), Malformed> {
    read(text).1
}

#[test]
fn text_comes_from_cdata_characters_and_references() {
    let text = "<xml><!-- a --><S a='1' b = \"&lt;\"> send <![CDATA[suc<c]]>&#101;&#x73;&amp;</S ></xml>\n";
    let (document, outcome) = read(text);
    assert_eq!(outcome, Ok(()));
    let root = document.root().expect("it has a root");
    let texts: Vec<_> = root.named("S").map(Node::text).collect();
    assert_eq!(texts, [Text::Value("send suc<ces&")]);
}

#[test]
fn line_ends_are_line_feeds_and_a_reference_to_a_return_is_one() {
    let text =
        "<xml>\r\n<S>a\r\nb\rc</S><S><![CDATA[a\r\n\rb]]></S>\r<S>a&#13;\r\nb&#xD;&#xA;c</S></xml>";
    let (document, outcome) = read(text);
    assert_eq!(outcome, Ok(()));
    let root = document.root().expect("it has a root");
    let texts: Vec<_> = root.named("S").filter_map(Node::value).collect();
    assert_eq!(texts, ["a\nb\nc", "a\n\nb", "a\r\nb\r\nc"]);
}

#[test]
fn harmless_additions_are_read_past() {
    for text in [
        "<xml/>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xml></xml>",
        "<a:xml xmlns:a='urn:x'><中文/></a:xml>",
        "<!-- before --><xml/><!-- after -->",
        "<xml>&lt;&gt;&amp;&quot;&apos;</xml>",
    ] {
        assert_eq!(outcome(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_not_well_formed_or_not_wanted_is_refused() {
    for text in [
        "",
        "text",
        "<xml>",
        "<xml></xm>",
        "<xml></xml></xml>",
        "<xml/><xml/>",
        "<xml/>text",
        "text<xml/>",
        "&amp;<xml/>",
        "<![CDATA[x]]><xml/>",
        "<xml>&e;</xml>",
        "<xml>& </xml>",
        "<xml>&#0;</xml>",
        "<xml>&#1;</xml>",
        "<xml>&#xFFFF;</xml>",
        "<xml>&#xD800;</xml>",
        "<xml>\0</xml>",
        "<xml>\u{1}</xml>",
        "<xml>]]></xml>",
        "<xml><![CDATA[x]]",
        "<xml><!-- a -- b --></xml>",
        "<xml><!-- a ---></xml>",
        "<1xml/>",
        "<xml a/>",
        "<xml a=1/>",
        "<xml a='1'b='2'/>",
        "<xml a='1' a='2'/>",
        "<xml a='&e;'/>",
        "<xml a='\u{1}'/>",
        "<xml a='<'/>",
        "<xml><?pi?></xml>",
        "<?pi?><xml/>",
        "<xml/><?pi?>",
        " <?xml version='1.0'?><xml/>",
        "<xml><?xml version='1.0'?></xml>",
        "<?xml?><xml/>",
        "<?xml encoding='UTF-8'?><xml/>",
        "<?xml version='1.0' a=''?><xml/>",
        "<?xml version='1.0'standalone='yes'?><xml/>",
        "<?xml version='1.0' standalone='yes' encoding='UTF-8'?><xml/>",
        "<!DOCTYPE xml><xml/>",
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><xml>&e;</xml>",
    ] {
        assert!(outcome(text).is_err(), "{text:?}");
    }
}

#[test]
fn depth_and_number_are_limited_where_the_limits_say() {
    let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert_eq!(outcome(&nested(16)), Ok(()));
    assert_eq!(outcome(&nested(17)), Err(TOO_DEEP));
    assert_eq!(outcome(&nested(100_000)), Err(TOO_DEEP));
    let many = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 1));
    assert_eq!(outcome(&many(2000)), Ok(()));
    assert_eq!(outcome(&many(2001)), Err(TOO_MANY));
    let attributes = |count: usize| {
        let all: Vec<_> = (0..count).map(|n| format!(" a{n}=''")).collect();
        format!("<a{}/>", all.concat())
    };
    assert_eq!(outcome(&attributes(64)), Ok(()));
    assert_eq!(
        outcome(&attributes(65)),
        Err(Malformed("more than 64 attributes"))
    );
}

#[test]
fn what_stood_before_a_fault_is_there() {
    for (text, expected) in [
        ("<xml><a>1</a><b>2</b><", ["1", "2"].as_slice()),
        ("<xml><a>1</a><b>2", &["1", ""]),
        ("<xml><a>1</a><b>2&e;3</b></xml>", &["1", ""]),
        ("<xml><a>1</a><b>2</c></xml>", &["1", ""]),
        ("<xml><a>1</a><b>2\u{1}3</b></xml>", &["1", ""]),
        ("<xml><a>1</a>\0<b>2</b></xml>", &["1"]),
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
