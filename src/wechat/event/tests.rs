use super::*;

const HEAD: &str = "<MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>";

fn error(body: &str) -> String {
    match read(body.as_bytes()).reading {
        Reading::Unparsed { error, .. } => error,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn what_must_be_there_once_and_is_not_makes_a_body_unparsed() {
    for (body, expected) in [
        ("", "the body is not a message: empty"),
        (" \n", "the body is not a message: empty"),
        (
            "text",
            "the body is not a message: neither XML nor a JSON object",
        ),
        ("<xml/>", "`MsgType` is missing"),
        (
            "<xml><MsgType>event</MsgType></xml>",
            "the event has no `Event`",
        ),
        (
            "<xml><MsgType>event</MsgType><MsgType>text</MsgType></xml>",
            "`MsgType` is given twice",
        ),
    ] {
        assert_eq!(error(body), expected, "{body}");
    }
    for (elements, expected) in [
        ("<CreateTime>1</CreateTime>", "`MsgID` is missing"),
        (
            "<CreateTime>1</CreateTime><MsgID>1</MsgID><MsgId>1</MsgId>",
            "both `MsgID` and `MsgId` are given",
        ),
        ("<MsgID>1</MsgID>", "`CreateTime` is missing"),
        (
            "<CreateTime>1</CreateTime><MsgID>1</MsgID><Status/><Status/>",
            "`Status` is given twice",
        ),
        (
            "<CreateTime>1</CreateTime><MsgID>1</MsgID><ArticleUrlResult/><ArticleUrlResult/>",
            "`ArticleUrlResult` is given twice",
        ),
    ] {
        assert_eq!(
            error(&format!("<xml>{HEAD}{elements}</xml>")),
            expected,
            "{elements}"
        );
    }
}

#[test]
fn an_unparsed_body_tells_its_event_and_id_where_they_are_readable() {
    let body = format!("<xml>{HEAD}<MsgID>7</MsgID><CreateTime>1</Create");
    let reading = read(body.as_bytes()).reading;
    assert_eq!(reading.event(), Some("MASSSENDJOBFINISH"));
    assert_eq!(reading.msg_id(), MsgId::new(7));
}

/// Faults in XML, and in JSON, that come before the end of a body.
const FAULTS: [(&str, &str); 12] = [
    ("<C>\u{2}</C></xml>", "\"C\":\"\u{2}\"}"),
    ("<C>]]></C></xml>", "\"C\":]}"),
    ("<C>&nbsp;</C></xml>", "\"C\":nbsp}"),
    ("<C>&#2;</C></xml>", "\"C\":\"\\ud83d\"}"),
    ("<C><![CDATA[a]]>b]]></C></xml>", "\"C\":\"a\"b\"}"),
    ("<C></D></xml>", "\"C\":{]}"),
    ("<C", "\"C"),
    ("</xml><xml></xml>", "\"C\":1}{}"),
    ("<!DOCTYPE xml></xml>", "\"C\":1}<"),
    ("<?pi?></xml>", "\"C\":1,}"),
    ("<MsgType>event</MsgType></xml>", "\"MsgType\":\"event\"}"),
    (
        "<MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event><MsgID>1</MsgID><CreateTime>1</CreateTime></xml>",
        "\"MsgType\":\"event\",\"Event\":\"MASSSENDJOBFINISH\",\"MsgID\":1,\"CreateTime\":1}",
    ),
];

/// Readings of bodies that begin with these elements and then have each of the faults.
fn with_faults(xml: &str, json: &str) -> Vec<Reading> {
    let mut bodies: Vec<_> = FAULTS
        .iter()
        .flat_map(|(in_xml, in_json)| {
            [format!("<xml>{xml}{in_xml}"), format!("{{{json},{in_json}")]
        })
        .map(String::into_bytes)
        .collect();
    let deep = "<a>".repeat(16) + &"</a>".repeat(16);
    let many = "<a/>".repeat(2000);
    bodies.push(format!("<xml>{xml}{deep}</xml>").into_bytes());
    bodies.push(format!("<xml>{xml}{many}</xml>").into_bytes());
    let deep = "[".repeat(16) + &"]".repeat(16);
    let many = vec!["0"; 2000].join(",");
    bodies.push(format!("{{{json},\"a\":{deep}}}").into_bytes());
    bodies.push(format!("{{{json},\"a\":[{many}]}}").into_bytes());
    let cut_in_two = &"发".as_bytes()[..2];
    bodies.push(
        [
            format!("<xml>{xml}<C>").as_bytes(),
            cut_in_two,
            b"</C></xml>",
        ]
        .concat(),
    );
    bodies.push([format!("{{{json},\"C\":\"").as_bytes(), cut_in_two, b"\"}"].concat());
    bodies.iter().map(|body| read(body).reading).collect()
}

#[test]
fn a_users_message_is_known_by_what_comes_before_a_fault() {
    for reading in with_faults(
        "<FromUserName>o</FromUserName><MsgType><![CDATA[text]]></MsgType>",
        "\"FromUserName\":\"o\",\"MsgType\":\"text\"",
    ) {
        let message = Reading::Other {
            event: None,
            msg_id: None,
        };
        let is_message = matches!(reading, Reading::Other { event: None, .. });
        assert!(is_message, "{reading:?} is not like {message:?}");
    }
}

#[test]
fn an_event_with_a_fault_is_known_by_its_name_and_makes_no_job() {
    for (xml, json) in [
        (
            "<MsgType>event</MsgType><Event>SCAN</Event>",
            "\"MsgType\":\"event\",\"Event\":\"SCAN\"",
        ),
        (
            "<Event>SCAN</Event><MsgType>event</MsgType>",
            "\"Event\":\"SCAN\",\"MsgType\":\"event\"",
        ),
        ("<Event>SCAN</Event>", "\"Event\":\"SCAN\""),
    ] {
        for reading in with_faults(xml, json) {
            assert!(reading.result().is_none(), "{reading:?}");
            assert_eq!(reading.event(), Some("SCAN"), "{xml}: {reading:?}");
        }
    }
    let without_type = read(b"<xml><Event>SCAN</Event></xml>").reading;
    assert_eq!(without_type.event(), Some("SCAN"));
    assert!(!without_type.is_kept(&[]) && without_type.is_kept(&["scan".to_owned()]));
}

#[test]
fn what_could_be_a_job_result_is_kept_whatever_the_fault() {
    for (xml, json) in [
        (
            HEAD,
            "\"MsgType\":\"event\",\"Event\":\"MASSSENDJOBFINISH\"",
        ),
        ("<MsgType>event</MsgType>", "\"MsgType\":\"event\""),
        ("<MsgType/>", "\"MsgType\":null"),
        ("<Content>text</Content>", "\"Content\":\"text\""),
        (
            "<InfoType/><Event>MassSendJobFinish</Event>",
            "\"InfoType\":{},\"Event\":\"MassSendJobFinish\"",
        ),
    ] {
        // The last faults end with an honest result, so that some of these bodies are one.
        let kept = with_faults(xml, json);
        assert!(
            kept.iter().all(|reading| reading.is_kept(&[])),
            "{xml}: {kept:?}"
        );
    }
}

#[test]
fn the_first_of_two_elements_decides() {
    let kept = |body: &str| {
        let reading = read(body.as_bytes()).reading;
        assert!(reading.result().is_none(), "{body}");
        reading.is_kept(&[])
    };
    let result = "<MsgID>1</MsgID><CreateTime>1</CreateTime>";
    for (elements, expected) in [
        (
            "<MsgType>text</MsgType><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>",
            false,
        ),
        (
            "<MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event><MsgType>text</MsgType>",
            true,
        ),
        (
            "<MsgType>event</MsgType><Event>SCAN</Event><Event>MASSSENDJOBFINISH</Event>",
            false,
        ),
        (
            "<MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event><Event>SCAN</Event>",
            true,
        ),
        ("<MsgType>event</MsgType><Event/><Event>SCAN</Event>", true),
    ] {
        assert_eq!(
            kept(&format!("<xml>{elements}{result}</xml>")),
            expected,
            "{elements}"
        );
    }
}

#[test]
fn a_push_to_a_third_party_platform_is_told_by_its_info_type() {
    let ticket = "<AppId>wx1</AppId><CreateTime>1</CreateTime><InfoType><![CDATA[component_verify_ticket]]></InfoType>";
    for body in [
        format!("<xml>{ticket}<ComponentVerifyTicket>ticket@@@1</ComponentVerifyTicket></xml>"),
        format!("<xml>{ticket}<ComponentVerifyTicket>\u{2}</ComponentVerifyTicket></xml>"),
        format!("<xml>{ticket}{ticket}</xml>"),
        r#"{"AppId":"wx1","InfoType":"authorized","AuthorizationCode":"1"}"#.to_owned(),
    ] {
        assert_eq!(read(body.as_bytes()).reading, Reading::Platform, "{body}");
    }
    let result = format!(
        "<xml><InfoType>x</InfoType>{HEAD}<MsgID>1</MsgID><CreateTime>1</CreateTime></xml>"
    );
    assert!(read(result.as_bytes()).reading.result().is_some());
}

#[test]
fn a_control_character_in_json_is_no_fault_and_a_nul_is_noted() {
    let result = |status: &str| {
        let body = format!(
            r#"{{"MsgType":"event","Event":"MASSSENDJOBFINISH","MsgID":1,"CreateTime":1,"Status":"{status}"}}"#
        );
        let reading = read(body.as_bytes()).reading;
        let note = reading.error().map(str::to_owned);
        let status = reading
            .result()
            .expect("it is a job result")
            .status
            .text
            .clone();
        (status.expect("it has a status"), note)
    };
    assert_eq!(
        result("send\\u001bsuccess"),
        ("send\u{1b}success".to_owned(), None)
    );
    let note = "the character U+0000 is read as U+FFFD".to_owned();
    assert_eq!(
        result("send\\u0000"),
        ("send\u{fffd}".to_owned(), Some(note))
    );
}

#[test]
fn other_pushes_are_told_from_job_results() {
    let reading = |body: &str| read(body.as_bytes()).reading;
    let message = reading(
        "\u{feff}<x><MsgType>text</MsgType><Event>MASSSENDJOBFINISH</Event><MsgId>5</MsgId></x>",
    );
    assert_eq!(
        message,
        Reading::Other {
            event: None,
            msg_id: MsgId::new(5)
        }
    );
    let event = reading(r#" {"MsgType":"event","Event":" Other ","MsgID":"x"}"#);
    assert_eq!(
        event,
        Reading::Other {
            event: Some("Other".to_owned()),
            msg_id: None
        }
    );
}
