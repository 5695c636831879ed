//! Well-formed authentic pushes that cannot be recorded as jobs: kept raw as `unparsed`.

use crate::support::unparsed::{
    Case, NAME, all_are_kept_in_both_modes, case, json_event, json_with,
};
use crate::support::{Backend, event, fixture, on_both_stores};

/// Every element that must occur at most once occurs twice.
fn doubled() -> Vec<Case> {
    let xml = String::from_utf8(fixture("events/articles.xml")).unwrap();
    let mut cases = Vec::new();
    for name in [
        "ToUserName",
        "FromUserName",
        "CreateTime",
        "MsgType",
        "Event",
        "MsgID",
        "Status",
        "TotalCount",
        "FilterCount",
        "SentCount",
        "ErrorCount",
        "CopyrightCheckResult",
        "ArticleUrlResult",
        "CheckState",
        "Count",
    ] {
        let (event, msg_id) = (
            (name != "Event").then_some(NAME),
            (name != "MsgID").then_some("3147483999"),
        );
        let start = xml.find(&format!("<{name}>")).unwrap();
        let end = xml.find(&format!("</{name}>")).unwrap() + name.len() + 3;
        let body = format!("{}{}{}", &xml[..end], &xml[start..end], &xml[end..]);
        cases.push(case(&format!("{name} twice"), body, event, msg_id));
        let body = format!("{}<{name}/>{}", &xml[..start], &xml[start..]);
        cases.push(case(
            &format!("{name} twice, one empty"),
            body,
            event,
            msg_id,
        ));
    }
    for name in [
        "ToUserName",
        "CreateTime",
        "MsgType",
        "Event",
        "MsgID",
        "Status",
        "TotalCount",
        "ArticleUrlResult",
    ] {
        let (event, msg_id) = (
            (name != "Event").then_some(NAME),
            (name != "MsgID").then_some("7"),
        );
        let again = json_with(&format!(",\"{name}\":null}}"));
        cases.push(case(&format!("{name} twice in JSON"), again, event, msg_id));
    }
    for inner in ["ArticleIdx", "ArticleUrl"] {
        let body = xml.replacen(&format!("<{inner}>"), &format!("<{inner}/><{inner}>"), 1);
        cases.push(case(
            &format!("{inner} twice"),
            body,
            Some(NAME),
            Some("3147483999"),
        ));
    }
    let both = xml.replace("<Status>", "<MsgId>3147483999</MsgId><Status>");
    cases.push(case("MsgID and MsgId", both, Some(NAME), None));
    let list = json_event(7).replace("\"MsgID\":7", "\"MsgID\":[7,7]");
    cases.push(case("a list of ids", list, Some(NAME), None));
    cases
}

fn without_names() -> Vec<Case> {
    let xml = event(7);
    let event_xml = "<Event><![CDATA[MASSSENDJOBFINISH]]></Event>";
    let type_xml = "<MsgType><![CDATA[event]]></MsgType>";
    let mut cases = Vec::new();
    for with in [
        "",
        "<Event/>",
        "<Event> \n</Event>",
        "<Event><a/></Event>",
        "<event>MASSSENDJOBFINISH</event>",
    ] {
        cases.push(case(
            &format!("Event as {with}"),
            xml.replace(event_xml, with),
            None,
            Some("7"),
        ));
    }
    for with in [
        "",
        "<MsgType/>",
        "<MsgType><a>event</a></MsgType>",
        "<Type>event</Type>",
    ] {
        cases.push(case(
            &format!("MsgType as {with}"),
            xml.replace(type_xml, with),
            Some(NAME),
            Some("7"),
        ));
    }
    cases
}

/// No id, or one that is not a number in its range.
fn without_id() -> Vec<Case> {
    let (xml, json) = (event(7), json_event(7));
    let (id_xml, id_json) = ("<MsgID>7</MsgID>", "\"MsgID\":7,");
    let mut cases = Vec::new();
    let bad_ids = [
        "",
        "0",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x7",
        "9223372036854775808",
        "99999999999999999999",
        "七",
        "7 7",
    ];
    for id in bad_ids {
        let body = xml.replace(id_xml, &format!("<MsgID>{id}</MsgID>"));
        cases.push(case(&format!("MsgID {id:?}"), body, Some(NAME), None));
        let body = json.replace(id_json, &format!("\"MsgID\":\"{id}\","));
        cases.push(case(
            &format!("MsgID {id:?} in JSON"),
            body,
            Some(NAME),
            None,
        ));
    }
    for id in [
        "0",
        "-1",
        "-0",
        "1.0",
        "7e0",
        "9223372036854775808",
        "18446744073709551616",
        "null",
        "true",
        "{}",
        "[]",
    ] {
        let body = json.replace(id_json, &format!("\"MsgID\":{id},"));
        cases.push(case(&format!("MsgID {id} in JSON"), body, Some(NAME), None));
    }
    cases.push(case("no MsgID", xml.replace(id_xml, ""), Some(NAME), None));
    cases.push(case(
        "no MsgID in JSON",
        json.replace(id_json, ""),
        Some(NAME),
        None,
    ));
    cases
}

/// No time, or one that is not a number in its range.
fn without_time() -> Vec<Case> {
    let (xml, json) = (event(7), json_event(7));
    let time_xml = "<CreateTime>1767225500</CreateTime>";
    let time_json = "\"CreateTime\":1767225600,";
    let mut cases = Vec::new();
    for time in [
        "",
        "-1",
        "+1",
        "1.0",
        "253402300800",
        "9223372036854775807",
        "2026-01-01",
        "soon",
    ] {
        let body = xml.replace(time_xml, &format!("<CreateTime>{time}</CreateTime>"));
        cases.push(case(
            &format!("CreateTime {time:?}"),
            body,
            Some(NAME),
            Some("7"),
        ));
        let body = json.replace(time_json, &format!("\"CreateTime\":\"{time}\","));
        cases.push(case(
            &format!("CreateTime {time:?} in JSON"),
            body,
            Some(NAME),
            Some("7"),
        ));
    }
    for time in [
        "-1",
        "1.5",
        "253402300800",
        "1e300",
        "null",
        "false",
        "[1,2]",
    ] {
        let body = json.replace(time_json, &format!("\"CreateTime\":{time},"));
        cases.push(case(
            &format!("CreateTime {time} in JSON"),
            body,
            Some(NAME),
            Some("7"),
        ));
    }
    cases.push(case(
        "no CreateTime",
        xml.replace(time_xml, ""),
        Some(NAME),
        Some("7"),
    ));
    cases
}

/// Long texts where a database might reject them.
fn long() -> Vec<Case> {
    let long: &'static str = "群".repeat(20_000).leak();
    let ids = "<MsgID>7</MsgID><MsgID>7</MsgID>";
    let with = |name: &str| {
        format!(
            "<xml><{name}>{long}</{name}><MsgType>event</MsgType><Event>{NAME}</Event>{ids}</xml>"
        )
    };
    let mut cases: Vec<_> = ["ToUserName", "Status", "x"]
        .into_iter()
        .map(|name| case(&format!("a long {name}"), with(name), Some(NAME), None))
        .collect();
    let twice = format!("<xml><Event>{NAME}</Event><Event>{long}</Event><MsgID>7</MsgID></xml>");
    cases.push(case("a long event, twice", twice, None, Some("7")));
    cases.push(case("a long word", long, None, None));
    cases
}

on_both_stores! {
    async fn a_known_element_that_stands_twice_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, doubled).await;
    }

    async fn an_event_without_its_name_or_type_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, without_names).await;
    }

    async fn a_result_without_an_id_in_range_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, without_id).await;
    }

    async fn a_result_without_a_time_in_range_is_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, without_time).await;
    }

    async fn long_texts_are_kept(backend: Backend) {
        all_are_kept_in_both_modes(backend, long).await;
    }
}
